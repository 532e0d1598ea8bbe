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
- What the broker has acknowledged and not saved yet is lost with the broker's power: what waits there for a
  subscriber that is away. mosquitto saves every 30 minutes, and only with `autosave_on_changes true` and
  `autosave_interval 1` after each change (`python -m ecovision_edge_bench.power_cut forget`).

Topics below the prefix: `event` (each one, not retained), `last` (the newest one, retained), `state`
(retained JSON: `state`, `reason`, and `bundle`, `bundle_name`, `bundle_version`, as of events; what is not
known yet is null) and `availability` (retained, `online` or `offline`, the will). Where updates are followed,
also `update` (retained JSON, `UpdateReport.payload`), and `INSTALL` that somebody publishes at
`update/install` starts one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ecovision_edge.base.addresses import Options, split_pairs
from ecovision_edge.base.backoff import Backoff
from ecovision_edge.base.homes import state_folder
from ecovision_edge.base.places import split_broker
from ecovision_edge.base.sizes import parse_size
from ecovision_edge.errors import OptionError
from ecovision_edge.events import BinEvent
from ecovision_edge.sinks._mqtt_connection import Broker, check_library
from ecovision_edge.sinks._mqtt_options import MqttOptions, mqtt_options
from ecovision_edge.sinks._mqtt_sender import Sender
from ecovision_edge.sinks._spool import Spool
from ecovision_edge.sinks._spool_delivery import SpoolDelivery
from ecovision_edge.sinks.base import Sink, SinkStats
from ecovision_edge.sinks.homeassistant import discovery_messages, update_messages
from ecovision_edge.sinks.update_report import UpdateReport

__all__ = ["MqttOptions", "MqttSink", "MqttStats", "broker_of", "default_spool", "mqtt_sink"]


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
        self._options = options
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

    def offer_updates(self, report: UpdateReport, install: Callable[[], object]) -> None:
        """Tell of updates at PREFIX/update from the start on, and listen at PREFIX/update/install."""
        told = _update_entity(self._options) if self._options.discovery else {}
        self._sender.offer_updates(told, report.payload(), install)

    def show_update(self, report: UpdateReport) -> None:
        """Publish how updates are doing now; never waits."""
        self._sender.show_update(report.payload())

    @property
    def stats(self) -> MqttStats:
        """What became of the events so far; delivered is: acknowledged by the broker."""
        base, sent, spool = super().stats, self._sender.stats, self._spool
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
    told = discovery_messages(
        device=options.device,
        prefix=options.topics,
        labels=labels,
        bins=bins,
        expire_after=options.expire_after,
        discovery_prefix=options.discovery_prefix,
    )
    # Updates that a former run told of, and this one may not: an empty message takes one back.
    return {**told, **dict.fromkeys((*_update_entity(options), f"{options.topics}/update"), b"")}


def _update_entity(options: MqttOptions) -> dict[str, bytes]:
    return update_messages(
        device=options.device, prefix=options.topics, discovery_prefix=options.discovery_prefix
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
    mqtt, given = _read(address, environment, device)
    return MqttSink(
        mqtt,
        given.spool or default_spool(mqtt, environment),
        labels=labels,
        bins=bins,
        max_events=given.max_events or 10_000,
        max_bytes=parse_size(given.size, "max_bytes of a spool") if given.size else 10_000_000,
    )


class _OfSpool(NamedTuple):
    """What an address says of the spool; None where it says nothing."""

    spool: str | None
    size: str | None
    max_events: int | None


def broker_of(address: str, environment: Mapping[str, str]) -> Broker:
    """Return where the broker of such an address is, and what it is told; nothing is opened.

    Raises:
        OptionError: as `mqtt_sink`.
    """
    return _read(address, environment, "")[0].broker()


def _read(address: str, environment: Mapping[str, str], device: str) -> tuple[MqttOptions, _OfSpool]:
    place = split_broker(address)
    options = Options(place.shown, split_pairs(place.query, problem=OptionError), problem=OptionError)
    of_spool = _OfSpool(
        options.text("spool"), options.text("max_bytes"), options.integer("max_events", 1, 10_000_000)
    )
    mqtt = replace(
        mqtt_options(place, options, environment, device=device),
        expire_after=options.integer("expire_after", 3, 86_400) or 90,
        discovery=options.choice("discovery", ("homeassistant",)) is not None,
        discovery_prefix=(options.text("discovery_prefix") or "homeassistant").strip("/"),
    )
    options.done()
    return mqtt, of_spool
