"""Events to the disk, from where a thread of its own brings them to a broker."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from ecovision_edge.base.backoff import Backoff
from ecovision_edge.base.files import one_name
from ecovision_edge.errors import EcovisionError, OptionError
from ecovision_edge.events import BinEvent, StateMessage
from ecovision_edge.sinks._mqtt_sender import Sender
from ecovision_edge.sinks._payload import event_bytes
from ecovision_edge.sinks._retries import typed
from ecovision_edge.sinks._spool import Spool
from ecovision_edge.sinks.delivery import Delivery, Pace

__all__ = ["SpoolDelivery"]

_log = logging.getLogger("ecovision_edge")

_MOST_STATE = 255  # Home Assistant: const.py, MAX_LENGTH_STATE_STATE


class SpoolDelivery(Delivery):
    """Delivers to a spool: an event is delivered when it is on the disk, or in memory while the disk says no.

    Args:
        name: What logs call it.
        spool: Where events wait for the broker.
        sender: Brings them there; started with the first opening.
        discovery: Whether Home Assistant has to hold the names too.
        on_safe: Called with each event that is on the disk; what it raises is logged, and changes nothing.
        backoff: Between tries of the disk.
    """

    def __init__(
        self,
        name: str,
        spool: Spool,
        sender: Sender,
        *,
        discovery: bool,
        on_safe: Callable[[BinEvent], None] | None,
        backoff: Backoff,
    ) -> None:
        self._name, self._spool, self._sender = name, spool, sender
        self._discovery, self._on_safe, self._disk_backoff = discovery, on_safe, backoff
        self._unsafe: dict[str, BinEvent] = {}  # those that wait in memory alone, the oldest first
        self._store_at = 0.0
        self._opened = self._never_started = False

    def check_event(self, event: BinEvent) -> None:
        """Refuse an event that the spool, or Home Assistant, cannot hold."""
        self._spool.check(event.id, event_bytes(event))
        if self._discovery:
            for what, name in (("bin", event.bin), ("label", event.label or "")):
                if len(name) > _MOST_STATE:
                    raise OptionError(
                        f"{what} for Home Assistant",
                        expected=f"a name of {_MOST_STATE} characters at most",
                        found=f"{len(name)}, {name[:30]}...",
                    )

    def claims(self) -> frozenset[str]:
        """Return the spool's folder."""
        return frozenset((f"spool {one_name(self._spool.folder)}",))

    def takes_unstarted(self) -> bool:
        """To the disk, and to no broker."""
        self._never_started = True
        return True

    def open(self, pace: Pace) -> None:
        """Open the spool; the broker has a thread of its own, so that events are safe while it is away."""
        self._spool.open()
        self._opened = True
        if not self._never_started:
            self._sender.start()

    def deliver(self, event: BinEvent) -> None:
        """Put the event on the disk, and in memory alone while the disk says no."""
        payload = event_bytes(event)
        self._spool.check(event.id, payload)
        if self._on_safe is not None:
            self._unsafe[event.id] = event
        self._tell_safe(self._spool.append(event.id, payload))
        self._sender.notify()

    def _tell_safe(self, ids: Sequence[str]) -> None:
        """Call `on_safe` with the events of these ids."""
        for event_id in ids:
            event = self._unsafe.pop(event_id, None)
            if event is None or self._on_safe is None:
                continue
            try:
                with typed("on_safe"):
                    self._on_safe(event)
            except EcovisionError as e:  # to try again would put the event on the disk twice
                _log.error("%s: %s", self._name, e)
        while len(self._unsafe) > self._spool.waiting:  # the oldest were delivered before the disk had room
            del self._unsafe[next(iter(self._unsafe))]

    def tell(self, message: StateMessage) -> None:
        """Have the state published."""
        self._sender.show(message.state, message.reason, message.bundle)

    def wait_time(self) -> float | None:
        """At once, until the spool is open: what a former run left is sent without waiting for an event.

        Then only while the disk says no.
        """
        if not self._opened:
            return 0.0
        if not self._spool.error:
            self._disk_backoff.reset()
            return None
        return max(0.0, self._store_at - time.monotonic())

    def idle(self) -> None:
        """Try the disk again."""
        if self._spool.error and time.monotonic() >= self._store_at:
            self._tell_safe(self._spool.store())
            self._store_at = time.monotonic() + self._disk_backoff.next()
