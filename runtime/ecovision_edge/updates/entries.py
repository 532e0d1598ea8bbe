"""What a store of bundles has, as `bundles list` shows it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ecovision_edge.base.records import dataclass
from ecovision_edge.updates.folder import StoreFolder
from ecovision_edge.updates.state import State
from ecovision_edge.updates.transitions import before, identity, usable

__all__ = ["Entry", "list_entries"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A bundle that a store knows of: it is there, or it was refused.

    Args:
        bundle: Its id.
        name: Its name; empty if not known.
        version: Its version; empty if not known.
        path: Its folder; None if it is not there any more.
        bytes: Size of its files; 0 if it is not there.
        current: It is the one to run.
        previous: It is the one to go back to.
        pinned: It stays the one to run, whatever is released.
        probation: Until when it has to prove itself at the earliest, Unix seconds, as only the time counts
            in which it runs; None if it has not to, or has.
        refused: Why it is not taken (again); None if it may be.
    """

    bundle: str
    name: str
    version: str
    path: Path | None
    bytes: int
    current: bool
    previous: bool
    pinned: bool
    probation: float | None
    refused: str | None


def list_entries(files: StoreFolder, state: State) -> tuple[Entry, ...]:
    """Return what is here, what was active last first, and then what was refused and is gone."""
    here = files.installed()
    recent = list(dict.fromkeys(a.bundle for a in reversed(state.history) if a.bundle in here))
    others = sorted(set(here).difference(recent))
    gone = [refusal.bundle for refusal in reversed(state.refused) if refusal.bundle not in here]
    ends = usable(files, state), before(files, state)
    return tuple(_entry(files, state, bundle, *ends) for bundle in (*recent, *others, *gone))


def _entry(files: StoreFolder, state: State, bundle: str, current: str | None, previous: str | None) -> Entry:
    refusal, probation = state.refusal(bundle), state.probation
    path = files.folder(bundle) if files.has(bundle) else None
    name, version = ("", "") if refusal is None else (refusal.name, refusal.version)
    if path is not None:
        name, version = identity(path) or (name, version)
    return Entry(
        bundle,
        name,
        version,
        path,
        0 if path is None else _size(path),
        current=bundle == current,
        previous=bundle == previous != current,
        pinned=bundle == state.pinned,
        probation=None if probation is None or probation.bundle != bundle else probation.until,
        refused=None if refusal is None else refusal.reason,
    )


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(file.stat().st_size for file in path.iterdir())
    return 0
