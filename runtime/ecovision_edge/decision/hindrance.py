"""What keeps a bin from deciding anything more, told once it has lasted."""

from __future__ import annotations

from dataclasses import dataclass

from ecovision_edge.decision.views import Content, Look, View
from ecovision_edge.events import BinState

__all__ = ["Hindrance", "Hindrances"]

CHANGED = 0.4  # of the cells of an item; it may be turned or pushed a little, and is still the same

UNLEARNT = "the empty tray cannot be learnt, for nothing lies still: does the camera shake?"
SWAPPED = "what lies there is not what was decided, and the tray was not empty between; empty it"
RESTLESS = "something moves all the time, and the tray was not empty since the decision"
COVERED = "the whole view differs since the decision: lens covered, or camera moved?"
FRAMELESS = "no frame came"


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Something that has lasted.

    Args:
        reason: In one line, the same for as long as it lasts.
        since: When it was told first, seconds of the decider's clock.
    """

    reason: str
    since: float


class Hindrances:
    """Sees what hinders a decider, one thing at a time, and for how long.

    Args:
        after: Seconds after which it is told.
    """

    def __init__(self, after: float) -> None:
        """With none."""
        self._after = after
        self._what: str | None = None
        self._since = 0.0
        self._told: Hindrance | None = None
        self._decided: Content | None = None

    @property
    def told(self) -> Hindrance | None:
        """The one that has lasted, if there is one."""
        return self._told

    def clear(self, now: float) -> None:
        """There is none: the tray is empty, or an item came."""
        self._decided = None
        self._see(None, now)

    def decided(self, content: Content | None) -> None:
        """This lies there while the decision is made; None if that is not known yet."""
        self._decided = content

    def no_frame(self, now: float) -> None:
        """None came; what hindered before, still does."""
        self._see(self._what or FRAMELESS, now)

    def look(self, look: Look, state: BinState, now: float) -> None:
        """A frame came, in this state of the decider."""
        self._see(self._found(look, state), now)

    def _found(self, look: Look, state: BinState) -> str | None:
        if state is BinState.STARTING and look.view is View.UNKNOWN:
            return UNLEARNT
        if state is not BinState.DECIDED or look.view in (View.EMPTY, View.UNKNOWN):
            return None
        if look.view is View.COVERED:
            return COVERED
        if look.moving:
            return SWAPPED if self._what == SWAPPED else RESTLESS
        if look.content is None or self._decided is None:
            self._decided = self._decided or look.content  # it moved when it was decided
            return None
        return SWAPPED if look.content.changed(self._decided) >= CHANGED else None

    def _see(self, what: str | None, now: float) -> None:
        if what != self._what:
            self._what, self._since, self._told = what, now, None
        if what is not None and self._told is None and now - self._since >= self._after:
            self._told = Hindrance(f"{what}, for {self._after:g} s now", now)
