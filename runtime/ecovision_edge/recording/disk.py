"""Files of a recording: written whole or not at all, removed by pairs, mended after a kill.

A frame is a picture, `STEM.png` or `STEM.jpg`, and its sidecar, `STEM.json`. Both are written under hidden
names, then the picture gets its own, then the sidecar; on removal it is the other way round. So whoever sees
a picture finds its result too, under one name or the other, whenever the process was killed.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from ecovision_edge.base.files import read_regular_file, sync_folder, try_lock, write_file
from ecovision_edge.errors import RecordError
from ecovision_edge.recording.sidecar import MAX_SIDECAR_BYTES, is_sidecar

__all__ = [
    "hidden_name",
    "lock_folder",
    "mend",
    "pictures_of",
    "read_sidecar",
    "remove_pair",
    "sidecar_of",
    "write_file",
    "write_pair",
]

_HIDDEN = ".ecovision-tmp"
_HIDDEN_NAME = re.compile(rf"\.(.*\d{{9}}\.(?:png|jpg|json)){re.escape(_HIDDEN)}")


def hidden_name(path: Path) -> Path:
    """Return the name of a file of ours until it is whole; nobody else's look like it."""
    return path.with_name(f".{path.name}{_HIDDEN}")


def sidecar_of(picture: Path) -> Path:
    """Return where the sidecar of a picture is."""
    return picture.with_suffix(".json")


def pictures_of(sidecar: Path) -> list[Path]:
    """Return where the picture of a sidecar may be."""
    return [sidecar.with_suffix(".png"), sidecar.with_suffix(".jpg")]


def write_pair(picture: Path, image: bytes, sidecar: bytes, *, fsync: bool) -> None:
    """Write a picture and its sidecar; on an error neither is there, as far as the disk lets it.

    Raises:
        OSError: of the disk.
    """
    files = ((picture, image), (sidecar_of(picture), sidecar))
    ours: list[Path] = []
    try:
        for path, data in files:
            ours.insert(0, hidden_name(path))
            write_file(hidden_name(path), data, fsync=fsync)
        for path, _ in files:
            hidden_name(path).replace(path)
            ours.insert(0, path)
    except BaseException:
        for path in ours:
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    if fsync:
        sync_folder(picture.parent, if_possible=True)


def remove_pair(picture: Path) -> bool:
    """Remove a picture and its sidecar, whichever is there; whether the picture was.

    Raises:
        OSError: of the disk.
    """
    sidecar = sidecar_of(picture)
    there = True
    with contextlib.suppress(FileNotFoundError):
        sidecar.replace(hidden_name(sidecar))
    try:
        picture.unlink()
    except FileNotFoundError:
        there = False
    with contextlib.suppress(FileNotFoundError):
        hidden_name(sidecar).unlink()
    return there


def mend(folder: Path) -> None:
    """Finish what a killed process left: a picture gets its sidecar back, hidden files go.

    Raises:
        OSError: of the disk.
    """
    with os.scandir(folder) as entries:
        matches = [_HIDDEN_NAME.fullmatch(e.name) for e in entries if e.is_file(follow_symlinks=False)]
    targets = [folder / match[1] for match in matches if match]
    for target in sorted(targets, key=lambda path: path.suffix):  # .json first: it needs to see the others
        hidden = hidden_name(target)
        # A picture that is hidden as well never got its name: one of that name is not ours.
        regular = [p for p in pictures_of(target) if p.is_file() and not p.is_symlink()]
        pictures = [p for p in regular if not hidden_name(p).exists()]
        if target.suffix != ".json" or target.exists() or not pictures:
            hidden.unlink()
        elif is_sidecar(read_regular_file(hidden, MAX_SIDECAR_BYTES)):
            hidden.replace(target)
        else:  # after a power cut: the picture's result never got to the disk
            pictures[0].unlink()
            hidden.unlink()


def read_sidecar(picture: Path) -> bytes | None:
    """Read the sidecar of a picture, also under its hidden name; None if there is none.

    Raises:
        OSError: of the disk.
    """
    path = sidecar_of(picture)
    for name in (path, hidden_name(path)):
        with contextlib.suppress(FileNotFoundError):
            return read_regular_file(name, MAX_SIDECAR_BYTES)
    return None


def lock_folder(folder: Path) -> int | None:
    """Make this the only recorder of the folder until the descriptor is closed; None where nothing can lock.

    Raises:
        RecordError: another one has it.
        OSError: of the disk.
    """
    if os.name != "posix":  # nor can a folder be opened
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        free = try_lock(descriptor)
    except OSError:  # a file system that has no locks
        os.close(descriptor)
        return None
    if not free:
        os.close(descriptor)
        raise RecordError(
            f"cannot record to {folder}", found="another recorder at work there", fix="choose another folder"
        )
    return descriptor
