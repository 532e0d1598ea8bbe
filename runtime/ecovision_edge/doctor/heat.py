"""Temperature, and what slows the processor down."""

from __future__ import annotations

from pathlib import Path

from ecovision_edge.base.device import read_state
from ecovision_edge.base.kernel_files import read_number, read_text
from ecovision_edge.doctor.check import STATES, Check, fail, ok, warn
from ecovision_edge.doctor.system import System

__all__ = ["check_temperature", "check_throttling"]

HOT, TOO_HOT = 80.0, 85.0
"""Degrees at which a Raspberry Pi slows down, and at which it does all it can against the heat
(https://www.raspberrypi.com/documentation/computers/config_txt.html, `temp_limit`); for machines that do not
tell their own."""

NEAR = 5.0
"""Degrees below one of these at which it is told: a summer's day."""

_COOL = "give it a heat sink, a fan or air; a bin in the sun gets hotter yet"


def check_temperature(system: System) -> Check:
    """Look at each thermal zone, against its own trip points (the kernel's thermal/sysfs-api.rst)."""
    zones = sorted(system.at("sys/class/thermal").glob("thermal_zone*"))
    # Sensors that are off read as 0 or far below it.
    told = [(t / 1000, zone) for zone in zones if (t := read_number(zone / "temp")) is not None and t > 0]
    if not told:
        return ok("temperature", "no sensor that the kernel tells of")
    judged = [(STATES.index(check.state), t, check) for t, zone in told for check in [_judge(t, zone)]]
    return max(judged, key=lambda item: item[:2])[2]


def _judge(temperature: float, zone: Path) -> Check:
    slow = _trip(zone, "passive") or HOT
    end = _trip(zone, "critical") or _trip(zone, "hot") or TOO_HOT
    found = f"{temperature:.0f} C ({read_text(zone / 'type') or zone.name})"
    if temperature >= end - NEAR / 2:
        return fail("temperature", f"{found}, near the end of what it stands, {end:.0f}", _COOL)
    if temperature >= min(slow, end) - NEAR:
        return warn("temperature", f"{found}; it slows down at {min(slow, end):.0f}", _COOL)
    return ok("temperature", found)


def _trip(zone: Path, kind: str) -> float | None:
    """Return the lowest trip point of a kind, degrees Celsius; those that are off read 0 or below."""
    points = [
        temperature / 1000
        for point in zone.glob("trip_point_*_type")
        if read_text(point) == kind
        and (temperature := read_number(point.with_name(point.name.replace("_type", "_temp")))) is not None
        and temperature > 0
    ]
    return min(points, default=None)


def check_throttling(system: System) -> Check:
    """Look at what slows the processor down, or did since boot."""
    throttling = read_state(system.root).throttling
    if throttling is None:
        if "Raspberry Pi" in (read_text(system.at("proc/device-tree/model")) or ""):
            advice = "let this user run `vcgencmd get_throttled` (package raspi-utils, group video)"
            return warn("throttling", "not told, although a Raspberry Pi knows it", advice)
        return ok("throttling", "this machine does not tell")
    source = f"({throttling.source})"
    if throttling.events is not None:
        times = f"{throttling.events} times since boot {source}"
        return (
            warn("throttling", f"for heat, {times}", _COOL) if throttling.events else ok("throttling", times)
        )
    advices = []
    every = (*throttling.now, *throttling.since_boot)
    if "under-voltage" in every:
        advices.append("use the board's own power supply and a short, thick cable")
    if not {*every} <= {"under-voltage"}:
        advices.append(_COOL)
    if throttling.now:
        return fail("throttling", f"now {', '.join(throttling.now)} {source}", "; ".join(advices))
    if throttling.since_boot:
        since = f"since boot {', '.join(throttling.since_boot)} {source}"
        return warn("throttling", since, "; ".join(advices))
    return ok("throttling", f"none since boot {source}")
