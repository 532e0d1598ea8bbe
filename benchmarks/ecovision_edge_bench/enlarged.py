"""Frames of a camera's size out of photographs, which may be smaller.

A photograph that is at least as large as the wanted frame is shrunk to
it (`INTER_AREA`). A smaller one is stretched to it (bicubic), and gets back the fine detail that stretching
cannot give: the mosaic of other photographs at their native resolution, less what of it would survive being
shrunk to the photograph's own size and stretched again. So the picture and its label stay, while the bands
above, which alias where a filter is poor, hold detail of real photographs. At full strength that detail is as
crisp as a 256-pixel thumbnail's, which no camera frame is: so it is multiplied by
`0.19 * (640 / width) ** 0.75`, which is fitted: with it `INTER_LINEAR` differs from PIL by as many levels as
it did on camera photographs, 1.6 on average at 640x480 and 2.0 at 1920x1080 (100 photographs each). Frames
that are not square are stretched out of square, which the resize undoes.

What these cannot show: how a particular camera's noise, sharpening and compression behave.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.errors import ImageReadError
from ecovision_edge.photographs.images import IMAGE_SUFFIXES, find_images, read_image

__all__ = ["SEED", "TILES", "Image", "camera_frame", "photographs", "tiles_of"]

Image: TypeAlias = npt.NDArray[np.uint8]

TILES = 128  # photographs that the mosaics are made of
SEED = 20240229  # any number; it fixes the choice of photographs and the mosaics


def photographs(folder: Path, limit: int) -> list[Path]:
    """Return the photographs to measure: the same ones for the same folder and limit.

    Raises:
        ImageReadError: None there.
    """
    found = sorted(find_images(folder))
    if not found:
        raise ImageReadError(
            "no photographs", expected=f"{', '.join(sorted(IMAGE_SUFFIXES))} files in {folder}", found="none"
        )
    random.Random(SEED).shuffle(found)  # noqa: S311 - a sample, not a secret
    return found[:limit]


def camera_frame(
    photograph: Image, width: int, height: int, tiles: Sequence[Image], rng: np.random.Generator
) -> Image:
    """Return a frame of the wanted size out of a photograph, by the method that the module describes.

    Args:
        photograph: `(h, w, 3) uint8`.
        width: Wanted, pixels.
        height: Wanted, pixels.
        tiles: Pieces of other photographs, all of one size, in their native resolution.
        rng: Chooses the tiles.

    Returns:
        `(height, width, 3) uint8`.
    """
    native_height, native_width = photograph.shape[:2]
    if (native_width, native_height) == (width, height):
        return photograph
    if native_width >= width and native_height >= height:
        return _pixels(cv2.resize(photograph, (width, height), interpolation=cv2.INTER_AREA))
    tile_height, tile_width = tiles[0].shape[:2]
    rows, columns = -(-height // tile_height), -(-width // tile_width)
    choice = rng.integers(0, len(tiles), (rows, columns))
    mosaic = np.concatenate([np.concatenate([tiles[i] for i in row], axis=1) for row in choice], axis=0)
    mosaic = np.ascontiguousarray(mosaic[:height, :width])
    coarse = cv2.resize(mosaic, (native_width, native_height), interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    detail = cv2.subtract(mosaic, blurred, dtype=cv2.CV_32F)
    stretched = cv2.resize(photograph, (width, height), interpolation=cv2.INTER_CUBIC)
    strength = 0.19 * (640 / width) ** 0.75  # see the module's docstring
    return _pixels(cv2.addWeighted(stretched.astype(np.float32), 1.0, np.asarray(detail), strength, 0.0))


def tiles_of(paths: Sequence[Path]) -> list[Image]:
    """Cut the middle 160x160 of each photograph (or less, where one is smaller): letterbox bars stay out."""
    images = [read_image(path) for path in paths]
    side = min(160, *(min(image.shape[:2]) for image in images))
    return [
        image[top : top + side, left : left + side]
        for image in images
        for top, left in [((image.shape[0] - side) // 2, (image.shape[1] - side) // 2)]
    ]


def _pixels(image: npt.NDArray[np.generic]) -> Image:
    """Return an OpenCV result as uint8: floats are rounded and clipped."""
    if image.dtype == np.uint8:
        return np.asarray(image, np.uint8)
    return np.clip(np.rint(np.asarray(image, np.float32)), 0, 255).astype(np.uint8)
