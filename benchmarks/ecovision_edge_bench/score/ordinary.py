"""An ordinary day at a bin: things of all classes come and go in every way, hands pass, some are pushed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from ecovision_edge.simulation.script import (
    ANY_TURN,
    Arrival,
    Camera,
    Departure,
    Empty,
    Hand,
    Item,
    Meanwhile,
    Script,
    Step,
)

__all__ = ["ordinary_script"]

STAY = (4.2, 5.0)  # seconds
BETWEEN = (1.0, 1.8)  # seconds that the tray is empty
HAND_PASSES, HAND_OVER, NUDGED = 0.2, 0.1, 0.1  # shares of the items

_Way = TypeVar("_Way", Arrival, Departure)

_COMES: tuple[tuple[Arrival, float], ...] = (("slide", 0.4), ("hand", 0.35), ("drop", 0.25))
_GOES: tuple[tuple[Departure, float], ...] = (("slide", 0.4), ("hand", 0.3), ("gone", 0.3))


def ordinary_script(
    things: Sequence[tuple[str, str | None]],
    seed: int,
    *,
    turn: float = ANY_TURN,
    fps: float = 12.0,
    size: tuple[int, int] = (320, 240),
    camera: Camera | None = None,
) -> Script:
    """Return a script in which these things come, one after the other.

    Args:
        things: Label and picture of each; without a picture it is drawn.
        seed: Of everything else.
        turn: Radians that things lie turned by at most, either way: any orientation, as they fell.
        fps: Frames a second.
        size: Width and height, pixels.
        camera: None is an ordinary one.
    """
    steps: list[Step] = [Empty(1.5)]
    for k, (label, picture) in enumerate(things):
        rng = np.random.default_rng([20261126, seed, 7, k])
        if rng.random() < HAND_PASSES:
            steps += [Hand(round(float(rng.uniform(0, 0.6)), 2)), Empty(1.0)]
        meanwhile: list[Meanwhile] = []
        stays = round(float(rng.uniform(*STAY)), 2)
        if rng.random() < NUDGED:
            meanwhile.append(Meanwhile("nudge", round(float(rng.uniform(0.5, stays - 1)), 2)))
        if rng.random() < HAND_OVER:
            meanwhile.append(Meanwhile("hand", round(float(rng.uniform(0.5, stays - 1)), 2)))
        steps.append(
            Item(
                label=label,
                picture=picture,
                comes=_one_of(_COMES, rng),
                stays=stays,
                goes=_one_of(_GOES, rng),
                meanwhile=tuple(meanwhile),
            )
        )
        steps.append(Empty(round(float(rng.uniform(*BETWEEN)), 2)))
    width, height = size
    return Script(
        steps=tuple(steps),
        seed=seed,
        turn=turn,
        fps=fps,
        width=width,
        height=height,
        camera=camera or Camera(),
    )


def _one_of(choices: Sequence[tuple[_Way, float]], rng: np.random.Generator) -> _Way:
    ways, shares = zip(*choices, strict=True)
    way: _Way = ways[int(rng.choice(len(ways), p=shares))]
    return way
