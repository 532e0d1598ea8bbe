"""What every sink of events is: a bounded queue, a thread of its own, and tries until an event is delivered.

So no sink ever holds up the camera: `put` and `show` return at once, whatever the other side does.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from ecovision_edge.base.backoff import Backoff
from ecovision_edge.errors import EcovisionError, SinkError
from ecovision_edge.events import BinEvent, BinState, StateMessage
from ecovision_edge.sinks._payload import event_bytes
from ecovision_edge.sinks._queue import EventQueue
from ecovision_edge.sinks._retries import Retries, UnforeseenError, typed

if TYPE_CHECKING:
    from typing import Self  # of Python 3.11

__all__ = ["Sink", "SinkStats"]

_log = logging.getLogger("ecovision_edge")

_STUCK = 90.0  # seconds: a servo holds for 60 at most, and a busy receiver is believed for 60


@dataclass(frozen=True, slots=True)
class SinkStats:
    """What became of the events of one sink.

    Args:
        taken: Events that `put` took.
        delivered: Of those, delivered; acknowledged where the other side can.
        dropped: Of those, lost: the queue was full, they were too old, or the sink was closed before they
            could be delivered.
        expired: Of the dropped ones, those that were too old.
        waiting: Of those taken, neither delivered nor dropped yet.
        retries: Tries that failed.
        error: The last failure since the last success: of a try, or an event that was refused or had no place
            in the queue; or that a call does not return. Empty if all is well.
    """

    taken: int
    delivered: int
    dropped: int
    expired: int
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

    Any other exception is taken for a mistake that may pass, as a SinkError is: the event is tried again, and
    the log and `stats.error` say what was raised (the traceback at DEBUG). A state that cannot be shown for
    such a reason is given up, as events wait behind it.

    Args:
        name: What logs call it; without credentials.
        capacity: Events that wait at most; of more the oldest is dropped, counted and logged. At least 1.
        max_age: Seconds above 0: an event that `put` took so long ago is dropped, counted and logged. For a
            sink that acts, which must not act on an item long gone. None never.
        device: What the device calls itself, for `StateMessage`.
        first_delay, most_delay: Of the backoff, seconds.
    """

    def __init__(
        self,
        name: str,
        *,
        capacity: int = 1000,
        max_age: float | None = None,
        device: str = "",
        first_delay: float = 0.5,
        most_delay: float = 30.0,
    ) -> None:
        self.__name = name
        self.__queue = EventQueue(name, capacity, max_age)
        # Of two underscores, so that no subclass takes a name of its base's by accident.
        self._changed = threading.Condition(threading.RLock())
        self.__tries = Retries(name, self._changed, Backoff(first_delay, most_delay))
        self.__device = device
        self.__state: StateMessage | None = None  # to be shown
        self.__since: tuple[BinState, float] | None = None  # the state last taken, and when it began
        self.__called: float | None = None  # when the subclass was, if it did not return yet
        self.__parting = ""  # what `disconnect` raised last
        self.__closing = False
        self.__deadline: float | None = None
        self.__thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.__name}>"

    def __enter__(self) -> Self:
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

    def check_event(self, event: BinEvent) -> None:
        """Refuse an event that can never be delivered, whatever the other side does; connects to nothing.

        Asked for each name before the start, on any thread. Raises OptionError.
        """
        event_bytes(event)

    def claims(self) -> frozenset[str]:
        """What no other sink may use beside it, in words that are the same for the same thing."""
        return frozenset()

    def show_state(self, state: BinState, reason: str) -> None:
        """Show what the bin is doing; only the newest state counts. Raises SinkError as `deliver`."""

    def tell_state(self, message: StateMessage) -> None:
        """Tell a whole message; a sink that shows states alone has `show_state`, which this calls."""
        self.show_state(message.state, message.reason)

    def disconnect(self) -> None:
        """Give back what `connect` took; never raises, and is called once more at the end."""

    def wait_time(self) -> float | None:
        """Seconds after which `idle` wants to be called when nothing else happens; None never."""
        return None

    def idle(self) -> None:
        """Called when nothing has happened for `wait_time`. Raises SinkError to be reconnected."""

    @property
    def overdue(self) -> bool:
        """Whether the event being delivered is older than `max_age`: do not ask again, raise SinkError."""
        with self._changed:
            return self.__queue.overdue

    @property
    def out_of_time(self) -> bool:
        """Whether the time that `close` gave is over: what waits, has to raise SinkError."""
        with self._changed:
            return time.monotonic() >= self.__last_moment()

    # For everyone.

    @property
    def name(self) -> str:
        """What logs call it."""
        return self.__name

    @property
    def started(self) -> bool:
        """Whether `start` was called, and had an effect."""
        with self._changed:
            return self.__thread is not None

    @property
    def running(self) -> bool:
        """Whether its thread runs: after `close`, whether something does not return."""
        thread = self.__thread
        return thread is not None and thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether `close` was called: what waits, should end."""
        return self.__closing

    @property
    def stats(self) -> SinkStats:
        """What became of the events so far."""
        with self._changed:
            queue = self.__queue
            return SinkStats(
                taken=queue.taken,
                delivered=queue.delivered,
                dropped=queue.dropped,
                expired=queue.expired,
                waiting=len(queue),
                retries=self.__tries.count,
                error=self.__tries.error or queue.trouble or self.__stuck(),
            )

    def start(self) -> None:
        """Begin to deliver. Idempotent."""
        with self._changed:
            if self.__thread is None and not self.__closing:
                self.__thread = threading.Thread(
                    target=self.__run, name=f"ecovision-sink-{type(self).__name__}", daemon=True
                )
                self.__thread.start()

    def put(self, event: BinEvent) -> None:
        """Take an event to deliver; never waits."""
        with self._changed:
            self.__queue.put(event, closed=self.__closing)
            self._changed.notify_all()

    def show(self, state: BinState, reason: str = "") -> None:
        """Take what the bin is doing, to be shown; never waits. A newer state takes an older one's place."""
        now = time.time()
        with self._changed:
            if self.__since is None or self.__since[0] is not state:
                self.__since = state, now
            self.__state = StateMessage(
                id=uuid.uuid4().hex,
                state=state,
                reason=reason,
                time=now,
                since=self.__since[1],
                device=self.__device,
            )
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until each event taken is delivered or dropped, `timeout` seconds at most; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.__queue, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Deliver what waits, `timeout` seconds at most, and end. Idempotent.

        What could not be delivered is dropped, unless the sink keeps it for the next start; of a sink that
        was never started, all of it. For a state that cannot be shown it does not wait.
        """
        with self._changed:
            self.__closing = True
            self.__deadline = time.monotonic() + timeout
            self._changed.notify_all()
            thread = self.__thread
            if thread is None:
                self.__queue.drop_rest()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout + 1.0)
            if thread.is_alive():
                _log.warning("%s: its last delivery does not return; it is left", self.__name)

    # The sink's own thread.

    def __run(self) -> None:
        connected = False
        try:
            while True:
                try:
                    with typed(f"{type(self).__name__}.wait_time"):
                        if not self.__wait_for_work():
                            break
                    if not connected:
                        self.__call("connect", self.connect)
                        connected = True
                    self.__work()
                except EcovisionError as e:  # of `deliver` only a SinkError comes as far as this
                    self.__part()
                    connected = False
                    if not self.__tries.failed(e, self.__last_try):
                        break
        finally:
            self.__part()
            with self._changed:
                self.__queue.drop_rest()
                self._changed.notify_all()

    def __call(self, name: str, function: Callable[[], None]) -> None:
        self.__called = time.monotonic()
        try:
            with typed(f"{type(self).__name__}.{name}"):
                function()
        finally:
            self.__called = None

    def __stuck(self) -> str:
        """Say that the other side does not return: a full pipe that nobody reads, or a disk that hangs."""
        called = self.__called
        if called is None or time.monotonic() - called < _STUCK:
            return ""
        return f"a call has not returned for {_STUCK:g} s"

    def __part(self) -> None:
        try:
            self.__call("disconnect", self.disconnect)
        except EcovisionError as e:
            if str(e) != self.__parting:  # once, not with each try
                _log.warning("%s: %s", self.__name, e)
            self.__parting = str(e)

    def __wait_for_work(self) -> bool:
        """False at the end."""
        with self._changed:
            if self.__queue.drop_old():
                self._changed.notify_all()
            if not (self.__queue or self.__state or self.__closing):
                self._changed.wait(self.wait_time())
            if self.__closing and not (self.__queue or self.__state):
                return False
            return not self.out_of_time

    def __last_moment(self) -> float:
        return math.inf if self.__deadline is None else self.__deadline

    def __last_try(self) -> float:
        """Until when it is tried again: to the last moment for events; for a state alone not once closing."""
        return -math.inf if self.__closing and not self.__queue else self.__last_moment()

    def __work(self) -> None:
        with self._changed:
            event, state = self.__queue.take(), self.__state
            self._changed.notify_all()  # connecting may have taken so long that events grew too old
        if state is not None:
            self.__show_one(state)
        if event is not None:
            self.__deliver_one(event)
        if event is None and state is None:
            self.__call("idle", self.idle)
        self.__tries.well()
        self.__tries.begin_anew()

    def __show_one(self, state: StateMessage) -> None:
        try:
            self.__call("show_state", lambda: self.tell_state(state))
        except EcovisionError as e:
            if not isinstance(e, SinkError) or isinstance(e, UnforeseenError):
                self.__shown_one(state)  # it would fail again
            raise
        self.__shown_one(state)

    def __shown_one(self, state: StateMessage) -> None:
        with self._changed:
            if self.__state is state:
                self.__state = None

    def __deliver_one(self, event: BinEvent) -> None:
        try:
            self.__call("deliver", lambda: self.deliver(event))
        except SinkError:
            raise
        except EcovisionError as e:
            self.__done(f"{event.id} can never be delivered, and is lost: {e}")
        else:
            self.__done("")

    def __done(self, lost: str) -> None:
        with self._changed:
            self.__queue.done(lost)
            self._changed.notify_all()
