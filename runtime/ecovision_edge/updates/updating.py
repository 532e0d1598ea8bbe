"""One update from beginning to end: ask and fetch, prove, activate. The old bundle runs until the last step.

Neither python-tuf nor an engine is loaded here: both have processes of their own, so whoever runs a camera
may call this too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Literal, TypeAlias

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.base.records import dataclass
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.errors import (
    EcovisionError,
    FetchError,
    GateError,
    StoreError,
    TryLaterError,
    UpdateError,
)
from ecovision_edge.updates.asking import WITHDRAWN, Found, Limits, Question
from ecovision_edge.updates.children import Child, run_child
from ecovision_edge.updates.gates import GateResult, Loading, Trial, error_of, prove
from ecovision_edge.updates.store import BundleStore

__all__ = ["DAY", "Result", "Settings", "update"]

DAY = 86_400.0

_FETCHING = "ecovision_edge.updates.fetching"
_GRACE_S = 30.0  # for a process to start, and to say that its time is over

_Outcome: TypeAlias = Literal["none", "current", "pinned", "updated", "back"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Where bundles come from, and what they have to be.

    Args:
        url: Address of the repository.
        device: The device's id; it decides whether a rollout includes it.
        channel: Name of the channel.
        root: File of the repository's first root; None if the device knows it already.
        base: Folder of the bundle that runs where none of the store does; None is the embedded reference.
        limits: What fetching may take.
        loading: How `run` loads a bundle.
        rules: As of `Trial`.
        max_slower: As of `Trial`.
        labelled: As of `Trial`.
        recorded: As of `Trial`.
        min_agree: As of `Trial`.
        probation: Seconds in which a new bundle has to prove itself; 0 for none.
        keep: How many bundles stay in the store, at least the current one and the one before.
    """

    url: str
    device: str
    channel: str = "stable"
    root: str | None = None
    base: str | None = None
    limits: Limits = Limits()
    loading: Loading = Loading()
    rules: str | None = None
    max_slower: float = 0.25
    labelled: str | None = None
    recorded: str | None = None
    min_agree: float = 0.9
    probation: float = DAY
    keep: int = 2


@dataclass(frozen=True, slots=True)
class Result:
    """What an update did.

    Args:
        outcome: `none`: no release is for this device. `current`: it has it. `pinned`: another one is pinned.
            `updated`: the release is active now. `back`: what ran was withdrawn, and the one before runs.
        bundle: Id of the release; of what is active now if it went back, empty for the installation's own.
        name: Its name; may be empty.
        version: Its version; may be empty.
        fetched: Bytes that came over the network.
        gates: What each gate found.
        clock: What is wrong with the clock; empty if nothing is known.
        mended: Files of the bundle that runs were damaged on the disk, and have been fetched again.
    """

    outcome: _Outcome
    bundle: str
    name: str
    version: str
    fetched: int
    gates: tuple[GateResult, ...] = ()
    clock: str = ""
    mended: bool = False

    @property
    def words(self) -> str:
        """What it did, in one line."""
        named = f"{self.name} {self.version} ({self.bundle[:12]})" if self.name else self.bundle[:12]
        what = {
            "none": "no release is for this device",
            "current": f"up to date: {named}",
            "pinned": f"a bundle is pinned; released is {named}" if named else "a bundle is pinned",
            "updated": f"updated to {named}",
            "back": f"what ran was withdrawn: back to {named or 'the bundle of the installation'}",
        }[self.outcome]
        mended = "; its files were damaged, and are whole again" if self.mended else ""
        return f"{what}{mended}" + (f"; {self.clock}" if self.clock else "")

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "outcome": self.outcome,
            "bundle": self.bundle or None,
            "name": self.name or None,
            "version": self.version or None,
            "fetched": self.fetched,
            "gates": [gate.to_json() for gate in self.gates],
            "clock": self.clock or None,
            "mended": self.mended,
        }


def update(store: BundleStore, settings: Settings, *, child: Child = run_child) -> Result:
    """Ask the repository once, and do what it says; what comes of it is noted in the store.

    Args:
        store: Of the device.
        settings: Where bundles come from, and what they have to be.
        child: Runs a process.

    Raises:
        UntrustedError: what the repository says is not to be trusted.
        GateError: the new bundle did not prove itself; it is refused from now on.
        FetchError, StoreError, TryLaterError: it cannot be done now.
        EcovisionError: it cannot be done so: no such channel, rules or extra, or a malformed address.
    """
    try:
        with store.alone("update"):
            result = _update(store, settings, child)
    except EcovisionError as e:
        with contextlib.suppress(StoreError):
            store.checked(e.message)
        raise
    return result


def _update(store: BundleStore, settings: Settings, child: Child) -> Result:
    store.repair()
    base = settings.base or str(embedded_bundle_path())
    active = store.current()
    current = base if active is None else str(store.folder(active))
    found = _ask(store, settings, child, active or Bundle.open(base).identity.id, base)
    away = _heed(store, found, active)
    if found.outcome == "fetched":
        gates = _prove(store, settings, child, found, current, compared=not away)
        store.succeed(found.bundle, active, probation=settings.probation)
        _heed(store, found, None)
        result = _result("updated", found, gates)
    elif found.outcome == "withdrawn":
        store.refuse(active or "", WITHDRAWN)
        result = _back(store, found)
    else:
        result = _result(found.outcome, found)
    store.checked(result.words, seen=found.seen)
    with contextlib.suppress(StoreError):  # that it is active is what counts
        store.prune(settings.keep)
    return result


def _heed(store: BundleStore, found: Found, active: str | None) -> bool:
    """Refuse what was withdrawn, but for the active bundle; returns whether that one was."""
    for bundle in found.back:
        store.forgive(bundle)
    state = store.state()
    for bundle in found.withdrawn:
        if bundle != active and store.has(bundle) and state.refusal(bundle) is None:
            store.refuse(bundle, WITHDRAWN)
    return active is not None and active in found.withdrawn


def _ask(store: BundleStore, settings: Settings, child: Child, running: str, base: str) -> Found:
    question = Question(
        url=settings.url,
        store=str(store.root),
        channel=settings.channel,
        device=settings.device,
        running=running,
        base=base,
        root=settings.root,
        limits=settings.limits,
    )
    try:
        ended = child(_FETCHING, question.to_json(), settings.limits.seconds + _GRACE_S)
    except OSError as e:
        raise TryLaterError("no process can be started", found=reason_of(e)) from e
    last: Mapping[str, JsonValue] = ended.answers[-1] if ended.answers else {}
    if "error" in last:
        raise error_of(last)
    if "outcome" in last:
        return Found.of(dict(last))
    if not ended.in_time or ended.status < 0:
        raise FetchError("fetching was stopped", found=ended.how, fix="it goes on from there the next time")
    raise UpdateError("nothing could be fetched", found=ended.how)


def _prove(
    store: BundleStore, settings: Settings, child: Child, found: Found, current: str, *, compared: bool
) -> tuple[GateResult, ...]:
    trial = Trial(
        candidate=str(store.folder(found.bundle)),
        current=current,
        loading=settings.loading,
        rules=settings.rules,
        max_slower=settings.max_slower,
        labelled=settings.labelled,
        recorded=settings.recorded,
        min_agree=settings.min_agree,
        compared=compared,
    )
    try:
        return prove(trial, child=child)
    except GateError as e:
        store.refuse(found.bundle, e.message, name=found.name, version=found.version)
        raise


def _result(
    outcome: Literal["none", "current", "pinned", "updated"], found: Found, gates: tuple[GateResult, ...] = ()
) -> Result:
    return Result(
        outcome, found.bundle, found.name, found.version, found.fetched, gates, found.clock, found.mended
    )


def _back(store: BundleStore, found: Found) -> Result:
    now = next((entry for entry in store.entries() if entry.current), None)
    bundle, name, version = ("", "", "") if now is None else (now.bundle, now.name, now.version)
    return Result("back", bundle, name, version, found.fetched, (), found.clock)
