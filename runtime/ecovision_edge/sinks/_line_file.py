"""A file of JSON lines that one process appends to, while others may rename, compress or remove it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from pathlib import Path

from ecovision_edge.base.files import behind_links, is_open_file, sync_folder, try_lock
from ecovision_edge.events import EVENT_SCHEMA_VERSION

__all__ = ["LineFile"]

_HEAD = b'{"schema_version":%d,"type":"' % EVENT_SCHEMA_VERSION  # how each of our lines begins
_MOST_TAIL = 2**20  # bytes: no line of ours is longer


class LineFile:
    """Appends lines, each whole, to the file that has this name now; for one thread.

    Before each line it looks whether the path still leads to the open file: one that was renamed, removed or
    replaced, or whose folder was, is opened again, and made if nothing is there. Only one `LineFile` has a
    file open, by a lock, as far as the file system has locks. What is no regular file (a pipe, a device) is
    only ever appended to, and a pipe only while somebody reads it.

    Args:
        path: The file; its folder is made if it is not there.
        max_bytes: A file that would become larger is renamed to `PATH.1`, and that to `PATH.2`, and so on.
            Of a link, the file that it leads to is.
        keep: Files put aside; older ones are removed.
        fsync: Wait for the disk with each line.
    """

    def __init__(self, path: Path, *, max_bytes: int, keep: int, fsync: bool) -> None:
        self._path, self._max_bytes, self._keep, self._fsync = path, max_bytes, keep, fsync
        self._descriptor = -1
        self._regular = False
        self._named: Path | None = None  # the file behind links; None where nothing is to be renamed

    def open(self) -> None:
        """Open the file, and cut off a line of ours that was not finished.

        Raises:
            OSError: of the disk; or another process, or another `LineFile`, has it open.
        """
        self.take()
        if self._regular:
            _cut_torn_line(self._descriptor)
        if self._fsync:
            sync_folder(self._path.parent)  # the name of a new file, and of those put aside

    def take(self) -> None:
        """Open the file and change nothing in it; raises as `open`."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        if self.is_pipe():  # open for reading too, it would swallow lines that nobody reads
            self._descriptor = _open_pipe(self._path, flags | os.O_WRONLY | os.O_NONBLOCK)
        else:
            self._descriptor = os.open(self._path, flags | os.O_RDWR | os.O_CREAT, 0o644)
        self._regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._named = behind_links(self._path) if self._regular else None
        if self._regular and not self._lock():
            raise OSError("another process, or another sink, writes to it")

    def is_pipe(self) -> bool:
        """Return whether a named pipe has this name now."""
        return self._path.is_fifo()

    def last_aside(self) -> Path | None:
        """Return the longest name that a full file gets; None if it is never put aside."""
        try:
            there = behind_links(self._path)
        except OSError:  # opening it tells why
            return None
        return _aside(there, self._keep) if there is not None and self._keep else None

    def append(self, line: bytes) -> None:
        """Append a line, its newline included; in a new file if it would not fit.

        Raises:
            OSError: of the disk; the line is not in the file, unless it was removed at that very moment.
        """
        if self._descriptor < 0 or not is_open_file(self._path, self._descriptor):
            self.close()
            self.open()
        size = os.fstat(self._descriptor).st_size
        if self._named is not None and size and size + len(line) > self._max_bytes:
            self._put_aside(self._named)
        self._write(line)
        if self._regular and os.fstat(self._descriptor).st_nlink == 0:
            raise OSError("it was removed while a line was written")

    def close(self) -> None:
        """Close the file; idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _lock(self) -> bool:
        try:
            return try_lock(self._descriptor)
        except OSError:  # a file system that has no locks
            return True

    def _write(self, line: bytes) -> None:
        before = os.fstat(self._descriptor).st_size
        if self._regular and before and os.pread(self._descriptor, 1, before - 1) != b"\n":
            line = b"\n" + line  # after what somebody else left without one
        try:
            _write_whole(self._descriptor, line)
            if self._fsync:
                os.fsync(self._descriptor)
        except OSError:  # it is tried again: no half line, and none twice
            with contextlib.suppress(OSError):  # what failed first is what is told
                os.ftruncate(self._descriptor, before)
            raise

    def _put_aside(self, path: Path) -> None:
        for number in range(self._keep, 0, -1):
            older = path if number == 1 else _aside(path, number - 1)
            if older.exists():
                older.replace(_aside(path, number))
        if self._keep == 0:
            path.unlink()
        self.close()
        self.open()


def _open_pipe(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags)
    except OSError as e:
        if e.errno == errno.ENXIO:
            raise OSError("nobody reads this pipe") from e
        raise


def _write_whole(descriptor: int, line: bytes) -> None:
    if os.write(descriptor, line) != len(line):  # the disk is full
        raise OSError("no space for a whole line")


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _cut_torn_line(descriptor: int) -> None:
    """Cut off what a power cut left of a last line of ours; anything else stays.

    That is the beginning of a line of ours, and zeros, or a few bytes of one, after a whole line of ours. A
    line that lacks its newline alone stays too.
    """
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, _MOST_TAIL, max(0, size - _MOST_TAIL))
    before, newline, tail = data.rpartition(b"\n")
    if not tail or (not newline and size > len(data)):
        return
    after_ours = bool(newline) and before.rpartition(b"\n")[2].startswith(_HEAD)
    if tail.startswith(_HEAD):
        torn = not _is_json(tail)
    else:
        torn = after_ours and (not tail.strip(b"\0") or _HEAD.startswith(tail))
    if torn:
        os.ftruncate(descriptor, size - len(tail))


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
