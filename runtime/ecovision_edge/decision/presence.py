"""Is there an item on the tray at all? Told from the picture of the empty tray, without training.

A network has no class for an empty tray, and gives it a label like anything else. So nothing is decided
before this gate has seen something come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import Enum
from typing import Protocol, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.errors import OptionError
from ecovision_edge.preprocess.frames import as_bgr

__all__ = ["Gate", "Look", "PresenceGate", "PresenceOptions", "View"]

Image = npt.NDArray[np.uint8]
_Grid = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]
_Any = TypeVar("_Any", np.float32, np.bool_)

COLUMNS, ROWS = (
    80,
    60,
)  # of 640x480 every cell is a block of 8 x 8 pixels, whose mean has an eighth of the noise
NOISE_FLOOR = 1.0  # levels; a cell that never varied while it was learnt may still do so later
MOTION_SECONDS = 0.15  # two pictures that are compared for motion are at least so far apart


class View(str, Enum):
    """What is seen, beside the empty tray."""

    UNKNOWN = "unknown"
    EMPTY = "empty"
    ITEM = "item"
    COVERED = "covered"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Look:
    """What a gate says of one frame.

    Args:
        view: UNKNOWN while the empty tray is not learnt yet; COVERED where the whole view is another one, so
            that nothing can be said: the lens is covered, or the camera was moved.
        share: Of the view that differs from the empty tray, 0 to 1.
        moving: Whether something moves.
        reason: In a few words.
    """

    view: View
    share: float
    moving: bool
    reason: str


class Gate(Protocol):
    """Tells whether there is an item."""

    def look(self, image: Image, now: float) -> Look:
        """Of a frame at `now`, seconds that never go back."""

    def relearn(self) -> None:
        """Forget the empty tray: what is seen from now on is the empty tray."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceOptions:
    """How much has to differ, and how long the empty tray is looked at. Shares are of the view, 0 to 1.

    Args:
        learn: Seconds without motion that the empty tray is learnt from.
        enter: From this share on, something is there.
        leave: Below this share, it is gone; less than `enter`, so that it does not flicker.
        contrast: Levels of 255 that a cell has to differ by, at least.
        noise: Standard deviations of a cell's own noise that it has to differ by, at least.
        motion: From this share of cells that change on, something moves.
        adapt: Seconds in which the picture of the empty tray follows slow changes of light.
        cover: From this share on, of all cells or of those along the sides, the view is another one.
        relearn: Seconds of a covered view without motion after which it is taken for the empty tray.
    """

    learn: float = 0.8
    enter: float = 0.008
    leave: float = 0.004
    contrast: float = 14.0
    noise: float = 6.0
    motion: float = 0.01
    adapt: float = 20.0
    cover: float = 0.9
    relearn: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what is out of range.

        Raises:
            OptionError: the option, its range, and what was given.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            most = 1.0 if field.name in ("enter", "leave", "motion", "cover") else math.inf
            if not (0 < value <= most and math.isfinite(value)):
                expected = "above 0, at most 1" if most == 1 else "above 0"
                raise OptionError(field.name, expected=expected, found=repr(value))
        if not self.leave <= self.enter < self.cover:
            raise OptionError(
                "shares of presence",
                expected="leave <= enter < cover",
                found=f"{self.leave:g}, {self.enter:g}, {self.cover:g}",
            )


class PresenceGate:
    """Compares each frame with the picture of the empty tray, cell by cell.

    Light that changes everywhere is taken out by one gain a colour. What differs then is an item only if it
    has edges that the empty tray has not: soft light from the side has none, and where something that was
    learnt as part of the tray is taken away, the edges are those of the learnt picture (ghosts; R. Cucchiara
    et al., "Detecting moving objects, ghosts, and shadows in video streams", IEEE TPAMI 25 (2003) 1337-1342).
    Both are learnt anew.
    """

    def __init__(self, options: PresenceOptions | None = None) -> None:
        """With the empty tray still to be learnt; `learn_from` gives it a picture."""
        self._options = options or PresenceOptions()
        self.relearn()

    def relearn(self) -> None:
        """Forget the empty tray: it is learnt from the next frames without motion."""
        self._mean: _Grid | None = None
        self._spread: _Grid | None = None
        self._sums: tuple[int, _Grid, _Grid] | None = None
        self._still_since: float | None = None
        self._anchor: tuple[float, _Grid] | None = None
        self._moving = True
        self._there = False
        self._covered_since: float | None = None
        self._last = -math.inf

    def learn_from(self, image: Image) -> None:
        """Take one picture for the empty tray, `(height, width, 3) uint8 BGR`: one that was kept, say."""
        self.relearn()
        self._mean = _grid(image)
        self._spread = np.full_like(self._mean, NOISE_FLOOR)

    def look(self, image: Image, now: float) -> Look:
        """What is on the tray; `now` in seconds, which never go back."""
        grid = _grid(image)
        passed = max(0.0, now - self._last) if math.isfinite(self._last) else 0.0
        self._last = now
        moving = self._motion(grid, now)
        if self._mean is None:
            return self._learn(grid, now, moving)
        gain, mask = self._differs(grid)
        share = float(mask.mean())
        options = self._options
        if share >= options.cover or float(_sides(mask).mean()) >= options.cover:
            return self._covered(grid, now, share, moving)
        self._covered_since = None
        if share < (options.leave if self._there else options.enter):
            self._there = False
            self._follow(grid, passed, None)
            return Look(View.EMPTY, share, moving, "the tray is empty")
        if not moving:
            new, lost = self._edges(grid, gain, mask)
            if new < _EDGE or lost > 2 * new:
                why = "only the light changed" if max(new, lost) < _EDGE else "something learnt is gone"
                self._there = False
                self._follow(grid, math.inf, mask)
                return Look(View.EMPTY, share, moving, f"{why}: the empty tray is learnt anew there")
        self._there = True
        return Look(View.ITEM, share, moving, f"something covers {share:.0%} of the view")

    def _motion(self, grid: _Grid, now: float) -> bool:
        if self._anchor is None:
            self._anchor = now, grid
        elif now - self._anchor[0] >= MOTION_SECONDS:
            before = self._anchor[1]
            # A change of light alone is no motion.
            gain = _gain(grid, before)
            changed = np.abs(grid - before * gain).max(axis=2) > self._options.contrast / 2
            self._moving = bool(changed.mean() >= self._options.motion)
            self._anchor = now, grid
        return self._moving

    def _learn(self, grid: _Grid, now: float, moving: bool) -> Look:
        if moving or self._still_since is None:
            self._still_since, self._sums = now, None
        count, total, squares = self._sums or (0, np.zeros_like(grid), np.zeros_like(grid))
        self._sums = count, total, squares = count + 1, total + grid, squares + grid * grid
        left = self._options.learn - (now - self._still_since)
        if left > 0 or moving:
            return Look(View.UNKNOWN, 0.0, moving, "the empty tray is being learnt")
        mean = (total / count).astype(np.float32)
        spread = np.sqrt(np.maximum(squares / count - mean * mean, 0)).astype(np.float32)
        self._mean, self._spread, self._sums = mean, np.maximum(spread, np.float32(NOISE_FLOOR)), None
        return Look(View.EMPTY, 0.0, moving, "the empty tray is learnt")

    def _differs(self, grid: _Grid) -> tuple[_Grid, _Mask]:
        """The gain of the light that explains most, and the cells that it does not explain."""
        assert self._mean is not None
        assert self._spread is not None
        limit = np.maximum(self._spread * self._options.noise, self._options.contrast)
        found: list[tuple[bool, int, _Grid, _Mask]] = []
        # The median is the light's as long as less than half is covered; that of the sides mostly even then;
        # and no change at all may explain more than either.
        for gain in (
            _gain(grid, self._mean),
            _gain(_sides(grid), _sides(self._mean)),
            np.ones(3, np.float32),
        ):
            mask = (np.abs(grid - self._mean * gain) > limit).any(axis=2)
            mask = cv2.medianBlur(mask.astype(np.uint8), 3).astype(bool)  # single cells are noise
            around = float(_sides(mask).mean()) >= self._options.cover
            found.append((around, int(mask.sum()), gain, mask))
            if not mask.any():  # an empty tray, mostly: no other gain explains more than all
                break
        _, _, gain, mask = min(found, key=lambda one: one[:2])
        return gain, mask

    def _edges(self, grid: _Grid, gain: _Grid, mask: _Mask) -> tuple[float, float]:
        """How strong the edges along the outline of `mask` are that came since it was learnt, or went."""
        assert self._mean is not None
        thick = mask.astype(np.uint8)
        ring = (cv2.dilate(thick, _CROSS) - cv2.erode(thick, _CROSS)).astype(bool)
        if not ring.any():
            return 0.0, 0.0
        more = (_slope(grid) - _slope(self._mean * gain))[ring]
        # The upper quarter: an item looks like the tray, or leaves the view, along a part of its outline.
        return float(np.percentile(more, 75)), float(np.percentile(-more, 75))

    def _covered(self, grid: _Grid, now: float, share: float, moving: bool) -> Look:
        self._there = False
        if moving or self._covered_since is None:
            self._covered_since = now
        elif now - self._covered_since >= self._options.relearn:
            self._follow(grid, math.inf, None)
            self._covered_since = None
            return Look(View.EMPTY, share, moving, "another view stayed, and is now taken for the empty tray")
        return Look(View.COVERED, share, moving, "the whole view differs: lens covered, or camera moved?")

    def _follow(self, grid: _Grid, passed: float, mask: _Mask | None) -> None:
        """Let the learnt picture come nearer to this one, within `mask` if there is one."""
        assert self._mean is not None
        rate = np.float32(1.0 - math.exp(-passed / self._options.adapt))
        step = (grid - self._mean) * rate
        if mask is not None:
            step *= cv2.dilate(mask.astype(np.uint8), _CROSS)[..., None]
        self._mean = (self._mean + step).astype(np.float32)


_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_EDGE = 6.0  # levels from cell to cell; noise makes about one, soft light less than three


def _grid(image: Image) -> _Grid:
    """The mean colour of each cell, `(ROWS, COLUMNS, 3) float32`, 0 to 255."""
    small = cv2.resize(as_bgr(image), (COLUMNS, ROWS), interpolation=cv2.INTER_AREA)
    return cast("_Grid", small.astype(np.float32))


def _gain(grid: _Grid, before: _Grid) -> _Grid:
    """One factor a colour from `before` to `grid`: the median over the cells, near 1 where all is dark."""
    ratio = np.median(((grid + 1) / (before + 1)).reshape(-1, 3), axis=0)
    return cast("_Grid", np.clip(ratio, 0.25, 4.0).astype(np.float32))


def _sides(cells: npt.NDArray[_Any]) -> npt.NDArray[_Any]:
    """The cells along the four sides of the view, which what lies on a tray leaves free for the most part."""
    return np.concatenate([cells[0], cells[-1], cells[1:-1, 0], cells[1:-1, -1]])


def _slope(grid: _Grid) -> _Grid:
    """The largest difference of each cell to a neighbour, levels, `(ROWS, COLUMNS)`."""
    dx = np.abs(np.diff(grid, axis=1)).max(axis=2)
    dy = np.abs(np.diff(grid, axis=0)).max(axis=2)
    slope = np.zeros(grid.shape[:2], np.float32)
    slope[:, :-1] = dx
    slope[:, 1:] = np.maximum(slope[:, 1:], dx)
    slope[:-1] = np.maximum(slope[:-1], dy)
    slope[1:] = np.maximum(slope[1:], dy)
    return slope
