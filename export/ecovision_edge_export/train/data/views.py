"""Views of a photograph as a camera above a bin has them: any turn, mirrored, near or far, on any ground.

One `cv2.warpAffine` does turn, mirror, stretch, shear, scale and crop at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.photographs.letterbox import strip_bars
from ecovision_edge_export.train.data.augment import Augmentation, Picture, film

__all__ = ["Views", "cut_loose", "draw_view"]

Matrix = npt.NDArray[np.float64]

_PLAIN_LEVELS = 14  # of the border's median: as far as a plain background goes
_PLAIN_SHARE = 0.85  # of the border, that has to be plain
_ITEM_SHARE = (0.05, 0.9)  # of the area: less is a speck, more has no background


_CAMERA = Augmentation(white=0.12, blur_p=0.15, noise_p=0.15, jpeg_p=0.2)


@dataclass(frozen=True, slots=True)
class Views:
    """How views are drawn; each `_p` is the probability that a view gets it.

    Args:
        strip_p: Grey letterbox bars are cut off.
        upright_p: It stays as it is.
        quarter_p: It is turned by quarter turns and a little; else by any angle.
        quarter_spread: That little: standard deviation, degrees.
        crop_p: A part of it is seen, else all of it and up to `far` more.
        crop: Minimum share of the area that is seen.
        far: Maximum area that is seen, as a multiple of the picture; beyond the edge it is mirrored.
        stretch: Logarithm of the aspect's factor, standard deviation.
        shear: Standard deviation.
        ground_p: The item is laid on another ground: cut loose where its background is plain, else whole.
        ground_far: Maximum factor by which it is smaller there, a side.
        few_p: The item has few pixels, as before a wide camera: all is drawn as small as that, with
            the sensor's noise, and enlarged.
        few: Minimum and maximum of the view's longer side then, pixels; it is never more than the view has.
        few_noise_p: The sensor's noise is seen then.
        erase_p: A rectangle of it is covered.
        erase: Minimum and maximum share of the area covered. Source: Z. Zhong et al., "Random Erasing Data
            Augmentation", AAAI 2020, arXiv 1708.04896.
        camera: Light, blur, noise and compression: its fields from `light_p` on.
    """

    strip_p: float = 0.9
    upright_p: float = 0.15
    quarter_p: float = 0.4
    quarter_spread: float = 6.0
    crop_p: float = 0.7
    crop: float = 0.3
    far: float = 1.25
    stretch: float = 0.15
    shear: float = 0.08
    ground_p: float = 0.4
    ground_far: float = 1.6
    few_p: float = 0.4
    few: tuple[float, float] = (56.0, 160.0)
    few_noise_p: float = 0.6
    erase_p: float = 0.25
    erase: tuple[float, float] = (0.02, 0.2)
    camera: Augmentation = _CAMERA

    def to_json(self) -> dict[str, JsonValue]:
        """Return all of it."""
        used = ("light_p", "light", "gamma", "white", "saturation", "blur_p", "blur", "noise_p", "noise")
        camera = self.camera.to_json()
        fields = asdict(self) | {"few": list(self.few), "erase": list(self.erase)}
        return fields | {"camera": {k: camera[k] for k in (*used, "jpeg_p", "jpeg")}}


def draw_view(
    picture: Picture,
    size: tuple[int, int],
    how: Views,
    rng: np.random.Generator,
    other: Callable[[np.random.Generator], Picture] | None = None,
) -> Picture:
    """Draw one view of a photograph: `(height, width, 3)` uint8 RGB of the size asked for.

    The same generator state gives the same view.

    Args:
        picture: `(h, w, 3)` uint8 RGB, of any size.
        size: Height and width of the view.
        how: Probabilities and ranges.
        rng: Source of all that is drawn.
        other: Draws another photograph, to be a ground out of focus; None: grounds are synthetic.
    """
    if rng.random() < how.strip_p:
        picture = np.ascontiguousarray(strip_bars(picture))
    drawn, camera = size, how.camera
    if rng.random() < how.few_p:
        drawn, camera = _few(size, how, rng), replace(camera, noise_p=how.few_noise_p)
    matrix = _geometry(picture.shape[:2], drawn, how, rng)
    if rng.random() < how.ground_p:
        view = _on_ground(picture, matrix, drawn, how, rng, other)
    else:
        view = _warp(_softened(picture, matrix), matrix, drawn, cv2.BORDER_REFLECT_101)
    view = film(view, camera, rng)
    if drawn != size:
        view = np.asarray(cv2.resize(view, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), np.uint8)
    return _erase(view, how, rng) if rng.random() < how.erase_p else view


def cut_loose(picture: Picture) -> Picture | None:
    """Find the item before a plain background: `(h, w)` uint8, 255 where it is, 0 where not.

    Args:
        picture: `(h, w, 3)` uint8 RGB.

    Returns:
        None if the border is not of one colour, or what is inside is a speck or everything.
    """
    height, width = picture.shape[:2]
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    median = np.median(border, axis=0)
    distance = np.abs(border.astype(np.float32) - median.astype(np.float32)).max(axis=1)
    if (distance <= _PLAIN_LEVELS).mean() < _PLAIN_SHARE:
        return None
    # A frame of the background's colour all around, from which one fill reaches every part of it.
    framed = cv2.copyMakeBorder(picture, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=median.tolist())
    mask = np.zeros((height + 4, width + 4), np.uint8)
    span = (float(_PLAIN_LEVELS),) * 3
    flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (255 << 8)
    cv2.floodFill(framed, mask, (0, 0), (0, 0, 0), span, span, flags)
    item = np.ascontiguousarray(255 - mask[2:-2, 2:-2])
    share = float(np.count_nonzero(item)) / item.size
    return item if _ITEM_SHARE[0] <= share <= _ITEM_SHARE[1] else None


def _few(size: tuple[int, int], how: Views, rng: np.random.Generator) -> tuple[int, int]:
    """Return the size of a view with few pixels; never more than it is to have."""
    least, most = np.log(how.few)
    factor = min(1.0, math.exp(rng.uniform(least, most)) / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _geometry(shape: tuple[int, ...], size: tuple[int, int], how: Views, rng: np.random.Generator) -> Matrix:
    """Return the matrix `(2, 3)` from a view's pixel `(x, y, 1)` to the picture's."""
    height, width = shape[:2]
    turn = _rotation(_angle(how, rng))
    near = rng.random() < how.crop_p
    area = rng.uniform(how.crop, 1.0) if near else rng.uniform(0.8, how.far)
    side, stretch = math.sqrt(area), math.exp(rng.normal(0, how.stretch))
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    shear = np.array([[1.0, rng.normal(0, how.shear)], [rng.normal(0, how.shear), 1.0]])
    part = np.diag([mirror * side * stretch, side / stretch]) @ shear
    # The contract squashes the whole picture. A turn before that is the item's own, a turn after it the
    # tensor's; and what is turned in a wide frame is not squashed along its own axes.
    squash = np.diag([width / 2, height / 2])
    order = rng.random()
    if order < 0.6:
        linear = squash @ turn @ part
    elif order < 0.8:
        linear = turn @ squash @ part
    else:
        linear = turn @ (np.eye(2) * (math.sqrt(width * height) / 2)) @ part
    slack = max(0.0, 1 - side)
    middle = np.array([width, height]) / 2 * (1 + slack * rng.uniform(-1, 1, 2))
    return _matrix(linear, middle, size)


def _matrix(linear: Matrix, middle: Matrix, size: tuple[int, int]) -> Matrix:
    """From the middle and the unit square, -1 to 1, to pixels, whose centres lie at halves."""
    scaled = linear @ np.diag([2 / size[1], 2 / size[0]])
    first = middle - 0.5 + linear @ np.array([1 / size[1] - 1, 1 / size[0] - 1])
    return np.concatenate([scaled, first[:, None]], axis=1)


def _angle(how: Views, rng: np.random.Generator) -> float:
    """Degrees."""
    kind = rng.random()
    if kind < how.upright_p:
        return 0.0
    if kind < how.upright_p + how.quarter_p:
        return float(90 * rng.integers(4) + rng.normal(0, how.quarter_spread))
    return float(rng.uniform(0, 360))


def _rotation(degrees: float) -> Matrix:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, -sine], [sine, cosine]])


def _softened(picture: Picture, matrix: Matrix) -> Picture:
    """Blurred as the step from pixel to pixel wants, or fine texture would become another one."""
    step = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    return picture if step <= 1.3 else np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.35 * step), np.uint8)


def _warp(picture: Picture, matrix: Matrix, size: tuple[int, int], border: int) -> Picture:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(picture, matrix, (size[1], size[0]), flags=flags, borderMode=border), np.uint8
    )


def _on_ground(
    picture: Picture,
    matrix: Matrix,
    size: tuple[int, int],
    how: Views,
    rng: np.random.Generator,
    other: Callable[[np.random.Generator], Picture] | None,
) -> Picture:
    """Return the item smaller and in the middle, on another ground; alone where its background is plain."""
    item = cut_loose(picture) if rng.random() < 0.7 else None
    if item is None:
        item = np.full(picture.shape[:2], 255, np.uint8)
    height, width = picture.shape[:2]
    linear = matrix[:, :2] @ np.diag([size[1] / 2, size[0] / 2]) * rng.uniform(1.0, how.ground_far)
    matrix = _matrix(linear, np.array([width, height]) / 2, size)
    laid = _warp(_softened(picture, matrix), matrix, size, cv2.BORDER_REFLECT_101)
    cover = cv2.GaussianBlur(_warp(item, matrix, size, cv2.BORDER_CONSTANT), (3, 3), 0)
    share = cover.astype(np.float32)[..., None] / 255
    ground = _ground(size, rng, other).astype(np.float32)
    return np.rint(ground + share * (laid.astype(np.float32) - ground)).astype(np.uint8)


def _ground(
    size: tuple[int, int],
    rng: np.random.Generator,
    other: Callable[[np.random.Generator], Picture] | None,
) -> Picture:
    """Return one colour, clouds, or another photograph out of focus."""
    kind = rng.random()
    if kind < 0.3 or (kind >= 0.6 and other is None):
        grey = rng.random() < 0.5
        colour = rng.integers(20, 236, 1 if grey else 3, dtype=np.uint8)
        return np.broadcast_to(colour, (*size, 3)).copy()
    if kind < 0.6:
        cells = int(rng.integers(3, 24))
        levels = rng.integers(40, 216, 3) + rng.normal(0, rng.uniform(4, 40), (cells, cells, 3))
        small = np.clip(levels, 0, 255).astype(np.uint8)
        return np.asarray(cv2.resize(small, (size[1], size[0]), interpolation=cv2.INTER_CUBIC), np.uint8)
    assert other is not None
    photograph = cv2.resize(other(rng), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    sigma = rng.uniform(1.0, max(1.5, 0.06 * min(size)))
    return np.asarray(cv2.GaussianBlur(photograph, (0, 0), sigma), np.uint8)


def _erase(view: Picture, how: Views, rng: np.random.Generator) -> Picture:
    height, width = view.shape[:2]
    area = rng.uniform(*how.erase) * height * width
    aspect = math.exp(rng.uniform(-1, 1) * math.log(3))
    high = int(np.clip(math.sqrt(area * aspect), 1, height))
    wide = int(np.clip(math.sqrt(area / aspect), 1, width))
    top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
    view = view.copy()
    view[top : top + high, left : left + wide] = rng.integers(0, 256, 3, dtype=np.uint8)
    return view
