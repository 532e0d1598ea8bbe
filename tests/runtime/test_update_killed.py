"""The fact that an update may be killed at any moment: the next one ends it as it would have ended."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_an_update_that_is_killed_at_any_step_is_ended_by_the_next_one(forge, python, tmp_path):
    """Before each change of the disk in turn; no file that was whole is fetched twice, no litter is left."""
    first = forge.bundle(tmp_path / "first", precisions=("fp32",))
    second = forge.bundle(tmp_path / "second", precisions=("fp32", "int8"))
    (tmp_path / "work").mkdir()
    done = python(
        "-m",
        "tests.runtime.killed_updates",
        tmp_path / "work",
        first,
        second,
        cwd=REPOSITORY,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr.decode()
    stays, goes_back = map(int, done.stdout.split())
    assert 50 < stays < goes_back
