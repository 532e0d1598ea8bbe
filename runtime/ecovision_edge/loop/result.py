"""What the camera loop gives for one frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.bundle.views import PLAIN
from ecovision_edge.observation import Look, Observation
from ecovision_edge.preprocess.region import Region

if TYPE_CHECKING:
    from ecovision_edge.camera.source import CapturedFrame
    from ecovision_edge.prediction import Prediction

__all__ = ["LoopResult"]


@dataclass(frozen=True, slots=True)
class LoopResult:
    """A frame and what the network says of it.

    Args:
        index: How many results came before it, from 0.
        frame: The frame, with its sequence number and time of capture.
        prediction: The network's answer.
        labels: The classes, in the order of `prediction.probabilities`.
        age_ms: From the capture of the frame to its prediction, milliseconds.
        dropped: Frames that the source gave and nobody looked at, since the start.
        time: The capture, seconds since 1970 by the system's clock; for people, not for intervals.
        region: What of the frame was classified; None is all of it.
        bad_frames: Frames that came and were of no use, since the start.
        look: What a gate said of the frame before it was classified; None if none was asked.
    """

    index: int
    frame: CapturedFrame = field(repr=False)
    prediction: Prediction
    labels: tuple[str, ...] = field(repr=False)
    age_ms: float
    dropped: int
    time: float
    region: Region | None = None
    bad_frames: int = 0
    look: Look | None = field(default=None, repr=False, compare=False)

    @property
    def observation(self) -> Observation:
        """What is known of the frame, for `BinDecider.step`."""
        said = self.prediction
        return Observation(
            self.frame.image,
            self.look,
            self.region,
            probabilities=said.probabilities,
            timings=said.timings,
            time=self.time,
            age_ms=self.age_ms,
        )

    def to_json(self) -> dict[str, JsonValue]:
        """Return a JSON object without the picture: one line of `--output jsonl`.

        `box` is in it only where a part of the frame was classified, `view` only where that was not looked at
        as it is.
        """
        prediction, timings = self.prediction, self.prediction.timings
        return {
            "index": self.index,
            "sequence": self.frame.sequence,
            "time": datetime.fromtimestamp(self.time, timezone.utc).isoformat(timespec="milliseconds"),
            "captured_at": self.frame.captured_at,
            "label": prediction.label,
            "score": prediction.score,
            "margin": prediction.margin,
            "probabilities": dict(zip(self.labels, prediction.probabilities, strict=True)),
            "age_ms": self.age_ms,
            "dropped": self.dropped,
            "bad_frames": self.bad_frames,
            "timings_ms": {
                "prepare": timings.prepare_ms,
                "infer": timings.infer_ms,
                "post": timings.post_ms,
            },
            **({} if self.region is None else _part(self.region)),
        }


def _part(region: Region) -> dict[str, JsonValue]:
    plain: dict[str, JsonValue] = {"box": region.to_json()}
    return plain if region.view == PLAIN else {**plain, "view": str(region.view)}
