"""Synthetic frames: for a first try without a camera, for golden vectors, and where no photographs are given.

They are no photographs. A network's answer on them proves that it runs and agrees with itself, not that it is
right.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["ITEM_KINDS", "draw_frame", "draw_item"]

ITEM_KINDS = ("battery", "biological", "cardboard", "clothes", "glass", "metal", "paper", "shoes")
"""What can be drawn, by the class that it stands for."""

Image = npt.NDArray[np.uint8]
_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


def draw_frame(seed: int, width: int = 640, height: int = 480) -> Image:
    """Draw one item on a tray, `(height, width, 3) uint8 BGR`; the same seed gives the same frame.

    The kinds of items take turns with the seed; place, size, turn, colour, light and noise are random.
    """
    rng = np.random.default_rng([20261123, seed])
    frame = _tray(rng, width, height)
    side = float(rng.uniform(0.36, 0.46)) * min(width, height)
    centre = np.array([width, height]) * rng.uniform(0.45, 0.55, 2)
    turn = float(rng.uniform(-0.6, 0.6))
    draw_item(frame, ITEM_KINDS[seed % len(ITEM_KINDS)], centre, side, turn, rng)
    frame = cv2.GaussianBlur(frame, (0, 0), 0.7).astype(np.uint8)
    return _light(frame, rng)


def draw_item(
    frame: Image,
    kind: str,
    centre: npt.NDArray[np.float64],
    side: float,
    turn: float,
    rng: np.random.Generator,
) -> None:
    """Draw one item into a frame, sharp and without noise; it reaches at most 1.3 x `side` from its centre.

    Args:
        frame: `(height, width, 3) uint8 BGR`, changed; the item may lie partly outside.
        kind: One of `ITEM_KINDS`.
        centre: x and y, pixels.
        side: Half of the item's length, pixels.
        turn: Radians.
        rng: Random numbers of its colours and small parts.
    """

    def place(points: list[tuple[float, float]]) -> npt.NDArray[np.int32]:
        """Turn item coordinates in [-1, 1] into pixels."""
        c, s = math.cos(turn), math.sin(turn)
        xy = np.array(points) @ np.array([[c, s], [-s, c]]) * side + centre
        pixels: npt.NDArray[np.int32] = np.round(xy * 2**_SHIFT).astype(np.int32)
        return pixels

    _ITEMS[ITEM_KINDS.index(kind)](frame, place, rng)


Place = Callable[[list[tuple[float, float]]], npt.NDArray[np.int32]]
Colour = tuple[int, int, int]


def _tray(rng: np.random.Generator, width: int, height: int) -> Image:
    coarse = rng.normal(0, 1, (height // 8 + 1, width // 8 + 1)).astype(np.float32)
    grain = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    base = rng.uniform(90, 230) + rng.uniform(-10, 10, 3)
    tray: Image = np.clip(base + 5 * grain, 0, 255).astype(np.uint8)
    return tray


def _light(frame: Image, rng: np.random.Generator) -> Image:
    """Return a slope of light over the frame, and the noise of a sensor."""
    height, width = frame.shape[:2]
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    a, b = rng.uniform(-0.15, 0.15, 2)
    slope = 1 + np.float32(a) * x[None, :, None] + np.float32(b) * y[:, None, None]
    noise = rng.normal(0, 2.5, frame.shape).astype(np.float32)
    lit: Image = np.clip(np.round(frame * slope + noise), 0, 255).astype(np.uint8)
    return lit


def _fill(frame: Image, points: npt.NDArray[np.int32], colour: Colour) -> None:
    cv2.fillPoly(frame, [points], colour, cv2.LINE_AA, _SHIFT)


def _line(frame: Image, points: npt.NDArray[np.int32], colour: Colour, thickness: int = 2) -> None:
    cv2.polylines(frame, [points], False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _colour(rng: np.random.Generator, low: int, high: int) -> Colour:
    b, g, r = rng.integers(low, high, 3).tolist()
    return b, g, r


def _oval(rx: float, ry: float, cx: float = 0.0, cy: float = 0.0) -> list[tuple[float, float]]:
    angles = [2 * math.pi * i / 48 for i in range(48)]
    return [(cx + rx * math.cos(a), cy + ry * math.sin(a)) for a in angles]


def _box(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _bottle(frame: Image, place: Place, rng: np.random.Generator) -> None:
    body = _colour(rng, 60, 220)
    outline = [(-0.32, 1.0), (-0.32, -0.25), (-0.12, -0.6), (-0.12, -0.95)]
    _fill(frame, place(outline + [(-x, y) for x, y in reversed(outline)]), body)
    _fill(frame, place(_box(-0.14, -1.05, 0.14, -0.9)), _colour(rng, 20, 250))
    _fill(frame, place(_box(-0.32, 0.05, 0.32, 0.55)), _colour(rng, 120, 250))
    _line(frame, place([(-0.22, 0.9), (-0.22, -0.2)]), (245, 245, 245), 3)


def _can(frame: Image, place: Place, rng: np.random.Generator) -> None:
    _fill(frame, place(_oval(0.42, 0.14, 0, 0.7)), (130, 130, 130))
    _fill(frame, place(_box(-0.42, -0.7, 0.42, 0.7)), _colour(rng, 100, 230))
    for x in (-0.3, -0.1, 0.15, 0.3):
        _line(frame, place([(x, -0.65), (x, 0.65)]), (215, 215, 220), 4)
    _fill(frame, place(_oval(0.42, 0.14, 0, -0.7)), (190, 190, 195))
    _fill(frame, place(_oval(0.12, 0.05, 0.1, -0.7)), (90, 90, 90))


def _carton(frame: Image, place: Place, rng: np.random.Generator) -> None:
    shade = int(rng.integers(-20, 20))
    _fill(frame, place(_box(-0.9, -0.5, 0.6, 0.8)), (105 + shade, 150 + shade, 190 + shade))
    _fill(frame, place([(-0.9, -0.5), (-0.55, -0.85), (0.95, -0.85), (0.6, -0.5)]), (125, 175, 210))
    _fill(frame, place([(0.6, -0.5), (0.95, -0.85), (0.95, 0.45), (0.6, 0.8)]), (80, 120, 155))
    _fill(frame, place(_box(-0.25, -0.5, -0.05, 0.8)), (150, 195, 215))


def _sheet(frame: Image, place: Place, rng: np.random.Generator) -> None:
    _fill(frame, place([(-0.7, -0.9), (0.6, -0.95), (0.7, 0.9), (-0.65, 0.95)]), (242, 244, 245))
    for i in range(12):
        y = -0.75 + i * 0.125
        _line(frame, place([(-0.55, y), (float(rng.uniform(0.1, 0.55)), y)]), (110, 105, 105), 2)


def _cell(frame: Image, place: Place, rng: np.random.Generator) -> None:
    _fill(frame, place(_box(-0.28, -0.85, 0.28, 0.9)), (35, 35, 40))
    _fill(frame, place(_box(-0.28, -0.85, 0.28, -0.35)), (40, 110, 200))
    _fill(frame, place(_box(-0.1, -0.97, 0.1, -0.85)), (200, 200, 205))
    _line(frame, place([(-0.2, -0.8), (-0.2, 0.85)]), _colour(rng, 120, 200), 3)


def _peel(frame: Image, place: Place, rng: np.random.Generator) -> None:
    for i in range(3):
        x = -0.45 + 0.45 * i
        _fill(frame, place(_oval(0.2, 0.75, x, float(rng.uniform(-0.1, 0.1)))), (60, 205 - 20 * i, 235))
    for _ in range(25):
        x, y = rng.uniform(-0.6, 0.6, 2).tolist()
        _fill(frame, place(_oval(0.025, 0.04, x, y)), (30, 70, 110))


def _shirt(frame: Image, place: Place, rng: np.random.Generator) -> None:
    half = [(0.0, -0.65), (0.25, -0.75), (0.95, -0.45), (0.8, -0.05), (0.5, -0.2), (0.5, 0.9)]
    colour = _colour(rng, 30, 200)
    _fill(frame, place(half + [(-x, y) for x, y in reversed(half)]), colour)
    darker: Colour = (colour[0] * 3 // 4, colour[1] * 3 // 4, colour[2] * 3 // 4)
    for x in (-0.3, 0.05, 0.35):
        _line(frame, place([(x, -0.3), (x + 0.08, 0.85)]), darker, 3)


def _shoe(frame: Image, place: Place, rng: np.random.Generator) -> None:
    upper = [(-0.9, -0.45), (-0.35, -0.5), (0.1, -0.1), (0.75, 0.05), (0.95, 0.35), (-0.9, 0.35)]
    _fill(frame, place(upper), _colour(rng, 20, 160))
    _fill(frame, place(_box(-0.92, 0.35, 0.97, 0.52)), (235, 235, 235))
    for i in range(4):
        x = -0.25 + 0.13 * i
        _line(frame, place([(x, -0.35 + 0.1 * i), (x + 0.16, -0.42 + 0.1 * i)]), (245, 245, 245), 3)


_ITEMS = (_cell, _peel, _carton, _shirt, _bottle, _can, _sheet, _shoe)
