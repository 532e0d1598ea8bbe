"""What time it is at least: a board without a battery begins in 1970, and what has expired is good again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from ecovision_edge.updates.state import as_date

__all__ = ["EARLIEST", "floor_of", "wrong_clock"]

EARLIEST = datetime(2026, 11, 30, tzinfo=timezone.utc).timestamp()
"""No clock that is before this code was written is right; each release of this project moves it."""

_SLACK_S = 86_400.0  # a clock may be some hours behind the last one that was seen


def floor_of(seen: float) -> float:
    """Return the earliest that it can be now, in Unix seconds; `seen` is the latest time that was certain."""
    return max(EARLIEST, seen)


def wrong_clock(seen: float, clock: Callable[[], float]) -> str | None:
    """Return in a few words what is wrong with the clock; None if it may be right."""
    now, floor = clock(), floor_of(seen)
    if now >= floor - _SLACK_S:
        return None
    return f"the clock says {as_date(now)}, and it is {as_date(floor)} at least"
