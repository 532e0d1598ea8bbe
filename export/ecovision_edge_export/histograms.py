"""The range of a tensor by the least mean square error, from a histogram of its values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Histogram"]

BINS = 2048
SHARES = np.linspace(1.0, 0.25, 31)
"""Of the least and of the greatest value, that are tried as the ends of the range."""

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
        """An empty one of the range that has `low`, `high` and zero in it."""
        return cls(min(low, 0.0), max(high, 0.0), np.zeros(BINS, np.int64))

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count values; those beyond an end count as that end."""
        if self.high == self.low:
            return
        flat = values.reshape(-1)
        # An odd step walks through all columns of an image.
        flat = flat[:: max(1, len(flat) // _MOST_VALUES) | 1].astype(np.float64)
        bins = ((flat - self.low) * (BINS / (self.high - self.low))).astype(np.int64)
        self.counts[:] += np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)

    def best_range(self, *, fixed_low: bool = False) -> tuple[float, float]:
        """Of the ranges with uint8 levels the one whose mean square error over the counts is least.

        Args:
            fixed_low: Whether the low end stays.
        """
        if not self.counts.any():
            return self.low, self.high
        centers = self.low + (np.arange(BINS) + 0.5) * (self.high - self.low) / BINS
        best = (np.inf, self.low, self.high)
        for a in SHARES if self.low < 0 and not fixed_low else SHARES[:1]:
            for b in SHARES if self.high > 0 else SHARES[:1]:
                low, high = float(self.low * a), float(self.high * b)
                step = (high - low) / _LEVELS
                zero = np.round(-low / step)
                levels = np.clip(np.round(centers / step) + zero, 0, _LEVELS) - zero
                error = float((self.counts * (levels * step - centers) ** 2).sum())
                if error < best[0]:
                    best = (error, low, high)
        return best[1], best[2]
