"""Several views of each photograph: what they are worth together, measured, and thresholds on that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecovision_edge.bundle.views import RegionView, ViewPlan, effective_count
from ecovision_edge.calibration.figures import CalibrationOptions, Combination, ViewsCalibration
from ecovision_edge.calibration.fit import (
    Threshold,
    expected_calibration_error,
    fit_temperature,
    fit_thresholds,
    least_threshold,
    negative_log_likelihood,
    softmax,
)
from ecovision_edge.decision.evidence import LEAST

__all__ = ["Answers", "calibrate_views", "fit_correlation"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

COPIES = 1.0
"""Correlation of two frames in the same view: a thing that lies still looks the same in both.

No photograph can show that it is less; to say 1 is to be careful."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What the network said of photographs.

    Args:
        logits: `(n, views, classes)`.
        truth: `(n,)`, indices of classes; -1: of none.
    """

    logits: Floats
    truth: Indices

    def part(self, rows: npt.NDArray[np.bool_]) -> Answers:
        """Select the answers of some photographs."""
        return Answers(self.logits[rows], self.truth[rows])

    def logs(self, temperature: float) -> Floats:
        """Return `(n, views, classes)`: logarithms of the probabilities, as `Evidence` takes them."""
        result: Floats = np.log(np.maximum(softmax(self.logits, temperature), LEAST))
        return result


def fit_correlation(answers: Answers, temperature: float) -> tuple[float, ...]:
    """Return the correlation of each view with those before it, as of a `ViewPlan`.

    The mean of the log-probabilities of k views, taken so many times that it is as likely as can be, says how
    many independent views they are worth: that is a temperature again, fitted to what they say together. The
    correlations are those for which `effective_count` gives just these numbers, from 0 to 1.

    Args:
        answers: Answers to photographs of the classes.
        temperature: Temperature of one view.
    """
    logs = answers.logs(temperature)
    correlation, variance = [COPIES], 1.0
    for views in range(2, logs.shape[1] + 1):
        found = fit_temperature(logs[:, :views].mean(axis=1), answers.truth)
        own = views**2 * found - variance - 1 if found is not None else 2 * (views - 1) * COPIES
        correlation.append(min(1.0, max(0.0, float(f"{own / (2 * (views - 1)):.4f}"))))
        variance += 1 + 2 * (views - 1) * correlation[-1]
    return tuple(correlation)


def calibrate_views(
    views: Sequence[RegionView],
    every: Answers,
    folds: Indices,
    temperature: float,
    temperatures: Sequence[float],
    options: CalibrationOptions,
) -> ViewsCalibration:
    """Fit the plan of views to all photographs, and measure on folds what it is worth.

    Args:
        views: Views that each photograph was looked at in, the plain one first.
        every: Photographs of the classes, and of none.
        folds: `(n,)`, of each.
        temperature: Temperature of one view, fitted to all.
        temperatures: Temperature per fold, fitted to all others.
        options: Error rate, confidence, risks.
    """
    known = every.truth >= 0
    correlation = fit_correlation(every.part(known), temperature)
    chances = _together(every, temperature, correlation, len(views))
    thresholds = _thresholds(chances, every.truth, options)
    held = np.zeros((len(views), *chances.shape))
    kept = np.zeros(len(every.truth), bool)
    for fold, other in enumerate(temperatures):
        inside = folds == fold
        if not inside.any():
            continue
        rest, mine = every.part(~inside), every.part(inside)
        measured = fit_correlation(rest.part(rest.truth >= 0), other)
        for count in range(len(views)):
            held[count, inside] = _together(mine, other, measured, count + 1)
        limits = _thresholds(_together(rest, other, measured, len(views)), rest.truth, options)
        top = held[-1, inside]
        kept[inside] = top.max(axis=1) >= np.array([t.value for t in limits])[top.argmax(axis=1)]
    wrong = held[-1].argmax(axis=1) != every.truth
    return ViewsCalibration(
        plan=ViewPlan(tuple(views), correlation, tuple(t.value for t in thresholds)),
        thresholds=thresholds,
        combinations=tuple(
            _combination(views[n], correlation[: n + 1], h[known], every.truth[known], options)
            for n, h in enumerate(held)
        ),
        photographs=int(known.sum()),
        kept=int((kept & known).sum()),
        wrong_kept=int((kept & known & wrong).sum()),
        unknown_kept=int((kept & ~known).sum()),
    )


def _together(answers: Answers, temperature: float, correlation: Sequence[float], views: int) -> Floats:
    """Return the probabilities `(n, classes)` after a frame in each of the first views: as of `Evidence`."""
    count = effective_count([1] * views, correlation[:views])
    return softmax(answers.logs(temperature)[:, :views].mean(axis=1) * count)


def _thresholds(chances: Floats, truth: Indices, options: CalibrationOptions) -> tuple[Threshold, ...]:
    predicted = chances.argmax(axis=1)
    return fit_thresholds(
        chances.max(axis=1),
        predicted,
        predicted != truth,
        chances.shape[1],
        options.max_error,
        options.confidence,
    )


def _combination(
    last: RegionView, correlation: Sequence[float], held: Floats, truth: Indices, options: CalibrationOptions
) -> Combination:
    scores, right = held.max(axis=1), held.argmax(axis=1) == truth

    def share(risk: float) -> float:
        least = least_threshold(scores, ~right, risk, None)
        return 0.0 if least is None else float((scores >= least).mean())

    return Combination(
        last=last,
        correlation=correlation[-1],
        effective=effective_count([1] * len(correlation), correlation),
        correct=int(right.sum()),
        ece=expected_calibration_error(scores, right),
        nll=negative_log_likelihood(np.log(np.maximum(held, LEAST)), truth),
        at_risk=tuple((risk, share(risk)) for risk in options.risks),
    )
