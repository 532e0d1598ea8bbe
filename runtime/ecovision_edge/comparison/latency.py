"""How long two classifiers take on this machine: in turns, so that what slows the machine slows both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.stats import coin_tail
from ecovision_edge.comparison.answers import Compared

__all__ = ["Latency", "compare_latency", "median_interval"]

_CONFIDENCE = 0.95
WARM_UP = 3
"""Frames that each is given before its time counts."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Both on the same frames, end to end but for the decoding.

    Args:
        rounds: In each, both were given one frame; who came first alternated.
        old_ms: Median of the old one, milliseconds.
        new_ms: Median of the new one, milliseconds.
        ratio: Median over the rounds of the new one's time in the old one's; above 1 the new one is slower.
        low: Low end of the 95 % interval of `ratio` (`median_interval`).
        high: Its high end.
    """

    rounds: int
    old_ms: float
    new_ms: float
    ratio: float
    low: float
    high: float


def compare_latency(
    old: Compared,
    new: Compared,
    frames: Sequence[npt.NDArray[np.uint8]],
    rounds: int = 60,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Time both in interleaved rounds.

    Args:
        old: The classifier in use.
        new: The one that may take its place.
        frames: At least one, `(height, width, 3)` uint8 BGR; they come in turn.
        rounds: At least one.
        clock: Seconds of a clock that never goes back.

    Raises:
        ValueError: no frame, or no round.
        InferenceError: an engine failed.
    """
    if not frames or rounds < 1:
        raise ValueError(f"expected at least one frame and one round, found {len(frames)} and {rounds}")
    for i in range(WARM_UP):
        for classifier in (old, new):
            classifier.classify(frames[i % len(frames)])
    olds: list[float] = []
    news: list[float] = []
    for i in range(rounds):
        frame = frames[i % len(frames)]
        turns = ((old, olds), (new, news))
        for classifier, times in turns if i % 2 == 0 else reversed(turns):
            start = clock()
            classifier.classify(frame)
            times.append(clock() - start)
    ratios = sorted(b / a if a > 0 else 1.0 for a, b in zip(olds, news, strict=True))
    low, high = median_interval(rounds)
    return Latency(
        rounds, median(olds) * 1000, median(news) * 1000, median(ratios), ratios[low], ratios[high]
    )


def median_interval(count: int) -> tuple[int, int]:
    """Return the places, from 0, of the sorted values that enclose their median in 95 % of all cases.

    Of fewer than six values these are the least and the greatest, which enclose it less often. It supposes
    nothing of how the values are distributed: how many lie below the median is as a fair coin falls.
    """
    place = 0
    while 2 * coin_tail(count, place) <= 1 - _CONFIDENCE:
        place += 1
    low = max(place - 1, 0)
    return low, count - 1 - low
