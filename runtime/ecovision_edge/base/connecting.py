"""Connecting to a host within a limit of time that covers all its addresses."""

from __future__ import annotations

import socket
import time

__all__ = ["connect", "time_left"]


def connect(host: str, port: int, until: float) -> socket.socket:
    """Return a connection to the first of the host's addresses that takes one.

    Args:
        host: Name or number.
        port: Of the server.
        until: Time of `time.monotonic()` after which to give up; only the resolver of names has a time of its
            own.

    Raises:
        OSError: none of them does.
    """
    problem: OSError | None = None
    for family, kind, protocol, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connected = socket.socket(family, kind, protocol)
        try:
            connected.settimeout(time_left(until))
            connected.connect(place)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.settimeout(time_left(until))  # for the handshake
        except OSError as e:
            connected.close()
            problem = problem or e
        else:
            return connected
    raise problem or OSError(f"{host} has no address")


def time_left(until: float) -> float:
    """Return the seconds until then. Raises TimeoutError if there are none."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
