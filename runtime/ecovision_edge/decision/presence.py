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
    COLUMNS,
    CROSS,
    ENOUGH_PIXELS,
    ROWS,
    Grid,
    Mask,
    gain,
    grid_of,
    in_range,
    lit,
    sides,
)
from ecovision_edge.decision.kept import KeptTray
from ecovision_edge.decision.known_tray import NOISE_FLOOR, SHOWN, KnownTray, is_everywhere
from ecovision_edge.decision.learning import Learner, blindness
from ecovision_edge.decision.motion import Motion
from ecovision_edge.decision.presence_options import PresenceOptions
from ecovision_edge.observation import Look, View
from ecovision_edge.preprocess.frames import Bgr, as_bgr, checks_for

__all__ = ["PresenceGate"]

Image = npt.NDArray[np.uint8]

LOOK_CLOSER = 1.0  # seconds between two looks whether what differs is the tray after all
REMEMBERED = 2  # pictures of the tray from before it was learnt again: by day, say, and by night
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
        self._tray: KnownTray | None
        self.relearn()
        if kept is not None:
            self._tray = KnownTray(kept.mean, kept.spread, self._options)
            self._comparing = True

    def relearn(self) -> None:
        """Forget the empty tray: it is learnt from the next frames without motion."""
        self._tray = None
        self._learner = Learner(self._options.learn)
        self._motion = Motion(self._options.contrast / 2, self._options.motion)
        self._there = False
        self._covered_since: float | None = None
        self._looked_closer = -math.inf
        self._before: list[Grid] = []
        self._comparing = False
        self._compared_since: float | None = None
        self._last = -math.inf
        self._aspect = ROWS / COLUMNS

    def learn_from(self, image: Image) -> None:
        """Take one picture for the empty tray, `(height, width, 3) uint8 BGR`: one that was kept, say."""
        self.relearn()
        mean = grid_of(as_bgr(image))
        self._tray = KnownTray(mean, np.full_like(mean, NOISE_FLOOR), self._options)

    @property
    def tray(self) -> KeptTray | None:
        """The empty tray as it is known now, to be kept for the next run; None while it is not."""
        if self._tray is None or self._comparing or self._tray.doubtful:
            return None
        return self._tray.kept()

    def reduction(self, height: int, width: int) -> int:
        """Return how many times smaller a JPEG of that size may be decoded to be looked at: 1, 2, 4 or 8."""
        return next((by for by in (8, 4, 2) if (height // by) * (width // by) >= ENOUGH_PIXELS), 1)

    def look_bgr(self, image: Bgr, now: float) -> Look:
        """What is on the tray, from a frame that is checked already; as `look`."""
        grid, tray = grid_of(image), self._tray
        passed = max(0.0, now - self._last) if math.isfinite(self._last) else 0.0
        self._last = now
        moving = self._motion.look(grid, now, None if tray is None else tray.spread)
        if tray is None:
            return self._learn(grid, now, moving)
        if tray.doubtful and not moving and float(in_range(grid)[tray.unseen].mean()) >= SHOWN:
            return self._learn_again(tray, moving)
        self._aspect = image.shape[0] / image.shape[1]
        found = self._compare(tray, grid, now, passed, moving)
        return self._as_kept(found, now) if self._comparing else found

    @checks_for(look_bgr)
    def look(self, image: Image, now: float) -> Look:
        """What is on the tray; `now` in seconds, which never go back.

        Raises:
            FrameTypeError, FrameValueError: not a frame.
        """
        return self.look_bgr(as_bgr(image), now)

    def _compare(self, tray: KnownTray, grid: Grid, now: float, passed: float, moving: bool) -> Look:
        """Compare with the empty tray that is known."""
        if (blind := blindness(grid, white=False)) is not None:
            self._there, self._covered_since = False, None
            return Look(View.COVERED, 1.0, moving, blind)
        light, mask = tray.differs(grid, self._motion.noise)
        share = float(mask.mean())
        if share < (self._options.leave if self._there else self._options.enter):
            self._there, self._covered_since = False, None
            tray.follow_light(grid, passed, light, moving=moving)
            return Look(View.EMPTY, share, moving, "the tray is empty")
        covered = max(share, float(sides(mask).mean())) >= self._options.cover
        everywhere = covered or is_everywhere(mask)
        if not moving:
            if everywhere and (found := self._other_picture(tray, grid, share)) is not None:
                return found
            if why := self._same_tray(tray, grid, now, light, mask, covered):
                self._covered_since, self._there = None, False
                return Look(View.EMPTY, share, moving, f"{why}: the empty tray is learnt again there")
        if everywhere:
            return self._covered(tray, grid, now, share, moving)
        return self._item(grid, light, mask, share, moving)

    def _item(self, grid: Grid, light: Grid, mask: Mask, share: float, moving: bool) -> Look:
        self._covered_since, self._there = None, True
        where = outline(mask, self._aspect)
        return Look(
            View.ITEM,
            share,
            moving,
            f"something covers {share:.0%} of the view",
            box=None if where is None else where.box,
            turned=None if where is None else where.turned,
            edge=where is not None and where.edge,
            content=None if moving else GridContent(grid / light, mask),
        )

    def _other_picture(self, tray: KnownTray, grid: Grid, share: float) -> Look | None:
        """Look whether what differs everywhere is the tray of before, or is to be learnt; None if neither."""
        if self._as_before(tray, grid):
            return Look(View.EMPTY, share, False, "the tray looks as it did before")
        if tray.is_of_other_light(grid) and not self._comparing:
            return self._learn_again(tray, moving=False)
        return None

    def _same_tray(
        self, tray: KnownTray, grid: Grid, now: float, light: Grid, mask: Mask, everywhere: bool
    ) -> str | None:
        """Say why what differs is the tray nonetheless, which is then learnt again; None if it is not."""
        seen = in_range(grid) | tray.unseen
        shown = float(seen.mean()) >= SHOWN  # else nothing is learnt from it
        if not everywhere and (why := tray.no_item(grid, light, mask, self._motion.noise)):
            if shown:  # as in the light of the rest of the learnt picture
                around = cv2.dilate(mask.astype(np.uint8), CROSS).astype(bool)
                tray.follow(grid / light, math.inf, around & seen)
            return why
        if not shown or now - self._looked_closer < LOOK_CLOSER:
            return None
        self._looked_closer = now
        if (why := tray.looks_like(grid, mask, everywhere)) is None:
            return None
        self._remember(tray)
        tray.follow(grid, math.inf, seen)
        return why

    def _learn(self, grid: Grid, now: float, moving: bool) -> Look:
        learnt = self._learner.look(grid, now, moving)
        if isinstance(learnt, str):
            return Look(View.UNKNOWN, 0.0, moving, learnt)
        self._tray = KnownTray(learnt.mean, learnt.spread, self._options, learnt.unseen)
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

    def _remember(self, tray: KnownTray) -> None:
        """Remember how the tray looks now, for when it does so again."""
        if not tray.plain and not tray.doubtful:
            self._before = [tray.mean, *self._before][:REMEMBERED]

    def _as_before(self, tray: KnownTray, grid: Grid) -> bool:
        """Whether this is the tray as it was before it was learnt again; it is then known as that."""
        for n, before in enumerate(self._before):
            shown = lit(before, gain(grid, before))
            if tray.explains(grid, shown):
                del self._before[n]
                self._remember(tray)
                self._tray = KnownTray(shown, np.full_like(shown, tray.noise), self._options)
                self._there, self._covered_since = False, None
                return True
        return False

    def _learn_again(self, tray: KnownTray, moving: bool) -> Look:
        """Learn again: what was learnt is no picture of the tray, or one of another kind of light."""
        self._remember(tray)
        before = self._before
        self.relearn()
        self._before = before
        return Look(
            View.UNKNOWN, 0.0, moving, "the camera shows another picture than when the tray was learnt"
        )

    def _covered(self, tray: KnownTray, grid: Grid, now: float, share: float, moving: bool) -> Look:
        self._there = False
        if moving or self._covered_since is None:
            self._covered_since = now
        elif now - self._covered_since >= self._options.relearn and not self._comparing:
            tray.follow(grid, math.inf)
            self._covered_since = None
            return Look(View.EMPTY, share, moving, "another view stayed, and is now taken for the empty tray")
        return Look(View.COVERED, share, moving, "the whole view differs: lens covered, or camera moved?")
