"""When a device asks its repository: not when ten thousand others do."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable

__all__ = ["Timetable"]

_SPREAD = 900.0  # seconds over which all devices that begin at once ask for the first time
_JITTER = 0.1  # of the time between two questions, to either side
_AGAIN = 0.1  # of the time between two questions, after one that could not be asked


class Timetable:
    """The time of the next question; what is asked for by hand comes at once.

    A device that begins asks when its last question is as old as it should be; if that is past, as after a
    power cut in the whole town, within a quarter of an hour, at a time of its own.

    Args:
        every: Seconds between two questions, above 0.
        device: The device's id.
        last: When it asked last, Unix seconds; None if it never did.
        clock: Seconds that never go back.
        now: Unix seconds.
        rng: For tests.
    """

    def __init__(
        self,
        every: float,
        device: str,
        last: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._every, self._clock = every, clock
        self._rng = rng or random.Random()  # noqa: S311 - nothing secret
        place = int.from_bytes(hashlib.sha256(device.encode()).digest()[:8], "big") / 2**64
        place = (place + 0.25 * self._rng.random()) % 1.0  # those of one name are apart, too
        first = min(every, _SPREAD) * place
        age = None if last is None else now() - last
        if age is not None and 0 <= age < every:  # a clock that went back says nothing
            first = max(first, every - age)
        self._due = clock() + first

    @property
    def left(self) -> float:
        """Seconds until the next question; 0 if it is due."""
        return max(0.0, self._due - self._clock())

    def hurry(self) -> None:
        """Make the question due now."""
        self._due = self._clock()

    def asked(self, *, again: bool = False) -> None:
        """Set the time of the next question; sooner if this one is to be asked `again`."""
        every = self._every * (_AGAIN if again else 1.0)
        self._due = self._clock() + every * self._rng.uniform(1 - _JITTER, 1 + _JITTER)
