"""Facts about a bin that is killed: what its sinks acknowledged is received, and it starts fail-safe."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.runtime.sink_servers import skipping

from ecovision_edge.errors import OptionError
from ecovision_edge_bench.power_cut.__main__ import main
from ecovision_edge_bench.power_cut.cuts import CutReport, SinkTally, cut_power

pytestmark = pytest.mark.slow

GOOD = CutReport(
    kills=3,
    in_start=1,
    decided=9,
    sinks={
        "file": SinkTally(5, 5, 1, 0),
        "mqtt": SinkTally(6, 6, 0, 3),
        "serial": SinkTally(4, 4, 2, 0),
    },
    broken_lines=0,
    positioned=4,
    unsafe_starts=0,
)


def test_a_killed_bin_loses_nothing_that_was_acknowledged(tmp_path):
    """A dozen times at random moments; the definition is in `ecovision_edge_bench.power_cut`."""
    pytest.importorskip("gpiozero", reason="needs gpiozero: pip install 'ecovision-edge[gpio]'")
    pytest.importorskip("serial", reason="needs pyserial: pip install 'ecovision-edge[serial]'")
    with skipping():
        report = cut_power(tmp_path, 12, seed=3)
    print("\n".join(report.lines()))
    assert report.problems() == []
    assert report.kills == 12
    assert report.positioned >= 5
    assert all(tally.acknowledged for tally in report.sinks.values())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"sinks": {**GOOD.sinks, "mqtt": SinkTally(6, 5, 0, 0)}}, "mqtt: 1 acknowledged events were lost"),
        ({"sinks": {**GOOD.sinks, "mqtt": SinkTally(6, 6, 0, 4)}}, "mqtt: 4 events came twice"),
        ({"sinks": {**GOOD.sinks, "file": SinkTally(5, 5, 0, 1)}}, "file: 1 events came twice"),
        ({"sinks": {**GOOD.sinks, "serial": SinkTally(4, 4, 0, 1)}}, "serial: 1 events came twice"),
        ({"sinks": {**GOOD.sinks, "serial": SinkTally(0, 0, 0, 0)}}, "serial: nothing was acknowledged"),
        ({"broken_lines": 1}, "1 lines are broken"),
        ({"unsafe_starts": 1}, "1 of 4 starts were not fail-safe"),
        ({"positioned": 0}, "0 of 0 starts"),
    ],
)
def test_each_fact_counts(wrong, says):
    """A report that is not as it should be says what is wrong."""
    assert GOOD.problems() == []
    (problem,) = replace(GOOD, **wrong).problems()
    assert says in problem


def test_misuse_is_one_line(capsys):
    """Status 2, what was expected and found."""
    assert main(["--kills", "0"]) == 2
    assert main(["mqtt", "--events", "10"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert ["expected 1 or more, found 0" in lines[0], "10 events for each part" in lines[1]] == [True, True]


def test_the_broker_part_says_what_it_found(capsys):
    """And its exit status whether all held."""
    with skipping():
        status = main(["mqtt", "--events", "60", "--restarts", "2", "--signal", "TERM"])
    out = capsys.readouterr().out
    assert status == 0, out
    assert "60 events, mosquitto ended by SIGTERM and started again 2 times" in out
    assert "acknowledged 60, lost 0" in out


def test_kills_below_one_are_refused(tmp_path):
    """Nothing is started."""
    with pytest.raises(OptionError, match="kills"):
        cut_power(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []
