"""What became of the events of a sink."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SinkStats"]


@dataclass(frozen=True, slots=True)
class SinkStats:
    """What became of the events of one sink.

    Args:
        taken: Events that `put` took.
        delivered: Of those, delivered; acknowledged where the other side can.
        dropped: Of those, lost: the queue was full, they were too old, or the sink was closed before they
            could be delivered.
        expired: Of the dropped ones, those that were too old.
        waiting: Of those taken, neither delivered nor dropped yet.
        retries: Tries that failed.
        error: The last failure since the last success: of a try, or an event that was refused or had no place
            in the queue; or that a call does not return. Empty if all is well.
    """

    taken: int
    delivered: int
    dropped: int
    expired: int
    waiting: int
    retries: int
    error: str
