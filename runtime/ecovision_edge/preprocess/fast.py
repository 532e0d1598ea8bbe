"""The filter `fast`: close to PIL's antialiased resize, with OpenCV calls alone.

Bilinear sampling reads four pixels for each one that it writes and skips the rest, which aliases. PIL's
filter at a shrink of `r` is a triangle `2 r` wide, which is two boxes of `r` one after the other. So a frame
is blurred along each axis by a Gaussian of 3 taps and by one or two boxes of 3 or 5, whose variances add up
to what the shrink asks for, and sampled by `INTER_LINEAR_EXACT`. At a shrink of 2, 3 or 5 that is PIL's
filter but for rounding; between, it is nearly so. Frames that shrink by more are halved first (`INTER_AREA`,
which is quick at that). Frames that shrink by little are left to the antialiased filter, which costs little
there.

Each of these calls gives the same bytes on every processor. `INTER_LINEAR` does not: OpenCV's wheels for Arm
(4.14 and 5.0, with KleidiCV) round it up at a shrink of 1 to 3, a third of the bytes one level brighter.

`python -m ecovision_edge_bench.filters` measures how close this comes. Variances are in squared pixels of the
image that is blurred; times are of one core.
"""

from __future__ import annotations

import functools
import itertools
import math

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.base.records import dataclass
from ecovision_edge.preprocess.geometry import Geometry

__all__ = ["Plan", "fast_resize", "make_plan"]

# Up to this shrink the antialiased filter does it: no top-1 answer flips, it costs 0.39 ms at 256x256 and at
# 320x240 pixels and 0.45 ms at 320x320 (at least, of 150), and the blurs here fit worst around 1.3.
EXACT = 1.45

# Shrink that is left to the blurs and the sampling at most; beyond it a frame is halved first. OpenCV's boxes
# of 7 taps cost three times those of 5, which are the right ones for a shrink of 5.
MOST = 5.4

# Where halving has to stop early, for the frame is far longer than the network's input or of an odd size, the
# blurs can still serve up to this; beyond it there is no plan.
LIMIT = 6.0

# The boxes to choose from, with their variance: (k^2 - 1) / 12 for each box of k taps. A lone 5 is no choice:
# a box is a poor triangle, and with the Gaussian it is no better than two boxes of 3.
BOXES: tuple[tuple[tuple[int, ...], float], ...] = (
    ((), 0.0),
    ((3,), 2 / 3),
    ((3, 3), 4 / 3),
    ((5, 3), 8 / 3),
    ((5, 5), 4.0),
)

# Boxes may have this much too much variance. It puts a box for the Gaussian of one axis at a shrink of 2.14,
# which at 640x480 saves a quarter of the time and leaves the probabilities as near to PIL's (0.004). A
# halved frame gets none: at 1280x960 it saves little, and probabilities differ by 0.006 instead of 0.004.
SLACK = 0.1

# The most that the 3-tap Gaussian has: three equal taps.
GAUSSIAN_VARIANCE = 2 / 3

# The variance of the taps 1/4, 1/2, 1/4, for which OpenCV has code that takes half the time, at this sigma.
BINOMIAL_VARIANCE = 0.5
BINOMIAL_SIGMA = 0.85

# Any Gaussian of one tap is the identity, but OpenCV wants its sigma positive.
NO_SIGMA = 1e-3

# A sigma that makes three equal taps.
WIDE_SIGMA = 100.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to frames of one size: halve, blur twice, sample; sigmas in pixels, 0 for none."""

    halvings: int
    sigma: tuple[float, float]  # of the Gaussian, across and down
    boxes: tuple[tuple[int, int], ...]  # after it; taps across and down
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
    across, down = plan.sigma
    if across or down:
        taps = (3 if across else 1, 3 if down else 1)
        work = cv2.GaussianBlur(work, taps, across or NO_SIGMA, sigmaY=down or NO_SIGMA)
    for taps in plan.boxes:
        if taps == (1, 3):  # OpenCV's box takes twice the time of its Gaussian here
            work = cv2.GaussianBlur(work, taps, NO_SIGMA, sigmaY=WIDE_SIGMA)
        else:
            work = cv2.blur(work, taps)
    target = out if g.is_whole else np.empty((g.full_height, g.full_width, 3), np.uint8)
    across, down = plan.scale
    # The scale and not the size is given, for halving may have dropped a row; `_may_halve` saw to the size.
    cv2.resize(work, None, dst=target, fx=across, fy=down, interpolation=cv2.INTER_LINEAR_EXACT)
    if target is not out:
        out[...] = target[g.top : g.top + g.height, g.left : g.left + g.width]


@functools.lru_cache(maxsize=64)
def make_plan(geometry: Geometry) -> Plan | None:
    """Plan for one geometry; None where the antialiased filter should do it.

    None: the frame shrinks by little, or is so long that halving until its longer axis is right would lose
    detail that its shorter axis needs, or that most of the resized frame would be cut away.
    """
    g = geometry
    if g.is_wasteful:
        return None
    source, full = (g.source_width, g.source_height), (g.full_width, g.full_height)
    halvings = 0
    while _may_halve(source, full, halvings):
        halvings += 1
    across, down = (s / f / 2**halvings for s, f in zip(source, full, strict=True))
    if max(across, down) > LIMIT or 1 < max(across, down) <= EXACT:
        return None
    slack = 0.0 if halvings else SLACK
    (boxes_across, sigma_across), (boxes_down, sigma_down) = _blurs(across, slack), _blurs(down, slack)
    boxes = tuple(itertools.zip_longest(boxes_across, boxes_down, fillvalue=1))
    return Plan(halvings, (sigma_across, sigma_down), boxes, (1 / across, 1 / down))


def _may_halve(source: tuple[int, int], full: tuple[int, int], done: int) -> bool:
    """Check whether halving again is wanted, keeps each axis above the output's, and can be made up for.

    The last: `cv2.resize` finds the output's size by rounding the halved size times the scale, so the rows
    that odd sizes lose must not amount to half an output row.
    """
    shrinks = [s / f / 2**done for s, f in zip(source, full, strict=True)]
    if max(shrinks) <= MOST or min(shrinks) < 2:
        return False
    factor = 1 << (done + 1)
    lost = [s % factor * f / s for s, f in zip(source, full, strict=True)]
    return max(lost) < 0.49


def _blurs(shrink: float, slack: float) -> tuple[tuple[int, ...], float]:
    """Return the taps of the boxes and the sigma of the Gaussian for one axis that is then sampled.

    PIL's triangle has the variance `r^2 / 6`, and bilinear sampling gives 1/6, on average over the places
    between two pixels where it may sample. Up to 2 a little more is better: `(r - 1) (0.9 - 0.2 r)` follows,
    to 0.02, the taps that minimise the squared error over all such places on pictures whose power falls with
    the square of the frequency.
    """
    if shrink <= 1:
        return (), 0.0
    wanted = (shrink**2 - 1) / 6 if shrink > 2 else (shrink - 1) * (0.9 - 0.2 * shrink)
    boxes, rest = min(  # the widest of those that leave the Gaussian what it can do
        ((taps, wanted - variance) for taps, variance in reversed(BOXES)),
        key=lambda choice: max(-slack - choice[1], choice[1] - GAUSSIAN_VARIANCE, 0.0),
    )
    if boxes:  # the wider the blur, the less it matters what exactly the Gaussian does
        return boxes, BINOMIAL_SIGMA if rest > BINOMIAL_VARIANCE / 2 else 0.0
    if 0.45 < rest < 0.6:
        return boxes, BINOMIAL_SIGMA
    return boxes, _sigma(rest)


def _sigma(variance: float) -> float:
    """Return the sigma at which OpenCV's 3 taps, normalized `exp(-x^2 / (2 sigma^2))`, have this variance."""
    side = min(variance, 0.99 * GAUSSIAN_VARIANCE) / 2  # equal taps would need an infinite sigma
    return 1 / math.sqrt(2 * math.log((1 - 2 * side) / side)) if side > 0.01 else 0.0
