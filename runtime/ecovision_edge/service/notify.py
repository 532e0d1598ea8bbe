"""What a service tells systemd while it runs; source: the manual page sd_notify(3)."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping

__all__ = ["sd_notify", "watchdog_interval"]


def sd_notify(state: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Tell systemd `READY=1`, `WATCHDOG=1`, `STATUS=...` or `STOPPING=1`; several, a line each.

    Never waits long and never raises: whoever is not a service goes on without.

    Returns:
        Whether it was told; False if the process is no service of `Type=notify`.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@") or len(address) < 2:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # a name in the abstract namespace
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(1.0)
            sender.sendto(state.encode("utf-8", "replace"), address)
    except (OSError, ValueError):
        return False
    return True


def watchdog_interval(environment: Mapping[str, str] = os.environ, pid: int | None = None) -> float | None:
    """Return the seconds between two `WATCHDOG=1`: half of systemd's, as sd_watchdog_enabled(3) advises.

    Args:
        environment: Where systemd says so.
        pid: Process that is asked for; this one if not given.

    Returns:
        None if this process is not watched.
    """
    watched = environment.get("WATCHDOG_PID", "")
    if watched and watched != str(os.getpid() if pid is None else pid):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not re.fullmatch(r"[0-9]{1,20}", microseconds) or int(microseconds) == 0:
        return None
    return int(microseconds) / 2e6
