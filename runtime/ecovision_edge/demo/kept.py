"""The last picture of each visitor, until the tab is closed, and no more of them than fit into a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["Kept", "Shot"]

MOST_BYTES = 64 * 2**20
"""Two of the largest uploads, or twenty photographs of a telephone."""

MOST_VISITORS = 64


@dataclass(frozen=True, slots=True)
class Shot:
    """The last picture of a visitor, encoded as it came: another artifact is asked about it, or a map made.

    Args:
        data: The bytes of a JPEG, PNG, ...
        name: How messages call it.
        answer: What was said of it: a label, or `unknown`.
    """

    data: bytes
    name: str
    answer: str = ""


class Kept:
    """One picture a visitor; those not used for longest give way. May be used from any thread.

    Gradio would keep a value of each session for an hour after its tab was closed.
    """

    def __init__(self, most_bytes: int = MOST_BYTES, most_visitors: int = MOST_VISITORS) -> None:
        """Empty."""
        self._most_bytes, self._most_visitors = most_bytes, most_visitors
        self._shots: OrderedDict[str, Shot] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, session: str, shot: Shot | None) -> None:
        """Keep it in place of the one before; None keeps nothing."""
        with self._lock:
            self._shots.pop(session, None)
            if shot is None:
                return
            self._shots[session] = shot
            held = sum(len(shot.data) for shot in self._shots.values())
            while len(self._shots) > self._most_visitors or held > self._most_bytes:
                held -= len(self._shots.popitem(last=False)[1].data)

    def get(self, session: str) -> Shot | None:
        """Return the visitor's picture, if it is still kept."""
        with self._lock:
            if session in self._shots:
                self._shots.move_to_end(session)
            return self._shots.get(session)

    def forget(self, session: str) -> None:
        """Forget the picture of a tab that was closed."""
        self.put(session, None)

    def __len__(self) -> int:
        return len(self._shots)
