"""Ways of things and hands over the tray.

Positions are in heights of the frame from its centre, times in seconds from the first frame.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from ecovision_edge.simulation.script import Item

__all__ = ["HandTrack", "ItemTrack", "Pose"]


@dataclass(frozen=True, slots=True)
class Pose:
    """Where something is at a time.

    Args:
        at: Seconds.
        x, y: Heights of the frame from its centre, to the right and down.
        turn: Radians.
        scale: Times its size.
    """

    at: float
    x: float
    y: float
    turn: float = 0.0
    scale: float = 1.0

    def like(
        self, at: float, dx: float = 0.0, dy: float = 0.0, turn: float = 0.0, scale: float = 1.0
    ) -> Pose:
        """Return the pose at another time, moved, turned and scaled by so much."""
        return Pose(at, self.x + dx, self.y + dy, self.turn + turn, self.scale * scale)


def _between(poses: Sequence[Pose], at: float) -> Pose | None:
    """Return the pose at that time, moving softly between two; None before the first and from the last."""
    k = bisect_right(poses, at, key=lambda pose: pose.at) - 1
    if k < 0 or k >= len(poses) - 1:
        return None
    a, b = poses[k], poses[k + 1]
    s = (at - a.at) / (b.at - a.at)
    s = s * s * (3 - 2 * s)
    return Pose(
        at,
        a.x + s * (b.x - a.x),
        a.y + s * (b.y - a.y),
        a.turn + s * (b.turn - a.turn),
        a.scale + s * (b.scale - a.scale),
    )


@dataclass(frozen=True, slots=True)
class ItemTrack:
    """An item's way: in view from the first pose to the last.

    Args:
        item: The item in the script.
        number: Among the items, from 0; its `id` in the truth.
        side: The root of its area, heights of the frame.
        poses: In order of time.
    """

    item: Item
    number: int
    side: float
    poses: tuple[Pose, ...]

    def pose(self, at: float) -> Pose | None:
        """Return where it is; None while it is not in view."""
        return _between(self.poses, at)

    @property
    def lies_across(self) -> bool:
        """Whether it lies turned by a quarter more or less, so that its width is seen as height."""
        return round(self.poses[-1].turn / (math.pi / 2)) % 2 == 1


@dataclass(frozen=True, slots=True)
class HandTrack:
    """A hand's way.

    Args:
        number: Among the hands, from 0; it has looks of its own.
        angle: Where its arm comes from, radians from the right, clockwise in the picture.
        poses: In order of time.
    """

    number: int
    angle: float
    poses: tuple[Pose, ...]

    def pose(self, at: float) -> Pose | None:
        """Return where its palm is; None while it is not in view."""
        return _between(self.poses, at)
