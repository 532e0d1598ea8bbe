"""The store of updates: which bundle this device is to run, and what it refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ecovision_edge.base.names import quoted
from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.doctor.check import Check, ok, warn
from ecovision_edge.updates.asking import WITHDRAWN
from ecovision_edge.updates.state import State, as_date
from ecovision_edge.updates.store import BundleStore, Entry

__all__ = ["check_store", "latest_certain_time"]

LONG = 14 * 86_400.0
"""Seconds without a question to the repository after which it is told."""

_LIST = "run: ecovision-edge bundles list"


def latest_certain_time(root: Path) -> float:
    """Return the latest time that a store knows to be past, seconds since 1970; 0 if there is no store."""
    return BundleStore(root).state().seen if root.is_dir() else 0.0


def check_store(root: Path, now: float) -> Iterator[Check]:
    """Look at a store; nothing is said of one that is not there.

    Args:
        root: Its folder.
        now: Time, seconds since 1970.
    """
    if not root.is_dir():
        return
    store = BundleStore(root)
    state = store.state()
    current = next((entry for entry in store.entries() if entry.current), None)
    found = _found(current, state)
    if state.active is not None and state.active != (current.bundle if current else None):
        yield warn("store", f"{found}; the active one, {state.active[:12]}, is not there or not whole", _LIST)
        return
    activated = state.history[-1].at if state.history else 0.0
    newest = state.refused[-1] if state.refused else None
    if newest is not None and newest.at >= activated and newest.reason != WITHDRAWN:
        which = BundleIdentity(newest.name or "a bundle", newest.version or newest.bundle[:12], newest.bundle)
        yield warn(
            "store", f"{found}; refused {which}: {newest.reason}", f"mend it and release again; {_LIST}"
        )
    elif state.checked is not None and now - state.checked.at > LONG:
        yield warn(
            "store", found, "nobody asks for updates any more: is the timer, or `run --update`, still on?"
        )
    else:
        yield ok("store", found)


def _found(current: Entry | None, state: State) -> str:
    if current is None:
        words = ["the bundle of the installation runs"]
    else:
        words = [f"runs {BundleIdentity(current.name or quoted(''), current.version, current.bundle)}"]
    if state.pinned is not None:
        words.append("pinned")
    if state.probation is not None:
        words.append(f"on probation until {as_date(state.probation.until)} at the earliest")
    if state.checked is not None:
        words.append(f"asked on {as_date(state.checked.at)}: {state.checked.outcome}")
    return ", ".join(words)
