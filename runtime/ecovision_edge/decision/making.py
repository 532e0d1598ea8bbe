"""Making an event of a decision: its number, and what the frame that completed it says of itself."""

from __future__ import annotations

import uuid

from ecovision_edge.decision.item import Item
from ecovision_edge.decision.verdict import Verdict
from ecovision_edge.events import BinEvent

__all__ = ["EventMaker"]


class EventMaker:
    """Numbers the events of one run.

    Args:
        device, bundle: Put into events.
        run: Unlike that of any other run; it begins the ids. None makes one up.
    """

    def __init__(self, device: str, bundle: str | None, run: str | None) -> None:
        """Before the first event."""
        self._device, self._bundle = device, bundle
        self._run = run or uuid.uuid4().hex[:12]
        self._made = 0

    def make(self, seen: object, item: Item, verdict: Verdict, default: str, now: float) -> BinEvent:
        """The next event.

        Args:
            seen: What completed it, as `BinDecider.step` was given it.
            item: Whose event it is.
            verdict: What its frames say; a refusal makes it unknown.
            default: The fail-safe bin, where it then goes.
            now: Seconds of the decider's clock.
        """
        if verdict.refusal is None:
            label, bin = verdict.label, verdict.bin
            reason = f"{label} at {verdict.probability:.2f} after {item.frames} frames"
            reason = f"{reason}; {bin} costs least, {verdict.cost:.2f}"
        else:
            label, bin, reason = None, default, f"unknown: the time is up: {verdict.refusal}"
        prediction = getattr(seen, "prediction", None) or (seen if hasattr(seen, "timings") else None)
        timings = getattr(prediction, "timings", None)
        event = BinEvent(
            id=f"{self._run}-{self._made}",
            sequence=self._made,
            item=item.number,
            time=getattr(seen, "time", None),
            monotonic=now,
            label=label,
            bin=bin,
            probability=verdict.probability,
            margin=verdict.margin,
            frames=item.frames,
            seconds=item.age(now),
            reason=f"{reason}; it never lay still" if item.restless else reason,
            frame_age_ms=getattr(seen, "age_ms", None),
            timings_ms={}
            if timings is None
            else {"prepare": timings.prepare_ms, "infer": timings.infer_ms, "post": timings.post_ms},
            bundle=self._bundle,
            device=self._device,
            box=item.box if item.frames else None,
            best_label=verdict.label if item.frames else None,
            best_probability=verdict.probability if item.frames else None,
        )
        self._made += 1
        return event
