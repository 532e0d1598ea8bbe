"""`BinDecider`: from frames to one event per item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ecovision_edge.bundle.views import PLAIN, RegionView, ViewPlan
from ecovision_edge.decision.hindrance import Hindrances
from ecovision_edge.decision.item import Item
from ecovision_edge.decision.making import EventMaker
from ecovision_edge.decision.options import DeciderOptions
from ecovision_edge.decision.presence import PresenceGate
from ecovision_edge.decision.regions import Regions
from ecovision_edge.decision.seen import image_in, probabilities_in
from ecovision_edge.decision.verdict import EveryLabel, Judge, Sorting, Verdict
from ecovision_edge.decision.views import Gate, Look, View
from ecovision_edge.errors import FrameTypeError
from ecovision_edge.events import BinEvent, BinState
from ecovision_edge.preprocess.region import Region

if TYPE_CHECKING:
    from ecovision_edge.camera.source import CapturedFrame
    from ecovision_edge.loop.result import LoopResult
    from ecovision_edge.prediction import Prediction

__all__ = ["BinDecider", "BinStatus"]

Image = npt.NDArray[np.uint8]

IN_HAND = (BinState.SETTLING, BinState.DECIDING)


@dataclass(frozen=True, slots=True)
class BinStatus:
    """What a decider is doing, and why nothing is decided.

    Args:
        state: What it does.
        since: When it began, seconds of the clock that `step` is given.
        reason: In one line.
        item: The number of the item in hand; None if there is none.
    """

    state: BinState
    since: float
    reason: str
    item: int | None = None


class BinDecider:
    """Turns frames into events: one item, one event, with its reason. Pure: no thread, no clock, no device.

    `step` is called with each frame and the time; whoever calls it decides what becomes of the event. The
    same frames and times give the same events.

    An item comes (the picture differs from the empty tray, or `trigger`), lies still, its frames are
    combined; it is decided when that is sure, else unknown when the time is up. Then nothing more happens
    until the tray was empty. A frame of the last item never counts for the next one.

        >>> from ecovision_edge.decision import BinDecider, DeciderOptions
        >>> decider = BinDecider(("paper", "glass"), options=DeciderOptions(gate="trigger", min_frames=2))
        >>> decider.trigger(0.0)
        >>> events = [decider.step((0.02, 0.98), 0.5 + n / 10) for n in range(4)]
        >>> [event.bin for event in events if event]
        ['glass']

    Where the picture tells that there is an item, it also tells where, and only that part of a frame is
    worth classifying. `step` does so with frames alone; who classifies first, asks `look` before.

    Args:
        labels: The classes, in the order of the probabilities.
        rules: Which bin each label goes to, and what a mistake costs; None makes each label a bin of its own.
        options: When a decision is made.
        thresholds: The least probability a class, 0 to 1, below which it is unknown (`contract.thresholds`).
        views: Those that the frames of one item are looked at in, in turn, and what they are worth together
            (`contract.views`); None: each is looked at as it is, and `options.correlation` counts.
        classify: Called with the part of a frame whose prediction is needed, where `step` is given frames
            alone; so nothing is classified while the tray is empty (`Classifier.classify`).
        gate: In place of `PresenceGate`.
        device, bundle: Put into events.
        run: Unlike that of any other run; it begins the ids of events. None makes one up.
    """

    def __init__(
        self,
        labels: Sequence[str],
        rules: Sorting | None = None,
        options: DeciderOptions | None = None,
        *,
        thresholds: Sequence[float] | None = None,
        views: ViewPlan | None = None,
        classify: Callable[[Image], Prediction] | None = None,
        gate: Gate | None = None,
        device: str = "",
        bundle: str | None = None,
        run: str | None = None,
    ) -> None:
        self._options = options or DeciderOptions()
        self._judge = Judge(labels, rules or EveryLabel(), self._options, thresholds, views)
        self._maker = EventMaker(device, bundle, run)
        self._classify = classify
        self._gate: Gate = gate or PresenceGate(self._options.presence)
        self._regions = Regions(self._options.margin, self._options.aspect)
        self._by_trigger = self._options.gate == "trigger"
        self._now = 0.0
        first = BinState.EMPTY if self._by_trigger else BinState.STARTING
        self._status = BinStatus(first, 0.0, "nothing was triggered" if self._by_trigger else "no frame yet")
        self._hindrances = Hindrances(self._options.tell_after, self._options.question_after)
        self._returned = self._questioned = False  # an item went, and the tray was empty again; it is doubted
        self._ahead: tuple[Image, Look] | None = None
        self._asked = PLAIN  # of a prediction alone, which does not say what it is of
        self._items = 0
        self._item: Item | None = None
        self._empty_since: float | None = None
        self._event_at: float | None = None

    def __repr__(self) -> str:
        return f"<BinDecider {self.status.state}: {self.status.reason}>"

    @property
    def status(self) -> BinStatus:
        """What it is doing now, and why nothing is decided; a fault too, if something hinders it for long."""
        status, told = self._status, self._hindrances.told
        if told is None:
            return status
        since = told.since if status.state.ready else status.since
        return BinStatus(BinState.FAULT, since, told.reason, status.item)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes."""
        return self._judge.labels

    def trigger(self, now: float) -> bool:
        """An item came, says a sensor or a button; whether that begins one.

        It does not while an item is in hand, nor within the cooldown: then `status` says so.
        """
        self._advance(now)
        state = self._status.state
        if state in IN_HAND:
            self._say(state, f"triggered, but item {self._status.item} is in hand")
            return False
        if self._cooling():
            self._say(state, "triggered, but within the cooldown")
            return False
        if not self._by_trigger and state is not BinState.EMPTY:
            self._say(state, "triggered, but the tray was not empty")
            return False
        self._arrive("triggered")
        return True

    def clear(self, now: float) -> None:
        """The tray is empty, says a sensor, or whoever turned its flap."""
        self._advance(now)
        if self._status.state in IN_HAND:
            self._leave(f"item {self._status.item} went before it was decided: cleared")
        elif self._status.state is BinState.DECIDED:
            self._leave("cleared")

    def learn(self, now: float) -> bool:
        """The tray is empty, says an operator: learn its picture again; an item in hand gets no event.

        Returns:
            Whether it is learnt; not with `gate="trigger"`, which knows no picture.
        """
        self._advance(now)
        if self._by_trigger:
            return False
        self._gate.relearn()
        self._ahead = self._item = self._empty_since = None
        self._returned = self._questioned = False
        self._hindrances.clear(self._now)
        self._set(BinState.STARTING, "the empty tray is learnt again, as was asked")
        return True

    def look(self, image: Image, now: float) -> Region | None:
        """Which part of a frame is worth classifying; then give `step` the same frame with its prediction.

        Returns:
            Where the item is, and in which view it is to be looked at (`Region.cut` gives it so); None, the
            whole frame as it is, if there is none; and, in the plain view, if it fills the frame, with
            `gate="trigger"`, or without `crop`.

        Raises:
            FrameTypeError, FrameValueError: not a frame.
        """
        self._advance(now)
        self._asked = self._next_view()
        if self._by_trigger:
            return self._whole(image)
        look = self._gate.look(image, self._now)
        self._ahead = image, look
        return self._region(look, image)

    def step(
        self,
        seen: LoopResult | Prediction | CapturedFrame | Image | Sequence[float] | None,
        now: float,
    ) -> BinEvent | None:
        """Look at a frame, or let time pass.

        Args:
            seen: What the loop gave (frame and prediction); a frame alone, which is classified if it has to
                be; with `gate="trigger"` a prediction or its probabilities alone; or None, where no frame
                came.
            now: Seconds of a clock that never goes back; an earlier time counts as the latest one. A frame of
                before the trigger of the item in hand does not count.

        Returns:
            The event that it completes, if it does.

        Raises:
            FrameTypeError: a prediction alone, where the picture has to tell whether there is an item; or a
                frame alone without `classify`.
            OptionError: probabilities that are not one per label, or NaN, infinite or out of range: a bin is
                never made of those.
            FrameValueError, InferenceError: as `Classifier.classify`.
        """
        self._advance(now)
        image = image_in(seen)
        if self._by_trigger:
            look = Look(View.ITEM if self._status.state in IN_HAND else View.EMPTY, 0.0, False, "triggered")
            if self._status.state in IN_HAND and self._in_hand().age(now) < 0:
                return self._overdue(None)  # captured before the trigger: it shows what was there before
        elif image is not None:
            look = self._look_at(image)
            self._hindrances.look(look, self._status.state, self._now)
            self._question()
            if not self._take(look):
                return self._overdue(None)
        elif seen is None:
            if self._status.state not in IN_HAND:
                self._hindrances.no_frame(self._now)
            return self._overdue(None)
        else:
            raise FrameTypeError(
                "what step was given",
                expected='a frame, or the result of a loop, for gate="picture"',
                found=type(seen).__name__,
                fix='give gate="trigger" and call trigger() when an item comes',
            )
        if self._status.state is BinState.EMPTY and look.view is View.ITEM:
            if self._cooling():
                self._say(BinState.EMPTY, "something came, but within the cooldown")
                return None
            self._arrive("something came")
        if self._status.state is BinState.SETTLING:
            self._settle(look)
        elif self._status.state is BinState.DECIDING and self._in_hand().moves_again(look, self._now):
            self._set(BinState.SETTLING, "it moves again")
        if self._status.state is BinState.DECIDING:
            return self._weigh(seen, image, look)
        return None

    # Looks.

    def _look_at(self, image: Image) -> Look:
        """What the gate says of it, which `look` may have asked already."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] is image:
            return ahead[1]
        return self._gate.look(image, self._now)

    def _region(self, look: Look, image: Image) -> Region | None:
        if look.view is not View.ITEM:
            self._regions.forget()
        if look.view is not View.ITEM:
            return None
        if look.box is None or not self._options.crop:
            return self._whole(image)
        place = self._regions.of(look.box, image.shape[1], image.shape[0])
        return self._whole(image) if place is None else replace(place, view=self._next_view())

    def _whole(self, image: Image) -> Region | None:
        """The whole frame in the view that is next; None in the plain one."""
        view = self._next_view()
        return None if view == PLAIN else Region(0, 0, image.shape[1], image.shape[0], view)

    def _next_view(self) -> RegionView:
        """In which the item in hand is looked at next; what is no item yet is looked at as it is."""
        return self._in_hand().view if self._status.state in IN_HAND else PLAIN

    def _take(self, look: Look) -> bool:
        """What the picture says of the tray; False if nothing more is to be done with this frame."""
        state = self._status.state
        if look.view in (View.UNKNOWN, View.COVERED, View.STRANGE):
            self._empty_since = None
            if state in (BinState.STARTING, BinState.EMPTY, BinState.FAULT):
                blind = BinState.STARTING if look.view is View.UNKNOWN else BinState.FAULT
                self._say(blind, look.reason)
            elif state in IN_HAND and look.view is View.COVERED:
                self._say(state, look.reason)
            return False
        if look.view is View.ITEM:
            self._empty_since = None
            if not state.ready:  # it was there before, or came meanwhile: an item nonetheless
                self._set(BinState.EMPTY, "the view is back")
            return True
        if self._empty_since is None:
            self._empty_since = self._now
        if not state.ready:
            self._set(BinState.EMPTY, look.reason)
        elif state is BinState.EMPTY:
            self._say(state, look.reason)
        elif self._now - self._empty_since >= self._options.rearm:
            self._returned = self._returned or not self._questioned
            self._questioned = False
            if state is BinState.DECIDED:
                self._leave(look.reason)
            else:
                self._leave(f"item {self._status.item} went before it was decided")
        else:
            return state is BinState.DECIDED  # perhaps it went: its frames do not count
        return False

    def _question(self) -> None:
        """Learn the tray again if an item stays, and nothing has shown yet that the learnt one is right."""
        if self._hindrances.stayed and not self._returned and not self._questioned:
            self._questioned = True
            self._hindrances.clear(self._now)
            self._gate.relearn()

    # States.

    def _arrive(self, why: str) -> None:
        self._item = Item(self._items, self._now, self._judge, self._options)
        self._items += 1
        self._hindrances.clear(self._now)
        self._set(BinState.SETTLING, why)

    def _in_hand(self) -> Item:
        assert self._item is not None
        return self._item

    def _settle(self, look: Look) -> None:
        why = self._in_hand().settle(look, self._now)
        if why is not None:
            self._set(BinState.DECIDING, why)
        else:
            self._say(BinState.SETTLING, "it moves" if look.moving else "it has just come to rest")

    def _weigh(self, seen: object, image: Image | None, look: Look) -> BinEvent | None:
        item = self._in_hand()
        found = self._probabilities(seen, image, look)
        if found is None:
            return self._overdue(seen)
        probabilities, region = found
        item.add(probabilities, self._asked if region is None else region.view)
        self._asked = PLAIN
        item.box = None if region is None or _is_whole(region, image) else region.place
        self._hindrances.decided(look.content)
        verdict = item.verdict()
        if verdict.refusal is None and not item.perhaps_hand(look, self._now):
            return self._emit(seen, verdict)
        self._say(BinState.DECIDING, verdict.refusal or "it reaches out of the view, as a hand does")
        return self._overdue(seen)

    def _overdue(self, seen: object) -> BinEvent | None:
        """The event of an item whose time is up, if it is."""
        state = self._status.state
        if state not in IN_HAND:
            return None
        item = self._in_hand()
        if not item.overdue(self._now, settling=state is BinState.SETTLING):
            return None
        return self._emit(seen, item.verdict())

    def _emit(self, seen: object, verdict: Verdict) -> BinEvent:
        event = self._maker.make(seen, self._in_hand(), verdict, self._judge.default, self._now)
        self._event_at = self._now
        self._set(BinState.DECIDED, f"{event.bin}: {event.reason}")
        return event

    def _leave(self, why: str) -> None:
        self._item = None
        self._hindrances.clear(self._now)
        self._set(BinState.EMPTY, why)

    # Odds and ends.

    def _advance(self, now: float) -> None:
        self._now = max(self._now, now)

    def _cooling(self) -> bool:
        return self._event_at is not None and self._now - self._event_at < self._options.cooldown

    def _set(self, state: BinState, reason: str) -> None:
        """A state, of the item in hand if there is one."""
        number = None if self._item is None else self._item.number
        self._status = BinStatus(state, self._now, reason, number)

    def _say(self, state: BinState, reason: str) -> None:
        """A reason, and perhaps a state, without a new item."""
        old = self._status
        since = old.since if old.state is state else self._now
        self._status = BinStatus(state, since, reason, old.item if state is old.state else None)

    def _probabilities(
        self, seen: object, image: Image | None, look: Look
    ) -> tuple[Sequence[float], Region | None] | None:
        """Take the probabilities that were seen, or classify the frame; and the region they are of.

        None if there is nothing.
        """
        if (found := probabilities_in(seen)) is not None:
            if hasattr(seen, "region"):
                self._asked = PLAIN
            return found, getattr(seen, "region", None)
        if image is None:
            return None
        if self._classify is None:
            raise FrameTypeError(
                "what step was given",
                expected="a frame with its prediction",
                found="a frame alone",
                fix="give BinDecider classify=classifier.classify",
            )
        region = self._region(look, image)
        self._asked = PLAIN
        return self._classify(image if region is None else region.cut(image)).probabilities, region


def _is_whole(region: Region, image: Image | None) -> bool:
    return image is not None and region.covers(image.shape[1], image.shape[0])
