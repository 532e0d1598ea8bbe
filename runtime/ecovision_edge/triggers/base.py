"""What every trigger is: it begins, fires from a thread of its own, says what hinders it, and ends."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from ecovision_edge.decision.status import BinStatus
from ecovision_edge.errors import OptionError
from ecovision_edge.events import BinState
from ecovision_edge.sinks.base import Sink

__all__ = ["Trigger", "check_trigger"]

_log = logging.getLogger("ecovision_edge")


class Trigger(ABC):
    """Tells a bin that an item came. A subclass says what `begin` and `end` do.

    It is started once, fires from any thread, and never holds up whoever starts or closes it. What hinders it
    later, a broker that is away, is a state of the bin and not an error: `hindrance`.

    Args:
        name: What messages call it; without credentials.
    """

    def __init__(self, name: str) -> None:
        self.__name = name
        self.__fire: Callable[[], object] = lambda: None
        self.__changed: Callable[[], object] = lambda: None
        self.__hindrance: BinStatus | None = None
        self.__started = self.__closed = False
        self._hinder(BinState.STARTING, "it starts")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.__name}>"

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.__name

    @property
    def hindrance(self) -> BinStatus | None:
        """Why it cannot fire now: `STARTING`, or `FAULT`; None while all is well. From any thread."""
        return self.__hindrance

    def claims(self) -> frozenset[str]:
        """Return what it uses alone, as `Sink.claims` names it: `pin 17`."""
        return frozenset()

    def start(self, fire: Callable[[], object], changed: Callable[[], object]) -> None:
        """Begin; returns at once.

        Args:
            fire: Called each time that an item came, from any thread.
            changed: Called when `hindrance` is another one, from any thread.

        Raises:
            OptionError: it was started before.
            TriggerError: it cannot be used at all: its pin is in use.
            MissingDependencyError: its library is not installed.
        """
        if self.__started:
            raise OptionError(f"trigger {self.__name} is started once", fix="open another one")
        self.__started, self.__fire, self.__changed = True, fire, changed
        self.begin()

    def close(self, timeout: float = 2.0) -> None:
        """End within `timeout` seconds, and fire no more. Idempotent; never raises."""
        already, self.__closed = self.__closed, True
        if self.__started and not already:
            self.end(timeout)

    @abstractmethod
    def begin(self) -> None:
        """Start to listen; raises as `start`."""

    @abstractmethod
    def end(self, timeout: float) -> None:
        """Give everything back, within `timeout` seconds; must not raise."""

    # For subclasses, from any thread.

    def _fired(self) -> None:
        """An item came."""
        if not self.__closed:
            self.__fire()

    def _ready(self) -> None:
        """All is well."""
        if self.__hindrance is not None:
            self.__hindrance = None
            self.__tell()

    def _hinder(self, state: BinState, reason: str) -> None:
        """It cannot fire now."""
        before = self.__hindrance
        reason = f"trigger {self.__name}: {reason}"
        if before is not None and (before.state, before.reason) == (state, reason):
            return
        same = before is not None and before.state is state
        since = before.since if before is not None and same else time.monotonic()
        self.__hindrance = BinStatus(state, since, reason)
        self.__tell()

    def __tell(self) -> None:
        if not self.__closed:
            self.__changed()


def check_trigger(trigger: Trigger, sinks: Iterable[Sink]) -> None:
    """Refuse a trigger that uses what a sink drives.

    Raises:
        OptionError: the pin, and the two that would use it.
    """
    for sink in sinks:
        for place in sorted(trigger.claims() & sink.claims()):
            raise OptionError(
                place, expected="one use alone", found=f"two, trigger {trigger.name} and sink {sink.name}"
            )
