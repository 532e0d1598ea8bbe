"""Parity beside the latency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from ecovision_edge_bench.measure.agreement import Agreement, Images, ask, compare
from ecovision_edge_bench.measure.processes import WorkerError

PHOTOGRAPHS = Images(files=("a", "b", "c", "d"), labels=(0, 1, 2, None))


def answers(*first: int) -> np.ndarray:
    """Rows that are sure of one of three classes."""
    return np.array([[0.8 if i == f else 0.1 for i in range(3)] for f in first])


def test_agreement_difference_and_accuracy_are_counted() -> None:
    """One flip of four; of the three labelled the flipped one is right, and one is wrong on both sides."""
    found = compare(answers(0, 0, 0, 1), answers(0, 1, 0, 1), PHOTOGRAPHS, "int8")
    assert (found.judged, found.agreed, found.labelled, found.correct) == (4, 3, 3, 2)
    assert found.max_dp == pytest.approx(0.7)
    assert found.agreement == 0.75


def test_without_pytorch_there_is_accuracy_alone() -> None:
    """Nothing is judged, so nothing is wrong."""
    found = compare(None, answers(0, 1, 0, 1), PHOTOGRAPHS, "fp32")
    assert (found.judged, found.agreement, found.wrong, found.correct) == (0, None, False, 2)


def test_drawn_frames_count_where_pytorch_is_firm() -> None:
    """The second has two classes nearly alike: its flip is no fault."""
    expected = np.array([[0.8, 0.1, 0.1], [0.45, 0.44, 0.11]])
    found = compare(expected, expected[:, [1, 0, 2]], Images(seeds=(0, 1)), "fp32")
    assert (found.images, found.judged, found.agreed) == (2, 1, 0)


@pytest.mark.parametrize(
    ("agreed", "judged", "budget", "wrong"),
    [
        (99, 100, 0.998, False),
        (98, 100, 0.998, True),
        (8, 10, 0.98, True),
        (9, 10, 0.98, False),
        (0, 0, 0.98, False),
    ],
)
def test_wrong_is_only_what_is_surely_below_its_budget(
    agreed: int, judged: int, budget: float, wrong: bool
) -> None:
    """By the upper end of Wilson's interval: a flip or two of a hundred prove nothing."""
    assert Agreement(judged, judged, agreed, 0.1, 0, 0, budget).wrong is wrong


def test_budgets_are_those_of_the_export_gate() -> None:
    """99.8 % for fp32, 98 % for int8 and bf16."""
    budgets = [compare(None, answers(0), Images(seeds=(0,)), p).budget for p in ("fp32", "int8", "bf16")]
    assert budgets == [0.998, 0.98, 0.98]


class Fixed:
    """Answers what it is told to."""

    def __init__(self, rows: list[list[float]]) -> None:
        self.rows = rows

    def classify(self, *, files: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[list[float]]:
        return self.rows[: len(files) or len(seeds)]


def test_all_images_are_asked_for_in_groups() -> None:
    """And progress is told."""
    told: list[int] = []
    found = ask(Fixed([[0.5, 0.5]] * 16), Images(seeds=tuple(range(20))), told.append)
    assert found.shape == (20, 2)
    assert told == [16, 20]


@pytest.mark.parametrize("rows", [[[0.5, float("nan")]] * 2, [[0.5, 0.5]]])
def test_answers_that_are_none_are_an_error(rows: list[list[float]]) -> None:
    """NaN, or too few."""
    with pytest.raises(WorkerError, match="finite probabilities of 2 images"):
        ask(Fixed(rows), Images(seeds=(0, 1)))


def test_another_number_of_classes_is_an_error() -> None:
    """Of another model, for instance."""
    with pytest.raises(WorkerError, match="3 classes"):
        compare(answers(0), np.array([[0.5, 0.5]]), Images(seeds=(0,)), "fp32")
