"""What `tune` is asked for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ecovision_edge.base.device import DeviceState
from ecovision_edge.base.fields import JsonValue
from ecovision_edge.bundle.folder import Bundle
from ecovision_edge_bench.measure.agreement import Images
from ecovision_edge_bench.measure.frames import FrameSource
from ecovision_edge_bench.measure.settings import Settings
from ecovision_edge_bench.measure.validity import Load, device_reasons, unread_note
from ecovision_edge_bench.tune.choice import Candidate, Choice
from ecovision_edge_bench.tune.plan import Plan

__all__ = ["Request", "Tuned"]


@dataclass(frozen=True, slots=True)
class Request:
    """What is tuned.

    Args:
        bundle: The bundle.
        plan: The configurations.
        images: What answers are compared on; as many of them as the budget allows.
        source: Frames that are timed.
        budget_s: Seconds for all of it.
        seed: Seed of the order of turns and of the bootstrap.
        anyway: Decide on a busy device too.
        spent_s: Seconds of the budget that are gone already.
        folder: For files of synthetic frames; None: each worker draws its own.
    """

    bundle: Bundle
    plan: Plan
    images: Images
    source: FrameSource
    budget_s: float
    seed: int = 0
    anyway: bool = False
    spent_s: float = 0.0
    folder: Path | None = None


@dataclass(slots=True)
class Tuned:
    """What came of it.

    Args:
        candidates: Every configuration, in the order of the plan.
        choice: What is taken.
        base: What ratios are against: the default, or where that does not answer as it should, another.
        reference: The artifact that agreement is measured against; None: none answers as it should.
        images: How many it was measured on.
        states: Of the machine: at the start, and after each measurement.
        load: Cores that others kept busy in the last measurement.
        seconds: That it took.
    """

    candidates: list[Candidate]
    choice: Choice
    base: Candidate | None = None
    reference: str | None = None
    images: int = 0
    states: list[DeviceState] = field(default_factory=list)
    load: Load = field(default_factory=lambda: {"busy": None, "stolen": None})
    seconds: float = 0.0

    @property
    def doubts(self) -> list[str]:
        """What speaks against the figures: throttling, governor, other load."""
        return device_reasons(self.states, self.load, Settings())

    @property
    def unread(self) -> str | None:
        """What could not be looked at on this machine."""
        return unread_note(self.states[-1], self.load)

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        chosen = self.choice.candidate
        return {
            "choice": None if chosen is None else chosen.key,
            "why": self.choice.why,
            "decided": self.choice.decided,
            "base": None if self.base is None else self.base.key,
            "reference": self.reference,
            "images": self.images,
            "seconds": self.seconds,
            "rows": {c.key: c.to_json() for c in self.candidates},
            "doubts": [*self.doubts],
            "unread": self.unread,
            "load": dict(self.load),
            "state": {"before": self.states[0].to_json(), "after": self.states[-1].to_json()},
        }
