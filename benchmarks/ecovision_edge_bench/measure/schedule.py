"""The schedule: subjects take turns, round after round, in an order shuffled each round.

Only one subject runs at any time. What drifts on the machine, other load, clock, heat, falls on all of them.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ecovision_edge_bench.measure.processes import WorkerError
from ecovision_edge_bench.measure.settings import Settings

__all__ = ["Samples", "Schedule", "TakesTurns", "run_schedule"]


class TakesTurns(Protocol):
    """What the schedule runs: a `Worker`."""

    def turn(
        self, *, settle_s: float, seconds: float, fps: float | None, first: int
    ) -> dict[str, list[float]]:
        """See `Worker.turn`."""
        ...


@dataclass(slots=True)
class Samples:
    """What was measured of one subject, one entry per frame; times in milliseconds.

    Args:
        at_s: When the frame began, seconds since the first turn of the run.
        round: In which round.
        prepare_ms: Frame to network input.
        infer_ms: The network.
        post_ms: Its output to probabilities.
        measured_s: Seconds of all turns, without what was not recorded.
        warmup_count: Frames that ran before the first turn.
        error: Why it was given up.
    """

    at_s: list[float] = field(default_factory=list)
    round: list[int] = field(default_factory=list)
    prepare_ms: list[float] = field(default_factory=list)
    infer_ms: list[float] = field(default_factory=list)
    post_ms: list[float] = field(default_factory=list)
    measured_s: float = 0.0
    warmup_count: int = 0
    error: str | None = None

    @property
    def total_ms(self) -> list[float]:
        """End to end."""
        return [a + b + c for a, b, c in zip(self.prepare_ms, self.infer_ms, self.post_ms, strict=True)]

    def __len__(self) -> int:
        return len(self.at_s)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The samples of each row, and whether Ctrl-C ended it early."""

    samples: dict[str, Samples]
    interrupted: bool


def run_schedule(
    workers: Mapping[str, TakesTurns],
    settings: Settings,
    progress: Callable[[float], None] = lambda share: None,
    each_round: Callable[[float], None] = lambda seconds: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Schedule:
    """Let the subjects take turns until each has enough samples, or for `settings.sustained_secs`.

    Ctrl-C ends it, and what was measured stays.

    Args:
        workers: By row.
        settings: How long.
        progress: Called with the share done, 0 to 1.
        each_round: Called after each round with the seconds since the start.
        clock: Seconds.
    """
    found = {key: Samples() for key in workers}
    try:
        _warm_up(workers, found, settings)
        _rounds(workers, found, settings, progress, each_round, clock)
    except KeyboardInterrupt:
        return Schedule(found, interrupted=True)
    return Schedule(found, interrupted=False)


def _warm_up(workers: Mapping[str, TakesTurns], found: dict[str, Samples], settings: Settings) -> None:
    for key, worker in workers.items():
        with _failures_of(found[key]):
            taken = worker.turn(settle_s=0.0, seconds=settings.warmup_secs, fps=settings.fps, first=0)
            found[key].warmup_count = len(taken["at_s"]) + 1


def _rounds(
    workers: Mapping[str, TakesTurns],
    found: dict[str, Samples],
    settings: Settings,
    progress: Callable[[float], None],
    each_round: Callable[[float], None],
    clock: Callable[[], float],
) -> None:
    order = random.Random(settings.seed)  # noqa: S311 - a fair order, not a secret
    start, number, elapsed = clock(), 0, 0.0
    while any(s.error is None and _wants_more(s, settings, elapsed) for s in found.values()):
        # Rows that have enough go on taking turns while others have not: a round has all, so rounds are
        # pairs.
        turns = [key for key, samples in found.items() if samples.error is None]
        order.shuffle(turns)
        for key in turns:
            with _failures_of(found[key]):
                _take_turn(workers[key], found[key], settings, number, start)
        number += 1
        elapsed = clock() - start
        each_round(elapsed)
        progress(min(_share(s, settings, elapsed) for s in found.values()))


def _take_turn(worker: TakesTurns, samples: Samples, settings: Settings, number: int, start: float) -> None:
    taken = worker.turn(
        settle_s=settings.settle_secs,
        seconds=settings.seconds_per_turn,
        fps=settings.fps,
        first=len(samples) + number,
    )
    samples.at_s += [at - start for at in taken["at_s"]]
    samples.round += [number] * len(taken["at_s"])
    samples.prepare_ms += taken["prepare_ms"]
    samples.infer_ms += taken["infer_ms"]
    samples.post_ms += taken["post_ms"]
    last = (taken["prepare_ms"][-1] + taken["infer_ms"][-1] + taken["post_ms"][-1]) / 1e3
    samples.measured_s += taken["at_s"][-1] - taken["at_s"][0] + last


def _wants_more(samples: Samples, settings: Settings, elapsed: float) -> bool:
    if settings.sustained_secs is not None:
        return elapsed < settings.sustained_secs
    if samples.measured_s >= settings.max_secs:
        return False
    return samples.measured_s < settings.min_secs or len(samples) < settings.min_count


def _share(samples: Samples, settings: Settings, elapsed: float) -> float:
    if samples.error is not None:
        return 1.0
    if settings.sustained_secs is not None:
        return min(1.0, elapsed / settings.sustained_secs)
    enough = min(samples.measured_s / settings.min_secs, len(samples) / settings.min_count)
    return min(1.0, max(enough, samples.measured_s / settings.max_secs))


@contextlib.contextmanager
def _failures_of(samples: Samples) -> Iterator[None]:
    """A subject that fails ends its own row, and no other."""
    try:
        yield
    except WorkerError as e:
        samples.error = e.message
