"""Events to a board on a serial line, with the protocol of `_line` and its guarantee.

Each event has a number, and one event is under way at a time. It is sent again, with its number, until it is
acknowledged; the receiver records a number before it acts, and acknowledges a recorded one without acting.
So:

- Lost, doubled or spoilt lines, and a device that is unplugged and comes back: each event is acted on once.
- The receiver restarts: it wants a hello first, and answers it with the last number it recorded. If that
  is the event under way, only its acknowledgement was lost; otherwise it is sent again. Once, as long as the
  receiver's record outlives its start (the reference sketch keeps it in EEPROM, and an Arduino that starts
  again whenever its port is opened does no harm). An action that a loss of power interrupts is not begun
  again. A receiver without such memory may act twice on the one event under way; never on an acknowledged
  one, whose number the hello brings.
- The device is away, or busy, for longer than `max_age`: what waited so long is dropped, since its item may
  be gone. What is in the line by then cannot be called back.
- The sender restarts: it draws a new session, by which the receiver knows that number 1 is no repetition.
  What its queue held is gone, so nothing is acted on twice, and what was under way at most once.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol
from urllib.parse import unquote

from ecovision_edge.base.addresses import Options, split_options
from ecovision_edge.base.durations import parse_duration
from ecovision_edge.base.files import one_name
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import EcovisionError, MissingDependencyError, OptionError, SinkError
from ecovision_edge.events import BinEvent, StateMessage
from ecovision_edge.sinks._line import LINE_VERSION, Line, LineReader, encode_line, event_words
from ecovision_edge.sinks.base import Sink
from ecovision_edge.sinks.delivery import Delivery, Pace

__all__ = ["Port", "SerialDelivery", "SerialOptions", "SerialSink", "open_port", "serial_sink"]

_POLL = 0.05  # seconds that a read waits: so soon is the end of the sink seen
_BUSY_WAIT = 0.1


class Port(Protocol):
    """What is used of `serial.Serial`."""

    @property
    def in_waiting(self) -> int:
        """Bytes that can be read at once."""

    def read(self, size: int = 1) -> bytes:
        """Up to so many bytes, fewer after a timeout."""

    def write(self, b: bytes, /) -> int | None:
        """Send."""

    def reset_input_buffer(self) -> None:
        """Forget what came."""

    def close(self) -> None:
        """Give the device back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialOptions:
    """Times in seconds.

    Args:
        baud: Bits per second, 300 to 4,000,000.
        timeout: Time for an answer before the line is sent again; above 0, at most 10.
        attempts: Failed attempts before the device is reopened; 1 to 100.
        hello_within: Time from opening to the first answer: a board may start only then. 0 to 60.
        busy_within: Time after which a busy receiver is no longer believed; above 0, at most 600.
        max_age: Time after which a waiting event is dropped: its item may be gone. Above 0; None for never.
        heartbeat: Time between two states told; above 0, at most 4, since the receiver waits 5.
    """

    baud: int = 115_200
    timeout: float = 0.5
    attempts: int = 6
    hello_within: float = 6.0
    busy_within: float = 60.0
    heartbeat: float = 1.0
    max_age: float | None = 10.0

    def __post_init__(self) -> None:
        """Refuse what is out of range.

        Raises:
            OptionError: the option, its range, and what was given.
        """
        for name, low, most in (("baud", 300, 4_000_000), ("attempts", 1, 100)):
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= most:
                raise OptionError(name, expected=f"a whole number from {low} to {most}", found=repr(value))
        limits = {"timeout": 10.0, "hello_within": 60.0, "busy_within": 600.0, "heartbeat": 4.0}
        for name, limit in limits.items():
            if not 0 < getattr(self, name) <= limit:
                raise OptionError(
                    name, expected=f"seconds above 0, at most {limit:g}", found=repr(getattr(self, name))
                )


class SerialSink(Sink):
    """Tells a board on a serial line of each event, once; the device may come and go.

    An event that the receiver refuses (no such bin, a fault) is dropped and logged, since to ask again would
    not help.

    Args:
        device: `/dev/ttyACM0`, or better one of `/dev/serial/by-id/`, which stays the same.
        options: Times and counts.
        opener: Opens the device; for tests. Raises OSError.
        session: 32 bits that tell this sender from others; drawn if not given.
    """

    def __init__(
        self,
        device: str,
        options: SerialOptions | None = None,
        *,
        opener: Callable[[str, int], Port] | None = None,
        session: int | None = None,
    ) -> None:
        options = options or SerialOptions()
        self._delivery = SerialDelivery(device, options, opener=opener, session=session)
        # Somebody may have it in his hand: short waits, and the device is back within seconds.
        super().__init__(
            f"serial {device}", self._delivery, max_age=options.max_age, first_delay=0.2, most_delay=5.0
        )


class SerialDelivery(Delivery):
    """Speaks to the board; arguments as those of `SerialSink`."""

    def __init__(
        self,
        device: str,
        options: SerialOptions,
        *,
        opener: Callable[[str, int], Port] | None = None,
        session: int | None = None,
    ) -> None:
        self._device, self._options, self._opener = device, options, opener or open_port
        self._session = secrets.randbits(32) if session is None else session
        self._pace: Pace | None = None
        self._port: Port | None = None
        self._reader = LineReader("<")
        self._number = self._beat = 0
        # Not from 0: a late answer to whoever had the line before must not look like the first one to us.
        # All that comes after a true answer to a hello is meant for us.
        self._hello = self._session & 0xFFFF
        self._under_way: str | None = None  # the event that has `_number`
        self._acknowledged: int | None = None
        self._recorded: int | None = None  # by the receiver, as it said in its hello
        self._shown = "-"

    def check_event(self, event: BinEvent) -> None:
        """Refuse a bin whose name is too long for a line."""
        event_words(event)

    def claims(self) -> frozenset[str]:
        """Return the device, by whatever link."""
        return frozenset((f"serial line {one_name(self._device)}",))

    def open(self, pace: Pace) -> None:
        """Open the device, say hello, and tell the state. Raises SinkError."""
        self._pace = pace
        with self._failures():
            self._port = self._opener(self._device, self._options.baud)
            self._port.reset_input_buffer()
        self._reader = LineReader("<")
        self._greet()
        self._tell(self._shown)

    def deliver(self, event: BinEvent) -> None:
        """Return when the event is acknowledged.

        Raises:
            SinkError: no answer, or no device: to be tried again.
            OptionError: the receiver refuses it.
        """
        words = event_words(event)
        if self._under_way != event.id:
            self._under_way, self._number, self._recorded = event.id, (self._number + 1) & 0xFFFF, None
        until = time.monotonic() + self._options.busy_within
        while self._recorded != self._number:
            answer = self._ask(Line(">", self._number, "EVENT", words))
            if answer.kind == "ACK":
                break
            reason = answer.words[1] if len(answer.words) > 1 else "no reason"
            if reason == "hello":
                self._greet()
                self._tell(self._shown)
            elif reason != "busy":
                raise OptionError(
                    f"event {event.id}", expected="one that the receiver takes", found=f"its answer: {reason}"
                )
            elif time.monotonic() >= until:
                raise SinkError(f"{self._device} is busy for {self._options.busy_within:g} s")
            else:
                self._pause()
        self._acknowledged, self._recorded = self._number, None

    def tell(self, message: StateMessage) -> None:
        """Tell the state. Raises SinkError."""
        self._shown = str(message.state)
        self._tell(self._shown)

    def wait_time(self) -> float:
        """Connect at once; then a heartbeat now and then."""
        return 0.0 if self._port is None else self._options.heartbeat

    def idle(self) -> None:
        """Tell the state again: the receiver rests if it hears nothing. Raises SinkError."""
        self._tell(self._shown)

    def close(self) -> None:
        """Give the device back."""
        port, self._port = self._port, None
        if port is not None:
            with contextlib.suppress(*_port_errors()):
                port.close()

    def _greet(self) -> None:
        self._hello = (self._hello + 1) & 0xFFFF
        last = "-" if self._acknowledged is None else f"{self._acknowledged:04X}"
        words = (str(LINE_VERSION), f"{self._session:08X}", last)
        attempts = max(1, round(self._options.hello_within / self._options.timeout))
        answer = self._ask(Line(">", self._hello, "HELLO", words), attempts)
        if answer.kind != "ACK" or len(answer.words) != 3:
            raise SinkError(
                f"hello of {self._device}", expected=f"version {LINE_VERSION}", found=" ".join(answer.words)
            )
        try:
            self._recorded = None if answer.words[2] == "-" else int(answer.words[2], 16)
        except ValueError:
            raise SinkError(
                f"hello of {self._device}", expected="a last number", found=answer.words[2]
            ) from None

    def _tell(self, state: str) -> None:
        self._beat = (self._beat + 1) & 0xFFFF
        answer = self._ask(Line(">", self._beat, "STATE", (state,)))
        if answer.words[1:] == ("hello",):  # it has restarted
            self._greet()
            self._ask(Line(">", self._beat, "STATE", (state,)))

    def _ask(self, line: Line, attempts: int | None = None) -> Line:
        """Return the answer to a line, which is sent until there is one. Raises SinkError."""
        data = encode_line(line)
        with self._failures():
            for _ in range(attempts or self._options.attempts):
                assert self._port is not None
                assert self._pace is not None
                if line.kind == "EVENT" and self._pace.overdue:
                    raise SinkError(f"{self._device} has not taken an event in time")
                self._port.write(data)
                until = time.monotonic() + self._options.timeout
                while time.monotonic() < until:
                    if self._pace.out_of_time:
                        raise SinkError(f"no answer of {self._device} before the end")
                    for answer in self._reader.feed(self._port.read(self._port.in_waiting or 1)):
                        if answer.number == line.number and answer.words[:1] == (line.kind,):
                            return answer
        raise SinkError(
            f"{self._device} does not answer", fix="is the sketch on it, and the baud rate its own?"
        )

    def _pause(self) -> None:
        if self._pace is not None and self._pace.out_of_time:
            raise SinkError(f"{self._device} is busy to the end")
        time.sleep(_BUSY_WAIT)

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except EcovisionError:
            raise
        except _port_errors() as e:
            raise SinkError(f"{self._device} cannot be used", found=reason_of(e)) from e


def _port_errors() -> tuple[type[Exception], ...]:
    """List what pyserial raises over a device that is gone: not all of it is its own."""
    try:
        import termios
    except ImportError:  # not POSIX
        return OSError, ValueError, TypeError
    return OSError, ValueError, TypeError, termios.error


def _library() -> ModuleType:
    try:
        import serial  # type: ignore[import-untyped,unused-ignore]
    except ImportError as e:
        from ecovision_edge.base.installation import extra_fix

        raise MissingDependencyError(
            "serial:// needs pyserial, which is not installed", fix=extra_fix("serial")
        ) from e
    module: ModuleType = serial
    return module


def open_port(device: str, baud: int) -> Port:
    """Return the device, for us alone.

    Raises:
        MissingDependencyError: pyserial is not installed.
        OSError: no such device, or not to be opened; or ValueError or termios.error, as pyserial has it.
    """
    port: Port = _library().Serial(device, baud, timeout=_POLL, write_timeout=1.0, exclusive=True)
    return port


def serial_sink(address: str) -> SerialSink:
    """Return the sink of `serial:///dev/ttyACM0?baud=115200`; the path is percent-encoded where it has to be.

    Options: `baud` (115200), `timeout` (0.5 s) and `max_age` (10s; 0 never) as in `SerialOptions`. The device
    need not be there yet.

    Raises:
        OptionError: no device is named, or an option is unknown or out of range.
        MissingDependencyError: pyserial is not installed.
    """
    rest, scheme = address.removeprefix("serial://"), address.startswith("serial://")
    path, pairs = split_options(rest, problem=OptionError)
    options = Options("serial://", pairs, problem=OptionError)
    baud, timeout = options.integer("baud", 300, 4_000_000), options.number("timeout", 0, 10)
    max_age = options.text("max_age")
    options.done()
    device = unquote(path)
    if not scheme or not device or "\0" in device or "?" in path:
        raise OptionError(
            "address of a serial line", expected="serial:///dev/ttyACM0?baud=115200", found=address
        )
    _library()
    base = SerialOptions()
    return SerialSink(
        device,
        SerialOptions(
            baud=baud or base.baud,
            timeout=timeout or base.timeout,
            max_age=base.max_age if max_age is None else parse_duration(max_age, "max_age") or None,
        ),
    )
