"""The folder of a repository: what is read is verified as a device would, and files are written whole.

    metadata/  N.root.json, N.targets.json, N.snapshot.json, timestamp.json
    targets/   files/HASH.HASH and channels/HASH.NAME.json
    staged/    what waits for another signature; devices never look there

All of it is public. A device follows `timestamp.json` to one snapshot, and that to one list of targets: new
files have new names, and nobody sees them until that one file is replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from ecovision_edge.base.files import (
    is_file,
    is_folder,
    is_there,
    read_regular_file,
    replace_file,
    sync_folder,
    try_lock,
)
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.bundle.manifest import MAX_FILE_BYTES
from ecovision_edge.errors import ReleaseError
from ecovision_edge.releases.channel import MAX_CHANNEL_BYTES, Channel
from ecovision_edge.releases.reading import Payload, altered, parse, verify

__all__ = ["Repository", "StagedRole", "State", "stored_name"]

StagedRole = Literal["root", "targets"]

MAX_METADATA_BYTES = 4_000_000
"""python-tuf's client reads at most 5,000,000 bytes of targets, some 20,000 files; this stops before."""
_AGAIN = "what devices see has not changed; run it again"


@dataclass(frozen=True, slots=True)
class State:
    """The newest metadata, each verified by the newest root."""

    root: Metadata[Root]
    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]


def stored_name(target: str, sha256: str) -> str:
    """Return the name of a target's file below `targets/`: it begins with the hash (consistent snapshots)."""
    folder, slash, name = target.rpartition("/")
    return f"{folder}{slash}{sha256}.{name}"


class Repository:
    """A repository in a folder.

    Args:
        folder: It, or where it will be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._metadata, self._targets, self._staged = (
            folder / name for name in ("metadata", "targets", "staged")
        )

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all other publishers out, and remove what killed ones have left.

        Raises:
            ReleaseError: another one is at work, or there is no repository.
        """
        if not is_file(self._metadata / "1.root.json"):
            raise ReleaseError(
                "no repository of releases",
                expected="metadata/1.root.json in the folder",
                found=str(self.folder.absolute()),
                fix="name it by --repository, or make one with `ecovision-edge release init`",
            )
        try:
            descriptor = os.open(self.folder, os.O_RDONLY)
        except OSError as e:
            raise ReleaseError(f"cannot open {self.folder}", found=reason_of(e)) from e
        try:
            if not self._try_lock(descriptor):
                raise ReleaseError(
                    f"{self.folder} is in use",
                    found="another publisher is at work on it",
                    fix="run this again when that one has ended",
                )
            self._remove_leftovers()
            yield
        finally:
            os.close(descriptor)

    def load(self, pins: Iterable[tuple[int, Path]] = ()) -> State:
        """Read the newest metadata, and verify it as a device would that trusts a root of `pins`.

        Whoever may write to a web server's folder must not get a publisher to sign what they put there.

        Args:
            pins: Copies of roots of this repository from elsewhere, each with its version.

        Raises:
            ReleaseError: something is missing, malformed, or not signed as it has to be.
        """
        root = self._load_root(pins)
        timestamp: Metadata[Timestamp] = self._load("timestamp", Timestamp, root.signed)
        version = timestamp.signed.snapshot_meta.version
        snapshot: Metadata[Snapshot] = self._load("snapshot", Snapshot, root.signed, version)
        listed = snapshot.signed.meta.get("targets.json")
        if listed is None:
            raise altered(f"{version}.snapshot.json", "it names no targets.json")
        targets: Metadata[Targets] = self._load("targets", Targets, root.signed, listed.version)
        return State(root, targets, snapshot, timestamp)

    def channels(self, targets: Targets) -> dict[str, Channel]:
        """Read the channels that a list of targets has, by name.

        Raises:
            ReleaseError: one is missing, or not the one that was signed.
        """
        found = {}
        for path, target in sorted(targets.targets.items()):
            if path.startswith("channels/"):
                channel = Channel.loads(self.read_target(target, MAX_CHANNEL_BYTES))
                found[channel.name] = channel
        return found

    def read_target(self, target: TargetFile, most: int = MAX_FILE_BYTES) -> bytes:
        """Read the file of a target.

        Raises:
            ReleaseError: it is missing, larger than `most` bytes, or not the one that was signed.
        """
        data = self._read(self._targets / stored_name(target.path, target.hashes["sha256"]), most)
        try:
            target.verify_length_and_hashes(data)
        except LengthOrHashMismatchError as e:
            raise altered(target.path, reason_of(e)) from e
        return data

    def has_target(self, target: TargetFile) -> bool:
        """Return whether the file of a target is there, of the right size."""
        path = self._targets / stored_name(target.path, target.hashes["sha256"])
        return is_file(path) and path.stat().st_size == target.length

    def put_target(self, path: str, data: bytes) -> TargetFile:
        """Store the file of a target, unless it is there already; return what is to be signed of it.

        Raises:
            ReleaseError: it cannot be written.
        """
        target = TargetFile.from_data(path, data, ["sha256"])
        file = self._targets / stored_name(path, target.hashes["sha256"])
        if not _holds(file, data):
            self._write(file, data)
        return target

    def put(self, signed: Metadata[Payload]) -> None:
        """Write metadata under the name by which devices ask for it.

        Raises:
            ReleaseError: it cannot be written, or is too large for devices.
        """
        role, version = signed.signed.type, signed.signed.version
        name = "timestamp.json" if role == "timestamp" else f"{version}.{role}.json"
        data = signed.to_bytes()
        if len(data) > MAX_METADATA_BYTES:
            raise ReleaseError(
                f"{name} is too large for devices",
                expected=f"at most {MAX_METADATA_BYTES} bytes",
                found=len(data),
                fix="withdraw old releases first",
            )
        self._write(self._metadata / name, data)

    def staged(self, role: StagedRole) -> bytes | None:
        """Return metadata that waits for signatures; None if there is none."""
        path = self._staged / f"{role}.json"
        return self._read(path, MAX_METADATA_BYTES) if is_there(path) else None

    def stage(self, signed: Metadata[Root] | Metadata[Targets]) -> None:
        """Keep metadata until it has all its signatures.

        Raises:
            ReleaseError: it cannot be written.
        """
        self._write(self._staged / f"{signed.signed.type}.json", signed.to_bytes())

    def unstage(self, role: StagedRole) -> None:
        """Remove metadata that waits for signatures, if there is any."""
        (self._staged / f"{role}.json").unlink(missing_ok=True)

    def root_path(self, version: int) -> Path:
        """Return where a version of the root is."""
        return self._metadata / f"{version}.root.json"

    def _load_root(self, pins: Iterable[tuple[int, Path]]) -> Metadata[Root]:
        for version, pin in pins:
            path = self.root_path(version)
            if not is_file(path) or self._read(path) != self._read(pin):
                raise altered(f"{version}.root.json", f"not the one that lies with the keys, {pin}")
        newest = parse(self._read(self.root_path(1)), "1.root.json", Root)
        verify(newest.signed, "root", newest, "1.root.json")
        while is_file(path := self.root_path(newest.signed.version + 1)):
            following = parse(self._read(path), path.name, Root)
            verify(newest.signed, "root", following, path.name)
            verify(following.signed, "root", following, path.name)
            if following.signed.version != newest.signed.version + 1:
                raise altered(path.name, f"it says that it is version {following.signed.version}")
            newest = following
        return newest

    def _load(
        self, role: str, kind: type[Payload], root: Root, version: int | None = None
    ) -> Metadata[Payload]:
        name = f"{role}.json" if version is None else f"{version}.{role}.json"
        loaded = parse(self._read(self._metadata / name), name, kind)
        verify(root, role, loaded, name)
        if version is not None and loaded.signed.version != version:
            raise altered(name, f"it says that it is version {loaded.signed.version}")
        return loaded

    def _read(self, path: Path, most: int = MAX_METADATA_BYTES) -> bytes:
        try:
            data = read_regular_file(path, most)
        except OSError as e:
            raise ReleaseError(f"cannot read {path}", found=reason_of(e)) from e
        if len(data) > most:
            raise ReleaseError(f"{path} is too large", expected=f"at most {most} bytes", found="more")
        return data

    def _write(self, path: Path, data: bytes) -> None:
        try:
            _make_public(path.parent)
            replace_file(path, [data], fsync=True, mode=0o644)
            sync_folder(path.parent, if_possible=True)
        except OSError as e:
            raise ReleaseError(f"cannot write {path}", found=reason_of(e), fix=_AGAIN) from e

    def _try_lock(self, descriptor: int) -> bool:
        try:
            return try_lock(descriptor)
        except OSError as e:
            raise ReleaseError(f"cannot lock {self.folder}", found=reason_of(e)) from e

    def _remove_leftovers(self) -> None:
        """Remove the parts of files that a kill has left; the lock says that nobody writes them any more."""
        for leftover in self.folder.glob("*/**/.ecovision-*.tmp"):
            with contextlib.suppress(OSError):
                leftover.unlink()


def _make_public(folder: Path) -> None:
    """Make a folder, and those that it is in, for a web server to read, whatever a publisher's umask is."""
    if not is_folder(folder):
        _make_public(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)


def _holds(path: Path, data: bytes) -> bool:
    """Return whether a file holds these bytes: one that a disk has damaged is written again."""
    if not is_file(path) or path.stat().st_size != len(data):
        return False
    with path.open("rb") as stream:
        return hashlib.sha256(stream.read()).digest() == hashlib.sha256(data).digest()
