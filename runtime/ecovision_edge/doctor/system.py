"""The machine as the checks see it; tests give them another one."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ecovision_edge.base.closing import ClosedAtEnd

__all__ = ["Commands", "Output", "Space", "System", "read_space", "write_error"]


class Output(NamedTuple):
    """What a command did: its exit status (below 0 the signal that ended it), and its two outputs."""

    status: int
    stdout: str
    stderr: str = ""


class Space(NamedTuple):
    """Bytes of a file system, and bytes and files that this user may add; None if files are not limited."""

    size: int
    free: int
    files: int | None = None


class Commands(ClosedAtEnd):
    """Runs commands, and lets none outlive it. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[int] = set()
        self._closed = False

    def run(self, command: Sequence[str], limit: float) -> Output | None:
        """Run a command in the C locale to its end; None if there is no such program, or it may not be run.

        Raises:
            TimeoutError: it did not end within `limit` seconds; it was killed, and what it had started too.
        """
        with self._lock:
            process = None if self._closed else _started(command)
            if process is None:
                return None
            self._running.add(process.pid)
        with process:
            try:
                stdout, stderr = process.communicate(timeout=limit)
            except BaseException as e:
                _kill(process.pid)
                if isinstance(e, subprocess.TimeoutExpired):
                    raise TimeoutError(f"{Path(command[0]).name} did not end within {limit:g} s") from None
                raise
            finally:
                with self._lock:
                    self._running.discard(process.pid)
        return Output(process.returncode, stdout, stderr)

    def close(self) -> None:
        """Kill what runs, and start nothing more. Idempotent."""
        with self._lock:
            self._closed = True
            for group in self._running:
                _kill(group)


def _started(command: Sequence[str]) -> subprocess.Popen[str] | None:
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError:
        return None


def _kill(group: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)


def read_space(path: Path) -> Space:
    """Return what the file system of a path holds. Raises OSError."""
    s = os.statvfs(path)
    return Space(s.f_blocks * s.f_frsize, s.f_bavail * s.f_frsize, s.f_favail if s.f_files else None)


def _may_use(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


def write_error(folder: Path) -> OSError | None:
    """Return why no file can be written to a folder, of which nothing is left; None if one can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as e:
        return e
    return None


def _group_of(path: Path) -> int:
    return path.stat().st_gid


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user of no name, as in a container
        return str(os.getuid())


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What checks look at.

    Args:
        run: Runs a command within seconds, as `Commands.run`.
        root: Where the file system begins.
        environment: Variables of it.
        space: Tells the space of a file system, as `read_space`.
        write_error: Tells why nothing can be written to a folder, as the function of this name.
        may_use: Tells whether this user may read and write a file.
        group_of: Tells the number of the group of a file.
        user: Who this is.
        now: Tells the time, seconds since 1970.
    """

    run: Callable[[Sequence[str], float], Output | None]
    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    space: Callable[[Path], Space] = read_space
    write_error: Callable[[Path], OSError | None] = write_error
    may_use: Callable[[Path], bool] = _may_use
    group_of: Callable[[Path], int] = _group_of
    user: str = field(default_factory=_user)
    now: Callable[[], float] = time.time

    def at(self, path: str | Path) -> Path:
        """Return an absolute path below the root."""
        return self.root / str(path).lstrip("/")
