"""Does something move? Told from two pictures a moment apart, whatever noise, light and trembling do."""

from __future__ import annotations

import math

import numpy as np

from ecovision_edge.decision._grid import Grid, gain, noise, slope, strongest, unlike

__all__ = ["Motion"]

MOTION_SECONDS = 0.15  # two pictures that are compared are at least so far apart
TREMBLE = 0.4  # cells (3 px of 640): what moves by less has not moved; a camera on a bin trembles
DEVIATIONS = 4.0  # of noise: one cell in 5,000 differs by more in one of three colours
START_NOISE, NOISE_SECONDS = 4.0, 10.0  # levels; seconds in which more noise is believed, less at once


class Motion:
    """Compares each picture with one from a moment before. A change of light alone is no motion.

    A cell has changed if it differs by more than `contrast`, by more than the noise, which is estimated as it
    goes, and by more than an edge that trembles within the cell would make of it: a shift by so much of a
    cell changes it by that part of its slope.
    """

    def __init__(self, contrast: float, share: float) -> None:
        """From a share of cells on that differ by more than `contrast` levels, something moves."""
        self._contrast, self._share = contrast, share
        self._before: tuple[float, Grid, Grid] | None = None
        self._noise = START_NOISE
        self._moving = True

    @property
    def noise(self) -> float:
        """The standard deviation of the noise of one picture, levels; the typical cell's."""
        return self._noise / math.sqrt(2)

    def look(self, grid: Grid, now: float, spread: Grid | None = None) -> bool:
        """Whether something moves.

        Args:
            grid: The picture, of `grid_of`.
            now: Seconds, which never go back.
            spread: The standard deviation of each cell and colour, where it is known.
        """
        if self._before is None:
            self._before = now, grid, slope(grid)
        elif (passed := now - self._before[0]) >= MOTION_SECONDS:
            _, before, steep_before = self._before
            steep = slope(grid)
            difference = unlike(grid, before, gain(grid, before))
            self._follow(noise(difference), passed)
            limit = max(self._contrast, DEVIATIONS * self._noise)
            # An edge that trembles is there before and after; one that came or went has moved.
            limits = limit + TREMBLE * np.minimum(steep, steep_before)
            if spread is not None:  # what flickered on the empty tray may go on
                difference = difference - np.maximum(math.sqrt(2) * DEVIATIONS * spread - limit, 0)
            self._moving = bool((strongest(difference) > limits).mean() >= self._share)
            self._before = now, grid, steep
        return self._moving

    def _follow(self, found: float, passed: float) -> None:
        """Less noise is believed at once; more may be something large that moves, and only if it stays."""
        rate = 1.0 if found < self._noise else 1 - math.exp(-min(passed, 1.0) / NOISE_SECONDS)
        self._noise += (found - self._noise) * rate
