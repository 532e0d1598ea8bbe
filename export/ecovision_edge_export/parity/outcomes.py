"""What a model answered on labelled photographs: right by class, what it confuses, calibration error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.probability import expected_calibration_error, reliability

__all__ = ["Confusion", "Outcome", "measure_outcome", "outcome_json"]

MOST_CONFUSIONS = 10  # in the manifest


@dataclass(frozen=True, slots=True)
class Confusion:
    """Photographs of one class that were called another."""

    truth: str
    answer: str
    images: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Answers on labelled images.

    Args:
        labels: Of the classes, as many as `counts` has rows and columns.
        counts: `counts[truth][answer]`, images.
        ece: Expected calibration error of the probabilities, 0 to 1, in 15 bins.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    ece: float

    def images_of(self, index: int) -> int:
        """Return how many images show that class."""
        return sum(self.counts[index])

    def correct_of(self, index: int) -> int:
        """Return how many of these were called it."""
        return self.counts[index][index]

    def confusions(self) -> tuple[Confusion, ...]:
        """List every pair of classes that was confused, most images first, then in label order."""
        found = [
            Confusion(self.labels[t], self.labels[a], n)
            for t, row in enumerate(self.counts)
            for a, n in enumerate(row)
            if n and a != t
        ]
        return tuple(sorted(found, key=lambda c: -c.images))

    def confused(self, truth: str, answer: str) -> int:
        """Images of `truth` that were called `answer`."""
        return self.counts[self.labels.index(truth)][self.labels.index(answer)]


def measure_outcome(
    labels: Sequence[str], truth: npt.NDArray[np.intp], probabilities: npt.NDArray[np.float64]
) -> Outcome:
    """Count the answers.

    Args:
        labels: Of the classes.
        truth: `(n,)`, indices of labels; at least one.
        probabilities: `(n, classes)`.
    """
    answers = probabilities.argmax(axis=1)
    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, (truth, answers), 1)
    ece = expected_calibration_error(reliability(probabilities.max(axis=1), answers == truth))
    return Outcome(tuple(labels), tuple(tuple(map(int, row)) for row in counts), ece)


def outcome_json(torch: Outcome, artifact: Outcome) -> dict[str, JsonValue]:
    """Return what a manifest says of both beside their accuracy; classes without an image are left out."""
    return {
        "classes": [
            {
                "label": label,
                "images": artifact.images_of(i),
                "torch_correct": torch.correct_of(i),
                "artifact_correct": artifact.correct_of(i),
            }
            for i, label in enumerate(artifact.labels)
            if artifact.images_of(i)
        ],
        "confused": [
            {"truth": c.truth, "answer": c.answer, "images": c.images}
            for c in artifact.confusions()[:MOST_CONFUSIONS]
        ],
        "ece": {"torch": float(f"{torch.ece:.4g}"), "artifact": float(f"{artifact.ece:.4g}")},
    }
