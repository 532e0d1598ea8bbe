"""Things that are laid on the tray: photographs without their letterbox bars, or synthetic things."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.errors import OptionError
from ecovision_edge.photographs.images import read_image
from ecovision_edge.photographs.labelled import LabelledImage, find_labelled
from ecovision_edge.photographs.letterbox import strip_bars
from ecovision_edge.simulation.synthetic import ITEM_KINDS, draw_item

__all__ = ["Image", "Sprite", "choose_photographs", "drawn_sprite", "photograph_sprite"]

Image = npt.NDArray[np.uint8]
Sprite = npt.NDArray[np.float32]
"""`(height, width, 4) float32`: BGR, 0 to 255, already multiplied by its share, and that share, 0 to 1."""

_log = logging.getLogger("ecovision_edge")

MOST_SIDES = 0.92, 1.2  # height and width of a photograph at most, in heights of the frame
_FEATHER = 1.2  # pixels
_KINDS = {kind: kind for kind in ITEM_KINDS} | {"plastic": "glass", "trash": "paper"}


def photograph_sprite(path: Path, side_px: float, height: int, *, across: bool = False) -> Sprite:
    """Make a photograph a card with soft corners, its area `side_px` squared where the frame lets it.

    Args:
        path: The file.
        side_px: Pixels.
        height: Height of the frame, pixels; `MOST_SIDES` of it at most.
        across: It will lie on its side, so that it is its width that has to fit into the frame's height.

    Raises:
        ImageReadError: no image.
    """
    photo = strip_bars(read_image(path))
    h, w = photo.shape[:2]
    scale = side_px / math.sqrt(h * w)
    down, along = (w, h) if across else (h, w)
    scale = min(scale, MOST_SIDES[0] * height / down, MOST_SIDES[1] * height / along)
    size = max(2, round(w * scale)), max(2, round(h * scale))
    filter = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    colour = cv2.resize(photo, size, interpolation=filter).astype(np.float32)
    share = np.zeros((size[1], size[0]), np.float32)
    inset = round(2 * _FEATHER)
    radius = max(1, round(0.04 * min(size)))
    inner = max(1, size[0] - 2 * inset - 2 * radius), max(1, size[1] - 2 * inset - 2 * radius)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    top, left = (size[1] - inner[1]) // 2, (size[0] - inner[0]) // 2
    share[top : top + inner[1], left : left + inner[0]] = 1
    soft = cv2.GaussianBlur(cv2.dilate(share, kernel), (0, 0), _FEATHER)
    share = np.clip(soft, 0, 1).astype(np.float32)
    return _sprite(colour * share[..., None], share)


def drawn_sprite(label: str, side_px: float, seed: tuple[int, ...]) -> Sprite:
    """Draw a synthetic thing; a label without a drawing looks like the nearest one.

    Args:
        label: A class; one that is not in `ITEM_KINDS` or near to one is refused.
        side_px: The root of the area of the square around it, pixels.
        seed: Seed of its colours and small parts.

    Raises:
        OptionError: it cannot be drawn.
    """
    kind = _KINDS.get(label)
    if kind is None:
        raise OptionError("an item that is to be drawn", expected=", ".join(sorted(_KINDS)), found=label)
    size = math.ceil(1.3 * side_px) + 4
    centre = np.array([size / 2, size / 2])
    sheets = []
    # On black and on white: the difference says how much of each pixel it covers.
    for ground in (0, 255):
        sheet = np.full((size, size, 3), ground, np.uint8)
        draw_item(sheet, kind, centre, side_px / 2, 0.0, np.random.default_rng([20261126, *seed]))
        sheets.append(cv2.GaussianBlur(sheet.astype(np.float32), (0, 0), 0.7))
    black, white = sheets
    share = np.clip(1 - (white - black).mean(axis=2) / 255, 0, 1).astype(np.float32)
    return _sprite(black, share)


def _sprite(colour: npt.NDArray[np.generic], share: npt.NDArray[np.float32]) -> Sprite:
    return np.dstack([colour, share]).astype(np.float32)


def choose_photographs(
    folder: Path, labels: tuple[str, ...], count: int, seed: int
) -> tuple[LabelledImage, ...]:
    """Choose `count` photographs, each class as often as any other, none twice while there are others.

    Raises:
        DatasetError: not one folder per class.
    """
    by_label: dict[int, list[LabelledImage]] = {}
    listed = find_labelled(folder, labels, option="--photographs")
    for note in listed.notes:
        _log.warning("%s", note)
    for image in listed.images:
        by_label.setdefault(image.label, []).append(image)
    rng = np.random.default_rng([20261126, seed, 2])
    piles = {
        label: [images[i] for i in rng.permutation(len(images))] for label, images in sorted(by_label.items())
    }
    chosen: list[LabelledImage] = []
    round_ = 0
    while len(chosen) < count:
        for label in rng.permutation(sorted(piles)).tolist():
            pile = piles[label]
            chosen.append(pile[round_ % len(pile)])
        round_ += 1
    return tuple(chosen[:count])
