"""A part of a frame: what of it is classified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ecovision_edge._fields import JsonValue
from ecovision_edge.errors import OptionError

__all__ = ["Region"]

_Pixel = TypeVar("_Pixel", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of a frame, in its pixels; `right` and `bottom` are the first ones beyond it."""

    left: int
    top: int
    right: int
    bottom: int

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

    def cut(self, image: npt.NDArray[_Pixel]) -> npt.NDArray[_Pixel]:
        """That part of `(height, width, ...)`: a view of it, not a copy; what lies beyond it is left out."""
        return image[self.top : self.bottom, self.left : self.right]

    def to_json(self) -> list[JsonValue]:
        """`[left, top, right, bottom]`."""
        return [self.left, self.top, self.right, self.bottom]
