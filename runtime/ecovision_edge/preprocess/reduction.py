"""How small a JPEG may be decoded for the network, so that the exact filter still does the rest."""

from __future__ import annotations

from ecovision_edge.bundle.contract import ResizeSpec
from ecovision_edge.preprocess.geometry import Geometry

__all__ = ["reduction"]

LEAST_LEFT = 1.2
"""Shrink that is left to the contract's filter at least.

From there on no more answers differ from those of whole pictures than over one level of noise in the
network's input; at 1.0 five times as many did (docs/figures/jpeg.md).
"""


def reduction(spec: ResizeSpec, height: int, width: int, out_height: int, out_width: int) -> int:
    """Return how many times smaller a picture of that size may be decoded: 1, 2, 4 or 8."""
    if min(height, width) < 1:
        return 1
    g = Geometry.of(spec, height, width, out_height, out_width)
    shrink = min(height / g.full_height, width / g.full_width)
    return next((by for by in (8, 4, 2) if shrink / by >= LEAST_LEFT), 1)
