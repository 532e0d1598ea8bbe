"""The files of a spool: events on the disk, through crashes and power cuts.

A folder of segments, each a text file with one line per event: CRC-32 of the rest in eight hex digits,
the event's number, its JSON. Beside them `acknowledged` holds the number up to which all are delivered, in
two places that are written in turn, each with its CRC-32: one torn by a power cut leaves the other.

Numbers follow each other, so one that is missing is an event that was lost, however it came to be lost.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import zlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.base.files import is_open_file, sync_folder, try_lock

__all__ = ["Found", "SpoolFiles", "SpoolInUseError", "Spooled"]

_log = logging.getLogger("ecovision_edge")

_SLOT = struct.Struct(">QI")
_APART = 512  # bytes between the two places: a sector, which disks write whole
_SEGMENT = 2**20  # bytes after which a new one is begun


class SpoolInUseError(OSError):
    """Another process, or another sink, has the folder."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """One event that waits.

    Args:
        number: Its number in this spool, from 1.
        id: The event's.
        payload: Its JSON.
    """

    number: int
    id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """What the files held when they were opened.

    Args:
        waiting: Events that are not delivered, in order.
        damaged: How many of those the disk has lost.
    """

    waiting: tuple[Spooled, ...]
    damaged: int


@dataclass(slots=True)
class _Segment:
    path: Path
    last: int  # number of its last event


class SpoolFiles:
    """For one process, by a lock, and one thread at a time.

    Args:
        folder: Its own; made if it is not there, for its user alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: deque[_Segment] = deque()
        self._lock_file = self._marks = self._out = -1
        self._size = self._place = 0
        self.acknowledged = self.written = 0
        """Numbers of the last event that is delivered, and of the last one on the disk."""

    @property
    def opened(self) -> bool:
        """Whether they are open."""
        return self._lock_file >= 0

    @property
    def ready(self) -> bool:
        """Whether they are open, and the folder still has them: somebody may have removed it."""
        return self.opened and self._in_place()

    def open(self) -> Found:
        """Take the folder, and read what waits. What was open before is closed.

        Raises:
            SpoolInUseError: another process, or another sink, has it.
            OSError: of the disk.
        """
        self.close()
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_file = self._descriptor("lock", os.O_RDWR | os.O_CREAT)
            self._lock()
            self._marks = self._descriptor("acknowledged", os.O_RDWR | os.O_CREAT)
            found = self._load()
            sync_folder(self._folder)
        except OSError:
            self.close()
            raise
        return found

    def write(self, number: int, payload: bytes) -> None:
        """Append an event; it is on the disk when this returns (fdatasync, and fsync for a new segment).

        Raises:
            OSError: of the disk; whatever became of the line, the next one begins a new segment.
        """
        try:
            self._write(number, payload)
        except OSError:
            self._end_segment()
            raise

    def acknowledge(self, number: int) -> None:
        """All up to this one are delivered; on the disk when this returns. Raises OSError."""
        if self._marks < 0:
            raise OSError("it is closed")
        packed = struct.pack(">Q", number)
        os.pwrite(self._marks, packed + struct.pack(">I", zlib.crc32(packed)), _APART * self._place)
        os.fdatasync(self._marks)
        self._place = 1 - self._place
        self.acknowledged = number
        self._clear_segments()

    def close(self) -> None:
        """Give the folder back; idempotent."""
        self._end_segment()
        for descriptor in (self._marks, self._lock_file):
            if descriptor >= 0:
                os.close(descriptor)
        self._marks = self._lock_file = -1

    def _descriptor(self, name: str, flags: int) -> int:
        return os.open(self._folder / name, flags | os.O_CLOEXEC, 0o600)

    def _lock(self) -> None:
        try:
            free = try_lock(self._lock_file)
        except OSError:  # a file system that has no locks
            free = True
        if not free:
            raise SpoolInUseError("another process, or another sink, has it")

    def _in_place(self) -> bool:
        names = [("lock", self._lock_file), ("acknowledged", self._marks)]
        if self._out >= 0:
            names.append((self._segments[-1].path.name, self._out))
        return all(is_open_file(self._folder / name, descriptor) for name, descriptor in names)

    def _load(self) -> Found:
        self._segments.clear()
        marked = self._read_marks()
        first = last = 0
        bad = 0  # lines after the last good one: torn, or damaged
        numbers: set[int] = set()
        ids: set[str] = set()  # a line that was written, but not to be trusted, was written once more
        waiting: list[Spooled] = []
        for path in sorted(self._folder.glob("[0-9]" * 16 + ".log")):
            first = first or int(path.stem)
            segment = _Segment(path, 0)
            for line in path.read_bytes().split(b"\n"):
                spooled = _parse(line.strip(b"\0"))  # what some file systems leave after a power cut
                if spooled is None:
                    bad += bool(line)
                    continue
                bad, segment.last = 0, max(segment.last, spooled.number)
                if spooled.number > self.acknowledged:
                    numbers.add(spooled.number)
                    if spooled.id not in ids:
                        ids.add(spooled.id)
                        waiting.append(spooled)
            last = max(last, segment.last, int(path.stem) - 1)
            self._segments.append(segment)
        self.written = max(self.acknowledged, last)
        if not self.acknowledged and (marked or first > 1):
            _log.warning("spool %s: what is delivered cannot be read; all is sent again", self._folder)
        settled = self.acknowledged or max(0, first - 1)
        damaged = max(0, last + bad - settled - len(numbers))
        if damaged:
            _log.error("spool %s: damaged by the disk, and lost: %d events", self._folder, damaged)
        self._clear_segments()
        return Found(tuple(waiting), damaged)

    def _read_marks(self) -> bool:
        """Find out what is delivered, 0 if that cannot be read; whether anything is there."""
        data = os.pread(self._marks, 2 * _APART, 0)
        self.acknowledged, self._place = 0, 0
        for place in (0, 1):
            slot = data[place * _APART :][: _SLOT.size]
            if len(slot) == _SLOT.size:
                number, crc = _SLOT.unpack(slot)
                if crc == zlib.crc32(slot[:8]) and number >= self.acknowledged:
                    # The newer one stays until its successor is there.
                    self.acknowledged, self._place = number, 1 - place
        return bool(data)

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
        self._segments[-1].last = self.written = number
        self._size += len(line)
        if self._size >= _SEGMENT:
            self._end_segment()

    def _begin_segment(self, number: int) -> None:
        path = self._folder / f"{number:016d}.log"
        # One of that name has no line of that number, or it would be named otherwise: it was never safe.
        self._out = self._descriptor(path.name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        self._size = 0
        if not self._segments or self._segments[-1].path != path:
            self._segments.append(_Segment(path, 0))

    def _end_segment(self) -> None:
        descriptor, self._out = self._out, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _clear_segments(self) -> None:
        while self._segments and self._segments[0].last <= self.acknowledged:
            if len(self._segments) == 1 and self._out >= 0:
                return
            self._segments.popleft().path.unlink(missing_ok=True)


def _parse(line: bytes) -> Spooled | None:
    """Return the event of a line; None if it is damaged."""
    crc, _, rest = line.partition(b" ")
    number, _, payload = rest.partition(b" ")
    try:
        if int(crc, 16) != zlib.crc32(rest):
            return None
        return Spooled(int(number), str(json.loads(payload)["id"]), payload)
    except (ValueError, KeyError, TypeError):
        return None
