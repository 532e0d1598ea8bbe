"""Facts about counting a bin over an empty tray, but for the emulation."""

import json
import subprocess
import sys

import pytest

from ecovision_edge_bench.arm64 import bin_guest, bins
from ecovision_edge_bench.arm64.counting import Mark
from ecovision_edge_bench.arm64.guest import NOTHING
from ecovision_edge_bench.arm64.tools import EmulationError


def marks_of(*points):
    """Marks at label, first thread, others."""
    return [Mark(*point) for point in points]


def test_a_frame_is_split_into_its_parts():
    """Less what the marks take; what no part has is the rest, and the other threads' is capture."""
    marks = marks_of(
        *[(NOTHING, 0, 0), (NOTHING, 10, 0), (bin_guest.WHOLE, 100, 50)],
        *[(bin_guest.GATE, 200, 50), (bin_guest.GATE, 510, 50)],
        *[(bin_guest.PAGE, 600, 60), (bin_guest.PAGE, 630, 60)],
        *[(bin_guest.GATE, 700, 60), (bin_guest.GATE, 910, 60)],
        (bin_guest.WHOLE, 1110, 90),
    )
    cost = bins.cost_of(marks, 2)
    assert cost.parts == {"capture": 20, "gate": 250, "network": 0, "page": 10, "rest": 210}
    assert (cost.frame, cost.second) == (490, 490 * 15)
    assert str(cost).startswith("0 million instructions a second; 0.00 a frame: capture 0.00, gate")
    assert json.loads(json.dumps(cost.to_json()))["parts"]["gate"] == 250


def test_marks_that_are_not_all_there_are_refused():
    """The guest died on the way."""
    with pytest.raises(EmulationError, match="pairs that count upwards"):
        bins.cost_of(marks_of((NOTHING, 0, 0), (NOTHING, 1, 0), (bin_guest.WHOLE, 5, 0)), 2)


def test_a_root_that_is_not_there_is_an_error(tmp_path, capsys):
    """With the command that makes it."""
    assert bins.main([str(tmp_path)]) == 1
    assert "arm64 root" in capsys.readouterr().err


@pytest.mark.slow
def test_the_bin_that_is_counted_learns_its_tray_and_asks_no_network():
    """In a process of its own, whose clock goes by frames; without the plugin a mark does nothing."""
    command = [sys.executable, "-m", bins.GUEST, "--frames", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"frames": 3, "state": "empty", "classified": 0}
