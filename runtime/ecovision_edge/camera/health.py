"""How a source of frames is doing, in words for a log, a page and a controller."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ecovision_edge.base.fields import JsonValue

__all__ = ["NEXT_TRY", "Health", "HealthState"]

NEXT_TRY = "; next try in "
"""What stands in a reason before the seconds until the source is connected to again."""


class HealthState(str, Enum):
    """The states of a source; `ENDED` is the end of its files, or of the loop that was told to stop."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STALLED = "STALLED"
    RECONNECTING = "RECONNECTING"
    FAILED = "FAILED"
    ENDED = "ENDED"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Health:
    """One state, since when and why.

    Args:
        state: What it is.
        since: When that began, seconds of `time.monotonic()`.
        reason: Why, in one line without credentials; empty where nothing is to be said.
        reconnects: How often the source was reconnected since the start.
        bad_frames: Frames since the start that were passed over: empty, cut off, or not to be decoded.
    """

    state: HealthState
    since: float
    reason: str = ""
    reconnects: int = 0
    bad_frames: int = 0

    @property
    def ok(self) -> bool:
        """Whether frames are coming."""
        return self.state is HealthState.RUNNING

    @property
    def trouble(self) -> str:
        """The reason without the time of the next try: the same for as long as the trouble is."""
        return self.reason.partition(NEXT_TRY)[0]

    def to_json(self) -> dict[str, JsonValue]:
        """Return a JSON object; `since` is in seconds of the monotonic clock."""
        return {
            "state": self.state.value,
            "since": self.since,
            "reason": self.reason,
            "reconnects": self.reconnects,
            "bad_frames": self.bad_frames,
        }
