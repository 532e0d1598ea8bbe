"""All that is looked at, in the order in which it is told: the device first, then what runs on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ecovision_edge.doctor import board, bundle, cameras, clock, disk, heat, libraries, service
from ecovision_edge.doctor.check import Check
from ecovision_edge.doctor.checkup import Subject
from ecovision_edge.doctor.store import check_store, latest_certain_time
from ecovision_edge.doctor.system import System

__all__ = ["Wishes", "subjects_of"]

QUICK = 10.0
"""Seconds for reading files of the kernel's; a disk that dies can hang one."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is looked at beside the device itself.

    Args:
        bundle: A bundle's folder; None is the embedded reference.
        sinks: Addresses as `run --sink` takes them.
        update: Address of the repository of updates, or None.
        store: Folder of the bundles of updates; None is the one that `update` takes.
    """

    bundle: Path | None = None
    sinks: tuple[str, ...] = ()
    update: str | None = None
    store: Path | None = None


def subjects_of(wishes: Wishes, system: System) -> tuple[Subject, ...]:
    """Return what to look at, each with its limit of time."""
    from ecovision_edge.doctor.destinations import check_sink, shown_address
    from ecovision_edge.doctor.network import CONNECT_LIMIT
    from ecovision_edge.doctor.repository import UPDATE_LIMIT, check_repository
    from ecovision_edge.updates.store import default_store

    store = wishes.store or default_store()
    subjects = [
        Subject("board", QUICK, lambda: board.check_all(system)),
        Subject("disk", QUICK, lambda: disk.check_disks(system)),
        Subject("wear", QUICK, lambda: disk.check_wear(system)),
        Subject("temperature", QUICK, _one(lambda: heat.check_temperature(system))),
        Subject("throttling", QUICK, _one(lambda: heat.check_throttling(system))),
        Subject("clock", QUICK, _one(lambda: _clock(system, store))),
        Subject("service", 2 * service.LIMIT + QUICK, _one(lambda: service.check_service(system))),
        Subject("camera", 2 * cameras.LIST_LIMIT + QUICK, lambda: cameras.check_cameras(system)),
        Subject("libraries", 60.0, _one(libraries.check_libraries)),
        Subject("extras", 60.0, libraries.check_extras),
        Subject("bundle", bundle.VERIFY_LIMIT + QUICK, lambda: bundle.check_bundle(system, wishes.bundle)),
        Subject("store", QUICK, lambda: check_store(store, system.now())),
    ]
    for address in wishes.sinks:
        look = _one(partial(check_sink, system, address))
        subjects.append(Subject(f"sink {shown_address(address)}", 2 * CONNECT_LIMIT + QUICK, look))
    if wishes.update is not None:
        url = wishes.update
        look = _one(lambda: check_repository(url, system.now()))
        subjects.append(Subject("update", UPDATE_LIMIT + QUICK, look))
    return tuple(subjects)


def _clock(system: System, store: Path) -> Check:
    return clock.check_clock(system, seen=latest_certain_time(store))


def _one(look: Callable[[], Check]) -> Callable[[], Iterable[Check]]:
    def looked() -> Iterator[Check]:
        yield look()

    return looked
