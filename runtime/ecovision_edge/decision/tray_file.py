"""The file that keeps the picture of the empty tray from one run to the next."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ecovision_edge.base.files import read_regular_file, replace_file, sync_folder
from ecovision_edge.base.homes import state_folder
from ecovision_edge.base.threads import Worker
from ecovision_edge.decision.kept import KeptTray
from ecovision_edge.decision.presence import PresenceGate
from ecovision_edge.errors import RecordError

__all__ = ["TrayFile", "default_tray_file"]

_log = logging.getLogger("ecovision_edge")

AT_FIRST = 1.0  # seconds of an empty tray before it is kept
AFTER_CHANGE, CHANGED = 30.0, 4.0  # seconds, levels on average: a tray that was learnt again is kept soon
AT_LEAST = 900.0  # seconds: an SD card is not written each time the sun moves
_MOST_BYTES = 2**20


class TrayFile:
    """Reads the tray at the start, and writes it now and then while the tray is empty. Raises nothing.

    It is written in a thread of its own, whole or not at all: a disk that is slow or full holds up no frame,
    and a power cut leaves the old picture or the new one.

    Args:
        path: The file; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is read or written yet."""
        self._path = path
        self._kept: KeptTray | None = None
        self._kept_at: float | None = None
        self._empty_since: float | None = None
        self._writer: Worker | None = None
        self._failed = False

    def load(self) -> KeptTray | None:
        """The tray of the last run; None if there is none, or it cannot be read, which is logged."""
        try:
            self._kept = KeptTray.loads(read_regular_file(self._path, _MOST_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, RecordError, ValueError) as e:
            why = e.message if isinstance(e, RecordError) else getattr(e, "strerror", None) or str(e)
            _log.warning("the kept tray %s is learnt again, for it cannot be read: %s", self._path, why)
            return None
        return self._kept

    def see(self, gate: PresenceGate, now: float, *, empty: bool) -> None:
        """Keep the tray that the gate knows, if it is time to; `now` in seconds that never go back."""
        if not empty:
            self._empty_since = None
            return
        if self._empty_since is None:
            self._empty_since = now
        writing = self._writer is not None and self._writer.alive
        if writing or now - self._empty_since < AT_FIRST or self._kept_within(AFTER_CHANGE, now):
            return
        tray = gate.tray
        if tray is None or (self._kept_within(AT_LEAST, now) and not self._changed(tray)):
            return
        self._kept, self._kept_at = tray, now
        self._writer = Worker(lambda: self._write(tray), "ecovision-tray")
        self._writer.start()

    def close(self, timeout: float = 2.0) -> None:
        """Wait for what is being written, `timeout` seconds at most."""
        if self._writer is not None:
            self._writer.join(timeout)

    def _kept_within(self, seconds: float, now: float) -> bool:
        """Whether a tray of this run was kept less than so long ago."""
        return self._kept_at is not None and now - self._kept_at < seconds

    def _changed(self, tray: KeptTray) -> bool:
        return self._kept is None or float(np.abs(tray.mean - self._kept.mean).mean()) > CHANGED

    def _write(self, tray: KeptTray) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._path, [tray.dumps()], fsync=True, mode=0o600)
            sync_folder(self._path.parent, if_possible=True)
        except (OSError, ValueError) as e:
            if not self._failed:  # once: it is tried again for as long as the bin runs
                why = getattr(e, "strerror", None) or str(e)
                _log.warning("the empty tray cannot be kept in %s: %s", self._path, why)
            self._failed = True
        else:
            self._failed = False


def default_tray_file(source: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the tray of a source is kept: in the service's state where it is one, or in the user's.

    Args:
        source: Its name, without credentials.
        environment: Where systemd says which folder is the service's.
    """
    name = f"{hashlib.sha256(source.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.tray"
    return state_folder(environment) / "trays" / name
