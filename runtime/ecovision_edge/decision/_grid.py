"""The coarse picture that the gate looks at, and what is measured on it."""

from __future__ import annotations

from typing import TypeAlias, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.preprocess.frames import Bgr

__all__ = [
    "COLUMNS",
    "CROSS",
    "CUT_OFF",
    "ENOUGH_PIXELS",
    "ROWS",
    "Grid",
    "Mask",
    "gain",
    "grid_of",
    "in_range",
    "is_grey",
    "lit",
    "noise",
    "sides",
    "slope",
    "strongest",
    "unlike",
]

Grid: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.bool_]
_Any = TypeVar("_Any", np.float32, np.bool_)

COLUMNS, ROWS = 80, 60  # of 640x480 a cell is a block of 8 x 8 pixels, whose mean has an eighth of the noise
MOST_ROWS = 257  # of pixels in a cell: so many levels of 255 add up to 16 bits
FEW_PIXELS = 16  # a cell of fewer is averaged with its neighbours: else a small frame is nothing but noise
ENOUGH_PIXELS = FEW_PIXELS * COLUMNS * ROWS  # of a picture of which each cell is looked at alone
WHITE = 225.0  # levels of a cell's mean; some of its pixels may then be at 255
SAME_LIGHT = 0.02  # of the light: less changes white by 5 levels
CUT_OFF = (
    250.0  # levels of a cell's mean; most of its pixels are then at 255, and it may be brighter than that
)
DARK = 12.0  # levels; what is darker shows the sensor's noise and little else
MISSING = 2.0  # levels; two colours without any light are what a decoder makes of no picture: green, mostly
GREY = 3.0  # levels between the colours of a cell, in 99 of 100 cells
ENOUGH = 0.1  # of the cells: from so many on the light is told from those in range alone
GAINS = 0.25, 16.0  # darker is too dark to see an item; brighter is what follows a picture of the dark
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def grid_of(image: Bgr) -> Grid:
    """The mean colour of each cell, `(ROWS, COLUMNS, 3) float32`, 0 to 255."""
    if _is_large(image):
        return _means(image)
    small = cv2.resize(image, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA)
    cells = cast("Grid", small.astype(np.float32))
    if image.shape[0] * image.shape[1] < ENOUGH_PIXELS:
        cells = cast("Grid", cv2.blur(cells, (3, 3)))
    return cells


def _is_large(image: Bgr) -> bool:
    """Whether all cells are equal blocks of 8 x 8 pixels or more, as of what cameras give."""
    (high, odd_rows), (wide, odd_columns) = divmod(image.shape[0], ROWS), divmod(image.shape[1], COLUMNS)
    whole = not odd_rows and not odd_columns and image.flags.c_contiguous
    return whole and min(high, wide) >= 8 and high <= MOST_ROWS


def _means(image: Bgr) -> Grid:
    """The same as OpenCV's INTER_AREA, to the bit, in half of its instructions: numpy adds up the rows."""
    high, wide = image.shape[0] // ROWS, image.shape[1] // COLUMNS
    sums = np.add.reduce(image.reshape(ROWS, high, -1), axis=1, dtype=np.uint16)
    across = sums.astype(np.float32).reshape(ROWS, -1, 3)
    total = np.rint(cv2.resize(across, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA) * np.float32(wide))
    return cast("Grid", np.rint(total * np.float32(1 / (high * wide))))


def in_range(grid: Grid) -> Mask:
    """Find the cells of `(..., 3)` levels that show what is there: not cut off, black or of one colour."""
    blue, green, red = grid[..., 0], grid[..., 1], grid[..., 2]
    bright = np.maximum(np.maximum(blue, green), red)
    middle = np.maximum(np.minimum(blue, green), np.minimum(np.maximum(blue, green), red))
    return (bright < CUT_OFF) & (bright > DARK) & (middle > MISSING)


def is_grey(grid: Grid) -> bool:
    """Whether a picture has no colour at all, as by infrared light."""
    colour = strongest(grid) - grid.min(axis=-1)
    return bool(np.percentile(colour, 99) <= GREY)


def gain(grid: Grid, before: Grid) -> Grid:
    """One factor a colour from `before` to `grid`, near 1 where all is dark.

    The median over the cells that neither cuts off: what is at 255 says how bright it is at least. Where
    nearly all is cut off, the light has changed by as much as any cell shows.
    """
    ratio = ((grid + 1) / (before + 1)).reshape(-1, 3)
    shown = (strongest(np.maximum(grid, before)) < WHITE).ravel()
    if shown.mean() >= ENOUGH:
        by = _medians(np.ascontiguousarray((ratio if shown.all() else ratio[shown]).T))
    else:
        by = np.percentile(ratio, 95 if grid.mean() > before.mean() else 5, axis=0)
    return cast("Grid", np.clip(by, *GAINS).astype(np.float32))


def _medians(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """`np.median` of each row, none of it NaN, to the bit; that looks for NaN, and for two of each."""
    middle, odd = divmod(values.shape[1], 2)
    parts = np.partition(values, middle, axis=1)
    if odd:
        return parts[:, middle]
    return cast("npt.NDArray[np.float32]", (parts[:, :middle].max(axis=1) + parts[:, middle]) / np.float32(2))


def lit(grid: Grid, by: Grid) -> Grid:
    """`grid` under `by` times the light, as a sensor shows it: nothing is brighter than 255."""
    # By whole rows: numpy goes through an array of three columns three numbers at a time.
    rows = grid.reshape(len(grid), -1) * np.tile(by, grid.size // len(grid) // 3)
    return cast("Grid", np.minimum(rows, np.float32(255)).reshape(grid.shape))


def unlike(grid: Grid, before: Grid, by: Grid) -> Grid:
    """By how much `grid` differs from `before` under `by` times the light, levels, 0 or more.

    What is nearly white was or is cut off by the sensor, in parts of a cell at least, and follows the light
    as far as it can: anything from no change to all of it is that.
    """
    shown = lit(before, by)
    difference = np.abs(grid - shown)
    white = np.maximum(grid, before) >= WHITE
    if white.any() and np.abs(by - 1).max() > SAME_LIGHT:
        between = np.maximum(grid - np.maximum(before, shown), np.minimum(before, shown) - grid)
        difference = np.where(white, np.maximum(between, 0), difference)
    return cast("Grid", difference)


def noise(difference: Grid) -> float:
    """Estimate the noise of two pictures' difference, in levels, from its size where less than half changed.

    By the median, a normal distribution supposed (F. R. Hampel, "The influence curve and its
    role in robust estimation", J. Am. Stat. Assoc. 69 (1974) 383-393).
    """
    return 1.4826 * float(_medians(difference[::2, ::2].reshape(1, -1))[0])


def sides(cells: npt.NDArray[_Any]) -> npt.NDArray[_Any]:
    """Mark the cells along the four sides of the view, which things on a tray mostly leave free."""
    return np.concatenate([cells[0], cells[-1], cells[1:-1, 0], cells[1:-1, -1]])


def strongest(cells: Grid) -> Grid:
    """Take the maximum of each cell's three colours; ten times as fast as `max` over so short an axis."""
    return np.maximum(np.maximum(cells[..., 0], cells[..., 1]), cells[..., 2])


def slope(grid: Grid) -> Grid:
    """The largest difference of each cell to a neighbour, levels, `(ROWS, COLUMNS)`."""
    dx = strongest(np.abs(np.diff(grid, axis=1)))
    dy = strongest(np.abs(np.diff(grid, axis=0)))
    steep = np.zeros(grid.shape[:2], np.float32)
    steep[:, :-1] = dx
    steep[:, 1:] = np.maximum(steep[:, 1:], dx)
    steep[:-1] = np.maximum(steep[:-1], dy)
    steep[1:] = np.maximum(steep[1:], dy)
    return steep
