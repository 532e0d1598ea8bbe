"""How long to wait before the next try."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """Capped exponential delays with equal jitter.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog (2015): so that many devices
    that lost one network do not come back all at once.
    """

    def __init__(self, first: float, most: float, *, rng: random.Random | None = None) -> None:
        """Delays from `first` to `most` seconds; `rng` is for tests."""
        self._first, self._most = first, most
        self._rng = rng or random.Random()  # noqa: S311 - nothing secret
        self._tries = 0

    def next(self) -> float:
        """Return the seconds to wait before the next try: half to all of the exponential, at random."""
        # 2 ** 1024 would overflow, and long before it the cap holds.
        whole = min(self._most, self._first * 2.0 ** min(self._tries, 64))
        self._tries += 1
        return whole * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin again with `first`."""
        self._tries = 0
