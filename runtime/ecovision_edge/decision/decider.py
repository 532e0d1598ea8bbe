"""`BinDecider`: from frames to one event per item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.bundle.views import ViewPlan
from ecovision_edge.decision.event_factory import EventFactory
from ecovision_edge.decision.gate import Gate
from ecovision_edge.decision.given import Given, observation_of
from ecovision_edge.decision.options import DeciderOptions
from ecovision_edge.decision.presence import PresenceGate
from ecovision_edge.decision.regions import Regions
from ecovision_edge.decision.states import BinStates
from ecovision_edge.decision.status import BinStatus
from ecovision_edge.decision.tray_watch import TrayWatch
from ecovision_edge.decision.verdict import EveryLabel, Judge, Sorting
from ecovision_edge.errors import FrameTypeError, OptionError
from ecovision_edge.events import BinEvent, BinState
from ecovision_edge.observation import Look, Observation, Picture, Reduces, View, pixels_of, size_of
from ecovision_edge.photographs.jpeg_picture import JpegPicture
from ecovision_edge.prediction import Prediction
from ecovision_edge.preprocess.frames import Bgr, as_bgr, for_checked
from ecovision_edge.preprocess.region import Region

__all__ = ["BinDecider"]

Image = npt.NDArray[np.uint8]


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
    worth classifying. `step` does so with frames alone. To classify them yourself, let `observe` look first:

        >>> import numpy as np
        >>> decider = BinDecider(("paper", "glass"))
        >>> observation = decider.observe(np.zeros((48, 64, 3), np.uint8), 0.0)
        >>> observation.part().shape  # for Classifier.classify, say
        (48, 64, 3)
        >>> event = decider.step(observation.classified((0.02, 0.98)), 0.0)

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
        device: Put into events: what the device calls itself.
        bundle: Likewise: which one decides; None for a lone model file.
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
        bundle: BundleIdentity | None = None,
        run: str | None = None,
    ) -> None:
        options = options or DeciderOptions()
        self._rules = rules or EveryLabel()
        self._judge = Judge(labels, self._rules, options, thresholds, views)
        self._classify = classify
        self._gate: Gate = gate or PresenceGate(options.presence)
        self._look_bgr = for_checked(self._gate.look)
        self._reduce = self._gate.reduction if isinstance(self._gate, Reduces) else None
        self._regions = _regions(options)
        self._by_trigger = options.gate == "trigger"
        if self._by_trigger:
            first = BinStatus(BinState.EMPTY, 0.0, "nothing was triggered")
        else:
            first = BinStatus(BinState.STARTING, 0.0, "no frame yet")
        self._states = BinStates(self._judge, options, EventFactory(device, bundle, run), first)
        self._tray = TrayWatch(self._states, self._gate, options.rearm)

    def __repr__(self) -> str:
        return f"<BinDecider {self.status.state}: {self.status.reason}>"

    @property
    def status(self) -> BinStatus:
        """What it is doing now, and why nothing is decided; a fault too, if something blocks it for long."""
        return self._states.status

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes."""
        return self._judge.labels

    def trigger(self, now: float) -> bool:
        """An item came, says a sensor or a button; whether that begins one.

        It does not while an item is in hand, nor within the cooldown: then `status` says so.
        """
        states = self._states
        states.advance(now)
        if states.in_hand:
            states.say(states.state, f"triggered, but item {states.number} is in hand")
        elif states.cooling:
            states.say(states.state, "triggered, but within the cooldown")
        elif not self._by_trigger and states.state is not BinState.EMPTY:
            states.say(states.state, "triggered, but the tray was not empty")
        else:
            states.arrive("triggered")
            return True
        return False

    def clear(self, now: float) -> None:
        """The tray is empty, says a sensor, or whoever turned its flap."""
        self._states.advance(now)
        if self._states.in_hand:
            self._states.leave(f"item {self._states.number} went before it was decided: cleared")
        elif self._states.state is BinState.DECIDED:
            self._states.leave("cleared")

    def learn(self, now: float) -> bool:
        """The tray is empty, says an operator: learn its picture again; an item in hand gets no event.

        What was observed before shows the tray of before: observe again.

        Returns:
            Whether it is learnt; not with `gate="trigger"`, which knows no picture.
        """
        self._states.advance(now)
        if self._by_trigger:
            return False
        self._tray.relearn()
        self._states.leave("the empty tray is learnt again, as was asked", BinState.STARTING)
        return True

    @property
    def between_items(self) -> bool:
        """Whether no item is in hand, nor on the tray as far as is known: what decides may change now."""
        if self._by_trigger:
            return not self._states.in_hand
        return self._states.state in (BinState.EMPTY, BinState.STARTING)

    def exchange(
        self,
        labels: Sequence[str],
        options: DeciderOptions | None = None,
        *,
        thresholds: Sequence[float] | None = None,
        views: ViewPlan | None = None,
        bundle: BundleIdentity | None = None,
    ) -> None:
        """Judge by another model from the next item on; what is known of the tray stays.

        Args:
            labels: As at the beginning, of the other model.
            options: Likewise; how presence is told, and by what an item comes, stays as it is.
            thresholds: Likewise.
            views: Likewise.
            bundle: Likewise.

        Raises:
            OptionError: an item is in hand, which one model alone may judge (`between_items`); or thresholds
                that are not one per label.
        """
        if not self.between_items:
            raise OptionError("another model", expected="an empty tray", found=self._states.status.reason)
        options = options or DeciderOptions()
        judge = Judge(labels, self._rules, options, thresholds, views)
        self._states.judge_by(judge, bundle)
        self._judge, self._regions = judge, _regions(options)

    def expected(self, height: int, width: int) -> Region | None:
        """Return what of a frame of that size is classified if the item still lies as it did.

        None: nothing, as far as is known. From any thread, while no other one steps.
        """
        if not self._by_trigger and (held := self._regions.expected(height, width)) is not None:
            return held
        return Region(0, 0, width, height) if self._states.in_hand else None

    def observe(self, image: Image | JpegPicture, now: float) -> Observation:
        """Look at a frame before it is classified; then give `step` the observation with its prediction.

        Args:
            image: The frame, `(height, width, 3) uint8 BGR`, or its JPEG.
            now: As of `step`.

        Returns:
            What the gate says of the frame, and which part of it to classify, in which view
            (`Observation.part`), if any is wanted at all (`Observation.wanted`): without an item none is.
            The region is None, which is the whole frame as it is, if there is no item; and, in the plain
            view, if the item fills the frame, with `gate="trigger"`, or without `crop`.

        Raises:
            FrameTypeError, FrameValueError: not a frame.
            ImageReadError: a JPEG that cannot be decoded.
        """
        return self.observe_bgr(image if isinstance(image, JpegPicture) else as_bgr(image), now)

    def observe_bgr(self, image: Picture, now: float) -> Observation:
        """Look at a frame that is checked already; as `observe`, which hands on to it."""
        self._states.advance(now)
        look = None if self._by_trigger else self._look_bgr(self._seen(image), self._states.now)
        wanted = self._states.in_hand if look is None else look.view is View.ITEM
        region = self._regions.region(look, size_of(image), self._states.next_view)
        return Observation(image, look, region, wanted=wanted)

    def _seen(self, picture: Picture) -> Bgr:
        """Return what the gate looks at of a frame."""
        return pixels_of(picture, self._reduce)

    def step(self, seen: Given | None, now: float) -> BinEvent | None:
        """Look at a frame, or let time pass.

        Args:
            seen: What `observe` gave, with its prediction; what the loop gave (`LoopResult`); a frame alone,
                which is classified if it has to be; with `gate="trigger"` a prediction or its probabilities
                alone; or None, where no frame came.
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
        self._states.advance(now)
        if self._by_trigger:
            return self._step_triggered(Observation() if seen is None else observation_of(seen), now)
        if seen is None:
            return self._step_without_frame()
        return self._step_by_picture(observation_of(seen))

    def _step_triggered(self, seen: Observation, now: float) -> BinEvent | None:
        if not self._states.in_hand:
            return None
        if self._states.item.age(now) < 0:  # captured before the trigger: it shows what was there before
            return self._states.overdue()
        return self._go_on(seen, Look(View.ITEM, 0.0, False, "triggered"))

    def _step_without_frame(self) -> BinEvent | None:
        if not self._states.in_hand:
            self._states.blockers.no_frame(self._states.now)
        return self._states.overdue()

    def _step_by_picture(self, seen: Observation) -> BinEvent | None:
        if seen.picture is None:
            raise FrameTypeError(
                "what step was given",
                expected='a frame, or the result of a loop, for gate="picture"',
                found="a prediction alone",
                fix='give gate="trigger" and call trigger() when an item comes',
            )
        look = self._gate.look(self._seen(seen.picture), self._states.now) if seen.look is None else seen.look
        return self._go_on(seen, look) if self._tray.see(look) else self._states.overdue()

    def _go_on(self, seen: Observation, look: Look) -> BinEvent | None:
        """From one state to the next, with a frame that counts."""
        states = self._states
        if states.state is BinState.EMPTY and look.view is View.ITEM:
            if states.cooling:
                states.say(BinState.EMPTY, "something came, but within the cooldown")
                return None
            states.arrive("something came")
        if states.state is BinState.SETTLING:
            states.settle(look)
        elif states.state is BinState.DECIDING:
            states.unsettle(look)
        if states.state is not BinState.DECIDING:
            return None
        return states.weigh(self._classified(seen, look), look)

    def _classified(self, seen: Observation, look: Look) -> Observation:
        """The observation with its probabilities; without, if there is nothing to classify."""
        if seen.probabilities is not None or seen.picture is None or not seen.wanted:
            return seen
        if self._classify is None:
            raise FrameTypeError(
                "what step was given",
                expected="a frame with its prediction",
                found="a frame alone",
                fix="give BinDecider classify=classifier.classify",
            )
        if seen.look is None:
            region = self._regions.region(look, size_of(seen.picture), self._states.next_view)
            seen = replace(seen, region=region)
        return seen.classified(self._classify(seen.part()).probabilities)


def _regions(options: DeciderOptions) -> Regions:
    return Regions(options.margin, options.aspect, crop=options.crop, straighten=options.straighten)
