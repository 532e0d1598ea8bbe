"""What every sink has: a bounded queue, a thread of its own, and tries until an event is delivered.

So no delivery ever holds up the camera: `put` and `show` return at once, whatever the other side does.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable

from ecovision_edge.base.backoff import Backoff
from ecovision_edge.base.threads import Worker
from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.errors import EcovisionError, SinkError
from ecovision_edge.events import BinEvent, BinState, StateMessage
from ecovision_edge.sinks._queue import EventQueue
from ecovision_edge.sinks._retries import Retries, UnforeseenError, typed
from ecovision_edge.sinks.delivery import Delivery
from ecovision_edge.sinks.stats import SinkStats

__all__ = ["SinkRunner"]

_log = logging.getLogger("ecovision_edge")

_STUCK = 90.0  # seconds: a servo holds for 60 at most, and a busy receiver is believed for 60
_LOOK = 0.1  # seconds between looks at what no notification tells: that the time is over


class SinkRunner:
    """Runs one delivery in a thread of its own; it is also the delivery's `Pace`.

    Args:
        name: What logs call it; without credentials.
        delivery: What is done with each event and each state.
        capacity: Events that wait at most; of more the oldest is dropped, counted and logged. At least 1.
        max_age: Seconds above 0: an event that `put` took so long ago is dropped, counted and logged. None
            never.
        device: What the device calls itself, for `StateMessage`.
        first_delay, most_delay: Of the backoff, seconds.
    """

    def __init__(
        self,
        name: str,
        delivery: Delivery,
        *,
        capacity: int = 1000,
        max_age: float | None = None,
        device: str = "",
        first_delay: float = 0.5,
        most_delay: float = 30.0,
    ) -> None:
        self.name = name
        self._delivery, self._device = delivery, device
        self._queue = EventQueue(name, capacity, max_age)
        self._changed = threading.Condition(threading.RLock())
        self._tries = Retries(name, self._changed, Backoff(first_delay, most_delay))
        self._state: StateMessage | None = None  # to be told
        self._since: tuple[BinState, float] | None = None  # the state last taken, and when it began
        self._reason = ""  # of that state
        self._bundle: BundleIdentity | None = None
        self._called: float | None = None  # when the delivery was, if it did not return yet
        self._parting = ""  # what its `close` raised last
        self._closing = False
        self._deadline = math.inf
        self._worker = Worker(self._run, f"ecovision-sink {name}")

    # For the delivery.

    @property
    def overdue(self) -> bool:
        """Whether the event being delivered is older than `max_age`."""
        with self._changed:
            return self._queue.overdue

    @property
    def stopping(self) -> bool:
        """Whether `close` was called."""
        return self._closing

    @property
    def time_left(self) -> float:
        """Seconds that are left of those given to `close`; infinity before it was called."""
        return self._deadline - time.monotonic()

    @property
    def out_of_time(self) -> bool:
        """Whether the time that `close` gave is over."""
        return self.time_left <= 0

    @property
    def state(self) -> BinState | None:
        """The state that `show` took last; None before the first."""
        since = self._since
        return None if since is None else since[0]

    def wait(self, seconds: float, until: Callable[[], bool]) -> None:
        """Wait so many seconds, less if `until` becomes true."""
        end = time.monotonic() + seconds
        with self._changed:
            while (left := end - time.monotonic()) > 0 and not until():
                self._changed.wait(min(left, _LOOK))

    # For everyone.

    @property
    def started(self) -> bool:
        """Whether there was ever a thread."""
        with self._changed:
            return self._worker.started

    @property
    def running(self) -> bool:
        """Whether its thread runs: after `close`, whether something does not return."""
        return self._worker.alive

    @property
    def stats(self) -> SinkStats:
        """What became of the events so far."""
        with self._changed:
            queue = self._queue
            return SinkStats(
                taken=queue.taken,
                delivered=queue.delivered,
                dropped=queue.dropped,
                expired=queue.expired,
                waiting=len(queue),
                retries=self._tries.count,
                error=self._tries.error or queue.trouble or self._stuck(),
            )

    def start(self) -> None:
        """Begin to deliver. Idempotent."""
        with self._changed:
            if not (self._worker.started or self._closing):
                self._worker.start()

    def put(self, event: BinEvent) -> None:
        """Take an event to deliver; never waits."""
        with self._changed:
            self._queue.put(event, closed=self._closing)
            self._changed.notify_all()

    def show(self, state: BinState, reason: str = "") -> None:
        """Take what the bin is doing, to be told; never waits. A newer state takes an older one's place."""
        now = time.time()
        with self._changed:
            if self._since is None or self._since[0] is not state:
                self._since = state, now
            self._reason = reason
            self._state = StateMessage(
                id=uuid.uuid4().hex,
                state=state,
                reason=reason,
                time=now,
                since=self._since[1],
                device=self._device,
                bundle=self._bundle,
            )
            self._changed.notify_all()

    def announce(self, bundle: BundleIdentity | None) -> None:
        """Take which bundle decides from now on; a state that was shown is told again, with it."""
        with self._changed:
            self._bundle = bundle
            if self._since is not None:
                self.show(self._since[0], self._reason)

    def flush(self, timeout: float) -> bool:
        """Wait until each event taken is delivered or dropped, `timeout` seconds at most; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Deliver what waits, `timeout` seconds at most, and end. Idempotent.

        What could not be delivered is dropped; of a runner that was never started, all of it, unless the
        delivery takes it all the same. For a state that cannot be told it does not wait.
        """
        with self._changed:
            self._closing, self._deadline = True, time.monotonic() + timeout
            self._changed.notify_all()
            if not self._worker.started:
                if self._queue and self._delivery.takes_unstarted():
                    self._worker.start()
                else:
                    self._queue.drop_rest()
        if not self._worker.join(timeout + 1.0):
            _log.warning("%s: its last delivery does not return; it is left", self.name)

    def _stuck(self) -> str:
        """Say that the other side does not return: a full pipe that nobody reads, or a disk that hangs."""
        called = self._called
        if called is None or time.monotonic() - called < _STUCK:
            return ""
        return f"a call has not returned for {_STUCK:g} s"

    # The thread.

    def _run(self) -> None:
        opened = False
        try:
            while True:
                try:
                    with typed(f"{type(self._delivery).__name__}.wait_time"):
                        if not self._wait_for_work():
                            break
                    if not opened:
                        self._call("open", lambda: self._delivery.open(self))
                        opened = True
                    self._work()
                except EcovisionError as e:  # of `deliver` only a SinkError comes as far as this
                    self._part()
                    opened = False
                    if not self._tries.failed(e, self._last_try):
                        break
        finally:
            self._part()
            with self._changed:
                self._queue.drop_rest()
                self._changed.notify_all()

    def _call(self, name: str, function: Callable[[], None]) -> None:
        self._called = time.monotonic()
        try:
            with typed(f"{type(self._delivery).__name__}.{name}"):
                function()
        finally:
            self._called = None

    def _part(self) -> None:
        try:
            self._call("close", self._delivery.close)
        except EcovisionError as e:
            if str(e) != self._parting:  # once, not with each try
                _log.warning("%s: %s", self.name, e)
            self._parting = str(e)

    def _wait_for_work(self) -> bool:
        """False at the end."""
        with self._changed:
            if self._queue.drop_old():
                self._changed.notify_all()
            if not (self._queue or self._state or self._closing):
                self._changed.wait(self._delivery.wait_time())
            if self._closing and not (self._queue or self._state):
                return False
            return not self.out_of_time

    def _last_try(self) -> float:
        """Until when it is tried again: to the last moment for events; for a state alone not once closing."""
        return -math.inf if self._closing and not self._queue else self._deadline

    def _work(self) -> None:
        with self._changed:
            event, state = self._queue.take(), self._state
            self._changed.notify_all()  # opening may have taken so long that events grew too old
        if state is not None:
            self._tell_one(state)
        if event is not None:
            self._deliver_one(event)
        if event is None and state is None:
            self._call("idle", self._delivery.idle)
        self._tries.well()
        self._tries.begin_anew()

    def _tell_one(self, state: StateMessage) -> None:
        try:
            self._call("tell", lambda: self._delivery.tell(state))
        except EcovisionError as e:
            if not isinstance(e, SinkError) or isinstance(e, UnforeseenError):
                self._told_one(state)  # it would fail again
            raise
        self._told_one(state)

    def _told_one(self, state: StateMessage) -> None:
        with self._changed:
            if self._state is state:
                self._state = None

    def _deliver_one(self, event: BinEvent) -> None:
        try:
            self._call("deliver", lambda: self._delivery.deliver(event))
        except SinkError:
            raise
        except EcovisionError as e:
            self._done(f"{event.id} can never be delivered, and is lost: {e}")
        else:
            self._done("")

    def _done(self, lost: str) -> None:
        with self._changed:
            self._queue.done(lost)
            self._changed.notify_all()
