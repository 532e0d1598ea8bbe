"""Ask what a path leads to; read a file of unknown origin without ever waiting; write one whole; lock one."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "behind_links",
    "is_file",
    "is_folder",
    "is_open_file",
    "is_ours",
    "is_there",
    "one_name",
    "read_regular_file",
    "replace_file",
    "sync_folder",
    "try_lock",
    "write_file",
]


def is_there(path: str | os.PathLike[str], *, link: bool = False) -> bool:
    """Return whether anything is at a path, with `link` a broken link too.

    Of no name an error, as of `is_folder` and `is_file`: the methods of `Path` raise OSError over one that is
    too long, or in a folder that may not be looked into.
    """
    return os.path.lexists(path) if link else os.path.exists(path)  # noqa: PTH110 - raises over no name


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder is at a path, or a link to one; of no name an error."""
    return os.path.isdir(path)  # noqa: PTH112 - raises over no name


def is_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a regular file is at a path, or a link to one; of no name an error."""
    return os.path.isfile(path)  # noqa: PTH113 - raises over no name


def is_ours(status: os.stat_result) -> bool:
    """Return whether nobody but this user and root can have written a file, or to a folder: POSIX alone."""
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def read_regular_file(path: Path, most: int, *, ours: bool = False) -> bytes:
    """Read at most `most` + 1 bytes of a regular file: more than `most` says that it is too large.

    Args:
        path: The file.
        most: Bytes.
        ours: Refuse one that others can have written (`is_ours`).

    Raises:
        OSError: missing, not readable, or a folder, pipe, socket or device; or others can have written it.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("no regular file")
        if ours and not is_ours(status):
            raise OSError("others can write it")
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


def replace_file(
    path: Path, chunks: Iterable[bytes], *, fsync: bool = False, mode: int | None = None
) -> None:
    """Write a file whole or not at all: it takes the place of the old one when all of it is there.

    A link stays, and the file it leads to is replaced. What is no regular file (a device, a pipe, the
    descriptor that `/dev/stdout` leads to) is never replaced: it is written to, as a shell's `>` would.

    Args:
        path: The file.
        chunks: What it holds.
        fsync: Bring it to the disk first, so that a power cut leaves the old file or the new one.
        mode: Its permissions; None keeps those of the old file, and gives a new one the usual ones.

    Raises:
        OSError: of the disk; a folder in its place; a loop of links.
    """
    try:
        before = path.stat()
    except FileNotFoundError:
        before = None
    target = behind_links(path)
    if target is None or (before is not None and not stat.S_ISREG(before.st_mode)):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(descriptor, "wb") as stream:
            stream.writelines(chunks)
        return
    if mode is None and before is not None:
        mode = before.st_mode & 0o777
    part = target.with_name(f".ecovision-{os.urandom(8).hex()}.tmp")
    try:
        with part.open("xb") as stream:  # never through a link that somebody else put there
            stream.writelines(chunks)
            if mode is not None:
                part.chmod(mode)
            if fsync:
                stream.flush()
                os.fsync(stream.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def behind_links(path: Path) -> Path | None:
    """Follow a chain of links to its end, there or not; None if that is an open descriptor of a process.

    Raises:
        OSError: a loop of links.
    """
    for _ in range(40):  # as many as Linux follows
        if not path.is_symlink():
            return path
        folder = path.parent.resolve()
        if folder.is_relative_to("/proc"):
            return None
        path = folder / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def one_name(path: str | os.PathLike[str]) -> str:
    """Return one text per file, whatever links lead there; also where nothing is, or can be."""
    try:
        return os.path.realpath(path)
    except ValueError:  # a zero byte
        return os.fspath(path)


def is_open_file(path: Path, descriptor: int) -> bool:
    """Return whether a path still leads to an open file, which may have been renamed or removed meanwhile.

    Raises:
        OSError: of the disk; not that nothing is there.
    """
    try:
        there = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def try_lock(descriptor: int) -> bool:
    """Lock an open file or folder until its descriptor is closed; False if another one has locked it.

    Raises:
        OSError: nothing can be locked there: a file system, or an operating system, without such locks.
    """
    try:
        import fcntl
    except ImportError as e:  # not POSIX
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)) from e
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sync_folder(folder: Path, *, if_possible: bool = False) -> None:
    """Bring the names in a folder to the disk: of files that are new, renamed or removed.

    Args:
        folder: Folder that holds the names.
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
