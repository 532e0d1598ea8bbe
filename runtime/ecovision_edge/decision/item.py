"""The item in hand: since when it lies there and lies still, and what its frames said."""

from __future__ import annotations

from collections.abc import Sequence

from ecovision_edge.bundle.views import PLAIN, RegionView
from ecovision_edge.decision.options import DeciderOptions
from ecovision_edge.decision.verdict import Judge, Verdict
from ecovision_edge.observation import Look
from ecovision_edge.preprocess.region import Region

__all__ = ["Item"]


class Item:
    """One item, from its arrival to its decision. Times are seconds of the decider's clock.

    Args:
        number: Its number in this run, from 0.
        now: When it came.
        judge: Weighs its frames.
        options: How long it is waited for.
    """

    def __init__(self, number: int, now: float, judge: Judge, options: DeciderOptions) -> None:
        """It has just come, and nothing is known of it."""
        self.number = number
        self.place: Region | None = None
        """What of its last frame was classified."""
        self._judge, self._options = judge, options
        self._arrived = self._still_since = self._looked_at_since = now
        self._rested = False
        self._evidence = judge.evidence()

    @property
    def frames(self) -> int:
        """How many of its frames count."""
        return self._evidence.frames

    @property
    def restless(self) -> bool:
        """Whether its frames count though it never lay still."""
        return self._evidence.frames > 0 and not self._rested

    def age(self, now: float) -> float:
        """Seconds since it came."""
        return now - self._arrived

    def settle(self, look: Look, now: float) -> str | None:
        """A frame before it is looked at; if it is from now on, why."""
        if look.moving:
            self._still_since = now
        self._rested = now - self._still_since >= self._options.settle
        if not self._rested and self.age(now) < self._options.settle_within:
            return None
        self._looked_at_since = now
        if look.moving:
            return f"it has moved for {self.age(now):.1f} s; it is looked at as it is"
        return "it lies still"

    def moves_again(self, look: Look, now: float) -> bool:
        """Tell whether its frames so far no longer count, for it may be another; in time it is awaited."""
        if not look.moving or self.age(now) >= self._options.settle_within:
            return False
        self._evidence = self._judge.evidence()
        self._still_since = now
        return True

    def perhaps_hand(self, look: Look, now: float) -> bool:
        """Whether it may go again, and leave another picture: a hand, or an item in one."""
        return look.edge and now - self._still_since < self._options.settle_at_edge

    @property
    def view(self) -> RegionView:
        """In which its next frame is to be looked at."""
        return self._judge.view(self._evidence.frames)

    def add(self, probabilities: Sequence[float], view: RegionView = PLAIN) -> None:
        """One frame's, looked at in that view."""
        self._evidence.add(probabilities, self._judge.number(view))

    def verdict(self) -> Verdict:
        """What its frames say so far."""
        return self._judge.verdict(self._evidence)

    def overdue(self, now: float, *, settling: bool) -> bool:
        """Tell whether its time is up; while it settles, only where no frames come: else it ends itself."""
        options = self._options
        if settling:
            return self.age(now) >= options.settle_within + options.decide_within
        return now - self._looked_at_since >= options.decide_within
