"""What the sinks of a bin are told of its state."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from ecovision_edge.events import BinState
from ecovision_edge.sinks.base import Sink

__all__ = ["STOPPED", "StateTeller"]

_log = logging.getLogger("ecovision_edge")

STOPPED = "stopped"
"""The reason of the fault that an orderly end is shown as, so that all hardware is fail-safe after it."""


class StateTeller:
    """Tells sinks each new state, counts the faults, and logs each change into and out of one.

    For one thread at a time: its owner has a lock.

    Args:
        sinks: Who is told.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        """Nothing was told yet."""
        self._sinks = tuple(sinks)
        self.told: tuple[BinState, str] | None = None
        """The last state, and its reason when it was told; None before the first."""
        self.since = time.monotonic()
        """When that state began, seconds of `time.monotonic()`."""
        self.faults = 0
        """How often the state became `fault`; an orderly end does not count."""

    @property
    def state(self) -> BinState | None:
        """The last state; None before the first."""
        return None if self.told is None else self.told[0]

    def tell(self, state: BinState, reason: str) -> None:
        """Tell a state that is new, or has a new reason."""
        if (state, reason) == self.told:
            return
        if state is not self.state:
            self._note(state, reason)
            self.since = time.monotonic()
        self.told = state, reason
        for sink in self._sinks:
            sink.show(state, reason)

    def _note(self, state: BinState, reason: str) -> None:
        if state is BinState.FAULT and reason != STOPPED:
            self.faults += 1
            _log.warning("the bin is in fault: %s", reason)
        elif self.state is BinState.FAULT:
            _log.info("the bin is out of its fault after %.0f s: %s", time.monotonic() - self.since, state)
