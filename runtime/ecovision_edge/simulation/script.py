"""What happens on a tray, step by step: the input of the generator. `script_file` is its form as a file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ecovision_edge.errors import OptionError

__all__ = [
    "ANY_TURN",
    "CAMERA_RANGES",
    "LONGEST",
    "UPRIGHT",
    "Arrival",
    "Camera",
    "Departure",
    "Empty",
    "Hand",
    "Happening",
    "Item",
    "Light",
    "Meanwhile",
    "Script",
    "Step",
]

LONGEST = 3600.0  # seconds of one step

UPRIGHT = 0.2
"""Radians: a thing that was laid down with care lies turned by 11 degrees at most."""

ANY_TURN = math.pi
"""Radians, either way: things lie as they fell."""

Arrival: TypeAlias = Literal["slide", "hand", "drop", "swap"]
Departure: TypeAlias = Literal["slide", "hand", "gone", "swap"]
Happening: TypeAlias = Literal["nudge", "hand", "light"]


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """Something that happens while an item lies there.

    Args:
        what: `nudge`: it is pushed and turned a little; `hand`: one passes over it; `light`: it changes.
        at: Seconds after the item came to rest.
        factor: Factor of the light from then on; 1 is as at the start.
        over: Seconds that the light takes to change.
    """

    what: Happening
    at: float
    factor: float = 1.0
    over: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A thing comes, lies there, and goes.

    Args:
        label: Its class; None is one that the model has none for, and has to have a picture.
        picture: A photograph, of which letterbox bars are cut off; None is drawn, or chosen by label.
        comes: `slide`: by itself, as down a chute; `hand`: laid down; `drop`: it falls; `swap`: in the place
            of the one before, which has to go so, with no empty tray between.
        stays: Seconds that it lies still, at least.
        goes: `slide`, `hand`: taken away; `gone`: from one frame to the next, as a flap opens; `swap`.
        meanwhile: What happens while it lies there.
    """

    label: str | None
    picture: str | None = None
    comes: Arrival = "slide"
    stays: float = 4.5
    goes: Departure = "slide"
    meanwhile: tuple[Meanwhile, ...] = ()


@dataclass(frozen=True, slots=True)
class Empty:
    """The tray stays as it is for `seconds`."""

    seconds: float = 1.5


@dataclass(frozen=True, slots=True)
class Hand:
    """A hand comes, rests for `rests` seconds, and goes; it leaves nothing."""

    rests: float = 0.0


@dataclass(frozen=True, slots=True)
class Light:
    """The light begins to change to `factor` times that of the start; it takes `over` seconds."""

    factor: float
    over: float = 0.2


Step: TypeAlias = Item | Empty | Hand | Light


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """What camera and light do to every frame.

    Args:
        jitter_px: The whole picture moves by so much from frame to frame (standard deviation, at most 1
            pixel is shown); a bin shakes.
        grain: Noise of the sensor, standard deviation in levels of 255.
        vignette: Part of the light that is missing in the corners, 0 to 1.
        drift: Part of it by which the light goes slowly up and down.
        drift_period_s: Seconds of that.
        flicker: Part of it by which lamps flicker, as a rolling shutter sees it.
        mains_hz: They do so at twice this frequency. With the frame rate it gives the beat.
        readout_s: Seconds from the first row of a frame to the last.
    """

    jitter_px: float = 0.05
    grain: float = 1.0
    vignette: float = 0.15
    drift: float = 0.04
    drift_period_s: float = 60.0
    flicker: float = 0.01
    mains_hz: float = 50.0
    readout_s: float = 0.02

    def __post_init__(self) -> None:
        """Refuse what is out of range.

        Raises:
            OptionError: the option, its range, and what was given.
        """
        for name, (low, high) in CAMERA_RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise OptionError(name, expected=f"{low:g} to {high:g}", found=f"{getattr(self, name):g}")


CAMERA_RANGES = {
    "jitter_px": (0.0, 1.0),
    "grain": (0.0, 50.0),
    "vignette": (0.0, 0.9),
    "drift": (0.0, 0.9),
    "drift_period_s": (0.1, 1e6),
    "flicker": (0.0, 0.9),
    "mains_hz": (1.0, 1000.0),
    "readout_s": (0.0, 1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The whole of it.

    Args:
        steps: In their order.
        seed: Seed of everything that the steps leave open: places, turns, ways, tray, noise.
        turn: Radians that a thing lies turned by at most, either way; pi is any orientation.
        fps: Frames a second.
        width, height: Pixels.
        camera: What is done to each frame.

    Raises:
        OptionError: out of range, or steps that do not follow each other.
    """

    steps: tuple[Step, ...]
    seed: int = 0
    turn: float = UPRIGHT
    fps: float = 12.0
    width: int = 320
    height: int = 240
    camera: Camera = field(default_factory=Camera)

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        for name, (low, high) in {
            "seed": (0, 2**32 - 1), "turn": (0, ANY_TURN), "fps": (1, 240), "width": (64, 4096),
            "height": (64, 4096),
        }.items():  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise OptionError(name, expected=f"{low:g} to {high:g}", found=getattr(self, name))
        before: Step | None = None
        for i, step in enumerate(self.steps):
            _check_step(step, f"step {i} of the script")
            swapped = isinstance(before, Item) and before.goes == "swap"
            if (isinstance(step, Item) and step.comes == "swap") != swapped:
                raise OptionError(
                    f"step {i} of the script",
                    expected="an item that comes by swap right after one that goes by swap",
                    found="one of the two alone",
                )
            before = step
        if isinstance(before, Item) and before.goes == "swap":
            raise OptionError("the script", expected="an item after one that goes by swap", found="its end")


def _check_step(step: Step, where: str) -> None:
    seconds: list[tuple[str, float]] = []
    factors: list[float] = []
    if isinstance(step, Item):
        seconds += [("stays", step.stays), *(("at", one.at) for one in step.meanwhile)]
        seconds += [("over", one.over) for one in step.meanwhile]
        factors += [one.factor for one in step.meanwhile]
        if step.label is None and step.picture is None:
            raise OptionError(where, expected="a picture of an item without a label", found="none")
    elif isinstance(step, Empty):
        seconds.append(("seconds", step.seconds))
    elif isinstance(step, Hand):
        seconds.append(("rests", step.rests))
    else:
        seconds.append(("over", step.over))
        factors.append(step.factor)
    for name, value in seconds:
        if not 0 <= value <= LONGEST:
            raise OptionError(f"{name} of {where}", expected=f"0 to {LONGEST:g} s", found=f"{value:g}")
    for factor in factors:
        if not 0.01 <= factor <= 100 or not math.isfinite(factor):
            raise OptionError(f"factor of {where}", expected="0.01 to 100", found=f"{factor:g}")
