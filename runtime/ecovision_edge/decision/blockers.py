"""What keeps a bin from deciding anything more, told once it has lasted."""

from __future__ import annotations

from dataclasses import dataclass

from ecovision_edge.decision.learning import LEARNING
from ecovision_edge.events import BinState
from ecovision_edge.observation import Content, Look, View

__all__ = ["Blocker", "Blockers"]

CHANGED = 0.4  # of the cells of an item; it may be turned or pushed a little, and is still the same

CANNOT = "the empty tray cannot be learnt"
UNLEARNT = f"{CANNOT}, for nothing lies still: does the camera shake?"
SWAPPED = "what lies there is not what was decided, and the tray was not empty between; empty it"
RESTLESS = "something moves all the time, and the tray was not empty since the decision"
COVERED = "the whole view differs since the decision: lens covered, or camera moved?"
FRAMELESS = "no frame came"
STAYS = "it has lain there since it was decided: take it away, or, if this is the empty tray, have it learnt"


@dataclass(frozen=True, slots=True)
class Blocker:
    """Something that has lasted.

    Args:
        reason: In one line, the same for as long as it lasts.
        since: When it was told first, seconds of the decider's clock.
    """

    reason: str
    since: float


class Blockers:
    """Sees what blocks a decider, one thing at a time, and for how long.

    Args:
        after: Seconds after which it is told.
        stays: Seconds after which a decided item that is still there is questioned.
    """

    def __init__(self, after: float, stays: float) -> None:
        """With none."""
        self._after, self._stays = after, stays
        self._lies_since: float | None = None
        self._stayed: Blocker | None = None
        self._current: str | None = None
        self._since = 0.0
        self._told: Blocker | None = None
        self._decided: Content | None = None

    @property
    def told(self) -> Blocker | None:
        """The one that has lasted, if there is one."""
        return self._told or self._stayed

    @property
    def stayed(self) -> bool:
        """Whether what was decided is there longer than an item lies there."""
        return self._stayed is not None

    def clear(self, now: float) -> None:
        """Clear what keeps it from deciding: the tray is empty, or an item came."""
        self._decided = self._lies_since = self._stayed = None
        self._follow(None, now)

    def decided(self, content: Content | None) -> None:
        """This lies there while the decision is made; None if that is not known yet."""
        self._decided = content

    def no_frame(self, now: float) -> None:
        """None came; what blocked it before still does."""
        self._follow(self._current or FRAMELESS, now)

    def look(self, look: Look, state: BinState, now: float) -> None:
        """A frame came, in this state of the decider."""
        self._follow(self._found(look, state), now)
        if state is not BinState.DECIDED:
            self._lies_since = self._stayed = None
        elif self._lies_since is None:
            self._lies_since = now
        elif self._stayed is None and now - self._lies_since >= self._stays:
            self._stayed = Blocker(f"{STAYS}; for {self._stays:g} s now", now)

    def _found(self, look: Look, state: BinState) -> str | None:
        """Say what a frame shows that keeps the decider from deciding; None if nothing does."""
        if state is BinState.STARTING and look.view is View.UNKNOWN:
            return _unlearnt(look)
        if state is BinState.DECIDED and look.view not in (View.EMPTY, View.UNKNOWN):
            return self._not_gone(look)
        return None

    def _not_gone(self, look: Look) -> str | None:
        """Say what lies there after the decision; None if it is what was decided."""
        if look.view is View.COVERED:
            return COVERED
        if look.moving:
            return SWAPPED if self._current == SWAPPED else RESTLESS
        if look.content is None or self._decided is None:
            self._decided = self._decided or look.content  # it moved when it was decided
            return None
        return SWAPPED if look.content.changed(self._decided) >= CHANGED else None

    def _follow(self, found: str | None, now: float) -> None:
        """Follow what blocks now, and tell it once it has lasted."""
        if found != self._current:
            if not _both_cannot(found, self._current):
                self._current, self._since, self._told = found, now, None
            elif self._told is None:  # for one reason or another: it is told with the last one
                self._current = found
        if found is not None and self._told is None and now - self._since >= self._after:
            self._told = Blocker(f"{found}, for {self._after:g} s now", now)


def _unlearnt(look: Look) -> str:
    """Say why the empty tray is not learnt yet."""
    return UNLEARNT if look.moving or look.reason == LEARNING else f"{CANNOT}: {look.reason}"


def _both_cannot(one: str | None, other: str | None) -> bool:
    """Whether both say that the empty tray cannot be learnt."""
    return one is not None and other is not None and one.startswith(CANNOT) and other.startswith(CANNOT)
