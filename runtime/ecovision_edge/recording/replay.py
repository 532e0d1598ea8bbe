"""Reading a recording back, and comparing what a replay says with what was said."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import OptionError, RecordError
from ecovision_edge.photographs.images import find_images
from ecovision_edge.recording.disk import read_sidecar, sidecar_of
from ecovision_edge.recording.sidecar import RecordedResult, parse_sidecar

if TYPE_CHECKING:
    from ecovision_edge.loop import LoopResult

__all__ = ["Difference", "RecordedFrame", "ReplayReport", "Said", "compare", "read_recording"]

MAX_SHOWN = 20
"""Differences that a report names."""


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """A picture of a recording (`ecovision_edge.read_image` reads it), and what was said of it."""

    path: Path
    result: RecordedResult


Said: TypeAlias = Union[RecordedFrame, "LoopResult"]
"""What was said of a frame, in a recording or by a loop."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A frame of which the replay says something else.

    Args:
        name: File name of its picture.
        recorded: The label in the recording; of a frame that was not classified, why.
        replayed: The label in the replay; likewise.
        probability: The largest difference of the probability of a class, 0 to 1.
    """

    name: str
    recorded: str
    replayed: str
    probability: float


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """Whether a replay says what the recording says.

    Args:
        compared: Frames in both.
        missing: Frames of the recording that the replay lacks.
        extra: Frames of the replay beyond the recording.
        labels_changed: Frames with another label.
        largest: The largest difference of a probability over all frames.
        tolerance: What was allowed of that.
        differences: The first frames with another label, or more than the tolerance; 20 at most.
    """

    compared: int
    missing: int
    extra: int
    labels_changed: int
    largest: float
    tolerance: float
    differences: tuple[Difference, ...]

    @property
    def ok(self) -> bool:
        """Whether as many frames, at least one, have the same labels, and probabilities within tolerance."""
        same = self.missing == self.extra == self.labels_changed == 0
        return same and self.compared > 0 and self.largest <= self.tolerance

    def to_json(self) -> dict[str, JsonValue]:
        """Return a JSON object."""
        return {
            "ok": self.ok,
            "compared": self.compared,
            "missing": self.missing,
            "extra": self.extra,
            "labels_changed": self.labels_changed,
            "largest": self.largest,
            "tolerance": self.tolerance,
            "differences": [
                {
                    "name": d.name,
                    "recorded": d.recorded,
                    "replayed": d.replayed,
                    "probability": d.probability,
                }
                for d in self.differences
            ],
        }


def read_recording(folder: str | os.PathLike[str]) -> Iterator[RecordedFrame]:
    """Yield a recording's frames in the order of a replay. Not while it is being written.

    Raises:
        RecordError: there is no such folder, or no picture in it; then, at the frame in question: a picture
            has no sidecar, or one that is malformed; the message names the file.
    """
    root = Path(folder)
    pictures = find_images(root)
    first = next(pictures, None)
    if first is None:
        found = "no picture" if root.is_dir() else "no such folder"
        raise RecordError(f"no recording in {root}", expected="pictures with sidecars", found=found)
    return map(_read, itertools.chain([first], pictures))


def compare(
    recorded: Iterable[RecordedFrame], replayed: Iterable[Said], *, tolerance: float = 0.0
) -> ReplayReport:
    """Compare a recording with a replay of it, frame by frame in order.

        >>> from ecovision_edge import Classifier
        >>> from ecovision_edge.camera import open_source
        >>> def check(folder: str) -> bool:
        ...     replay = Classifier.load().stream(open_source(folder))
        ...     return compare(read_recording(folder), replay).ok

    A frame that was not classified, as a bin leaves an empty tray, has to be that in the replay too.
    A recording does not name its bundle. One with the same classes, whatever their order, is compared: that
    it is another one shows in the differences. One with other classes cannot be compared, and is refused.

    Args:
        recorded: A frame from `read_recording`.
        replayed: Results of a loop over that folder, or a recording that was made of one.
        tolerance: Difference of a probability that is allowed, 0 to 1. On the same machine, with the same
            artifact and threads, a PNG recording needs none. A label that changes is always a difference.

    Raises:
        OptionError: the tolerance is out of range.
        RecordError: the classes are others, or other frames, or other parts of them, were classified; or as
            `read_recording`, and whatever `replayed` raises.
    """
    if not 0 <= tolerance <= 1:
        raise OptionError("tolerance", expected="0 to 1", found=repr(tolerance))
    compared = missing = extra = labels_changed = 0
    largest = 0.0
    differences: list[Difference] = []
    for before, after in itertools.zip_longest(recorded, replayed):
        if before is None:
            extra += 1
        elif after is None:
            missing += 1
        else:
            difference = _difference(before, after)
            changed = difference.recorded != difference.replayed
            compared += 1
            labels_changed += changed
            largest = max(largest, difference.probability)
            if (changed or difference.probability > tolerance) and len(differences) < MAX_SHOWN:
                differences.append(difference)
    return ReplayReport(compared, missing, extra, labels_changed, largest, tolerance, tuple(differences))


def _read(picture: Path) -> RecordedFrame:
    sidecar = sidecar_of(picture)
    try:
        data = read_sidecar(picture)
    except OSError as e:
        raise RecordError(f"cannot read {sidecar}", found=reason_of(e)) from e
    if data is None:
        raise RecordError(
            f"{picture} is no frame of a recording", expected=sidecar.name, found="no such file"
        )
    return RecordedFrame(picture, parse_sidecar(data, str(sidecar), picture.name))


def _difference(recorded: RecordedFrame, replayed: Said) -> Difference:
    label, before = _said(recorded)
    other, after = _said(replayed)
    if bool(before) is not bool(after):
        raise RecordError(
            f"{recorded.path} cannot be compared",
            expected="a frame that was classified" if before else f"one that was not: {label}",
            found="one that was not" if before else "one that was",
            fix="replay it with the bin that recorded it",
        )
    if before.keys() != after.keys():
        raise RecordError(
            f"{recorded.path} cannot be compared",
            expected=f"the classes {', '.join(before)}",
            found=", ".join(after),
            fix="replay it with the bundle that it was recorded with",
        )
    another = replayed.result.region if isinstance(replayed, RecordedFrame) else replayed.region
    if (box := recorded.result.region) != another:
        raise RecordError(
            f"{recorded.path} cannot be compared",
            expected="the whole frame classified" if box is None else f"only {box} classified",
            found="the whole" if another is None else str(another),
            fix="replay it with the bin that recorded it, or with CameraLoop's `region`",
        )
    largest = max((_distance(value, after[name]) for name, value in before.items()), default=0.0)
    return Difference(recorded.path.name, label, other, largest)


def _distance(a: float, b: float) -> float:
    """Return how far apart they are; a NaN is far from everything."""
    distance = abs(a - b)
    return math.inf if math.isnan(distance) else distance


def _said(of: Said) -> tuple[str, Mapping[str, float]]:
    """Return the label, or why there is none, and the probabilities."""
    if isinstance(of, RecordedFrame):
        return of.result.label or str(of.result.tray), of.result.probabilities
    prediction = of.prediction
    if prediction is None:
        return str(of.tray), {}
    return prediction.label, dict(zip(of.labels, prediction.probabilities, strict=True))
