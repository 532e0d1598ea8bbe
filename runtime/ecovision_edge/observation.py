"""What is known of one frame, from the first look at it to its prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol, TypeAlias, runtime_checkable

from ecovision_edge.bundle.views import PLAIN, RegionView
from ecovision_edge.errors import FrameTypeError
from ecovision_edge.photographs.images import Reduce
from ecovision_edge.photographs.jpeg_picture import JpegPicture
from ecovision_edge.prediction import Prediction, Timings
from ecovision_edge.preprocess.frames import Bgr, as_bgr
from ecovision_edge.preprocess.region import Region, TurnedBox

__all__ = ["Box", "Content", "Look", "Observation", "Picture", "Reduces", "View", "pixels_of", "size_of"]

Picture: TypeAlias = Bgr | JpegPicture
"""`(height, width, 3) uint8 BGR`, or the JPEG that it is decoded from when somebody asks."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of the view's width and height, 0 to 1."""


@runtime_checkable
class Reduces(Protocol):
    """Something that looks at pictures, and is content with smaller ones: a classifier, a gate."""

    def reduction(self, height: int, width: int) -> int:
        """Return how many times smaller a picture of that size may be decoded for it: 1, 2, 4 or 8."""
        ...


def pixels_of(picture: Picture, reduce: Reduce | None = None) -> Bgr:
    """Return the pixels of a picture: all, or as many as `reduce` asks for where it is still to be decoded.

    Raises:
        ImageReadError: it cannot be decoded.
    """
    if not isinstance(picture, JpegPicture):
        return picture
    return Bgr(picture.whole() if reduce is None else picture.reduced(reduce))


def size_of(picture: Picture) -> tuple[int, int]:
    """Return height and width of a picture, pixels of the whole one; raises ImageReadError."""
    if isinstance(picture, JpegPicture):
        return picture.size
    return picture.shape[0], picture.shape[1]


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
        turned: The rectangle that it fills, where its sides are not those of the view; all of its lengths
            are shares of the view's width. None if it fills none, or if that is not known.
    """

    view: View
    share: float
    moving: bool
    reason: str
    box: Box | None = None
    edge: bool = False
    content: Content | None = field(default=None, repr=False, compare=False)
    turned: TurnedBox | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One frame, or what stands in for one, as a decision needs it. Each step adds what it found.

    A gate looks at the frame (`look`), which tells what part of it to classify (`region`); the network then
    says what that part shows (`classified`).

    Args:
        picture: `(height, width, 3) uint8 BGR`, or its JPEG; None where there is a prediction alone.
        look: What the gate says of the frame; None if no gate has looked at it.
        region: The part to classify, or that was classified, and in which view; None is the whole frame, as
            it is.
        probabilities: One per class, 0 to 1, of that part; None if it is not classified.
        timings: How long the classification took; None if unknown.
        time: The capture, seconds since 1970; None if unknown.
        age_ms: Milliseconds from the capture to the prediction; None if unknown.
        wanted: Whether that part is worth classifying; False where a gate saw no item.
    """

    picture: Picture | None = field(default=None, repr=False)
    look: Look | None = None
    region: Region | None = None
    probabilities: tuple[float, ...] | None = None
    timings: Timings | None = None
    time: float | None = None
    age_ms: float | None = None
    wanted: bool = True

    @property
    def image(self) -> Bgr | None:
        """The pixels of the picture, all of them; None if there is none. Raises ImageReadError."""
        return None if self.picture is None else pixels_of(self.picture)

    @property
    def view(self) -> RegionView:
        """The view in which the frame is classified."""
        return PLAIN if self.region is None else self.region.view

    @property
    def place(self) -> Region | None:
        """Upright box around what is classified, in pixels of the frame; None is the whole frame."""
        region = self.region
        if region is None:
            return None
        whole = self.picture is not None and region.covers(*reversed(size_of(self.picture)))
        return None if whole and region.turned is None else region.place

    def part(self, reduce: Reduce | None = None) -> Bgr:
        """Return the pixels to classify, in their view; they may share memory with `image`.

        Args:
            reduce: How small they may be, given their height and width, where the picture is a JPEG
                (`Classifier.reduction`); its region is then cut at pixels of the smaller one. None: whole.

        Raises:
            FrameTypeError: there is no picture.
            FrameValueError: the region lies beyond it.
            ImageReadError: it cannot be decoded.
        """
        if self.picture is None:
            raise FrameTypeError("an observation", expected="one with a picture", found="one without")
        region = self.region
        if region is None:
            return pixels_of(self.picture, reduce)
        if reduce is None or not isinstance(self.picture, JpegPicture):
            part = region.cut(pixels_of(self.picture))
        else:
            pixels = self.picture.reduced(lambda height, width: reduce(*region.size_in(height, width)))
            part = region.cut(pixels, self.picture.size)
        return Bgr(part) if part.size else as_bgr(part)

    def classified(self, said: Prediction | Sequence[float]) -> Observation:
        """Return this observation with what the network says of its region.

        Args:
            said: The prediction, or the probabilities alone, one per class, 0 to 1.
        """
        if isinstance(said, Prediction):
            return replace(self, probabilities=said.probabilities, timings=said.timings)
        return replace(self, probabilities=tuple(said))
