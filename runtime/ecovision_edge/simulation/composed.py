"""The pictures of a script: a tray, what lies on it, hands over it, and what light and camera make of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.simulation.pictures import Image, Sprite, drawn_sprite, photograph_sprite
from ecovision_edge.simulation.script import Script
from ecovision_edge.simulation.timeline import Timeline, make_timeline
from ecovision_edge.simulation.tracks import HandTrack, ItemTrack, Pose
from ecovision_edge.simulation.truth import Truth

__all__ = ["Composed", "SpriteMaker", "TimedFrame", "compose"]

SpriteMaker = Callable[[ItemTrack, float], Sprite]
"""Makes the picture of an item, of that side in pixels."""

TRAY = (75.0, 115.0)  # level of its colour: doubled by a lamp it is still below 255
SHADOW = 0.25  # part of the light that is missing under a thing
_TILES, _ROLL = 4, 32  # of noise
_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """A frame, and its time.

    Args:
        image: `(height, width, 3) uint8 BGR`.
        at_s: Seconds from the first frame.
    """

    image: Image
    at_s: float


class Composed:
    """The frames of a script, each a function of the script and its number.

    Args:
        script: What happens.
        sprites: Called once for each item.
    """

    def __init__(self, script: Script, sprites: SpriteMaker) -> None:
        self._script, self._sprites = script, sprites
        self._line: Timeline = make_timeline(script)
        self._sprite: dict[int, Sprite] = {}
        self._still: tuple[object, Image] | None = None  # what lay there last, drawn

    @property
    def script(self) -> Script:
        """What happens."""
        return self._script

    @property
    def truth(self) -> Truth:
        """What events are scored against."""
        return self._line.truth

    def __len__(self) -> int:
        """Return how many frames there are."""
        return math.ceil(self.truth.seconds * self._script.fps - 1e-9)

    def __iter__(self) -> Iterator[TimedFrame]:
        return (TimedFrame(self.frame(n), self.time(n)) for n in range(len(self)))

    def time(self, n: int) -> float:
        """Return the seconds from the first frame."""
        return n / self._script.fps

    def frame(self, n: int) -> Image:
        """Return frame `n`, from 0: `(height, width, 3) uint8 BGR`, an array of its own."""
        at, camera = self.time(n), self._script.camera
        rng = self._rng(5, n)
        shown = _shifted(self._scene(at), *np.clip(rng.normal(0, 1, 2) * camera.jitter_px, -1, 1).tolist())
        shown *= self._vignette
        light = self._line.light(at) * (1 + camera.drift * math.sin(2 * math.pi * at / camera.drift_period_s))
        shown *= (light * self._flicker(at))[:, None, None]
        tile, x, y = (int(rng.integers(most)) for most in (_TILES, _ROLL, _ROLL))
        noise = self._noise[tile, y : y + self._script.height, x : x + self._script.width]
        seen: Image = cv2.add(shown, noise, dtype=cv2.CV_8U).astype(np.uint8, copy=False)
        return seen

    # What is in front of the camera.

    def _scene(self, at: float) -> Image:
        """Return the scene without noise and changes of light; not to be changed."""
        items, hands = self._line.items_at(at), self._line.hands_at(at)
        key = tuple((track.number, pose.x, pose.y, pose.turn, pose.scale) for track, pose in items)
        if self._still is None or self._still[0] != key:
            scene = self._tray
            for track, pose in items:
                scene = self._with_item(scene, track, pose)
            self._still = key, scene
        scene = self._still[1]
        for hand, pose in hands:
            scene = self._with_hand(scene, hand, pose)
        return scene

    def _pixels(self, x: float, y: float) -> tuple[float, float]:
        height, width = self._script.height, self._script.width
        return width / 2 + x * height, height / 2 + y * height

    def _with_item(self, scene: Image, track: ItemTrack, pose: Pose) -> Image:
        """Return a copy of the scene with an item and its soft shadow."""
        if track.number not in self._sprite:
            for number in [n for n in self._sprite if n < track.number - 2]:
                del self._sprite[number]  # gone for good
            self._sprite[track.number] = self._sprites(track, track.side * self._script.height)
        sprite = self._sprite[track.number]
        height, width = sprite.shape[:2]
        x, y = self._pixels(pose.x, pose.y)
        c, s = math.cos(pose.turn) * pose.scale, math.sin(pose.turn) * pose.scale
        cx, cy = (width - 1) / 2, (height - 1) / 2
        matrix = np.array([[c, -s, x - c * cx + s * cy], [s, c, y - s * cx - c * cy]])
        size = self._script.width, self._script.height
        laid = cv2.warpAffine(sprite, matrix, size, flags=cv2.INTER_LINEAR)
        share = np.ascontiguousarray(laid[..., 3], np.float32)
        under = scene.astype(np.float32) * self._shadow(share, 0.02 * pose.scale)
        under *= (1 - share)[..., None]
        under += laid[..., :3]
        return _levels(under)

    def _shadow(self, share: _Floats, away: float) -> _Floats:
        """Return the light around something, `(height, width, 1)`: less, softly, below and to the right."""
        by = away * self._script.height
        height, width = share.shape
        small = cv2.resize(share, (width // 4, height // 4), interpolation=cv2.INTER_AREA)  # it is soft
        matrix = np.array([[1, 0, by / 4], [0, 1, by / 4]], np.float64)
        moved = cv2.warpAffine(small, matrix, (width // 4, height // 4))
        blurred = cv2.GaussianBlur(moved, (0, 0), 0.025 * self._script.height / 4)
        soft = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)
        return (1 - SHADOW * soft)[..., None].astype(np.float32)

    def _with_hand(self, scene: Image, track: HandTrack, pose: Pose) -> Image:
        """Return a copy of the scene with a hand, drawn: forearm in a sleeve, palm, fingers."""
        rng = self._rng(6, track.number)
        height = self._script.height
        skin = np.array([rng.uniform(70, 150), rng.uniform(90, 175), rng.uniform(120, 215)])
        sleeve = rng.uniform(20, 200, 3)
        size = float(rng.uniform(0.9, 1.1)) * height
        ahead = np.array([-math.cos(track.angle), -math.sin(track.angle)])  # where the fingers point
        aside = np.array([-ahead[1], ahead[0]])
        palm = np.array(self._pixels(pose.x, pose.y))

        def at(along: float, across: float) -> npt.NDArray[np.float64]:
            return palm + size * (along * ahead + across * aside)

        layer = np.zeros((*scene.shape[:2], 4), np.uint8)
        _fill(layer, [at(0, -0.07), at(0, 0.07), at(-0.4, 0.09), at(-0.4, -0.09)], skin)
        _fill(layer, [at(-0.3, -0.11), at(-0.3, 0.11), at(-2.5, 0.16), at(-2.5, -0.16)], sleeve)
        thick = max(1, round(0.05 * size))
        for across, length in ((-0.075, 0.17), (-0.025, 0.2), (0.025, 0.19), (0.075, 0.15)):
            _line(layer, at(0.05, across), at(length + 0.06, 1.15 * across), skin, thick)
        _line(layer, at(-0.06, 0.07), at(0.08, 0.15), skin, thick)  # thumb
        oval = [at(0.1 * math.cos(a), 0.1 * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 24)]
        _fill(layer, oval, skin)
        soft = cv2.GaussianBlur(layer, (0, 0), 0.8).astype(np.float32)
        share = np.ascontiguousarray(soft[..., 3] / 255, np.float32)
        under = scene.astype(np.float32) * self._shadow(share, 0.06)
        under *= (1 - share)[..., None]
        under += soft[..., :3]
        return _levels(under)

    @cached_property
    def _tray(self) -> Image:
        """A plain colour with grain, and a rim near the sides of the view."""
        height, width = self._script.height, self._script.width
        rng = self._rng(3)
        coarse = rng.normal(0, 1, (height // 8 + 1, width // 8 + 1)).astype(np.float32)
        grain = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        colour = rng.uniform(*TRAY) + rng.uniform(-8, 8, 3)
        tray = np.clip(colour + 3 * grain[..., None], 0, 255)
        rim = max(2, round(0.015 * height))
        inset = round(0.03 * height)
        lines = np.ones((height, width, 1), np.float64)
        cv2.rectangle(lines, (inset, inset), (width - 1 - inset, height - 1 - inset), 0.85, rim)
        return cv2.GaussianBlur(np.rint(tray * lines).astype(np.uint8), (0, 0), 0.7).astype(np.uint8)

    # What light and camera make of it.

    @cached_property
    def _vignette(self) -> _Floats:
        height, width = self._script.height, self._script.width
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
        fall = 1 - self._script.camera.vignette * (x * x + y * y) / 2
        return np.repeat(fall[..., None], 3, axis=2).astype(np.float32)

    def _flicker(self, at: float) -> _Floats:
        """Return the light of each row, read in turn by a rolling shutter; it flickers at twice the mains."""
        camera = self._script.camera
        times = at + camera.readout_s * np.arange(self._script.height) / self._script.height
        wave = 1 + camera.flicker * np.sin(2 * math.pi * 2 * camera.mains_hz * times)
        return wave.astype(np.float32)

    @cached_property
    def _noise(self) -> _Floats:
        """What a sensor adds and takes: pictures somewhat larger than a frame, to be cut anywhere."""
        shape = _TILES, self._script.height + _ROLL, self._script.width + _ROLL, 3
        return self._rng(4).standard_normal(shape, np.float32) * np.float32(self._script.camera.grain)

    def _rng(self, *what: int) -> np.random.Generator:
        return np.random.default_rng([20261126, self._script.seed, *what])


def _shifted(image: Image, dx: float, dy: float) -> _Floats:
    """Move the picture by less than a pixel, linearly interpolated; an array of its own."""
    across, down = (np.array([max(0.0, d), 1 - abs(d), max(0.0, -d)]) for d in (dx, dy))
    moved = cv2.sepFilter2D(image, cv2.CV_32F, across, down, borderType=cv2.BORDER_REPLICATE)
    return moved.astype(np.float32, copy=False)


def _levels(values: _Floats) -> Image:
    levels: Image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels


def _points(points: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.int32]:
    pixels: npt.NDArray[np.int32] = np.round(np.array(points) * 2**_SHIFT).astype(np.int32)
    return pixels


def _fill(layer: Image, points: list[npt.NDArray[np.float64]], colour: npt.NDArray[np.float64]) -> None:
    cv2.fillPoly(layer, [_points(points)], (*colour.tolist(), 255), cv2.LINE_8, _SHIFT)


def _line(
    layer: Image,
    a: npt.NDArray[np.float64],
    b: npt.NDArray[np.float64],
    colour: npt.NDArray[np.float64],
    thick: int,
) -> None:
    cv2.polylines(layer, [_points([a, b])], False, (*colour.tolist(), 255), thick, cv2.LINE_8, _SHIFT)


def compose(script: Script) -> Composed:
    """Compose the frames of a script: items with a picture show it, the others are drawn."""

    def sprite(track: ItemTrack, side_px: float) -> Sprite:
        item = track.item
        if item.picture is not None:
            return photograph_sprite(Path(item.picture), side_px, script.height, across=track.lies_across)
        assert item.label is not None  # an item without a label has a picture, as `Script` has checked
        return drawn_sprite(item.label, side_px, (script.seed, track.number))

    return Composed(script, sprite)
