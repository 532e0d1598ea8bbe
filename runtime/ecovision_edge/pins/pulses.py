"""A servo on the kernel's own PWM (`/sys/class/pwm`), whose pulses a counter in the hardware makes.

Their width does not depend on how busy the processor is, which that of a program's pulses (lgpio's are a
thread's) does. Four pins of the header can have it, two of them at once before the Pi 5, and only if
`config.txt` gives them the function: `dtoverlay=pwm-2chan` is 18 and 19; with `pin=12,func=4,pin2=13,func2=4`
it is 12 and 13.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from ecovision_edge.base.files import try_lock
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import PinError

__all__ = ["HardwareServo", "find_channel"]

PERIOD_NS = 20_000_000  # a servo's frame, 20 ms

_CHANNELS = {
    "1f00098000.pwm": {12: 0, 13: 1, 18: 2, 19: 3},  # RP1 of a Pi 5
    "20c000.pwm": {12: 0, 18: 0, 13: 1, 19: 1},  # BCM2835 to 2711, whatever their bus begins with
}
"""By the end of the device's name: the channel of each pin."""

_CLASS = Path("/sys/class/pwm")
_GRANT_S = 2.0  # for udev to give a new channel's files to the group


def find_channel(pin: int, pwm: Path = _CLASS) -> tuple[Path, int] | None:
    """Return the chip and the channel that can make pulses at a pin; None if there is none.

    Args:
        pin: Numbered as gpiozero does (BCM).
        pwm: Where the kernel shows its chips.
    """
    for chip in sorted(pwm.glob("pwmchip*")):
        device = os.path.realpath(chip / "device")
        for name, channels in _CHANNELS.items():
            if device.endswith(name) and pin in channels:
                return chip, channels[pin]
    return None


class HardwareServo:
    """A servo as `gpiozero.AngularServo` is one: `angle`, `detach`, `close`.

    Args:
        chip: As `find_channel` gives it.
        channel: Likewise.
        initial_angle: Where it goes at once, degrees; None sends no pulses.
        min_angle, max_angle: The servo's range, degrees.
        min_pulse_width, max_pulse_width: Pulses at the ends of the range, seconds.
        wait: Sleeps so many seconds.

    Raises:
        PinError: the kernel refuses, or another process has the channel.
    """

    def __init__(
        self,
        chip: Path,
        channel: int,
        *,
        initial_angle: float | None,
        min_angle: float,
        max_angle: float,
        min_pulse_width: float,
        max_pulse_width: float,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._folder = chip / f"pwm{channel}"
        self._low, self._range = min_angle, max_angle - min_angle
        self._shortest, self._more = min_pulse_width, max_pulse_width - min_pulse_width
        self._angle: float | None = None
        self._lock = -1
        try:
            if not self._folder.is_dir():
                (chip / "export").write_text(str(channel))
            self._lock = self._take(wait)
            # The kernel refuses a period below the pulse that was; and before 6.11, as long as a new channel
            # has no period, everything but one.
            for name in ("enable", "duty_cycle"):
                with contextlib.suppress(OSError):
                    (self._folder / name).write_text("0")
            self._write("period", PERIOD_NS)
            self._write("enable", 0)
            self.angle = initial_angle
        except OSError as e:
            self._release()
            if isinstance(e, PinError):
                raise
            raise self._error(e) from e

    @property
    def angle(self) -> float | None:
        """Where it is told to stand, degrees; None if no pulses are sent."""
        return self._angle

    @angle.setter
    def angle(self, value: float | None) -> None:
        if value is not None:
            width = self._shortest + self._more * (value - self._low) / self._range
            self._write("duty_cycle", round(width * 1e9))
        self._write("enable", int(value is not None))
        self._angle = value

    def detach(self) -> None:
        """Send no more pulses."""
        self.angle = None

    def close(self) -> None:
        """Send no more pulses and let the channel go. Idempotent.

        Raises:
            PinError: the kernel refuses; it may be asked again.
        """
        if self._lock >= 0:
            self.detach()
            self._release()

    def _take(self, wait: Callable[[float], object]) -> int:
        """Lock the channel against another process of ours; the lock ends with the process."""
        deadline = time.monotonic() + _GRANT_S
        while True:
            try:
                descriptor = os.open(self._folder / "duty_cycle", os.O_RDWR | os.O_CLOEXEC)
                break
            except PermissionError:
                if time.monotonic() >= deadline:
                    raise
                wait(0.05)
        if not try_lock(descriptor):
            os.close(descriptor)
            raise PinError(f"{self._folder} is held by another process", fix="end it, or take another pin")
        return descriptor

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _write(self, name: str, value: int) -> None:
        try:
            (self._folder / name).write_text(str(value))
        except OSError as e:
            raise self._error(e) from e

    def _error(self, error: OSError) -> PinError:
        fixes = {
            errno.EACCES: "run: sudo usermod -aG gpio $USER, and log in again",
            errno.EPERM: "run: sudo usermod -aG gpio $USER, and log in again",
            errno.EROFS: "let it write below /sys: a service by `ecovision-edge install-service` again",
        }
        found, fix = reason_of(error), fixes.get(error.errno or 0)
        return PinError(f"{self._folder} cannot be used", found=found, fix=fix)
