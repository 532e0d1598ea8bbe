"""What a camera loop has to say at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.camera.health import Health
from ecovision_edge.loop.percentiles import Percentiles

__all__ = ["STAGES", "LoopSummary", "StageTimes"]

STAGES = ("prepare", "infer", "post", "age")
"""The times that are counted: the three of `Timings`, and the age of a frame when its prediction is there."""


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Milliseconds of one stage; None where too few frames were seen for the claim (MLPerf's rule).

    Args:
        p50: The median.
        p90: What nine of ten do not exceed.
        p99: What 99 of 100 do not exceed.
        most: The longest.
    """

    p50: float | None
    p90: float | None
    p99: float | None
    most: float

    @classmethod
    def of(cls, times: Percentiles) -> StageTimes:
        """From counted seconds."""
        p50, p90, p99 = (None if (t := times.percentile(p)) is None else t * 1000 for p in (50, 90, 99))
        return cls(p50, p90, p99, times.most * 1000)

    def to_json(self) -> dict[str, JsonValue]:
        """Return a JSON object, in milliseconds."""
        return {"p50": self.p50, "p90": self.p90, "p99": self.p99, "max": self.most}


@dataclass(frozen=True, slots=True)
class LoopSummary:
    """A whole run.

    Args:
        source: What the source is called.
        seconds: How long it ran.
        frames: Frames that the source gave.
        classified: Frames that were classified.
        dropped: Frames that nobody looked at: a newer one came first, or they had grown too old.
        bad_frames: Frames that came and were of no use: empty, cut off, or not to be decoded.
        reconnects: How often the source was reconnected.
        labels: How often each label was the answer; those that never were are left out.
        stages: Milliseconds by stage, of `STAGES`.
        health: How the source was at the end.
        unclassified: How many frames were looked at, and the network not asked, by `LoopResult.tray`.
    """

    source: str
    seconds: float
    frames: int
    classified: int
    dropped: int
    bad_frames: int
    reconnects: int
    labels: Mapping[str, int]
    stages: Mapping[str, StageTimes]
    health: Health
    unclassified: Mapping[str, int] = field(default_factory=dict)

    @property
    def looked_at(self) -> int:
        """Frames that were looked at, whether the network was asked about them or not."""
        return self.classified + sum(self.unclassified.values())

    def to_json(self) -> dict[str, JsonValue]:
        """Return a JSON object with the stages in milliseconds."""
        return {
            "source": self.source,
            "seconds": self.seconds,
            "frames": self.frames,
            "classified": self.classified,
            "unclassified": dict(self.unclassified),
            "dropped": self.dropped,
            "bad_frames": self.bad_frames,
            "reconnects": self.reconnects,
            "labels": dict(self.labels),
            "stages_ms": {name: times.to_json() for name, times in self.stages.items()},
            "health": self.health.to_json(),
        }

    def lines(self) -> list[str]:
        """For people."""
        rate = self.looked_at / self.seconds if self.seconds > 0 else 0.0
        without = "".join(f", {count} {tray}" for tray, count in sorted(self.unclassified.items()))
        lines = [
            f"{self.source}: {self.frames} frames in {self.seconds:.1f} s,"
            f" {self.classified} classified{without} ({rate:.1f} a second),"
            f" {self.dropped} dropped, {self.bad_frames} bad, {_times(self.reconnects, 'reconnect')}"
        ]
        if self.classified:
            counts = sorted(self.labels.items(), key=lambda item: (-item[1], item[0]))
            lines.append("labels: " + ", ".join(f"{label} {count}" for label, count in counts))
        for name, times in self.stages.items():
            if self.classified or (name == "age" and self.looked_at):
                lines.append(
                    f"{name + ' ms':11}p50 {_ms(times.p50)}  p90 {_ms(times.p90)}  p99 {_ms(times.p99)}"
                    f"  max {_ms(times.most)}"
                )
        reason = f": {self.health.reason}" if self.health.reason else ""
        lines.append(f"{self.health.state}{reason}")
        return lines


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _ms(value: float | None) -> str:
    return f"{value:7.2f}" if value is not None else "      -"  # too few frames for the claim
