"""Bounds the connections: so many at once, and none on which nothing happens."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ecovision_edge.web.limits import Limits

__all__ = ["Connections", "Door", "Peer", "hold_little_back"]

_UNSENT_BYTES = 64 * 1024  # what the kernel takes ahead of what is on its way


@dataclass(slots=True, eq=False)
class Peer:
    """One connection.

    Args:
        transport: Its transport.
        since: When something last happened on it, seconds of the event loop's clock.
        busy: Requests that are being answered: 0 or 1.
        waiting: Bytes that wait to be sent, as last seen.
    """

    transport: asyncio.Transport
    since: float
    busy: int = 0
    waiting: int = 0


class Connections:
    """The open connections of a server; for its event loop's thread alone."""

    def __init__(self, limits: Limits) -> None:
        """None are open yet."""
        self._limits = limits
        self._peers: dict[asyncio.Transport, Peer] = {}
        self.every_s = min(1.0, limits.slow_s / 4, limits.idle_s / 4)
        """Seconds between two calls of `tick`."""

    def __len__(self) -> int:
        return len(self._peers)

    def admit(self, transport: asyncio.Transport, now: float) -> bool:
        """Make room for another one, by closing the one that is idle for longest; whether there is room.

        False where all are being answered.
        """
        while len(self._peers) >= self._limits.connections:
            idle = min((p for p in self._peers.values() if not p.busy), key=lambda p: p.since, default=None)
            if idle is None:
                return False
            self._drop(idle)
        self._peer(transport, now)
        return True

    def tick(self, now: float, transports: list[asyncio.Transport]) -> None:
        """Look at all that are open, and close what should be."""
        for gone in self._peers.keys() - set(transports):
            del self._peers[gone]
        for transport in transports:
            peer = self._peer(transport, now)
            waiting = transport.get_write_buffer_size()
            if waiting < peer.waiting or (waiting == 0 and peer.busy):
                peer.since = now
            peer.waiting = waiting
            if now - peer.since >= (self._limits.slow_s if waiting else self._limits.idle_s):
                self._drop(peer)

    @contextlib.contextmanager
    def answering(self, transport: asyncio.Transport, now: float) -> Iterator[None]:
        """Count a connection as not idle while a request of it is answered."""
        peer = self._peer(transport, now)
        peer.busy, peer.since = peer.busy + 1, now
        try:
            yield
        finally:
            peer.busy -= 1

    def progress(self, transport: asyncio.Transport, now: float) -> None:
        """Note that the client took all that was ready for it."""
        self._peer(transport, now).since = now

    def drop_all(self, transports: list[asyncio.Transport]) -> None:
        """Close them all at once, whatever waits to be sent."""
        for transport in transports:
            transport.abort()
        self._peers.clear()

    def _peer(self, transport: asyncio.Transport, now: float) -> Peer:
        if (peer := self._peers.get(transport)) is None:
            peer = self._peers[transport] = Peer(transport, now)
        return peer

    def _drop(self, peer: Peer) -> None:
        peer.transport.abort()  # not close, which would first wait for what is left to be sent
        self._peers.pop(peer.transport, None)


class Door(asyncio.Protocol):
    """Takes a connection as it is accepted, and hands it to the protocol behind it, or closes it.

    Args:
        connections: Which says whether there is room.
        protocol: Makes the protocol behind it.
    """

    def __init__(self, connections: Connections, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._connections, self._protocol = connections, protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Decide at once: nothing of it is read before."""
        assert isinstance(transport, asyncio.Transport)
        if not self._connections.admit(transport, asyncio.get_running_loop().time()):
            transport.abort()
            return
        behind = self._protocol()
        transport.set_protocol(behind)
        behind.connection_made(transport)


def hold_little_back(transport: asyncio.Transport) -> None:
    """Let little be under way to a client that is to see the newest: what it is slow to take it misses."""
    transport.set_write_buffer_limits(high=0)
    raw = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_NOTSENT_LOWAT", 25)  # Python names it from 3.12 on; Linux's number
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.IPPROTO_TCP, option, _UNSENT_BYTES)
