"""The files of a release, fetched into a folder: what is here is taken from here, what broke off goes on."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ecovision_edge.base.backoff import Backoff
from ecovision_edge.base.files import is_file, is_folder, is_there, sync_folder
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import EcovisionError, FetchError, StoreError, UntrustedError
from ecovision_edge.releases.channel import Release, ReleaseFile
from ecovision_edge.updates.web import Answer, Web

__all__ = ["Incoming", "is_whole"]

_READ = 2**20
_TRIES = 4  # without a byte in between
_RESERVE = 32 * 2**20  # bytes of the disk that are left to others


class Incoming:
    """The folder in which a release arrives, below the store: `incoming/ID/` and `incoming/SHA256.part`.

    Args:
        root: The store's folder.
        known: Folders of bundles whose files may be the same, each with whether its files may be linked: the
            store's own; others are copied.
    """

    def __init__(self, root: Path, known: Iterable[tuple[Path, bool]] = ()) -> None:
        self._root = root / "incoming"
        self._known = tuple(known)

    def clean(self, release: Release | None = None) -> None:
        """Remove what belongs to another release than this one; raises StoreError."""
        keep = set() if release is None else {release.bundle, *(_part(f) for f in release.files)}
        with _disk(self._root):
            if is_folder(self._root):
                for path in self._root.iterdir():
                    if path.name not in keep:
                        shutil.rmtree(path) if is_folder(path) and not path.is_symlink() else path.unlink()

    def take(self, release: Release, address: Callable[[ReleaseFile], str], web: Web) -> Path:
        """Return the folder with all files of a release, each checked, on the disk.

        Args:
            release: What is wanted.
            address: Where a file of it is fetched.
            web: Fetches.

        Raises:
            FetchError: a file cannot be fetched now; what came of it stays.
            UntrustedError: a file is not the one that was signed.
            StoreError: the disk is full, or cannot be written.
        """
        folder = self._root / release.bundle
        with _disk(self._root):
            folder.mkdir(parents=True, exist_ok=True)
        missing = [file for file in release.files if not self._is_here(folder, file)]
        self._check_room(missing)
        for file in missing:
            if not self._is_here(folder, file):  # two names may be one file
                self._fetch(file, folder / file.file, address(file), web)
        with _disk(self._root):
            names = {file.file for file in release.files}
            for path in folder.iterdir():
                if path.name not in names:
                    path.unlink()
            sync_folder(folder)
            sync_folder(self._root)
        return folder

    def _is_here(self, folder: Path, file: ReleaseFile) -> bool:
        """Return whether a file is in its place, if need be from another bundle."""
        place = folder / file.file
        with _disk(self._root):
            if is_there(place, link=True):
                if is_whole(place, file):
                    return True
                place.unlink()
            for other, linked in [*self._known, (folder, True)]:
                for path in _files(other):
                    if is_whole(path, file):
                        _place(path, place, linked=linked)
                        return True
        return False

    def _check_room(self, missing: Iterable[ReleaseFile]) -> None:
        with _disk(self._root):
            parts = [self._root / _part(file) for file in missing]
            came = sum(part.stat().st_size for part in parts if is_file(part))
            free = shutil.disk_usage(self._root).free
        needed = sum(file.bytes for file in missing) - came
        if needed + _RESERVE > free:
            raise StoreError(
                f"no room in {self._root}",
                expected=f"{(needed + _RESERVE) / 1e6:.0f} MB",
                found=f"{free / 1e6:.0f} MB",
                fix="free some, for instance by `ecovision-edge bundles prune`",
            )

    def _fetch(self, file: ReleaseFile, place: Path, url: str, web: Web) -> None:
        part = self._root / _part(file)
        with _disk(self._root), part.open("ab+") as stream:
            resumed = self._fill(stream, file, url, web)
            if not _has(stream, file):
                stream.truncate(0)
                if resumed:  # what was here may have been spoilt, by a power cut for instance
                    self._fill(stream, file, url, web)
                if not resumed or not _has(stream, file):
                    stream.truncate(0)
                    raise UntrustedError(
                        f"{url} is not the file that was signed",
                        expected=f"sha256 {file.sha256}",
                        found="another",
                    )
            os.fsync(stream.fileno())
            part.rename(place)

    def _fill(self, stream: BinaryIO, file: ReleaseFile, url: str, web: Web) -> bool:
        """Fetch until all bytes are here; returns whether there were some before."""
        begun = size = stream.seek(0, os.SEEK_END)
        if size > file.bytes:
            stream.truncate(0)
            begun = size = 0
        backoff, left = Backoff(1.0, 30.0), _TRIES
        while size < file.bytes:
            try:
                with web.get(url, size) as answer:
                    _append(answer, stream, file, url)
            except FetchError:
                left = left - 1 if stream.seek(0, os.SEEK_END) <= size else _TRIES - 1
                if left == 0:
                    raise
                web.pause(backoff.next())
            size = stream.seek(0, os.SEEK_END)
        return begun > 0


def _append(answer: Answer, stream: BinaryIO, file: ReleaseFile, url: str) -> None:
    """Write what a server answers behind what is here; from the beginning if it gives the file whole."""
    if answer.status not in (200, 206):
        raise FetchError(f"cannot fetch {url}", found=f"HTTP status {answer.status}")
    if answer.total is not None and answer.total != file.bytes:
        raise UntrustedError(
            f"{url} is not the file that was signed", expected=f"{file.bytes} bytes", found=answer.total
        )
    if answer.start == 0:
        stream.truncate(0)
    left = file.bytes - stream.seek(0, os.SEEK_END)
    for chunk in answer.chunks:
        left -= len(chunk)
        if left < 0:
            raise UntrustedError(
                f"{url} is not the file that was signed", expected=f"{file.bytes} bytes", found="more"
            )
        stream.write(chunk)
    stream.flush()
    if left > 0:  # a server that does not say how much it gives
        raise FetchError(f"cannot fetch {url}", found="it broke off")


def _has(stream: BinaryIO, file: ReleaseFile) -> bool:
    stream.flush()
    stream.seek(0)
    return _digest(stream) == file.sha256


def _digest(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    while data := stream.read(_READ):
        digest.update(data)
    return digest.hexdigest()


def is_whole(path: Path, file: ReleaseFile) -> bool:
    """Return whether a file is there, with the size and the sha256 of the release's."""
    with contextlib.suppress(OSError):
        if is_file(path) and not path.is_symlink() and path.stat().st_size == file.bytes:
            with path.open("rb") as stream:
                return _digest(stream) == file.sha256
    return False


def _place(path: Path, place: Path, *, linked: bool) -> None:
    """Link a file to its place, or copy it there: whole on the disk before it has its name."""
    if linked:
        with contextlib.suppress(OSError):  # vfat has no links; a file may have too many
            place.hardlink_to(path)
            return
    beside = place.with_name(f".{place.name}.copy")
    with path.open("rb") as source, beside.open("wb") as target:
        shutil.copyfileobj(source, target)
        target.flush()
        os.fsync(target.fileno())
    beside.replace(place)


def _files(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _part(file: ReleaseFile) -> str:
    return f"{file.sha256}.part"


@contextlib.contextmanager
def _disk(root: Path) -> Iterator[None]:
    """Turn what the disk refuses into a StoreError."""
    try:
        yield
    except OSError as e:
        if isinstance(e, EcovisionError):
            raise
        raise StoreError(f"cannot write to {root}", found=reason_of(e)) from e
