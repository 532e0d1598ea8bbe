"""The clock: whether it is right, as far as the kernel knows."""

from __future__ import annotations

import ctypes
import datetime
import os

from ecovision_edge.doctor.check import Check, fail, ok, warn
from ecovision_edge.doctor.system import System
from ecovision_edge.updates.clock import wrong_clock

__all__ = ["check_clock", "read_max_error"]

SYNCHRONIZED = 16.0
"""Seconds: what systemd's timedatectl takes for synchronized is a maximum error below it (`ntp_synced`)."""

_ENABLE = "run: sudo timedatectl set-ntp true"


def check_clock(system: System, max_error: float | None = None, *, seen: float = 0.0) -> Check:
    """Look at the clock.

    Args:
        system: Tells the time.
        max_error: The kernel's own estimate of how wrong it is at most, seconds; None reads it.
        seen: The latest time that is known to be past, seconds since 1970.
    """
    now = datetime.datetime.fromtimestamp(system.now(), datetime.timezone.utc)
    found = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    wrong = wrong_clock(seen, system.now)
    if wrong is not None:
        return fail("clock", f"{found}: {wrong}", f"set it, or give the board a battery for it; {_ENABLE}")
    if max_error is None:
        try:
            max_error = read_max_error()
        except OSError as e:
            return warn("clock", f"{found}; the kernel does not tell whether it is right: {e}", _ENABLE)
    if max_error >= SYNCHRONIZED:
        tls = "events have wrong times, and certificates may be refused"
        return warn("clock", f"{found}, not synchronized: {tls}", _ENABLE)
    return ok("clock", f"{found}, synchronized to {max_error:.2g} s")


class _Timex(ctypes.Structure):
    """The beginning of `struct timex` of adjtimex(2), and room for the rest of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_long * 32),
    )


def read_max_error() -> float:
    """Ask the kernel how wrong its clock is at most, seconds: adjtimex(2), which changes nothing here.

    Raises:
        OSError: it does not tell.
    """
    library = ctypes.CDLL(None, use_errno=True)
    timex = _Timex()
    try:
        state = library.adjtimex(ctypes.byref(timex))
    except AttributeError as e:  # no Linux
        raise OSError("there is no adjtimex") from e
    if state < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return float(timex.maxerror) / 1e6
