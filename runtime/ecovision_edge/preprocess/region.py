"""A part of a frame: what of it is classified."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.bundle.views import PLAIN, RegionView
from ecovision_edge.errors import FrameValueError, OptionError

__all__ = ["Region", "TurnedBox"]

MOST_PIXELS = 100_000  # more than any camera has
_Pixel = TypeVar("_Pixel", bound=np.generic)


@dataclass(frozen=True, slots=True)
class TurnedBox:
    """A rectangle whose sides are not those of the frame: what an item that lies aslant fills.

    Lengths are in pixels of the frame, or in shares of its width where a gate gives it (`Look.turned`).

    Args:
        x: The middle, from the left; a pixel's own middle is at a half.
        y: The middle, from the top.
        width: Length of the sides that would be across without the turn, above 0.
        height: Length of the other sides, above 0.
        degrees: By which it is turned about its middle, from the x axis towards the y axis, so clockwise as
            it is seen; -45 to 45.
    """

    x: float
    y: float
    width: float
    height: float
    degrees: float

    def __post_init__(self) -> None:
        """Refuse an invalid rectangle; raises OptionError."""
        values = (self.x, self.y, self.width, self.height, self.degrees)
        sides = 0 < self.width <= MOST_PIXELS and 0 < self.height <= MOST_PIXELS
        if not (sides and -45 <= self.degrees <= 45 and all(abs(v) <= MOST_PIXELS for v in values)):
            expected = f"sides above 0, -45 to 45 degrees, nothing beyond {MOST_PIXELS} pixels"
            raise OptionError("turned box of a frame", expected=expected, found=str(values))

    def scaled(self, by: float) -> TurnedBox:
        """Return the same rectangle of a frame whose sides are `by` times as long."""
        return replace(self, x=self.x * by, y=self.y * by, width=self.width * by, height=self.height * by)

    def to_json(self) -> list[JsonValue]:
        """Return `[x, y, width, height, degrees]`."""
        return [self.x, self.y, self.width, self.height, self.degrees]


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of a frame, in its pixels; `right` and `bottom` are the first ones beyond it.

    `view` is how it is looked at: `cut` gives it so. With `turned`, `cut` gives that rectangle in place of
    the upright one, its sides laid along those of the picture.
    """

    left: int
    top: int
    right: int
    bottom: int
    view: RegionView = PLAIN
    turned: TurnedBox | None = None

    def __post_init__(self) -> None:
        """Refuse what is no rectangle.

        Raises:
            OptionError: a side is empty, or begins before the frame does.
        """
        if not (0 <= self.left < self.right and 0 <= self.top < self.bottom):
            raise OptionError(
                "region of a frame",
                expected="0 <= left < right, 0 <= top < bottom",
                found=f"{self.left}, {self.top}, {self.right}, {self.bottom}",
            )

    @property
    def place(self) -> Region:
        """The upright rectangle alone, whichever way it is looked at."""
        return replace(self, view=PLAIN, turned=None)

    def covers(self, width: int, height: int) -> bool:
        """Return whether it is the whole of a frame of that size in pixels."""
        return (self.left, self.top) == (0, 0) and self.right >= width and self.bottom >= height

    def size_in(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of what `cut` gives of a frame of that size in pixels."""
        if self.turned is not None:
            size = self._turned_size(self.turned)
        else:
            left, top, right, bottom = self._scaled(width, height)
            size = min(bottom, height) - top, min(right, width) - left
        return (size[1], size[0]) if self.view.quarters % 2 else size

    def cut(self, image: npt.NDArray[_Pixel], whole: tuple[int, int] | None = None) -> npt.NDArray[_Pixel]:
        """Cut this part out of `(height, width, ...)`, in its view.

        It is without what lies beyond the frame, and shares its memory with the frame where it is neither
        turned nor mirrored. A turned box shows the frame mirrored there, and its pixels lie between those of
        the frame.

        Args:
            image: The frame.
            whole: Height and width of the frame whose pixels the region counts, where `image` is that frame
                made smaller; the sides are then rounded to its pixels. None: they are those of `image`.

        Raises:
            FrameValueError: a turned box whose middle is beyond the frame, or far larger than it.
        """
        height, width = image.shape[:2]
        if self.turned is not None:
            rows, columns = whole or (height, width)
            box = self.turned
            within = 0 <= box.x <= columns and 0 <= box.y <= rows
            if not within or max(box.width, box.height) > 2 * (rows + columns):
                expected = f"one within {columns}x{rows} pixels"
                raise FrameValueError("a turned box of a frame", expected=expected, found=str(box))
            by = math.sqrt(height * width / (rows * columns))
            return _turned(self._straightened(image, self.turned.scaled(by)), self.view)
        if whole is None or whole == (height, width):
            left, top, right, bottom = self._scaled(width, height)
        else:
            left, top, right, bottom = self._scaled(whole[1], whole[0])
            left, right = _reduced(left, right, width / whole[1], width)
            top, bottom = _reduced(top, bottom, height / whole[0], height)
        return _turned(image[top:bottom, left:right], self.view)

    def to_json(self) -> list[JsonValue]:
        """Return `[left, top, right, bottom]`."""
        return [self.left, self.top, self.right, self.bottom]

    def _turned_size(self, box: TurnedBox) -> tuple[int, int]:
        """Return height and width of what is cut of a turned box, before quarter turns."""
        scale = self.view.scale
        return max(1, round(box.height * scale)), max(1, round(box.width * scale))

    def _straightened(self, image: npt.NDArray[_Pixel], box: TurnedBox) -> npt.NDArray[_Pixel]:
        import cv2

        height, width = self._turned_size(box)
        angle = math.radians(box.degrees)
        cosine, sine = math.cos(angle), math.sin(angle)
        # From a pixel of the result to one of the frame; both count from the middle of their first pixel.
        across, down = (width - 1) / 2, (height - 1) / 2
        matrix = np.array(
            [
                [cosine, -sine, box.x - 0.5 - cosine * across + sine * down],
                [sine, cosine, box.y - 0.5 - sine * across - cosine * down],
            ]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        pixels = cast("npt.NDArray[np.uint8]", image)  # or any other dtype that OpenCV takes
        cut = cv2.warpAffine(pixels, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        return cast("npt.NDArray[_Pixel]", cut)

    def _scaled(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return the sides after the view's scale, within a frame of that size."""
        scale = self.view.scale
        if scale == 1:
            return self.left, self.top, self.right, self.bottom
        left, right = _around(self.left, self.right, scale, width)
        top, bottom = _around(self.top, self.bottom, scale, height)
        return left, top, right, bottom


def _around(begin: int, end: int, scale: float, most: int) -> tuple[int, int]:
    """Scale a side about its middle by the same whole number of pixels at both ends; to a pixel at least."""
    by = min(round((end - begin) * (scale - 1) / 2), most)
    by = max(by, -((end - begin - 1) // 2))
    return max(0, begin - by), min(most, end + by)


def _reduced(begin: int, end: int, scale: float, most: int) -> tuple[int, int]:
    """Return begin and end of a side in a frame made smaller, of at least one pixel."""
    begin = min(round(begin * scale), most - 1)
    return begin, min(max(round(end * scale), begin + 1), most)


def _turned(part: npt.NDArray[_Pixel], view: RegionView) -> npt.NDArray[_Pixel]:
    """Turn and mirror a copy by OpenCV: numpy takes several times as long for the same pixels."""
    if not view.quarters and not view.mirrored:
        return part
    import cv2  # known to whoever has a frame; what only names a region needs it not

    pixels: object = part
    if view.quarters:
        turns = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
        pixels = cv2.rotate(part, turns[view.quarters - 1])  # type: ignore[arg-type]  # any dtype
    return cv2.flip(pixels, 1) if view.mirrored else pixels  # type: ignore[return-value,call-overload]
