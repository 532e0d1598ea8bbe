"""Servers: whether their name is known, whether they listen, and whether they are who they should be."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import time

from ecovision_edge.base.connecting import connect, time_left
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.doctor.check import Check, fail, ok, warn

__all__ = ["CONNECT_LIMIT", "check_server", "fault_of"]

CONNECT_LIMIT = 8.0
"""Seconds for connecting and the handshake."""

SOON = 14.0
"""Days before its end at which a certificate is told."""


def check_server(
    name: str, host: str, port: int, tls: ssl.SSLContext | None, *, now: float, limit: float = CONNECT_LIMIT
) -> Check:
    """Resolve the name, connect, shake hands if TLS is asked for, and hang up; nothing is sent.

    Args:
        name: What the line is called.
        host: Name or number.
        port: Of the server.
        tls: What verifies it; None speaks in the clear.
        now: Time, seconds since 1970, against which the certificate's end is held.
        limit: Seconds for all but the resolver, which has a time of its own.
    """
    began = time.monotonic()
    until = began + limit
    try:
        with contextlib.closing(connect(host, port, until)) as plain:
            peer, took = plain.getpeername()[0], time.monotonic() - began
            found = f"reachable, {peer} port {port}, connected in {took * 1000:.0f} ms"
            if tls is None:
                return ok(name, found)
            plain.settimeout(time_left(until))
            with _shake_hands(plain, tls, host) as secure:
                return _certificate(name, f"{found}, {secure.version()}", secure, now)
    except (OSError, ValueError) as e:
        return fail(name, *fault_of(e, port, limit))


def _shake_hands(plain: socket.socket, tls: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """Return the connection with TLS. Raises OSError; SSLError where the server hangs up on a handshake."""
    try:
        return tls.wrap_socket(plain, server_hostname=host)
    except ConnectionError as e:
        raise ssl.SSLError(str(e.errno), f"it hung up: {reason_of(e)}") from e


def _certificate(name: str, found: str, secure: ssl.SSLSocket, now: float) -> Check:
    told = secure.getpeercert() or {}
    end = told.get("notAfter")
    if not isinstance(end, str):
        return ok(name, found)
    seconds = ssl.cert_time_to_seconds(end)
    day = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    found = f"{found}, certificate until {day:%Y-%m-%d}"
    if seconds - now < SOON * 86_400:
        return warn(
            name, found, "have the server's certificate renewed, before nothing is delivered any more"
        )
    return ok(name, found)


def fault_of(error: Exception, port: int | None, limit: float) -> tuple[str, str]:
    """Return in words why a server could not be reached, and what to do."""
    at = "" if port is None else f" at port {port}"
    if isinstance(error, socket.gaierror):
        advice = "look at the address, the network and the name server; names in .local need avahi-daemon"
        return f"its name is not known: {reason_of(error)}", advice
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = (
            "its authority has to be trusted here (a sink has ca=FILE); a clock that is wrong does this too"
        )
        return f"its certificate is refused: {error.verify_message}", advice
    if isinstance(error, TimeoutError):
        advice = "look at address and port, at a firewall between, and whether the server is on"
        return f"no answer{at} within {limit:g} s", advice
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens{at}", "start the server there, or give its right port"
    if isinstance(error, ssl.SSLError):
        return f"no TLS{at}: {reason_of(error)}", "look at the port: TLS is often at another one (8883, 443)"
    return f"cannot be reached{at}: {reason_of(error)}", "look at cable, WLAN and route: ip route"
