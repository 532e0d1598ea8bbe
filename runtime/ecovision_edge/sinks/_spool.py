"""Events on disk until they are delivered, through crashes and power cuts.

A folder of segments, each a text file with a line an event: CRC-32 of the rest in eight hexadecimal digits,
the event's number, its JSON. Beside them `acknowledged` holds the number up to which all are delivered, in
two places that are written in turn, each with its CRC-32: one torn by a power cut leaves the other.

- `append` returns when the line is on the disk (fdatasync, and fsync of the folder for a new segment).
- What a power cut left of a last line was never called safe, and is passed over; a damaged line in between
  costs that event alone, and is counted.
- `remove` returns when the number is on the disk; a segment goes when all in it is delivered.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import struct
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.errors import OptionError, SinkError
from ecovision_edge.files import sync_folder

__all__ = ["Spool", "Spooled"]

_log = logging.getLogger("ecovision_edge")

_SLOT = struct.Struct(">QI")
_APART = 512  # bytes between the two places: a sector, which disks write whole
_SEGMENT = 2**20  # bytes after which a new one is begun


@dataclass(frozen=True, slots=True)
class Spooled:
    """One event that waits.

    Args:
        number: Its number in this spool, from 1, never used again.
        id: The event's.
        payload: Its JSON.
    """

    number: int
    id: str
    payload: bytes


@dataclass(slots=True)
class _Segment:
    path: Path
    last: int  # number of its last event


class Spool:
    """A bounded queue on disk, for one process. One thread appends, and one removes.

    Args:
        folder: Its own; made if it is not there, for its user alone.
        max_events: Events that wait at most; of more the oldest is dropped and counted. At least 1.
        max_bytes: The same of their JSON, at least 10,000; the disk holds 2 MiB more at most.
    """

    def __init__(self, folder: Path, *, max_events: int = 10_000, max_bytes: int = 10_000_000) -> None:
        if max_events < 1:
            raise OptionError("max_events of a spool", expected="1 or more", found=max_events)
        if max_bytes < 10_000:
            raise OptionError("max_bytes of a spool", expected="10,000 or more", found=max_bytes)
        self._folder, self._max_events, self._max_bytes = folder, max_events, max_bytes
        self._memory = threading.Lock()  # of what waits; held for moments
        self._disk = threading.Lock()  # of the files; held while the disk works
        self._waiting: deque[Spooled] = deque()
        self._bytes = self._acknowledged = self._written = 0
        self._found = self._dropped = self._lost_in_a_row = 0
        self._segments: deque[_Segment] = deque()
        self._lock_file = self._marks = self._out = -1
        self._size = self._place = 0

    @property
    def found(self) -> int:
        """Events that waited when it was opened."""
        return self._found

    @property
    def dropped(self) -> int:
        """Events lost: too many waited, or the disk damaged them."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """Events that wait."""
        with self._memory:
            return len(self._waiting)

    def head(self) -> Spooled | None:
        """The oldest event that waits."""
        with self._memory:
            return self._waiting[0] if self._waiting else None

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    def check(self, event_id: str, payload: bytes) -> None:
        """Refuse an event that alone is larger than `max_bytes`. Raises OptionError."""
        if len(payload) > self._max_bytes:
            raise OptionError(
                f"event {event_id}", expected=f"{self._max_bytes} bytes at most", found=len(payload)
            )

    def open(self) -> None:
        """Take the folder and read what waits; twice is once.

        Raises:
            SinkError: the disk says no, or another process has this spool.
        """
        with self._disk:
            if self._lock_file >= 0:
                return
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._lock_file = self._descriptor("lock", os.O_RDWR | os.O_CREAT)
                self._take()
                self._marks = self._descriptor("acknowledged", os.O_RDWR | os.O_CREAT)
                self._load()
                sync_folder(self._folder)
            except OSError as e:
                self._give_back()
                raise self._problem(e) from e

    def append(self, event_id: str, payload: bytes) -> None:
        """Take an event, the JSON of which has no newline; it is on the disk when this returns.

        Raises:
            SinkError: the disk says no; nothing was taken.
            OptionError: the event alone is larger than `max_bytes`.
        """
        self.check(event_id, payload)
        with self._disk:
            number = self._written + 1
            try:
                self._write(number, payload)
            except OSError as e:
                self._end_segment()  # whatever became of the line: the next one begins a new file
                raise self._problem(e) from e
            self._written = number
            with self._memory:
                lost = self._make_room(len(payload))
                self._waiting.append(Spooled(number, event_id, payload))
                self._bytes += len(payload)
            if lost is not None:
                with contextlib.suppress(OSError):  # then it may be sent after all
                    self._acknowledge(lost.number)

    def remove(self, number: int) -> bool:
        """The oldest event is delivered; False if it is no longer the oldest, since it was dropped.

        Raises:
            SinkError: the disk says no; the event is out of the queue, but comes back after a restart.
        """
        with self._memory:
            if not self._waiting or self._waiting[0].number != number:
                return False
            self._bytes -= len(self._waiting.popleft().payload)
            if not self._waiting:
                self._lost_in_a_row = 0
        with self._disk:
            try:
                self._acknowledge(number)
            except OSError as e:
                raise self._problem(e) from e
        return True

    def close(self) -> None:
        """Give the folder back; what waits is found at the next start."""
        with self._disk:
            self._give_back()

    def _make_room(self, size: int) -> Spooled | None:
        """Drop the oldest until one of `size` bytes fits; the last one dropped."""
        lost = None
        while self._waiting and (
            len(self._waiting) >= self._max_events or self._bytes + size > self._max_bytes
        ):
            lost = self._waiting.popleft()
            self._bytes -= len(lost.payload)
            self._dropped += 1
            self._lost_in_a_row += 1
        if lost is not None and self._lost_in_a_row & (self._lost_in_a_row - 1) == 0:  # 1, 2, 4, 8, ...
            _log.warning(
                "spool %s is full; %d of the oldest events are lost", self._folder, self._lost_in_a_row
            )
        return lost

    # Files; with `_disk` held.

    def _descriptor(self, name: str, flags: int) -> int:
        return os.open(self._folder / name, flags | os.O_CLOEXEC, 0o600)

    def _take(self) -> None:
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise OSError("another process, or another sink, has it") from e

    def _give_back(self) -> None:
        self._end_segment()
        for descriptor in (self._marks, self._lock_file):
            if descriptor >= 0:
                os.close(descriptor)
        self._marks = self._lock_file = -1

    def _load(self) -> None:
        self._waiting.clear()
        self._segments.clear()
        self._bytes = 0
        self._acknowledged = self._written = self._read_marks()
        seen: set[str] = set()  # a line that was written, but not to be trusted, was written once more
        for path in sorted(self._folder.glob("[0-9]" * 16 + ".log")):
            last = 0
            for spooled in self._lines(path):
                last = max(last, spooled.number)
                if spooled.number > self._acknowledged and spooled.id not in seen:
                    seen.add(spooled.id)
                    self._waiting.append(spooled)
                    self._bytes += len(spooled.payload)
            self._written = max(self._written, last)
            self._segments.append(_Segment(path, last))
        self._found = len(self._waiting)
        self._clear_segments()

    def _read_marks(self) -> int:
        data = os.pread(self._marks, 2 * _APART, 0)
        best, self._place = 0, 0
        for place in (0, 1):
            slot = data[place * _APART :][: _SLOT.size]
            if len(slot) == _SLOT.size:
                number, crc = _SLOT.unpack(slot)
                if crc == zlib.crc32(slot[:8]) and number >= best:
                    best, self._place = number, 1 - place  # the newer one stays until its successor is there
        if data and best == 0:
            _log.warning("spool %s: what is delivered cannot be read; all is sent again", self._folder)
        return best

    def _lines(self, path: Path) -> Iterator[Spooled]:
        whole, _, _ = path.read_bytes().rpartition(b"\n")  # the rest was never called safe
        expected = int(path.stem)
        for line in whole.split(b"\n") if whole else ():
            spooled = _parse(line)
            if spooled is not None:
                expected = spooled.number + 1
                yield spooled
                continue
            if expected > self._acknowledged:
                self._dropped += 1
                _log.error("spool %s: a line is damaged; its event is lost", path)
            expected += 1

    def _write(self, number: int, payload: bytes) -> None:
        if self._lock_file < 0:
            raise OSError("it is closed")
        new = self._out < 0
        if new:
            self._begin_segment(number)
        rest = b"%d %s" % (number, payload)
        line = b"%08x %s\n" % (zlib.crc32(rest), rest)
        if os.write(self._out, line) != len(line):
            os.ftruncate(self._out, self._size)
            raise OSError("no space for a whole line")
        os.fdatasync(self._out)
        if new:
            sync_folder(self._folder)
        self._segments[-1].last = number
        self._size += len(line)
        if self._size >= _SEGMENT:
            self._end_segment()

    def _begin_segment(self, number: int) -> None:
        name = f"{number:016d}.log"
        # One of that name has no line of that number, or it would be named otherwise: it was never safe.
        self._out = self._descriptor(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        self._size = 0
        path = self._folder / name
        if not self._segments or self._segments[-1].path != path:
            self._segments.append(_Segment(path, 0))

    def _end_segment(self) -> None:
        descriptor, self._out = self._out, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _acknowledge(self, number: int) -> None:
        if self._marks < 0:
            raise OSError("it is closed")
        self._acknowledged = max(self._acknowledged, number)
        packed = struct.pack(">Q", self._acknowledged)
        os.pwrite(self._marks, packed + struct.pack(">I", zlib.crc32(packed)), _APART * self._place)
        os.fdatasync(self._marks)
        self._place = 1 - self._place
        self._clear_segments()

    def _clear_segments(self) -> None:
        while self._segments and self._segments[0].last <= self._acknowledged:
            if len(self._segments) == 1 and self._out >= 0:
                return
            self._segments.popleft().path.unlink(missing_ok=True)

    def _problem(self, error: OSError) -> SinkError:
        return SinkError(f"cannot use the spool {self._folder}", found=error.strerror or str(error))


def _parse(line: bytes) -> Spooled | None:
    """The event of a line; None if it is damaged."""
    crc, _, rest = line.partition(b" ")
    number, _, payload = rest.partition(b" ")
    try:
        if int(crc, 16) != zlib.crc32(rest):
            return None
        return Spooled(int(number), str(json.loads(payload)["id"]), payload)
    except (ValueError, KeyError, TypeError):
        return None
