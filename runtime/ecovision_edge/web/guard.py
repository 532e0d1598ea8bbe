"""Who may ask for the page, and by what name."""

from __future__ import annotations

import hashlib
import hmac
import re
import socket

from ecovision_edge.base.hosts import bracketed, host_and_port, ip_of
from ecovision_edge.errors import OptionError
from ecovision_edge.web.address import Address

__all__ = ["HEADERS", "Guard", "check_access"]

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "ecovision-edge",
}
"""Sent with every answer."""

_TOKEN = re.compile(r"[!-~]{16,256}")
_HTTP_PORT = 80
_FORM = "16 to 256 printable ASCII characters without spaces"
_MAKE = 'python3 -c "import secrets; print(secrets.token_urlsafe())"'


def check_access(address: Address, token: str | None, insecure: bool) -> None:
    """Refuse an address that others can reach, unless there is a token or that is wanted.

    Raises:
        OptionError: it is refused, or the token is no good one; the token is not in the message.
    """
    if token is not None and not _TOKEN.fullmatch(token):
        raise OptionError(
            "token of the page (--http-token)",
            expected=_FORM,
            found=f"{len(token)} characters",
            fix=f"make one with: {_MAKE}",
        )
    if not (address.loopback or insecure or token is not None):
        raise OptionError(
            f"{address} would show the camera to the whole network, without a token",
            fix=f"give --http-token, or better ECOVISION_EDGE_HTTP_TOKEN, {_FORM}, as this makes "
            f"them: {_MAKE}; or serve at 127.0.0.1, or say --http-insecure",
        )


class Guard:
    """Judges the Host header, the token and the cookie of a request.

    A web site can let its own name point to 127.0.0.1 and so have a visitor's browser read this page (DNS
    rebinding). The browser then sends that name as Host, so only names that are this machine's are answered.

    Args:
        address: Where the page is served.
        port: The port in the end, where that of `address` is 0.
        token: What must be shown; None lets everybody in.
        hostname: This machine's name; None asks the system.
    """

    def __init__(
        self, address: Address, port: int, token: str | None = None, *, hostname: str | None = None
    ) -> None:
        self._address, self._port = address, port
        self._token = None if token is None else token.encode()
        name = (socket.gethostname() if hostname is None else hostname).lower()
        self._names = {"localhost"}
        if not address.loopback:
            self._names |= {address.host, name, f"{name.removesuffix('.local')}.local"}
        # The cookie is not the token itself: who reads a phone's cookies need not learn it.
        key = self._token or b""
        self.cookie_name = f"ecovision-edge-{port}"
        """Cookies are shared by the ports of a host, so it has the port in it."""
        self.cookie_value = hmac.new(key, b"ecovision-edge page cookie", hashlib.sha256).hexdigest()
        """What the cookie must hold; the same after a restart with the same token."""

    @property
    def open(self) -> bool:
        """Whether no token is asked for."""
        return self._token is None

    def host_ok(self, headers: list[str]) -> bool:
        """Return whether a request with these Host headers is meant for this page."""
        found = host_and_port(headers[0]) if len(headers) == 1 else None
        if found is None or "%" in found[0] or not found[0].isascii():  # a browser sends no such host
            return False
        host, port = found[0].lower().removesuffix("."), found[1]
        if self._address.loopback and (_HTTP_PORT if port is None else port) != self._port:
            return False  # elsewhere the port may be a forwarded one
        if (ip := ip_of(host)) is None:
            return host in self._names
        # An address cannot be rebound. What listens at one address alone is not asked for by another one.
        own = self._address.ip
        return ip.is_loopback or own is None or own.is_unspecified or ip == own

    @property
    def wrong_host(self) -> str:
        """What is said to a request that is not meant for this page, in one line."""
        if not self._address.loopback:
            return "this page is not served under that name; ask for it by its IP address"
        said = "this page is not served under that name and port; ask for it by its IP address"
        tunnel = f"ssh -L {self._port}:{bracketed(self._address.host)}:{self._port} HOST"
        return f"{said}, and through a tunnel with the same port at both ends: {tunnel}"

    def bearer_ok(self, authorization: str) -> bool:
        """Return whether an Authorization header has the token."""
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and self.token_ok(token.strip())

    def token_ok(self, token: str) -> bool:
        """Return whether it is the token; how long that takes does not tell how much of it is right."""
        return self._token is not None and hmac.compare_digest(token.encode(errors="replace"), self._token)

    def cookie_ok(self, value: str) -> bool:
        """Return whether it is the cookie that the token is exchanged for."""
        return hmac.compare_digest(value.encode(errors="replace"), self.cookie_value.encode())
