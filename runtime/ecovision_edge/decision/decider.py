"""`BinDecider`: from frames to one event an item."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from ecovision_edge.decision.evidence import Evidence
from ecovision_edge.decision.options import DeciderOptions
from ecovision_edge.decision.presence import Gate, Look, PresenceGate, View
from ecovision_edge.errors import FrameTypeError, OptionError
from ecovision_edge.events import BinEvent, BinState

if TYPE_CHECKING:
    from ecovision_edge.camera.source import CapturedFrame
    from ecovision_edge.classifier import Prediction
    from ecovision_edge.loop.result import LoopResult

__all__ = ["BinDecider", "BinStatus", "Sorting"]

Image = npt.NDArray[np.uint8]


class Sorting(Protocol):
    """What is asked of `ecovision_edge.rules.Rules`: where things go, and what a mistake costs."""

    @property
    def default(self) -> str:
        """The fail-safe bin, where what is unknown goes."""

    @property
    def unknown_cost(self) -> float:
        """Of sending something there as unknown."""

    def expected_costs(self, probabilities: Sequence[float], labels: Sequence[str]) -> Mapping[str, float]:
        """Of each bin, for something of these probabilities."""


@dataclass(frozen=True, slots=True)
class BinStatus:
    """What a decider is doing, and why nothing is decided.

    Args:
        state: Of the five.
        since: When it began, seconds of the clock that `step` is given.
        reason: In one line.
        item: The number of the item in hand; None if there is none.
    """

    state: BinState
    since: float
    reason: str
    item: int | None = None


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The likeliest class and its probability, the bin of least cost, and why it is not decided yet."""

    name: str
    probability: float
    bin: str
    cost: float
    refusal: str | None


class _EveryLabel:
    """Without rules every label is a bin of its own, and a mistake costs three times a refusal."""

    default = "unknown"
    unknown_cost = 1 / 3

    def expected_costs(self, probabilities: Sequence[float], labels: Sequence[str]) -> Mapping[str, float]:
        return {label: 1 - p for label, p in zip(labels, probabilities, strict=True)}


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

    Args:
        labels: The classes, in the order of the probabilities.
        rules: Which bin each label goes to, and what a mistake costs; None makes each label a bin of its own.
        options: When a decision is made.
        thresholds: The least probability a class, 0 to 1, below which it is unknown (`contract.thresholds`).
        classify: Called with a frame whose prediction is needed, where `step` is given frames alone; so
            nothing is classified while the tray is empty (`Classifier.classify`).
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
        classify: Callable[[Image], Prediction] | None = None,
        gate: Gate | None = None,
        device: str = "",
        bundle: str | None = None,
        run: str | None = None,
    ) -> None:
        self._labels = tuple(labels)
        self._rules: Sorting = rules or _EveryLabel()
        self._options = options or DeciderOptions()
        if thresholds is not None and len(thresholds) != len(self._labels):
            raise OptionError(
                "thresholds", expected=f"{len(self._labels)}, one a label", found=len(thresholds)
            )
        self._thresholds = tuple(thresholds) if thresholds is not None else (0.0,) * len(self._labels)
        self._classify = classify
        self._gate: Gate = gate or PresenceGate(self._options.presence)
        self._device, self._bundle = device, bundle
        self._run = run or uuid.uuid4().hex[:12]
        self._by_trigger = self._options.gate == "trigger"
        self._now = 0.0
        first = BinState.EMPTY if self._by_trigger else BinState.FAULT
        self._status = BinStatus(first, 0.0, "nothing was triggered" if self._by_trigger else "no frame yet")
        self._items = self._events = 0
        self._arrived = self._still_since = self._deciding_since = 0.0
        self._empty_since: float | None = None
        self._event_at: float | None = None
        self._evidence = self._new_evidence()

    def __repr__(self) -> str:
        return f"<BinDecider {self._status.state}: {self._status.reason}>"

    @property
    def status(self) -> BinStatus:
        """What it is doing now, and why nothing is decided."""
        return self._status

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes."""
        return self._labels

    def trigger(self, now: float) -> bool:
        """An item came, says a sensor or a button; whether that begins one.

        It does not while an item is in hand, nor within the cooldown: then `status` says so.
        """
        self._advance(now)
        state = self._status.state
        if state in (BinState.SETTLING, BinState.DECIDING):
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
        if self._status.state in (BinState.SETTLING, BinState.DECIDING):
            self._leave(f"item {self._status.item} went before it was decided: cleared")
        elif self._status.state is BinState.DECIDED:
            self._leave("cleared")

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
            now: Seconds of a clock that never goes back; an earlier time counts as the latest one.

        Returns:
            The event that it completes, if it does.

        Raises:
            FrameTypeError: a prediction alone, where the picture has to tell whether there is an item; or a
                frame alone without `classify`.
            FrameValueError, InferenceError: as `Classifier.classify`.
        """
        self._advance(now)
        image = self._image_in(seen)
        if self._by_trigger:
            present, moving = self._status.state in (BinState.SETTLING, BinState.DECIDING), False
        elif image is not None:
            look = self._gate.look(image, self._now)
            if not self._look(look):
                return self._overdue(None)
            present, moving = look.view is View.ITEM, look.moving
        elif seen is None:
            return self._overdue(None)
        else:
            raise FrameTypeError(
                "what step was given",
                expected='a frame, or the result of a loop, for gate="picture"',
                found=type(seen).__name__,
                fix='give gate="trigger" and call trigger() when an item comes',
            )
        if self._status.state is BinState.EMPTY and present:
            if self._cooling():
                self._say(BinState.EMPTY, "something came, but within the cooldown")
                return None
            self._arrive("something came")
        if self._status.state is BinState.SETTLING:
            self._settle(moving)
        elif self._moves_again(moving):
            self._evidence = self._new_evidence()
            self._still_since = self._now
            self._set(BinState.SETTLING, "it moves again", self._status.item)
        if self._status.state is BinState.DECIDING:
            return self._weigh(seen, image)
        return None

    # States.

    def _look(self, look: Look) -> bool:
        """What the picture says of the tray; False if nothing more is to be done with this frame."""
        state = self._status.state
        if look.view in (View.UNKNOWN, View.COVERED):
            self._empty_since = None
            if state in (BinState.EMPTY, BinState.FAULT):
                self._say(BinState.FAULT, look.reason)
            elif state in (BinState.SETTLING, BinState.DECIDING) and look.view is View.COVERED:
                self._say(state, look.reason)
            return False
        if look.view is View.ITEM:
            self._empty_since = None
            if state is BinState.FAULT:  # it was there before, or came meanwhile: an item nonetheless
                self._set(BinState.EMPTY, "the view is back", None)
            return True
        if self._empty_since is None:
            self._empty_since = self._now
        if state is BinState.FAULT:
            self._set(BinState.EMPTY, look.reason, None)
        elif state is BinState.EMPTY:
            self._say(state, look.reason)
        elif self._now - self._empty_since >= self._options.rearm:
            if state is BinState.DECIDED:
                self._leave(look.reason)
            else:
                self._leave(f"item {self._status.item} went before it was decided")
        else:
            return state is BinState.DECIDED  # perhaps it went: its frames do not count
        return False

    def _arrive(self, why: str) -> None:
        self._arrived = self._still_since = self._now
        self._evidence = self._new_evidence()
        self._items += 1
        self._set(BinState.SETTLING, why, self._items - 1)

    def _moves_again(self, moving: bool) -> bool:
        early = self._now - self._arrived < self._options.settle_within
        return moving and early and self._status.state is BinState.DECIDING

    def _settle(self, moving: bool) -> None:
        options = self._options
        if moving:
            self._still_since = self._now
        waited = self._now - self._arrived
        if self._now - self._still_since >= options.settle or waited >= options.settle_within:
            why = "it lies still"
            if moving:
                why = f"it has moved for {waited:.1f} s; it is looked at as it is"
            self._deciding_since = self._now
            self._set(BinState.DECIDING, why, self._status.item)
        else:
            self._say(BinState.SETTLING, "it moves" if moving else "it has just come to rest")

    def _weigh(self, seen: object, image: Image | None) -> BinEvent | None:
        found = self._prediction_of(seen, image)
        if found is None:
            return self._overdue(seen)
        self._evidence.add(found)
        verdict = self._verdict()
        if verdict.refusal is None:
            reason = f"{verdict.name} at {verdict.probability:.2f} after {self._evidence.frames} frames"
            least = f"{verdict.bin} costs least, {verdict.cost:.2f}"
            return self._emit(seen, verdict.name, verdict.bin, f"{reason}; {least}")
        self._say(BinState.DECIDING, verdict.refusal)
        return self._overdue(seen)

    def _verdict(self) -> _Verdict:
        """What the frames so far say."""
        posterior = self._evidence.posterior()
        label = max(range(len(posterior)), key=posterior.__getitem__)
        costs = self._rules.expected_costs(posterior, self._labels)
        best = min(costs, key=costs.__getitem__)
        refusal = self._refusal(label, posterior[label], best, costs[best])
        return _Verdict(self._labels[label], posterior[label], best, costs[best], refusal)

    def _refusal(self, label: int, probability: float, bin: str, cost: float) -> str | None:
        """Why it is not decided yet; None if it is sure."""
        options, evidence, name = self._options, self._evidence, self._labels[label]
        if evidence.frames < options.min_frames:
            return f"{evidence.frames} of {options.min_frames} frames"
        if (share := evidence.agreement(label, 2 * options.min_frames)) < options.agree:
            return f"{name} in {share:.0%} of the last frames, {options.agree:.0%} are needed"
        if (typical := evidence.typical()[label]) < self._thresholds[label]:
            return f"{name} at {typical:.2f}, {self._thresholds[label]:.2f} is its threshold"
        if probability < 1 - options.error:
            return f"{name} at {probability:.2f}; {1 - options.error:.2f} is sure"
        if cost > self._rules.unknown_cost:
            return f"{name} costs {cost:.2f} in {bin}, {self._rules.unknown_cost:.2f} as unknown"
        return None

    def _overdue(self, seen: object) -> BinEvent | None:
        """The event of an item whose time is up, if it is."""
        options, state = self._options, self._status.state
        if state is BinState.SETTLING:  # only where no frames come: else settling ends by itself
            over = self._now - self._arrived >= options.settle_within + options.decide_within
        else:
            over = self._now - self._deciding_since >= options.decide_within
        if state not in (BinState.SETTLING, BinState.DECIDING) or not over:
            return None
        why = self._verdict().refusal or "sure only now"
        return self._emit(seen, None, self._rules.default, f"unknown: the time is up: {why}")

    def _emit(self, seen: object, label: str | None, bin: str, reason: str) -> BinEvent:
        posterior = self._evidence.posterior()
        first, second = sorted(posterior, reverse=True)[:2]
        item = self._status.item
        assert item is not None
        prediction = getattr(seen, "prediction", None) or (seen if hasattr(seen, "timings") else None)
        timings = getattr(prediction, "timings", None)
        event = BinEvent(
            id=f"{self._run}-{self._events}",
            sequence=self._events,
            item=item,
            time=getattr(seen, "time", None),
            monotonic=self._now,
            label=label,
            bin=bin,
            probability=first,
            margin=first - second,
            frames=self._evidence.frames,
            seconds=self._now - self._arrived,
            reason=reason,
            frame_age_ms=getattr(seen, "age_ms", None),
            timings_ms={}
            if timings is None
            else {"prepare": timings.prepare_ms, "infer": timings.infer_ms, "post": timings.post_ms},
            bundle=self._bundle,
            device=self._device,
        )
        self._events += 1
        self._event_at = self._now
        self._set(BinState.DECIDED, f"{bin}: {reason}", item)
        return event

    def _leave(self, why: str) -> None:
        self._evidence = self._new_evidence()
        self._set(BinState.EMPTY, why, None)

    # Odds and ends.

    def _advance(self, now: float) -> None:
        self._now = max(self._now, now)

    def _cooling(self) -> bool:
        return self._event_at is not None and self._now - self._event_at < self._options.cooldown

    def _new_evidence(self) -> Evidence:
        return Evidence(len(self._labels), self._options.correlation)

    def _set(self, state: BinState, reason: str, item: int | None) -> None:
        self._status = BinStatus(state, self._now, reason, item)

    def _say(self, state: BinState, reason: str) -> None:
        """A reason, and perhaps a state, without a new item."""
        old = self._status
        since = old.since if old.state is state else self._now
        self._status = BinStatus(state, since, reason, old.item if state is old.state else None)

    def _image_in(self, seen: object) -> Image | None:
        if isinstance(seen, np.ndarray):
            return seen
        frame = getattr(seen, "frame", seen)
        image = getattr(frame, "image", None)
        return image if isinstance(image, np.ndarray) else None

    def _prediction_of(self, seen: object, image: Image | None) -> Sequence[float] | None:
        """The probabilities in what was seen; of a frame alone, classified; None if there is nothing."""
        if seen is None:
            return None
        found = getattr(seen, "prediction", seen)
        if (probabilities := getattr(found, "probabilities", None)) is not None:
            return tuple(probabilities)
        if image is None:
            return tuple(seen)  # type: ignore[arg-type]  # a sequence of numbers, as `step` says
        if self._classify is None:
            raise FrameTypeError(
                "what step was given",
                expected="a frame with its prediction",
                found="a frame alone",
                fix="give BinDecider classify=classifier.classify",
            )
        return self._classify(image).probabilities
