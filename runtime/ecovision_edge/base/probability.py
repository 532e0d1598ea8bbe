"""What probabilities are made of, and what they are worth: softmax, reliability, calibration error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.softmax import softmax

__all__ = [
    "CALIBRATION_BINS",
    "ReliabilityBin",
    "expected_calibration_error",
    "log_sum_exp",
    "reliability",
    "softmax",
]

CALIBRATION_BINS = 15

Floats = npt.NDArray[np.float64]


def log_sum_exp(logits: Floats) -> Floats:
    """Compute ln of the sum of exp over the last axis of `(n, classes)`, as `(n,)`, without overflow."""
    top = logits.max(axis=1)
    result: Floats = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return result


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The images whose score is above `low` and at most `high`; the means are None where there are none.

    Args:
        low: Left end, not in the bin.
        high: Right end, in it.
        count: Images.
        correct: How many of these were called what they are.
        confidence: Mean score, 0 to 1.
    """

    low: float
    high: float
    count: int
    correct: int
    confidence: float | None

    @property
    def accuracy(self) -> float | None:
        """Share that was called what it is, 0 to 1."""
        return self.correct / self.count if self.count else None


def reliability(
    scores: Floats, correct: npt.NDArray[np.bool_], bins: int = CALIBRATION_BINS
) -> tuple[ReliabilityBin, ...]:
    """Sort images into `bins` bins of equal width, ((m - 1) / bins, m / bins], by score.

    Args:
        scores: `(n,)`, probability of the predicted class, 0 to 1.
        correct: `(n,)`, whether it is the truth.
        bins: How many.

    Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks",
    ICML 2017, section 2.
    """
    edges = np.arange(bins + 1) / bins
    place = np.searchsorted(edges[1:-1], scores, side="left")  # an image on an edge is in the bin below it
    count = np.bincount(place, minlength=bins)
    right = np.bincount(place[correct], minlength=bins)
    total = np.bincount(place, weights=scores, minlength=bins)
    return tuple(
        ReliabilityBin(
            float(edges[m]),
            float(edges[m + 1]),
            int(count[m]),
            int(right[m]),
            float(total[m] / count[m]) if count[m] else None,
        )
        for m in range(bins)
    )


def expected_calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Compute the mean over all images of |accuracy - mean score| of the image's bin, 0 to 1.

    Source: Guo et al. 2017, equation 3; see `reliability`. On few images it is biased upwards: each bin's
    accuracy has its own sampling error.
    """
    gaps = [b.count * abs(b.correct / b.count - b.confidence) for b in bins if b.confidence is not None]
    return sum(gaps) / sum(b.count for b in bins)
