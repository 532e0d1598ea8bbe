"""Pillow's own weights of the antialiased bilinear resize, in integers.

Pillow (`precompute_coeffs` and `normalize_coeffs_8bpc` of `Resample.c`) computes the weights of an axis in
float64, rounds them to whole multiples of 2^-22, and goes on in integers: so whoever has the same weights has
the same pixels, on every processor. The order of the operations below is Pillow's, for float64 rounds too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.records import dataclass

__all__ = ["PRECISION_BITS", "Coefficients", "coefficients", "weighted_levels"]

PRECISION_BITS = 22
GROUP = 4
"""Weights come in groups of as many, filled up with zeros: what the native filter takes at once."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The weights of consecutive outputs of one axis.

    Attributes:
        first: `(outputs,) int32`, the first source pixel of each output; never falls.
        count: `(outputs,) int32`, how many source pixels it is made of, at least 1.
        weights: `(outputs, taps) uint32`, multiples of 2^-22; 0 beyond `count`. `taps` is a
            multiple of `GROUP`.
    """

    first: npt.NDArray[np.int32]
    count: npt.NDArray[np.int32]
    weights: npt.NDArray[np.uint32]


def coefficients(source: int, full: int, start: int, stop: int) -> Coefficients:
    """Compute the weights of the outputs `start` to `stop` (half-open) of `source` pixels resized to `full`.

    Args:
        source: Pixels of the axis, at least 1.
        full: Outputs of the whole axis, at least 1.
        start: First output that is wanted.
        stop: One past the last.
    """
    scale = source / full
    support = max(scale, 1.0)
    centre = (np.arange(start, stop) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), source)
    count = last - first
    taps = -(-int(count.max()) // GROUP) * GROUP
    place = np.arange(taps)
    distance = np.abs((place + first[:, None] - centre[:, None] + 0.5) * (1.0 / support))
    weights = np.where((distance < 1.0) & (place < count[:, None]), 1.0 - distance, 0.0)
    weights /= np.cumsum(weights, axis=1)[:, -1:]  # from left to right; `sum` goes another way
    fixed = (0.5 + weights * (1 << PRECISION_BITS)).astype(np.uint32)
    return Coefficients(first.astype(np.int32), count.astype(np.int32), fixed)


def weighted_levels(pixels: npt.NDArray[np.uint8], axis: Coefficients) -> npt.NDArray[np.uint8]:
    """Apply the weights to `(source, n) uint8`: `(outputs, n) uint8`. By definition, and slowly."""
    matrix = np.zeros((len(axis.first), len(pixels)), np.int64)
    for row, first, count, weights in zip(matrix, axis.first, axis.count, axis.weights, strict=True):
        row[first : first + count] = weights[:count]
    sums = matrix @ pixels.astype(np.int64) + (1 << (PRECISION_BITS - 1))
    levels: npt.NDArray[np.uint8] = np.minimum(sums >> PRECISION_BITS, 255).astype(np.uint8)
    return levels
