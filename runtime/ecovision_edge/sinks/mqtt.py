"""Events to an MQTT broker, through a spool on disk.

What is guaranteed:

- An event is safe when it is on this machine's disk: `MqttSink` then calls `on_safe` and counts it in
  `stats.safe`. `put` returns before that. An event that is safe survives a kill and a power cut, is found
  at the next start with the same spool, and stays until the broker has acknowledged it (QoS 1, PUBACK).
- Each safe event is so delivered to the broker at least once, in order; unless more wait than the spool may
  hold, when the oldest are dropped, counted and logged.
- One is delivered twice only if the connection, this process or the power is lost after the broker took it
  and before its acknowledgement was on our disk. One event is under way at a time, so each such loss doubles
  one at most. Both have the same `id`, in the JSON and, with MQTT 5, as a user property: a subscriber that
  acts passes over an id that it has seen.
- While the disk says no, at the start too, events wait in memory and go to the broker from there; the log and
  `stats.error` say so. They are put on the disk as soon as it takes them; what is not delivered by the end
  is lost then, counted and told.
- Events of former runs that the disk has lost or damaged are counted as taken and dropped.
- What the broker does with what it has acknowledged is its own affair: see its persistence. A mosquitto
  that is killed, rather than ended, may forget the last events that it acknowledged, for it writes them
  down a moment later.

Topics below the prefix: `event` (each one, not retained), `last` (the newest one, retained), `state`
(retained JSON, `{"state": "empty", "reason": "..."}`; its state is null before anything is known) and
`availability` (retained, `online` or `offline`, the will).
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from ecovision_edge.base.addresses import Options, split_pairs
from ecovision_edge.base.backoff import Backoff
from ecovision_edge.base.homes import state_folder
from ecovision_edge.base.hosts import bracketed
from ecovision_edge.base.places import Place, split_broker
from ecovision_edge.base.secrets import read_secret
from ecovision_edge.base.sizes import parse_size
from ecovision_edge.errors import OptionError
from ecovision_edge.events import BinEvent
from ecovision_edge.sinks._mqtt_connection import Broker, check_library, tls_context
from ecovision_edge.sinks._mqtt_sender import Sender
from ecovision_edge.sinks._spool import Spool
from ecovision_edge.sinks._spool_delivery import SpoolDelivery
from ecovision_edge.sinks.base import Sink, SinkStats
from ecovision_edge.sinks.homeassistant import discovery_messages

__all__ = ["MqttOptions", "MqttSink", "MqttStats", "default_spool", "mqtt_sink"]

_MOST_LEVEL = 60
_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttOptions:
    """Where the broker is, and what it is told.

    Args:
        host: Name or number.
        port: None is 1883, with TLS 8883.
        tls: Speak TLS; the broker's certificate and host name are verified.
        ca: A file of certificates (PEM) to trust in place of the system's.
        prefix: Of all topics, without wildcards; `ecovision-edge/DEVICE` if empty.
        device: What the device calls itself.
        client_id: Unlike that of each other client of the broker; made of device and prefix if empty.
        username, password: Or None; never shown.
        keepalive: Seconds between signs of life, 5 to 3,600; the will follows one and a half of them later.
        timeout: Seconds for connecting, and for an acknowledgement; above 0, at most 600.
        expire_after: Seconds after which a state counts as stale, 3 to 86,400; it is repeated three times
            as often, while this process lives.
        discovery: Tell Home Assistant which entities there are.
        discovery_prefix: Where Home Assistant listens.
    """

    host: str
    port: int | None = None
    tls: bool = False
    ca: str | None = None
    prefix: str = ""
    device: str = ""
    client_id: str = ""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    keepalive: int = 30
    timeout: float = 10.0
    expire_after: int = 90
    discovery: bool = False
    discovery_prefix: str = "homeassistant"

    def __post_init__(self) -> None:
        """Refuse what is out of range.

        Raises:
            OptionError: the option, its range, and what was given.
        """
        for name, low, most in (("keepalive", 5, 3600), ("expire_after", 3, 86_400)):
            value = getattr(self, name)
            if not low <= value <= most:
                raise OptionError(name, expected=f"seconds from {low} to {most}", found=value)
        if not (math.isfinite(self.timeout) and 0 < self.timeout <= 600):
            raise OptionError("timeout", expected="seconds above 0, at most 600", found=self.timeout)
        if self.port is not None and not 1 <= self.port <= 65535:
            raise OptionError("port of a broker", expected="1 to 65535", found=self.port)
        if not self.prefix and len(_level(self.device)) > _MOST_LEVEL:
            raise OptionError(  # cut, it might be another device's
                "device in a topic",
                expected=f"a name of {_MOST_LEVEL} characters at most, or a topic: mqtt://HOST/TOPIC",
                found=f"{len(self.device)}, {self.device[:30]}...",
            )
        for name in ("topics", "discovery_prefix"):
            _check_topic(name, self.topics if name == "topics" else self.discovery_prefix)
        if len(self.client_id.encode("utf-8", "replace")) > 200 or not self.client_id.isprintable():
            raise OptionError("client_id", expected="at most 200 printable bytes", found=self.client_id[:60])
        if self.ca is not None and not self.tls:
            raise OptionError("ca", expected="mqtts://", found="mqtt://, which has no certificates")
        if self.password is not None and self.username is None:
            raise OptionError(
                "password of a broker",
                expected="a user name too",
                found="none",
                fix="set ECOVISION_EDGE_MQTT_USERNAME, or write mqtt://USER@HOST",
            )

    @property
    def topics(self) -> str:
        """The prefix of all topics."""
        return self.prefix or "/".join(("ecovision-edge", _level(self.device) or "bin"))

    @property
    def shown(self) -> str:
        """The address, for logs: without user, password and topics."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{bracketed(self.host)}:{self._port}"

    @property
    def identity(self) -> str:
        """Twenty hexadecimal digits, the same after each start, of where events go and who sends them."""
        text = "\n".join((self.host.lower(), str(self._port), self.topics, self.device))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]

    @property
    def _port(self) -> int:
        return self.port or _PORTS["mqtts" if self.tls else "mqtt"]

    def broker(self) -> Broker:
        """Describe the broker for a connection; raises OptionError for a bad file of certificates."""
        return Broker(
            shown=self.shown,
            host=self.host,
            port=self._port,
            # 23 letters and digits: what every broker has to take (MQTT 3.1.1, 3.1.3.1).
            client_id=self.client_id or f"eco{self.identity}",
            tls=tls_context(self.ca) if self.tls else None,
            username=self.username,
            password=self.password,
            keepalive=self.keepalive,
            timeout=self.timeout,
        )


@dataclass(frozen=True, slots=True)
class MqttStats(SinkStats):
    """The figures of any sink, and the events of former runs that were found in the spool.

    Args:
        found: Events that the spool held at the start; they count as taken.
        safe: Of all taken, those that were put on the disk, whatever became of them then.
    """

    found: int
    safe: int


class MqttSink(Sink):
    """Publishes events, the newest event, and the state; see the module for what is guaranteed.

    Args:
        options: The broker, and what it is told.
        spool: The folder of events that wait, of this sink alone.
        labels, bins: Those that events may name, for Home Assistant.
        max_events, max_bytes: That wait on the disk at most.
        on_safe: Called in the sink's thread with each event that is on the disk; must be quick. What it
            raises is logged, and changes nothing. Of one that the broker had before the disk took it, never.
        first_delay, most_delay: Of the backoff, seconds.
    """

    def __init__(
        self,
        options: MqttOptions,
        spool: str | os.PathLike[str],
        *,
        labels: Sequence[str] = (),
        bins: Sequence[str] = (),
        max_events: int = 10_000,
        max_bytes: int = 10_000_000,
        on_safe: Callable[[BinEvent], None] | None = None,
        first_delay: float = 0.5,
        most_delay: float = 30.0,
    ) -> None:
        check_library()
        self._spool = Spool(Path(spool), max_events=max_events, max_bytes=max_bytes)
        name = f"{options.shown}/{options.topics}"
        self._sender = Sender(
            name,
            options.broker(),
            options.topics,
            self._spool,
            retained=_discovery(options, labels, bins),
            heartbeat=options.expire_after / 3,
            backoff=Backoff(first_delay, most_delay),
        )
        self._delivery = SpoolDelivery(
            name,
            self._spool,
            self._sender,
            discovery=options.discovery,
            on_safe=on_safe,
            backoff=Backoff(first_delay, most_delay),
        )
        super().__init__(name, self._delivery, first_delay=first_delay, most_delay=most_delay)

    @property
    def stats(self) -> MqttStats:
        """What became of the events so far; delivered is: acknowledged by the broker."""
        base, sent, spool = super().stats, self._sender.told, self._spool
        return MqttStats(
            taken=base.taken + spool.found + spool.damaged,
            delivered=sent.delivered,
            dropped=base.dropped + sent.dropped + spool.dropped + spool.damaged,
            expired=base.expired,
            waiting=base.waiting + spool.waiting,
            retries=base.retries + sent.retries + spool.failures,
            error=base.error or spool.error or sent.error,
            found=spool.found,
            safe=spool.stored + spool.found,
        )

    def flush(self, timeout: float) -> bool:
        """Wait until the broker has acknowledged each event, `timeout` seconds at most; whether it has."""
        until = time.monotonic() + timeout
        return super().flush(timeout) and self._sender.wait_empty(max(0.0, until - time.monotonic()))

    def close(self, timeout: float = 5.0) -> None:
        """Put all events on the disk, deliver while the connection lasts, and end within `timeout` seconds.

        What is not delivered is kept for the next start; of a sink that was never started, all of it.
        """
        until = time.monotonic() + timeout
        super().close(timeout)
        ended = self._sender.close(max(0.0, until - time.monotonic()))
        if ended and not self.running:  # else the disk hangs
            self._spool.close()


def _discovery(options: MqttOptions, labels: Sequence[str], bins: Sequence[str]) -> dict[str, bytes]:
    """Return what Home Assistant is told, by topic; nothing if it is not to be told."""
    if not options.discovery:
        return {}
    return discovery_messages(
        device=options.device,
        prefix=options.topics,
        labels=labels,
        bins=bins,
        expire_after=options.expire_after,
        discovery_prefix=options.discovery_prefix,
    )


def default_spool(options: MqttOptions, environment: Mapping[str, str]) -> Path:
    """Return the folder of a sink: of the service's state where it is one, or of the user's."""
    return state_folder(environment) / "spool" / options.identity


def mqtt_sink(
    address: str,
    *,
    labels: Sequence[str],
    bins: Sequence[str],
    device: str,
    environment: Mapping[str, str] = os.environ,
) -> MqttSink:
    """Return the sink of `mqtt://[USER@]HOST[:PORT]/TOPIC/PREFIX?name=value&...`, or `mqtts://` for TLS.

    Options: `ca`, `password_file`, `spool`, `max_events`, `max_bytes`, `discovery=homeassistant`,
    `discovery_prefix`, `expire_after`, `keepalive`, `timeout`, `client_id`; see `MqttOptions` and `MqttSink`.
    User and password come from ECOVISION_EDGE_MQTT_USERNAME and ECOVISION_EDGE_MQTT_PASSWORD too.

    Raises:
        OptionError: the address is malformed, has a password, or an option is unknown or out of range.
        MissingDependencyError: paho-mqtt is not installed.
    """
    place = split_broker(address)
    options = Options(place.shown, split_pairs(place.query, problem=OptionError), problem=OptionError)
    spool, size, events = (
        options.text("spool"),
        options.text("max_bytes"),
        options.integer("max_events", 1, 10_000_000),
    )
    mqtt = _options(place, options, device, environment)
    options.done()
    return MqttSink(
        mqtt,
        spool or default_spool(mqtt, environment),
        labels=labels,
        bins=bins,
        max_events=events or 10_000,
        max_bytes=parse_size(size, "max_bytes of a spool") if size else 10_000_000,
    )


def _options(place: Place, options: Options, device: str, environment: Mapping[str, str]) -> MqttOptions:
    file = options.text("password_file")
    return MqttOptions(
        host=place.host,
        port=place.port,
        tls=place.scheme == "mqtts",
        ca=options.text("ca"),
        prefix=unquote(place.path).strip("/"),
        device=device,
        client_id=options.text("client_id") or "",
        username=place.user or environment.get("ECOVISION_EDGE_MQTT_USERNAME") or None,
        password=(
            read_secret(file, "password_file")
            if file
            else environment.get("ECOVISION_EDGE_MQTT_PASSWORD") or None
        ),
        keepalive=options.integer("keepalive", 5, 3600) or 30,
        timeout=options.number("timeout", 0, 600) or 10.0,
        expire_after=options.integer("expire_after", 3, 86_400) or 90,
        discovery=options.choice("discovery", ("homeassistant",)) is not None,
        discovery_prefix=(options.text("discovery_prefix") or "homeassistant").strip("/"),
    )


def _level(text: str) -> str:
    """Return text as one level of a topic."""
    return "".join(c if c.isprintable() and c not in "/+#$" else "_" for c in text)


def _check_topic(name: str, topic: str) -> None:
    if (
        not topic
        or len(topic.encode("utf-8", "replace")) > 1000
        or not topic.isprintable()
        or any(c in topic for c in "+#")
        or topic.startswith("$")
    ):
        raise OptionError(
            f"{name} of a broker", expected="a topic without + and #, not of $", found=ascii(topic[:60])
        )
