"""What is done to each frame of any source: turn, mirror, cut."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from ecovision_edge.base.addresses import Options
from ecovision_edge.camera.source import Image
from ecovision_edge.errors import BadFrameError, FrameError
from ecovision_edge.preprocess.frames import Bgr, as_bgr

__all__ = ["Transform"]

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_ROI = "x,y,w,h as fractions of the picture, x and y from 0, w and h above 0, x+w and y+h at most 1"


@dataclass(frozen=True, slots=True)
class Transform:
    """Turn, then mirror, then cut.

    Args:
        rotate: Degrees clockwise: 0, 90, 180 or 270.
        mirror: Left and right changed, in the turned picture.
        roi: `(x, y, width, height)` of the turned and mirrored picture, fractions from 0 to 1.
    """

    rotate: int = 0
    mirror: bool = False
    roi: tuple[float, float, float, float] | None = None

    @classmethod
    def take(cls, options: Options) -> Transform:
        """Take `rotate=`, `mirror=` and `roi=` out of the options.

        Raises:
            SourceError: a value out of range.
        """
        rotate = options.choice("rotate", ("0", "90", "180", "270"))
        mirror = options.flag("mirror")
        return cls(int(rotate or 0), mirror, _roi(options))

    @property
    def changes(self) -> bool:
        """Whether anything is done at all."""
        return bool(self.rotate or self.mirror or self.roi is not None)

    @property
    def cuts(self) -> bool:
        """Whether some of the picture is cut away."""
        return self.roi is not None

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of what `apply` makes of a picture of that size in pixels."""
        if self.rotate in (90, 270):
            height, width = width, height
        left, top, right, bottom = self._sides(height, width)
        return bottom - top, right - left

    def apply(self, image: Image) -> Image:
        """Transform a frame, C-contiguous; the given one, never changed, if nothing is to be done."""
        if self.rotate:
            image = cast("Image", cv2.rotate(image, _TURNS[self.rotate]))
        if self.mirror:
            image = cast("Image", cv2.flip(image, 1))
        if self.roi is not None:
            left, top, right, bottom = self._sides(*image.shape[:2])
            image = image[top:bottom, left:right].copy()  # a view would keep the whole frame in memory
        return np.ascontiguousarray(image)

    def finish(self, frame: object, name: str) -> Bgr:
        """Check what a driver gave, and return it as BGR and transformed.

        Raises:
            BadFrameError: it is no frame.
        """
        try:
            return Bgr(self.apply(as_bgr(frame)))
        except (FrameError, cv2.error) as e:
            raise BadFrameError(f"{name} gave what is no frame", found=str(e)) from e

    def _sides(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of what is kept of a turned picture."""
        if self.roi is None:
            return 0, 0, width, height
        x, y, w, h = self.roi
        left, top = min(round(x * width), width - 1), min(round(y * height), height - 1)
        right, bottom = max(round((x + w) * width), left + 1), max(round((y + h) * height), top + 1)
        return left, top, right, bottom


def _roi(options: Options) -> tuple[float, float, float, float] | None:
    text = options.text("roi")
    if text is None:
        return None
    try:
        x, y, w, h = (float(part) for part in text.split(","))
    except ValueError:
        raise options.error("roi", _ROI, text or "nothing") from None
    # Decimal fractions that add up to 1 may do so only nearly.
    if not (all(map(math.isfinite, (x, y, w, h))) and min(x, y) >= 0 and min(w, h) > 0):
        raise options.error("roi", _ROI, text)
    if max(x + w, y + h) > 1 + 1e-9:
        raise options.error("roi", _ROI, text)
    return x, y, w, h
