"""OpenCV 4.6 (of Debian 12 and Raspberry Pi OS bookworm) turns portrait video the wrong way round.

It takes the angle of the file's display matrix for clockwise, which FFmpeg gives counterclockwise: it turns
by 270 degrees where 90 are right, and the picture is upside down. 4.5.5 and 4.7.0 were tried, and are right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import cv2

from ecovision_edge.camera.source import Image

__all__ = ["set_upright"]


def set_upright(capture: cv2.VideoCapture) -> Callable[[Image], Image]:
    """Return what sets the frames of FFmpeg's `capture` upright: nothing to do but by OpenCV 4.6."""
    wrong = cv2.__version__.startswith("4.6.") and bool(capture.get(cv2.CAP_PROP_ORIENTATION_AUTO))
    if wrong and round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) in (90, 270):
        return lambda frame: cast("Image", cv2.rotate(frame, cv2.ROTATE_180))
    return lambda frame: frame
