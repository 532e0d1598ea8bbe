"""What hangs at which pin, and how an address says it: `gpio:?servo=18&angles=paper:-60,...`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from ecovision_edge.base.addresses import Options, split_pairs
from ecovision_edge.base.durations import parse_duration
from ecovision_edge.errors import OptionError
from ecovision_edge.pins import LAST_PIN

__all__ = ["GpioOptions", "parse_gpio_options"]


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
        active_low: The lights, or relays in their place, are on at 0 V.
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
    active_low: bool = False
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


def parse_gpio_options(query: str) -> GpioOptions:
    """Return the options of the part of an address behind its question mark.

    Raises:
        OptionError: one is unknown, twice there, or out of range.
    """
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
    detach, active_low = given.flag("detach"), given.flag("active_low")
    max_age = given.text("max_age")
    given.done()
    return GpioOptions(
        servo=servo,
        angles=angles,
        failsafe=None if failsafe is None else unquote(failsafe),
        detach=detach,
        leds={name: int(pin) for name, pin in leds.items()},
        fault_led=fault_led,
        active_low=active_low,
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
