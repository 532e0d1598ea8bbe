"""What the camera loop costs: the tool runs, and finds what is there."""

from __future__ import annotations

import re

import pytest

from ecovision_edge_bench import loop_cost

pytestmark = pytest.mark.slow


def test_overhead_is_counted_for_each_frame(capsys: pytest.CaptureFixture[str]) -> None:
    """As many as were asked for, the first ones left out."""
    loop_cost.WARMUP, warm = 2, loop_cost.WARMUP
    try:
        loop_cost._overhead(100)
    finally:
        loop_cost.WARMUP = warm
    assert re.search(r"the loop's own: p50 \d+\.\d+ ms, p90 .* of 100\n", capsys.readouterr().out)


def test_a_soak_tells_memory_threads_and_descriptors(capsys: pytest.CaptureFixture[str]) -> None:
    """After a tenth, and at the end; and the loop's threads are gone by then."""
    assert loop_cost.main(["soak", "--frames", "1000"]) == 0
    out = capsys.readouterr().out
    assert "1000 classified" in out
    assert re.search(r"at the end: .* MiB, \d+ threads, \d+ descriptors; memory [+-]", out)
    before, after = re.search(r"threads before the loop (\d+), after it (\d+)", out).groups()  # type: ignore[union-attr]
    assert before == after
    assert "still open: 0" in out


def test_a_camera_is_run_with_threads_that_spin_and_wait(capsys: pytest.CaptureFixture[str]) -> None:
    """In turns, twice."""
    assert loop_cost.main(["camera", "--fps", "30", "--seconds", "0.5"]) == 0
    said = re.findall(r"threads (spin|wait): \d+\.\d% of a core", capsys.readouterr().out)
    assert said == ["spin", "wait", "spin", "wait"]


def test_stuck_sinks_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """Without sinks, and with three of which none delivers."""
    assert loop_cost.main(["sinks", "--fps", "15", "--seconds", "4"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"0 sinks that are stuck, \d+ events: age of a frame: p50", out)
    assert re.search(r"3 sinks that are stuck, \d+ events: age of a frame: p50", out)
    assert out.count("delivered=0") == 3


def test_misuse_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, what was expected and found."""
    assert loop_cost.main(["soak", "--frames", "10"]) == 2
    assert "expected at least 1000, found 10" in capsys.readouterr().err
