"""The range of a tensor, from a histogram of its values.

Four methods: `minmax` is all of it; `percentile` leaves out the 1/10,000 of the values at either end; `mse`
has the least mean square error of rounding and clipping; `entropy` the least information lost, as the
Kullback-Leibler divergence of the values from the same values rounded to levels (Migacz 2017, "8-bit
Inference with TensorRT", GTC).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecovision_edge_export.int8.recipe import RangeMethod

__all__ = ["Histogram"]

BINS = 2048
SHARES = np.linspace(1.0, 0.25, 31)
"""Of the least and of the greatest value, that are tried as the ends of the range."""

PERCENTILE = 99.99
"""Of the values, that are not above the range, and not below it."""

_LEVELS = 255
_MOST_VALUES = 20_000
"""Of a tensor, that are counted each time, evenly spread."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in `BINS` bins of equal width from `low` to `high`."""

    low: float
    high: float
    counts: npt.NDArray[np.int64]

    @classmethod
    def between(cls, low: float, high: float) -> Histogram:
        """Return an empty one of the range that has `low`, `high` and zero in it."""
        return cls(min(low, 0.0), max(high, 0.0), np.zeros(BINS, np.int64))

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count values; those beyond an end count as that end."""
        if self.high == self.low:
            return
        flat = values.reshape(-1)
        # An odd step walks through all columns of an image.
        flat = flat[:: max(1, len(flat) // _MOST_VALUES) | 1].astype(np.float64)
        places = (flat[~np.isnan(flat)] - self.low) * (BINS / (self.high - self.low))
        self.counts[:] += np.bincount(np.clip(places, 0, BINS - 1).astype(np.int64), minlength=BINS)

    def range_by(self, method: RangeMethod, *, fixed_low: bool = False) -> tuple[float, float]:
        """Return the range `(low, high)` by one of the methods; zero is in it.

        Args:
            method: See the module.
            fixed_low: Whether the low end stays.
        """
        if method == "minmax" or not self.counts.any():
            return self.low, self.high
        if method == "percentile":
            low, high = self._percentiles()
            return self.low if fixed_low else low, high
        error = self._square_error if method == "mse" else self._divergence
        centers = self._centers
        ends = [(float(self.low * a), float(self.high * b)) for a, b in self._shares(method, fixed_low)]
        return min(ends, key=lambda span: error(centers, *span))

    @property
    def _centers(self) -> npt.NDArray[np.float64]:
        return self.low + (np.arange(BINS) + 0.5) * (self.high - self.low) / BINS

    def _shares(self, method: RangeMethod, fixed_low: bool) -> list[tuple[float, float]]:
        lows = SHARES if self.low < 0 and not fixed_low else SHARES[:1]
        highs = SHARES if self.high > 0 else SHARES[:1]
        if method == "entropy":  # both ends together: the threshold of its paper
            return [(a if len(lows) > 1 else 1.0, a if len(highs) > 1 else 1.0) for a in SHARES.tolist()]
        return [(float(a), float(b)) for a in lows for b in highs]

    def _percentiles(self) -> tuple[float, float]:
        share = np.cumsum(self.counts) / self.counts.sum()
        centers, tail = self._centers, 1 - PERCENTILE / 100
        low = centers[min(int(np.searchsorted(share, tail)), BINS - 1)]
        high = centers[min(int(np.searchsorted(share, 1 - tail)), BINS - 1)]
        return min(float(low), 0.0), max(float(high), 0.0)

    def _square_error(self, centers: npt.NDArray[np.float64], low: float, high: float) -> float:
        levels, step = _rounded(centers, low, high)
        return float((self.counts * (levels * step - centers) ** 2).sum())

    def _divergence(self, centers: npt.NDArray[np.float64], low: float, high: float) -> float:
        """Return how far counts diverge from their mean over each level; the ends take those beyond."""
        levels, _ = _rounded(centers, low, high)
        inside = (centers >= low) & (centers <= high)
        if not inside.any():
            return float("inf")
        kept = np.flatnonzero(inside)
        p = self.counts[inside].astype(np.float64)
        p[0] += self.counts[: kept[0]].sum()
        p[-1] += self.counts[kept[-1] + 1 :].sum()
        own = self.counts[inside].astype(np.float64)
        groups = (levels[inside] - levels[inside].min()).astype(np.int64)
        filled = (own > 0).astype(np.float64)
        means = np.bincount(groups, own) / np.maximum(np.bincount(groups, filled), 1)
        q = means[groups] * filled
        if not q.any():
            return float("inf")
        # What was clipped onto an end that was empty has no counterpart: a little, so that it costs much.
        q = np.maximum(q / q.sum(), 1e-12)
        p /= p.sum()
        return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


def _rounded(
    centers: npt.NDArray[np.float64], low: float, high: float
) -> tuple[npt.NDArray[np.float64], float]:
    """Return the level of each bin, counted from zero's, and the step between levels."""
    step = (high - low) / _LEVELS
    zero = np.round(-low / step)
    levels: npt.NDArray[np.float64] = np.clip(np.round(centers / step) + zero, 0, _LEVELS) - zero
    return levels, step
