"""Turns: who runs when, for how long, and what becomes of those who fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from ecovision_edge.base.durations import parse_duration
from ecovision_edge.errors import OptionError
from ecovision_edge_bench.measure.processes import WorkerError
from ecovision_edge_bench.measure.schedule import Samples, run_schedule
from ecovision_edge_bench.measure.settings import Settings, parse_spinning, parse_threads


class Bench:
    """A clock that only workers move, and the turns that they took."""

    def __init__(self) -> None:
        self.now = 100.0
        self.log: list[str] = []

    def clock(self) -> float:
        return self.now

    def worker(
        self, name: str, ms: float, fails_at: int | None = None, stops_at: int | None = None
    ) -> Worker:
        return Worker(self, name, ms, fails_at, stops_at)


@dataclasses.dataclass
class Worker:
    """Takes `ms` a frame, all of it for the network."""

    bench: Bench
    name: str
    ms: float
    fails_at: int | None = None
    stops_at: int | None = None
    turns: int = 0

    def turn(
        self, *, settle_s: float, seconds: float, fps: float | None, first: int
    ) -> dict[str, list[float]]:
        self.turns += 1
        if self.turns == self.fails_at:
            raise WorkerError(self.name, found="a crash")
        if self.turns == self.stops_at:
            raise KeyboardInterrupt
        self.bench.log.append(self.name)
        pace = self.ms / 1e3 if fps is None else max(self.ms / 1e3, 1 / fps)
        self.bench.now += max(settle_s, pace)
        starts: list[float] = []
        begin = self.bench.now
        while not starts or self.bench.now - begin < seconds - 1e-9:
            starts.append(self.bench.now)
            self.bench.now += pace
        n = len(starts)
        return {"at_s": starts, "prepare_ms": [0.0] * n, "infer_ms": [self.ms] * n, "post_ms": [0.0] * n}


SHORT = Settings(min_secs=2.0, min_count=10, max_secs=10.0, warmup_secs=0.5)


def run(bench: Bench, workers: Sequence[Worker], settings: Settings = SHORT) -> dict[str, Samples]:
    """The schedule of those workers."""
    return run_schedule({w.name: w for w in workers}, settings, clock=bench.clock).samples


def test_each_subject_gets_its_seconds_and_its_samples() -> None:
    """The fast one by the clock, the slow one by the count."""
    bench = Bench()
    found = run(bench, [bench.worker("fast", 1), bench.worker("slow", 400)])
    assert found["fast"].measured_s >= 2.0
    assert len(found["slow"]) >= 10
    assert found["slow"].infer_ms == [400.0] * len(found["slow"])


def test_every_round_has_all_of_them_once_in_shuffled_order() -> None:
    """So whatever drifts falls on all; and no order repeats for ever."""
    bench = Bench()
    found = run(bench, [bench.worker(n, 5) for n in "abc"])
    log = bench.log[3:]  # after the warm-up
    orders = ["".join(log[i : i + 3]) for i in range(0, len(log), 3)]
    assert all(sorted(o) == ["a", "b", "c"] for o in orders)
    assert len(set(orders)) > 1
    assert {tuple(sorted(set(s.round))) for s in found.values()} == {tuple(range(len(orders)))}


def test_the_warm_up_is_not_among_the_samples() -> None:
    """It is counted, and before time zero."""
    bench = Bench()
    found = run(bench, [bench.worker("a", 10)])
    assert found["a"].warmup_count >= 50
    assert min(found["a"].at_s) >= 0


def test_a_failure_ends_one_row_and_no_other() -> None:
    """What it had measured before stays; the others go on."""
    bench = Bench()
    found = run(bench, [bench.worker("good", 5), bench.worker("bad", 5, fails_at=4)])
    assert "a crash" in (found["bad"].error or "")
    assert 0 < len(found["bad"]) < len(found["good"])
    assert found["good"].error is None
    assert found["good"].measured_s >= 2.0


def test_one_that_never_has_enough_is_given_up() -> None:
    """After max_secs, however few samples it has."""
    bench = Bench()
    found = run(bench, [bench.worker("snail", 5000)])
    assert len(found["snail"]) < 10
    assert 10.0 <= found["snail"].measured_s <= 16


def test_an_interrupt_keeps_what_was_measured() -> None:
    """The result says that it was interrupted."""
    bench = Bench()
    workers = {"a": bench.worker("a", 5), "b": bench.worker("b", 5, stops_at=4)}
    schedule = run_schedule(workers, SHORT, clock=bench.clock)
    assert schedule.interrupted
    assert len(schedule.samples["a"]) > 0
    assert not run_schedule({"a": bench.worker("a", 5)}, SHORT, clock=bench.clock).interrupted


def test_sustained_mode_goes_on_for_its_time() -> None:
    """Not until a count; and tells after each round how far it is."""
    bench = Bench()
    told: list[float] = []
    settings = dataclasses.replace(SHORT, sustained_secs=30.0)
    workers = {"a": bench.worker("a", 5)}
    found = run_schedule(workers, settings, each_round=told.append, clock=bench.clock).samples
    assert told[-1] >= 30 > told[-2]
    assert told == sorted(told)
    assert found["a"].measured_s > 20


def test_paced_turns_are_long_enough_for_some_frames() -> None:
    """Eight at least, whatever the pace."""
    for fps in (0.5, 15.0, 200.0):
        assert dataclasses.replace(SHORT, fps=fps).seconds_per_turn * fps >= 8


def test_progress_goes_up_to_the_end() -> None:
    """Share done, 0 to 1."""
    bench = Bench()
    told: list[float] = []
    run_schedule({"a": bench.worker("a", 5)}, SHORT, progress=told.append, clock=bench.clock)
    assert told == sorted(told)
    assert told[-1] == 1.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("200ms", 0.2), ("90", 90), ("90s", 90), ("1.5m", 90), ("30min", 1800), ("2h", 7200)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    """Seconds, minutes, hours."""
    assert parse_duration(text) == seconds


def test_lists_of_settings_are_read_without_repetition() -> None:
    """In the order given."""
    assert parse_threads("4,1,4") == (4, 1)
    assert len(parse_threads("auto")) == 1
    assert parse_spinning("off,on,off") == (False, True)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: parse_duration("soon"),
        lambda: parse_duration("-5s"),
        lambda: parse_threads("0"),
        lambda: parse_threads("two"),
        lambda: parse_threads(""),
        lambda: parse_spinning("maybe"),
        lambda: Settings(fps=0),
        lambda: Settings(min_secs=float("nan")),
        lambda: Settings(min_count=0),
        lambda: Settings(sustained_secs=0.1),
    ],
)
def test_settings_outside_their_range_are_refused(wrong) -> None:  # type: ignore[no-untyped-def]
    """With what was expected and found."""
    with pytest.raises(OptionError, match=r"expected .* found"):
        wrong()
