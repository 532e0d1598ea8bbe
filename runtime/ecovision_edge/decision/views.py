"""What a gate says of a frame, and what a gate is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Box", "Content", "Gate", "Look", "View"]

Image = npt.NDArray[np.uint8]

Box = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of the view's width and height, 0 to 1."""


class View(str, Enum):
    """What is seen, beside the empty tray."""

    UNKNOWN = "unknown"
    EMPTY = "empty"
    ITEM = "item"
    COVERED = "covered"
    STRANGE = "strange"

    def __str__(self) -> str:
        return self.value


class Content(Protocol):
    """What lies on the tray, to be compared with what lies there later."""

    def changed(self, since: Content) -> float:
        """The share of it, 0 to 1, that is another than `since`, a content of the same gate."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a gate says of one frame.

    Args:
        view: UNKNOWN while the empty tray is not learnt yet; COVERED where the whole view is another one, so
            that nothing can be said: the lens is covered, or the camera was moved; STRANGE where it is not
            the tray that was kept from the last run.
        share: Of the view that differs from the empty tray, 0 to 1.
        moving: Whether something moves.
        reason: In a few words.
        box: Where the item is; None if there is none, or if that is not known.
        edge: Whether the item reaches out of the view, over one side or two: like a hand.
        content: What lies there, if it lies still; None if that is not known.
    """

    view: View
    share: float
    moving: bool
    reason: str
    box: Box | None = None
    edge: bool = False
    content: Content | None = field(default=None, repr=False, compare=False)


class Gate(Protocol):
    """Tells whether there is an item, and where."""

    def look(self, image: Image, now: float) -> Look:
        """Look at a frame at `now`, seconds that never go back."""

    def relearn(self) -> None:
        """Forget the empty tray: what is seen from now on is the empty tray."""
