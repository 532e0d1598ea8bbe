"""Events, and states, to a web address, signed."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
import time
from datetime import timezone
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from ecovision_edge.base.hosts import is_loopback
from ecovision_edge.base.places import split_place
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.base.version import __version__
from ecovision_edge.errors import OptionError, SinkError
from ecovision_edge.events import BinEvent, StateMessage
from ecovision_edge.sinks._http import HttpClient
from ecovision_edge.sinks._payload import event_bytes
from ecovision_edge.sinks.base import Sink
from ecovision_edge.sinks.delivery import Delivery, Pace

__all__ = ["WebhookDelivery", "WebhookSink", "server_context", "sign"]

_AGAIN = frozenset({408, 425, 429})  # may pass, as 500 and more do (RFC 9110; 425 RFC 8470, 429 RFC 6585)
_PLAIN = " !#$&'()*+,/:;<=>?@[]^`{|}"  # beside letters and digits, as they are in a header
_MOST_WAIT = 300.0  # seconds that a server may ask us to wait
_MOST_WORDS = 100  # characters of a server's own that a message repeats


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of `X-Ecovision-Signature`: `sha256=` and the HMAC-SHA256 (RFC 2104) in hexadecimal.

    Signed are the timestamp, a full stop, and the body, so that neither can be changed, and an old request is
    known for one by its time.
    """
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"


class WebhookSink(Sink):
    """POSTs each event as JSON.

    Beside it go `Idempotency-Key` (the event's id: a server that has seen it answers as before, so a repeated
    request does no harm), `X-Ecovision-Timestamp` (seconds since 1970) and, with a secret, the signature of
    both (`sign`). A 2xx answer is a delivery; 408, 425, 429 and 5xx, and no answer, are tried again, after
    `Retry-After` where it is given; anything else, redirects too, never succeeds, and the event is dropped.

    Args:
        url: `https://host/path`; `http://` of other hosts than this one wants `insecure`.
        secret: Signs; None does not.
        timeout: For one event, from connecting to the answer's end, seconds above 0.
        insecure: Allow `http://` beyond this machine, where everyone on the way can read and change it.
        ca: A file of certificates to trust in place of the system's.
        states: POST each state too (`StateMessage`); of those that come while the server is away, the newest.
        device: What the device calls itself, for states.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str | None = None,
        timeout: float = 5.0,
        insecure: bool = False,
        ca: str | None = None,
        states: bool = False,
        device: str = "",
    ) -> None:
        place = split_place(url, "a webhook", "sign with a secret instead")
        if place.scheme not in ("http", "https"):
            raise OptionError("address of a webhook", expected="https://HOST/PATH", found=place.scheme)
        if place.scheme == "http" and not insecure and not is_loopback(place.host):
            raise OptionError(
                "address of a webhook",
                expected="https://",
                found="http:// to another machine",
                fix="use https://, or insecure=1 where the network is trusted",
            )
        target = (place.path or "/") + (f"?{place.query}" if place.query else "")
        if not (target.isascii() and target.isprintable()) or " " in target:
            raise OptionError(
                "address of a webhook", expected="a path of ASCII, all else as %XX", found=ascii(target[:60])
            )
        client = HttpClient(place.host, place.port, server_context(ca) if place.scheme == "https" else None)
        self._delivery = WebhookDelivery(
            place.shown, client, target, secret=secret, timeout=timeout, states=states
        )
        super().__init__(place.shown, self._delivery, device=device)  # a path may be a secret, as many are


class WebhookDelivery(Delivery):
    """POSTs to one address.

    Args:
        name: What messages call it.
        client: Speaks to its server.
        target: Path and query.
        secret, timeout, states: As those of `WebhookSink`.
    """

    def __init__(
        self, name: str, client: HttpClient, target: str, *, secret: str | None, timeout: float, states: bool
    ) -> None:
        self._name, self._client, self._target = name, client, target
        self._secret, self._timeout, self._states = secret, timeout, states
        self._pace: Pace | None = None
        self._not_before = 0.0

    def open(self, pace: Pace) -> None:
        """Connect to nothing: the first POST does."""
        self._pace = pace

    def deliver(self, event: BinEvent) -> None:
        """POST the event; raises as `Delivery` says."""
        self._send(event)

    def tell(self, message: StateMessage) -> None:
        """POST the state, if that was asked for; raises as `deliver`."""
        if self._states:
            self._send(message)

    def _send(self, message: BinEvent | StateMessage) -> None:
        self._wait_as_asked()
        body = event_bytes(message)
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"ecovision-edge/{__version__}",
            "Idempotency-Key": quote(message.id, safe=_PLAIN, errors="replace"),
            "X-Ecovision-Timestamp": timestamp,
        }
        if self._secret is not None:
            headers["X-Ecovision-Signature"] = sign(self._secret, timestamp, body)
        try:
            answer = self._client.post(self._target, body, headers, self._timeout)
        except (OSError, http.client.HTTPException, ValueError) as e:
            raise SinkError(f"{self._name} cannot be reached", found=_words(e)) from e
        if 200 <= answer.status < 300:
            return
        found = f"{answer.status} {answer.reason[:_MOST_WORDS]}"
        if answer.status in _AGAIN or answer.status >= 500:
            self._not_before = time.monotonic() + _asked_wait(answer.getheader("Retry-After", ""))
            raise SinkError(f"{self._name} did not take an event", found=found)
        raise OptionError(
            f"{self._name} refuses an event", expected="2xx", found=found, fix="check its address"
        )

    def _wait_as_asked(self) -> None:
        pace = self._pace
        if pace is not None:
            pace.wait(self._not_before - time.monotonic(), lambda: pace.stopping)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def server_context(ca: str | None) -> ssl.SSLContext:
    """Return what verifies a server by the system's certificates, or by a file's. Raises OptionError."""
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as e:
        raise OptionError("ca", expected="a file of certificates (PEM)", found=str(e)) from e


def _asked_wait(value: str) -> float:
    """Read the seconds of a `Retry-After`: a number, or a date (RFC 9110, 10.2.3); 0 for anything else."""
    if value.isascii() and value.isdecimal():
        return min(float(value[:9]), _MOST_WAIT)
    try:
        when = parsedate_to_datetime(value[:_MOST_WORDS])
        when = when if when.tzinfo is not None else when.replace(tzinfo=timezone.utc)
        return min(max(0.0, when.timestamp() - time.time()), _MOST_WAIT)
    except (ValueError, OverflowError):  # a time zone beyond all bounds
        return 0.0


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    return reason_of(error)
