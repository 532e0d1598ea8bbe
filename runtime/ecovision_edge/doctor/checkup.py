"""Runs all subjects at once, each in a thread of its own, and gives what they find in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from ecovision_edge.base.installation import missing_library
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.base.threads import Worker
from ecovision_edge.doctor.check import Check, fail, warn
from ecovision_edge.errors import EcovisionError

__all__ = ["Subject", "checkup"]


class Subject(NamedTuple):
    """One thing to look at.

    Args:
        name: What its line is called if it does not come to an end.
        limit: Seconds that it may take.
        look: Yields what it finds; it may raise anything.
    """

    name: str
    limit: float
    look: Callable[[], Iterable[Check]]


def checkup(subjects: Sequence[Subject], *, clock: Callable[[], float] = time.monotonic) -> Iterator[Check]:
    """Look at all subjects at once, and yield what is found, in their order. Raises nothing.

    One that raises or does not end is a line of its own, after what it had found by then. A thread that hangs
    is left behind: it is a daemon.

    Args:
        subjects: What to look at.
        clock: Tells seconds, against which the limits are.
    """
    started = clock()
    runs = [_Run(subject) for subject in subjects]
    for run in runs:
        run.start()
    for run in runs:
        yield from run.findings(started + run.subject.limit - clock())


class _Run:
    """One subject being looked at."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._found: list[Check] = []
        self._worker = Worker(self._look, f"ecovision-doctor-{subject.name}")

    def start(self) -> None:
        self._worker.start()

    def findings(self, seconds: float) -> Iterator[Check]:
        """Yield what is found within so many seconds."""
        ended = self._worker.join(max(0.0, seconds))
        yield from tuple(self._found)
        if not ended:
            name, limit = self.subject.name, self.subject.limit
            yield warn(
                name, f"no answer within {limit:g} s", "look at it by hand; a device or a server hangs"
            )

    def _look(self) -> None:
        try:
            for check in self.subject.look():
                self._found.append(check)
        except Exception as e:  # noqa: BLE001 - one that fails must not take the others with it
            self._found.append(_failed(self.subject.name, e))


def _failed(name: str, error: Exception) -> Check:
    """Return the line about a subject that raised."""
    if isinstance(error, ImportError) and not isinstance(error, EcovisionError):
        error = missing_library(error) or error
    if isinstance(error, EcovisionError):
        return fail(name, error.finding, error.fix)
    return warn(name, f"could not be looked at: {reason_of(error)}", "look at it by hand")
