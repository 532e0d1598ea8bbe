"""Events as JSON lines, on standard output or in a file that does not grow without end."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from ecovision_edge.errors import OptionError, SinkError
from ecovision_edge.events import BinEvent
from ecovision_edge.files import sync_folder
from ecovision_edge.sinks._payload import event_bytes
from ecovision_edge.sinks.base import Sink

__all__ = ["FileSink", "StdoutSink"]

_TAIL = 2**16  # bytes that are looked through at a time for the end of the last whole line


class StdoutSink(Sink):
    """One JSON line an event, on standard output."""

    def __init__(self) -> None:
        """Takes no options."""
        super().__init__("stdout")

    def deliver(self, event: BinEvent) -> None:
        """Write and flush the line."""
        line = event_bytes(event).decode() + "\n"
        try:
            sys.stdout.write(line)
            sys.stdout.flush()
        except (OSError, ValueError) as e:  # ValueError: closed
            raise SinkError("cannot write to standard output", found=str(e)) from e


class FileSink(Sink):
    """One JSON line an event, in a file; when it is full it becomes `PATH.1`, and that `PATH.2`, and so on.

    A line is written whole and handed to the system; with `fsync` to the disk itself before the event counts
    as delivered. What a power cut left of a last line is cut off at the next start.

    Args:
        path: The file; its folder is made if it is not there.
        max_bytes: A file that would become larger is put aside first; at least 1,000.
        keep: Files put aside, from 0 to 999; older ones are removed.
        fsync: Wait for the disk with each event.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 10_000_000,
        keep: int = 5,
        fsync: bool = False,
    ) -> None:
        if max_bytes < 1000:
            raise OptionError("max_bytes of a file of events", expected="1,000 or more", found=max_bytes)
        if not 0 <= keep <= 999:
            raise OptionError("keep of a file of events", expected="0 to 999", found=keep)
        super().__init__(f"file {os.fspath(path)}")
        self._path, self._max_bytes, self._keep, self._fsync = Path(path), max_bytes, keep, fsync
        self._descriptor: int | None = None

    def check(self) -> None:
        """Open the file and close it again, before `start`; a sink that was started tries without end.

        Raises:
            OptionError: it cannot be written, or its folder cannot be made.
        """
        try:
            self.connect()
        except SinkError as e:
            cause = e.__cause__
            found = (cause.strerror if isinstance(cause, OSError) else None) or str(e)
            raise OptionError(f"file {self._path}", expected="a file to write to", found=found) from e
        finally:
            self.disconnect()

    def connect(self) -> None:
        """Open the file, and cut off a line that was not finished."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
            self._descriptor = os.open(self._path, flags, 0o644)
            self._mend(self._descriptor)
            if self._fsync:
                sync_folder(self._path.parent)  # the name of a new file, and of those put aside
        except OSError as e:
            raise self._problem(e) from e

    def deliver(self, event: BinEvent) -> None:
        """Append the line, in a new file if it would not fit."""
        line = event_bytes(event) + b"\n"
        try:
            assert self._descriptor is not None
            size = os.fstat(self._descriptor).st_size
            if size and size + len(line) > self._max_bytes:
                self._put_aside()
            self._append(line)
        except OSError as e:
            raise self._problem(e) from e

    def disconnect(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _append(self, line: bytes) -> None:
        assert self._descriptor is not None
        before = os.fstat(self._descriptor).st_size
        try:
            _write_whole(self._descriptor, line)
            if self._fsync:
                os.fsync(self._descriptor)
        except OSError:  # it is tried again: no half line, and none twice
            with contextlib.suppress(OSError):  # what failed first is what is told
                os.ftruncate(self._descriptor, before)
            raise

    def _put_aside(self) -> None:
        self.disconnect()
        for number in range(self._keep, 0, -1):
            older = self._path if number == 1 else self._aside(number - 1)
            if older.exists():
                older.replace(self._aside(number))
        if self._keep == 0:
            self._path.unlink()
        self.connect()

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    @staticmethod
    def _mend(descriptor: int) -> None:
        size = end = os.fstat(descriptor).st_size
        while end > 0:  # back to the end of the last whole line
            start = max(0, end - _TAIL)
            newline = os.pread(descriptor, end - start, start).rfind(b"\n")
            end = start + newline + 1 if newline >= 0 else start
            if newline >= 0:
                break
        if end < size:
            os.ftruncate(descriptor, end)

    def _problem(self, error: OSError) -> SinkError:
        if isinstance(error, SinkError):
            return error
        return SinkError(f"cannot write {self._path}", found=error.strerror or str(error))


def _write_whole(descriptor: int, line: bytes) -> None:
    if os.write(descriptor, line) != len(line):  # the disk is full
        raise OSError("no space for a whole line")
