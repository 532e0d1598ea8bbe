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

__all__ = ["UNSAID", "WAITING", "LoopResult"]

WAITING = "waiting"
"""In place of what a gate saw: the frame was not needed, for no trigger came."""

UNSAID = ("label", "score", "margin", "probabilities", "timings_ms")
"""What is null in the JSON object of a frame that was not classified."""


@dataclass(frozen=True, slots=True)
class LoopResult:
    """A frame and what the network says of it, or that nothing was there to ask it about.

    Args:
        index: How many results came before it, from 0.
        frame: The frame, with its sequence number and time of capture.
        prediction: The network's answer; None where a gate saw no item, and it was not asked.
        labels: The classes, in the order of `prediction.probabilities`.
        age_ms: From the capture of the frame to its result, milliseconds.
        dropped: Frames that the source gave and nobody looked at, since the start.
        time: The capture, seconds since 1970 by the system's clock; for people, not for intervals.
        region: What of the frame was classified; None is all of it.
        bad_frames: Frames that came and were of no use, since the start.
        look: What a gate said of the frame before it was classified; None if none was asked.
    """

    index: int
    frame: CapturedFrame = field(repr=False)
    prediction: Prediction | None
    labels: tuple[str, ...] = field(repr=False)
    age_ms: float
    dropped: int
    time: float
    region: Region | None = None
    bad_frames: int = 0
    look: Look | None = field(default=None, repr=False, compare=False)

    @property
    def tray(self) -> str | None:
        """Why the network was not asked: a `View` as its gate saw it, or `WAITING`; None if it was."""
        if self.prediction is not None:
            return None
        return WAITING if self.look is None else str(self.look.view)

    @property
    def observation(self) -> Observation:
        """What is known of the frame, for `BinDecider.step`."""
        said = self.prediction
        return Observation(
            self.frame.picture,
            self.look,
            self.region,
            probabilities=None if said is None else said.probabilities,
            timings=None if said is None else said.timings,
            time=self.time,
            age_ms=self.age_ms,
            wanted=said is not None,
        )

    def to_json(self) -> dict[str, JsonValue]:
        """Return a JSON object without the picture: one line of `--output jsonl`.

        `box` is in it only where a part of the frame was classified, `view` only where that was not looked at
        as it is, `turned` (`TurnedBox`) only where it was cut out aslant. Where nothing was classified `tray`
        says why, and what the network would say is null.
        """
        return {
            "index": self.index,
            "sequence": self.frame.sequence,
            "time": datetime.fromtimestamp(self.time, timezone.utc).isoformat(timespec="milliseconds"),
            "captured_at": self.frame.captured_at,
            **self._said(),
            "age_ms": self.age_ms,
            "dropped": self.dropped,
            "bad_frames": self.bad_frames,
            **({} if self.region is None else _part(self.region)),
        }

    def _said(self) -> dict[str, JsonValue]:
        said = self.prediction
        if said is None:
            return {"tray": self.tray, **dict.fromkeys(UNSAID)}
        times = said.timings
        return {
            "label": said.label,
            "score": said.score,
            "margin": said.margin,
            "probabilities": dict(zip(self.labels, said.probabilities, strict=True)),
            "timings_ms": {"prepare": times.prepare_ms, "infer": times.infer_ms, "post": times.post_ms},
        }


def _part(region: Region) -> dict[str, JsonValue]:
    return {
        "box": region.to_json(),
        **({} if region.view == PLAIN else {"view": str(region.view)}),
        **({} if region.turned is None else {"turned": region.turned.to_json()}),
    }
