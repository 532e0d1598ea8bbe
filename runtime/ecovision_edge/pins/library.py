"""What drives the pins here: gpiozero, on lgpio where it is there, else on the kernel's interface."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from ecovision_edge.base.extras import require
from ecovision_edge.base.installation import extra_fix
from ecovision_edge.errors import MissingDependencyError

__all__ = ["check_library", "gpio_library", "has_pulses", "pulses_fix"]

_NO_LGPIO_WHEEL = (3, 13)  # lgpio 0.2.2.0 has wheels for Arm up to Python 3.12
_SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")


def gpio_library() -> ModuleType:
    """Return gpiozero, which is given a way to the pins where it would find none by itself.

    A factory that the program has set, and `GPIOZERO_PIN_FACTORY`, are left as they are.

    Raises:
        MissingDependencyError: gpiozero, or both lgpio and gpiod, are not installed.
        PinError: the chip of the header is not there, or may not be opened.
    """
    gpiozero = require("gpiozero", "gpio")
    check_library()
    if gpiozero.Device.pin_factory is None and not has_pulses():
        from ecovision_edge.pins.gpiod_factory import GpiodFactory

        gpiozero.Device.pin_factory = GpiodFactory()
    return gpiozero


def check_library() -> None:
    """See that what drives the pins is installed; the pins themselves are left alone.

    Raises:
        MissingDependencyError: as `gpio_library`.
    """
    if require("gpiozero", "gpio").Device.pin_factory is None and not has_pulses() and not _is_there("gpiod"):
        fix = extra_fix("gpio")
        raise MissingDependencyError("gpio: needs gpiod or lgpio, neither is installed", fix=fix)


def has_pulses() -> bool:
    """Return whether gpiozero makes a servo's pulses: by lgpio, or by what the program or the user chose."""
    factory = require("gpiozero", "gpio").Device.pin_factory
    if factory is not None:
        return type(factory).__module__ != "ecovision_edge.pins.gpiod_factory"
    return "GPIOZERO_PIN_FACTORY" in os.environ or _is_there("lgpio")


def pulses_fix(version: tuple[int, int] = sys.version_info[:2], packages: Path = _SYSTEM_PACKAGES) -> str:
    """Return what makes a servo's pulses possible on this system and Python.

    Args:
        version: Of Python.
        packages: Where Debian has the packages of its own Python.
    """
    overlay = "or the kernel's pulses at pin 12, 13, 18 or 19: dtoverlay=pwm-2chan in config.txt"
    if version < _NO_LGPIO_WHEEL:
        return f"{extra_fix('gpio')}, {overlay}"
    if packages.is_dir():
        return (
            "run: sudo apt-get install python3-lgpio, and make the virtual environment with "
            f"--system-site-packages; {overlay}"
        )
    python = f"{version[0]}.{version[1]}"
    return f"lgpio has no wheel for Python {python}: build it (swig), take Python 3.12, {overlay}"


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
