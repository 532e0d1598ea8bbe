"""Parity in the same run: what each subject answers on the same images, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.stats import wilson_interval
from ecovision_edge_bench.measure.processes import WorkerError

__all__ = ["Agreement", "Answers", "Images", "ask", "compare"]

Answers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
"""Probabilities `(images, classes)`."""

GROUP = 16  # images a request: progress moves, and a worker that hangs is found out


class Classifies(Protocol):
    """What is asked: a `Worker`."""

    def classify(self, *, files: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[list[float]]:
        """See `Worker.classify`."""
        ...


@dataclass(frozen=True, slots=True)
class Images:
    """What subjects are compared on: image files, with their label's index if known, or synthetic frames.

    Every subject gets the same decoded frame, and prepares it in its own way. `notes` is what is to be told
    of other files that are there.
    """

    files: tuple[str, ...] = ()
    labels: tuple[int | None, ...] = ()
    seeds: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def evidence(self) -> str:
        """The kind of images, in the file format's words; synthetic frames are weak evidence."""
        return "photographs" if self.files else "drawn frames"

    def __len__(self) -> int:
        return len(self.files) or len(self.seeds)


@dataclass(frozen=True, slots=True)
class Agreement:
    """One subject against PyTorch.

    Args:
        images: How many were classified.
        judged: Of these, those that count for agreement: photographs all, others where PyTorch is firm.
        agreed: Of these, those with the same first class.
        max_dp: Largest difference of a probability, over all images and classes.
        labelled: Images with a label.
        correct: Of these, those that the subject got right.
        budget: Least agreement that the export's gate asks of this precision, 0 to 1.
    """

    images: int
    judged: int
    agreed: int
    max_dp: float
    labelled: int
    correct: int
    budget: float

    @property
    def agreement(self) -> float | None:
        """Top-1 agreement, 0 to 1; None where nothing could be judged."""
        return self.agreed / self.judged if self.judged else None

    @property
    def wrong(self) -> bool:
        """Whether it surely misses the budget: the upper end of the 95 % interval is below it."""
        return self.judged > 0 and wilson_interval(self.agreed, self.judged)[1] < self.budget

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        result: dict[str, JsonValue] = {
            "images": self.images,
            "judged": self.judged,
            "agreed": self.agreed,
            "max_dp": self.max_dp,
            "labelled": self.labelled,
            "correct": self.correct,
            "budget": self.budget,
        }
        return result


def ask(worker: Classifies, images: Images, progress: Callable[[int], None] = lambda done: None) -> Answers:
    """Return all answers of a subject.

    Raises:
        WorkerError: it failed, or gave something else than finite probabilities.
    """
    rows: list[list[float]] = []
    for start in range(0, len(images), GROUP):
        part = slice(start, start + GROUP)
        rows += (
            worker.classify(files=images.files[part])
            if images.files
            else worker.classify(seeds=images.seeds[part])
        )
        progress(len(rows))
    answers = np.array(rows, np.float64)
    if answers.ndim != 2 or len(answers) != len(images) or not np.isfinite(answers).all():
        raise WorkerError(
            "parity", expected=f"finite probabilities of {len(images)} images", found=f"{answers.shape}"
        )
    return answers


def compare(expected: Answers | None, found: Answers, images: Images, precision: str) -> Agreement:
    """Compare a subject's answers with PyTorch's; without those only its accuracy is measured."""
    from ecovision_edge_export.parity.figures import budget_for
    from ecovision_edge_export.parity.measure import FIRM_MARGIN

    known = np.array([label is not None for label in images.labels], bool)
    truth = np.array([-1 if label is None else label for label in images.labels])
    first = found.argmax(1)
    correct = int((first[known] == truth[known]).sum()) if len(known) else 0
    budget = budget_for("fp32" if precision == "fp32" else "int8").agreement
    if expected is None:
        return Agreement(len(images), 0, 0, 0.0, int(known.sum()), correct, budget)
    if expected.shape != found.shape:
        raise WorkerError(
            "parity", expected=f"probabilities of {expected.shape[1]} classes", found=found.shape[1]
        )
    top = np.sort(expected, axis=1)
    firm = top[:, -1] - top[:, -2] >= FIRM_MARGIN
    judged = np.ones(len(images), bool) if images.files else firm
    same = first == expected.argmax(1)
    return Agreement(
        images=len(images),
        judged=int(judged.sum()),
        agreed=int((same & judged).sum()),
        max_dp=float(np.abs(expected - found).max()),
        labelled=int(known.sum()),
        correct=correct,
        budget=budget,
    )
