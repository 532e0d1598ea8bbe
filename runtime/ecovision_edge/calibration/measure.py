"""Calibrate: fit on all photographs, and measure on folds of them what such a fit is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecovision_edge.bundle.views import PLAIN, RegionView
from ecovision_edge.calibration.combined import Answers, calibrate_views
from ecovision_edge.calibration.figures import (
    Calibration,
    CalibrationOptions,
    ClassCalibration,
    Coverage,
)
from ecovision_edge.calibration.fit import (
    Threshold,
    expected_calibration_error,
    fit_temperature,
    fit_thresholds,
    least_threshold,
    negative_log_likelihood,
    softmax,
    stratified_folds,
)
from ecovision_edge.calibration.rejection import (
    RejectionFigures,
    auroc,
    false_positive_rate,
    rejection_scores,
)
from ecovision_edge.errors import DatasetError

__all__ = ["calibrate"]

THRESHOLDS_SHOWN = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Rows of a fold, or all of them: photographs of the classes first, then those of none (truth -1)."""

    logits: Floats
    truth: Indices

    @property
    def known(self) -> Flags:
        result: Flags = self.truth >= 0
        return result

    def fit(self, present: float, options: CalibrationOptions) -> tuple[float, bool, tuple[Threshold, ...]]:
        """Return the temperature, whether it was fitted, and thresholds."""
        found = fit_temperature(self.logits[self.known], self.truth[self.known])
        temperature = present if found is None else float(f"{found:.6g}")
        probabilities = softmax(self.logits, temperature)
        predicted = probabilities.argmax(axis=1)
        thresholds = fit_thresholds(
            probabilities.max(axis=1),
            predicted,
            predicted != self.truth,
            self.logits.shape[1],
            options.max_error,
            options.confidence,
        )
        return temperature, found is not None, thresholds


def calibrate(
    labels: Sequence[str],
    logits: Floats,
    truth: Indices,
    *,
    present: float = 1.0,
    unknown: Floats | None = None,
    options: CalibrationOptions | None = None,
    views: Sequence[RegionView] = (PLAIN,),
) -> Calibration:
    """Fit temperature and thresholds, and measure them on folds that set nothing.

    A photograph of no class counts as wrong, whatever it was called: the error rates then depend on how many
    of them there are, which should be as it is at the bin.

    Args:
        labels: Labels of the model.
        logits: `(n, classes)`, or `(n, views, classes)`, of photographs of the classes, those of a class in
            the order they were taken.
        truth: `(n,)`, indices of labels.
        present: The temperature in the contract now.
        unknown: `(m, classes)`, or `(m, views, classes)`, of photographs of no class.
        options: Error rate, confidence, folds.
        views: In which each photograph was looked at. What they say together is calibrated too, where they
            are more than one; all else is of the first one, which is the plain one.

    Raises:
        DatasetError: fewer photographs than `options.least`.
    """
    options = options or CalibrationOptions()
    if len(truth) < options.least:
        raise DatasetError(
            "calibration",
            expected=f"at least {options.least} photographs, for the error rate and confidence asked for",
            found=len(truth),
            fix="take more, or ask for less: --max-error, --confidence",
        )
    shape = (-1, len(views), len(labels))
    known = logits.reshape(shape)
    strange = np.empty((0, *shape[1:])) if unknown is None else unknown.reshape(shape)
    answers = Answers(
        np.concatenate([known, strange]).astype(np.float64),
        np.concatenate([truth, np.full(len(strange), -1)]).astype(np.intp),
    )
    every = _Part(answers.logits[:, 0], answers.truth)
    temperature, fitted, thresholds = every.fit(present, options)
    folds = stratified_folds(every.truth, options.folds)
    held = _held_out(every, folds, present, options)
    before = softmax(every.logits[every.known], present)
    right = before.argmax(axis=1) == truth
    return Calibration(
        temperature=temperature,
        fitted=fitted,
        options=options,
        photographs=len(truth),
        unknown=len(strange),
        correct=int(right.sum()),
        ece_before=expected_calibration_error(before.max(axis=1), right),
        ece_after=expected_calibration_error(held.scores[every.known], right),
        nll_before=negative_log_likelihood(every.logits[every.known], truth, present),
        nll_after=held.nll,
        classes=_classes(labels, every, held, thresholds),
        curve=tuple(_coverage(every, held, held.scores >= t, t) for t in THRESHOLDS_SHOWN),
        fitted_coverage=_coverage(every, held, held.kept, None),
        at_risk=tuple((risk, _at_risk(every, held, risk)) for risk in options.risks),
        rejection=held.rejection,
        views=calibrate_views(views, answers, folds, temperature, held.temperatures, options)
        if len(views) > 1
        else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _HeldOut:
    """Each row as the other folds' fit judges it: score, class, and whether it is kept.

    `temperatures` are those that were fitted for each fold to the others.
    """

    scores: Floats
    predicted: Indices
    kept: Flags
    nll: float
    rejection: tuple[RejectionFigures, ...]
    temperatures: tuple[float, ...]


def _held_out(every: _Part, folds: Indices, present: float, options: CalibrationOptions) -> _HeldOut:
    n = len(every.truth)
    predicted = every.logits.argmax(axis=1)
    scores, kept = np.zeros(n), np.zeros(n, bool)
    nats = 0.0
    temperatures: list[float] = []
    ranked: dict[str, Floats] = {}
    for fold in range(options.folds):
        inside = folds == fold
        temperature, _, thresholds = _Part(every.logits[~inside], every.truth[~inside]).fit(present, options)
        temperatures.append(temperature)
        if not inside.any():
            continue
        scores[inside] = softmax(every.logits[inside], temperature).max(axis=1)
        limits = np.array([t.value for t in thresholds])
        kept[inside] = scores[inside] >= limits[predicted[inside]]
        mine = inside & every.known
        if mine.any():
            nats += negative_log_likelihood(every.logits[mine], every.truth[mine], temperature) * mine.sum()
        for name, values in rejection_scores(every.logits[inside], temperature).items():
            ranked.setdefault(name, np.zeros(n))[inside] = values
    known = every.known
    rejection = (
        tuple(
            RejectionFigures(name, auroc(v[known], v[~known]), false_positive_rate(v[known], v[~known]))
            for name, v in ranked.items()
        )
        if not known.all()
        else ()
    )
    return _HeldOut(scores, predicted, kept, float(nats / known.sum()), rejection, tuple(temperatures))


def _coverage(every: _Part, held: _HeldOut, kept: Flags, threshold: float | None) -> Coverage:
    mine = kept & every.known
    wrong = int((held.predicted != every.truth)[mine].sum())
    return Coverage(
        threshold, int(every.known.sum()), int(mine.sum()), wrong, int((kept & ~every.known).sum())
    )


def _at_risk(every: _Part, held: _HeldOut, risk: float) -> Coverage:
    """Return the most that can be kept with at most `risk` of it wrong; the threshold is None for nothing."""
    known = every.known
    wrong = held.predicted[known] != every.truth[known]
    threshold = least_threshold(held.scores[known], wrong, risk, None)
    if threshold is None:
        return Coverage(None, int(known.sum()), 0, 0)
    return _coverage(every, held, held.scores >= threshold, threshold)


def _classes(
    labels: Sequence[str], every: _Part, held: _HeldOut, thresholds: Sequence[Threshold]
) -> tuple[ClassCalibration, ...]:
    def one(index: int, label: str) -> ClassCalibration:
        called = held.predicted == index
        mine, wrong = called & every.known, called & every.known & (every.truth != index)
        return ClassCalibration(
            label,
            int((every.truth == index).sum()),
            int(mine.sum()),
            int(wrong.sum()),
            thresholds[index],
            int((mine & held.kept).sum()),
            int((wrong & held.kept).sum()),
            int((called & held.kept & ~every.known).sum()),
        )

    return tuple(one(index, label) for index, label in enumerate(labels))
