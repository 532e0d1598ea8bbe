"""A servo by whatever makes pulses here: gpiozero on lgpio, or the kernel's own PWM."""

from __future__ import annotations

from typing import Protocol

from ecovision_edge.errors import MissingDependencyError
from ecovision_edge.pins.library import gpio_library, has_pulses, pulses_fix
from ecovision_edge.pins.pulses import HardwareServo, find_channel

__all__ = ["Servo", "check_pulses", "open_servo"]


class Servo(Protocol):
    """What is used of `gpiozero.AngularServo`."""

    angle: float | None

    def detach(self) -> None:
        """No more pulses."""

    def close(self) -> None:
        """Give the pin back."""


def check_pulses(pin: int) -> None:
    """See that something here can make a servo's pulses at a pin; nothing is sent.

    Raises:
        MissingDependencyError: nothing can; the message has what to install on this system.
    """
    if not has_pulses() and find_channel(pin) is None:
        raise MissingDependencyError(
            f"nothing here can make a servo's pulses at pin {pin}",
            expected="lgpio, or the kernel's PWM at that pin",
            found="neither",
            fix=pulses_fix(),
        )


def open_servo(
    pin: int,
    *,
    initial_angle: float,
    min_angle: float,
    max_angle: float,
    min_pulse_width: float,
    max_pulse_width: float,
) -> Servo:
    """Return the servo at a pin, which goes to its initial angle; the arguments of `gpiozero.AngularServo`.

    Raises:
        MissingDependencyError: as `check_pulses`.
        PinError: the kernel's PWM refuses. Errors of gpiozero and of what is under it are their own.
    """
    channel = None if has_pulses() else find_channel(pin)
    if channel is not None:
        return HardwareServo(
            *channel,
            initial_angle=initial_angle,
            min_angle=min_angle,
            max_angle=max_angle,
            min_pulse_width=min_pulse_width,
            max_pulse_width=max_pulse_width,
        )
    check_pulses(pin)
    servo: Servo = gpio_library().AngularServo(
        pin,
        initial_angle=initial_angle,
        min_angle=min_angle,
        max_angle=max_angle,
        min_pulse_width=min_pulse_width,
        max_pulse_width=max_pulse_width,
    )
    return servo
