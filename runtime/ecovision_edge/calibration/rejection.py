"""How well a score tells photographs of the classes from photographs of anything else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.probability import log_sum_exp, softmax

__all__ = ["RejectionFigures", "auroc", "false_positive_rate", "rejection_scores"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RejectionFigures:
    """One score.

    Args:
        score: `probability`, `margin` or `energy`.
        auroc: Probability that a photograph of a class scores higher than one of none, 0 to 1; 0.5 is chance.
        fpr: Share of those of none that pass where 95 % of those of a class do, 0 to 1.
    """

    score: str
    auroc: float
    fpr: float


def rejection_scores(logits: Floats, temperature: float) -> dict[str, Floats]:
    """Compute three scores of each row of `(n, classes)` logits; all are higher for what is of a class.

    `probability`: the highest. `margin`: that less the second. `energy`: ln sum exp(z / T), the negative
    energy of W. Liu, X. Wang, J. Owens, Y. Li, "Energy-based Out-of-distribution Detection", NeurIPS 2020.
    """
    probabilities = np.sort(softmax(logits, temperature), axis=1)
    scaled = logits / temperature
    return {
        "probability": probabilities[:, -1],
        "margin": probabilities[:, -1] - probabilities[:, -2],
        "energy": log_sum_exp(scaled),
    }


def auroc(known: Floats, unknown: Floats) -> float:
    """Compute the area under the ROC curve: the share of pairs where the known one scores higher, ties half.

    Both arrays have at least one score.
    """
    ordered = np.sort(unknown)
    below = np.searchsorted(ordered, known, side="left")
    equal = np.searchsorted(ordered, known, side="right") - below
    return float((below + equal / 2).sum() / (len(known) * len(unknown)))


def false_positive_rate(known: Floats, unknown: Floats, passing: float = 0.95) -> float:
    """Compute the share of `unknown` at or above the highest score that `passing` of `known` reach."""
    ordered = np.sort(known)[::-1]
    score = ordered[int(np.ceil(passing * len(ordered))) - 1]
    return float((unknown >= score).mean())
