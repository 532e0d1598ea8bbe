"""Which `/dev/gpiochip*` has the pins of the header; the kernel numbers them as it likes."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from types import ModuleType

from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import PinError

__all__ = ["HEADERS", "find_header"]

HEADERS = ("pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835")
"""Labels of the chip whose lines 0 to 27 are GPIO0 to GPIO27: of a Pi 5, a Pi 4, and all before."""

_DEVICES = Path("/dev")


def find_header(gpiod: ModuleType, devices: Path = _DEVICES) -> Path:
    """Return the device of the chip that has the header's pins.

    Args:
        gpiod: The library.
        devices: Where its devices are.

    Raises:
        PinError: there is none, or it may not be opened; names each chip that was found, and what to do.
    """
    found: list[str] = []
    refused: Path | None = None
    chips = (p for p in devices.glob("gpiochip*") if re.fullmatch(r"gpiochip\d+", p.name))
    for path in sorted(chips, key=lambda p: int(p.name.removeprefix("gpiochip"))):
        try:
            with gpiod.Chip(str(path)) as chip:
                label = chip.get_info().label
        except OSError as e:
            if e.errno in (errno.EACCES, errno.EPERM):
                refused = refused or path
            found.append(f"{path} ({reason_of(e)})")
            continue
        if label in HEADERS:
            return path
        found.append(f"{path} ({label})")
    if refused is not None:
        raise PinError(
            f"{refused} may not be opened",
            found=", ".join(found),
            fix="run: sudo usermod -aG gpio $USER, and log in again",
        )
    raise PinError(
        "no chip has the pins of a Raspberry Pi's header",
        expected=f"/dev/gpiochip0 or another that is labelled {', '.join(HEADERS)}",
        found=", ".join(found) or f"no {devices}/gpiochip*",
        fix="is this a Raspberry Pi, and its /dev given to this container or service?",
    )
