"""The Enter key, to try a bin without a sensor; and lines of a pipe, from a script."""

from __future__ import annotations

import os
import select
import sys

from ecovision_edge.base.reasons import reason_of
from ecovision_edge.base.threads import Worker
from ecovision_edge.errors import TriggerError
from ecovision_edge.events import BinState
from ecovision_edge.triggers.base import Trigger

__all__ = ["KeyboardTrigger"]

_READ = 4096  # bytes; lines that came together are one press
_PAUSE = 1.0  # seconds between looks at whether a process in the background is in the foreground again


class KeyboardTrigger(Trigger):
    """Fires with each line on standard input. The terminal stays as it is: no mode has to be put back.

    Args:
        descriptor: What to read from in place of standard input.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        super().__init__("keyboard")
        self._descriptor = descriptor
        self._worker: Worker | None = None
        self._ours: tuple[int, int] | None = None

    def begin(self) -> None:
        """Read in a thread of its own; raises TriggerError if there is no standard input."""
        try:
            descriptor = sys.stdin.fileno() if self._descriptor is None else self._descriptor
            os.fstat(descriptor)
        except (OSError, ValueError, AttributeError) as e:  # closed, or None without a console
            raise TriggerError(
                f"trigger {self.name} cannot be used", expected="standard input", found="none"
            ) from e
        self._ours = os.pipe()
        reading, wake = descriptor, self._ours[0]
        self._worker = Worker(lambda: self._read(reading, wake), "ecovision-trigger")
        self._ready()
        self._worker.start()

    def end(self, timeout: float) -> None:
        """Stop reading."""
        if self._ours is None or self._worker is None:
            return
        os.close(self._ours[1])  # which wakes the thread
        self._worker.join(timeout)

    def _read(self, descriptor: int, wake: int) -> None:
        why = "standard input has ended"
        try:
            while _wait(descriptor, wake):
                if _in_background(descriptor):
                    continue
                lines = os.read(descriptor, _READ)
                if not lines:
                    break
                if b"\n" in lines:
                    self._fired()
            else:
                return
        except (OSError, ValueError) as e:  # ValueError: more descriptors than `select` takes
            why = f"standard input cannot be read: {reason_of(e)}"
        finally:
            os.close(wake)
        self._hinder(BinState.FAULT, why)


def _wait(descriptor: int, wake: int) -> bool:
    """Until there is something to read; False if there is something to read from `wake`."""
    if _in_background(descriptor):  # where a line is the shell's, and not ours
        return wake not in select.select([wake], [], [], _PAUSE)[0]
    return wake not in select.select([wake, descriptor], [], [])[0]


def _in_background(descriptor: int) -> bool:
    """Return whether to read from it would stop this process: its terminal listens to another one."""
    try:
        return os.tcgetpgrp(descriptor) != os.getpgrp()
    except OSError:  # no terminal, or not the one that controls us
        return False
