"""The bundles of a device: whole ones in a folder each, and which of them is the current one.

A store is a folder::

    bundles/ID/    a whole bundle; its id is the sha256 of its bundle.json
    current        a relative link to the bundle that is to run
    state.json     what is active, what came before, what was refused and why (`updates.state`)
    lock           held while something changes

`state.json` alone decides. Each change is one replacement of that file: written beside it, brought to the
disk, renamed, and the folder brought to the disk; `current` follows, and `repair` lets it follow where a
power cut came between. So whenever the power goes, the old bundle is current or the new one, and both are
whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.homes import state_folder
from ecovision_edge.base.names import quoted
from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.errors import OptionError, StoreError, TryLaterError
from ecovision_edge.updates.entries import Entry, list_entries
from ecovision_edge.updates.folder import StoreFolder
from ecovision_edge.updates.state import LastCheck, Probation, Refusal, State
from ecovision_edge.updates.transitions import (
    back,
    before,
    forward,
    line,
    proved_before,
    refuse,
    settled,
    staying,
    usable,
    without,
)

__all__ = ["BundleStore", "Entry", "check_base", "default_store"]


def default_store() -> Path:
    """Return the folder of the store where none is named: `updates` in the state folder of service or user.

    Raises:
        StoreError: this user has no home folder.
    """
    folder = state_folder(os.environ) / "updates"
    if not folder.is_absolute():  # what is left of ~ where the system knows no home folder
        raise StoreError("this user has no home folder", fix="name a folder: --store DIR")
    return folder


def check_base(base: Path, store: Path, option: str = "--bundle") -> None:
    """Refuse what is to run where nothing of the store does, if it is of the store itself: the way back ends.

    Raises:
        OptionError: it lies in the store; `option` is what it calls it.
    """
    root = store.absolute()
    if root in base.absolute().parents or root.resolve() in base.resolve().parents:
        raise OptionError(
            option,
            expected="a bundle outside the store, whose current one runs anyway",
            found=base,
            fix="leave it away",
        )


class BundleStore:
    """Which bundles a device has, and which one it runs. Several processes may use one folder at once.

    Reading changes nothing and works on a disk that is read-only. Every method that changes something raises
    StoreError where it cannot, and what was there before is then what runs.

    Args:
        root: Its folder; made by the first change.
        clock: Gives Unix seconds.
    """

    def __init__(self, root: str | os.PathLike[str], *, clock: Callable[[], float] = time.time) -> None:
        self._files = StoreFolder(Path(root))
        self._clock = clock

    @property
    def root(self) -> Path:
        """Its folder."""
        return self._files.root

    @property
    def link(self) -> Path:
        """The link to the current bundle: a path for programs that know nothing of stores."""
        return self._files.link

    def __repr__(self) -> str:
        return f"<BundleStore {self.root}>"

    def state(self) -> State:
        """Return what it remembers; of a damaged file, which the log tells once, what the link still says."""
        return self._files.read()

    def folder(self, bundle: str) -> Path:
        """Return the folder of a bundle, there or not.

        Raises:
            OptionError: that is not the id of a bundle.
        """
        return self._files.folder(bundle)

    def has(self, bundle: str) -> bool:
        """Return whether a bundle is here, by its manifest; other files are checked when they are read."""
        return self._files.has(bundle)

    def current(self) -> str | None:
        """Return the id of the bundle to run; None for the one that the program was installed with."""
        return usable(self._files, self.state())

    def previous(self) -> str | None:
        """Return the id of the bundle to go back to; None for the one that the program was installed with."""
        return before(self._files, self.state())

    def proved_before(self) -> str | None:
        """Return the id where the way back ends: what was active last and has nothing left to prove."""
        return proved_before(self._files, self.state())

    def line(self) -> tuple[str, ...]:
        """Return the ids of what is to run, and of what to go back to, one after the other."""
        return line(self._files, self.state())

    def installed(self) -> tuple[str, ...]:
        """Return the ids of the bundles that are here, sorted."""
        return tuple(self._files.installed())

    def entries(self) -> tuple[Entry, ...]:
        """Return what is here, what was active last first, and then what was refused and is gone."""
        return list_entries(self._files, self.state())

    def find(self, text: str) -> str:
        """Return the id that begins with `text`, at least four digits, of what is here or was refused.

        Raises:
            OptionError: no such bundle, or several.
        """
        known = [entry.bundle for entry in self.entries()]
        found = [bundle for bundle in known if bundle.startswith(text.lower())] if len(text) >= 4 else []
        if len(found) != 1:
            raise OptionError(
                "a bundle",
                expected="the first digits of one id: " + (", ".join(b[:12] for b in known[:20]) or "none"),
                found=f"{quoted(text)}, of {len(found)}" if found else quoted(text),
            )
        return found[0]

    def prepare(self) -> None:
        """Make the folder, and find out whether it can be changed, before work whose result it is to hold.

        Raises:
            StoreError: it cannot; or its file system knows no links.
        """
        self._files.prepare()

    @contextlib.contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Do something that no other process does at the same time: `update`, for instance.

        Raises:
            TryLaterError: another one is at it. One that was killed is not.
            StoreError: the store cannot be changed.
        """
        self.prepare()
        with self._files.alone(what):
            yield

    def install(self, folder: Path, *, again: bool = False) -> str:
        """Move the folder of a whole bundle, which lies below `root`, to its place; returns its id.

        Its files have been checked and brought to the disk. One that is here already stays, and `folder` is
        removed; `again` replaces it, as one whose files are damaged.

        Raises:
            StoreError: it cannot be moved.
            ContractError, BundleError: it is not a bundle.
        """
        Bundle.open(folder)
        return self._files.add(folder, again=again)

    def activate(self, bundle: str, *, probation: float = 0.0, anyway: bool = False) -> None:
        """Make a bundle that is here the one to run; another one that is pinned is so no more.

        Args:
            bundle: Its id.
            probation: Seconds in which it has to prove itself; 0 takes it as proved.
            anyway: Forget that it was refused.

        Raises:
            OptionError: no such bundle, or one that was refused.
            StoreError: nothing can be changed now.
        """
        self._files.change(
            lambda state: forward(self._files, state, bundle, self._clock(), probation, anyway=anyway)
        )

    def succeed(self, bundle: str, running: str | None, *, probation: float = 0.0) -> None:
        """Make a bundle that proved itself against `running` the one to run, if that is still so.

        Args:
            bundle: Its id.
            running: Id of the bundle that was to run as the work began; None for that of the installation.
            probation: As of `activate`.

        Raises:
            TryLaterError: meanwhile another one was activated, one was pinned, or `bundle` was refused.
            OptionError: it is not here.
            StoreError: nothing can be changed now.
        """

        def edit(state: State) -> State:
            changed = usable(self._files, state) != running or state.pinned is not None
            if changed or state.refusal(bundle) is not None:
                raise TryLaterError(
                    "the store was changed during the update", fix="see `ecovision-edge bundles list`"
                )
            return forward(self._files, state, bundle, self._clock(), probation)

        self._files.change(edit)

    def rollback(self, reason: str) -> str | None:
        """Go back to the bundle before, and do not take the current one again.

        Whoever found a fault of a certain bundle calls `refuse` with its id, which goes back once, however
        many find it.

        Args:
            reason: Why, in one line.

        Returns:
            The id of what runs now; None for the bundle that the program was installed with.

        Raises:
            OptionError: there is nothing to go back from.
            StoreError: nothing can be changed now.
        """

        def edit(state: State) -> State:
            if state.active is None:
                raise OptionError("nothing to go back from", found="no bundle of the store is active")
            return back(self._files, state, state.active, reason, self._clock())

        return self._files.change(edit).active

    def refuse(self, bundle: str, reason: str, *, name: str = "", version: str = "") -> None:
        """Do not take a bundle any more; if it is the current one, go back as `rollback` does.

        Raises:
            OptionError: that is not the id of a bundle.
            StoreError: nothing can be changed now.
        """
        self.folder(bundle)

        def edit(state: State) -> State:
            if state.active == bundle:
                return back(self._files, state, bundle, reason, self._clock())
            return refuse(self._files, state, Refusal(bundle, reason, self._clock(), name, version))

        self._files.change(edit)

    def forgive(self, bundle: str) -> None:
        """Forget that a bundle was refused; nothing if it was not. Raises StoreError."""
        if self.state().refusal(bundle) is not None:
            self._files.change(lambda state: dataclasses.replace(state, refused=without(state, bundle)))

    def pin(self, bundle: str) -> None:
        """Make a bundle the one to run, and keep it so whatever is released; raises as `activate`."""

        def edit(state: State) -> State:
            return dataclasses.replace(
                forward(self._files, state, bundle, self._clock()), pinned=bundle, probation=None
            )

        self._files.change(edit)

    def unpin(self) -> None:
        """Let releases decide again; raises StoreError."""
        self._files.change(lambda state: dataclasses.replace(state, pinned=None))

    def started(self, bundle: str | None = None) -> Probation | None:
        """Count a start of a bundle, the current one by default; returns what is known of the probation.

        Nothing is counted, and None returned, if no bundle is on probation; nor is one of another bundle.

        Raises:
            StoreError: it cannot be counted.
        """
        return self._count(bundle, 1)

    def not_started(self, bundle: str) -> None:
        """Take back the last start of a bundle, which did not come about; raises StoreError."""
        self._count(bundle, -1)

    def _count(self, bundle: str | None, more: int) -> Probation | None:
        def counted(probation: Probation) -> Probation:
            if bundle not in (None, probation.bundle):
                return probation
            return dataclasses.replace(probation, starts=max(0, probation.starts + more))

        return self._on_probation(counted)

    def watch(self, bundle: str, figures: Mapping[str, JsonValue]) -> None:
        """Keep figures of a bundle's probation, JSON values; nothing if it is on none. Raises StoreError."""
        self._on_probation(lambda p: dataclasses.replace(p, figures=figures) if p.bundle == bundle else p)

    def proved(self, bundle: str) -> None:
        """End the probation of a bundle well; nothing if it is on none. Raises StoreError."""
        self._on_probation(lambda probation: None if probation.bundle == bundle else probation)

    def _on_probation(self, edit: Callable[[Probation], Probation | None]) -> Probation | None:
        if self.state().probation is None:  # nothing is written where nothing changes
            return None

        def whole(state: State) -> State:
            now = state.probation
            return state if now is None else dataclasses.replace(state, probation=edit(now))

        return self._files.change(whole).probation

    def checked(self, outcome: str, *, seen: float = 0.0) -> None:
        """Note that the repository was asked now, and what came of it; `seen` is a time that is certain.

        Raises:
            StoreError: it cannot be noted.
        """
        last = LastCheck(self._clock(), outcome)
        self._files.change(lambda s: dataclasses.replace(s, checked=last, seen=max(s.seen, seen)))

    def prune(self, keep: int = 2) -> tuple[str, ...]:
        """Remove bundles beyond the `keep` that were active last; returns the ids of what was removed.

        The current one, the one to go back to, the last one that proved itself, and the pinned one stay in
        any case.

        Raises:
            StoreError: one cannot be removed.
        """
        with self._files.locked():
            state, here = self.state(), self._files.installed()
            recent = list(dict.fromkeys(a.bundle for a in reversed(state.history) if a.bundle in here))
            going = sorted(set(here) - staying(self._files, state) - set(recent[: max(keep, 0)]))
            for bundle in going:
                self._files.remove(bundle)
        return tuple(going)

    def discard(self, bundle: str) -> None:
        """Remove a bundle, unless it is one that `prune` never removes.

        Raises:
            StoreError: it cannot be removed.
        """
        with self._files.locked():
            if bundle not in staying(self._files, self.state()):
                self._files.remove(bundle)

    def repair(self) -> str | None:
        """Finish what a power cut interrupted, and remove its litter; returns the id of what is to run.

        To be called once at a start. Where nothing was interrupted it writes nothing, and on a disk that is
        read-only it changes nothing: what it returns is right all the same.
        """
        state = self.state()
        active = usable(self._files, state)
        if active != state.active or not self._files.is_settled(active):
            with contextlib.suppress(StoreError):
                self._files.change(lambda s: settled(self._files, s, self._clock()))
                self._files.clean()
        return self.current()
