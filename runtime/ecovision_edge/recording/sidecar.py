"""The sidecar: what the network said of a recorded frame, a JSON file beside its picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from ecovision_edge.base.fields import Fields, JsonValue, canonical_json, parse_json
from ecovision_edge.bundle.views import PLAIN, RegionView
from ecovision_edge.errors import ContractError, OptionError, RecordError
from ecovision_edge.loop.result import UNSAID
from ecovision_edge.prediction import Timings
from ecovision_edge.preprocess.region import Region, TurnedBox

if TYPE_CHECKING:
    from ecovision_edge.loop import LoopResult

__all__ = [
    "MAX_SIDECAR_BYTES",
    "SCHEMA",
    "SCHEMA_VERSION",
    "RecordedResult",
    "is_sidecar",
    "is_torn",
    "parse_sidecar",
    "sidecar_bytes",
]

SCHEMA = "ecovision-edge/recorded-frame"
SCHEMA_VERSION = 2
"""Of frames that were not classified. Of those that were it is 1, which earlier versions read as well."""
MAX_SIDECAR_BYTES = 2**20
_HEAD = canonical_json({"schema": SCHEMA})[:-3]  # all of it but the end of the object
_TAIL = b"\n}\n"
_FAR = 1e15  # seconds, milliseconds: beyond any clock
_MOST = 2**53


@dataclass(frozen=True, slots=True)
class RecordedResult:
    """What a `LoopResult` said of a frame when it was recorded.

    Args:
        index: How many results came before it.
        sequence: The number of the frame since the start of its source.
        time: Its capture by the system's clock.
        captured_at: Its capture, seconds of that process's `time.monotonic()`.
        label: The most probable class; None where the frame was not classified.
        score: Its probability, 0 to 1; None likewise.
        margin: `score` less the second probability; None likewise.
        probabilities: Probability of each class, in the order of the contract's labels; none likewise.
        age_ms: Time from capture to result, milliseconds.
        dropped: Frames that nobody looked at, until then.
        timings: What it took; None where the frame was not classified.
        region: What of the frame was classified; None is all of it.
        bad_frames: Frames that came and were of no use, until then.
        tray: Why the frame was not classified (`LoopResult.tray`); None where it was.
    """

    index: int
    sequence: int
    time: datetime
    captured_at: float
    label: str | None
    score: float | None
    margin: float | None
    probabilities: Mapping[str, float]
    age_ms: float
    dropped: int
    timings: Timings | None
    region: Region | None = None
    bad_frames: int = 0
    tray: str | None = None


def sidecar_bytes(result: LoopResult, image: str) -> bytes:
    """Return the sidecar of the picture with the file name `image`."""
    version = SCHEMA_VERSION if result.prediction is None else 1
    head: dict[str, JsonValue] = {"schema": SCHEMA, "schema_version": version, "image": image}
    said = result.to_json()
    if not result.bad_frames:  # left out as `box` is, so that earlier versions read what they can
        del said["bad_frames"]
    return canonical_json({**head, **said})


def is_sidecar(data: bytes) -> bool:
    """Return whether the bytes are a sidecar from its first to its last; what they say is not looked at."""
    return data.startswith(_HEAD) and data.endswith(_TAIL)


def is_torn(data: bytes) -> bool:
    """Check whether the bytes are what a power cut leaves of a sidecar: nothing, zeros, or its beginning."""
    return not data.strip(b"\0") or (data.startswith(_HEAD) and not data.endswith(_TAIL))


def parse_sidecar(data: bytes, where: str, image: str) -> RecordedResult:
    """Read a sidecar strictly: each value is checked, and none may be missing or unknown.

    Args:
        data: Its bytes.
        where: What errors call it.
        image: The file name of the picture that it stands beside.

    Raises:
        RecordError: it is malformed, of a newer version, or of another picture.
    """
    if len(data) > MAX_SIDECAR_BYTES:
        raise RecordError(f"{where} is too large", expected=f"at most {MAX_SIDECAR_BYTES} bytes")
    try:
        return _parse(parse_json(data, where, fix="remove it with its picture"), image)
    except ContractError as e:
        raise RecordError(e.message) from e


def _parse(f: Fields, image: str) -> RecordedResult:
    f.choice("schema", (SCHEMA,))
    f.schema_version(SCHEMA_VERSION)
    f.choice("image", (image,))
    said = _unsaid(f) if f.has("tray") else _said(f)
    result = RecordedResult(
        index=f.integer("index", 0, _MOST),
        sequence=f.integer("sequence", 0, _MOST),
        time=_time(f),
        captured_at=f.number("captured_at", -_FAR, _FAR),
        label=said.label,
        score=said.score,
        margin=said.margin,
        probabilities=said.probabilities,
        age_ms=f.number("age_ms", -_FAR, _FAR),
        dropped=f.integer("dropped", 0, _MOST),
        timings=said.timings,
        region=_region(f),
        bad_frames=f.integer("bad_frames", 0, _MOST) if f.has("bad_frames") else 0,
        tray=said.tray,
    )
    f.done()
    return result


@dataclass(frozen=True, slots=True)
class _Said:
    """What the network said, or why it was not asked."""

    label: str | None = None
    score: float | None = None
    margin: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    timings: Timings | None = None
    tray: str | None = None


def _said(f: Fields) -> _Said:
    probabilities = f.sub("probabilities")
    names = list(f.free("probabilities"))
    timings = f.sub("timings_ms")
    label, score = f.choice("label", names), f.number("score", 0, 1)
    said = _Said(
        label,
        score,
        f.number("margin", 0, 1),
        {name: probabilities.number(name, 0, 1) for name in names},
        Timings(
            timings.number("prepare", 0, _FAR),
            timings.number("infer", 0, _FAR),
            timings.number("post", 0, _FAR),
        ),
    )
    timings.done()
    if score != said.probabilities[label]:
        raise f.wrong("score", "the probability of the label")
    return said


def _unsaid(f: Fields) -> _Said:
    for name in UNSAID:
        if f.value(name) is not None:
            raise f.wrong(name, "null, for the frame was not classified")
    return _Said(tray=f.text("tray", most=40))


def _region(f: Fields) -> Region | None:
    """Return the part of the frame that was classified; None for the whole."""
    if not f.has("box"):
        return None
    sides = f.numbers("box", 4, 0, _MOST)
    wrong = f.wrong("box", "left, top, right, bottom, in whole pixels")
    if not all(side.is_integer() for side in sides):
        raise wrong
    left, top, right, bottom = map(int, sides)
    view = RegionView.parse(f.text("view", most=40), f.at("view")) if f.has("view") else PLAIN
    try:
        turned = TurnedBox(*f.numbers("turned", 5, -_MOST, _MOST)) if f.has("turned") else None
    except OptionError as e:
        raise f.wrong("turned", "x, y, width, height in pixels, and -45 to 45 degrees") from e
    try:
        return Region(left, top, right, bottom, view, turned)
    except OptionError as e:
        raise wrong from e


def _time(f: Fields) -> datetime:
    text = f.text("time", most=40)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise f.wrong("time", "a time in ISO 8601") from None
    if time.tzinfo is None:
        raise f.wrong("time", "a time with its offset from UTC")
    return time
