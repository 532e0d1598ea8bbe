"""Is there an item on the tray at all? Told from the picture of the empty tray, without training.

A network has no class for an empty tray, and gives it a label like anything else. So nothing is decided
before this gate has seen something come.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.decision._contents import GridContent, outline
from ecovision_edge.decision._grid import (
    CROSS,
    CUT_OFF,
    Grid,
    Mask,
    gain,
    grid_of,
    in_range,
    is_grey,
    lit,
    sides,
    slope,
    strongest,
    unlike,
)
from ecovision_edge.decision.kept import KeptTray
from ecovision_edge.decision.learning import Learner, blindness
from ecovision_edge.decision.likeness import moved, recoloured, same_edges
from ecovision_edge.decision.motion import Motion
from ecovision_edge.decision.presence_options import PresenceOptions
from ecovision_edge.observation import Look, View

__all__ = ["PresenceGate"]

Image = npt.NDArray[np.uint8]

NOISE_FLOOR = 1.0  # levels; a cell that never varied while it was learnt may still do so later
EDGE = 6.0  # levels from cell to cell; soft light makes less than three, noise three of its deviations
SHOWN = 0.5  # of the cells that were cut off when they were learnt: once these show more, all is learnt again
PLAIN = 3.0  # levels around the middle that a picture without anything in it keeps to, in 95 of 100 cells
SEGMENT = 0.25  # of the cells along each half of a side: what differs everywhere is another view
LOOK_CLOSER = 1.0  # seconds between two looks whether what differs is the tray after all
REMEMBERED = 2  # pictures of the tray from before it was learnt again: by day, say, and by night
SAME_EDGES, SAME_EDGES_HERE = 0.6, 0.85  # correlation, of the whole view and of a part, where an item may be
SAME_EDGE = 0.5  # cells by which a picture that was moved is off, for it is known cell by cell
BRIGHTER = 2.0  # times the light that the tray was learnt in: its picture of then is a poor one
STRANGE = "this is not the tray that was kept: take away what lies there, or have this one learnt"


class PresenceGate:
    """Compares each frame with the picture of the empty tray, cell by cell.

    Light that changes everywhere is taken out by one gain a colour. What differs then is an item only if it
    has edges that the empty tray has not: soft light from the side has none, and where something that was
    learnt as part of the tray is taken away, the edges are those of the learnt picture (ghosts; R. Cucchiara
    et al., "Detecting moving objects, ghosts, and shadows in video streams", IEEE TPAMI 25 (2003) 1337-1342).
    Both are learnt again.
    """

    def __init__(self, options: PresenceOptions | None = None, kept: KeptTray | None = None) -> None:
        """With the empty tray still to be learnt; `learn_from` gives it a picture.

        Args:
            options: How much has to differ.
            kept: The empty tray of the last run (`tray`). The first pictures are compared with it; another
                is `View.STRANGE` until the kept one is seen again, or `relearn` is called.
        """
        self._options = options or PresenceOptions()
        self.relearn()
        if kept is not None:
            self._know(kept.mean, kept.spread)
            self._comparing = True

    def relearn(self) -> None:
        """Forget the empty tray: it is learnt from the next frames without motion."""
        self._mean: Grid | None = None
        self._spread: Grid | None = None
        self._learner = Learner(self._options.learn)
        self._limit: Grid | None = None
        self._motion = Motion(self._options.contrast / 2, self._options.motion)
        self._there = False
        self._covered_since: float | None = None
        self._looked_closer = -math.inf
        self._before: list[Grid] = []
        self._comparing = False
        self._compared_since: float | None = None
        self._last = -math.inf

    def learn_from(self, image: Image) -> None:
        """Take one picture for the empty tray, `(height, width, 3) uint8 BGR`: one that was kept, say."""
        self.relearn()
        mean = grid_of(image)
        self._know(mean, np.full_like(mean, NOISE_FLOOR))

    @property
    def tray(self) -> KeptTray | None:
        """The empty tray as it is known now, to be kept for the next run; None while it is not."""
        if self._mean is None or self._spread is None or self._comparing or self._doubtful:
            return None
        return KeptTray(self._mean.copy(), self._spread)

    def look(self, image: Image, now: float) -> Look:
        """What is on the tray; `now` in seconds, which never go back."""
        grid = grid_of(image)
        passed = max(0.0, now - self._last) if math.isfinite(self._last) else 0.0
        self._last = now
        moving = self._motion.look(grid, now, self._spread)
        if self._mean is None:
            return self._learn(grid, now, moving)
        if self._doubtful and not moving and float(in_range(grid)[self._unseen].mean()) >= SHOWN:
            return self._learn_again(moving)
        found = self._compare(grid, now, passed, moving)
        return self._as_kept(found, now) if self._comparing else found

    def _compare(self, grid: Grid, now: float, passed: float, moving: bool) -> Look:
        """With the empty tray that is known."""
        assert self._mean is not None
        if (blind := blindness(grid, white=False)) is not None:
            self._there, self._covered_since = False, None
            return Look(View.COVERED, 1.0, moving, blind)
        light, mask = self._differs(grid)
        share = float(mask.mean())
        if share < (self._options.leave if self._there else self._options.enter):
            self._empty(grid, passed, light, moving)
            return Look(View.EMPTY, share, moving, "the tray is empty")
        along = float(sides(mask).mean())
        covered = max(share, along) >= self._options.cover
        everywhere = covered or _everywhere(mask)
        if not moving and everywhere and self._as_before(grid):
            return Look(View.EMPTY, share, moving, "the tray looks as it did before")
        other = self._plain or is_grey(grid) != is_grey(self._mean)
        if not moving and everywhere and other and not self._comparing:
            return self._learn_again(moving)
        if not moving and (why := self._same_tray(grid, now, light, mask, covered)):
            self._covered_since, self._there = None, False
            return Look(View.EMPTY, share, moving, f"{why}: the empty tray is learnt again there")
        if everywhere:
            return self._covered(grid, now, share, moving)
        self._covered_since, self._there = None, True
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

    def _same_tray(self, grid: Grid, now: float, light: Grid, mask: Mask, everywhere: bool) -> str | None:
        """Why what differs is the tray nonetheless, which is then learnt again; None if it is not."""
        assert self._mean is not None
        seen = in_range(grid) | self._unseen
        shown = float(seen.mean()) >= SHOWN  # else nothing is learnt from it
        if not everywhere and (why := self._no_item(grid, light, mask)):
            if shown:  # as in the light of the rest of the learnt picture
                around = cv2.dilate(mask.astype(np.uint8), CROSS).astype(bool)
                self._follow(grid / light, math.inf, around & seen)
            return why
        if not shown:
            return None
        if now - self._looked_closer < LOOK_CLOSER:
            return None
        self._looked_closer = now
        if (why := self._looks_like(grid, mask, everywhere)) is None:
            return None
        self._remember()
        self._follow(grid, math.inf, seen)
        return why

    def _looks_like(self, grid: Grid, mask: Mask, everywhere: bool) -> str | None:
        """In which way all of a picture is the empty tray; None if it is not."""
        assert self._mean is not None
        shown = recoloured(grid, self._mean)
        if shown is not None and self._explains(grid, shown):
            return "the light has another colour"
        if same_edges(grid, self._mean, mask) >= (SAME_EDGES if everywhere else SAME_EDGES_HERE):
            return "the light has another colour, and the edges are the same"
        shown = moved(grid, self._mean)
        if shown is not None and self._explains(grid, shown):
            return "the camera or the tray was moved a little"
        return None

    def _explains(self, grid: Grid, shown: Grid) -> bool:
        """Whether `grid` is this picture of the empty tray."""
        assert self._limit is not None
        limit = self._limit.max(axis=-1) + SAME_EDGE * np.minimum(slope(grid), slope(shown))
        differs = strongest(unlike(grid, shown, np.ones(3, np.float32))) > limit
        return float(cv2.medianBlur(differs.astype(np.uint8), 3).mean()) < self._options.enter

    def _no_item(self, grid: Grid, light: Grid, mask: Mask) -> str | None:
        """Why what differs is no item; None if it is one."""
        new, lost = self._edges(grid, light, mask)
        least = EDGE * max(1.0, self._noise, self._motion.noise)
        if max(new, lost) < least:
            return "only the light changed"
        if (new < least or lost > 2 * new) and not _everywhere(mask):  # else it is something before the lens
            return "something learnt is gone"
        return None

    def _learn(self, grid: Grid, now: float, moving: bool) -> Look:
        learnt = self._learner.look(grid, now, moving)
        if isinstance(learnt, str):
            return Look(View.UNKNOWN, 0.0, moving, learnt)
        self._know(learnt.mean, learnt.spread, learnt.unseen)
        return Look(View.EMPTY, 0.0, moving, "the empty tray is learnt")

    def _as_kept(self, found: Look, now: float) -> Look:
        """What is to be said while it is not sure yet that this is the tray that was kept."""
        if found.moving or self._compared_since is None:
            self._compared_since = now
        if found.moving or now - self._compared_since < self._options.learn:
            view, reason = View.UNKNOWN, "the tray is compared with the one that was kept"
        elif found.view is View.EMPTY:
            self._comparing = False
            return found
        else:
            view, reason = View.STRANGE, STRANGE
        return Look(view, found.share, found.moving, reason)

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
        """Say how strong the edges along `mask`'s outline are that came since it was learnt, or went."""
        assert self._mean is not None
        thick = mask.astype(np.uint8)
        ring = (cv2.dilate(thick, CROSS) - cv2.erode(thick, CROSS)).astype(bool)
        if not ring.any():
            return 0.0, 0.0
        now = slope(grid)[ring]
        # Where the light is taken for too bright, it would cut off edges, and those that are there were new.
        new, lost = now - slope(self._mean * light)[ring], slope(lit(self._mean, light))[ring] - now
        # The upper quarter: an item looks like the tray, or leaves the view, along a part of its outline.
        return float(np.percentile(new, 75)), float(np.percentile(lost, 75))

    def _know(self, mean: Grid, spread: Grid, unseen: Mask | None = None) -> None:
        """The empty tray; a few pictures may have shown less of the noise of a cell than there is.

        `unseen` are cells that were out of range, which are learnt again as soon as they are not.
        """
        self._mean = mean
        self._noise = float(np.median(spread))
        self._spread = np.maximum(spread, np.float32(max(self._noise, NOISE_FLOOR)))
        self._limit = np.maximum(self._spread * self._options.noise, self._options.contrast)
        self._unseen = np.zeros(mean.shape[:2], np.bool_) if unseen is None else unseen
        self._doubtful = float(self._unseen.mean()) >= SHOWN
        off = np.abs(mean - np.median(mean, axis=(0, 1)))
        self._plain = float(np.percentile(strongest(off), 95)) <= PLAIN

    def _empty(self, grid: Grid, passed: float, light: Grid, moving: bool) -> None:
        """Nothing lies there: follow the light, but into no cell that the sensor cuts off."""
        assert self._mean is not None
        self._there, self._covered_since = False, None
        soon = self._options.adapt if float(light.max()) > BRIGHTER else 1.0
        self._follow(grid, passed * soon, strongest(grid) < CUT_OFF)
        if not moving and self._unseen.any():
            shown = self._unseen & in_range(grid)
            self._mean[shown] = grid[shown] / light
            self._unseen &= ~shown

    def _remember(self) -> None:
        """How the tray looks now, for when it does so again."""
        assert self._mean is not None
        if not self._plain and not self._doubtful:
            self._before = [self._mean, *self._before][:REMEMBERED]

    def _as_before(self, grid: Grid) -> bool:
        """Whether this is the tray as it was before it was learnt again; it is then known as that."""
        for n, before in enumerate(self._before):
            shown = lit(before, gain(grid, before))
            if self._explains(grid, shown):
                del self._before[n]
                self._remember()
                self._know(shown, np.full_like(shown, self._noise))
                self._there, self._covered_since = False, None
                return True
        return False

    def _learn_again(self, moving: bool) -> Look:
        """What was learnt was no picture of the tray, or one of another kind of light."""
        self._remember()
        before = self._before
        self.relearn()
        self._before = before
        return Look(
            View.UNKNOWN, 0.0, moving, "the camera shows another picture than when the tray was learnt"
        )

    def _covered(self, grid: Grid, now: float, share: float, moving: bool) -> Look:
        self._there = False
        if moving or self._covered_since is None:
            self._covered_since = now
        elif now - self._covered_since >= self._options.relearn and not self._comparing:
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
            step *= mask[..., None]
        self._mean = (self._mean + step).astype(np.float32)


def _everywhere(mask: Mask) -> bool:
    """Whether the view differs along each half of each side, which no item covers all at once."""
    halves = (*np.array_split(mask[0], 2), *np.array_split(mask[-1], 2))
    halves += (*np.array_split(mask[:, 0], 2), *np.array_split(mask[:, -1], 2))
    return all(float(half.mean()) >= SEGMENT for half in halves)
