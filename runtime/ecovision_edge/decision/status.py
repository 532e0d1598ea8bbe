"""What a decider is doing, since when, and why."""

from __future__ import annotations

from dataclasses import dataclass

from ecovision_edge.events import BinState

__all__ = ["BinStatus"]


@dataclass(frozen=True, slots=True)
class BinStatus:
    """What a decider is doing, and why nothing is decided.

    Args:
        state: What it does.
        since: When it began, seconds of the clock that `step` is given.
        reason: In one line.
        item: The number of the item in hand; None if there is none.
    """

    state: BinState
    since: float
    reason: str
    item: int | None = None
