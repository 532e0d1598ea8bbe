"""`demo:`, a synthetic tray that items come to and go from: for the camera loop where there is no camera.

What lies on the tray at each frame is known (`Scene.item`), so what a loop made of it can be scored. The
items are synthetic, so what a network says of them means little; see `ecovision_edge.simulation.synthetic`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.base.addresses import Options
from ecovision_edge.camera.files import FileStream
from ecovision_edge.camera.opencv import MAX_FPS
from ecovision_edge.camera.scripted import ScriptSource, script_source
from ecovision_edge.camera.source import Image
from ecovision_edge.camera.transform import Transform
from ecovision_edge.errors import OptionError
from ecovision_edge.simulation.synthetic import ITEM_KINDS, draw_item

__all__ = ["DemoSource", "Scene", "SceneItem", "demo_source"]

DEMO_FPS = 15.0
SLOT = (
    7.0  # seconds for one item: 1 empty, half a second to come, about 4 to stay, half to go, the rest empty
)
EMPTY, SLIDE, STAY = 1.0, 0.5, (3.7, 4.3)
SLOWEST = 2.0  # frames a second; below it the items stay longer, or some would not be seen
REACH = 1.4  # in sides of an item: more than it covers from its centre, its soft edge included
NOISE = 2.5  # standard deviation in levels, as in synthetic frames
DRIFT, DRIFT_PERIOD = 0.04, 60.0  # the light: part of it, seconds
_TILES, _ROLL = 2, 64


@dataclass(frozen=True, slots=True)
class SceneItem:
    """One item, and the frames it is seen in.

    Args:
        kind: One of `ecovision_edge.simulation.synthetic.ITEM_KINDS`.
        enters: First frame in which it moves in.
        arrives: First frame in which it lies still.
        leaves: First frame in which it moves out.
        gone: First frame without it.
    """

    kind: str
    enters: int
    arrives: int
    leaves: int
    gone: int


class Scene:
    """Frames of a tray, each a function of the seed and its number alone.

    Args:
        seed: Another one has other items in another order, and another tray.
        width, height: Pixels, at least 16.
        fps: Frames a second, for how many frames an item stays.
    """

    def __init__(self, seed: int = 0, width: int = 640, height: int = 480, fps: float = DEMO_FPS) -> None:
        """Raises OptionError if the size is below 16 pixels, the seed below 0, or fps not above 0."""
        if min(width, height) < 16 or seed < 0 or not 0 < fps < math.inf:
            raise OptionError(
                "scene",
                expected="at least 16 x 16, a seed from 0, fps above 0",
                found=f"{width} x {height}, seed {seed}, fps {fps}",
            )
        self._seed, self._size, self._rate = seed, (width, height), max(fps, SLOWEST)
        self._still: tuple[int, Image] | None = None  # the last item that lay still, drawn

    def items(self) -> Iterator[SceneItem]:
        """Return all items in their order; it does not end."""
        return (self._item(k) for k in itertools.count())

    def item(self, n: int) -> str | None:
        """Return the kind of the item that lies still at frame `n`; None while it moves, or for none."""
        item = self._item(self._slot(n))
        return item.kind if item.arrives <= n < item.leaves else None

    def frame(self, n: int) -> Image:
        """Return frame `n`, from 0: `(height, width, 3) uint8 BGR`, an array of its own."""
        lit = cv2.convertScaleAbs(self._clean(n), alpha=self._light(n))
        brighter, darker = self._noise
        # An odd step through a power of two: no picture of noise comes again before all have been.
        which = (n * 2531 + self._seed) % (_TILES * _ROLL * _ROLL)
        tile, x, y = which % _TILES, which // _TILES % _ROLL, which // _TILES // _ROLL
        width, height = self._size
        window = tile, slice(y, y + height), slice(x, x + width)
        cv2.add(lit, brighter[window], dst=lit)
        cv2.subtract(lit, darker[window], dst=lit)
        return lit  # type: ignore[return-value]  # uint8, as `_clean` is

    def _slot(self, n: int) -> int:
        if n < 0:
            raise OptionError("frame of a scene", expected="0 or more", found=n)
        return n // round(SLOT * self._rate)

    def _rng(self, *what: int) -> np.random.Generator:
        return np.random.default_rng([20261125, self._seed, *what])

    def _item(self, k: int) -> SceneItem:
        """Return item `k`; all kinds come once before one comes again."""
        turn, place = divmod(k, len(ITEM_KINDS))
        kind = ITEM_KINDS[int(self._rng(0, turn).permutation(len(ITEM_KINDS))[place])]
        slide = max(1, round(SLIDE * self._rate))
        enters = k * round(SLOT * self._rate) + round(EMPTY * self._rate)
        leaves = enters + slide + round(float(self._rng(1, k).uniform(*STAY)) * self._rate)
        return SceneItem(kind, enters, enters + slide, leaves, leaves + slide)

    def _light(self, n: int) -> float:
        return 1 + DRIFT * math.sin(2 * math.pi * (n / self._rate / DRIFT_PERIOD) + self._seed)

    def _clean(self, n: int) -> Image:
        """Return the tray and item, without noise; not to be changed."""
        k = self._slot(n)
        item = self._item(k)
        if not item.enters <= n < item.gone:
            return self._tray
        if item.arrives <= n < item.leaves:
            still = self._still
            if still is None or still[0] != k:
                still = self._still = k, self._with_item(k, item.kind, 0.0)
            return still[1]
        if n < item.arrives:
            away = 1 - (n - item.enters + 1) / (item.arrives - item.enters + 1)
        else:
            away = -(n - item.leaves + 1) / (item.gone - item.leaves + 1)
        return self._with_item(k, item.kind, away)

    def _with_item(self, k: int, kind: str, away: float) -> Image:
        """Draw the tray with item `k`: 0 in its place, 1 outside where it comes from, -1 opposite."""
        width, height = self._size
        rng = self._rng(2, k)
        side = float(rng.uniform(0.3, 0.4)) * min(width, height)
        centre = np.array([width, height]) * rng.uniform(0.45, 0.55, 2)
        turn, comes_from = float(rng.uniform(-0.6, 0.6)), int(rng.choice([-1, 1]))
        centre[0] += away * comes_from * (0.55 * width + REACH * side)
        frame = self._tray.copy()
        draw_item(frame, kind, centre, side, turn, rng)
        # Soft edges, as a lens makes them; only where the item is, for the rest is soft.
        left, top = (max(0, math.floor(c - REACH * side)) for c in centre)
        right, bottom = (max(0, math.ceil(c + REACH * side)) for c in centre)
        part = frame[top:bottom, left:right]
        if part.size:
            part[:] = cv2.GaussianBlur(part, (0, 0), 0.7)
        return frame

    @cached_property
    def _tray(self) -> Image:
        """Grained and not quite evenly lit."""
        width, height = self._size
        rng = self._rng(3)
        coarse = rng.normal(0, 1, (height // 8 + 1, width // 8 + 1)).astype(np.float32)
        grain = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        slope = np.linspace(-0.1, 0.1, width, dtype=np.float32) * rng.choice([-1, 1])
        colour = rng.uniform(110, 200) + rng.uniform(-8, 8, 3)
        tray: Image = np.clip((colour + 4 * grain[..., None]) * (1 + slope[:, None]), 0, 255).astype(np.uint8)
        return tray

    @cached_property
    def _noise(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """What a sensor adds and takes: pictures somewhat larger than a frame, to be cut anywhere."""
        width, height = self._size
        shape = _TILES, height + _ROLL, width + _ROLL, 3
        noise = np.rint(self._rng(4).standard_normal(shape, np.float32) * NOISE)
        return np.maximum(noise, 0).astype(np.uint8), np.maximum(-noise, 0).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class DemoSource:
    """The synthetic tray as a source; each connection begins with frame 0.

    Args:
        seed, width, height, fps: Options of the `Scene`.
        frames: How many there are; None is without end, and the source is then live.
        interval: Seconds between frames; None is as fast as they are taken.
        transform: Applied to each frame.
    """

    seed: int = 0
    width: int = 640
    height: int = 480
    fps: float = DEMO_FPS
    frames: int | None = None
    interval: float | None = None
    transform: Transform = field(default_factory=Transform)

    @property
    def name(self) -> str:
        """Always `demo`."""
        return "demo"

    @property
    def live(self) -> bool:
        """Unless the number of frames was given."""
        return self.frames is None

    def scene(self) -> Scene:
        """Return what is drawn, to compare with."""
        return Scene(self.seed, self.width, self.height, self.fps)

    def connect(self) -> FileStream:
        """Begin with frame 0."""
        scene = self.scene()
        numbers = itertools.count() if self.frames is None else range(self.frames)
        return FileStream(self.name, map(scene.frame, numbers), self.transform)


def demo_source(options: Options) -> DemoSource | ScriptSource:
    """Take `fps=`, `width=`, `height=`, `seed=`, `frames=`, or `script=` and `loop=1`. Raises SourceError."""
    script = options.text("script")
    if script is not None:
        return script_source(script, options)
    fps = options.number("fps", 0, MAX_FPS)
    width, height = options.integer("width", 16, 4096), options.integer("height", 16, 4096)
    seed = options.integer("seed", 0, 2**32 - 1)
    frames = options.integer("frames", 1, 10**9)
    transform = Transform.take(options)
    options.done()
    pace = 1 / (fps or DEMO_FPS) if frames is None or fps else None
    return DemoSource(seed or 0, width or 640, height or 480, fps or DEMO_FPS, frames, pace, transform)
