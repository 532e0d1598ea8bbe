"""The questions of a running device to its repository: when they are due, and what came of the last one."""

from __future__ import annotations

import logging

from ecovision_edge.base.reasons import reason_of
from ecovision_edge.updates.process import Answer, Asking, UpdateProcess
from ecovision_edge.updates.state import Refusal
from ecovision_edge.updates.store import BundleStore
from ecovision_edge.updates.timetable import Timetable

__all__ = ["Questions"]

_REFUSED, _TRY_LATER = 1, 75  # exit statuses of the command `update`

_LOGGER = logging.getLogger("ecovision_edge")


class Questions:
    """Starts the command `update` when it is due, and hears how it ended.

    Args:
        ask: Starts it.
        timetable: When.
        store: In which it notes what came of it.
    """

    def __init__(self, ask: Asking, timetable: Timetable, store: BundleStore) -> None:
        self._ask, self._timetable, self._store = ask, timetable, store
        self._process: UpdateProcess | None = None
        self._refused: tuple[Refusal, ...] = ()  # the last one, as it was asked
        self.latest: tuple[str, str] | None = None
        """Id and version, which may be empty, of the release that was told last; None if none is known."""

    @property
    def busy(self) -> bool:
        """Whether one is under way."""
        return self._process is not None

    @property
    def left(self) -> float:
        """Seconds until the next one is due."""
        return self._timetable.left

    def hurry(self) -> None:
        """Make the next one due now; from any thread."""
        self._timetable.hurry()

    def turn(self) -> bool:
        """Start the one that is due, or hear how the one under way has ended; whether one has."""
        if self._process is not None:
            answer = self._process.poll()
            if answer is not None:
                self._process = None
                self._hear(answer)
                return True
        elif not self._timetable.left:
            self._timetable.asked(again=True)
            self._refused = self._store.state().refused[-1:]
            try:
                self._process = self._ask()
            except OSError as e:
                _LOGGER.warning("no update can be asked for (%s): tried again later", reason_of(e))
        return False

    def close(self) -> None:
        """End the one under way."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _hear(self, answer: Answer) -> None:
        self._timetable.asked(again=answer.status == _TRY_LATER)
        if answer.status == 0:
            bundle, version = answer.result.get("bundle"), answer.result.get("version")
            known = version if isinstance(version, str) else ""
            self.latest = (bundle, known) if isinstance(bundle, str) else None
            return
        _LOGGER.warning("update: %s", answer.words or f"it ended with status {answer.status}")
        refused = self._store.state().refused[-1:]
        if answer.status == _REFUSED and refused and refused != self._refused:
            self.latest = refused[-1].bundle, refused[-1].version
