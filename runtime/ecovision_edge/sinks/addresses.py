"""From what a user writes to a sink."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ecovision_edge.base.addresses import (
    FOREIGN_PREFIX,
    Options,
    expand_variables,
    split_foreign,
    split_options,
    split_pairs,
)
from ecovision_edge.base.names import closest
from ecovision_edge.base.sizes import parse_size
from ecovision_edge.errors import OptionError
from ecovision_edge.sinks._checks import check_names, check_sinks
from ecovision_edge.sinks.base import Sink
from ecovision_edge.sinks.lines import FileSink, StdoutSink

if TYPE_CHECKING:
    import ssl

    from ecovision_edge.base.places import Place

__all__ = [
    "SinkPaths",
    "SinkServer",
    "check_sinks",
    "named_bins",
    "open_sink",
    "sink_paths",
    "sink_server",
]

SCHEMES = ("file", "gpio", "http", "https", "mqtt", "mqtts", "serial", "stdout")
_KINDS = (
    "stdout:, file:PATH, https://HOST/PATH, mqtt://HOST/TOPIC, serial:///dev/ttyACM0 or gpio:?servo=18&..."
)


def open_sink(
    address: str,
    *,
    labels: Sequence[str],
    bins: Sequence[str],
    device: str,
    environment: Mapping[str, str] = os.environ,
) -> Sink:
    """Make the sink that `address` names, options and names checked; nothing is opened before `start`.

    ===============================  ===================================================================
    `stdout:`                        JSON lines on standard output: states=1
    `file:PATH`                      JSON lines in a file: max_bytes=10MB, keep=5, fsync=1, states=1
    `https://HOST/PATH`              each event POSTed: timeout=5, secret_file=PATH, ca=PATH, insecure=1,
                                     states=1
    `mqtt://HOST/TOPIC`              each event kept on disk until the broker has it; `mqtts://` for TLS:
                                     ca=PATH, password_file=PATH, spool=PATH, discovery=homeassistant, ...
    `serial:///dev/ttyACM0`          a line protocol for a microcontroller: baud=115200, max_age=10s
    `gpio:`                          a servo and LEDs at a Raspberry Pi's pins: servo, angles, leds, ...
    ===============================  ===================================================================

    With `states=1` each state of the bin is a message too, told from an event by its `type`; without it each
    line, and each POST, is an event. The other sinks show the state in a way of their own.

    Args:
        address: Options follow a `?`, as `name=value&name=value`; those of web addresses, whose `?` is the
            server's, as `ecovision.name=value`, and in which `${NAME}` is that variable of the environment.
        labels: The classes that events may name.
        bins: The bins that events may name.
        device: What the device calls itself.
        environment: Where secrets are; they are never in an address, which other users can read.

    Raises:
        OptionError: no such kind of sink, an option is unknown or out of range, or it can never carry a name.
        MissingDependencyError: its library is not installed.
    """
    sink = _open(address, labels, bins, device, environment)
    check_names(sink, labels=labels, bins=bins, device=device)
    return sink


def _open(
    address: str, labels: Sequence[str], bins: Sequence[str], device: str, environment: Mapping[str, str]
) -> Sink:
    scheme, colon, rest = address.partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in SCHEMES:
        near = closest(scheme, SCHEMES)
        fix = f"did you mean {near}:?" if near else None
        found = f"{scheme}:..." if colon else address or "nothing"
        raise OptionError("--sink", expected=_KINDS, found=found, fix=fix)
    if scheme == "serial":
        from ecovision_edge.sinks.serial import serial_sink

        return serial_sink(address)
    if scheme == "gpio":
        from ecovision_edge.sinks.gpio import gpio_sink

        return gpio_sink(address, bins)
    if scheme in ("http", "https"):
        return _webhook(address, device, environment)
    if scheme in ("mqtt", "mqtts"):
        from ecovision_edge.sinks.mqtt import mqtt_sink

        return mqtt_sink(address, labels=labels, bins=bins, device=device, environment=environment)
    place, pairs = split_options(rest, problem=OptionError)
    options = Options(f"{scheme}:", pairs, problem=OptionError)
    return (_stdout if scheme == "stdout" else _file)(place, options, device)


@dataclass(frozen=True, slots=True)
class SinkServer:
    """The server of a sink.

    Args:
        shown: What may be shown of its address.
        host: Name or number.
        port: Where it listens.
        tls: What verifies it; None speaks in the clear.
    """

    shown: str
    host: str
    port: int
    tls: ssl.SSLContext | None = field(default=None, repr=False)


def sink_server(address: str, environment: Mapping[str, str] = os.environ) -> SinkServer | None:
    """Return the server that a sink's address leads to; None for a sink on this machine. Nothing is opened.

    Raises:
        OptionError: as `open_sink`.
    """
    scheme = address.partition(":")[0].lower()
    if scheme in ("mqtt", "mqtts"):
        from ecovision_edge.sinks.mqtt import broker_of

        broker = broker_of(address, environment)
        return SinkServer(broker.shown, broker.host, broker.port, broker.tls)
    if scheme not in ("http", "https"):
        return None
    from ecovision_edge.sinks.webhook import server_context

    place, _, options = _webhook_place(address, environment)
    tls = server_context(options.text("ca")) if scheme == "https" else None
    return SinkServer(place.shown, place.host, place.port or (443 if tls else 80), tls)


def named_bins(address: str) -> tuple[str, ...]:
    """Return the bins that the address of pins names; none of any other. Raises OptionError."""
    head, _, query = address.partition("?")
    if head.partition(":")[0].lower() != "gpio":
        return ()
    from ecovision_edge.sinks._gpio_options import parse_gpio_options

    options = parse_gpio_options(query)
    return tuple(dict.fromkeys((*options.angles, *options.leds)))


@dataclass(frozen=True, slots=True)
class SinkPaths:
    """What a sink needs of the file system, as its address has it.

    Args:
        reads: Files.
        writes: Folders.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


def sink_paths(address: str) -> SinkPaths:
    """Say which files the sink of an address reads, and in which folders it writes; not devices.

    Raises:
        OptionError: an option is given twice, or there is a password in it.
    """
    scheme, _, rest = address.partition(":")
    scheme = scheme.lower()
    if scheme == "file":
        path, _ = split_options(rest, problem=OptionError)
        return SinkPaths(writes=(os.path.dirname(path),))  # noqa: PTH120 - a relative one stays what it is
    if scheme in ("http", "https"):
        _, pairs = split_foreign(address, problem=OptionError)
    elif scheme in ("mqtt", "mqtts"):
        from ecovision_edge.base.places import split_broker

        pairs = split_pairs(split_broker(address).query, problem=OptionError)
    else:
        return SinkPaths()
    return SinkPaths(
        reads=tuple(pairs[name] for name in ("ca", "secret_file", "password_file") if name in pairs),
        writes=(pairs["spool"],) if "spool" in pairs else (),
    )


def _stdout(place: str, options: Options, device: str) -> StdoutSink:
    states = options.flag("states")
    options.done()
    if place:
        raise OptionError("stdout:", expected="nothing after it", found=place)
    return StdoutSink(states=states, device=device)


def _file(place: str, options: Options, device: str) -> FileSink:
    size, keep = options.text("max_bytes"), options.integer("keep", 0, 999)
    fsync, states = options.flag("fsync"), options.flag("states")
    options.done()
    if not place:
        raise OptionError("file:", expected="a path after it", found="nothing")
    return FileSink(
        place,
        max_bytes=parse_size(size, "max_bytes of file:") if size else 10_000_000,
        keep=5 if keep is None else keep,
        fsync=fsync,
        states=states,
        device=device,
    )


def _webhook(address: str, device: str, environment: Mapping[str, str]) -> Sink:
    from ecovision_edge.base.secrets import read_secret
    from ecovision_edge.sinks.webhook import WebhookSink

    _, url, options = _webhook_place(address, environment)
    timeout = options.number("timeout", 0, 600)
    file, insecure = options.text("secret_file"), options.flag("insecure")
    ca, states = options.text("ca"), options.flag("states")
    options.done()
    return WebhookSink(
        url,
        secret=read_secret(file) if file else environment.get("ECOVISION_EDGE_WEBHOOK_SECRET") or None,
        timeout=timeout or 5.0,
        insecure=insecure,
        ca=ca,
        states=states,
        device=device,
    )


def _webhook_place(address: str, environment: Mapping[str, str]) -> tuple[Place, str, Options]:
    """Return where a webhook is, its whole address, and its options. Raises OptionError."""
    from ecovision_edge.base.places import split_place

    url, pairs = split_foreign(address, problem=OptionError)
    scheme = url.partition(":")[0].lower()
    url = expand_variables(url, environment, scheme, encode=False, problem=OptionError)
    place = split_place(
        url,
        "a webhook",
        "other users can read a command line: sign with ECOVISION_EDGE_WEBHOOK_SECRET instead",
    )
    if place.user is not None:
        raise OptionError(
            "address of a webhook",
            expected="no user in it",
            found="one",
            fix="sign with ECOVISION_EDGE_WEBHOOK_SECRET instead",
        )
    return place, url, Options(place.shown, pairs, FOREIGN_PREFIX, problem=OptionError)
