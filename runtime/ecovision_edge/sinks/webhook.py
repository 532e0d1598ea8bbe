"""Events to a web address, signed."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

from ecovision_edge._version import __version__
from ecovision_edge.errors import OptionError, SinkError
from ecovision_edge.events import BinEvent
from ecovision_edge.sinks.base import Sink

__all__ = ["WebhookSink", "read_secret", "sign"]

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})  # may pass (RFC 9110; 425 RFC 8470, 429 RFC 6585)
_MOST_WAIT = 300.0  # seconds that a server may ask us to wait


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The value of `X-Ecovision-Signature`: `sha256=` and the HMAC-SHA256 (RFC 2104) in hexadecimal.

    Signed are the timestamp, a full stop, and the body, so that neither can be changed, and an old request is
    known for one by its time.
    """
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"


def read_secret(path: str) -> str:
    """The first line of a file.

    Raises:
        OptionError: it cannot be read, or is empty.
    """
    try:
        secret = Path(path).read_text("utf-8").splitlines()
    except (OSError, ValueError) as e:
        found = e.strerror if isinstance(e, OSError) else str(e)
        raise OptionError(f"secret_file {path}", expected="a file with the secret", found=found) from e
    if not secret or not secret[0]:
        raise OptionError(f"secret_file {path}", expected="a file with the secret", found="an empty line")
    return secret[0]


class WebhookSink(Sink):
    """POSTs each event as JSON.

    Beside it go `Idempotency-Key` (the event's id: a server that has seen it answers as before, so a repeated
    request does no harm), `X-Ecovision-Timestamp` (seconds since 1970) and, with a secret, the signature of
    both (`sign`). A 2xx answer is a delivery; 408, 425, 429 and 5xx, and no answer, are tried again, after
    `Retry-After` where it is given; anything else, redirects too, never succeeds, and the event is dropped.

    Args:
        url: `https://host/path`; `http://` of other hosts than this one wants `insecure`.
        secret: Signs; None does not.
        timeout: For connecting, and for the answer, seconds above 0.
        insecure: Allow `http://` beyond this machine, where everyone on the way can read and change it.
        ca: A file of certificates to trust in place of the system's.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str | None = None,
        timeout: float = 5.0,
        insecure: bool = False,
        ca: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as e:
            raise OptionError("address of a webhook", expected="a port from 1 to 65535", found=str(e)) from e
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OptionError("address of a webhook", expected="https://HOST/PATH", found=parts.scheme)
        if parts.scheme == "http" and not insecure and not _here(parts.hostname):
            raise OptionError(
                "address of a webhook",
                expected="https://",
                found="http:// to another machine",
                fix="use https://, or insecure=1 where the network is trusted",
            )
        super().__init__(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")
        self._host, self._port, self._secret, self._timeout = parts.hostname, port, secret, timeout
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._tls = self._context(ca) if parts.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None
        self._not_before = 0.0

    def deliver(self, event: BinEvent) -> None:
        """POST the event; raises as `Sink.deliver`."""
        while (left := self._not_before - time.monotonic()) > 0 and not self.stopping:
            time.sleep(min(left, 0.2))
        body = event.dumps().encode()
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"ecovision-edge/{__version__}",
            "Idempotency-Key": event.id,
            "X-Ecovision-Timestamp": timestamp,
        }
        if self._secret is not None:
            headers["X-Ecovision-Signature"] = sign(self._secret, timestamp, body)
        try:
            connection = self._connection = self._connection or self._connect()
            connection.request("POST", self._target, body, headers)
            answer = connection.getresponse()
            answer.read(2**20)
        except (OSError, http.client.HTTPException) as e:
            raise SinkError(f"{self.name} cannot be reached", found=str(e) or type(e).__name__) from e
        if 200 <= answer.status < 300:
            return
        found = f"{answer.status} {answer.reason}"
        if answer.status in _AGAIN:
            wait = answer.getheader("Retry-After", "")
            if wait.isascii() and wait.isdecimal():
                self._not_before = time.monotonic() + min(float(wait), _MOST_WAIT)
            raise SinkError(f"{self.name} did not take an event", found=found)
        raise OptionError(
            f"{self.name} refuses an event", expected="2xx", found=found, fix="check its address"
        )

    def disconnect(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)

    @staticmethod
    def _context(ca: str | None) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=ca)
        except OSError as e:
            raise OptionError("ca", expected="a file of certificates (PEM)", found=str(e)) from e


def _here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
