"""The picture of the empty tray as it is known now, and what of a frame it explains."""

from __future__ import annotations

import math

import cv2
import numpy as np

from ecovision_edge.decision._grid import (
    CROSS,
    CUT_OFF,
    Grid,
    Mask,
    gain,
    in_range,
    is_grey,
    lit,
    sides,
    slope,
    strongest,
    unlike,
)
from ecovision_edge.decision.kept import KeptTray
from ecovision_edge.decision.likeness import moved, recoloured, same_edges
from ecovision_edge.decision.presence_options import PresenceOptions

__all__ = ["NOISE_FLOOR", "SHOWN", "KnownTray", "is_everywhere"]

NOISE_FLOOR = 1.0  # levels; a cell that never varied while it was learnt may still do so later
EDGE = 6.0  # levels from cell to cell; soft light makes less than three, noise three of its deviations
SHOWN = 0.5  # of the cells that were cut off when they were learnt: once these show more, all is learnt again
PLAIN = 3.0  # levels around the middle that a picture without anything in it keeps to, in 95 of 100 cells
SEGMENT = 0.25  # of the cells along each half of a side: what differs everywhere is another view
SAME_EDGES, SAME_EDGES_HERE = 0.6, 0.85  # correlation, of the whole view and of a part, where an item may be
SAME_EDGE = 0.5  # cells by which a picture that was moved is off, for it is known cell by cell
BRIGHTER = 2.0  # times the light that the tray was learnt in: its picture of then is a poor one


class KnownTray:
    """The mean colour of each cell of the empty tray, and how much it varies.

    A few pictures may have shown less of the noise of a cell than there is.

    Args:
        mean: Each cell's colour, `(ROWS, COLUMNS, 3) float32`, 0 to 255.
        spread: Its standard deviation, levels.
        options: How much has to differ.
        unseen: Cells that were out of range, `(ROWS, COLUMNS) bool`, learnt again as soon as they are not.
    """

    def __init__(
        self, mean: Grid, spread: Grid, options: PresenceOptions, unseen: Mask | None = None
    ) -> None:
        self._options = options
        self.mean = mean
        """Each cell's colour now."""
        self.noise = float(np.median(spread))
        """The standard deviation of a typical cell, levels."""
        self.spread: Grid = np.maximum(spread, np.float32(max(self.noise, NOISE_FLOOR)))
        """The standard deviation of each cell, levels."""
        self._limit = np.maximum(self.spread * options.noise, options.contrast)
        self.unseen: Mask = np.zeros(mean.shape[:2], np.bool_) if unseen is None else unseen
        """Cells that never were in range."""
        self.doubtful = float(self.unseen.mean()) >= SHOWN
        """Whether too little of the tray was in range."""
        off = np.abs(mean - np.median(mean, axis=(0, 1)))
        self.plain = float(np.percentile(strongest(off), 95)) <= PLAIN
        """Whether there was nothing in the picture."""

    def kept(self) -> KeptTray:
        """Return what is kept of it for the next run."""
        return KeptTray(self.mean.copy(), self.spread)

    def is_of_other_light(self, grid: Grid) -> bool:
        """Whether one of the two has colours and the other none, or nothing is in this one at all."""
        return self.plain or is_grey(grid) != is_grey(self.mean)

    def differs(self, grid: Grid, noise: float) -> tuple[Grid, Mask]:
        """Find the gain of the light that explains most, and the cells that it does not explain.

        Args:
            grid: The picture.
            noise: The standard deviation of its noise, levels; it grows when a camera makes up for the dark.
        """
        limit = np.maximum(self._limit, np.float32(self._options.noise * noise))
        found: list[tuple[bool, int, Grid, Mask]] = []
        # The median is the light's as long as less than half is covered; that of the sides mostly even then;
        # and no change at all may explain more than either.
        for light in (
            gain(grid, self.mean),
            gain(sides(grid), sides(self.mean)),
            np.ones(3, np.float32),
        ):
            mask = strongest(unlike(grid, self.mean, light) - limit) > 0
            if mask.any():
                mask = cv2.medianBlur(mask.astype(np.uint8), 3).astype(bool)  # single cells are noise
            around = float(sides(mask).mean()) >= self._options.cover
            found.append((around, int(mask.sum()), light, mask))
            if not mask.any():  # an empty tray, mostly: no other gain explains more than all
                break
        _, _, light, mask = min(found, key=lambda one: one[:2])
        return light, mask

    def no_item(self, grid: Grid, light: Grid, mask: Mask, noise: float) -> str | None:
        """Say why what differs is no item; None if it is one."""
        new, lost = self._edges(grid, light, mask)
        least = EDGE * max(1.0, self.noise, noise)
        if max(new, lost) < least:
            return "only the light changed"
        # Else it is something before the lens.
        if (new < least or lost > 2 * new) and not is_everywhere(mask):
            return "something learnt is gone"
        return None

    def looks_like(self, grid: Grid, mask: Mask, everywhere: bool) -> str | None:
        """Say in which way all of a picture is the empty tray; None if it is not."""
        shown = recoloured(grid, self.mean)
        if shown is not None and self.explains(grid, shown):
            return "the light has another colour"
        if same_edges(grid, self.mean, mask) >= (SAME_EDGES if everywhere else SAME_EDGES_HERE):
            return "the light has another colour, and the edges are the same"
        shown = moved(grid, self.mean)
        if shown is not None and self.explains(grid, shown):
            return "the camera or the tray was moved a little"
        return None

    def explains(self, grid: Grid, shown: Grid) -> bool:
        """Whether `grid` is this picture of the empty tray, as far as its cells vary."""
        limit = self._limit.max(axis=-1) + SAME_EDGE * np.minimum(slope(grid), slope(shown))
        differs = strongest(unlike(grid, shown, np.ones(3, np.float32))) > limit
        return float(cv2.medianBlur(differs.astype(np.uint8), 3).mean()) < self._options.enter

    def follow(self, grid: Grid, passed: float, mask: Mask | None = None) -> None:
        """Come nearer to a picture, within `mask` if there is one, as far as in `passed` seconds."""
        rate = np.float32(1.0 - math.exp(-passed / self._options.adapt))
        step = (grid - self.mean) * rate
        if mask is not None and not mask.all():
            step *= mask[..., None]
        self.mean = (self.mean + step).astype(np.float32)

    def follow_light(self, grid: Grid, passed: float, light: Grid, *, moving: bool) -> None:
        """Follow the light of an empty tray, but into no cell that the sensor cuts off."""
        soon = self._options.adapt if float(light.max()) > BRIGHTER else 1.0
        self.follow(grid, passed * soon, strongest(grid) < CUT_OFF)
        if not moving and self.unseen.any():
            shown = self.unseen & in_range(grid)
            self.mean[shown] = grid[shown] / light
            self.unseen &= ~shown

    def _edges(self, grid: Grid, light: Grid, mask: Mask) -> tuple[float, float]:
        """Say how strong the edges along `mask`'s outline are that came since it was learnt, or went."""
        thick = mask.astype(np.uint8)
        ring = (cv2.dilate(thick, CROSS) - cv2.erode(thick, CROSS)).astype(bool)
        if not ring.any():
            return 0.0, 0.0
        now = slope(grid)[ring]
        # Where the light is taken for too bright, it would cut off edges, and those that are there were new.
        new, lost = now - slope(self.mean * light)[ring], slope(lit(self.mean, light))[ring] - now
        # The upper quarter: an item looks like the tray, or leaves the view, along a part of its outline.
        return float(np.percentile(new, 75)), float(np.percentile(lost, 75))


def is_everywhere(mask: Mask) -> bool:
    """Whether the view differs along each half of each side, which no item covers all at once."""
    halves = (*np.array_split(mask[0], 2), *np.array_split(mask[-1], 2))
    halves += (*np.array_split(mask[:, 0], 2), *np.array_split(mask[:, -1], 2))
    return all(float(half.mean()) >= SEGMENT for half in halves)
