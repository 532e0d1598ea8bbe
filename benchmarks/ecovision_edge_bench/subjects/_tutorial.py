"""Frames to network input as the tutorials of the engines do it: OpenCV's plain bilinear resize, then numpy.

`INTER_LINEAR` aliases where a frame is much larger than the input; that is what users of these engines get,
and it is cheap. All but ncnn, which has its own, share it, so that they differ by the engine alone.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.bundle.contract import Contract
from ecovision_edge_bench.subjects import Frame

__all__ = ["TutorialPreprocessing", "covering_size", "crop_origin"]


class TutorialPreprocessing:
    """`prepare(frame)` gives `(1, 3, height, width) float32 RGB`, normalized, for a frame of any size.

    `description` says it in one line.
    """

    def __init__(self, contract: Contract) -> None:
        self._height, self._width = contract.input.height, contract.input.width
        self._shortest = contract.resize.shortest
        self._mean = np.array(contract.normalization.mean, np.float32)
        self._std = np.array(contract.normalization.std, np.float32)
        crop = "" if self._shortest is None else f" to shorter edge {self._shortest}, centre crop"
        self.description = f"cv2.resize INTER_LINEAR{crop}, numpy float32 NCHW"

    def prepare(self, frame: Frame) -> npt.NDArray[np.float32]:
        """Resize, crop where the contract does, BGR to RGB, / 255, mean and std, NCHW."""
        rgb = self._resized(frame)[..., ::-1]
        scaled = (rgb.astype(np.float32) / 255 - self._mean) / self._std
        return np.ascontiguousarray(scaled.transpose(2, 0, 1)[np.newaxis])

    def _resized(self, frame: Frame) -> Frame:
        size = (self._width, self._height)
        if self._shortest is not None:
            size = covering_size(frame.shape[1], frame.shape[0], self._shortest)
        resized = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        if self._shortest is None:
            return resized
        left, top = crop_origin(size, self._width, self._height)
        return resized[top : top + self._height, left : left + self._width]


def covering_size(width: int, height: int, shortest: int) -> tuple[int, int]:
    """(width, height) with the shorter edge at `shortest`; the longer is rounded down, as torchvision's."""
    if width <= height:
        return shortest, int(shortest * height / width)
    return int(shortest * width / height), shortest


def crop_origin(size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """Left and top of the centre `width` x `height` of a picture of `size`, as torchvision's."""
    return round((size[0] - width) / 2), round((size[1] - height) / 2)
