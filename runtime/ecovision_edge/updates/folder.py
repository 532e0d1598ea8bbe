"""The folder of an update store: reading it, and changing it so that a power cut leaves it whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from ecovision_edge.base.files import (
    is_folder,
    is_there,
    read_regular_file,
    replace_file,
    sync_folder,
    try_lock,
)
from ecovision_edge.base.names import quoted
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.bundle.folder import MANIFEST_NAME, MAX_MANIFEST_BYTES
from ecovision_edge.errors import EcovisionError, OptionError, StoreError, TryLaterError
from ecovision_edge.updates.state import MAX_STATE_BYTES, Activation, State

__all__ = ["StoreFolder"]

_LOGGER = logging.getLogger("ecovision_edge")
_ID = re.compile("[0-9a-f]{64}")
_LOCK_TRIES, _LOCK_PAUSE_S = 100, 0.1  # a change of somebody else takes milliseconds, on a slow card seconds
_LITTER = (".ecovision-*.tmp", ".current-*", ".removed-*")


class StoreFolder:
    """Files, links and the lock of a store; `BundleStore` says what they mean."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.link = root / "current"
        self.bundles = root / "bundles"
        self._state_file = root / "state.json"
        self._told = False

    def folder(self, bundle: str) -> Path:
        """Return the folder of a bundle, there or not.

        Raises:
            OptionError: that is not the id of a bundle.
        """
        if _ID.fullmatch(bundle) is None:
            raise OptionError("a bundle", expected="its id, 64 hexadecimal digits", found=quoted(bundle))
        return self.bundles / bundle

    def has(self, bundle: str) -> bool:
        """Return whether a bundle is here, by its manifest; other files are checked when they are read."""
        if _ID.fullmatch(bundle) is None:
            return False
        try:
            data = read_regular_file(self.bundles / bundle / MANIFEST_NAME, MAX_MANIFEST_BYTES)
        except OSError:
            return False
        return hashlib.sha256(data).hexdigest() == bundle

    def installed(self) -> list[str]:
        """Return the ids of the bundles that are here, sorted."""
        try:
            return sorted(path.name for path in self.bundles.iterdir() if self.has(path.name))
        except OSError:
            return []

    def read(self) -> State:
        """Read the state; of a file that is damaged or missing, what the link still says.

        Raises nothing: that a file cannot be used is told once, in one line of the log.
        """
        try:
            return State.loads(read_regular_file(self._state_file, MAX_STATE_BYTES))
        except (FileNotFoundError, NotADirectoryError):
            return self._state_of_link()
        except (OSError, EcovisionError) as e:
            state = self._state_of_link()
            if not self._told:
                self._told = True
                now = "none" if state.active is None else state.active[:12]
                _LOGGER.warning("%s: going on with bundle %s", _unusable(self._state_file, e), now)
            return state

    def _state_of_link(self) -> State:
        name = (self._target() or "").rpartition("/")[2]
        return State(active=name, history=(Activation(name, 0.0),)) if self.has(name) else State()

    def change(self, edit: Callable[[State], State]) -> State:
        """Let `edit` make a new state of the present one, and the link follow: whole, or not at all.

        Raises:
            StoreError: nothing can be changed now; nothing was.
        """
        with self.locked():
            before = self.read()
            after = edit(before)
            beside = self._link_beside(_wanted(after.active))
            try:
                if after != before or not is_there(self._state_file):
                    replace_file(self._state_file, [after.dumps()], fsync=True, mode=0o644)
                    sync_folder(self.root)
            except BaseException:
                if beside is not None:
                    beside.unlink(missing_ok=True)
                raise
            self._point(beside, after.active)
        return after

    def is_settled(self, active: str | None) -> bool:
        """Return whether the link is as it should be, and no power cut left litter."""
        return self._target() == _wanted(active) and not self._litter()

    def clean(self) -> None:
        """Remove what power cuts left; raises StoreError."""
        with self.locked():
            for path in self._litter():
                _delete(path)

    def prepare(self) -> None:
        """Find out whether something can be changed here; raises StoreError."""
        with self.locked():
            beside = self._link_beside("bundles")
            if beside is not None:
                beside.unlink()

    def add(self, folder: Path, *, again: bool = False) -> str:
        """Move a whole bundle, below `root`, to its place; returns its id.

        One that is here already stays, unless it is to be taken `again`.

        Raises:
            StoreError: it cannot be moved.
        """
        with self.locked():
            bundle = hashlib.sha256(read_regular_file(folder / MANIFEST_NAME, MAX_MANIFEST_BYTES)).hexdigest()
            self.bundles.mkdir(exist_ok=True)
            if self.has(bundle) and not again:
                _delete(folder)
                return bundle
            self.remove(bundle)
            folder.rename(self.bundles / bundle)
            sync_folder(self.bundles)
            sync_folder(self.root)
        return bundle

    def remove(self, bundle: str) -> None:
        """Remove a bundle, within `locked`: its name first, so that half of one never has a bundle's name."""
        folder = self.folder(bundle)
        if is_there(folder, link=True):
            beside = folder.with_name(f".removed-{os.urandom(8).hex()}")
            folder.rename(beside)
            sync_folder(self.bundles)
            _delete(beside)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store's lock, which waits for no more than 10 seconds.

        Raises:
            StoreError: it is not to be had; or what the disk refuses within.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with _open_lock(self.root / "lock") as lock:
                for left in reversed(range(_LOCK_TRIES)):
                    if try_lock(lock.fileno()):
                        break
                    if left == 0:
                        raise StoreError(f"{self.root} is in use", found="another process changes it")
                    time.sleep(_LOCK_PAUSE_S)
                yield
        except OSError as e:
            if isinstance(e, EcovisionError):
                raise
            raise StoreError(f"cannot change {self.root}", found=reason_of(e)) from e

    @contextlib.contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Hold the lock of what takes long, and is done by one process at a time.

        Raises:
            TryLaterError: another one holds it.
            StoreError: the disk refuses.
        """
        try:
            lock = _open_lock(self.root / f"{what}.lock")
        except OSError as e:
            raise StoreError(f"cannot change {self.root}", found=reason_of(e)) from e
        with lock:
            if not try_lock(lock.fileno()):
                raise TryLaterError(f"{self.root} is in use", found=f"another process is at it: {what}")
            yield

    def _litter(self) -> list[Path]:
        return [p for folder in (self.root, self.bundles) for glob in _LITTER for p in folder.glob(glob)]

    def _target(self) -> str | None:
        """Return where the link leads; None if there is none."""
        try:
            return os.fspath(self.link.readlink())
        except OSError:
            return None

    def _link_beside(self, wanted: str | None) -> Path | None:
        """Make the new link beside the old one, before anything is changed; None if the old one is right."""
        if wanted is None or wanted == self._target():
            return None
        beside = self.root / f".current-{os.urandom(8).hex()}"
        try:
            beside.symlink_to(wanted, target_is_directory=True)
        except OSError as e:
            if e.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            raise StoreError(
                f"no links can be made in {self.root}",
                expected="a file system with symbolic links, such as ext4",
                found=reason_of(e),
                fix="put the store elsewhere: --store DIR",
            ) from e
        return beside

    def _put_folder_away(self) -> None:
        """Remove a folder in the link's place: of a store that was copied by `scp -r`, say."""
        if is_folder(self.link) and not self.link.is_symlink():
            beside = self.root / f".removed-{os.urandom(8).hex()}"
            self.link.rename(beside)
            _delete(beside)

    def _point(self, beside: Path | None, active: str | None) -> None:
        """Let the link follow the state, which holds by now: what cannot be done is left to `repair`."""
        try:
            self._put_folder_away()
            if beside is not None:
                beside.replace(self.link)
                sync_folder(self.root)
            elif active is None and is_there(self.link, link=True):
                self.link.unlink()
                sync_folder(self.root)
        except OSError as e:
            _LOGGER.warning("cannot renew %s (%s): it follows at the next start", self.link, reason_of(e))


def _open_lock(path: Path) -> IO[bytes]:
    """Open a file to be locked; one that root made, at a shell, is not a service's to write, but to read."""
    try:
        return path.open("ab")
    except PermissionError:
        return path.open("rb")


def _wanted(bundle: str | None) -> str | None:
    return None if bundle is None else f"bundles/{bundle}"


def _unusable(path: Path, error: OSError | EcovisionError) -> str:
    return f"cannot use {path} ({reason_of(error)})"


def _delete(path: Path) -> None:
    if is_folder(path) and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
