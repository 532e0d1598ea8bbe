"""From one state of a store to the next: to a new bundle, back to the one before, and what is not taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.errors import EcovisionError, OptionError
from ecovision_edge.updates.folder import StoreFolder
from ecovision_edge.updates.state import Activation, Probation, Refusal, State

__all__ = [
    "back",
    "before",
    "forward",
    "identity",
    "line",
    "proved_before",
    "refuse",
    "settled",
    "staying",
    "usable",
    "without",
]


def usable(files: StoreFolder, state: State) -> str | None:
    """Return what is to run: the active one, or what came before it if its folder is gone."""
    active = state.active
    return active if active is None or files.has(active) else before(files, state)


def before(files: StoreFolder, state: State) -> str | None:
    """Return what to go back to from the active one: what was active last, is here, and was not refused."""
    return next(_line_before(files, state), None)


def proved_before(files: StoreFolder, state: State) -> str | None:
    """Return where the way back ends: as `before`, but it has nothing left to prove."""
    return next((bundle for bundle in _line_before(files, state) if bundle not in state.unproved), None)


def line(files: StoreFolder, state: State) -> tuple[str, ...]:
    """Return what is to run, and then what to go back to, one after the other."""
    first = usable(files, state)
    if first is None:
        return ()
    return (first, *(bundle for bundle in _line_before(files, state) if bundle != first))


def _line_before(files: StoreFolder, state: State) -> Iterator[str]:
    """Yield what can be gone back to from the active one, each once."""
    for bundle in dict.fromkeys(activation.bundle for activation in reversed(state.history)):
        if bundle != state.active and state.refusal(bundle) is None and files.has(bundle):
            yield bundle


def staying(files: StoreFolder, state: State) -> set[str | None]:
    """Return what must not be removed: what is to run, what to go back to, what is pinned.

    And where the way back ends: what it leads to first may fail its probation, too.
    """
    return {usable(files, state), before(files, state), proved_before(files, state), state.pinned}


def forward(
    files: StoreFolder, state: State, bundle: str, now: float, probation: float = 0.0, *, anyway: bool = False
) -> State:
    """Return the state in which `bundle` is active, for so many seconds on probation.

    Raises:
        OptionError: it is not here, or was refused, unless it is to be taken `anyway`.
    """
    refusal = state.refusal(bundle)
    if refusal is not None and not anyway:
        raise OptionError(
            f"bundle {bundle[:12]}",
            expected="one not refused",
            found=refusal.reason,
            fix=f"take it all the same: ecovision-edge bundles activate {bundle[:12]} --anyway",
        )
    if not files.has(bundle):
        raise OptionError(f"bundle {bundle[:12]}", expected="a bundle that is here", found="none")
    if state.active == bundle:
        return state
    return dataclasses.replace(
        state,
        active=bundle,
        history=(*state.history, Activation(bundle, now)),
        probation=Probation(bundle, now, now + probation) if probation > 0 else None,
        refused=without(state, bundle),
        pinned=None,
        unproved=_unproved(state, bundle),
    )


def _unproved(state: State, bundle: str) -> dict[str, float]:
    """Return the probations that are left to be made up for as `bundle` becomes active; its own is not."""
    left, probation = dict(state.unproved), state.probation
    if probation is not None and probation.bundle == state.active:
        left[probation.bundle] = probation.until - probation.since
    left.pop(bundle, None)
    return left


def settled(files: StoreFolder, state: State, now: float) -> State:
    """Return the state in which what can run is active; what is not active is on no probation.

    What takes the place of a bundle whose folder is gone has to prove itself, if it has not done so yet.
    """
    active, probation = usable(files, state), state.probation
    if active != state.active:
        return _resumed(state, active, now)
    if probation is not None and probation.bundle != active:
        return dataclasses.replace(state, probation=None)
    return state


def _resumed(state: State, bundle: str | None, now: float) -> State:
    """Return the state in which a bundle is active again: on probation, if it gave way before it was over."""
    seconds = state.unproved.get(bundle or "")
    return dataclasses.replace(
        state,
        active=bundle,
        probation=None if bundle is None or seconds is None else Probation(bundle, now, now + seconds),
        unproved={other: left for other, left in state.unproved.items() if other != bundle},
    )


def back(files: StoreFolder, state: State, bundle: str, reason: str, now: float) -> State:
    """Return the state in which the active `bundle` was refused, and the one before it is active.

    If that one was still on probation when this one took its place, it begins that again.
    """
    refused = refuse(files, state, Refusal(bundle, reason, now))
    last = before(files, refused)
    return dataclasses.replace(
        _resumed(refused, last, now),
        history=state.history if last is None else (*state.history, Activation(last, now)),
        pinned=None if state.pinned == bundle else state.pinned,
    )


def refuse(files: StoreFolder, state: State, refusal: Refusal) -> State:
    """Return the state with a refusal more; of a bundle without a name, with the one that is known."""
    bundle, known = refusal.bundle, state.refusal(refusal.bundle)
    if not refusal.name:
        read = identity(files.folder(bundle)) if files.has(bundle) else None
        name, version = read or ((known.name, known.version) if known is not None else ("", ""))
        refusal = dataclasses.replace(refusal, name=name, version=version)
    return dataclasses.replace(state, refused=(*without(state, bundle), refusal))


def identity(path: Path) -> tuple[str, str] | None:
    """Return name and version of a bundle; None if they cannot be read."""
    try:
        found = Bundle.open(path).identity
    except EcovisionError:
        return None
    return found.name, found.version


def without(state: State, bundle: str) -> tuple[Refusal, ...]:
    """Return the refusals of all other bundles."""
    return tuple(refusal for refusal in state.refused if refusal.bundle != bundle)
