"""Names and numbers of hosts."""

from __future__ import annotations

import ipaddress
import re

__all__ = ["Ip", "bracketed", "host_and_port", "ip_of", "is_loopback"]

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST_AND_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^\[\]:@\s]+))(?::([0-9]{1,5}))?")


def ip_of(host: str) -> Ip | None:
    """Return `host` as an IP address, without brackets; None where it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Return whether only this machine is meant. Of the names, only `localhost` counts."""
    ip = ip_of(host)
    return host == "localhost" if ip is None else ip.is_loopback


def bracketed(host: str) -> str:
    """Return `host` as it stands before a port: an IPv6 address in brackets, anything else as it is."""
    return f"[{host}]" if ":" in host else host


def host_and_port(text: str) -> tuple[str, int | None] | None:
    """Split `HOST`, `HOST:PORT` or `[IPV6]:PORT`.

    Returns:
        The host without brackets, and the port, 0 to 65535, or None; None for any other text.
    """
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None:
        return None
    six, name, digits = match.groups()
    port = None if digits is None else int(digits)
    if (port or 0) > 65535 or (six is not None and ip_of(six) is None):
        return None
    return six or name, port
