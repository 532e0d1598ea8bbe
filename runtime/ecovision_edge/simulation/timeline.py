"""When everything of a script happens, and where: motions, light, and the truth that follows from them.

Positions are in heights of the frame from its centre, times in seconds from the first frame.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from ecovision_edge.simulation.script import Empty, Hand, Item, Light, Meanwhile, Script
from ecovision_edge.simulation.tracks import HandTrack, ItemTrack, Pose
from ecovision_edge.simulation.truth import Distractor, TrueItem, Truth

__all__ = ["Timeline", "make_timeline"]

SLIDE = 0.5  # seconds, as `camera.scene` has it
CARRY = 0.6  # a hand with a thing
REACH = 0.4  # a hand without
FALL, WOBBLE = 0.2, 0.25
NUDGE = 0.3
FROM_ABOVE = 1.35  # times its size is a thing that falls towards the tray, nearer to the camera
SIDE = (0.62, 0.8)  # of a thing: the root of its area, in heights of the frame


@dataclass(frozen=True, slots=True)
class _LightStep:
    at: float
    over: float
    factor: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happens when; each question about a time is answered from it alone.

    Args:
        items, hands: In the order of their coming.
        lights: Changes of the light, in order.
        truth: What events are scored against.
    """

    items: tuple[ItemTrack, ...]
    hands: tuple[HandTrack, ...]
    lights: tuple[_LightStep, ...]
    truth: Truth

    def items_at(self, at: float) -> list[tuple[ItemTrack, Pose]]:
        """List the items in view, the last to come on top, at the end."""
        k = bisect_right(self.items, at, key=lambda track: track.poses[0].at)
        near = self.items[max(0, k - 2) : k]  # two at most, while they are swapped
        return [(track, pose) for track in near if (pose := track.pose(at)) is not None]

    def hands_at(self, at: float) -> list[tuple[HandTrack, Pose]]:
        """List the hands in view."""
        k = bisect_right(self.hands, at, key=lambda track: track.poses[0].at)
        near = self.hands[max(0, k - 3) : k]
        return [(track, pose) for track in near if (pose := track.pose(at)) is not None]

    def light(self, at: float) -> float:
        """Return the light as a multiple of that at the start."""
        k = bisect_right(self.lights, at, key=lambda step: step.at) - 1
        if k < 0:
            return 1.0
        step = self.lights[k]
        before = self.lights[k - 1].factor if k else 1.0
        done = 1.0 if step.over <= 0 else min(1.0, (at - step.at) / step.over)
        ratio: float = (step.factor / before) ** done  # eyes and cameras see ratios
        return before * ratio


def make_timeline(script: Script) -> Timeline:
    """Lay the steps of a script out in time; the same script gives the same timeline."""
    return _Layout(script).timeline()


class _Layout:
    """Goes through the steps and keeps the time."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._half = script.width / script.height / 2  # of the frame's width, in its heights
        self._now = 0.0
        self._items: list[ItemTrack] = []
        self._hands: list[HandTrack] = []
        self._lights: list[_LightStep] = []
        self._true: list[TrueItem] = []
        self._distractors: list[Distractor] = []
        self._swapping = 0.0

    def timeline(self) -> Timeline:
        for i, step in enumerate(self._script.steps):
            rng = np.random.default_rng([20261126, self._script.seed, 1, i])
            if isinstance(step, Empty):
                self._now += step.seconds
            elif isinstance(step, Hand):
                self._now = self._passing_hand(self._now, step.rests, (0.0, 0.0), rng)
            elif isinstance(step, Light):
                self._light(self._now, step.factor, step.over)
            else:
                self._item(step, rng)
        return Timeline(
            tuple(self._items),
            tuple(sorted(self._hands, key=lambda track: track.poses[0].at)),
            tuple(sorted(self._lights, key=lambda step: step.at)),
            Truth(
                tuple(self._true),
                self._now,
                tuple(sorted(self._distractors, key=lambda one: (one.begins_s, one.ends_s, one.kind))),
            ),
        )

    def _light(self, at: float, factor: float, over: float) -> None:
        self._lights.append(_LightStep(at, over, factor))
        self._distractors.append(Distractor("light", at, at + over))

    def _item(self, item: Item, rng: np.random.Generator) -> None:
        side = float(rng.uniform(*SIDE))
        x, y = rng.uniform(-0.06, 0.06, 2).tolist()
        place = Pose(0.0, x, y, float(rng.uniform(-self._script.turn, self._script.turn)))
        arrives = self._now
        poses, rests = self._coming(item, place, side, rng)
        place = poses[-1]
        ends = rests + item.stays
        for one in sorted(item.meanwhile, key=lambda one: one.at):
            place, end = self._meanwhile(one, rests + one.at, poses, place, rng)
            ends = max(ends, end)
        leaves = self._going(item, ends, poses, place, side, rng)
        number = len(self._items)
        self._items.append(ItemTrack(item, number, side, tuple(poses)))
        arrives = max(arrives, self._swapping)
        self._swapping = 0.0
        if item.goes == "swap":  # half of it the one, half the other is to be seen
            self._swapping = leaves - SLIDE / 2
            self._now = leaves - SLIDE
        else:
            self._now = leaves
        self._true.append(
            TrueItem(
                id=number,
                label=item.label,
                arrives_s=arrives,
                rests_s=rests,
                leaves_s=self._swapping or leaves,
            )
        )

    def _coming(
        self, item: Item, place: Pose, side: float, rng: np.random.Generator
    ) -> tuple[list[Pose], float]:
        """Return its poses until it lies still, and when that is, with no hand over it."""
        begin = self._now
        if item.comes == "drop":
            sideways = float(rng.uniform(-0.15, 0.15))
            fallen = begin + FALL
            wobble = float(rng.uniform(0.04, 0.1)) * float(rng.choice([-1, 1]))
            poses = [
                place.like(begin, dx=sideways, dy=-0.3, turn=3 * wobble, scale=FROM_ABOVE),
                place.like(fallen, turn=wobble),
                place.like(fallen + WOBBLE / 2, turn=-wobble / 3),
                place.like(fallen + WOBBLE),
            ]
            return poses, fallen + WOBBLE
        angle = self._angle(rng)
        dx, dy = self._outside(place, side, angle)
        if item.comes == "hand":
            laid = begin + CARRY
            out = laid + REACH
            outside = place.like(begin, dx=dx, dy=dy, turn=float(rng.uniform(-0.2, 0.2)))
            self._hand(angle, [outside, place.like(laid), outside.like(out)])
            return [outside, place.like(laid)], out
        tilt = float(rng.uniform(-0.4, 0.4))
        return [place.like(begin, dx=dx, dy=dy, turn=tilt), place.like(begin + SLIDE)], begin + SLIDE

    def _going(
        self,
        item: Item,
        begin: float,
        poses: list[Pose],
        place: Pose,
        side: float,
        rng: np.random.Generator,
    ) -> float:
        """Add its poses until it is out of view; return when that is."""
        if item.goes == "gone":
            poses.append(place.like(begin))
            return begin
        angle = self._angle(rng)
        dx, dy = self._outside(place, side, angle)
        if item.goes == "hand":
            gripped = begin + REACH
            away = gripped + CARRY
            poses += [place.like(gripped), place.like(away, dx=dx, dy=dy)]
            self._hand(angle, [place.like(begin, dx=dx, dy=dy), place.like(gripped), poses[-1]])
            return away
        poses += [place.like(begin), place.like(begin + SLIDE, dx=dx, dy=dy)]
        return begin + SLIDE

    def _meanwhile(
        self, one: Meanwhile, at: float, poses: list[Pose], place: Pose, rng: np.random.Generator
    ) -> tuple[Pose, float]:
        """Add what happens at `at`; return where the item lies then, and when it is over."""
        if one.what == "light":
            self._light(at, one.factor, one.over)
            return place, at
        if one.what == "hand":
            return place, self._passing_hand(at, 0.0, (place.x, place.y), rng)
        begin = max(at, poses[-1].at)
        way, turn = rng.uniform(0.03, 0.06), float(rng.uniform(0.1, 0.25)) * float(rng.choice([-1, 1]))
        angle = float(rng.uniform(0, 2 * math.pi))
        after = place.like(begin + NUDGE, way * math.cos(angle), way * math.sin(angle), turn)
        poses += [place.like(begin), after]
        self._distractors.append(Distractor("nudge", begin, begin + NUDGE))
        return after, begin + NUDGE

    def _passing_hand(
        self, at: float, rests: float, over: tuple[float, float], rng: np.random.Generator
    ) -> float:
        """Add a hand that comes, rests, and goes; return when it is gone."""
        x, y = (c + d for c, d in zip(over, rng.uniform(-0.1, 0.1, 2).tolist(), strict=True))
        target, angle = Pose(at, x, y), self._angle(rng)
        dx, dy = self._outside(target, 0.4, angle)
        there, away = at + REACH, at + REACH + rests
        middle = [target.like(there), target.like(away)] if rests > 0 else [target.like(there)]
        end = away + REACH
        self._hand(angle, [target.like(at, dx, dy), *middle, target.like(end, dx, dy)])
        self._distractors.append(Distractor("hand", at, end))
        return end

    def _hand(self, angle: float, poses: list[Pose]) -> None:
        self._hands.append(HandTrack(len(self._hands), angle, tuple(poses)))

    def _angle(self, rng: np.random.Generator) -> float:
        """Return where things come from and go to: the right, below, or the left."""
        return float(rng.choice([0.0, 0.5, 1.0]) * math.pi + rng.uniform(-0.25, 0.25))

    def _outside(self, place: Pose, side: float, angle: float) -> tuple[float, float]:
        """Go from `place` in that direction, until a square of that side is out of view, however turned."""
        dx, dy = math.cos(angle), math.sin(angle)
        reach = 0.72 * side  # from its centre to a corner, and a little
        ways = []
        if abs(dx) > 1e-6:
            ways.append((math.copysign(self._half + reach, dx) - place.x) / dx)
        if abs(dy) > 1e-6:
            ways.append((math.copysign(0.5 + reach, dy) - place.y) / dy)
        way = min(ways)
        return dx * way, dy * way
