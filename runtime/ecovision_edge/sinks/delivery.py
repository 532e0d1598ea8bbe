"""What one kind of sink does with an event, and what it may ask of whoever runs it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

from ecovision_edge.events import BinEvent, BinState, StateMessage
from ecovision_edge.sinks._payload import event_bytes

__all__ = ["Delivery", "Pace"]


class Pace(Protocol):
    """What a delivery may ask while it works: how much time there is, and what the bin is doing."""

    @property
    def overdue(self) -> bool:
        """Whether the event being delivered is older than `max_age`: do not ask again, raise SinkError."""

    @property
    def stopping(self) -> bool:
        """Whether the end has begun: what waits, should end."""

    @property
    def time_left(self) -> float:
        """Seconds until the end has to be reached; infinity before it has begun, 0 or less after it."""

    @property
    def out_of_time(self) -> bool:
        """Whether `time_left` is over: what waits, has to raise SinkError."""

    @property
    def state(self) -> BinState | None:
        """What the bin is doing now, which may not have been told yet; None before anything was said."""

    def wait(self, seconds: float, until: Callable[[], bool]) -> None:
        """Wait so many seconds, or less if `until` becomes true, which is asked ten times a second."""


class Delivery(Protocol):
    """Brings events to their place. Whatever blocks, blocks the runner's thread alone (`SinkRunner`).

    What is tried again is said by the error: SinkError is for what may pass. The runner closes, waits (capped
    exponential backoff with jitter), opens, and gives the same event again, so events keep their order and
    each is delivered once where the other side acknowledges. Any other EcovisionError of `deliver` or `tell`
    is for what can never succeed: the event or the state is dropped and logged. What is no EcovisionError is
    taken for a mistake that may pass: the event is tried again, a state is given up.

    All but `deliver` have a default that does nothing.
    """

    def open(self, pace: Pace) -> None:
        """Make ready to deliver; called again after a failure. Raises SinkError."""
        return

    @abstractmethod
    def deliver(self, event: BinEvent) -> None:
        """Deliver one event, and return when it is delivered."""

    def tell(self, message: StateMessage) -> None:
        """Tell what the bin is doing; only the newest state counts."""
        return

    def close(self) -> None:
        """Give back what `open` took; called once more at the end. What it raises is logged."""
        return

    def wait_time(self) -> float | None:
        """Return the seconds after which `idle` is called when nothing else happens; None never."""
        return None

    def idle(self) -> None:
        """Nothing has happened for `wait_time`. Raises SinkError to be opened again."""
        return

    # On any thread, before the start or at the end.

    def check_event(self, event: BinEvent) -> None:
        """Refuse an event that can never be delivered; connects to nothing. Raises OptionError."""
        event_bytes(event)

    def claims(self) -> frozenset[str]:
        """Return what no other sink may use beside it, in words that are the same for the same thing."""
        return frozenset()

    def takes_unstarted(self) -> bool:
        """Return whether to open and deliver, at the end, what a sink was given that was never started."""
        return False
