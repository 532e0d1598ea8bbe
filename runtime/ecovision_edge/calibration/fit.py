"""Fit a temperature and thresholds to logits; numpy alone, and the same result every time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.probability import CALIBRATION_BINS, log_sum_exp, reliability, softmax
from ecovision_edge.base.probability import expected_calibration_error as error_of_bins

__all__ = [
    "CALIBRATION_BINS",
    "Threshold",
    "error_is_proved",
    "expected_calibration_error",
    "fit_temperature",
    "fit_thresholds",
    "least_threshold",
    "negative_log_likelihood",
    "softmax",
    "stratified_folds",
]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

LOWEST, HIGHEST = 0.05, 20.0  # a temperature beyond says that the photographs cannot set one
_STEPS = 80  # bisections of the logarithm: far below a float's last bit

Basis = Literal["own", "pooled", "never"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """The least probability at which a prediction of one class counts.

    `basis` is `own` where the class's own photographs prove the error rate, `pooled` where they do not and
    those of all classes together had to, `never` where even the surest predictions are too often wrong:
    `value` is then 1.
    """

    value: float
    basis: Basis


def negative_log_likelihood(logits: Floats, truth: Indices, temperature: float = 1.0) -> float:
    """Compute the mean of -ln p(truth) in nats, where p is the softmax of `logits / temperature`.

    Args:
        logits: `(n, classes)`, at least one row.
        truth: `(n,)`, indices of classes.
        temperature: Above 0.
    """
    return float((log_sum_exp(logits / temperature) - _of(logits, truth) / temperature).mean())


def fit_temperature(logits: Floats, truth: Indices) -> float | None:
    """Return the temperature, 0.05 to 20, of least negative log-likelihood; None if it is not in that range.

    None, for instance, where every photograph is recognised: the surer, the likelier, without end.

    In b = 1/T the likelihood is convex: its derivative, mean(E[z] - z(truth)) with E under the softmax of
    b z, only grows. So its one zero is found by bisection, on a scale of ln T.

    Args:
        logits: `(n, classes)`, at least one row.
        truth: `(n,)`, indices of classes.

    Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks",
    ICML 2017, section 4.2.
    """

    def slope(temperature: float) -> float:
        expected = (softmax(logits, temperature) * logits).sum(axis=1)
        return float((expected - _of(logits, truth)).mean())

    low, high = math.log(LOWEST), math.log(HIGHEST)
    if not slope(LOWEST) > 0 > slope(HIGHEST):
        return None
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if slope(math.exp(middle)) > 0:  # too sure: the temperature has to rise
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def expected_calibration_error(scores: Floats, correct: Flags, bins: int = CALIBRATION_BINS) -> float:
    """Compute the mean over all images of |accuracy - mean score| of the image's bin, 0 to 1.

    Bins of equal width over the probability of the predicted class, each without its left end: Guo et al.
    2017, equation 3, as `ecovision-edge eval` has it. On few images it is biased upwards.

    Args:
        scores: `(n,)`, 0 to 1, at least one.
        correct: `(n,)`, whether the predicted class is the truth.
        bins: How many.
    """
    return error_of_bins(reliability(scores, correct, bins))


def error_is_proved(wrong: int, count: int, most: float, confidence: float) -> bool:
    """Return whether `wrong` of `count` shows an error rate of at most `most`, with `confidence`.

    That is: whether Clopper and Pearson's one-sided upper bound is at most `most`; or, which is the same,
    whether so few errors would be seen with a probability of at most 1 - confidence if the rate were `most`.
    It is exact. Wilson's bound is an approximation that claims too much exactly here, where few or none of
    the predictions are wrong.

    Source: C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of
    the binomial", Biometrika 26 (1934) 404-413.
    """
    if count == 0:
        return False
    if not 0 < most < 1:
        return most >= 1
    chance = 0.0
    for k in range(wrong + 1):
        ways = math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        chance += math.exp(ways + k * math.log(most) + (count - k) * math.log1p(-most))
        if chance > 1 - confidence:
            return False
    return True


def least_threshold(scores: Floats, wrong: Flags, most: float, confidence: float | None) -> float | None:
    """Find the lowest of `scores` from which on the error rate is at most `most`; None if there is none.

    With `confidence` it has to be proved (`error_is_proved`), else it is the rate that is seen. It is looked
    for among many, so the proof is of that one threshold as if it had been the only one: what it is worth on
    other photographs is to be measured on other photographs.

    Args:
        scores: `(n,)`, 0 to 1.
        wrong: `(n,)`, whether the prediction is wrong.
        most: Error rate, 0 to 1.
        confidence: 0 to 1, or None.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, errors = scores[order], np.cumsum(wrong[order])
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)])
    for i in reversed(ends.tolist()):  # equal scores are taken or left together
        count, bad = i + 1, int(errors[i])
        if bad <= most * count and (confidence is None or error_is_proved(bad, count, most, confidence)):
            return float(ordered[i])
    return None


def fit_thresholds(
    scores: Floats, predicted: Indices, wrong: Flags, classes: int, most: float, confidence: float
) -> tuple[Threshold, ...]:
    """Find one threshold per class, such that of its predictions at or above it at most `most` are wrong.

    A class is judged by its own predictions where they suffice. A proof of 5 % at a confidence of 95 % takes
    59 of them without an error; a class that has no such takes the threshold that all classes' predictions
    together prove, or a higher one where its own predictions were seen to be wrong too often above that.

    Args:
        scores: `(n,)`, probability of the predicted class.
        predicted: `(n,)`, indices of classes.
        wrong: `(n,)`, whether the prediction is wrong.
        classes: How many there are.
        most: Error rate, 0 to 1.
        confidence: Confidence of the proof, 0 to 1.
    """
    pooled = least_threshold(scores, wrong, most, confidence)

    def one(index: int) -> Threshold:
        mine = predicted == index
        own = least_threshold(scores[mine], wrong[mine], most, confidence)
        if own is not None:
            return Threshold(own, "own")
        if pooled is None:
            return Threshold(1.0, "never")
        above = mine & (scores >= pooled)
        seen = least_threshold(scores[above], wrong[above], most, None)
        if seen is not None:
            return Threshold(seen if wrong[above].mean() > most else pooled, "pooled")
        return Threshold(1.0, "never") if above.any() else Threshold(pooled, "pooled")

    return tuple(one(index) for index in range(classes))


def stratified_folds(groups: Indices, folds: int) -> Indices:
    """Return the fold of each row, 0 to `folds` - 1: each group is cut into `folds` runs of neighbours.

    Runs, since photographs that stand beside one another often show the same thing: none of them should be
    judged by what another one set.

    Args:
        groups: `(n,)`, the class of each row.
        folds: At least 2.
    """
    fold = np.zeros(len(groups), np.intp)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        fold[rows] = np.arange(len(rows)) * folds // len(rows)
    return fold


def _of(logits: Floats, truth: Indices) -> Floats:
    result: Floats = logits[np.arange(len(truth)), truth]
    return result
