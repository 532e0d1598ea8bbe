"""What is known of one frame, from the first look at it to its prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from ecovision_edge.bundle.views import PLAIN, RegionView
from ecovision_edge.errors import FrameTypeError
from ecovision_edge.prediction import Prediction, Timings
from ecovision_edge.preprocess.frames import Bgr, as_bgr
from ecovision_edge.preprocess.region import Region

__all__ = ["Box", "Content", "Look", "Observation", "View"]

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
        """Return the share of it, 0 to 1, that is another than `since`, a content of the same gate."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One frame, or what stands in for one, as a decision needs it. Each step adds what it found.

    A gate looks at the frame (`look`), which tells what part of it to classify (`region`); the network then
    says what that part shows (`classified`).

    Args:
        image: `(height, width, 3) uint8 BGR`; None where there is a prediction alone.
        look: What the gate says of the frame; None if no gate has looked at it.
        region: The part to classify, or that was classified, and in which view; None is the whole frame, as
            it is.
        probabilities: One per class, 0 to 1, of that part; None if it is not classified.
        timings: How long the classification took; None if unknown.
        time: The capture, seconds since 1970; None if unknown.
        age_ms: Milliseconds from the capture to the prediction; None if unknown.
        wanted: Whether that part is worth classifying; False where a gate saw no item.
    """

    image: Bgr | None = field(default=None, repr=False)
    look: Look | None = None
    region: Region | None = None
    probabilities: tuple[float, ...] | None = None
    timings: Timings | None = None
    time: float | None = None
    age_ms: float | None = None
    wanted: bool = True

    @property
    def view(self) -> RegionView:
        """The view in which the frame is classified."""
        return PLAIN if self.region is None else self.region.view

    @property
    def place(self) -> Region | None:
        """The rectangle that is classified, in pixels of the frame; None is the whole frame."""
        region, image = self.region, self.image
        if region is None or (image is not None and region.covers(image.shape[1], image.shape[0])):
            return None
        return region.place

    def part(self) -> Bgr:
        """Return the pixels to classify, in their view; they may share memory with `image`.

        Raises:
            FrameTypeError: there is no picture.
            FrameValueError: the region lies beyond it.
        """
        if self.image is None:
            raise FrameTypeError("an observation", expected="one with a picture", found="one without")
        if self.region is None:
            return self.image
        part = self.region.cut(self.image)
        return Bgr(part) if part.size else as_bgr(part)

    def classified(self, said: Prediction | Sequence[float]) -> Observation:
        """Return this observation with what the network says of its region.

        Args:
            said: The prediction, or the probabilities alone, one per class, 0 to 1.
        """
        if isinstance(said, Prediction):
            return replace(self, probabilities=said.probabilities, timings=said.timings)
        return replace(self, probabilities=tuple(said))
