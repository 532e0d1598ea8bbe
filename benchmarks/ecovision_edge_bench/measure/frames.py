"""Camera frames to measure with: photographs brought to a camera's size, or synthetic ones."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.errors import OptionError
from ecovision_edge.photographs.images import read_image
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_bench.subjects import Frame

__all__ = ["FrameSource", "parse_frame_size", "to_camera_size"]

FRAMES = 8  # distinct ones, taken in turn: 50 MB at 1920x1080


@dataclass(frozen=True, slots=True)
class FrameSource:
    """Where frames come from; small enough to send to another process, which then makes the same frames.

    Args:
        width: Of a frame, pixels.
        height: Of a frame, pixels.
        images: Files; none means synthetic frames.
    """

    width: int
    height: int
    images: tuple[str, ...] = ()

    def load(self) -> list[Frame]:
        """Return the frames, `(height, width, 3) uint8 BGR` each.

        Raises:
            ImageReadError: a file that is no image.
        """
        if not self.images:
            return [draw_frame(seed, self.width, self.height) for seed in range(FRAMES)]
        return [to_camera_size(read_image(Path(p)), self.width, self.height) for p in self.images[:FRAMES]]

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {**dataclasses.asdict(self), "images": [*self.images]}


def to_camera_size(image: Frame, width: int, height: int) -> Frame:
    """Return the image scaled until it covers `width` x `height`, and the middle of it."""
    if image.shape[:2] == (height, width):
        return image
    scale = max(width / image.shape[1], height / image.shape[0])
    size = max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    frame: Frame = scaled[top : top + height, left : left + width].copy()
    return frame


def parse_frame_size(text: str) -> tuple[int, int]:
    """`640x480` as (width, height).

    Raises:
        OptionError: not two sides from 32 to 8192.
    """
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text.strip().lower())
    if match is None or not all(32 <= int(side) <= 8192 for side in match.groups()):
        raise OptionError("--frame", expected="WIDTHxHEIGHT, sides from 32 to 8192", found=text)
    return int(match[1]), int(match[2])
