"""The figures of a classifier on labelled images; numpy alone, and nothing that is not written down here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.probability import (
    CALIBRATION_BINS,
    ReliabilityBin,
    expected_calibration_error,
    reliability,
)
from ecovision_edge.base.stats import wilson_interval

__all__ = [
    "CALIBRATION_BINS",
    "CALIBRATION_SOURCE",
    "ClassFigures",
    "Confusion",
    "Metrics",
    "ReliabilityBin",
    "expected_calibration_error",
    "measure",
    "most_confused",
    "negative_log_likelihood",
    "reliability",
]

CALIBRATION_SOURCE = (
    'C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017; '
    f"{CALIBRATION_BINS} bins of equal width over the probability of the predicted class"
)

Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class.

    Args:
        label: Its name.
        photographs: That show it.
        correct: Of these, those that were called it.
        predicted: Photographs of whatever class that were called it.
    """

    label: str
    photographs: int
    correct: int
    predicted: int

    @property
    def incorrect(self) -> int:
        """Photographs that were called something else."""
        return self.photographs - self.correct

    @property
    def accuracy(self) -> float | None:
        """Share of its photographs that were called it (recall), 0 to 1; None without photographs."""
        return self.correct / self.photographs if self.photographs else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `accuracy`."""
        return wilson_interval(self.correct, self.photographs)

    @property
    def precision(self) -> float | None:
        """Share of what was called it that is it, 0 to 1; None where nothing was called it."""
        return self.correct / self.predicted if self.predicted else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN); None without photographs."""
        return 2 * self.correct / (self.photographs + self.predicted) if self.photographs else None


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many photographs of class `truth` were called `predicted`."""

    truth: str
    predicted: str
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Metrics:
    """All figures.

    Args:
        classes: In the order of the model's labels.
        confusion: `(classes, classes)`, counts; one row per truth, one column per prediction.
        reliability: The bins of the calibration error, in order.
        ece: Expected calibration error, 0 to 1; see `expected_calibration_error`.
        mean_confidence: Mean score of the predicted class, 0 to 1.
        nll: Mean negative log-likelihood of the truth; see `negative_log_likelihood`.
    """

    classes: tuple[ClassFigures, ...]
    confusion: npt.NDArray[np.int64]
    reliability: tuple[ReliabilityBin, ...]
    ece: float
    mean_confidence: float
    nll: float

    @property
    def photographs(self) -> int:
        """All that were classified."""
        return sum(c.photographs for c in self.classes)

    @property
    def correct(self) -> int:
        """The number of images that were called what they are."""
        return sum(c.correct for c in self.classes)

    @property
    def incorrect(self) -> int:
        """The others."""
        return self.photographs - self.correct

    @property
    def accuracy(self) -> float:
        """Share that was called what it is (top-1), 0 to 1."""
        return self.correct / self.photographs

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `accuracy`."""
        return wilson_interval(self.correct, self.photographs)

    @property
    def absent(self) -> tuple[str, ...]:
        """Labels of which there is no photograph."""
        return tuple(c.label for c in self.classes if not c.photographs)

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes of which there are photographs, 0 to 1."""
        return float(np.mean([c.f1 for c in self.classes if c.f1 is not None]))

    @property
    def confusions(self) -> tuple[Confusion, ...]:
        """What was taken for what, most frequent first, then in the order of the labels."""
        off = self.confusion * ~np.eye(len(self.classes), dtype=bool)
        rows, columns = np.nonzero(off)
        order = np.argsort(-off[rows, columns], kind="stable")
        return tuple(
            Confusion(self.classes[r].label, self.classes[c].label, int(off[r, c]))
            for r, c in zip(rows[order].tolist(), columns[order].tolist(), strict=True)
        )


def measure(
    labels: Sequence[str], truth: Indices, predicted: Indices, probabilities: npt.NDArray[np.float32]
) -> Metrics:
    """Compute all figures.

    Args:
        labels: Of the model.
        truth: `(n,)`, indices of labels; at least one.
        predicted: `(n,)`, likewise.
        probabilities: `(n, classes)`, in the order of `labels`.
    """
    k = len(labels)
    confusion = np.bincount(truth * k + predicted, minlength=k * k).reshape(k, k).astype(np.int64)
    scores = probabilities[np.arange(len(truth)), predicted].astype(np.float64)
    bins = reliability(scores, truth == predicted)
    return Metrics(
        tuple(
            ClassFigures(label, int(confusion[i].sum()), int(confusion[i, i]), int(confusion[:, i].sum()))
            for i, label in enumerate(labels)
        ),
        confusion,
        bins,
        expected_calibration_error(bins),
        float(scores.mean()),
        negative_log_likelihood(probabilities, truth),
    )


def negative_log_likelihood(probabilities: npt.NDArray[np.float32], truth: Indices) -> float:
    """Mean of -ln p(truth), in nats; a probability of 0 counts as the least normal float32, 1.2e-38.

    Args:
        probabilities: `(n, classes)`.
        truth: `(n,)`, indices of classes.
    """
    p = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.maximum(p, np.finfo(np.float32).tiny)).mean())


def most_confused(confusion: npt.NDArray[np.int64], most: int) -> list[int]:
    """Indices, ascending, of the `most` classes with the most errors, as truth or as prediction."""
    errors = confusion.sum(0) + confusion.sum(1) - 2 * np.diag(confusion)
    return sorted(np.argsort(-errors, kind="stable")[:most].tolist())
