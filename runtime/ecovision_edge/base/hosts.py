"""Names and numbers of hosts."""

from __future__ import annotations

import ipaddress

__all__ = ["Ip", "bracketed", "ip_of", "is_loopback"]

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def ip_of(host: str) -> Ip | None:
    """`host` as an IP address, without brackets; None where it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether only this machine is meant. Of the names, only `localhost` counts."""
    ip = ip_of(host)
    return host == "localhost" if ip is None else ip.is_loopback


def bracketed(host: str) -> str:
    """`host` as it stands before a port: an IPv6 address in brackets, anything else as it is."""
    return f"[{host}]" if ":" in host else host
