"""A part of a frame: what of it is classified."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.bundle.views import PLAIN, RegionView
from ecovision_edge.errors import OptionError

__all__ = ["Region"]

_Pixel = TypeVar("_Pixel", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of a frame, in its pixels; `right` and `bottom` are the first ones beyond it.

    `view` is how it is looked at: `cut` gives it so.
    """

    left: int
    top: int
    right: int
    bottom: int
    view: RegionView = PLAIN

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
        """The rectangle alone, whichever way it is looked at."""
        return replace(self, view=PLAIN)

    def covers(self, width: int, height: int) -> bool:
        """Return whether it is the whole of a frame of that size in pixels."""
        return (self.left, self.top) == (0, 0) and self.right >= width and self.bottom >= height

    def size_in(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of what `cut` gives of a frame of that size in pixels."""
        left, top, right, bottom = self._scaled(width, height)
        size = min(bottom, height) - top, min(right, width) - left
        return (size[1], size[0]) if self.view.quarters % 2 else size

    def cut(self, image: npt.NDArray[_Pixel], whole: tuple[int, int] | None = None) -> npt.NDArray[_Pixel]:
        """Cut this part out of `(height, width, ...)`, in its view, without what lies beyond the frame.

        It shares its memory with the frame where it is neither turned nor mirrored.

        Args:
            image: The frame.
            whole: Height and width of the frame whose pixels the region counts, where `image` is that frame
                made smaller; the sides are then rounded to its pixels. None: they are those of `image`.
        """
        height, width = image.shape[:2]
        if whole is None or whole == (height, width):
            left, top, right, bottom = self._scaled(width, height)
        else:
            left, top, right, bottom = self._scaled(whole[1], whole[0])
            left, right = _reduced(left, right, width / whole[1], width)
            top, bottom = _reduced(top, bottom, height / whole[0], height)
        part = image[top:bottom, left:right]
        if not self.view.quarters and not self.view.mirrored:
            return part
        return _turned(part, self.view)

    def to_json(self) -> list[JsonValue]:
        """Return `[left, top, right, bottom]`."""
        return [self.left, self.top, self.right, self.bottom]

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
    import cv2  # known to whoever has a frame; what only names a region needs it not

    pixels: object = part
    if view.quarters:
        turns = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
        pixels = cv2.rotate(part, turns[view.quarters - 1])  # type: ignore[arg-type]  # any dtype
    return cv2.flip(pixels, 1) if view.mirrored else pixels  # type: ignore[return-value,call-overload]
