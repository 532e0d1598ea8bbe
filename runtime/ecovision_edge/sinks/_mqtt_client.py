"""The library's MQTT client, which hangs up on a broker that sends what was never asked for.

The library takes whatever comes: messages of topics that nobody subscribed to, packets of 256 MB, which it
holds in memory. A sink subscribes to nothing, and a trigger to one topic, so a broker has little to say.
"""

from __future__ import annotations

from paho.mqtt.client import Client

__all__ = ["GuardedClient", "PacketGuard", "UnaskedError"]

_CONNACK, _PUBLISH, _PUBACK, _SUBACK, _PINGRESP, _DISCONNECT = 2, 3, 4, 9, 13, 14
_NAMES = (
    "0",
    "CONNECT",
    "CONNACK",
    "PUBLISH",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBSCRIBE",
    "SUBACK",
)
_MOST_BYTES = 2**16  # MQTT 5 may add a reason and properties in words


class UnaskedError(Exception):
    """A packet that a broker has no reason to send. No OSError, which the library takes for a lost line."""


class PacketGuard:
    """Looks at the head of each packet that a broker sends, before the rest of it is read."""

    def __init__(self) -> None:
        self._connected = False
        self._unanswered = 0  # messages without an acknowledgement
        self._subscribing = 0  # subscriptions without one
        self._subscribed = False
        self._kind: int | None = None
        self._length = self._shift = 0
        self._body = 0  # bytes that are still to come

    def published(self) -> None:
        """A message was sent, which may be acknowledged once."""
        self._unanswered += 1

    def subscribed(self) -> None:
        """A subscription was sent, which may be acknowledged once; messages may come from now on."""
        self._subscribing += 1
        self._subscribed = True

    def feed(self, data: bytes) -> None:
        """Take the next bytes, however they are cut. Raises UnaskedError."""
        at = 0
        while at < len(data):
            if self._body:
                passed = min(self._body, len(data) - at)
                self._body -= passed
                at += passed
                continue
            self._head(data[at])
            at += 1

    def _head(self, byte: int) -> None:
        if self._kind is None:
            self._kind, self._length, self._shift = byte >> 4, 0, 0
            return
        self._length |= (byte & 0x7F) << self._shift
        self._shift += 7
        if byte < 0x80:
            self._check(self._kind, self._length)
            self._kind, self._body = None, self._length
        elif self._shift > 21:
            raise UnaskedError("a length of more than four bytes")

    def _check(self, kind: int, length: int) -> None:
        if not self._connected:
            asked = kind == _CONNACK
            self._connected = True
        elif kind == _PUBACK:
            asked = self._unanswered > 0
            self._unanswered -= 1
        elif kind == _SUBACK:
            asked = self._subscribing > 0
            self._subscribing -= 1
        elif kind == _PUBLISH:
            asked = self._subscribed
        else:
            asked = kind == _DISCONNECT or (kind == _PINGRESP and length == 0)
        if not asked or length > _MOST_BYTES:
            name = _NAMES[kind] if kind < len(_NAMES) else f"packet {kind}"
            raise UnaskedError(f"{name} of {length} bytes")


class GuardedClient(Client):
    """The library's client, whose reading raises UnaskedError."""

    def guard(self, guard: PacketGuard) -> None:
        """Have this one look at what comes from now on."""
        self._guard = guard

    def _sock_recv(self, bufsize: int) -> bytes:
        data = super()._sock_recv(bufsize)
        self._guard.feed(data)
        return data
