"""The filter `fast`: close to PIL's antialiased resize, with OpenCV calls alone."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.preprocess.geometry import Geometry

__all__ = ["fast_resize"]


def fast_resize(image: npt.NDArray[np.uint8], geometry: Geometry, out: npt.NDArray[np.uint8]) -> None:
    """Resize and crop as `geometry` says.

    Args:
        image: `(source_height, source_width, 3) uint8`; rows contiguous.
        geometry: Sizes and crop.
        out: `(height, width, 3) uint8`, written to.
    """
    g = geometry
    height, width = image.shape[:2]
    by, bx = height / g.full_height, width / g.full_width
    sx, sy = _sigma(bx), _sigma(by)
    if sx or sy:
        ksize = (2 * math.ceil(sx) + 1 if sx else 1, 2 * math.ceil(sy) + 1 if sy else 1)
        image = cv2.GaussianBlur(image, ksize, sigmaX=sx or 1e-3, sigmaY=sy or 1e-3)
    if g.is_whole:
        cv2.resize(image, (g.width, g.height), dst=out, interpolation=cv2.INTER_LINEAR)
        return
    whole = cv2.resize(image, (g.full_width, g.full_height), interpolation=cv2.INTER_LINEAR)
    out[...] = whole[g.top : g.top + g.height, g.left : g.left + g.width]


@functools.lru_cache(maxsize=64)
def _sigma(shrink: float) -> float:
    variance = (shrink * shrink - 1) / 6
    return math.sqrt(variance) if variance > 0.05 else 0.0
