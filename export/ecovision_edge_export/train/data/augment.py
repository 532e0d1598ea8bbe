"""What a camera does to a picture, done to training photographs: frame, angle, light, blur, compression."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.photographs.letterbox import bars

__all__ = ["Augmentation", "Picture", "augment", "film"]

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How much of it; each `_p` is the probability that a photograph gets it.

    Args:
        strip_p: Grey letterbox bars are cut off: a camera's frame has none.
        crop: Least share of the area that is left; the share is drawn evenly up to 1.
        aspect: Largest factor of the crop's sides against each other.
        mirror_p: Left and right are exchanged.
        turn_p: It is turned and seen at an angle.
        turn: Degrees, at most.
        angle: Shift of a corner, as a share of the side, at most.
        light_p: Light, contrast, gamma and white balance change.
        light: Relative change of light and contrast, at most.
        gamma: Largest exponent; the least is its inverse.
        white: Relative change of a channel, at most.
        saturation: Relative change of colourfulness, at most.
        blur_p: It is out of focus, or moved.
        blur: Sigma of the blur, as a share of the side, at most.
        noise_p: The sensor adds noise.
        noise: Levels, standard deviation, at most.
        jpeg_p: It is compressed as JPEG once more.
        jpeg: Least and largest quality.
    """

    strip_p: float = 0.8
    crop: float = 0.45
    aspect: float = 1.35
    mirror_p: float = 0.5
    turn_p: float = 0.5
    turn: float = 20.0
    angle: float = 0.1
    light_p: float = 0.8
    light: float = 0.3
    gamma: float = 1.4
    white: float = 0.1
    saturation: float = 0.3
    blur_p: float = 0.2
    blur: float = 0.007
    noise_p: float = 0.2
    noise: float = 10.0
    jpeg_p: float = 0.3
    jpeg: tuple[int, int] = (35, 90)

    def to_json(self) -> dict[str, JsonValue]:
        """Return all of it."""
        return {**asdict(self), "jpeg": list(self.jpeg)}


def augment(picture: Picture, size: tuple[int, int], how: Augmentation, rng: np.random.Generator) -> Picture:
    """Return one variant of a photograph, `(height, width, 3)` uint8 RGB of the size asked for.

    The same generator state gives the same variant.

    Args:
        picture: `(h, w, 3)` uint8 RGB, of any size.
        size: Height and width of the result.
        how: How much.
        rng: All that is drawn comes from it.
    """
    if rng.random() < how.strip_p:
        top, bottom, left, right = bars(picture)
        picture = picture[top:bottom, left:right]
    picture = _crop(picture, size, how, rng)
    if rng.random() < how.mirror_p:
        picture = np.ascontiguousarray(picture[:, ::-1])
    if rng.random() < how.turn_p:
        picture = _turn(picture, how, rng)
    return film(picture, how, rng)


def film(picture: Picture, how: Augmentation, rng: np.random.Generator) -> Picture:
    """Add what happens between the lens and the file: light, blur, noise and compression.

    Args:
        picture: `(h, w, 3)` uint8 RGB.
        how: How much; its fields from `light_p` on.
        rng: All that is drawn comes from it.
    """
    if rng.random() < how.light_p:
        picture = _light(picture, how, rng)
    if rng.random() < how.blur_p:
        picture = _blur(picture, how, rng)
    if rng.random() < how.noise_p:
        noise = rng.standard_normal(picture.shape, np.float32) * np.float32(rng.uniform(1, how.noise))
        picture = np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)
    if rng.random() < how.jpeg_p:
        picture = _jpeg(picture, how, rng)
    return picture


def _crop(picture: Picture, size: tuple[int, int], how: Augmentation, rng: np.random.Generator) -> Picture:
    """Return a part of it, squashed to the size by the contract's own antialiased resize."""
    from PIL import Image

    height, width = picture.shape[:2]
    area = rng.uniform(how.crop, 1.0)
    stretch = math.exp(rng.uniform(-1, 1) * math.log(how.aspect) / 2)
    high = min(1.0, math.sqrt(area) * stretch) * height
    wide = min(1.0, math.sqrt(area) / stretch) * width
    top, left = rng.uniform(0, height - high), rng.uniform(0, width - wide)
    image = Image.fromarray(np.ascontiguousarray(picture))
    box = (left, top, min(left + wide, width), min(top + high, height))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box))


def _turn(picture: Picture, how: Augmentation, rng: np.random.Generator) -> Picture:
    """Turned about its middle, its corners moved; what comes in from outside is the picture mirrored."""
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    degrees = math.radians(rng.uniform(-how.turn, how.turn))
    turning = np.array(
        [[math.cos(degrees), -math.sin(degrees)], [math.sin(degrees), math.cos(degrees)]], np.float32
    )
    middle = np.array([width / 2, height / 2], np.float32)
    moved = (corners - middle) @ turning.T + middle
    moved += rng.uniform(-how.angle, how.angle, (4, 2)).astype(np.float32) * np.float32(min(height, width))
    matrix = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    return np.asarray(
        cv2.warpPerspective(
            picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        ),
        np.uint8,
    )


def _light(picture: Picture, how: Augmentation, rng: np.random.Generator) -> Picture:
    levels = np.arange(256, dtype=np.float64) / 255
    gamma = math.exp(rng.uniform(-1, 1) * math.log(how.gamma))
    contrast, light = 1 + rng.uniform(-how.light, how.light, 2)
    white = 1 + rng.uniform(-how.white, how.white, 3)
    curve = ((levels**gamma - 0.5) * contrast + 0.5) * light
    table = np.clip(np.rint(255 * curve[:, None] * white), 0, 255).astype(np.uint8)
    lit = np.asarray(cv2.LUT(picture, table[None]), np.uint8)
    amount = 1 + rng.uniform(-how.saturation, how.saturation)
    grey = cv2.cvtColor(cv2.cvtColor(lit, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(lit, amount, grey, 1 - amount, 0), np.uint8)


def _blur(picture: Picture, how: Augmentation, rng: np.random.Generator) -> Picture:
    """Out of focus, or moved in some direction."""
    sigma = max(0.3, rng.uniform(0, how.blur) * min(picture.shape[:2]))
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)
    half = max(1, round(2 * sigma))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    angle = rng.uniform(0, math.pi)
    along = (round(half * math.cos(angle)), round(half * math.sin(angle)))
    cv2.line(kernel, (half - along[0], half - along[1]), (half + along[0], half + along[1]), 1.0)
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum()), np.uint8)


def _jpeg(picture: Picture, how: Augmentation, rng: np.random.Generator) -> Picture:
    quality = int(rng.integers(how.jpeg[0], how.jpeg[1], endpoint=True))
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    again = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert again is not None  # it was encoded just now
    return np.asarray(cv2.cvtColor(again, cv2.COLOR_BGR2RGB), np.uint8)
