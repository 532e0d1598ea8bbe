"""A piece of work in a process of its own: what it loads is gone when it ends, and it ends in time.

The process is given one JSON object on its standard input, and answers with one JSON object a line on its
standard output. So neither python-tuf nor a second engine is ever in the process that asks.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import cast

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.records import dataclass
from ecovision_edge.errors import EcovisionError

__all__ = ["Child", "Ended", "answer", "run_child", "work"]

_MOST_WORDS = 300  # characters of what a process says as it dies


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended.

    Args:
        answers: What it said, in order.
        status: Its exit status; below 0 the signal that ended it, as `subprocess` has it.
        in_time: False if it was killed, as its time was over.
        words: The end of what it wrote to standard error.
    """

    answers: tuple[Mapping[str, JsonValue], ...]
    status: int
    in_time: bool
    words: str

    @property
    def how(self) -> str:
        """How it ended, in words."""
        if not self.in_time:
            return "it did not end in time"
        if self.status < 0:
            try:
                return f"it died of {signal.Signals(-self.status).name}"
            except ValueError:
                return f"it died of signal {-self.status}"
        return f"it ended with status {self.status}" + (f": {self.words}" if self.words else "")


Child = Callable[[str, Mapping[str, JsonValue], float], Ended]
"""Runs the module of that name with a request, for at most so many seconds."""


def run_child(module: str, request: Mapping[str, JsonValue], seconds: float) -> Ended:
    """Run `python -m MODULE`, give it a request, and return what it answered.

    Raises:
        OSError: no process can be started.
    """
    command = [sys.executable, "-m", module]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        in_time = True
        try:
            said, words = process.communicate(json.dumps(request).encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            in_time = False
            process.kill()
            said, words = process.communicate()
        except BaseException:  # whoever interrupts this one interrupts that one
            process.kill()
            raise
    lines = " ".join(words.decode("utf-8", "replace").split())
    return Ended(tuple(_objects(said)), process.returncode, in_time, lines[-_MOST_WORDS:])


def _objects(said: bytes) -> Iterator[Mapping[str, JsonValue]]:
    """Yield the JSON objects that are whole; lines that are not JSON objects are skipped."""
    for line in said.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield cast("dict[str, JsonValue]", value)


def answer(value: Mapping[str, JsonValue]) -> None:
    """Say one JSON object; called in the process."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def work(what: Callable[[Mapping[str, JsonValue]], None]) -> int:
    """Read the request and do the work; returns the exit status. An error of ours is an answer."""
    request = cast("dict[str, JsonValue]", json.loads(sys.stdin.buffer.read()))
    try:
        what(request)
    except EcovisionError as e:
        answer({"error": type(e).__name__, "message": e.message})
        return e.exit_status
    return 0
