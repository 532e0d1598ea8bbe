"""Whether a picture is the learnt one all the same: in a light of another colour, or moved a little."""

from __future__ import annotations

import math
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.decision._grid import COLUMNS, ROWS, Grid, Mask, gain, lit, slope, strongest

__all__ = ["moved", "recoloured", "same_edges"]

INLIERS = 0.6  # of the cells: an item may cover the others
STEPS = 6  # of the fit; it does not change any more after four, mostly
STRUCTURE = 1.5  # levels of deviation that a learnt picture needs, to be known again
ALIKE = 0.8  # correlation of what is left of the structure with what is seen
MOST_CELLS = 8.0  # by which it may have moved: a tenth of the view
MOST_TURN = math.radians(6)
AROUND = 5  # cells of the blur within which the shift is looked for
EDGES = 3.0  # levels from cell to cell on average: with fewer edges there is nothing to compare
FEW_CELLS = 50  # of which a correlation is believed


def recoloured(grid: Grid, learnt: Grid) -> Grid | None:
    """`learnt` in the light of `grid`: each colour a sum of the three, plus a constant.

    So it is when an infrared filter goes out of the way or comes back, and a camera shows all colours as one
    grey; and nearly so for any change of white balance, contrast and black level. Fitted to the `INLIERS` of
    the cells that it explains best, by steps that each keep those (least trimmed squares; P. J. Rousseeuw, K.
    Van Driessen, "Computing LTS Regression for Large Data Sets", Data Min. Knowl. Disc. 12 (2006) 29-45).

    Returns:
        The picture; None where the structure of what was learnt is not found in it.
    """
    cells = np.concatenate([learnt.reshape(-1, 3), np.full((ROWS * COLUMNS, 1), 255, np.float32)], axis=1)
    seen = grid.reshape(-1, 3)
    kept: npt.NDArray[np.intp] | slice = slice(None)
    shown = cells
    for _ in range(STEPS):
        by, *_ = np.linalg.lstsq(cells[kept], seen[kept], rcond=1e-4)
        shown = np.clip(cells @ by, 0, 255)
        off = np.abs(shown - seen).max(axis=1)
        kept = np.argpartition(off, int(INLIERS * off.size))[: int(INLIERS * off.size)]
    if not _alike(shown[kept].mean(axis=1), seen[kept].mean(axis=1)):
        return None
    return cast("Grid", shown.reshape(grid.shape).astype(np.float32))


def _alike(expected: npt.NDArray[np.float32], seen: npt.NDArray[np.float32]) -> bool:
    """Whether there is something to be known again, and it is."""
    if float(expected.std()) < STRUCTURE or float(seen.std()) < STRUCTURE:
        return False
    return float(np.corrcoef(expected, seen)[0, 1]) >= ALIKE


def same_edges(grid: Grid, learnt: Grid, mask: Mask) -> float:
    """Tell how well both edges agree within `mask`: a correlation, -1 to 1, in the quarter with the least.

    An item hides the edges of the tray and has its own; another light, of whatever colour, does neither. 0
    where there is too little to compare.
    """
    now, before = slope(grid), slope(learnt)
    found: list[float] = []
    for rows in (slice(0, ROWS // 2), slice(ROWS // 2, None)):
        for columns in (slice(0, COLUMNS // 2), slice(COLUMNS // 2, None)):
            part = mask[rows, columns]
            if int(part.sum()) < FEW_CELLS:
                continue
            a, b = now[rows, columns][part], before[rows, columns][part]
            if min(float(a.mean()), float(b.mean())) < EDGES or min(float(a.std()), float(b.std())) < 1:
                return 0.0
            found.append(float(np.corrcoef(a, b)[0, 1]))
    return min(found, default=0.0)


def moved(grid: Grid, learnt: Grid) -> Grid | None:
    """`learnt` shifted and turned a little to where `grid` shows it; where that shows more, `grid`.

    Returns:
        The picture; None if it is not to be found within a tenth of the view and 6 degrees.
    """
    before, now = strongest(learnt), strongest(grid)
    if min(float(before.std()), float(now.std())) < STRUCTURE:
        return None
    window = cv2.createHanningWindow((COLUMNS, ROWS), cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(before - before.mean(), now - now.mean(), window)
    if math.hypot(dx, dy) > MOST_CELLS:
        dx = dy = 0.0
    warp = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    whole = np.ones((ROWS, COLUMNS), np.uint8)
    criteria = cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-4
    try:
        # From `learnt` to `grid`, so that it is `learnt` that has to be sampled between its cells.
        alike, found = cv2.findTransformECC(
            now, before, _inverse(warp), cv2.MOTION_EUCLIDEAN, criteria, whole, AROUND
        )
    except cv2.error:  # it does not converge
        return None
    warp = cast("npt.NDArray[np.float32]", np.asarray(found, np.float32))
    centre = warp @ np.array([COLUMNS / 2, ROWS / 2, 1], np.float32) - (COLUMNS / 2, ROWS / 2)
    turn = math.atan2(float(warp[1, 0]), float(warp[0, 0]))
    if alike < ALIKE or math.hypot(*centre) > MOST_CELLS or abs(turn) > MOST_TURN:
        return None
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    shown = cast("Grid", cv2.warpAffine(learnt, warp, (COLUMNS, ROWS), flags=flags))
    inside = cv2.warpAffine(np.ones((ROWS, COLUMNS), np.float32), warp, (COLUMNS, ROWS), flags=flags) > 0.99
    if not inside.any():
        return None
    shown = lit(shown, gain(grid[inside], shown[inside]))
    return cast("Grid", np.where(inside[..., None], shown, grid))


def _inverse(warp: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return cast("npt.NDArray[np.float32]", cv2.invertAffineTransform(warp).astype(np.float32))
