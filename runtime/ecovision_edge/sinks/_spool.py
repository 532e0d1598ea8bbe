"""A queue of events that wait: on the disk while there is room, and in memory while there is none.

- `append` tries to put the event on the disk. If the disk says no, it waits in memory alone, and so do those
  after it; `store` puts them there when there is room again. What is in memory alone when the spool is
  closed is lost, counted and told.
- What a power cut left of a last line was never called safe; a line that was damaged, and one that is gone,
  costs that event alone, and is counted.
- `remove` returns when the number is on the disk, if the disk takes it; a segment goes when all in it is
  delivered.
- A folder that somebody removes is made again with the next event, with all that waits.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import replace
from pathlib import Path

from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import OptionError, SinkError
from ecovision_edge.sinks._spool_files import Found, Spooled, SpoolFiles, SpoolInUseError

__all__ = ["Spool", "Spooled"]

_log = logging.getLogger("ecovision_edge")


class Spool:
    """A bounded queue on disk, for one process. One thread appends and stores, and one removes.

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
        self._files = SpoolFiles(folder)
        self._waiting: deque[Spooled] = deque()
        self._unwritten: deque[Spooled] = deque()  # the last ones of those, which are in memory alone
        self._bytes = self._last = self._acknowledged = 0
        self._found = self._damaged = self._stored = self._dropped = self._lost_in_a_row = 0
        self._failures = 0
        self._error = ""
        self._open = False

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder

    @property
    def found(self) -> int:
        """Events that waited when it was opened."""
        return self._found

    @property
    def damaged(self) -> int:
        """Events lost by the disk, of former runs."""
        return self._damaged

    @property
    def stored(self) -> int:
        """Events that were put on the disk."""
        return self._stored

    @property
    def dropped(self) -> int:
        """Events lost: too many waited, or the disk had no room to the end."""
        return self._dropped

    @property
    def failures(self) -> int:
        """Times that the disk said no."""
        return self._failures

    @property
    def error(self) -> str:
        """Why what waits is in memory alone; empty if it is on the disk."""
        return self._error

    @property
    def waiting(self) -> int:
        """Events that wait."""
        with self._memory:
            return len(self._waiting)

    def head(self) -> Spooled | None:
        """Return the oldest event that waits."""
        with self._memory:
            return self._waiting[0] if self._waiting else None

    def check(self, event_id: str, payload: bytes) -> None:
        """Refuse an event that alone is larger than `max_bytes`. Raises OptionError."""
        if len(payload) > self._max_bytes:
            raise OptionError(
                f"event {event_id}", expected=f"{self._max_bytes} bytes at most", found=len(payload)
            )

    def open(self) -> None:
        """Take the folder and read what waits; idempotent. A disk that says no is tried again by `store`.

        Raises:
            SinkError: another process, or another sink, has this spool.
        """
        with self._disk:
            if self._open:
                return
            with self._memory:
                self._waiting.clear()  # after `close`, all of it is on the disk
            try:
                self._open_files()
            except SpoolInUseError as e:
                raise self._problem(e) from e
            except OSError as e:
                self._failed(e)
            self._open = True

    def append(self, event_id: str, payload: bytes) -> list[str]:
        """Take an event, the JSON of which has no newline.

        Returns:
            The ids of events that are on the disk now and were not before; this one is the last of them,
            unless the disk says no.

        Raises:
            SinkError: it is not open; nothing was taken.
            OptionError: the event alone is larger than `max_bytes`.
        """
        self.check(event_id, payload)
        with self._disk:
            if not self._open:
                raise self._problem(OSError("it is closed"))
            stored = self._store()
            self._last += 1
            spooled = Spooled(self._last, event_id, payload)
            if not self._error and self._write(spooled):
                stored.append(event_id)
            else:
                self._unwritten.append(spooled)
            with self._memory:
                lost = self._make_room(len(payload))
                self._waiting.append(spooled)
                self._bytes += len(payload)
            if lost is not None:
                self._acknowledge(lost.number)  # if the disk says no, it may be sent after all
            return stored

    def store(self) -> list[str]:
        """Put on the disk what is in memory alone, as far as there is room; ids as of `append`."""
        with self._disk:
            return self._store() if self._open else []

    def remove(self, spooled: Spooled) -> bool:
        """Remove the oldest event, now delivered; False if it was dropped and is no longer the oldest."""
        with self._memory:
            if not self._waiting or self._waiting[0] != spooled:
                return False
            self._bytes -= len(self._waiting.popleft().payload)
            if not self._waiting:
                self._lost_in_a_row = 0
        with self._disk:
            self._acknowledge(spooled.number)
        return True

    def close(self) -> None:
        """Give the folder back; what waits there is found at the next start. Idempotent."""
        with self._disk:
            if self._open:
                self._store()
                self._drop_unwritten()
                self._files.close()
                self._open = False

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

    # With `_disk` held.

    def _open_files(self) -> None:
        found = self._files.open()
        with self._memory:
            self._merge(found)

    def _merge(self, found: Found) -> None:
        """What the disk holds goes before all that it does not hold, which is in memory alone."""
        held = {spooled.id for spooled in self._waiting}
        there = {spooled.id for spooled in found.waiting}
        rest = [spooled for spooled in self._waiting if spooled.id not in there]
        if found.waiting or (rest and rest[0].number <= self._files.written):
            self._acknowledged, self._last = self._files.acknowledged, self._files.written
            rest = [replace(spooled, number=self._last + i) for i, spooled in enumerate(rest, 1)]
            self._last += len(rest)
        else:
            self._acknowledged = max(self._acknowledged, self._files.acknowledged)
            self._last = max(self._last, self._files.written)
        alone = {spooled.id for spooled in self._unwritten}
        self._stored -= sum(spooled.id not in alone for spooled in rest)  # they were, and are to be again
        self._waiting, self._unwritten = deque((*found.waiting, *rest)), deque(rest)
        self._bytes = sum(len(spooled.payload) for spooled in self._waiting)
        self._found += len(there - held)
        self._damaged += found.damaged

    def _store(self) -> list[str]:
        stored: list[str] = []
        try:
            if not self._files.ready:
                self._open_files()
            if self._acknowledged > self._files.acknowledged:
                self._files.acknowledge(self._acknowledged)
        except OSError as e:
            self._failed(e)
            return stored
        while self._unwritten:
            spooled = self._unwritten[0]
            if not self._write(spooled):
                return stored
            self._unwritten.popleft()
            stored.append(spooled.id)
        if self._error:
            _log.info("spool %s: is well again; what waits is on the disk", self._folder)
            self._error = ""
        return stored

    def _write(self, spooled: Spooled) -> bool:
        """Return whether the disk took it."""
        try:
            self._files.write(spooled.number, spooled.payload)
        except OSError as e:
            self._failed(e)
            return False
        self._stored += 1
        return True

    def _acknowledge(self, number: int) -> None:
        """All up to this one are delivered or dropped; `store` tells the disk again if it is deaf now."""
        self._acknowledged = max(self._acknowledged, number)
        while self._unwritten and self._unwritten[0].number <= self._acknowledged:
            self._unwritten.popleft()
        if self._files.opened:
            try:
                self._files.acknowledge(self._acknowledged)
            except OSError as e:
                self._failed(e)

    def _drop_unwritten(self) -> None:
        alone = {spooled.id for spooled in self._unwritten}
        self._unwritten.clear()
        with self._memory:
            kept = [spooled for spooled in self._waiting if spooled.id not in alone]
            lost = len(self._waiting) - len(kept)
            self._waiting = deque(kept)
        if lost:
            self._dropped += lost
            _log.error("%s; lost with the end: %d events", self._error, lost)

    def _failed(self, error: OSError) -> None:
        self._failures += 1
        problem = str(self._problem(error))
        if problem != self._error:
            self._error = problem
            _log.warning("%s; going on from memory, where what waits is lost with the end", problem)

    def _problem(self, error: OSError) -> SinkError:
        return SinkError(f"cannot use the spool {self._folder}", found=reason_of(error))
