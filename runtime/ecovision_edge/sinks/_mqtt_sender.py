"""The thread that brings a spool's events, and what is retained, to a broker."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ecovision_edge.base.backoff import Backoff
from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.errors import EcovisionError, SinkError
from ecovision_edge.events import BinState, bundle_fields
from ecovision_edge.sinks._mqtt_connection import Ack, Broker, Connection, Will
from ecovision_edge.sinks._mqtt_session import Session
from ecovision_edge.sinks._spool import Spool, Spooled
from ecovision_edge.sinks.update_report import INSTALL

__all__ = ["Sender", "SenderStats", "state_payload"]

_log = logging.getLogger("ecovision_edge")

_LAST_WORD = 1.0  # seconds for `offline` to be acknowledged
_REFUSED = 0x80  # reason codes of MQTT 5 from here on say that a message was not taken
_NEVER_TAKEN = 0x99  # payload format invalid


@dataclass(frozen=True, slots=True)
class SenderStats:
    """What became of the events so far: delivered, dropped; failures; and the last one, if it lasts."""

    delivered: int
    dropped: int
    retries: int
    error: str


@dataclass(slots=True)
class _InFlight:
    mid: int
    topic: str
    spooled: Spooled | None
    since: float


def state_payload(state: BinState | None, reason: str, bundle: BundleIdentity | None = None) -> bytes:
    """Return the JSON of PREFIX/state; None where nothing is known yet."""
    value = {"state": None if state is None else state.value, "reason": reason, **bundle_fields(bundle)}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Sender:
    """One message is under way at a time: events keep their order, and a lost connection doubles one at most.

    Args:
        name: For logs.
        broker: Where to.
        prefix: Of the topics: PREFIX/event, /last, /state and /availability.
        spool: Where events come from; opened by whoever appends to it.
        retained: What else is published retained on each connection: topics and payloads.
        heartbeat: Seconds after which the state is published again.
        backoff: Between tries to connect.
    """

    def __init__(
        self,
        name: str,
        broker: Broker,
        prefix: str,
        spool: Spool,
        *,
        retained: Mapping[str, bytes],
        heartbeat: float,
        backoff: Backoff,
    ) -> None:
        self._name, self._broker, self._prefix, self._spool = name, broker, prefix, spool
        self._heartbeat = heartbeat
        self._changed = threading.Condition(threading.RLock())
        self._availability, self._state, self._last = (
            f"{prefix}/{topic}" for topic in ("availability", "state", "last")
        )
        # What is retained, as it should be: all of it is published on each connection, in this
        # order, so that a state of before is never shown as one of now.
        self._board = {
            **retained,
            self._state: state_payload(None, "starting"),
            self._availability: b"online",
        }
        self._update, self._install = f"{prefix}/update", f"{prefix}/update/install"
        self._on_install: Callable[[], object] | None = None
        self._due: dict[str, None] = {}
        self._in_flight: _InFlight | None = None
        self._refused: set[str] = set()
        self._connected = self._sending = False
        self._deadline: float | None = None
        self._state_at = 0.0
        self._delivered = self._dropped = 0
        self._session = Session(
            name,
            "ecovision-mqtt",
            broker,
            Will(self._availability, b"offline"),
            self,
            changed=self._changed,
            backoff=backoff,
            last_word=True,
        )

    @property
    def stats(self) -> SenderStats:
        """What became of the events."""
        with self._changed:
            tries = self._session.tries
            return SenderStats(self._delivered, self._dropped, tries.count, tries.error)

    def start(self) -> None:
        """Begin. Idempotent."""
        self._session.start()

    def notify(self) -> None:
        """There is something new in the spool."""
        self._session.notify()

    def show(self, state: BinState, reason: str, bundle: BundleIdentity | None) -> None:
        """Publish a new state, and which bundle decides."""
        self._post(self._state, state_payload(state, reason, bundle))

    def offer_updates(
        self, retained: Mapping[str, bytes], update: bytes, install: Callable[[], object]
    ) -> None:
        """Publish how updates are doing, and call `install` when one is asked for; before `start`.

        Args:
            retained: What else is published retained, and goes before.
            update: How they are doing now.
            install: Called in the session's thread; must be quick.
        """
        self._on_install = install
        told = {**retained, self._update: update}
        self._board = {**told, **self._board, **told}  # before the bin counts as available

    def show_update(self, update: bytes) -> None:
        """Publish how updates are doing."""
        self._post(self._update, update)

    def wait_empty(self, timeout: float) -> bool:
        """Wait until the broker has acknowledged each event of the spool, and what is retained."""
        with self._changed:
            return self._changed.wait_for(self._idle, timeout)

    def close(self, timeout: float) -> bool:
        """Send what waits while the connection lasts, `timeout` seconds at most, and end; whether it did."""
        with self._changed:
            self._deadline = time.monotonic() + timeout
        self._session.end()
        return self._session.join(timeout + 2 * _LAST_WORD)

    def _idle(self) -> bool:
        under_way = self._sending or self._in_flight is not None
        return not (self._due or under_way or self._spool.head())

    def _post(self, topic: str, payload: bytes) -> None:
        with self._changed:
            self._board[topic] = payload
            if self._connected and topic not in self._refused:
                self._due[topic] = None
        self.notify()

    # For the session, in its thread.

    def converse(self, connection: Connection, wake: socket.socket) -> None:
        """While the connection lasts: SinkError at its end, or a return after `close`."""
        with self._changed:
            self._due = {topic: None for topic in self._board if topic not in self._refused}
            self._connected = True
        if self._on_install is not None and self._install not in self._refused:
            connection.listen(self._install)
        while not self._over():
            self._send_next(connection)
            for ack in connection.pump(self._patience(), wake):
                self._settle(ack)
            self._hear(connection)
        # Without this the availability would stay `online`: a goodbye takes the will back.
        until = time.monotonic() + _LAST_WORD
        self._send(connection, self._availability, b"offline")
        while self._in_flight is not None and (left := until - time.monotonic()) > 0:
            for ack in connection.pump(left, wake):
                self._settle(ack)
        connection.close()

    def _hear(self, connection: Connection) -> None:
        """Start an update that is asked for; what was asked for once, retained, is not asked for now."""
        for message in connection.messages():
            if self._on_install is not None and not message.retained and message.payload == INSTALL:
                _log.info("%s: an update is asked for", self._name)
                self._on_install()
        if connection.deaf and self._install not in self._refused:  # events go on
            self._refused.add(self._install)
            _log.warning("%s: it lets nobody ask for an update: %s", self._name, connection.deaf)

    def _over(self) -> bool:
        with self._changed:
            return self._deadline is not None and (self._idle() or time.monotonic() >= self._deadline)

    def _patience(self) -> float:
        """Say the seconds until something is due, at most 1: the library looks after its keep-alive then."""
        now = time.monotonic()
        moments = [now + 1.0]
        if self._state not in self._refused:
            moments.append(self._state_at + self._heartbeat)
        if self._deadline is not None:
            moments.append(self._deadline)
        return max(0.0, min(moments) - now)

    def _send_next(self, connection: Connection) -> None:
        now = time.monotonic()
        if self._in_flight is not None:
            if now - self._in_flight.since >= self._broker.timeout:
                raise SinkError(
                    f"{self._name} acknowledges nothing", found=f"{self._broker.timeout:g} s without"
                )
            return
        with self._changed:
            if now - self._state_at >= self._heartbeat and self._state not in self._refused:
                self._due[self._state] = None
            topic = next(iter(self._due), None)
            if topic is not None:
                del self._due[topic]
                payload = self._board[topic]
                self._sending = True  # or whoever waits would take it for sent, in between
        if topic is not None:
            if topic == self._state:
                self._state_at = now
            self._send(connection, topic, payload)
            return
        head = self._spool.head()
        if head is not None:
            mid = connection.publish(f"{self._prefix}/event", head.payload, retain=False, event_id=head.id)
            self._in_flight = _InFlight(mid, f"{self._prefix}/event", head, now)

    def _send(self, connection: Connection, topic: str, payload: bytes) -> None:
        mid = connection.publish(topic, payload, retain=True)
        with self._changed:
            self._in_flight, self._sending = _InFlight(mid, topic, None, time.monotonic()), False

    def _settle(self, ack: Ack) -> None:
        """What follows from an acknowledgement."""
        sent = self._in_flight
        if sent is None or ack.mid != sent.mid:
            return
        if sent.spooled is not None:
            self._settle_event(sent.spooled, ack)
        elif ack.code >= _REFUSED and sent.topic not in self._refused:
            # Never again in this run: there are brokers that hang up over it, and events must go on.
            self._refused.add(sent.topic)
            _log.warning("%s: it does not take %s: %s", self._name, sent.topic, ack.reason)
        with self._changed:
            self._in_flight = None
            # Not as soon as it is connected: a broker that refuses events would be well with each connection.
            if sent.spooled is not None or self._idle():
                self._session.tries.well()
            self._changed.notify_all()

    def _settle_event(self, spooled: Spooled, ack: Ack) -> None:
        lost = ack.code == _NEVER_TAKEN
        if ack.code >= _REFUSED and not lost:
            raise SinkError(
                f"{self._name} does not take events", found=ack.reason, fix="see the broker's access rules"
            )
        ours = self._spool.remove(spooled)
        with self._changed:
            if lost:
                _log.error("%s: it can never take %s, which is lost: %s", self._name, spooled.id, ack.reason)
                self._dropped += ours
                return
            self._delivered += ours
            self._board[self._last] = spooled.payload
            if (
                self._last not in self._refused and self._spool.head() is None
            ):  # of a backlog only the newest one
                self._due[self._last] = None

    def failed(self, error: EcovisionError) -> None:
        """Nothing to do: the session's own figures tell it."""

    def parted(self) -> None:
        """All that is retained is published again on the next connection."""
        with self._changed:
            self._connected, self._in_flight, self._sending = False, None, False
            self._due.clear()
            self._changed.notify_all()
