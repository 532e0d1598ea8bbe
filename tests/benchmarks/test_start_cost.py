"""Facts about measuring a start."""

import pytest

from ecovision_edge_bench import start_cost


@pytest.mark.slow
def test_each_start_is_a_process_of_its_own_in_turn(capsys):
    """A line for each, with its ratio to the imports."""
    assert start_cost.main(["--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:24].strip() for line in lines] == [
        "imports alone",
        "first answer",
        "the same, nothing kept",
    ]
    assert lines[0].endswith(" 1.00")


@pytest.mark.slow
def test_a_start_that_fails_is_an_error(tmp_path, capsys):
    """With the last line of what it said."""
    assert start_cost.main(["--rounds", "1", "--bundle", str(tmp_path)]) == 1
    assert "not a bundle" in capsys.readouterr().err
