"""Learning the empty tray: from pictures that lie still, in a light that has settled, and show something."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from ecovision_edge.decision._grid import Grid, Mask, gain, in_range, strongest

__all__ = ["LEARNING", "Learner", "Learnt", "blindness"]

BLIND = 0.98  # of the cells: nothing is seen, and nothing is learnt however long that lasts
HALF = 0.5  # of the cells that are out of range: the camera is waited for
PATIENCE = 10.0  # seconds: what is out of range for longer, of a white tray in the sun, say, stays so
SETTLED = 0.06  # of the light in the time of `learn`: what grows or falls by more has not settled
TURN = 0.25  # of that change: a light that goes back by more flickers
RESTLESS = 25.0  # seconds: a light that did not settle within them will not

LEARNING = "the empty tray is being learnt"
UNSETTLED = "the light is still changing; the empty tray is learnt when it has settled"


@dataclass(frozen=True, slots=True)
class Learnt:
    """What was learnt of the empty tray.

    Args:
        mean: Each cell's colour, `(ROWS, COLUMNS, 3) float32`, 0 to 255.
        spread: Its standard deviation, levels.
        unseen: Cells that were out of range in some of the pictures: their `mean` is a bound.
    """

    mean: Grid
    spread: Grid
    unseen: Mask


def blindness(grid: Grid, *, white: bool = True) -> str | None:
    """Why nothing is seen in a picture, in one line; None if something is.

    Args:
        grid: The picture.
        white: Whether one that is white all over counts: an item on it would be seen, but not the tray.
    """
    if float(in_range(grid).mean()) >= 1 - BLIND:
        return None
    level = float(np.median(strongest(grid)))
    if level >= 128 and float(grid.min(axis=-1).mean()) >= 128:
        return "the picture is white: too much light, or an exposure that does not settle" if white else None
    if level < 32:
        return "the picture is black: is the lens covered, or the light out?"
    return "the picture is of one colour: the camera gives none yet"


class Learner:
    """Looks at one picture after the other until the empty tray is learnt.

    Args:
        seconds: Of pictures without motion, in a light that has settled.
    """

    def __init__(self, seconds: float) -> None:
        """Nothing is learnt yet."""
        self._seconds = seconds
        self._begun: float | None = None
        self._since = 0.0
        self._sums: _Sums | None = None

    def look(self, grid: Grid, now: float, moving: bool) -> Learnt | str:
        """What was learnt, or why nothing is yet."""
        if self._begun is None:
            self._begun = now
        if (blind := blindness(grid)) is not None:
            self._sums = None
            self._begun = now  # it has not shown anything yet
            return blind
        waited = now - self._begun
        out = 1 - float(in_range(grid).mean())
        if out >= HALF and waited < PATIENCE:
            self._sums = None
            return f"{HALF:.0%} or more of the picture are too bright or too dark to be learnt"
        if moving or self._sums is None:
            self._since, self._sums = now, _Sums(grid)
        self._sums.add(grid)
        if moving or now - self._since < self._seconds:
            return LEARNING
        if not self._sums.settled() and waited < RESTLESS:
            self._since, self._sums = now, _Sums(grid)
            self._sums.add(grid)
            return UNSETTLED
        return self._sums.learnt()


class _Sums:
    """Sums over the pictures to learn from, each brought to the light of the first one.

    A light that flickers would else pass for noise of every cell, and no item would stand out from that.
    """

    def __init__(self, first: Grid) -> None:
        """`first` is not added yet."""
        self._first = first
        self._total, self._squares = np.zeros_like(first), np.zeros_like(first)
        self._unseen = np.zeros(first.shape[:2], np.bool_)
        self._lights: list[float] = []

    def add(self, grid: Grid) -> None:
        """One more picture."""
        by = gain(grid, self._first)
        self._lights.append(math.log(float(by.mean())))
        level = grid / by
        self._total += level
        self._squares += level * level
        self._unseen |= ~in_range(grid)

    def settled(self) -> bool:
        """Whether the light stays as it is, or goes to and fro."""
        quarters = [float(part.mean()) for part in np.array_split(self._lights, 4) if part.size]
        whole = quarters[-1] - quarters[0]
        sign = math.copysign(1, whole)
        back = max((sign * (a - b) for a, b in itertools.pairwise(quarters)), default=0.0)
        return abs(whole) <= SETTLED or back > TURN * abs(whole)

    def learnt(self) -> Learnt:
        """The mean and the standard deviation of each cell and colour."""
        count = len(self._lights)
        mean = self._total / count
        spread = np.sqrt(np.maximum(self._squares / count - mean * mean, 0))
        return Learnt(mean.astype(np.float32), spread.astype(np.float32), self._unseen)
