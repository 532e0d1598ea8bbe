"""Read a file that nobody vouches for, without ever waiting for it; and bring what is written to the disk."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

__all__ = ["read_regular_file", "sync_folder", "write_file"]


def read_regular_file(path: Path, most: int) -> bytes:
    """At most `most` + 1 bytes of a regular file: more than `most` says that it is too large.

    Raises:
        OSError: missing, not readable, or a folder, pipe, socket or device.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path.name} is no regular file")
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read(most + 1)
    finally:
        os.close(descriptor)


def write_file(path: Path, data: bytes, *, fsync: bool) -> None:
    """Write a file, with `fsync` to the disk itself.

    Raises:
        OSError: of the disk.
    """
    with path.open("wb") as stream:
        stream.write(data)
        if fsync:
            stream.flush()
            os.fsync(stream.fileno())


def sync_folder(folder: Path, *, if_possible: bool = False) -> None:
    """Bring the names in a folder to the disk: of files that are new, renamed or removed.

    Args:
        folder: Of the names.
        if_possible: Some file systems cannot; that is then no error.

    Raises:
        OSError: of the disk, or a file system that cannot.
    """
    with contextlib.suppress(OSError) if if_possible else contextlib.nullcontext():
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
