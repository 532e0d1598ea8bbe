"""A message of an MQTT broker: what a sensor of the house publishes, or an automation."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote

from ecovision_edge.base.addresses import Options, split_pairs
from ecovision_edge.base.backoff import Backoff
from ecovision_edge.base.places import split_broker
from ecovision_edge.base.secrets import read_secret
from ecovision_edge.errors import EcovisionError, OptionError
from ecovision_edge.events import BinState
from ecovision_edge.sinks._mqtt_connection import Broker, Connection, NoProtocolError, check_library
from ecovision_edge.sinks._retries import Retries, typed
from ecovision_edge.sinks.mqtt import MqttOptions
from ecovision_edge.triggers.base import Trigger

__all__ = ["MqttTrigger", "mqtt_trigger"]

_LOOK = 1.0  # seconds between looks at whether the connection needs a sign of life
_STEADY = 10.0  # seconds that a connection lasts before the next failure counts as a new one


class MqttTrigger(Trigger):
    """Fires with each message of one topic. While the broker is away the bin is in fault, and says so.

    What was published before it listened, retained, or while it was away, does not fire: that item is gone.

    Args:
        options: The broker; `prefix` is the topic.
        payload: Only messages that hold just this fire; None is any.
        first_delay, most_delay: Between tries to connect, seconds.
    """

    def __init__(
        self,
        options: MqttOptions,
        payload: str | None = None,
        *,
        first_delay: float = 0.5,
        most_delay: float = 30.0,
    ) -> None:
        check_library()
        super().__init__(f"{options.shown}/{options.topics}")
        self._topic = options.topics
        self._broker = _broker(options)
        self._payload = None if payload is None else payload.encode()
        self._changed = threading.Condition(threading.RLock())
        self._tries = Retries(f"trigger {self.name}", self._changed, Backoff(first_delay, most_delay))
        self._v5, self._knows_v5 = True, True
        self._ended = False
        self._pair: tuple[socket.socket, socket.socket] | None = None  # written to, and read, to wake it
        self._thread = threading.Thread(target=self._run, name="ecovision-trigger", daemon=True)

    def begin(self) -> None:
        """Connect in a thread of its own."""
        self._pair = socket.socketpair()
        for end in self._pair:
            end.setblocking(False)
        self._hinder(BinState.STARTING, "it connects")
        self._thread.start()

    def end(self, timeout: float) -> None:
        """Hang up."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._pair is None:
            return
        with contextlib.suppress(OSError):
            self._pair[0].send(b"x")
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)  # a broker that does not answer may keep it a little longer

    # The thread.

    def _run(self) -> None:
        assert self._pair is not None
        while self._attempt(self._pair[1]):
            pass
        for end in self._pair:
            end.close()

    def _attempt(self, wake: socket.socket) -> bool:
        """Hold one connection from its beginning to its end; return whether to try another one."""
        connection, since = Connection(self._broker, None, v5=self._v5), time.monotonic()
        try:
            with typed("the MQTT client"):
                connection.open(wake)
                connection.subscribe(self._topic, wake)
                self._listen(connection, wake)
        except NoProtocolError as e:
            self._v5 = not self._v5  # one that hung up may know the other version alone
            if e.certain and not self._v5:
                self._knows_v5 = False
                return not self._ended
            return self._failed(e)
        except EcovisionError as e:
            if time.monotonic() - since >= _STEADY:
                self._tries.begin_anew()
            self._v5 = self._knows_v5
            return self._failed(e)
        finally:
            connection.drop()
        return False

    def _listen(self, connection: Connection, wake: socket.socket) -> None:
        """While the connection lasts: SinkError at its end, or a return after `end`."""
        self._tries.well()
        self._ready()
        while not self._ended:
            connection.pump(_LOOK, wake)
            for message in connection.messages():
                if not message.retained and self._payload in (None, message.payload):
                    self._fired()
        connection.close()

    def _failed(self, error: EcovisionError) -> bool:
        self._hinder(BinState.FAULT, str(error))
        return self._tries.failed(error, lambda: -math.inf if self._ended else math.inf)


def _broker(options: MqttOptions) -> Broker:
    """Address the broker, which a sink may use too, under an id of its own."""
    broker = options.broker()
    return broker if options.client_id else replace(broker, client_id=f"ect{options.identity}")


def mqtt_trigger(address: str, *, device: str, environment: Mapping[str, str] = os.environ) -> MqttTrigger:
    """Return the trigger of `mqtt://[USER@]HOST[:PORT]/TOPIC?name=value&...`, or `mqtts://` for TLS.

    Options: `payload`, `ca`, `password_file`, `keepalive`, `timeout`, `client_id`; see `MqttOptions`. User
    and password come from ECOVISION_EDGE_MQTT_USERNAME and ECOVISION_EDGE_MQTT_PASSWORD too.

    Raises:
        OptionError: the address is malformed, has a password or no topic, or an option is unknown or wrong.
        MissingDependencyError: paho-mqtt is not installed.
    """
    place = split_broker(address)
    topic = unquote(place.path).strip("/")
    if not topic:
        raise OptionError(f"trigger {place.shown}", expected="a topic: mqtt://HOST/TOPIC", found="none")
    given = Options(place.shown, split_pairs(place.query, problem=OptionError), problem=OptionError)
    payload, file = given.text("payload"), given.text("password_file")
    options = MqttOptions(
        host=place.host,
        port=place.port,
        tls=place.scheme == "mqtts",
        ca=given.text("ca"),
        prefix=topic,
        device=device,
        client_id=given.text("client_id") or "",
        username=place.user or environment.get("ECOVISION_EDGE_MQTT_USERNAME") or None,
        password=(
            read_secret(file, "password_file")
            if file
            else environment.get("ECOVISION_EDGE_MQTT_PASSWORD") or None
        ),
        keepalive=given.integer("keepalive", 5, 3600) or 30,
        timeout=given.number("timeout", 0, 600) or 10.0,
    )
    given.done()
    return MqttTrigger(options, payload)
