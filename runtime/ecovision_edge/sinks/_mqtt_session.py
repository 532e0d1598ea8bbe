"""The thread that holds a connection to a broker, and connects again for as long as it takes."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import threading
import time
from typing import Protocol

from ecovision_edge.base.backoff import Backoff
from ecovision_edge.base.threads import Worker
from ecovision_edge.errors import EcovisionError
from ecovision_edge.sinks._mqtt_connection import Broker, Connection, NoProtocolError, Will
from ecovision_edge.sinks._retries import Retries, typed

__all__ = ["Conversation", "Session"]

_log = logging.getLogger("ecovision_edge")

_STEADY = 10.0  # seconds that a connection lasts before the next failure counts as a new one


class Conversation(Protocol):
    """What is said over the connections of a session; called in its thread alone."""

    def converse(self, connection: Connection, wake: socket.socket) -> None:
        """Speak while the connection lasts: SinkError at its end, or a return once the session is to end."""

    def failed(self, error: EcovisionError) -> None:
        """Hear why there is no connection; the next one is tried after a wait."""

    def parted(self) -> None:
        """Forget what belonged to a connection that is over."""


class Session:
    """Speaks MQTT 5, and 3.1.1 to a broker that knows no more.

    Args:
        name: What logs call it.
        thread: The thread's name.
        broker: Where to.
        will: What the broker publishes when a connection ends without a word; None for nothing.
        conversation: What is said.
        changed: Guards what the conversation and the session share.
        backoff: Between tries to connect.
        last_word: Whether a session that is to end still has something to say.
    """

    def __init__(
        self,
        name: str,
        thread: str,
        broker: Broker,
        will: Will | None,
        conversation: Conversation,
        *,
        changed: threading.Condition,
        backoff: Backoff,
        last_word: bool,
    ) -> None:
        self._name, self._broker, self._will, self._conversation = name, broker, will, conversation
        self._last_word = last_word
        self._changed, self.tries = changed, Retries(name, changed, backoff)
        self.ending = False
        self._v5, self._knows_v5 = True, True
        self._pair: tuple[socket.socket, socket.socket] | None = None  # written to, and read, to wake it
        self._waking = threading.Lock()  # or a wake-up might go to whoever has the closed socket's number
        self._worker = Worker(self._run, thread)

    def start(self) -> None:
        """Begin; returns at once. Idempotent."""
        if self._pair is None:
            self._pair = socket.socketpair()
            for end in self._pair:
                end.setblocking(False)
            self._worker.start()

    def notify(self) -> None:
        """Wake the conversation: there is something new to say, or nothing more."""
        if self._pair is not None:
            # So many wake-ups may wait that one more changes nothing; or it has ended.
            with self._waking, contextlib.suppress(OSError):
                self._pair[0].send(b"x")

    def end(self) -> None:
        """Try no other connection; the one that there is ends when the conversation says so."""
        with self._changed:
            self.ending = True
            self._changed.notify_all()
        self.notify()

    def join(self, timeout: float) -> bool:
        """Wait for the thread, `timeout` seconds at most; whether there is none any more."""
        return self._worker.join(timeout)

    def _run(self) -> None:
        assert self._pair is not None
        while self._attempt(self._pair[1]):
            pass
        with self._waking:
            for end in self._pair:
                end.close()

    def _attempt(self, wake: socket.socket) -> bool:
        """One connection, from its beginning to its end; whether there is to be another one."""
        connection, since = Connection(self._broker, self._will, v5=self._v5), time.monotonic()
        try:
            with typed("the MQTT client"):
                connection.open(wake)
                self._conversation.converse(connection, wake)
        except NoProtocolError as e:
            self._v5 = not self._v5  # one that hung up may know the other version alone
            if e.certain and not self._v5:
                self._knows_v5 = False
                _log.info("%s: it does not speak MQTT 5; going on with 3.1.1", self._name)
                return self._last_word or not self.ending
            return self._failed(e)
        except EcovisionError as e:
            if time.monotonic() - since >= _STEADY:
                self.tries.begin_anew()
            self._v5 = self._knows_v5
            return self._failed(e)
        finally:
            connection.drop()
            self._conversation.parted()
        return False

    def _failed(self, error: EcovisionError) -> bool:
        self._conversation.failed(error)
        return self.tries.failed(error, lambda: -math.inf if self.ending else math.inf)
