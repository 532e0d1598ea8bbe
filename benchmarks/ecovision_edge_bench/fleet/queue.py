"""What becomes of those who come faster than one server serves: they wait, one behind the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Queue", "serve"]


@dataclass(frozen=True, slots=True)
class Queue:
    """How it went.

    Args:
        longest: Seconds from coming to having been served, of whom that took longest.
        end: When the last one has been served, in seconds as they came.
        most: How many were there at once, waiting or being served.
    """

    longest: float
    end: float
    most: int


def serve(times: Iterable[float], seconds: float) -> Queue:
    """Serve all that come in the order in which they come.

    Args:
        times: When each comes.
        seconds: That serving one takes.
    """
    longest = end = 0.0
    most = 0
    there: deque[float] = deque()  # when each who is there will have been served
    for time in sorted(times):
        while there and there[0] <= time:
            there.popleft()
        end = max(end, time) + seconds
        there.append(end)
        longest, most = max(longest, end - time), max(most, len(there))
    return Queue(longest, end, most)
