"""What lies on the tray: its cells, where it is, and whether it is another one than before."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ecovision_edge.decision._grid import COLUMNS, ROWS, Grid, Mask, slope, strongest
from ecovision_edge.observation import Box, Content

__all__ = ["GridContent", "Outline", "outline"]

CRUMB = 0.02  # of the largest part's cells: what is smaller is no part of the item
CHANGED_LEVELS = 28.0  # twice what a cell has to differ by from the empty tray
CHANGED_SLOPE = 0.4  # cells that an item may tremble, as of motion
AT_EDGE = 2  # cells along a side of the view: less is noise


@dataclass(frozen=True, slots=True)
class Outline:
    """Where the item is, and whether it reaches out of the view over one side or two."""

    box: Box
    edge: bool


def outline(mask: Mask) -> Outline | None:
    """Find the outline of the cells that differ from the empty tray; None if none does.

    What covers three sides of the view fills it: an arm comes over one side, or over a corner.
    """
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return None
    cells = stats[1:, cv2.CC_STAT_AREA]
    kept = np.flatnonzero(cells >= CRUMB * cells.max()) + 1
    left, top, width, height = (stats[kept, i] for i in range(4))
    right, bottom = int((left + width).max()), int((top + height).max())
    box = (int(left.min()) / COLUMNS, int(top.min()) / ROWS, right / COLUMNS, bottom / ROWS)
    item = np.isin(parts, kept)
    touched = sum(int(side.sum()) >= AT_EDGE for side in (item[0], item[-1], item[:, 0], item[:, -1]))
    return Outline(box, touched in (1, 2))


@dataclass(frozen=True, slots=True)
class GridContent:
    """The picture, as in the light that the empty tray was learnt in, and the cells that the item covers."""

    grid: Grid
    mask: Mask

    def changed(self, since: Content) -> float:
        """The share of the cells that either covers, which now look unlike then."""
        if not isinstance(since, GridContent):
            return 0.0
        either = self.mask | since.mask
        if not either.any():
            return 0.0
        difference = strongest(np.abs(self.grid - since.grid))
        steep = np.minimum(slope(self.grid), slope(since.grid))
        return float((difference > CHANGED_LEVELS + CHANGED_SLOPE * steep)[either].mean())
