"""Facts about what is made once for all workers of a run of the tests."""

import pytest
from tests.sharing import made_once


def test_what_was_made_is_not_made_again(tmp_path_factory):
    """Not by another worker either: the folder is the same."""
    made = []

    def make(folder):
        made.append(folder)
        (folder / "file").write_text("made")

    first = made_once(tmp_path_factory, "test-once", make)
    assert made_once(tmp_path_factory, "test-once", make) == first
    assert made == [first]
    assert (first / "file").read_text() == "made"


def test_what_failed_is_made_again_from_nothing(tmp_path_factory):
    """A half-made folder is nobody's."""

    def fail(folder):
        (folder / "half").touch()
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        made_once(tmp_path_factory, "test-failing", fail)
    folder = made_once(tmp_path_factory, "test-failing", lambda folder: (folder / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]
