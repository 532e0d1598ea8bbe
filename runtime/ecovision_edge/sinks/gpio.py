"""Events to a servo and to LEDs at the pins of a Raspberry Pi, through gpiozero (B. Nuttall et al.).

The servo stands at its fail-safe angle unless it serves an event: from the start, after each event, in a
fault, and at the end. Pins are driven by this process: if it is killed, a servo keeps its last position,
without force where lgpio made its pulses, with force where the kernel does, which goes on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Protocol

from ecovision_edge.errors import EcovisionError, OptionError, SinkError
from ecovision_edge.events import BinEvent, BinState, StateMessage
from ecovision_edge.pins.library import check_library, gpio_library
from ecovision_edge.pins.servos import Servo, check_pulses, open_servo
from ecovision_edge.sinks._gpio_options import GpioOptions, parse_gpio_options
from ecovision_edge.sinks.base import Sink
from ecovision_edge.sinks.delivery import Delivery, Pace

__all__ = ["GpioDelivery", "GpioOptions", "GpioSink", "Led", "Servo", "gpio_sink"]


class Led(Protocol):
    """What is used of `gpiozero.LED`."""

    def on(self) -> None:
        """Light."""

    def off(self) -> None:
        """No light."""

    def close(self) -> None:
        """Give the pin back."""


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
        o = self._options
        try:
            library = gpio_library()
            if o.servo is not None:
                self._servo = self._take_servo()
            for name, pin in o.leds.items():
                self._taken.append(led := library.LED(pin, active_high=not o.active_low))
                self._leds[name] = led
            if o.fault_led is not None:
                self._fault_led = library.LED(
                    o.fault_led, active_high=not o.active_low, initial_value=pace.state is BinState.FAULT
                )
                self._taken.append(self._fault_led)
        except Exception as e:  # gpiozero and the library under it have errors of their own
            fix = None if isinstance(e, EcovisionError) else "is this a Raspberry Pi, and no pin in use?"
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
        assert o.servo is not None
        servo = open_servo(
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
    options = parse_gpio_options(query)
    for name in bins:
        if name not in options.angles and name not in options.leds:
            raise OptionError(f"bin {name}", expected="an angle or a LED for it", found="neither")
    for name in (*options.angles, *options.leds):
        if name not in bins:
            raise OptionError("bin in gpio:", expected=f"one of {', '.join(bins)}", found=name)
    check_library()
    if options.servo is not None:
        check_pulses(options.servo)
    return GpioSink(options)
