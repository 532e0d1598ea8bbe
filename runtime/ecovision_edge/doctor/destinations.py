"""Where events go: whether the sinks' addresses are sound, and what is there. No event is sent."""

from __future__ import annotations

import platform
from pathlib import Path
from urllib.parse import unquote

from ecovision_edge.base.addresses import split_options
from ecovision_edge.base.old_cpu import refuse_old_x86
from ecovision_edge.doctor.check import Check, fail, ok
from ecovision_edge.doctor.network import check_server
from ecovision_edge.doctor.permission import no_permission
from ecovision_edge.doctor.system import System
from ecovision_edge.errors import EcovisionError

__all__ = ["check_sink", "shown_address"]

_LOCAL = ("file", "gpio", "serial", "stdout")


def shown_address(address: str) -> str:
    """Return what may be shown of an address that was not understood; of a server's only its scheme."""
    scheme, colon, rest = address.partition(":")
    return f"{scheme}{colon}{rest.partition('?')[0] if scheme in _LOCAL else ''}"


def check_sink(system: System, address: str) -> Check:
    """Look at a sink that `run` would be given.

    Of a broker and a webhook the server is reached, not asked: a login would end the connection of a bin that
    runs, and a request might be taken for an event.
    """
    refuse_old_x86()
    from ecovision_edge.sinks.addresses import named_bins, open_sink, sink_server

    scheme = address.partition(":")[0].lower()
    try:
        bins = named_bins(address)
        sink = open_sink(
            address, labels=(), bins=bins, device=platform.node(), environment=system.environment
        )
        name = f"sink {sink.name}"
        server = sink_server(address, system.environment)
    except EcovisionError as e:
        return fail(f"sink {shown_address(address)}", e.finding, e.fix or "see docs/sinks.md")
    if server is not None:
        return check_server(name, server.host, server.port, server.tls, now=system.now())
    if scheme == "file":
        return _folder(system, name, Path(split_options(address.partition(":")[2])[0]))
    if scheme == "serial":
        return _serial(system, name, Path(unquote(split_options(address.removeprefix("serial://"))[0])))
    return _pins(system, name) if scheme == "gpio" else ok(name, "nothing to look at")


def _folder(system: System, name: str, file: Path) -> Check:
    folder = system.at(file.absolute().parent)
    if not folder.is_dir():
        return fail(name, f"there is no folder {file.absolute().parent}", "make it first, for the bin's user")
    if not system.may_use(folder):
        found = f"{system.user} may not write to {file.absolute().parent}"
        return fail(name, found, "give that user the folder, or choose one of its own")
    return ok(name, "its folder can be written")


def _serial(system: System, name: str, device: Path) -> Check:
    path = system.at(device)
    if not path.exists():
        there = [
            f"/dev/{p.name}" for kind in ("ttyACM*", "ttyUSB*") for p in sorted(system.at("dev").glob(kind))
        ]
        found = f"not plugged in; there is {', '.join(there) or 'no board at USB at all'}"
        return fail(name, found, "plug the board in; links in /dev/serial/by-id keep their name")
    return ok(name, "plugged in") if system.may_use(path) else no_permission(system, name, [path])


def _pins(system: System, name: str) -> Check:
    chips = sorted(system.at("dev").glob("gpiochip*"))
    if not chips:
        return fail(
            name, "this machine has no pins (/dev/gpiochip*)", "use a board with pins, or another sink"
        )
    if not any(map(system.may_use, chips)):
        return no_permission(system, name, chips)
    return ok(name, f"{len(chips)} chips of pins")
