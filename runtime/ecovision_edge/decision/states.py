"""What a bin is doing, and each way from one state to the next."""

from __future__ import annotations

from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.bundle.views import PLAIN, RegionView
from ecovision_edge.decision.blockers import Blockers
from ecovision_edge.decision.event_factory import EventFactory
from ecovision_edge.decision.item import Item
from ecovision_edge.decision.options import DeciderOptions
from ecovision_edge.decision.status import BinStatus
from ecovision_edge.decision.verdict import Judge, Verdict
from ecovision_edge.events import BinEvent, BinState
from ecovision_edge.observation import Look, Observation

__all__ = ["BinStates"]


class BinStates:
    """The state of a decider and the item in hand, which arrives, settles, is weighed, decided, and leaves.

    Args:
        judge: Weighs the frames of an item.
        options: When a decision is made.
        events: Makes its events.
        first: The status at the start.
    """

    def __init__(self, judge: Judge, options: DeciderOptions, events: EventFactory, first: BinStatus) -> None:
        self._judge, self._options, self._events = judge, options, events
        self.blockers = Blockers(options.tell_after, options.question_after)
        """What keeps it from deciding."""
        self._now = 0.0
        self._status = first
        self._items = 0
        self._item: Item | None = None
        self._event_at: float | None = None

    @property
    def now(self) -> float:
        """The latest time, seconds."""
        return self._now

    @property
    def state(self) -> BinState:
        """The state, without regard to what blocks it."""
        return self._status.state

    @property
    def in_hand(self) -> bool:
        """Whether an item came that is not decided yet."""
        return self._status.state in (BinState.SETTLING, BinState.DECIDING)

    @property
    def number(self) -> int | None:
        """The number of the item; None if there is none."""
        return self._status.item

    @property
    def item(self) -> Item:
        """The item that came last; there has to be one."""
        assert self._item is not None
        return self._item

    @property
    def next_view(self) -> RegionView:
        """In which the item in hand is looked at next; what is no item yet is looked at as it is."""
        return self.item.view if self.in_hand else PLAIN

    @property
    def cooling(self) -> bool:
        """Whether the last event is within the cooldown."""
        return self._event_at is not None and self._now - self._event_at < self._options.cooldown

    @property
    def status(self) -> BinStatus:
        """What it is doing, and why nothing is decided; a fault too, if something blocks it for long."""
        status, told = self._status, self.blockers.told
        if told is None:
            return status
        since = told.since if status.state.ready else status.since
        return BinStatus(BinState.FAULT, since, told.reason, status.item)

    def judge_by(self, judge: Judge, bundle: BundleIdentity | None) -> None:
        """Have another judge weigh the next item, and its bundle in its event; there is none in hand."""
        assert not self.in_hand
        self._judge, self._events.bundle = judge, bundle

    def advance(self, now: float) -> None:
        """Let time pass; an earlier time counts as the latest one."""
        self._now = max(self._now, now)

    def enter(self, state: BinState, reason: str) -> None:
        """Enter a state, with the item if there is one."""
        number = None if self._item is None else self._item.number
        self._status = BinStatus(state, self._now, reason, number)

    def say(self, state: BinState, reason: str) -> None:
        """Give a reason, and perhaps another state, without a new item."""
        old = self._status
        if state is old.state:
            self._status = BinStatus(state, old.since, reason, old.item)
        else:
            self._status = BinStatus(state, self._now, reason)

    def arrive(self, why: str) -> None:
        """An item came."""
        self._item = Item(self._items, self._now, self._judge, self._options)
        self._items += 1
        self.blockers.clear(self._now)
        self.enter(BinState.SETTLING, why)

    def leave(self, why: str, state: BinState = BinState.EMPTY) -> None:
        """There is no item any more, whether it was decided or not."""
        self._item = None
        self.blockers.clear(self._now)
        self.enter(state, why)

    def settle(self, look: Look) -> None:
        """A frame of an item that is not looked at yet: from now on it is, or it still moves."""
        why = self.item.settle(look, self._now)
        if why is not None:
            self.enter(BinState.DECIDING, why)
        else:
            self.say(BinState.SETTLING, "it moves" if look.moving else "it has just come to rest")

    def unsettle(self, look: Look) -> None:
        """A frame of an item that is looked at: it may move again."""
        if self.item.moves_again(look, self._now):
            self.enter(BinState.SETTLING, "it moves again")

    def weigh(self, seen: Observation, look: Look) -> BinEvent | None:
        """Count a frame of the item that is looked at; its event, if that is sure now, or its time is up."""
        if seen.probabilities is None:
            return self.overdue(seen)
        item = self.item
        item.add(seen.probabilities, seen.view)
        item.place = seen.place
        self.blockers.decided(look.content)
        verdict = item.verdict()
        if verdict.refusal is None and not item.perhaps_hand(look, self._now):
            return self._emit(seen, verdict)
        self.say(BinState.DECIDING, verdict.refusal or "it reaches out of the view, as a hand does")
        return self.overdue(seen)

    def overdue(self, seen: Observation | None = None) -> BinEvent | None:
        """The event of an item whose time is up, if it is; `seen` is the frame, where one counts."""
        if not self.in_hand:
            return None
        if not self.item.overdue(self._now, settling=self._status.state is BinState.SETTLING):
            return None
        return self._emit(seen or Observation(), self.item.verdict())

    def _emit(self, seen: Observation, verdict: Verdict) -> BinEvent:
        event = self._events.make(seen, self.item, verdict, self._judge.default, self._now)
        self._event_at = self._now
        self.enter(BinState.DECIDED, f"{event.bin}: {event.reason}")
        return event
