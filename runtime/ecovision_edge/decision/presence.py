"""Is there an item on the tray at all? Told from the picture of the empty tray, without training.

A network has no class for an empty tray, and gives it a label like anything else. So nothing is decided
before this gate has seen something come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.decision._contents import GridContent, outline
from ecovision_edge.decision._grid import (
    CROSS,
    Grid,
    Mask,
    gain,
    grid_of,
    lit,
    sides,
    slope,
    strongest,
    unlike,
)
from ecovision_edge.decision.motion import Motion
from ecovision_edge.decision.views import Look, View
from ecovision_edge.errors import OptionError

__all__ = ["PresenceGate", "PresenceOptions"]

Image = npt.NDArray[np.uint8]

NOISE_FLOOR = 1.0  # levels; a cell that never varied while it was learnt may still do so later
EDGE = 6.0  # levels from cell to cell; soft light makes less than three, noise three of its deviations


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
        self._mean: Grid | None = None
        self._spread: Grid | None = None
        self._sums: _Sums | None = None
        self._still_since: float | None = None
        self._limit: Grid | None = None
        self._motion = Motion(self._options.contrast / 2, self._options.motion)
        self._there = False
        self._covered_since: float | None = None
        self._last = -math.inf

    def learn_from(self, image: Image) -> None:
        """Take one picture for the empty tray, `(height, width, 3) uint8 BGR`: one that was kept, say."""
        self.relearn()
        self._mean = grid_of(image)
        self._set_spread(np.full_like(self._mean, NOISE_FLOOR))

    def look(self, image: Image, now: float) -> Look:
        """What is on the tray; `now` in seconds, which never go back."""
        grid = grid_of(image)
        passed = max(0.0, now - self._last) if math.isfinite(self._last) else 0.0
        self._last = now
        moving = self._motion.look(grid, now, self._spread)
        if self._mean is None:
            return self._learn(grid, now, moving)
        light, mask = self._differs(grid)
        share = float(mask.mean())
        options = self._options
        if share >= options.cover or float(sides(mask).mean()) >= options.cover:
            return self._covered(grid, now, share, moving)
        self._covered_since = None
        if share < (options.leave if self._there else options.enter):
            self._there = False
            self._follow(grid, passed, None)
            return Look(View.EMPTY, share, moving, "the tray is empty")
        if not moving and (why := self._no_item(grid, light, mask)):
            self._there = False
            self._follow(grid / light, math.inf, mask)  # as in the light of the rest of the learnt picture
            return Look(View.EMPTY, share, moving, f"{why}: the empty tray is learnt anew there")
        self._there = True
        where = outline(mask)
        return Look(
            View.ITEM,
            share,
            moving,
            f"something covers {share:.0%} of the view",
            box=None if where is None else where.box,
            edge=where is not None and where.edge,
            content=None if moving else GridContent(grid / light, mask),
        )

    def _no_item(self, grid: Grid, light: Grid, mask: Mask) -> str | None:
        """Why what differs is no item; None if it is one."""
        new, lost = self._edges(grid, light, mask)
        least = EDGE * max(1.0, self._noise, self._motion.noise)
        if max(new, lost) < least:
            return "only the light changed"
        if new < least or lost > 2 * new:
            return "something learnt is gone"
        return None

    def _learn(self, grid: Grid, now: float, moving: bool) -> Look:
        if moving or self._still_since is None:
            self._still_since, self._sums = now, None
        if self._sums is None:
            self._sums = _Sums(grid, np.zeros_like(grid), np.zeros_like(grid))
        self._sums.add(grid)
        left = self._options.learn - (now - self._still_since)
        if left > 0 or moving:
            return Look(View.UNKNOWN, 0.0, moving, "the empty tray is being learnt")
        mean, spread = self._sums.mean_and_spread()
        self._mean, self._sums = mean, None
        self._set_spread(spread)
        return Look(View.EMPTY, 0.0, moving, "the empty tray is learnt")

    def _differs(self, grid: Grid) -> tuple[Grid, Mask]:
        """The gain of the light that explains most, and the cells that it does not explain."""
        assert self._mean is not None
        assert self._limit is not None
        # Noise grows when a camera makes up for the dark.
        limit = np.maximum(self._limit, np.float32(self._options.noise * self._motion.noise))
        found: list[tuple[bool, int, Grid, Mask]] = []
        # The median is the light's as long as less than half is covered; that of the sides mostly even then;
        # and no change at all may explain more than either.
        for light in (
            gain(grid, self._mean),
            gain(sides(grid), sides(self._mean)),
            np.ones(3, np.float32),
        ):
            mask = strongest(unlike(grid, self._mean, light) - limit) > 0
            mask = cv2.medianBlur(mask.astype(np.uint8), 3).astype(bool)  # single cells are noise
            around = float(sides(mask).mean()) >= self._options.cover
            found.append((around, int(mask.sum()), light, mask))
            if not mask.any():  # an empty tray, mostly: no other gain explains more than all
                break
        _, _, light, mask = min(found, key=lambda one: one[:2])
        return light, mask

    def _edges(self, grid: Grid, light: Grid, mask: Mask) -> tuple[float, float]:
        """How strong the edges along the outline of `mask` are that came since it was learnt, or went."""
        assert self._mean is not None
        thick = mask.astype(np.uint8)
        ring = (cv2.dilate(thick, CROSS) - cv2.erode(thick, CROSS)).astype(bool)
        if not ring.any():
            return 0.0, 0.0
        more = (slope(grid) - slope(lit(self._mean, light)))[ring]
        # The upper quarter: an item looks like the tray, or leaves the view, along a part of its outline.
        return float(np.percentile(more, 75)), float(np.percentile(-more, 75))

    def _set_spread(self, spread: Grid) -> None:
        """Of each cell; a few pictures may have shown less of its noise than there is."""
        self._noise = float(np.median(spread))
        self._spread = np.maximum(spread, np.float32(max(self._noise, NOISE_FLOOR)))
        self._limit = np.maximum(self._spread * self._options.noise, self._options.contrast)

    def _covered(self, grid: Grid, now: float, share: float, moving: bool) -> Look:
        self._there = False
        if moving or self._covered_since is None:
            self._covered_since = now
        elif now - self._covered_since >= self._options.relearn:
            self._follow(grid, math.inf, None)
            self._covered_since = None
            return Look(View.EMPTY, share, moving, "another view stayed, and is now taken for the empty tray")
        return Look(View.COVERED, share, moving, "the whole view differs: lens covered, or camera moved?")

    def _follow(self, grid: Grid, passed: float, mask: Mask | None) -> None:
        """Let the learnt picture come nearer to this one, within `mask` if there is one."""
        assert self._mean is not None
        rate = np.float32(1.0 - math.exp(-passed / self._options.adapt))
        step = (grid - self._mean) * rate
        if mask is not None:
            step *= cv2.dilate(mask.astype(np.uint8), CROSS)[..., None]
        self._mean = (self._mean + step).astype(np.float32)


@dataclass(slots=True)
class _Sums:
    """Of the pictures that the empty tray is learnt from, each as in the light of the first one.

    A light that flickers would else pass for noise of every cell, and no item would stand out from that.
    """

    first: Grid
    total: Grid
    squares: Grid
    count: int = 0

    def add(self, grid: Grid) -> None:
        """One more picture."""
        level = grid / gain(grid, self.first)
        self.total += level
        self.squares += level * level
        self.count += 1

    def mean_and_spread(self) -> tuple[Grid, Grid]:
        """The mean and the standard deviation of each cell and colour."""
        mean = self.total / self.count
        spread = np.sqrt(np.maximum(self.squares / self.count - mean * mean, 0))
        return mean.astype(np.float32), spread.astype(np.float32)
