"""A sensor or a button at a pin of a Raspberry Pi, through gpiozero (B. Nuttall et al.)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from ecovision_edge.base.addresses import Options, split_options
from ecovision_edge.base.durations import parse_duration
from ecovision_edge.errors import EcovisionError, MissingDependencyError, OptionError, TriggerError
from ecovision_edge.pins import LAST_PIN
from ecovision_edge.pins.library import check_library, gpio_library
from ecovision_edge.triggers.base import Trigger

__all__ = ["GpioTrigger", "GpioTriggerOptions", "gpio_trigger"]

_log = logging.getLogger("ecovision_edge")

Pull = Literal["up", "down", "none"]
Edge = Literal["rising", "falling"]

_PULLS: dict[Pull, bool | None] = {"up": True, "down": False, "none": None}  # as gpiozero names them
_MOST_BOUNCE = 10.0  # seconds


class _Input(Protocol):
    """What is used of `gpiozero.DigitalInputDevice`."""

    when_activated: object
    when_deactivated: object

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GpioTriggerOptions:
    """What hangs at which pin.

    Args:
        pin: Numbered as gpiozero does (BCM), 0 to 27.
        pull: The resistor at the pin: `down`; `up`, for a button to ground; or `none`, where the sensor
            drives the line itself.
        edge: At which change it fires: `rising`, or `falling`; None is `falling` with `pull="up"`, else
            `rising`.
        bounce: Seconds for which a contact may bounce, 0 to 10.
    """

    pin: int
    pull: Pull = "down"
    edge: Edge | None = None
    bounce: float = 0.02

    def __post_init__(self) -> None:
        """Refuse what is out of range; raises OptionError."""
        if not 0 <= self.pin <= LAST_PIN:
            raise OptionError("pin of a trigger", expected=f"0 to {LAST_PIN}", found=self.pin)
        if self.pull not in _PULLS:
            raise OptionError("pull of a trigger", expected=" or ".join(_PULLS), found=self.pull)
        if self.edge is not None and self.edge not in get_args(Edge):
            raise OptionError("edge of a trigger", expected=" or ".join(get_args(Edge)), found=self.edge)
        if not 0 <= self.bounce <= _MOST_BOUNCE:
            raise OptionError(
                "bounce of a trigger", expected=f"seconds, 0 to {_MOST_BOUNCE:g}", found=self.bounce
            )

    @property
    def rising(self) -> bool:
        """Whether it fires at a rising edge."""
        return (self.edge or ("falling" if self.pull == "up" else "rising")) == "rising"


class GpioTrigger(Trigger):
    """Fires at an edge of the pin, not at the level that it finds at the start."""

    def __init__(self, options: GpioTriggerOptions) -> None:
        super().__init__(f"gpio:{options.pin}")
        self._options = options
        self._input: _Input | None = None

    def claims(self) -> frozenset[str]:
        """Return the pin."""
        return frozenset((f"pin {self._options.pin}",))

    def begin(self) -> None:
        """Take the pin; raises TriggerError if it is in use, MissingDependencyError without gpiozero."""
        o = self._options
        try:
            library = gpio_library()
            self._input = device = library.DigitalInputDevice(
                o.pin,
                pull_up=_PULLS[o.pull],
                active_state=True if o.pull == "none" else None,  # else gpiozero takes it from the resistor
                bounce_time=o.bounce or None,
            )
        except MissingDependencyError:
            raise
        except Exception as e:  # gpiozero and the library under it have errors of their own
            fix = "is this a Raspberry Pi, and no other program at the pin?"
            raise TriggerError(
                f"pin {o.pin} of the trigger cannot be used",
                found=e,
                fix=None if isinstance(e, EcovisionError) else fix,
            ) from e
        if o.rising == (o.pull != "up"):  # with a resistor to the supply, low is active
            device.when_activated = self._fired
        else:
            device.when_deactivated = self._fired
        self._ready()

    def end(self, timeout: float) -> None:
        """Give the pin back."""
        given, self._input = self._input, None
        if given is not None:
            try:
                given.close()
            except Exception as e:  # noqa: BLE001 - gpiozero and the library under it have errors of their own
                _log.warning("trigger %s: its pin was not given back: %s", self.name, e)


def gpio_trigger(address: str) -> GpioTrigger:
    """Return the trigger of `gpio:17?pull=up&edge=falling&bounce=20ms`; see `GpioTriggerOptions`.

    Raises:
        OptionError: no pin, or an option is unknown or out of range.
        MissingDependencyError: gpiozero is not installed.
    """
    place, pairs = split_options(address.partition(":")[2], problem=OptionError)
    if not (place.isascii() and place.isdecimal() and len(place) <= 2):
        raise OptionError("trigger gpio:", expected=f"gpio:PIN, the pin from 0 to {LAST_PIN}", found=address)
    given = Options(f"gpio:{place}", pairs, problem=OptionError)
    pull, edge = given.choice("pull", tuple(_PULLS)), given.choice("edge", get_args(Edge))
    bounce = given.text("bounce")
    given.done()
    options = GpioTriggerOptions(
        pin=int(place),
        pull=next(p for p in _PULLS if p == (pull or "down")),
        edge=None if edge is None else "rising" if edge == "rising" else "falling",
        bounce=GpioTriggerOptions(pin=0).bounce if bounce is None else parse_duration(bounce, "bounce"),
    )
    check_library()
    return GpioTrigger(options)
