"""The filter `pil`: PIL's and torchvision's antialiased bilinear resize, to one level in 255.

By definition (Pillow's documentation of `Image.Resampling.BILINEAR`: a linear interpolation over all pixels
that may contribute), output `i` of an axis is the weighted mean of the source pixels `x` with the weights

    max(0, 1 - |x + 1/2 - (i + 1/2) * s| / max(s, 1))        s = source size / output size

scaled to a sum of 1; pixels beyond the edge do not take part. So each axis is a product with a banded
matrix. A whole product would be mostly zeros, and a product for each output row mostly overhead; so outputs
go in blocks of `BLOCK`, each one dense float32 product over the few source pixels that it touches.

The order is PIL's, and so is the rounding to 8 bits between the axes: across first, then down. The other
order without rounding is as fast and stays within one level too, but a network notices: 3 of 1,212 top-1
answers flipped at 256 to 224 pixels, and with PIL's order none.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.preprocess.geometry import Geometry

__all__ = ["antialiased_resize"]

# Outputs in one product. Measured at 640x480 and 1920x1080 to 224x224 with OpenBLAS on one core: 4 and 8 cost
# the same within noise, 16 costs 20 % more and 32 70 % more (wider blocks multiply more zeros).
BLOCK = 8

# Bytes of float32 that one product reads: they should stay in the second-level cache.
STRIP_BYTES = 512 << 10

# Exact halves are common (8 source pixels to 7 makes every weight a multiple of a small fraction), and PIL
# decides them by how its weights happen to be rounded: to whole multiples of `WEIGHT_STEP` (`PRECISION_BITS`
# of Pillow's `Resample.c`). float32 sums cannot see errors so small; so each weight carries its own error
# `LEAN` times over, which tips a half to PIL's side and moves nothing else by more than 0.02 of a level.
# `TIE`, the step of float32 below 256, sends up the halves that no error tips. Of 1 to 64 and 2^-15 to 2^-17
# this pair left the fewest pixels unequal to PIL: 0.005 % at 256 to 224 pixels (without: 3.6 %, some by two
# levels), 0.03 % at 512x384, 0.002 % at 640x480, none at 448x448, 0.1 % at 899x337. With hundreds of weights
# to a sum the errors would add up to more than a tip, so beyond a shrink of `LEAN_SHRINK` they count once.
WEIGHT_STEP = 2.0**-22
LEAN = 64
LEAN_SHRINK = 12.0
TIE = 2.0**-16


@dataclass(frozen=True, slots=True)
class Band:
    """Outputs `first` to `last` are `weights` times the sources `low` to `high` (half-open)."""

    first: int
    last: int
    low: int
    high: int
    weights: npt.NDArray[np.float32]  # (last - first, high - low), read-only


class _Buffers(threading.local):
    """One thread's float32 scratch memory, kept between frames: fresh pages cost as much as a pass does."""

    def __init__(self) -> None:
        self._arrays: dict[str, npt.NDArray[np.float32]] = {}

    def get(self, name: str, rows: int, columns: int) -> npt.NDArray[np.float32]:
        """A C-contiguous `(rows, columns)` array of any content, valid until the next `get` of that name."""
        array = self._arrays.get(name)
        if array is None or array.size < rows * columns:
            array = self._arrays[name] = np.empty(rows * columns, np.float32)
        return array[: rows * columns].reshape(rows, columns)


_buffers = _Buffers()


def antialiased_resize(image: npt.NDArray[np.uint8], geometry: Geometry, out: npt.NDArray[np.uint8]) -> None:
    """Resize and crop as `geometry` says; computes no pixel that the crop throws away.

    Args:
        image: `(source_height, source_width, 3) uint8`; rows contiguous.
        geometry: Sizes and crop.
        out: `(height, width, 3) uint8`, C-contiguous, written to.
    """
    g = geometry
    across = bands(g.source_width, g.full_width, g.left, g.left + g.width)
    down = bands(g.source_height, g.full_height, g.top, g.top + g.height)
    left, right = across[0].low, across[-1].high
    top, bottom = down[0].low, down[-1].high
    narrow = np.empty((bottom - top, g.width, 3), np.uint8)
    step = _rows_at_once(across)
    for start in range(top, bottom, step):
        strip = image[start : min(start + step, bottom), left:right]
        _shrink_across(strip, across, left, narrow[start - top : start - top + step])
    _shrink(narrow.reshape(bottom - top, -1), down, top, out.reshape(g.height, -1))


def _rows_at_once(across: tuple[Band, ...]) -> int:
    longest = max(band.high - band.low for band in across)
    return max(BLOCK, STRIP_BYTES // (longest * 3 * 4))


def _shrink_across(
    strip: npt.NDArray[np.uint8], across: tuple[Band, ...], left: int, out: npt.NDArray[np.uint8]
) -> None:
    """`(h, columns, 3) uint8` to `(h, width, 3) uint8`; column 0 of `strip` is column `left` of the image.

    The columns have to become the rows of a matrix, so the picture is turned on its side and back.
    """
    height, width = out.shape[:2]
    side = np.asarray(cv2.transpose(strip), np.uint8).reshape(strip.shape[1], height * 3)
    small = np.empty((width, height * 3), np.uint8)
    _shrink(side, across, left, small)
    cv2.transpose(small.reshape(width, height, 3), dst=out)


def _shrink(
    pixels: npt.NDArray[np.uint8], axis: tuple[Band, ...], origin: int, out: npt.NDArray[np.uint8]
) -> None:
    """`(rows, n) uint8` to `(outputs, n) uint8`; row 0 of `pixels` is number `origin` on its axis."""
    width = pixels.shape[1]
    for band in axis:
        source = _buffers.get("source", band.high - band.low, width)
        np.copyto(source, pixels[band.low - origin : band.high - origin])
        sums = _buffers.get("sums", band.last - band.first, width)
        np.matmul(band.weights, source, out=sums)
        # Rounds to uint8, halves to the even number, hence the tiny summand.
        cv2.convertScaleAbs(sums, dst=out[band.first : band.last], alpha=1.0, beta=TIE)


@functools.lru_cache(maxsize=64)  # a camera needs 2; a table of 4000 -> 224 pixels weighs 150 kB
def bands(source: int, full: int, start: int, stop: int) -> tuple[Band, ...]:
    """The weights of outputs `start` to `stop` of an axis of `source` pixels resized to `full`."""
    scale = source / full
    support = max(scale, 1.0)
    centres = (np.arange(start, stop) + 0.5) * scale
    # The first and one past the last pixel whose centre lies within the support, cut at the edges; which side
    # a tie falls on does not matter, for its weight is 0.
    low = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    high = np.minimum((centres + support + 0.5).astype(np.int64), source)
    lean = LEAN if scale <= LEAN_SHRINK else 1
    result = []
    for first in range(0, stop - start, BLOCK):
        last = min(first + BLOCK, stop - start)
        a, b = int(low[first]), int(high[last - 1])
        distance = np.abs(np.arange(a, b) + 0.5 - centres[first:last, None])
        weights = np.maximum(0.0, 1.0 - distance / support)
        weights /= weights.sum(axis=1, keepdims=True)
        error = np.floor(weights / WEIGHT_STEP + 0.5) * WEIGHT_STEP - weights
        weights = (weights + lean * error).astype(np.float32)
        weights.setflags(write=False)
        result.append(Band(first, last, a, b, weights))
    return tuple(result)
