"""What lies on the tray: its cells, where it is, and whether it is another one than before."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ecovision_edge.decision._grid import COLUMNS, ROWS, Grid, Mask, slope, strongest
from ecovision_edge.observation import Box, Content
from ecovision_edge.preprocess.region import TurnedBox

__all__ = ["GridContent", "Outline", "outline"]

CRUMB = 0.02  # of the largest part's cells: what is smaller is no part of the item
CHANGED_LEVELS = 28.0  # twice what a cell has to differ by from the empty tray
CHANGED_SLOPE = 0.4  # cells that an item may tremble, as of motion
FILLED = 0.85  # of its smallest rectangle: what fills less of it is no sheet, box or card
ASLANT = 5.0  # degrees: a rectangle turned by less is taken for upright, for cells tell no better
AT_EDGE = 2  # cells along a side of the view: less is noise


@dataclass(frozen=True, slots=True)
class Outline:
    """Where the item is, how it lies (see `Look.turned`), and whether it reaches out over one side or two."""

    box: Box
    turned: TurnedBox | None
    edge: bool


def outline(mask: Mask, aspect: float) -> Outline | None:
    """Find the outline of the cells that differ from the empty tray; None if none does.

    `aspect` is the view's height as a share of its width.

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
    return Outline(box, _turned_box(item, aspect), touched in (1, 2))


def _turned_box(item: Mask, aspect: float) -> TurnedBox | None:
    """Find the rectangle that cells fill, aslant; None if they fill none, or one along the view's sides."""
    wide, high = 1 / COLUMNS, aspect / ROWS
    rows = np.flatnonzero(item.any(axis=1))
    ends = np.concatenate([item[rows].argmax(axis=1), COLUMNS - 1 - item[rows, ::-1].argmax(axis=1)])
    points = np.stack([(ends + 0.5) * wide, (np.concatenate([rows, rows]) + 0.5) * high], axis=1)
    corners = cv2.boxPoints(cv2.minAreaRect(points.astype(np.float32)))  # its angle is another in each OpenCV
    first, second = corners[1] - corners[0], corners[2] - corners[1]
    sides = float(np.hypot(*first)), float(np.hypot(*second))
    longer = first if sides[0] >= sides[1] else second  # the other one may have no length
    degrees = (math.degrees(math.atan2(longer[1], longer[0])) + 45) % 180 - 45
    width, height = max(sides), min(sides)
    if degrees > 45:
        degrees, width, height = degrees - 90, height, width
    if abs(degrees) < ASLANT or not max(sides):
        return None
    cell = math.sqrt(wide * high)  # half a one at each end
    width, height = width + cell, height + cell
    if np.count_nonzero(item) * wide * high < FILLED * width * height:
        return None
    x, y = map(float, corners.mean(axis=0))
    # No finer than cells tell: the last digits differ from one OpenCV to the next.
    return TurnedBox(round(x, 4), round(y, 4), round(width, 4), round(height, 4), round(degrees, 1))


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
