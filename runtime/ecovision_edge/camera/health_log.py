"""What the log says of a source: each trouble once, then rarely, however often it is tried again."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable

from ecovision_edge.camera.health import Health, HealthState

__all__ = ["HealthLog"]

REPEAT = 600.0
"""Seconds after which a trouble that lasts is said again: six lines an hour in a journal."""

_log = logging.getLogger("ecovision_edge")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_LEVELS = {
    HealthState.STARTING: logging.DEBUG,
    HealthState.RUNNING: logging.INFO,
    HealthState.ENDED: logging.INFO,
    HealthState.FAILED: logging.DEBUG,  # it is raised too
}


class HealthLog:
    """Logs the states of one source; those that only repeat a trouble at DEBUG.

    Two reasons that differ in their numbers alone are the same trouble. Once frames came it is a new one.

    Args:
        name: What the source is called.
        clock: Seconds; for tests.
    """

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._clock = name, clock
        self._said: dict[tuple[HealthState, str], float] = {}
        self._silent = 0

    def tell(self, health: Health) -> None:
        """Log a state."""
        if health.state is HealthState.RUNNING:
            self._said.clear()
            self._silent = 0
        level = _LEVELS.get(health.state, logging.WARNING)
        reason = health.reason.removeprefix(f"{self._name} ")
        if level == logging.WARNING:
            if not self._is_due(health):
                self._silent += 1
                level = logging.DEBUG
            elif self._silent:
                reason, self._silent = f"{reason}; {self._silent} times since the last line", 0
        _log.log(level, "%s: %s%s", self._name, health.state, f": {reason}" if reason else "")

    def _is_due(self, health: Health) -> bool:
        trouble, now = (health.state, _NUMBER.sub("0", health.reason)), self._clock()
        if now - self._said.get(trouble, -math.inf) < REPEAT:
            return False
        self._said[trouble] = now
        return True
