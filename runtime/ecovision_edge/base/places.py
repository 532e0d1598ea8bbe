"""Addresses of servers taken apart; no password is ever in one, for anyone can read arguments."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ecovision_edge.base.addresses import may_be_credentials
from ecovision_edge.base.hosts import bracketed
from ecovision_edge.errors import OptionError

__all__ = ["Place", "split_broker", "split_place"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address leads.

    Args:
        scheme: In lower case.
        host: Name or number, an IPv6 address without its brackets.
        port: Given, or None.
        user: Percent-decoded, or None; no password is ever here.
        path: What was written, from its `/` on; may be empty.
        query: What was written, without its `?`; may be empty.
    """

    scheme: str
    host: str
    port: int | None
    user: str | None
    path: str
    query: str

    @property
    def shown(self) -> str:
        """Scheme, host and port: all that may be shown, for a path can hold a secret."""
        return f"{self.scheme}://{bracketed(self.host)}" + (f":{self.port}" if self.port is not None else "")


def split_place(address: str, what: str, fix: str) -> Place:
    """Take an address apart.

    Args:
        address: `scheme://[user@]host[:port][/path][?query]`.
        what: What messages call it.
        fix: What an address with a password is told to do instead.

    Raises:
        OptionError: not an address, or one with a password; no message shows what may be a password.
    """
    problem = f"address of {what}"
    try:
        parts = urlsplit(address)
        port, host, user, password = parts.port, parts.hostname, parts.username, parts.password
    except ValueError:
        parts, port, host, user, password = urlsplit("//-"), None, None, None, None
    # With an unencoded /, # or ? in a password, its end and the host are in what looks like path or query.
    before, at, _ = address.partition("://")[2].rpartition("@")
    hidden = user is None and bool(at) and ("@" in address.partition("?")[0] or may_be_credentials(before))
    if password is not None or hidden:
        raise OptionError(problem, expected="no password in it, and %40 for an @", found="one", fix=fix)
    if not host or not host.isascii() or not host.isprintable() or " " in host:
        raise OptionError(problem, expected="SCHEME://HOST[:PORT]/..., the port from 1 to 65535")
    if port == 0:
        raise OptionError(problem, expected="a port from 1 to 65535", found=0)
    return Place(parts.scheme, host, port, None if user is None else unquote(user), parts.path, parts.query)


def split_broker(address: str) -> Place:
    """Take `mqtt://[USER@]HOST[:PORT]/TOPIC/PREFIX?name=value&...` apart; raises as `split_place`."""
    return split_place(
        address,
        "a broker",
        "other users can read a command line: use ECOVISION_EDGE_MQTT_PASSWORD or ?password_file=PATH",
    )
