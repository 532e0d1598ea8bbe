"""What calibration is asked for, and what it says."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.bundle.views import RegionView, ViewPlan
from ecovision_edge.calibration.fit import Threshold
from ecovision_edge.calibration.rejection import RejectionFigures
from ecovision_edge.errors import OptionError

__all__ = [
    "Calibration",
    "CalibrationOptions",
    "ClassCalibration",
    "Combination",
    "Coverage",
    "ViewsCalibration",
]


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """How to calibrate.

    Args:
        max_error: The error rate that a class may have at or above its threshold, above 0 and below 1.
        confidence: Confidence of the proof, 0.5 to below 1.
        folds: Parts of the photographs, each judged by what the others set; 2 to 20.
        risks: Error rates for which the coverage is asked, 0 to 1.
    """

    max_error: float = 0.05
    confidence: float = 0.95
    folds: int = 5
    risks: tuple[float, ...] = (0.05,)

    def __post_init__(self) -> None:
        if not 0 < self.max_error < 1:
            raise OptionError("max_error", expected="above 0 and below 1", found=self.max_error)
        if not 0.5 <= self.confidence < 1:
            raise OptionError("confidence", expected="0.5 to below 1", found=self.confidence)
        if not 2 <= self.folds <= 20:
            raise OptionError("folds", expected="2 to 20", found=self.folds)
        for risk in self.risks:
            if not 0 <= risk <= 1:
                raise OptionError("coverage_risk", expected="0 to 1", found=risk)

    @property
    def least(self) -> int:
        """Photographs needed: all but a fold of them, if none is wrong, have to prove the error rate."""
        proof = math.log(1 - self.confidence) / math.log1p(-self.max_error)
        return max(math.ceil(proof) * self.folds // (self.folds - 1) + 1, 2 * self.folds)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is decided, and how often wrongly, where unsure predictions are no decision.

    Args:
        threshold: The least probability; None where each class has its own, or where none is kept.
        photographs: All of them.
        kept: How many of these are at or above the threshold.
        wrong: How many of the kept were called something else.
        unknown_kept: Photographs of no class at or above it.
    """

    threshold: float | None
    photographs: int
    kept: int
    wrong: int
    unknown_kept: int = 0

    @property
    def coverage(self) -> float:
        """Share of the photographs that is kept, 0 to 1."""
        return self.kept / self.photographs

    @property
    def risk(self) -> float | None:
        """Share of the kept that is wrong, 0 to 1; None where none is kept."""
        return self.wrong / self.kept if self.kept else None

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "threshold": self.threshold,
            "coverage": self.coverage,
            "risk": self.risk,
            "kept": self.kept,
            "wrong": self.wrong,
            "unknown_kept": self.unknown_kept,
        }


@dataclass(frozen=True, slots=True)
class ClassCalibration:
    """One class.

    Args:
        label: Its name.
        photographs: How many photographs show it.
        predicted: Photographs of whatever class that were called it.
        wrong: How many of these show something else.
        threshold: Fitted to all photographs.
        kept: Held out: of the predicted, those at or above the threshold that the other folds set.
        wrong_kept: Held out: of the kept, those that show something else.
        unknown_kept: Held out: photographs of no class that were called it, at or above it.
    """

    label: str
    photographs: int
    predicted: int
    wrong: int
    threshold: Threshold
    kept: int
    wrong_kept: int
    unknown_kept: int

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "label": self.label,
            "photographs": self.photographs,
            "predicted": self.predicted,
            "wrong": self.wrong,
            "threshold": self.threshold.value,
            "basis": self.threshold.basis,
            "held_out": {
                "kept": self.kept,
                "wrong": self.wrong_kept,
                "unknown_kept": self.unknown_kept,
            },
        }


@dataclass(frozen=True, slots=True)
class Combination:
    """What the first views of a plan say together, held out.

    Args:
        last: The last one of them.
        correlation: Correlation of that view with those before it, fitted to all photographs.
        effective: How many independent views they are worth, likewise.
        correct: Photographs of the classes that they call what they are.
        ece: Expected calibration error, 0 to 1.
        nll: Mean negative log-likelihood, nats.
        at_risk: For each risk asked for, the largest share of the photographs that has it.
    """

    last: RegionView
    correlation: float
    effective: float
    correct: int
    ece: float
    nll: float
    at_risk: tuple[tuple[float, float], ...]

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "last": str(self.last),
            "correlation": self.correlation,
            "effective": self.effective,
            "correct": self.correct,
            "ece": self.ece,
            "nll": self.nll,
            "coverage_at_risk": [{"asked": risk, "coverage": share} for risk, share in self.at_risk],
        }


@dataclass(frozen=True, slots=True)
class ViewsCalibration:
    """Several views of each photograph.

    Args:
        plan: Plan to write into the contract.
        thresholds: Its thresholds, and what set them.
        combinations: Figures of the first view, of the first two, and so on.
        photographs: How many photographs of the classes there are.
        kept: Held out: photographs of the classes at or above the thresholds, by all views together.
        wrong_kept: Held out: of these, those that are called something else.
        unknown_kept: Held out: photographs of no class at or above them.
    """

    plan: ViewPlan
    thresholds: tuple[Threshold, ...]
    combinations: tuple[Combination, ...]
    photographs: int
    kept: int
    wrong_kept: int
    unknown_kept: int

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "plan": self.plan.to_json(),
            "basis": [t.basis for t in self.thresholds],
            "combinations": [c.to_json() for c in self.combinations],
            "held_out": {
                "kept": self.kept,
                "wrong": self.wrong_kept,
                "unknown_kept": self.unknown_kept,
            },
        }


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted to all photographs, and what such a fit was worth on those that it had not seen.

    Args:
        temperature: Temperature to write into the contract.
        fitted: Whether it was fitted; else it is the one that was there (see `fit_temperature`).
        options: How it was done.
        photographs: How many photographs of the classes there are.
        unknown: Photographs of no class.
        correct: Photographs that were called what they are.
        ece_before: Expected calibration error with the temperature that was there, 0 to 1.
        ece_after: The same with the fitted one, held out.
        nll_before: Mean negative log-likelihood, nats.
        nll_after: The same with the fitted one, held out.
        classes: In the order of the labels.
        curve: Held out, for one threshold for all classes, 0.5 to 0.95.
        fitted_coverage: Held out, for the fitted thresholds.
        at_risk: For each risk asked for, the largest coverage that has it, held-out probabilities; the
            threshold that gives it is chosen on these same photographs.
        rejection: Figures of each score, held out; empty without photographs of no class.
        views: What several views of each photograph say together; None where there was one.
    """

    temperature: float
    fitted: bool
    options: CalibrationOptions
    photographs: int
    unknown: int
    correct: int
    ece_before: float
    ece_after: float
    nll_before: float
    nll_after: float
    classes: tuple[ClassCalibration, ...]
    curve: tuple[Coverage, ...]
    fitted_coverage: Coverage
    at_risk: tuple[tuple[float, Coverage], ...]
    rejection: tuple[RejectionFigures, ...]
    views: ViewsCalibration | None = None

    @property
    def thresholds(self) -> tuple[float, ...]:
        """To write into the contract."""
        return tuple(c.threshold.value for c in self.classes)

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "temperature": self.temperature,
            "temperature_fitted": self.fitted,
            "max_error": self.options.max_error,
            "confidence": self.options.confidence,
            "folds": self.options.folds,
            "photographs": self.photographs,
            "unknown": self.unknown,
            "correct": self.correct,
            "before": {"ece": self.ece_before, "nll": self.nll_before},
            "held_out": {"ece": self.ece_after, "nll": self.nll_after},
            "classes": [c.to_json() for c in self.classes],
            "curve": [c.to_json() for c in self.curve],
            "fitted_thresholds": self.fitted_coverage.to_json(),
            "coverage_at_risk": [{"asked": risk, **c.to_json()} for risk, c in self.at_risk],
            "rejection": [{"score": r.score, "auroc": r.auroc, "fpr_at_95": r.fpr} for r in self.rejection],
            "views": None if self.views is None else self.views.to_json(),
        }
