"""How long the models take on this machine, where that was measured."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Speed"]


@dataclass(frozen=True, slots=True)
class Speed:
    """Time of one inference of the network alone, on one thread.

    Args:
        artifact: Its name.
        median_ms: Milliseconds.
        runs: Of how many the median is; artifacts that were compared took turns.
    """

    artifact: str
    median_ms: float
    runs: int
