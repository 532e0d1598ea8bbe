"""The filter `fast`: close to PIL's antialiased resize, with OpenCV calls alone.

`INTER_LINEAR` reads four pixels for each one that it writes and skips the rest, which aliases; `INTER_AREA`
reads them all, and slowly, unless it halves. So a frame is halved until a shrink of at most `MOST` is left,
blurred along each axis as much as that shrink asks for, and sampled by `INTER_LINEAR`. The blurs have three
taps, for which OpenCV is quick: one box, one Gaussian, or the one after the other.

How much to blur was found by measuring, with the photographs and the network of
`python -m ecovision_edge_bench.filters`; variances are in squared pixels of the image that is blurred.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.preprocess.geometry import Geometry

__all__ = ["Plan", "fast_resize", "make_plan"]

# Shrink that is left to INTER_LINEAR at most. At 3 the 3x3 blur still beats another halving, whose 2x2 boxes
# then are too coarse for the final grid (mean difference to PIL at 2.9 x 2.1: 0.3 levels against 0.7).
MOST = 3.0

# Where halving has to stop early, for the frame is far longer than the network's input or of an odd size, the
# blur can still serve up to this; beyond it there is no plan, and the antialiased filter is the better one.
LIMIT = 4.0

# Variance of the blur at the shrink r, divided by r - 1: it gave the least mean difference to PIL over r from
# 1.07 to 2.14, which wanted variances of 0.03 to 0.6, and serves to 3.
BLUR_SLOPE = 0.55

# Variance of three equal taps, the widest that a 3-tap blur gets.
BOX_VARIANCE = 2 / 3

# A box serves wherever at least this much is wanted; OpenCV's costs 0.8 of its Gaussian.
BOX_FROM = 0.5

# Blurs of less variance are left out: they change less than rounding does.
LEAST_VARIANCE = 0.02

# Any Gaussian of one tap is the identity, but OpenCV wants its sigma positive.
NO_SIGMA = 1e-3


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to frames of one size: halve, blur, sample; sigmas in pixels, 0 for none."""

    halvings: int
    box: tuple[int, int]  # taps across and down, 3 or 1
    sigma: tuple[float, float]  # of the Gaussian, across and down
    scale: tuple[float, float]  # output / halved frame, across and down


def fast_resize(
    image: npt.NDArray[np.uint8], plan: Plan, geometry: Geometry, out: npt.NDArray[np.uint8]
) -> None:
    """Resize and crop as `geometry` says.

    Args:
        image: `(source_height, source_width, 3) uint8`; rows contiguous.
        plan: `make_plan(geometry)`.
        geometry: Sizes and crop.
        out: `(height, width, 3) uint8`, C-contiguous, written to.
    """
    g = geometry
    work: npt.NDArray[np.integer | np.floating] = image  # as OpenCV's annotations have it
    for _ in range(plan.halvings):
        height, width = work.shape[0] // 2, work.shape[1] // 2
        # Of an odd side the last row stays out here; `plan.scale` keeps the picture from being stretched.
        work = cv2.resize(work[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    if plan.box != (1, 1):
        work = cv2.blur(work, plan.box)
    across, down = plan.sigma
    if across or down:
        taps = (3 if across else 1, 3 if down else 1)
        work = cv2.GaussianBlur(work, taps, across or NO_SIGMA, sigmaY=down or NO_SIGMA)
    target = out if g.is_whole else np.empty((g.full_height, g.full_width, 3), np.uint8)
    across, down = plan.scale
    # The scale and not the size is given, for halving may have dropped a row; `_may_halve` saw to the size.
    cv2.resize(work, None, dst=target, fx=across, fy=down, interpolation=cv2.INTER_LINEAR)
    if target is not out:
        out[...] = target[g.top : g.top + g.height, g.left : g.left + g.width]


@functools.lru_cache(maxsize=64)
def make_plan(geometry: Geometry) -> Plan | None:
    """The plan for one geometry, or None where the antialiased filter should do it.

    None: the frame is so long that halving until its longer axis is right would lose detail that its shorter
    axis needs, or that most of the resized frame would be cut away.
    """
    g = geometry
    if g.is_wasteful:
        return None
    source, full = (g.source_width, g.source_height), (g.full_width, g.full_height)
    halvings = 0
    while _may_halve(source, full, halvings):
        halvings += 1
    across, down = (s / f / 2**halvings for s, f in zip(source, full, strict=True))
    if max(across, down) > LIMIT:
        return None
    box, rest = _blurs(across, down)
    return Plan(halvings, box, (_sigma(rest[0]), _sigma(rest[1])), (1 / across, 1 / down))


def _may_halve(source: tuple[int, int], full: tuple[int, int], done: int) -> bool:
    """Whether another halving is wanted, takes no axis below the output's size, and can be made up for.

    The last: `cv2.resize` finds the output's size by rounding the halved size times the scale, so the rows
    that odd sizes lose must not amount to half an output row.
    """
    shrinks = [s / f / 2**done for s, f in zip(source, full, strict=True)]
    if max(shrinks) <= MOST or min(shrinks) < 2:
        return False
    factor = 1 << (done + 1)
    lost = [s % factor * f / s for s, f in zip(source, full, strict=True)]
    return max(lost) < 0.49


def _blurs(across: float, down: float) -> tuple[tuple[int, int], tuple[float, float]]:
    """Taps of the box, and variances left to the Gaussian, for the shrinks that INTER_LINEAR is to make."""
    wanted = [max(0.0, BLUR_SLOPE * (shrink - 1)) for shrink in (across, down)]
    # One axis alone that a Gaussian can serve gets no box: the other axis may need the Gaussian anyway.
    useful = max(wanted) > BOX_VARIANCE or min(wanted) >= BOX_FROM
    boxed = [useful and variance >= BOX_FROM for variance in wanted]
    rest = [v - BOX_VARIANCE if b else v for v, b in zip(wanted, boxed, strict=True)]
    return (3 if boxed[0] else 1, 3 if boxed[1] else 1), (rest[0], rest[1])


def _sigma(variance: float) -> float:
    """The sigma for which OpenCV's 3 taps, `exp(-x^2 / (2 sigma^2))` over their sum, have that variance."""
    if variance < LEAST_VARIANCE:
        return 0.0
    side = min(variance, 0.99 * BOX_VARIANCE) / 2  # equal taps would need an infinite sigma
    return 1 / math.sqrt(2 * math.log((1 - 2 * side) / side))
