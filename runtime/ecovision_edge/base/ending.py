"""How the program ends although a thread hangs in a driver."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
from dataclasses import dataclass

__all__ = ["Ending", "end_though_a_thread_hangs"]

PATIENCE = 2.0
"""Seconds for what was written to be flushed: a thread that hangs may do so in standard output itself."""


@dataclass(slots=True)
class Ending:
    """The exit status that the process is about to end with; 1, as of a traceback, until it is known."""

    status: int = 1


def end_though_a_thread_hangs() -> Ending:
    """Let this process end with the status that is set in what is returned, whatever its threads are doing.

    Call it first of all in a program that reads a camera, as `ecovision_edge.examples.smart_bin` does.

    Python up to 3.13 unwinds a daemon thread that returns from foreign code while the interpreter is taken
    apart. If C++ is on its stack, as in a read of OpenCV's, the whole process aborts: status 134 of a run in
    which all went well. So if such a thread is left once all exit handlers have run, what was written is
    flushed and the process ends at once.
    """
    ending = Ending()
    # Handlers run in reverse order: this one after those of all that is imported later.
    atexit.register(_end, ending)
    return ending


def _end(ending: Ending) -> None:
    own = threading.current_thread()
    if not any(t.daemon and t.is_alive() for t in threading.enumerate() if t is not own):
        return
    late = threading.Timer(PATIENCE, os._exit, (ending.status,))
    late.daemon = True
    with contextlib.suppress(RuntimeError):  # some versions start no thread any more: then without that limit
        late.start()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed, or none
            stream.flush()
    os._exit(ending.status)
