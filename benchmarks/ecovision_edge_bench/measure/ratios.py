"""How much slower or faster: ratios with a bootstrap interval.

Subjects take turns in rounds. What drifts with the machine falls on all turns of a round alike, so subjects
are compared round by round: the ratio is the median over rounds of (median of the round's samples / median of
the base's in the same round). Rounds, not samples, are drawn again for the interval: samples of one turn are
not independent, and an interval from them would be too narrow.

Source: B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.fields import JsonValue

__all__ = ["MIN_ROUNDS", "Ratio", "paired_ratio", "round_medians", "unpaired_ratio"]

RESAMPLES = 4000
_AT_ONCE = 2**20  # numbers drawn at once
MIN_ROUNDS = 5
"""Fewer rounds give no interval: the bootstrap of a handful of numbers says nothing."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ratio:
    """`value`, and its 95 % interval `low` to `high`; None where there are fewer than `MIN_ROUNDS` rounds."""

    value: float
    low: float | None
    high: float | None

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out 1."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {"value": self.value, "low95": self.low, "high95": self.high}

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def round_medians(values: Sequence[float], rounds: Sequence[int]) -> dict[int, float]:
    """Return the median of each round's values."""
    v, r = np.asarray(values, np.float64), np.asarray(rounds)
    order = np.argsort(r, kind="stable")
    numbers, starts = np.unique(r[order], return_index=True)
    groups = np.split(v[order], starts[1:])
    return {int(n): float(np.median(g)) for n, g in zip(numbers, groups, strict=True)}


def paired_ratio(of: dict[int, float], base: dict[int, float], seed: int = 0) -> Ratio:
    """Ratio of two subjects of one run, round by round; rounds that only one of them has are left out.

    Raises:
        ValueError: they have no round in common.
    """
    common = sorted(of.keys() & base.keys())
    if not common:
        raise ValueError("expected rounds in common, found none")
    each = np.array([of[n] / base[n] for n in common])
    return _with_interval(float(np.median(each)), [each], lambda draws: np.median(draws[0], axis=1), seed)


def unpaired_ratio(of: dict[int, float], base: dict[int, float], seed: int = 0) -> Ratio:
    """Ratio of medians over rounds of two separate runs.

    Raises:
        ValueError: one has no rounds.
    """
    if not of or not base:
        raise ValueError("expected rounds on both sides, found none")
    a, b = np.array(list(of.values())), np.array(list(base.values()))
    value = float(np.median(a) / np.median(b))
    return _with_interval(
        value, [a, b], lambda draws: np.median(draws[0], axis=1) / np.median(draws[1], axis=1), seed
    )


def _with_interval(
    value: float, groups: Sequence[Floats], statistic: Callable[[list[Floats]], Floats], seed: int
) -> Ratio:
    if min(len(g) for g in groups) < MIN_ROUNDS:
        return Ratio(value, None, None)
    rng = np.random.default_rng(seed)
    most = max(len(g) for g in groups)
    step = max(1, min(RESAMPLES, _AT_ONCE // most))  # hours of sustained mode have ten thousands of rounds
    found = [
        statistic([g[rng.integers(0, len(g), (min(step, RESAMPLES - done), len(g)))] for g in groups])
        for done in range(0, RESAMPLES, step)
    ]
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975]).tolist()
    return Ratio(value, low, high)
