"""What a thread that tries until it succeeds says, counts and waits; what it makes of mistakes in code."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

from ecovision_edge.base.backoff import Backoff
from ecovision_edge.errors import EcovisionError, SinkError

__all__ = ["Retries", "UnforeseenError", "typed"]

_log = logging.getLogger("ecovision_edge")


class UnforeseenError(SinkError):
    """Something raised what none of us raises: a mistake in its code, or a library's own error."""


@contextlib.contextmanager
def typed(what: str) -> Iterator[None]:
    """Make UnforeseenError of anything that is no EcovisionError; the traceback goes to the log at DEBUG.

    Args:
        what: Whose code runs, for the message: `FileSink.deliver`.
    """
    try:
        yield
    except EcovisionError:
        raise
    except Exception as e:
        _log.debug("%s raised", what, exc_info=True)
        raise UnforeseenError(f"{what} raised {type(e).__name__}: {e}") from e


class Retries:
    """The failures of one thread: each is said once, not with each try, and waited after.

    Args:
        name: What logs call whoever tries.
        changed: Guards what is here, and is waited on, so that whoever changes something ends the wait.
        backoff: How long to wait.
    """

    def __init__(self, name: str, changed: threading.Condition, backoff: Backoff) -> None:
        self._name, self._changed, self._backoff = name, changed, backoff
        self._count, self._error = 0, ""

    @property
    def count(self) -> int:
        """Failures so far."""
        return self._count

    @property
    def error(self) -> str:
        """The last failure since the last success; empty if all is well."""
        return self._error

    def failed(self, error: EcovisionError, ends: Callable[[], float]) -> bool:
        """Say what failed, and wait before the next try.

        Args:
            error: What happened.
            ends: Monotonic time after which to stop retrying; called again with each change.

        Returns:
            Whether there is to be another try.
        """
        with self._changed:
            if str(error) != self._error:
                _log.warning("%s: %s", self._name, self._after_name(str(error)))
            self._error = str(error)
            self._count += 1
            until = time.monotonic() + self._backoff.next()
            while (left := min(until, ends()) - time.monotonic()) > 0:
                self._changed.wait(left)
            return time.monotonic() < ends()

    def _after_name(self, text: str) -> str:
        """Return a text without the name that a log line begins with, or its address."""
        text = text.removeprefix(f"{self._name} ")
        head, _, rest = text.partition(" ")
        return rest if rest and "://" in head and self._name.startswith(head) else text

    def well(self) -> None:
        """Something succeeded: the next failure is a new one."""
        with self._changed:
            if self._error:
                _log.info("%s: is well again", self._name)
            self._error = ""

    def begin_anew(self) -> None:
        """The next failure is waited after for the shortest time."""
        with self._changed:
            self._backoff.reset()
