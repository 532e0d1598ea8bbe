"""Events, and states, as JSON lines, on standard output or in a file that does not grow without end."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from ecovision_edge.base.files import is_file, is_there, one_name
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import OptionError, SinkError
from ecovision_edge.events import BinEvent, StateMessage
from ecovision_edge.sinks._line_file import LineFile
from ecovision_edge.sinks._payload import event_bytes
from ecovision_edge.sinks.base import Sink
from ecovision_edge.sinks.delivery import Delivery, Pace

__all__ = ["FileDelivery", "FileSink", "StdoutDelivery", "StdoutSink"]

_A_FILE = "a file to write to"


class StdoutSink(Sink):
    """One JSON line per event, on standard output.

    Args:
        states: One for each state too (`StateMessage`).
        device: What the device calls itself, for states.
    """

    def __init__(self, *, states: bool = False, device: str = "") -> None:
        self._delivery = StdoutDelivery(states=states)
        super().__init__("stdout", self._delivery, device=device)


class StdoutDelivery(Delivery):
    """Writes lines to standard output; arguments as those of `StdoutSink`."""

    def __init__(self, *, states: bool = False) -> None:
        self._states = states

    def deliver(self, event: BinEvent) -> None:
        """Write and flush the line."""
        self._write(event)

    def tell(self, message: StateMessage) -> None:
        """Likewise, if that was asked for."""
        if self._states:
            self._write(message)

    def _write(self, message: BinEvent | StateMessage) -> None:
        line = event_bytes(message).decode()
        try:
            try:
                sys.stdout.write(line + "\n")
            except UnicodeEncodeError:  # an encoding without these letters; JSON has escapes for them
                sys.stdout.write(json.dumps(json.loads(line), separators=(",", ":")) + "\n")
            sys.stdout.flush()
        except (OSError, ValueError) as e:  # ValueError: closed
            raise SinkError("cannot write to standard output", found=reason_of(e)) from e


class FileSink(Sink):
    """One JSON line per event, in a file; when it is full it becomes `PATH.1`, and that `PATH.2`, and so on.

    A line is written whole and handed to the system; with `fsync` to the disk itself before the event counts
    as delivered. What a power cut left of a last line of ours is cut off at the next start; what others wrote
    stays. One that was renamed, compressed or removed, as logrotate does, is begun again with the next event.
    Only one sink writes to a file: a second one waits until it may. A named pipe's events wait for a reader.

    Args:
        path: The file; its folder is made if it is not there.
        max_bytes: A file that would become larger is put aside first; at least 1,000.
        keep: Files put aside, from 0 to 999; older ones are removed.
        fsync: Wait for the disk with each event.
        states: A line for each state too (`StateMessage`).
        device: What the device calls itself, for states.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 10_000_000,
        keep: int = 5,
        fsync: bool = False,
        states: bool = False,
        device: str = "",
    ) -> None:
        self._delivery = FileDelivery(path, max_bytes=max_bytes, keep=keep, fsync=fsync, states=states)
        super().__init__(f"file {os.fspath(path)}", self._delivery, device=device)

    def check(self) -> None:
        """Open the file and close it again, before `start`; a sink that was started tries without end.

        Raises:
            OptionError: it cannot be written, its folder cannot be made, or another sink writes to it.
        """
        self._delivery.check()


class FileDelivery(Delivery):
    """Appends lines to a file; arguments as those of `FileSink`."""

    def __init__(
        self, path: str | os.PathLike[str], *, max_bytes: int, keep: int, fsync: bool, states: bool = False
    ) -> None:
        if max_bytes < 1000:
            raise OptionError("max_bytes of a file of events", expected="1,000 or more", found=max_bytes)
        if not 0 <= keep <= 999:
            raise OptionError("keep of a file of events", expected="0 to 999", found=keep)
        self._path, self._states = Path(path), states
        self._file = LineFile(self._path, max_bytes=max_bytes, keep=keep, fsync=fsync)

    def check(self) -> None:
        """See `FileSink.check`."""
        try:
            if not self._file.is_pipe():  # whose reader may come later
                self._file.take()
        except OSError as e:
            raise self._unwritable(e) from e
        finally:
            self._file.close()

    def check_event(self, event: BinEvent) -> None:
        """Refuse a path that can never be one, or be put aside; what may be mended is tried for ever."""
        super().check_event(event)
        for path, expected in self._names():
            try:
                folder = stat.S_ISDIR(path.stat().st_mode)
            except OSError as e:
                if e.errno in (errno.ENAMETOOLONG, errno.ELOOP):
                    raise self._unwritable(e, expected) from e
                continue
            if folder:
                raise self._unwritable(IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)), expected)

    def _names(self) -> Iterator[tuple[Path, str]]:
        """Yield the paths that it writes to, the longest last, and what each has to be."""
        yield self._path, _A_FILE
        if (aside := self._file.last_aside()) is not None:
            yield aside, f"a file that can be put aside as {aside.suffix}"

    def claims(self) -> frozenset[str]:
        """Return the file behind all links; a pipe or a device is anyone's."""
        there = one_name(self._path)
        regular = is_file(there) or not is_there(there)
        return frozenset((f"file {there}",)) if regular else frozenset()

    def open(self, pace: Pace) -> None:
        """Open the file, and cut off a line that was not finished."""
        with self._failures():
            self._file.open()

    def deliver(self, event: BinEvent) -> None:
        """Append the line, in a new file if it would not fit."""
        self._write(event)

    def tell(self, message: StateMessage) -> None:
        """Likewise, if that was asked for."""
        if self._states:
            self._write(message)

    def _write(self, message: BinEvent | StateMessage) -> None:
        line = event_bytes(message) + b"\n"
        with self._failures():
            self._file.append(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _unwritable(self, error: OSError, expected: str = _A_FILE) -> OptionError:
        return OptionError(f"file {self._path}", expected=expected, found=reason_of(error))

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            raise SinkError(f"cannot write {self._path}", found=reason_of(e)) from e
