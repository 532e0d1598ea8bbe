"""What tells a decider whether there is an item."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ecovision_edge.observation import Look

__all__ = ["Gate"]


class Gate(Protocol):
    """Tells whether there is an item, and where."""

    def look(self, image: npt.NDArray[np.uint8], now: float) -> Look:
        """Look at a frame `(height, width, 3) uint8 BGR` at `now`, seconds that never go back."""

    def relearn(self) -> None:
        """Forget the empty tray: what is seen from now on is the empty tray."""
