"""`ecovision-edge update` as a process of its own, beside a loop that runs: it is asked whether it has ended.

So whatever it loads (python-tuf, a second engine) is gone with it, and never in the loop's process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, cast

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.records import dataclass

__all__ = ["Answer", "Asking", "UpdateProcess"]

_NICE = 10  # the camera comes first
_OOM_SCORE = "500"  # and if memory ends, this one goes (proc(5), oom_score_adj)
_MOST_ANSWER, _MOST_WORDS = 2**20, 2000  # bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """How an update ended.

    Args:
        status: The exit status of the command; below 0 the signal that ended it.
        result: What it wrote with `--json -`; empty if nothing.
        words: The last line that it wrote to standard error.
    """

    status: int
    result: Mapping[str, JsonValue]
    words: str


class UpdateProcess:
    """Runs `python -m ecovision_edge update`, for a bounded time.

    Args:
        arguments: Of the command.
        seconds: After which it is killed.
        program: In place of `python -m ecovision_edge update`.

    Raises:
        OSError: no process can be started, or no temporary file made.
    """

    def __init__(
        self, arguments: Sequence[str], seconds: float, *, program: Sequence[str] | None = None
    ) -> None:
        with contextlib.ExitStack() as stack:
            self._said: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            self._words: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            command = program or (sys.executable, "-m", "ecovision_edge", "update")
            self._process = subprocess.Popen(
                [*command, *arguments, "--json", "-"],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._words,
                start_new_session=True,  # so that all of it can be ended; Ctrl-C is the loop's
            )
            self._files = stack.pop_all()
        self._until = time.monotonic() + seconds
        _put_last(self._process.pid)

    def poll(self) -> Answer | None:
        """Return how it ended; None while it runs."""
        status = self._process.poll()
        if status is None and time.monotonic() >= self._until:
            self._kill()
            status = self._process.wait()
        if status is None:
            return None
        with self._files:
            said, words = _read(self._said, _MOST_ANSWER), _read(self._words, _MOST_WORDS)
        lines = [line.strip() for line in words.splitlines() if line.strip()]
        return Answer(status, _object(said), lines[-1] if lines else "")

    def close(self) -> None:
        """End it, if it runs; whatever it did until then is whole."""
        if self._process.poll() is None:
            self._kill()
            self._process.wait()
        self._files.close()

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)


Asking = Callable[[], UpdateProcess]
"""Starts an update; raises OSError."""


def _put_last(process: int) -> None:
    """Let a process have what time and memory others leave; its children have it from it."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, process, _NICE)
    with contextlib.suppress(OSError):
        Path(f"/proc/{process}/oom_score_adj").write_text(_OOM_SCORE)


def _read(file: IO[bytes], most: int) -> str:
    """Return the end of a file."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - most))
    return file.read().decode("utf-8", "replace")


def _object(text: str) -> Mapping[str, JsonValue]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return cast("dict[str, JsonValue]", value) if isinstance(value, dict) else {}
