"""What every sink of events is: a bounded queue, a thread of its own, and tries until an event is delivered.

So no sink ever holds up the camera: `put` and `show` return at once, whatever the other side does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType

from ecovision_edge.camera.watch import Backoff
from ecovision_edge.errors import EcovisionError, OptionError, SinkError
from ecovision_edge.events import BinEvent, BinState

__all__ = ["Sink", "SinkStats"]

_log = logging.getLogger("ecovision_edge")


@dataclass(frozen=True, slots=True)
class SinkStats:
    """What became of the events of one sink.

    Args:
        taken: Events that `put` took.
        delivered: Of those, delivered; acknowledged where the other side can.
        dropped: Of those, lost: the queue was full, or the sink was closed before they could be delivered.
        waiting: Of those, neither yet.
        retries: Deliveries that failed and were tried again.
        error: The last failure since the last success; empty if all is well.
    """

    taken: int
    delivered: int
    dropped: int
    waiting: int
    retries: int
    error: str


class Sink:
    """Base of all sinks. A subclass says what `deliver`, `connect`, `show_state` and `disconnect` do.

    These four run in the sink's own thread alone and may block there. `connect` and `deliver` raise SinkError
    for what may pass: the sink disconnects, waits (capped exponential backoff with jitter), connects, and
    tries the same event again, so events keep their order and each is delivered once where the other side
    acknowledges. An event whose delivery can never succeed raises any other EcovisionError: it is dropped and
    logged.

    Args:
        name: What logs call it; without credentials.
        capacity: Events that wait at most; of more the oldest is dropped, counted and logged. At least 1.
        first_delay, most_delay: Of the backoff, seconds.
    """

    def __init__(
        self, name: str, *, capacity: int = 1000, first_delay: float = 0.5, most_delay: float = 30.0
    ) -> None:
        if capacity < 1:
            raise OptionError("capacity of a sink", expected="1 or more", found=capacity)
        self._name = name
        self._capacity = capacity
        self._backoff = Backoff(first_delay, most_delay)
        self._changed = threading.Condition(threading.RLock())
        self._queue: deque[BinEvent] = deque()
        self._state: tuple[BinState, str] | None = None
        self._in_hand: BinEvent | None = None
        self._taken = self._delivered = self._dropped = self._retries = 0
        self._error = ""
        self._closing = False
        self._deadline: float | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"

    def __enter__(self) -> Sink:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # For subclasses, in the sink's own thread.

    def connect(self) -> None:
        """Make ready to deliver; called again after a failure. Raises SinkError."""

    def deliver(self, event: BinEvent) -> None:
        """Deliver one event, and return when it is delivered. Raises SinkError to have it tried again."""
        raise NotImplementedError

    def show_state(self, state: BinState, reason: str) -> None:
        """Show what the bin is doing; only the newest state counts. Raises SinkError as `deliver`."""

    def disconnect(self) -> None:
        """Give back what `connect` took; never raises, and is called once more at the end."""

    def wait_time(self) -> float | None:
        """Seconds after which `idle` wants to be called when nothing else happens; None never."""
        return None

    def idle(self) -> None:
        """Called when nothing has happened for `wait_time`. Raises SinkError to be connected anew."""

    # For everyone.

    @property
    def name(self) -> str:
        """What logs call it."""
        return self._name

    @property
    def stopping(self) -> bool:
        """Whether `close` was called: what waits, should end."""
        return self._closing

    @property
    def stats(self) -> SinkStats:
        """What became of the events so far."""
        with self._changed:
            waiting = len(self._queue) + (self._in_hand is not None)
            return SinkStats(self._taken, self._delivered, self._dropped, waiting, self._retries, self._error)

    def start(self) -> None:
        """Begin to deliver; twice is once."""
        with self._changed:
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(
                    target=self._run, name=f"ecovision-sink-{type(self).__name__}", daemon=True
                )
                self._thread.start()

    def put(self, event: BinEvent) -> None:
        """Take an event to deliver; never waits."""
        with self._changed:
            self._taken += 1
            if self._closing:
                self._dropped += 1
                return
            if len(self._queue) >= self._capacity:
                lost = self._queue.popleft()
                self._dropped += 1
                _log.warning(
                    "%s: %d events wait; the oldest one, %s, is lost", self._name, self._capacity, lost.id
                )
            self._queue.append(event)
            self._changed.notify_all()

    def show(self, state: BinState, reason: str = "") -> None:
        """Take what the bin is doing, to be shown; never waits. A newer state takes an older one's place."""
        with self._changed:
            self._state = state, reason
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until each event taken is delivered or dropped, `timeout` seconds at most; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and self._in_hand is None, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Deliver what waits, `timeout` seconds at most, and end. Twice is once.

        What could not be delivered is dropped, unless the sink keeps it for the next start.
        """
        with self._changed:
            self._closing = True
            self._deadline = time.monotonic() + timeout
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout + 1.0)
            if thread.is_alive():
                _log.warning("%s: its last delivery does not return; it is left", self._name)

    # The sink's own thread.

    def _run(self) -> None:
        connected = False
        try:
            while self._wait_for_work():
                try:
                    if not connected:
                        self.connect()
                        connected = True
                    self._work()
                except EcovisionError as e:  # of `deliver` only a SinkError comes as far as this
                    self.disconnect()
                    connected = False
                    if not self._failed(e):
                        break
        finally:
            self.disconnect()
            with self._changed:
                self._dropped += len(self._queue) + (self._in_hand is not None)
                self._queue.clear()
                self._in_hand = None
                self._changed.notify_all()

    def _wait_for_work(self) -> bool:
        """False at the end."""
        with self._changed:
            if not (self._queue or self._in_hand or self._state or self._closing):
                self._changed.wait(self.wait_time())
            if self._closing and not (self._queue or self._in_hand or self._state):
                return False
            return not self._out_of_time()

    def _out_of_time(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _work(self) -> None:
        with self._changed:
            if self._in_hand is None and self._queue:
                self._in_hand = self._queue.popleft()
            event, state = self._in_hand, self._state
        if state is not None:
            self.show_state(*state)
            with self._changed:
                if self._state is state:
                    self._state = None
        if event is not None:
            try:
                self.deliver(event)
            except SinkError:
                raise
            except EcovisionError as e:
                self._done(f"{event.id} can never be delivered, and is lost: {e}")
            else:
                self._done("")
        if event is None and state is None:
            self.idle()
        self._well()

    def _well(self) -> None:
        """Something succeeded: the next failure is a new one."""
        with self._changed:
            if self._error:
                _log.info("%s: is well again", self._name)
            self._error = ""
            self._backoff.reset()

    def _done(self, lost: str) -> None:
        with self._changed:
            self._in_hand = None
            if lost:
                self._dropped += 1
                _log.error("%s: %s", self._name, lost)
            else:
                self._delivered += 1
            self._changed.notify_all()

    def _failed(self, error: EcovisionError) -> bool:
        """Wait before the next try; False if there is to be none."""
        with self._changed:
            if str(error) != self._error:  # once, not with each try
                _log.warning("%s: %s", self._name, error)
            self._error = str(error)
            self._retries += 1
            until = time.monotonic() + self._backoff.next()
            while (left := until - time.monotonic()) > 0:
                if self._deadline is not None:
                    left = min(left, self._deadline - time.monotonic())
                    if left <= 0:
                        return False
                self._changed.wait(left)
            return True
