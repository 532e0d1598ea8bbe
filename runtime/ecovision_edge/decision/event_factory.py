"""Making the event of a decision: its number, its reason, and what is known of its last frame."""

from __future__ import annotations

import itertools
import uuid

from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.decision.item import Item
from ecovision_edge.decision.verdict import Verdict
from ecovision_edge.events import BinEvent
from ecovision_edge.observation import Observation
from ecovision_edge.prediction import Timings

__all__ = ["EventFactory"]


class EventFactory:
    """Makes and numbers the events of one run.

    Args:
        device, bundle: Put into events.
        run: Unlike that of any other run; it begins the ids. None makes one up.
    """

    def __init__(self, device: str, bundle: BundleIdentity | None, run: str | None) -> None:
        """Before the first event."""
        self._device = device
        self.bundle = bundle
        """Which one decides, from now on; put into events."""
        self._run = run or uuid.uuid4().hex[:12]
        self._numbers = itertools.count()

    def make(self, seen: Observation, item: Item, verdict: Verdict, default: str, now: float) -> BinEvent:
        """Make the next event.

        Args:
            seen: The frame that completed it.
            item: Whose event it is.
            verdict: What its frames say; a refusal makes it unknown.
            default: The fail-safe bin, where an unknown item goes.
            now: Seconds of the decider's clock.
        """
        number = next(self._numbers)
        sure = verdict.refusal is None
        counted = item.frames > 0
        return BinEvent(
            id=f"{self._run}-{number}",
            sequence=number,
            item=item.number,
            time=seen.time,
            monotonic=now,
            label=verdict.label if sure else None,
            bin=verdict.bin if sure else default,
            probability=verdict.probability,
            margin=verdict.margin,
            frames=item.frames,
            seconds=item.age(now),
            reason=_reason(item, verdict),
            frame_age_ms=seen.age_ms,
            timings_ms=_milliseconds(seen.timings),
            bundle=None if self.bundle is None else self.bundle.id,
            device=self._device,
            box=item.place if counted else None,
            best_label=verdict.label if counted else None,
            best_probability=verdict.probability if counted else None,
            bundle_name=None if self.bundle is None else self.bundle.name,
            bundle_version=None if self.bundle is None else self.bundle.version,
        )


def _reason(item: Item, verdict: Verdict) -> str:
    """Why the item is decided, or unknown, in one line."""
    if verdict.refusal is None:
        reason = f"{verdict.label} at {verdict.probability:.2f} after {item.frames} frames"
        reason = f"{reason}; {verdict.bin} costs least, {verdict.cost:.2f}"
    else:
        reason = f"unknown: the time is up: {verdict.refusal}"
    return f"{reason}; it never lay still" if item.restless else reason


def _milliseconds(timings: Timings | None) -> dict[str, float]:
    if timings is None:
        return {}
    return {"prepare": timings.prepare_ms, "infer": timings.infer_ms, "post": timings.post_ms}
