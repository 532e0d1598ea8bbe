"""How well a model does whichever way a thing lies: the same photographs, turned, and what it makes of them.

In a bin the camera looks down, and things lie as they fell. `turned` makes the views, `TurnCounter` counts
the answers as the photographs go by, `measure_turns` does it for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.stats import wilson_interval
from ecovision_edge.errors import OptionError
from ecovision_edge.photographs.letterbox import strip_bars

__all__ = [
    "MOST_TURNED",
    "MOST_TURNS",
    "Picture",
    "Predict",
    "TurnCounter",
    "TurnFigure",
    "TurnFigures",
    "TurnReport",
    "check_turns",
    "measure_turns",
    "turned",
]

Picture = npt.NDArray[np.uint8]
"""`(height, width, 3) uint8 BGR`."""

Predict = Callable[[Sequence[Picture]], Sequence[int]]
"""Says the class of each frame, `(height, width, 3) uint8 BGR` of any sizes: indices of labels, in order."""

MOST_TURNS = 360

MOST_TURNED = 600
"""Photographs that `export` and `train` turn at most, evenly spread: each takes eight answers of each model.
`eval --turns` takes all."""


def check_turns(turns: int, option: str = "--turns") -> None:
    """Refuse a number of turns out of range.

    Raises:
        OptionError: not 1 to 360.
    """
    if not 1 <= turns <= MOST_TURNS:
        raise OptionError(option, expected=f"1 to {MOST_TURNS}", found=turns)


def turned(picture: Picture, turn: int, turns: int) -> Picture:
    """Turn a picture counter-clockwise by `turn` of `turns` even parts of a circle.

    A quarter turn moves pixels and computes none. Any other keeps the scale and the area: the sides go evenly
    from those of one quarter turn to those of the next, and what comes in at the edges is the picture
    mirrored, as a thing's surroundings go on in a camera's view.

    Args:
        picture: `(height, width, 3) uint8`.
        turn: Which turn, 0 to `turns` - 1.
        turns: At least 1.

    Returns:
        The picture itself for turn 0, else a new array.
    """
    quarters, between = divmod(4 * turn, turns)
    if between == 0:
        return picture if quarters == 0 else np.ascontiguousarray(np.rot90(picture, quarters))
    angle = 2 * math.pi * turn / turns
    height, width = picture.shape[:2]
    c, s = math.cos(angle), math.sin(angle)
    wide, high = width * abs(c) + height * abs(s), width * abs(s) + height * abs(c)
    shrink = math.sqrt(width * height / (wide * high))
    columns, rows = max(1, round(wide * shrink)), max(1, round(high * shrink))
    # From the view to the picture: WARP_INVERSE_MAP takes it as it stands.
    x, y = (columns - 1) / 2, (rows - 1) / 2
    matrix = np.array(
        [[c, -s, (width - 1) / 2 - c * x + s * y], [s, c, (height - 1) / 2 - s * x - c * y]], np.float64
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    view = cv2.warpAffine(picture, matrix, (columns, rows), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(view, np.uint8)


@dataclass(frozen=True, slots=True)
class TurnFigure:
    """The photographs at one turn.

    Args:
        degrees: Counter-clockwise, 0 to below 360.
        correct: Photographs that were called what they are.
        photographs: All of them, at least one.
    """

    degrees: float
    correct: int
    photographs: int

    @property
    def accuracy(self) -> float:
        """Share that was called what it is (top-1), 0 to 1."""
        return self.correct / self.photographs

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `accuracy`."""
        return wilson_interval(self.correct, self.photographs)


@dataclass(frozen=True, slots=True)
class TurnFigures:
    """The same photographs at even turns; the first is upright."""

    by_turn: tuple[TurnFigure, ...]

    @property
    def upright(self) -> TurnFigure:
        """The figure of the photographs as they are."""
        return self.by_turn[0]

    @property
    def mean(self) -> float:
        """Mean accuracy of all turns, 0 to 1."""
        return sum(figure.accuracy for figure in self.by_turn) / len(self.by_turn)

    @property
    def worst(self) -> TurnFigure:
        """The turn of the lowest accuracy, the first of several."""
        return min(self.by_turn, key=lambda figure: figure.correct)

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values; accuracies 0 to 1."""
        return {
            "mean": round(self.mean, 6),
            "worst": round(self.worst.accuracy, 6),
            "worst_degrees": self.worst.degrees,
            "by_turn": [
                {
                    "degrees": f.degrees,
                    "correct": f.correct,
                    "accuracy": round(f.accuracy, 6),
                    "accuracy_wilson_95": [round(bound, 6) for bound in f.interval],
                }
                for f in self.by_turn
            ],
        }


@dataclass(frozen=True, slots=True)
class TurnReport:
    """What became of the same photographs at even turns, with their letterbox bars and without.

    Args:
        photographs: How many, at least one.
        barred: How many of them have bars.
        published: Accuracies on the photographs as they are, bars and all.
        stripped: The same without bars, as a camera would see it. Equal to `published` where none has any.
    """

    photographs: int
    barred: int
    published: TurnFigures
    stripped: TurnFigures

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values for a document."""
        return {
            "turns": len(self.stripped.by_turn),
            "photographs": self.photographs,
            "with_grey_bars": self.barred,
            "as_published": self.published.to_json(),
            "bars_stripped": self.stripped.to_json(),
        }


class TurnCounter:
    """Counts answers at even turns, one photograph after the other, keeping none.

    Args:
        turns: How many, 1 to 360; 4 are quarter turns.
        predict: Asked for all views of a photograph at once.

    Raises:
        OptionError: no such number of turns.
    """

    def __init__(self, turns: int, predict: Predict) -> None:
        check_turns(turns)
        self._turns, self._predict = turns, predict
        self._photographs = self._barred = 0
        self._published, self._stripped = np.zeros(turns, np.int64), np.zeros(turns, np.int64)

    def add(self, picture: Picture, label: int, upright: int | None = None) -> None:
        """Count a photograph.

        Args:
            picture: `(height, width, 3) uint8 BGR`.
            label: Index of its class.
            upright: What was answered to it as it is, if that is known already.
        """
        inside = strip_bars(picture)
        barred = inside.shape != picture.shape
        published = self._answers(picture, upright)
        stripped = self._answers(np.ascontiguousarray(inside), None) if barred else published
        self._published += published == label
        self._stripped += stripped == label
        self._photographs += 1
        self._barred += barred

    def report(self) -> TurnReport | None:
        """Return what was counted so far; None before the first photograph."""
        if self._photographs == 0:
            return None
        return TurnReport(
            self._photographs, self._barred, self._figures(self._published), self._figures(self._stripped)
        )

    def _answers(self, picture: Picture, upright: int | None) -> npt.NDArray[np.int64]:
        """Return the answer at each turn."""
        views = [turned(picture, turn, self._turns) for turn in range(self._turns)]
        if upright is None:
            return np.asarray(self._predict(views), np.int64)
        rest = self._predict(views[1:]) if len(views) > 1 else []
        return np.asarray([upright, *rest], np.int64)

    def _figures(self, correct: npt.NDArray[np.int64]) -> TurnFigures:
        return TurnFigures(
            tuple(
                TurnFigure(360 * turn / self._turns, count, self._photographs)
                for turn, count in enumerate(correct.tolist())
            )
        )


def measure_turns(
    predict: Predict, pictures: Iterable[tuple[Picture, int]], turns: int = 4
) -> TurnReport | None:
    """Measure a model on the same photographs at even turns, with their letterbox bars and without.

    Args:
        predict: Asked for all views of a photograph at once; see `Predict`.
        pictures: Photographs, `(height, width, 3) uint8 BGR`, and the indices of their classes; each is
            dropped before the next is asked for.
        turns: How many, 1 to 360.

    Returns:
        None if there is no photograph.

    Raises:
        OptionError: no such number of turns.
    """
    counter = TurnCounter(turns, predict)
    for picture, label in pictures:
        counter.add(picture, label)
    return counter.report()
