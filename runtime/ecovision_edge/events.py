"""What a bin says: one event per item, and on request each state, in a versioned JSON form.

The JSON Schema of both is `event_schema()`, in the package as `data/bin-event.schema.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from importlib import resources

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.preprocess.region import Region

__all__ = [
    "EVENT_SCHEMA_VERSION",
    "BinEvent",
    "BinState",
    "StateMessage",
    "bundle_fields",
    "event_schema",
    "utc",
]

EVENT_SCHEMA_VERSION = 1


class BinState(str, Enum):
    """What a bin is doing.

    `STARTING`: nothing can be said yet: the camera starts, or the empty tray is being learnt. `EMPTY`:
    nothing lies on the tray. `SETTLING`: something came and still moves. `DECIDING`: frames of it are looked
    at. `DECIDED`: its event is out; nothing else happens before the tray is empty. `FAULT`: nothing can be
    said, and somebody should look: no frames, a view that is no tray, a tray that cannot be learnt.
    """

    STARTING = "starting"
    EMPTY = "empty"
    SETTLING = "settling"
    DECIDING = "deciding"
    DECIDED = "decided"
    FAULT = "fault"

    def __str__(self) -> str:
        return self.value

    @property
    def ready(self) -> bool:
        """Whether items are seen: neither `STARTING` nor `FAULT`. What moves is fail-safe until it is."""
        return self not in (BinState.STARTING, BinState.FAULT)


@dataclass(frozen=True, slots=True, kw_only=True)
class BinEvent:
    """The decision about one item. There is one for each item, and never a second one.

    Args:
        id: Unlike that of any other event, of other runs and devices too.
        sequence: Its number in this run, from 0.
        item: The number of its item in this run, from 0; items that went before a decision have none.
        time: The capture of the frame that decided it, seconds since 1970; None where no frame had a time.
        monotonic: The same, seconds of the clock that `step` was given.
        label: The class; None is unknown.
        bin: Where it goes; of an unknown item the fail-safe bin.
        probability: Probability of the label after all frames, 0 to 1; of the likeliest one if unknown.
        margin: That probability less the second one's, 0 to 1.
        frames: How many frames it was decided on.
        seconds: Seconds from its arrival to the decision.
        reason: Why, in one line.
        frame_age_ms: Time from the last frame's capture to its prediction; None if that is not known.
        timings_ms: Times of the last frame: `prepare`, `infer`, `post`.
        bundle: SHA-256 of the manifest of the bundle that decided it; None for a lone model file.
        device: What the device calls itself.
        health: Health of the camera: `RUNNING`, or what it was.
        box: Upright box around what of the last frame was classified, in its pixels; None is the whole frame.
        best_label: The likeliest class, also of an item that is unknown; None where no frame counted.
        best_probability: Its probability after all frames, 0 to 1; None where no frame counted.
        bundle_name: Name of that bundle; None for a lone model file.
        bundle_version: Version of that bundle (`bundle.identity`); None for a lone model file.
    """

    id: str
    sequence: int
    item: int
    time: float | None
    monotonic: float
    label: str | None
    bin: str
    probability: float
    margin: float
    frames: int
    seconds: float
    reason: str
    frame_age_ms: float | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    bundle: str | None = None
    device: str = ""
    health: str = ""
    box: Region | None = None
    best_label: str | None = None
    best_probability: float | None = None
    bundle_name: str | None = None
    bundle_version: str | None = None

    def to_json(self) -> dict[str, JsonValue]:
        """Return a JSON object that `event_schema()` describes."""
        time = self.time
        return {
            "schema_version": EVENT_SCHEMA_VERSION,
            "type": "event",
            "id": self.id,
            "sequence": self.sequence,
            "item": self.item,
            "time": None if time is None else utc(time),
            "monotonic": self.monotonic,
            "label": self.label,
            "bin": self.bin,
            "probability": self.probability,
            "margin": self.margin,
            "frames": self.frames,
            "seconds": self.seconds,
            "reason": self.reason,
            "frame_age_ms": self.frame_age_ms,
            "timings_ms": dict(self.timings_ms),
            "bundle": self.bundle,
            "bundle_name": self.bundle_name,
            "bundle_version": self.bundle_version,
            "device": self.device,
            "health": self.health,
            "box": None if self.box is None else self.box.to_json(),
            "best_label": self.best_label,
            "best_probability": self.best_probability,
        }

    def dumps(self) -> str:
        """Return one line of JSON."""
        return _line(self.to_json())


@dataclass(frozen=True, slots=True, kw_only=True)
class StateMessage:
    """What a bin is doing from a time on, for whoever is told of more than events.

    Args:
        id: Unlike that of any other message.
        state: What it is doing.
        reason: Why, in one line; in `STARTING` and `FAULT` each new reason is a new message.
        time: When that was so, seconds since 1970.
        since: When the state began, with another reason perhaps, seconds since 1970.
        device: What the device calls itself.
        bundle: Which one decides; None for a lone model file, or where nobody said.
    """

    id: str
    state: BinState
    reason: str
    time: float
    since: float
    device: str = ""
    bundle: BundleIdentity | None = None

    def to_json(self) -> dict[str, JsonValue]:
        """Return a JSON object that `event_schema()` describes."""
        return {
            "schema_version": EVENT_SCHEMA_VERSION,
            "type": "state",
            "id": self.id,
            "state": self.state.value,
            "reason": self.reason,
            "time": utc(self.time),
            "since": utc(self.since),
            "device": self.device,
            **bundle_fields(self.bundle),
        }

    def dumps(self) -> str:
        """Return one line of JSON."""
        return _line(self.to_json())


def bundle_fields(bundle: BundleIdentity | None) -> dict[str, JsonValue]:
    """Return the three fields of an event and of a state that say which bundle; null where there is none."""
    if bundle is None:
        return {"bundle": None, "bundle_name": None, "bundle_version": None}
    return {"bundle": bundle.id, "bundle_name": bundle.name, "bundle_version": bundle.version}


def utc(time: float) -> str:
    """Write a time in seconds since 1970 as ISO 8601 has it, to the millisecond, in UTC."""
    return datetime.fromtimestamp(time, timezone.utc).isoformat(timespec="milliseconds")


def _line(value: dict[str, JsonValue]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def event_schema() -> dict[str, JsonValue]:
    """Return the JSON Schema (draft 2020-12) of `BinEvent.to_json` and `StateMessage.to_json`."""
    text = (resources.files("ecovision_edge") / "data" / "bin-event.schema.json").read_text("utf-8")
    schema: dict[str, JsonValue] = json.loads(text)
    return schema
