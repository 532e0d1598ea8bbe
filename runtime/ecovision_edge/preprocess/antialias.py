"""The filter `pil` by numpy: PIL's and torchvision's antialiased bilinear resize, to one level in 255.

It serves wherever the native library (`native.py`) is not installed.

By definition (Pillow's documentation of `Image.Resampling.BILINEAR`: a linear interpolation over all pixels
that may contribute), output `i` of an axis is the weighted mean of the source pixels `x` with the weights

    max(0, 1 - |x + 1/2 - (i + 1/2) * s| / max(s, 1))        s = source size / output size

scaled to a sum of 1; pixels beyond the edge do not take part. So each axis is a product with a banded
matrix. A whole product would be mostly zeros, and a product for each output row mostly overhead; so outputs
go in blocks of `BLOCK`, each one dense float32 product over the few source pixels that it touches. Blocks go
in groups, and what comes before and after the products is done for a group at once, in memory that is kept.

The order is PIL's, and so is the rounding to 8 bits between the axes: across first, then down. The other
order without rounding is as fast and stays within one level too, but a network notices: 3 of 1,212 top-1
answers flipped at 256 to 224 pixels, and with PIL's order none.
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.base.records import dataclass
from ecovision_edge.preprocess.buffers import Buffers
from ecovision_edge.preprocess.geometry import Geometry

__all__ = ["antialiased_resize"]

# Outputs in one product. In instructions of an emulated Cortex-A76, 640x480, 1920x1080 and 4056x3040 to
# 224x224 take 11, 17 and 18 % fewer by 4 than by 8, whose wider bands multiply more zeros. On one x86 core
# 4 took 0.92, 0.94 and 0.80 of the time of 8, and 2 as long as 8.
BLOCK = 4

# Multiplications of one product at most: beyond, OpenBLAS, which numpy brings, gives it to all cores,
# whatever threads were asked for (`SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD` in its
# `interface/gemm.c`). They win nothing at such sizes: on 2 cores of an x86, 1920x1080 took 16.0 ms so and
# 6.9 without, and where another process had one of the cores 24 ms, now and then 160, and 6.6. So the
# picture is cut into strips of rows, and outputs go in smaller blocks where each is made of many rows.
MOST_PRODUCT = 65536 * 4

# Bytes of float32 that one group reads. On a core with 512 kB of second-level cache, 512 kB cost 17 % more
# time at 640x480 and at 1920x1080, and 2 MB save 1 % and 7 %, for twice the memory.
GROUP_BYTES = 1 << 20

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


@dataclass(frozen=True, slots=True)
class Group:
    """Bands that follow each other: outputs `first` to `last`, made of the sources `low` to `high`."""

    first: int
    last: int
    low: int
    high: int
    products: tuple[tuple[npt.NDArray[np.float32], slice, slice], ...]  # weights, sources, outputs: from 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to frames of one geometry: strips of `step` rows shrunk across, then everything down."""

    step: int
    across: tuple[Group, ...]
    down: tuple[Group, ...]


_buffers = Buffers()


def antialiased_resize(image: npt.NDArray[np.uint8], geometry: Geometry, out: npt.NDArray[np.uint8]) -> None:
    """Resize and crop as `geometry` says; computes no pixel that the crop throws away.

    Args:
        image: `(source_height, source_width, 3) uint8`; rows contiguous.
        geometry: Sizes and crop.
        out: `(height, width, 3) uint8`, C-contiguous, written to.
    """
    plan = make_plan(geometry)
    top, bottom = plan.down[0].low, plan.down[-1].high
    narrow = _buffers.get("narrow", np.uint8, bottom - top, geometry.width, 3)
    for start in range(0, bottom - top, plan.step):
        strip = image[top + start : min(top + start + plan.step, bottom)]
        _shrink_across(strip, plan.across, narrow[start : start + plan.step])
    rows, result = narrow.reshape(bottom - top, -1), out.reshape(geometry.height, -1)
    for group in plan.down:
        _shrink(rows[group.low - top : group.high - top], group, result[group.first : group.last])


def _shrink_across(
    strip: npt.NDArray[np.uint8], across: tuple[Group, ...], out: npt.NDArray[np.uint8]
) -> None:
    """Shrink `(h, source_width, 3) uint8` to `(h, width, 3) uint8`.

    The columns have to become the rows of a matrix, so the picture is turned on its side and back.
    """
    height = out.shape[0]
    for group in across:
        columns, width = group.high - group.low, group.last - group.first
        side = _buffers.get("side", np.uint8, columns, height, 3)
        small = _buffers.get("small", np.uint8, width, height, 3)
        cv2.transpose(strip[:, group.low : group.high], dst=side)
        _shrink(side.reshape(columns, -1), group, small.reshape(width, -1))
        cv2.transpose(small, dst=out[:, group.first : group.last])


def _shrink(pixels: npt.NDArray[np.uint8], group: Group, out: npt.NDArray[np.uint8]) -> None:
    """Shrink the group's sources, `(high - low, n) uint8`, to its outputs, `(last - first, n) uint8`."""
    source = _buffers.get("source", np.float32, *pixels.shape)
    sums = _buffers.get("sums", np.float32, *out.shape)
    np.copyto(source, pixels)
    for weights, sources, outputs in group.products:
        np.dot(weights, source[sources], out=sums[outputs])  # matmul's call costs more
    # Rounds to uint8, halves to the even number, hence the tiny summand.
    cv2.convertScaleAbs(sums, dst=out, alpha=1.0, beta=TIE)


@functools.lru_cache(maxsize=32)  # a camera needs one; that of 4000x4000 to 224x224 weighs 300 kB
def make_plan(geometry: Geometry) -> Plan:
    """Plan the strips, the groups and the weights for one geometry."""
    g = geometry
    across = bands(g.source_width, g.full_width, g.left, g.left + g.width)
    scale = g.source_height / g.full_height
    block = BLOCK
    while block > 1 and block * (block + 1) * scale * g.width * 3 > MOST_PRODUCT:
        block //= 2
    down = bands(g.source_height, g.full_height, g.top, g.top + g.height, block)
    rows, columns = down[-1].high - down[0].low, max(band.high - band.low for band in across)
    most = max(1, MOST_PRODUCT // (BLOCK * columns * 3))
    step = math.ceil(rows / math.ceil(rows / most))  # strips of one height
    return Plan(step, _grouped(across, step * 12), _grouped(down, g.width * 12))


def _grouped(axis: list[Band], row_bytes: int) -> tuple[Group, ...]:
    """Return the bands in groups as `GROUP_BYTES` allows, each of one band at least."""
    result: list[list[Band]] = []
    for band in axis:
        if result and (band.high - result[-1][0].low) * row_bytes <= GROUP_BYTES:
            result[-1].append(band)
        else:
            result.append([band])
    return tuple(_group(members) for members in result)


def _group(members: list[Band]) -> Group:
    first, low = members[0].first, members[0].low
    products = [
        (band.weights, slice(band.low - low, band.high - low), slice(band.first - first, band.last - first))
        for band in members
    ]
    return Group(first, members[-1].last, low, members[-1].high, tuple(products))


def bands(source: int, full: int, start: int, stop: int, block: int = BLOCK) -> list[Band]:
    """Return the weights of outputs `start` to `stop` of an axis of `source` pixels resized to `full`.

    Args:
        source: Pixels of the axis.
        full: Size to which all of it is resized.
        start: First output that is wanted.
        stop: One past the last.
        block: Outputs of a band; the last may have fewer.
    """
    scale = source / full
    support = max(scale, 1.0)
    centres = (np.arange(start, stop) + 0.5) * scale
    # The first and one past the last pixel whose centre lies within the support, cut at the edges; which side
    # a tie falls on does not matter, for its weight is 0.
    low = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    high = np.minimum((centres + support + 0.5).astype(np.int64), source)
    lean = LEAN if scale <= LEAN_SHRINK else 1
    count = stop - start
    firsts = np.arange(0, count, block)
    lasts = np.minimum(firsts + block, count)
    lows, highs = low[firsts], high[lasts - 1]
    # Bands of one shape at once: there are few shapes, and a call of numpy costs more than its numbers.
    shapes = list(zip((lasts - firsts).tolist(), (highs - lows).tolist(), strict=True))
    made: dict[int, npt.NDArray[np.float32]] = {}
    for rows, width in set(shapes):
        members = [i for i, shape in enumerate(shapes) if shape == (rows, width)]
        pixels = lows[members, None, None] + np.arange(width) + 0.5
        distance = np.abs(pixels - centres[firsts[members, None] + np.arange(rows)][..., None])
        weights = np.maximum(0.0, 1.0 - distance / support)
        weights /= weights.sum(axis=2, keepdims=True)
        error = np.floor(weights / WEIGHT_STEP + 0.5) * WEIGHT_STEP - weights
        final = (weights + lean * error).astype(np.float32)
        final.setflags(write=False)
        made.update(zip(members, final, strict=True))
    edges = zip(firsts.tolist(), lasts.tolist(), lows.tolist(), highs.tolist(), strict=True)
    return [Band(*edge, made[i]) for i, edge in enumerate(edges)]
