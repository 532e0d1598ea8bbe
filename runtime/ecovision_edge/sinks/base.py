"""What a bin gives its events to; and the base of a sink of one's own."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.events import BinEvent, BinState, StateMessage
from ecovision_edge.sinks._retries import typed
from ecovision_edge.sinks.delivery import Delivery, Pace
from ecovision_edge.sinks.runner import SinkRunner
from ecovision_edge.sinks.stats import SinkStats

if TYPE_CHECKING:
    from typing import Self  # of Python 3.11

__all__ = ["Sink", "SinkStats"]


class Sink:
    """Takes events and states, and has them delivered in a thread of its own (`SinkRunner`).

    A sink of one's own is a subclass that says what `deliver`, `connect`, `show_state` and `disconnect` do.
    These run in the sink's own thread alone and may block there. `connect` and `deliver` raise SinkError for
    what may pass: the sink disconnects, waits (capped exponential backoff with jitter), connects, and tries
    the same event again, so events keep their order and each is delivered once where the other side
    acknowledges. An event whose delivery can never succeed raises any other EcovisionError: it is dropped and
    logged.

    Any other exception is taken for a mistake that may pass, as a SinkError is: the event is tried again, and
    the log and `stats.error` say what was raised (the traceback at DEBUG). A state that cannot be shown for
    such a reason is given up, as events wait behind it.

    Args:
        name: What logs call it; without credentials.
        delivery: Does it in place of the subclass's own methods, which then are not called.
        capacity: Events that wait at most; of more the oldest is dropped, counted and logged. At least 1.
        max_age: Seconds above 0: an event that `put` took so long ago is dropped, counted and logged. For a
            sink that acts, which must not act on an item long gone. None never.
        device: What the device calls itself, for `StateMessage`.
        first_delay, most_delay: Of the backoff, seconds.
    """

    def __init__(
        self,
        name: str,
        delivery: Delivery | None = None,
        *,
        capacity: int = 1000,
        max_age: float | None = None,
        device: str = "",
        first_delay: float = 0.5,
        most_delay: float = 30.0,
    ) -> None:
        # Of two underscores, so that no subclass takes a name of its base's by accident.
        self.__delivery = _OwnMethods(self) if delivery is None else delivery
        self.__runner = SinkRunner(
            name,
            self.__delivery,
            capacity=capacity,
            max_age=max_age,
            device=device,
            first_delay=first_delay,
            most_delay=most_delay,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # For a sink of one's own, in the sink's thread.

    def connect(self) -> None:
        """Make ready to deliver; called again after a failure. Raises SinkError."""

    def deliver(self, event: BinEvent) -> None:
        """Deliver one event, and return when it is delivered. Raises SinkError to have it tried again."""
        raise NotImplementedError

    def show_state(self, state: BinState, reason: str) -> None:
        """Show what the bin is doing; only the newest state counts. Raises SinkError as `deliver`."""

    def tell_state(self, message: StateMessage) -> None:
        """Tell a whole message; a sink that shows states alone has `show_state`, which this calls."""
        self.show_state(message.state, message.reason)

    def disconnect(self) -> None:
        """Give back what `connect` took; never raises, and is called once more at the end."""

    def wait_time(self) -> float | None:
        """Return the seconds after which `idle` wants to be called when nothing else happens; None never."""
        return None

    def idle(self) -> None:
        """Called when nothing has happened for `wait_time`. Raises SinkError to be reconnected."""

    @property
    def overdue(self) -> bool:
        """Whether the event being delivered is older than `max_age`: do not ask again, raise SinkError."""
        return self.__runner.overdue

    @property
    def out_of_time(self) -> bool:
        """Whether the time that `close` gave is over: what waits, has to raise SinkError."""
        return self.__runner.out_of_time

    # For everyone.

    @property
    def name(self) -> str:
        """What logs call it."""
        return self.__runner.name

    @property
    def started(self) -> bool:
        """Whether `start` was called, and had an effect."""
        return self.__runner.started

    @property
    def running(self) -> bool:
        """Whether its thread runs: after `close`, whether something does not return."""
        return self.__runner.running

    @property
    def stopping(self) -> bool:
        """Whether `close` was called: what waits, should end."""
        return self.__runner.stopping

    @property
    def stats(self) -> SinkStats:
        """What became of the events so far."""
        return self.__runner.stats

    def check_event(self, event: BinEvent) -> None:
        """Refuse an event that can never be delivered, whatever the other side does; connects to nothing.

        Asked for each name before the start, on any thread. Raises OptionError.
        """
        self.__delivery.check_event(event)

    def claims(self) -> frozenset[str]:
        """Return what no other sink may use beside it, in words that are the same for the same thing."""
        return self.__delivery.claims()

    def start(self) -> None:
        """Begin to deliver. Idempotent."""
        self.__runner.start()

    def put(self, event: BinEvent) -> None:
        """Take an event to deliver; never waits."""
        self.__runner.put(event)

    def show(self, state: BinState, reason: str = "") -> None:
        """Take what the bin is doing, to be shown; never waits. A newer state takes an older one's place."""
        self.__runner.show(state, reason)

    def announce(self, bundle: BundleIdentity | None) -> None:
        """Take which bundle decides from now on, for the messages of states; never waits.

        None is a lone model file. A state that was shown is told again, with it.
        """
        self.__runner.announce(bundle)

    def flush(self, timeout: float) -> bool:
        """Wait until each event taken is delivered or dropped, `timeout` seconds at most; whether it is."""
        return self.__runner.flush(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Deliver what waits, `timeout` seconds at most, and end. Idempotent.

        What could not be delivered is dropped, unless the sink keeps it for the next start; of a sink that
        was never started, all of it. For a state that cannot be shown it does not wait.
        """
        self.__runner.close(timeout)


class _OwnMethods(Delivery):
    """The methods of a sink of one's own as a delivery; mistakes in them are told by their own names."""

    def __init__(self, sink: Sink) -> None:
        self._sink, self._kind = sink, type(sink).__name__

    def open(self, pace: Pace) -> None:
        with typed(f"{self._kind}.connect"):
            self._sink.connect()

    def deliver(self, event: BinEvent) -> None:
        with typed(f"{self._kind}.deliver"):
            self._sink.deliver(event)

    def tell(self, message: StateMessage) -> None:
        with typed(f"{self._kind}.show_state"):
            self._sink.tell_state(message)

    def close(self) -> None:
        with typed(f"{self._kind}.disconnect"):
            self._sink.disconnect()

    def wait_time(self) -> float | None:
        with typed(f"{self._kind}.wait_time"):
            return self._sink.wait_time()

    def idle(self) -> None:
        with typed(f"{self._kind}.idle"):
            self._sink.idle()
