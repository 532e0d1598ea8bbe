"""What a bin says of itself: to whoever asks, and to its sinks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from ecovision_edge.camera.health import Health, HealthState
from ecovision_edge.decision.decider import BinDecider
from ecovision_edge.decision.status import BinStatus
from ecovision_edge.events import BinEvent, BinState
from ecovision_edge.sinks.base import Sink
from ecovision_edge.sinks.bin_report import BinReport, sink_reports
from ecovision_edge.sinks.telling import StateTeller
from ecovision_edge.triggers.base import Trigger

__all__ = ["StatusBoard"]

_KEPT, _REPORTED = 1000, 10  # events


class StatusBoard:
    """Keeps the status and the last events of a bin, and tells its sinks each new state. From any thread.

    Args:
        decider: What decides.
        trigger: What it waits for, if it does.
        sinks: Who is told.
        lock: Whoever changes the decider holds it; a sink that is shown a state may ask for the status.
    """

    def __init__(
        self, decider: BinDecider, trigger: Trigger | None, sinks: Sequence[Sink], lock: threading.RLock
    ) -> None:
        self._decider, self._trigger = decider, trigger
        self._sinks, self._lock = tuple(sinks), lock
        self._teller = StateTeller(sinks)
        self._events: deque[BinEvent] = deque(maxlen=_KEPT)
        self._decided = self._unknowns = 0
        self._blind: BinStatus | None = None  # while the camera gives nothing

    @property
    def status(self) -> BinStatus:
        """What the bin is doing, and why nothing is decided; a fault while camera or trigger give nothing."""
        with self._lock:
            status = self._decider.status
            both = (self._blind, None if self._trigger is None else self._trigger.hindrance)
            blockers = sorted(filter(None, both), key=lambda one: one.state is not BinState.FAULT)
            return replace(blockers[0], item=status.item) if blockers else status

    @property
    def report(self) -> BinReport:
        """What there is to say of the bin and its sinks now."""
        with self._lock:
            status = self.status
            state, reason = self._teller.told or (status.state, status.reason)
            report = BinReport(
                state=state,
                reason=status.reason if status.state is state else reason,
                since=self._teller.since,
                item=status.item,
                last=tuple(self._events)[-_REPORTED:],
                events=self._decided,
                unknowns=self._unknowns,
                faults=self._teller.faults,
                sinks=(),
            )
        return replace(report, sinks=sink_reports(self._sinks))

    @property
    def events(self) -> tuple[BinEvent, ...]:
        """The last events, 1,000 at most."""
        with self._lock:
            return tuple(self._events)

    def wait_for_camera(self) -> None:
        """Count the camera as one that starts, until it says more."""
        self._blind = BinStatus(BinState.STARTING, time.monotonic(), "starting")

    def see_frame(self, captured_at: float) -> None:
        """Take in a frame: a camera that gave nothing before it does now."""
        if self._blind is not None and captured_at > self._blind.since:
            self._blind = None

    def see_health(self, health: Health) -> None:
        """Take in how the camera is doing, and tell the sinks if it gives nothing."""
        with self._lock:
            self._blind = None
            if health.state not in (HealthState.RUNNING, HealthState.ENDED):
                state = BinState.STARTING if health.state is HealthState.STARTING else BinState.FAULT
                # Not when the next try is: each would be another state, told to every sink.
                reason = f"camera {health.state}: {health.trouble}".rstrip(": ")
                self._blind = BinStatus(state, health.since, reason)
                self.tell_status()

    def add(self, event: BinEvent) -> None:
        """Count an event."""
        with self._lock:
            self._events.append(event)
            self._decided += 1
            self._unknowns += event.label is None

    def tell_status(self) -> None:
        """Tell the sinks a new state; its reason may change with each frame and comes along as it is then.

        Where nothing is seen the reason is told too whenever it is another one: it says what is to be done.
        """
        with self._lock:
            status = self.status
            if self._teller.state is not status.state or not status.state.ready:
                self.tell(status.state, status.reason)

    def tell(self, state: BinState, reason: str) -> None:
        """Tell the sinks a state, each in the order in which it is kept here."""
        with self._lock:
            self._teller.tell(state, reason)
