"""How the program ends although a thread hangs: in a driver, or in a library that waits for it."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable

__all__ = ["end_though_a_thread_hangs"]

PATIENCE = 2.0
"""Seconds for what was written to be flushed: a thread that hangs may do so in standard output itself."""

LIMIT = 3.0
"""Seconds for the interpreter's own end: it waits for each thread that is no daemon, and for exit handlers.

With `PATIENCE`, and the loop's own after a signal, it stays within the 20 that systemd waits.
"""

_log = logging.getLogger(__name__)


def end_though_a_thread_hangs(program: Callable[[], int]) -> int:
    """Run a program whose process then ends with its exit status, whatever its threads are doing.

    Call it once, as the last thing of the main thread: `sys.exit(end_though_a_thread_hangs(main))`, as
    `ecovision_edge.examples.smart_bin` does.

    Python waits at its end for each thread that is no daemon, those of libraries too, for as long as that
    takes. So if it has not ended within `LIMIT` after the program, what was written is flushed and the
    process ends at once, without the exit handlers that have not run by then.

    Python up to 3.13 unwinds a daemon thread that returns from foreign code while the interpreter is taken
    apart. If C++ is on its stack, as in a read of OpenCV's, the whole process aborts: status 134 of a run in
    which all went well. So if such a thread is left once all exit handlers have run, what was written is
    flushed and the process ends at once, too.

    Args:
        program: Returns the exit status. If it raises, the status is 1, or that of its SystemExit.

    Returns:
        The exit status, for `sys.exit`.
    """
    ending = _Ending()
    # Handlers run in reverse order: this one after those of all that is imported later.
    atexit.register(ending.at_exit)
    try:
        ending.status = program()
    except SystemExit as e:
        ending.status = e.code if isinstance(e.code, int) else int(e.code is not None)
        raise
    finally:
        ending.limit()
    return ending.status


class _Ending:
    """The end of the process, with the exit status that is known so far: 1 at first, as of a traceback."""

    def __init__(self) -> None:
        self.status = 1
        self._late: threading.Timer | None = None

    def limit(self) -> None:
        """End the process after `LIMIT` if it has not ended by then."""
        self._late = _timer(LIMIT, self._give_up)

    def at_exit(self) -> None:
        """End the process now if a thread is left; runs as the last exit handler."""
        if self._late is not None:
            self._late.cancel()
        own = (threading.current_thread(), self._late)
        if any(t.daemon and t.is_alive() for t in threading.enumerate() if t not in own):
            self._end()

    def _give_up(self) -> None:
        main, own = threading.main_thread(), threading.current_thread()
        kept = [t.name for t in threading.enumerate() if not t.daemon and t not in (main, own)]
        if kept:
            _log.warning("the process ends without its threads, which do not return: %s", ", ".join(kept))
        self._end()

    def _end(self) -> None:
        _timer(PATIENCE, os._exit, self.status)
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # full, closed, or none
                stream.flush()
        os._exit(self.status)


def _timer(seconds: float, function: Callable[..., object], *arguments: object) -> threading.Timer:
    timer = threading.Timer(seconds, function, arguments)
    timer.daemon = True
    with contextlib.suppress(RuntimeError):  # no thread can be started any more: then without that limit
        timer.start()
    return timer
