"""Who may use a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ecovision_edge.base.kernel_files import read_text
from ecovision_edge.doctor.check import Check, fail
from ecovision_edge.doctor.system import System

__all__ = ["no_permission"]


def no_permission(system: System, name: str, devices: Sequence[Path]) -> Check:
    """Return the line about devices that this user may not use; the first one's group is told.

    Args:
        system: What machine it is.
        name: What the line is called.
        devices: At least one, absolute, below the system's root.
    """
    shown = ", ".join(f"/{device.relative_to(system.root)}" for device in devices)
    group, members = _group(system, system.group_of(devices[0]))
    found = f"{system.user} may not use {shown}, of group {group}"
    if system.user in members:
        return fail(name, found, f"{system.user} is in that group since the last login only: log in again")
    if group in ("root", "0"):
        return fail(name, found, "a udev rule has to give it to a group; as a service it may be open already")
    return fail(name, found, f"log in again after this; run: sudo usermod -aG {group} {system.user}")


def _group(system: System, number: int) -> tuple[str, frozenset[str]]:
    """Return name and members of a group, of group(5); its number in place of a name that is not there."""
    for line in (read_text(system.at("etc/group")) or "").splitlines():
        fields = line.split(":")
        if len(fields) == 4 and fields[2] == str(number):
            return fields[0], frozenset(fields[3].split(","))
    return str(number), frozenset()
