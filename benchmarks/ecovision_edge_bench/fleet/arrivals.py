"""When the devices of a fleet ask, after the power is back in a whole town: times alone, no time passes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ecovision_edge.updates.timetable import Timetable

__all__ = ["Cut", "busiest", "histogram", "questions"]

_NOW = 1.8e9  # Unix seconds at which the power is back; any will do


@dataclass(frozen=True, slots=True)
class Cut:
    """A power cut of a whole fleet, whose devices had asked at a time of their own before.

    Args:
        devices: How many.
        every: Seconds between two questions of a device.
        off: Seconds without power. If at least `every`, each device is due as it starts.
        one_name: Whether all of them have one image, and so one device id.
        away: Seconds that the server is away for longer than the devices: who asks meanwhile asks again.
        seed: Of all that is random.
    """

    devices: int
    every: float
    off: float
    one_name: bool = False
    away: float = 0.0
    seed: int = 0


class _Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def questions(cut: Cut, until: float) -> Iterator[float]:
    """Yield the times at which a device asks, in seconds since all of them started; in no order.

    They start in the same moment, which is worse than any town does.

    Args:
        cut: The fleet, and what happened to it.
        until: The end, in the same seconds.
    """
    for number in range(cut.devices):
        name = f"bin-{number:05d}"
        rng = random.Random(f"{cut.seed} {name}")  # noqa: S311 - nothing secret
        asked_last = _NOW - cut.off - cut.every * rng.random()
        clock = _Clock()
        device = "bin" if cut.one_name else name
        timetable = Timetable(cut.every, device, asked_last, clock=clock, now=lambda: _NOW, rng=rng)
        while True:
            clock.now += timetable.left
            if clock.now >= until:
                break
            yield clock.now
            timetable.asked(again=clock.now < cut.away)


def busiest(times: Iterable[float]) -> int:
    """Return how many there are in the second that has the most; 0 of none."""
    return max(Counter(map(int, times)).values(), default=0)


def histogram(times: Iterable[float], width: float) -> Sequence[int]:
    """Return how many there are in each `width` seconds, from 0 to the last that has any."""
    counts = Counter(int(time / width) for time in times)
    return [counts[index] for index in range(max(counts, default=-1) + 1)]
