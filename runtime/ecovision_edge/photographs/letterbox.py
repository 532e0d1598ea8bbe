"""The grey bars of photographs that were letterboxed: a camera's frame has none."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from ecovision_edge.photographs.images import Reduce, read_image

__all__ = ["BAR_LEVEL", "BAR_TOLERANCE", "bars", "read_boxed", "strip_bars"]

Picture = npt.NDArray[np.uint8]

BAR_LEVEL = 114
"""The grey of the bars that YOLO's tools draw, of each channel."""

BAR_TOLERANCE = 10
"""Levels by which JPEG may move it."""


def read_boxed(path: str | os.PathLike[str], reduce: Reduce | None) -> Picture:
    """Read a photograph whose bars are taken off later: whole if it has some, for little may be left of it.

    Args:
        path: The file.
        reduce: How small a JPEG without bars may be decoded; None: whole.

    Raises:
        ImageReadError: as `read_image`.
    """
    picture = read_image(path, reduce)
    return picture if reduce is None or strip_bars(picture) is picture else read_image(path)


def bars(picture: Picture) -> tuple[int, int, int, int]:
    """Find top, bottom, left and right (half-open) of what is no bar; the whole picture if there is none.

    A bar is made of lines that are grey from end to end.

    Args:
        picture: `(height, width, 3) uint8`, in any order of colours.

    Returns:
        At least a quarter of each side: a picture that is grey all over has no bars.
    """
    return _inside(picture, share=1.0, least=0.25)


def strip_bars(picture: Picture) -> Picture:
    """Cut the bars off a photograph: a view of it, or the photograph itself if there are none.

    A bar is made of lines of which 95 % are grey. Beside one, two more lines go: JPEG mixes both.

    Args:
        picture: `(height, width, 3) uint8`, in any order of colours.

    Returns:
        About an eighth of each side at least: a photograph that is grey all over stays whole.
    """
    height, width = picture.shape[:2]
    top, bottom, left, right = _inside(picture, share=0.95, least=0.125)
    if (top, bottom, left, right) == (0, height, 0, width):
        return picture
    top, bottom = top + 2 * (top > 0), bottom - 2 * (bottom < height)
    left, right = left + 2 * (left > 0), right - 2 * (right < width)
    return picture[top:bottom, left:right]


def _inside(picture: Picture, share: float, least: float) -> tuple[int, int, int, int]:
    """Return what is between the bars, lines at least `share` grey, if `least` of each side is left."""
    distance: npt.NDArray[np.int16] = np.abs(picture.astype(np.int16) - BAR_LEVEL)
    grey = distance.max(axis=2) <= BAR_TOLERANCE
    height, width = grey.shape
    rows, columns = (np.flatnonzero(grey.mean(axis=axis) < share) for axis in (1, 0))
    if len(rows) == 0 or len(columns) == 0:
        return 0, height, 0, width
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    if bottom - top < least * height or right - left < least * width:
        return 0, height, 0, width
    return top, bottom, left, right
