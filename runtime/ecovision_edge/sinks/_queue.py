"""The events of one sink: those that wait, the one in hand, and what became of the others."""

from __future__ import annotations

import logging
import math
import time
from collections import deque

from ecovision_edge.errors import OptionError
from ecovision_edge.events import BinEvent

__all__ = ["EventQueue"]

_log = logging.getLogger("ecovision_edge")


class EventQueue:
    """A bounded queue in memory. For one thread at a time: its owner has a lock.

    Args:
        name: What logs call the sink.
        capacity: Events that wait at most; of more the oldest is dropped, counted and logged. At least 1.
        max_age: Seconds above 0 from `put` after which an event is dropped, counted and logged; None never.
    """

    def __init__(self, name: str, capacity: int, max_age: float | None) -> None:
        if capacity < 1:
            raise OptionError("capacity of a sink", expected="1 or more", found=capacity)
        if max_age is not None and not 0 < max_age < math.inf:
            raise OptionError("max_age of a sink", expected="seconds above 0, or None", found=max_age)
        self._name, self._capacity, self._max_age = name, capacity, max_age
        self._events: deque[tuple[BinEvent, float]] = deque()  # with the time of `put`
        self._in_hand: tuple[BinEvent, float] | None = None
        self.taken = self.delivered = self.dropped = self.expired = 0
        self.trouble = ""
        """Why the last event was lost, by a full queue or a refusal; empty once one is delivered."""

    def __len__(self) -> int:
        """Count the events that wait, with the one in hand."""
        return len(self._events) + (self._in_hand is not None)

    @property
    def overdue(self) -> bool:
        """Whether the event in hand is too old."""
        return self._in_hand is not None and self._too_old(self._in_hand)

    def put(self, event: BinEvent, *, closed: bool) -> None:
        """Take an event; of a closed sink it is lost."""
        self.taken += 1
        if closed:
            self.dropped += 1
            return
        if len(self._events) >= self._capacity:
            lost, _ = self._events.popleft()
            self.dropped += 1
            self.trouble = f"{self._capacity} events wait, and the oldest ones are lost"
            _log.warning(
                "%s: %d events wait; the oldest one, %s, is lost", self._name, self._capacity, lost.id
            )
        self._events.append((event, time.monotonic()))

    def take(self) -> BinEvent | None:
        """Return the event in hand; else the next one, which then is."""
        self.drop_old()
        if self._in_hand is None and self._events:
            self._in_hand = self._events.popleft()
        return None if self._in_hand is None else self._in_hand[0]

    def done(self, lost: str) -> None:
        """The event in hand is delivered; or lost, for this reason."""
        self._in_hand, self.trouble = None, lost
        if lost:
            self.dropped += 1
            _log.error("%s: %s", self._name, lost)
        else:
            self.delivered += 1

    def drop_old(self) -> bool:
        """Drop what is too old; whether there was any."""
        old: list[BinEvent] = []
        if self._in_hand is not None and self._too_old(self._in_hand):
            old.append(self._in_hand[0])
            self._in_hand = None
        while self._events and self._too_old(self._events[0]):
            old.append(self._events.popleft()[0])
        if old:
            self.dropped += len(old)
            self.expired += len(old)
            _log.warning(
                "%s: too old to act on, and dropped: %d, the last one %s", self._name, len(old), old[-1].id
            )
        return bool(old)

    def drop_rest(self) -> None:
        """Drop all: the sink is closed."""
        if rest := len(self):
            self.dropped += rest
            _log.warning("%s: closed before it could deliver, and dropped: %d", self._name, rest)
        self._events.clear()
        self._in_hand = None

    def _too_old(self, waiting: tuple[BinEvent, float]) -> bool:
        return self._max_age is not None and time.monotonic() - waiting[1] >= self._max_age
