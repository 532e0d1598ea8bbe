"""Events to a servo and to LEDs at the pins of a Raspberry Pi, through gpiozero (B. Nuttall et al.).

The servo stands at its fail-safe angle unless it serves an event: from the start, after each event, in a
fault, and at the end. Pins are driven by this process: if it is killed, a servo keeps its last position
without force.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Protocol
from urllib.parse import unquote

from ecovision_edge.base.addresses import Options, split_pairs
from ecovision_edge.base.durations import parse_duration
from ecovision_edge.errors import MissingDependencyError, OptionError, SinkError
from ecovision_edge.events import BinEvent, BinState, StateMessage
from ecovision_edge.sinks.base import Sink
from ecovision_edge.sinks.delivery import Delivery, Pace

__all__ = ["GpioDelivery", "GpioOptions", "GpioSink", "Led", "Servo", "gpio_library", "gpio_sink"]

LAST_PIN = 27  # of the 40-pin header


class Led(Protocol):
    """What is used of `gpiozero.LED`."""

    def on(self) -> None:
        """Light."""

    def off(self) -> None:
        """No light."""

    def close(self) -> None:
        """Give the pin back."""


class Servo(Protocol):
    """What is used of `gpiozero.AngularServo`."""

    angle: float | None

    def detach(self) -> None:
        """No more pulses."""

    def close(self) -> None:
        """Give the pin back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpioOptions:
    """What hangs at which pin. Pins are numbered as gpiozero does (BCM), 0 to 27, each used once.

    Args:
        servo: Its pin; None if there are LEDs alone.
        angles: Of each bin, degrees, `min_angle` to `max_angle`.
        failsafe: The bin whose angle is the fail-safe position; needed with a servo.
        hold: Seconds at a bin, from the arrival; 0 to 60.
        travel: Seconds that the servo has for a turn; 0 to 1.
        detach: Send no pulses once it stands: no jitter, and no force.
        min_angle, max_angle: The servo's range, degrees, at most 360 apart.
        min_pulse, max_pulse: Pulses at the ends of the range, ms, 0.1 to 5.
        leds: Of each bin, the pin of a light that is on while the bin is served.
        fault_led: The pin of a light that is on in a fault.
        max_age: Seconds, above 0, after which a waiting event is dropped: its item may be gone. None for
            never.
    """

    servo: int | None = None
    angles: Mapping[str, float] = field(default_factory=dict)
    failsafe: str | None = None
    hold: float = 2.0
    travel: float = 0.6
    detach: bool = False
    min_angle: float = -90.0
    max_angle: float = 90.0
    min_pulse: float = 1.0
    max_pulse: float = 2.0
    leds: Mapping[str, int] = field(default_factory=dict)
    fault_led: int | None = None
    max_age: float | None = 10.0

    def __post_init__(self) -> None:
        """Refuse what is out of range or contradicts itself.

        Raises:
            OptionError: the option, what was expected, and what was given.
        """
        for name, low, most in (
            ("hold", 0, 60),
            ("travel", 0, 1),
            ("min_pulse", 0.1, 5),
            ("max_pulse", 0.1, 5),
        ):
            if not low <= getattr(self, name) <= most:
                raise OptionError(name, expected=f"{low} to {most}", found=getattr(self, name))
        if not self.min_pulse < self.max_pulse:
            raise OptionError(
                "max_pulse", expected=f"above min_pulse, {self.min_pulse:g} ms", found=self.max_pulse
            )
        if not 0 < self.max_angle - self.min_angle <= 360:
            raise OptionError(
                "max_angle", expected="above min_angle, at most 360 degrees", found=self.max_angle
            )
        for name, angle in self.angles.items():
            if not self.min_angle <= angle <= self.max_angle:
                raise OptionError(
                    f"angle of {name}",
                    expected=f"{self.min_angle:g} to {self.max_angle:g} degrees",
                    found=angle,
                )
        if (self.servo is None) != (not self.angles):
            raise OptionError("servo and angles", expected="both or neither", found="one of them")
        if self.servo is None and not self.leds:
            raise OptionError("gpio:", expected="a servo with angles, or leds", found="neither")
        if self.servo is not None and self.failsafe not in self.angles:
            raise OptionError(
                "failsafe", expected=f"one of {', '.join(self.angles)}", found=self.failsafe or "nothing"
            )
        self._check_pins()

    def _check_pins(self) -> None:
        used: dict[int, str] = {}
        named = {"servo": self.servo, "fault_led": self.fault_led}
        for name, pin in (*named.items(), *((f"led of {name}", pin) for name, pin in self.leds.items())):
            if pin is None:
                continue
            if not 0 <= pin <= LAST_PIN:
                raise OptionError(f"pin of {name}", expected=f"0 to {LAST_PIN}", found=pin)
            if pin in used:
                raise OptionError(
                    f"pin of {name}", expected="one of its own", found=f"{pin}, that of {used[pin]}"
                )
            used[pin] = name


class GpioSink(Sink):
    """Turns a servo to the event's bin, lights its LED, holds, and goes back to the fail-safe angle.

    All in the sink's own thread: an event that comes meanwhile waits its turn. In a fault, and while the bin
    starts, what is being served ends at once, and events are dropped and logged: their items go into the
    fail-safe bin.

    Args:
        options: What hangs where.
        wait: Waits so many seconds, less if the condition becomes true; for tests.
    """

    def __init__(
        self, options: GpioOptions, *, wait: Callable[[float, Callable[[], bool]], None] | None = None
    ) -> None:
        self._delivery = GpioDelivery(options, wait=wait)
        super().__init__("gpio", self._delivery, max_age=options.max_age)


class GpioDelivery(Delivery):
    """Drives the pins; arguments as those of `GpioSink`."""

    def __init__(
        self, options: GpioOptions, *, wait: Callable[[float, Callable[[], bool]], None] | None = None
    ) -> None:
        self._options, self._waiter = options, wait
        self._pace: Pace | None = None
        self._servo: Servo | None = None
        self._leds: dict[str, Led] = {}
        self._fault_led: Led | None = None
        self._taken: list[Led | Servo] = []  # every device that is not closed yet
        self._connected = False

    def check_event(self, event: BinEvent) -> None:
        """Refuse a bin for which nothing hangs at a pin."""
        if event.bin not in self._options.angles and event.bin not in self._options.leds:
            raise OptionError("bin", expected="one with an angle or a LED", found=event.bin)

    def claims(self) -> frozenset[str]:
        """Return the pins."""
        o = self._options
        pins = (o.servo, o.fault_led, *o.leds.values())
        return frozenset(f"pin {pin}" for pin in pins if pin is not None)

    def open(self, pace: Pace) -> None:
        """Take the pins; the servo goes to its fail-safe angle, before anything else. Raises SinkError."""
        self._pace = pace
        o, library = self._options, gpio_library()
        try:
            if o.servo is not None:
                self._servo = self._take_servo()
            for name, pin in o.leds.items():
                self._taken.append(led := library.LED(pin))
                self._leds[name] = led
            if o.fault_led is not None:
                self._fault_led = library.LED(o.fault_led, initial_value=pace.state is BinState.FAULT)
                self._taken.append(self._fault_led)
        except Exception as e:  # gpiozero and the library under it have errors of their own
            fix = "is this a Raspberry Pi, and no pin in use?"
            raise SinkError("the pins cannot be used", found=e, fix=fix) from e
        self._connected = True
        self._settle()

    def deliver(self, event: BinEvent) -> None:
        """Return when the bin was served and the servo is back.

        Raises:
            OptionError: nothing hangs at a pin for the event's bin, or the state is starting or fault.
        """
        self.check_event(event)
        angle, led = self._options.angles.get(event.bin), self._leds.get(event.bin)
        if self._blind:
            raise OptionError(f"state at event {event.id}", expected="no fault", found=str(self._state))
        if led is not None:
            led.on()
        if angle is not None:
            self._turn(angle)
        self._wait(self._options.hold, self._ends)
        if led is not None:
            led.off()
        self._turn(self._safe_angle)

    def tell(self, message: StateMessage) -> None:
        """Light the LED of a fault, or not."""
        if self._fault_led is not None:
            (self._fault_led.on if message.state is BinState.FAULT else self._fault_led.off)()

    def wait_time(self) -> float | None:
        """Connect at once, so that the servo stands right before the first event."""
        return None if self._connected else 0.0

    def close(self) -> None:
        """Go to the fail-safe angle, wait for the turn, and give the pins back.

        Each device is closed, whatever the others raise; what cannot be closed now is the next time. A servo
        that cannot be turned back is opened again at its fail-safe angle.

        Raises:
            SinkError: what went wrong first.
        """
        servo, self._servo = self._servo, None
        problems = [] if servo is None else _raised(functools.partial(self._turn_back, servo))
        lost = bool(problems)
        self._leds, self._fault_led, self._connected = {}, None, False
        problems += self._give_back()
        if lost:
            problems += _raised(self._open_at_home)
            problems += self._give_back()
        if problems:
            raise SinkError("the pins did not do as they were told", found=problems[0]) from problems[0]

    @property
    def _state(self) -> BinState | None:
        """What the bin is doing now; one in which nothing is seen ends what is being served at once."""
        return None if self._pace is None else self._pace.state

    @property
    def _blind(self) -> bool:
        state = self._state
        return state is not None and not state.ready

    @property
    def _safe_angle(self) -> float:
        assert self._options.failsafe is not None or self._options.servo is None
        return self._options.angles.get(self._options.failsafe or "", 0.0)

    def _take_servo(self) -> Servo:
        """Return the servo, which goes to its fail-safe angle."""
        o = self._options
        servo: Servo = gpio_library().AngularServo(
            o.servo,
            initial_angle=self._safe_angle,
            min_angle=o.min_angle,
            max_angle=o.max_angle,
            min_pulse_width=o.min_pulse / 1000,
            max_pulse_width=o.max_pulse / 1000,
        )
        self._taken.append(servo)
        return servo

    def _turn_back(self, servo: Servo) -> None:
        if servo.angle != self._safe_angle or not self._connected:
            servo.angle = self._safe_angle
            self._wait(self._options.travel, lambda: False)

    def _open_at_home(self) -> None:
        self._take_servo()
        self._wait(self._options.travel, lambda: False)

    def _give_back(self) -> list[Exception]:
        """Close every device on its own; those that raise are kept. What they raised."""
        left, problems = [], []
        for device in self._taken:
            if raised := _raised(device.close):
                left.append(device)
                problems += raised
        self._taken = left
        return problems

    def _turn(self, angle: float) -> None:
        if self._servo is not None and self._servo.angle != angle:
            self._servo.angle = angle
            self._settle()

    def _settle(self) -> None:
        if self._servo is not None:
            back = self._servo.angle == self._safe_angle
            self._wait(self._options.travel, (lambda: False) if back else self._ends)
            if self._options.detach:
                self._servo.detach()

    def _ends(self) -> bool:
        """Return whether what is served has to end: in time for the servo to go back before the end."""
        return self._blind or (self._pace is not None and self._pace.time_left <= self._options.travel)

    def _wait(self, seconds: float, until: Callable[[], bool]) -> None:
        if self._waiter is not None:
            self._waiter(seconds, until)
        elif self._pace is not None:
            self._pace.wait(seconds, until)


def _raised(function: Callable[[], object]) -> list[Exception]:
    """Return what a function raises, or nothing."""
    try:
        function()
    except Exception as e:  # noqa: BLE001 - gpiozero and the library under it have errors of their own
        return [e]
    return []


def gpio_library() -> ModuleType:
    """gpiozero; raises MissingDependencyError where it is not installed."""
    try:
        import gpiozero  # type: ignore[import-untyped,unused-ignore]
    except ImportError as e:
        from ecovision_edge.base.installation import extra_fix

        raise MissingDependencyError(
            "gpio: needs gpiozero, which is not installed", fix=extra_fix("gpio")
        ) from e
    module: ModuleType = gpiozero
    return module


def gpio_sink(address: str, bins: Sequence[str]) -> GpioSink:
    """Make the sink of `gpio:?servo=18&angles=paper:-60,glass:0&failsafe=glass&hold=2s&leds=paper:5`.

    Options are those of `GpioOptions`, and `detach=1`; pulses in ms, `hold`, `travel` and `max_age` (0 never)
    as durations. Names are percent-encoded where they hold one of `,&%`.

    Args:
        address: As above.
        bins: Every bin that an event may name; each needs an angle or a LED, and no other may have one.

    Raises:
        OptionError: an option is unknown, out of range or missing, with the bin that lacks something.
        MissingDependencyError: gpiozero is not installed.
    """
    head, _, query = address.partition("?")
    if head.rstrip("/") != "gpio:":
        raise OptionError("address of pins", expected="gpio:?servo=18&angles=...", found=address)
    options = _options(query)
    for name in bins:
        if name not in options.angles and name not in options.leds:
            raise OptionError(f"bin {name}", expected="an angle or a LED for it", found="neither")
    for name in (*options.angles, *options.leds):
        if name not in bins:
            raise OptionError("bin in gpio:", expected=f"one of {', '.join(bins)}", found=name)
    gpio_library()
    return GpioSink(options)


def _options(query: str) -> GpioOptions:
    # Not decoded: a name may hold what separates names.
    pairs = split_pairs(query, decode=False, problem=OptionError)
    given, base = Options("gpio:", pairs, problem=OptionError), GpioOptions(leds={"": 0})
    failsafe = given.text("failsafe")

    def number(name: str, default: float, low: float, most: float) -> float:
        value = given.number(name, low, most)
        return default if value is None else value

    def seconds(name: str, default: float) -> float:
        text = given.text(name)
        return default if text is None else parse_duration(text, name)

    options = {
        "min_angle": number("min_angle", base.min_angle, -361, 360),
        "max_angle": number("max_angle", base.max_angle, -361, 360),
        "min_pulse": number("min_pulse", base.min_pulse, 0, 5),
        "max_pulse": number("max_pulse", base.max_pulse, 0, 5),
        "hold": seconds("hold", base.hold),
        "travel": seconds("travel", base.travel),
    }
    servo, fault_led = given.integer("servo", 0, LAST_PIN), given.integer("fault_led", 0, LAST_PIN)
    angles, leds = _table("angles", given.text("angles"), _angle), _table("leds", given.text("leds"), _pin)
    detach, max_age = given.flag("detach"), given.text("max_age")
    given.done()
    return GpioOptions(
        servo=servo,
        angles=angles,
        failsafe=None if failsafe is None else unquote(failsafe),
        detach=detach,
        leds={name: int(pin) for name, pin in leds.items()},
        fault_led=fault_led,
        min_angle=options["min_angle"],
        max_angle=options["max_angle"],
        min_pulse=options["min_pulse"],
        max_pulse=options["max_pulse"],
        hold=options["hold"],
        travel=options["travel"],
        max_age=base.max_age if max_age is None else parse_duration(max_age, "max_age") or None,
    )


def _table(option: str, text: str | None, value: Callable[[str], float | None]) -> dict[str, float]:
    table: dict[str, float] = {}
    for part in text.split(",") if text else ():
        name, _, after = part.rpartition(":")
        name, number = unquote(name), value(after)
        if not name or name in table or number is None:
            raise OptionError(f"option {option} of gpio:", expected="bin:number, each bin once", found=part)
        table[name] = number
    return table


def _angle(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _pin(text: str) -> float | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 2 else None
