"""A message of an MQTT broker: what a sensor of the house publishes, or an automation."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote

from ecovision_edge.base.addresses import Options, split_pairs
from ecovision_edge.base.backoff import Backoff
from ecovision_edge.base.places import split_broker
from ecovision_edge.errors import EcovisionError, OptionError
from ecovision_edge.events import BinState
from ecovision_edge.sinks._mqtt_connection import Broker, Connection, check_library
from ecovision_edge.sinks._mqtt_options import MqttOptions, mqtt_options
from ecovision_edge.sinks._mqtt_session import Session
from ecovision_edge.triggers.base import Trigger

__all__ = ["MqttTrigger", "mqtt_trigger"]

_LOOK = 1.0  # seconds between looks at whether the connection needs a sign of life


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
        self._payload = None if payload is None else payload.encode()
        self._session = Session(
            f"trigger {self.name}",
            "ecovision-trigger",
            _broker(options),
            None,
            self,
            changed=threading.Condition(threading.RLock()),
            backoff=Backoff(first_delay, most_delay),
            last_word=False,
        )

    def begin(self) -> None:
        """Connect in a thread of its own."""
        self._hinder(BinState.STARTING, "it connects")
        self._session.start()

    def end(self, timeout: float) -> None:
        """Hang up."""
        self._session.end()
        self._session.join(timeout)  # a broker that does not answer may keep it a little longer

    # For the session, in its thread.

    def converse(self, connection: Connection, wake: socket.socket) -> None:
        """While the connection lasts: SinkError at its end, or a return after `end`."""
        connection.subscribe(self._topic, wake)
        self._session.tries.well()
        self._ready()
        while not self._session.ending:
            connection.pump(_LOOK, wake)
            for message in connection.messages():
                if not message.retained and self._payload in (None, message.payload):
                    self._fired()
        connection.close()

    def failed(self, error: EcovisionError) -> None:
        """The bin is in fault."""
        self._hinder(BinState.FAULT, str(error))

    def parted(self) -> None:
        """Nothing belongs to one connection."""


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
    if not unquote(place.path).strip("/"):
        raise OptionError(f"trigger {place.shown}", expected="a topic: mqtt://HOST/TOPIC", found="none")
    given = Options(place.shown, split_pairs(place.query, problem=OptionError), problem=OptionError)
    payload = given.text("payload")
    options = mqtt_options(place, given, environment, device=device)
    given.done()
    return MqttTrigger(options, payload)
