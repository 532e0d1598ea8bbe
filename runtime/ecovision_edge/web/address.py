"""Where the page is served: reading `HOST:PORT`, and taking that port."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import dataclass

from ecovision_edge.base.hosts import Ip, bracketed, host_and_port, ip_of, is_loopback
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import OptionError, ServeError

__all__ = ["Address", "bind"]

_NAME = re.compile("[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen at.

    Args:
        host: A name, or an IP address without brackets.
        port: 0 to 65535; 0 is any free one.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `HOST:PORT`, an IPv6 address in brackets.

        Raises:
            OptionError: it is something else.
        """
        host, port = host_and_port(text) or ("", None)
        if port is None or (ip_of(host) is None and not _NAME.fullmatch(host)):
            raise OptionError(
                "address of the page", expected="HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080", found=text
            )
        return cls(host.lower(), port)

    @property
    def ip(self) -> Ip | None:
        """The host as an IP address; None where it is a name."""
        return ip_of(self.host)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can ask there. Of the names, only `localhost` counts."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


def bind(address: Address) -> socket.socket:
    """Open a socket that listens at `address`; the caller closes it.

    Raises:
        ServeError: the port is taken, or the address does not belong to this machine.
    """
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # One socket: of a name with both kinds of address, its IPv4 one.
        family, kind, protocol, _, where = min(found, key=lambda info: info[0] != socket.AF_INET)
        if address.loopback and not ipaddress.ip_address(str(where[0])).is_loopback:
            raise ServeError("localhost is not this machine", found=where[0], fix="listen at 127.0.0.1")
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(where)
            listening.listen(64)
            listening.setblocking(False)
        except BaseException:
            listening.close()
            raise
    except (OSError, UnicodeError) as e:
        if isinstance(e, ServeError):
            raise
        reason = reason_of(e)
        taken = isinstance(e, OSError) and e.errno is not None and os.strerror(e.errno) == reason
        raise ServeError(
            f"cannot serve the page at {address}",
            found=reason,
            fix="choose another port, or 0 for any free one"
            if taken
            else "choose an address of this machine",
        ) from e
    return listening
