"""A thread that somebody owns: started once, and waited for no longer than is given."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Worker"]


class Worker:
    """A daemon thread: one that hangs cannot keep the process from ending.

    Args:
        run: What it does.
        name: The thread's.
    """

    def __init__(self, run: Callable[[], object], name: str) -> None:
        self._thread = threading.Thread(target=run, name=name, daemon=True)

    @property
    def started(self) -> bool:
        """Whether `start` was called."""
        return self._thread.ident is not None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin. Raises RuntimeError the second time."""
        self._thread.start()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for its end, `timeout` seconds at most; None is without a limit.

        Returns:
            Whether there is nothing more to wait for: it has ended, never began, or is who asks.
        """
        if not self.started or self._thread is threading.current_thread():
            return True
        self._thread.join(timeout)
        return not self.alive
