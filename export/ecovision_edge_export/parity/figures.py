"""Parity in figures: how near an exported model comes to PyTorch, and whether that is near enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.stats import mcnemar_p, wilson_interval
from ecovision_edge.errors import OptionError, ParityError
from ecovision_edge.photographs.turns import TurnReport
from ecovision_edge_export.parity.outcomes import Outcome, outcome_json

__all__ = [
    "Accuracy",
    "Budget",
    "Flip",
    "GateClosedError",
    "HalfParity",
    "Parity",
    "budget_for",
]


@dataclass(frozen=True, slots=True)
class Budget:
    """What an artifact may lose against PyTorch to be let through.

    Args:
        agreement: Least top-1 agreement, 0 to 1.
        max_drop: Most that accuracy may drop, in points of per cent; judged where there are labels.
        max_dlogit: Most that a logit may differ on the same input tensor; None where that is not judged.
        accuracy: Least accuracy on labelled photographs, 0 to 1; None where that is not judged.
    """

    agreement: float
    max_drop: float | None = None
    max_dlogit: float | None = None
    accuracy: float | None = None


def budget_for(
    precision: str, *, agree: float = 98.0, max_drop: float = 0.5, expect: float | None = None
) -> Budget:
    """Make the budget of an artifact; `agree` (per cent) and `max_drop` (points) for int8, `expect` for all.

    Raises:
        OptionError: `agree`, `max_drop` or `expect` (the least accuracy, per cent) outside 0 to 100.
    """
    for option, value in (("--agree", agree), ("--max-drop", max_drop), ("--expect-accuracy", expect or 0)):
        if not 0 <= value <= 100:
            raise OptionError(option, expected="0 to 100", found=value)
    accuracy = None if expect is None else expect / 100
    if precision == "fp32":
        return Budget(agreement=0.998, max_dlogit=1e-3, accuracy=accuracy)
    return Budget(agreement=agree / 100, max_drop=max_drop, accuracy=accuracy)


@dataclass(frozen=True, slots=True)
class Flip:
    """An image whose first class is not PyTorch's, with both classes and their probabilities."""

    image: str
    torch_label: str
    torch_score: float
    label: str
    score: float
    truth: str | None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Correct answers on labelled images, of PyTorch and of the artifact.

    `only_torch` and `only_artifact` count the images that just one of them got right; `p` is McNemar's.
    """

    images: int
    torch_correct: int
    artifact_correct: int
    only_torch: int
    only_artifact: int

    @property
    def p(self) -> float:
        """McNemar's exact two-sided p."""
        return mcnemar_p(self.only_torch, self.only_artifact)

    @property
    def drop_points(self) -> float:
        """PyTorch's accuracy less the artifact's, in points of per cent."""
        return 100 * (self.torch_correct - self.artifact_correct) / self.images


@dataclass(frozen=True, slots=True)
class HalfParity:
    """The same artifact, computed in fp16 where it computes in fp32.

    Args:
        how: By whose arithmetic that was measured.
        parity: Against PyTorch.
        moved: Largest difference of a logit from the artifact's own, on all images.
        gated: Whether its budget counts; else it is told alone.
    """

    how: str
    parity: Parity
    moved: float
    gated: bool

    @property
    def text(self) -> str:
        """Agreement, and how far logits move, in a few words."""
        agreement = f"{100 * self.parity.agreement:.2f} %"
        return f"{self.parity.artifact} on {agreement}, its logits within {self.moved:.2g} of its own"

    def to_json(self) -> dict[str, JsonValue]:
        """Return what a manifest says of it."""
        return {"how": self.how, "max_dlogit_by_fp16": _round(self.moved), **self.parity.summary()}


@dataclass(frozen=True, slots=True)
class Parity:
    """One artifact against PyTorch.

    Args:
        artifact: Its name.
        evidence: `photographs`, or `generated`, which is weak.
        images: Images compared.
        judged: Those that count for agreement (all photographs; generated ones where PyTorch is firm).
        agreed: Those of `judged` with the same first class.
        max_dp: Largest difference of any probability, over all images and classes.
        mean_dp: Mean over images of the largest difference of any probability.
        max_dlogit: Largest difference of a logit on identical input tensors, of `tensors` of the images.
        tensors: On how many images that was measured, evenly spread.
        flips: Every image with another first class.
        accuracy: Where all images have labels.
        budget: What it was judged by.
        torch_outcome: PyTorch's answers by class, where all images have labels.
        outcome: Likewise the artifact's.
        turns: The artifact's answers to the photographs turned, where that was measured.
        half: The same in fp16, where that was measured.
    """

    artifact: str
    evidence: Literal["photographs", "generated"]
    images: int
    judged: int
    agreed: int
    max_dp: float
    mean_dp: float
    max_dlogit: float
    tensors: int
    flips: tuple[Flip, ...]
    accuracy: Accuracy | None
    budget: Budget
    torch_outcome: Outcome | None = None
    outcome: Outcome | None = None
    turns: TurnReport | None = None
    half: HalfParity | None = None

    @property
    def agreement(self) -> float:
        """Top-1 agreement, 0 to 1; 0 where no image could be judged."""
        return self.agreed / self.judged if self.judged else 0.0

    def failures(self) -> tuple[str, ...]:
        """Return each part of the budget that is not met, as `expected ..., found ...`."""
        wrong = []
        b = self.budget
        if self.judged == 0:
            return ("agreement: PyTorch is firm on no synthetic frame, so nothing is proved; give --val",)
        if not self.agreement >= b.agreement:
            wrong.append(
                f"agreement: expected >= {100 * b.agreement:g} %, found {100 * self.agreement:.2f} % "
                f"({self.judged - self.agreed} of {self.judged} flipped)"
            )
        if (
            b.max_drop is not None
            and self.accuracy is not None
            and not self.accuracy.drop_points <= b.max_drop
        ):
            wrong.append(
                f"accuracy drop: expected <= {b.max_drop:g} points, found {self.accuracy.drop_points:.2f} "
                f"({self.accuracy.torch_correct - self.accuracy.artifact_correct} of {self.accuracy.images})"
            )
        if b.accuracy is not None and self.accuracy is not None:
            right, images = self.accuracy.artifact_correct, self.accuracy.images
            if not right >= b.accuracy * images:
                wrong.append(
                    f"accuracy: expected >= {100 * b.accuracy:g} %, found {100 * right / images:.2f} % "
                    f"({right} of {images})"
                )
        if b.max_dlogit is not None and not self.max_dlogit <= b.max_dlogit:
            wrong.append(
                f"max |dlogit| on identical inputs: expected <= {b.max_dlogit:g}, found {self.max_dlogit:.2g}"
            )
        if self.half is not None and self.half.gated:
            wrong += [f"in fp16, {failure}" for failure in self.half.parity.failures()]
        return tuple(wrong)

    @property
    def ok(self) -> bool:
        """Whether the whole budget is met."""
        return not self.failures()

    def to_json(self) -> dict[str, JsonValue]:
        """Return all figures as JSON values, rounded to what they mean; every flip by name."""
        return {**self.summary(), "flips": [_flip_json(f) for f in self.flips]}

    def summary(self) -> dict[str, JsonValue]:
        """Return the figures without the flips: what goes into a manifest."""
        result: dict[str, JsonValue] = {
            "ok": self.ok,
            "evidence": self.evidence,
            "images": self.images,
            "judged": self.judged,
            "agreed": self.agreed,
            "agreement": round(self.agreement, 6),
            "max_dp": _round(self.max_dp),
            "mean_dp": _round(self.mean_dp),
            "max_dlogit_same_input": _round(self.max_dlogit),
            "same_inputs": self.tensors,
            "budget": {
                "agreement": self.budget.agreement,
                "max_drop_points": self.budget.max_drop,
                "max_dlogit_same_input": self.budget.max_dlogit,
                **({"accuracy": self.budget.accuracy} if self.budget.accuracy is not None else {}),
            },
        }
        if self.accuracy is not None:
            a = self.accuracy
            more: dict[str, JsonValue] = {}
            if self.torch_outcome is not None and self.outcome is not None:
                more = outcome_json(self.torch_outcome, self.outcome)
            result["accuracy"] = {
                "images": a.images,
                "torch": _share(a.torch_correct, a.images),
                "artifact": _share(a.artifact_correct, a.images),
                "only_torch_correct": a.only_torch,
                "only_artifact_correct": a.only_artifact,
                "drop_points": round(a.drop_points, 4),
                "mcnemar_p": _round(a.p),
                **more,
            }
        if self.turns is not None:
            result["turns"] = self.turns.to_json()
        if self.half is not None:
            result["fp16"] = self.half.to_json()
        return result


class GateClosedError(ParityError):
    """Parity failed; `parity` has every figure and every flip."""

    def __init__(
        self,
        problem: str,
        parity: tuple[Parity, ...],
        transcript: Mapping[str, JsonValue],
        *,
        expected: str | None = None,
        found: str,
        fix: str,
    ) -> None:
        super().__init__(problem, expected=expected, found=found, fix=fix)
        self.parity = parity
        self.transcript = transcript

    def to_json(self) -> dict[str, JsonValue]:
        """Return every figure and flip, and the stages and warnings so far."""
        return {"parity": {p.artifact: p.to_json() for p in self.parity}, **self.transcript}


def _share(correct: int, images: int) -> dict[str, JsonValue]:
    low, high = wilson_interval(correct, images)
    return {
        "correct": correct,
        "accuracy": round(correct / images, 6),
        "wilson95": [round(low, 6), round(high, 6)],
    }


def _flip_json(flip: Flip) -> dict[str, JsonValue]:
    return {
        "image": flip.image,
        "torch": flip.torch_label,
        "torch_score": round(flip.torch_score, 6),
        "label": flip.label,
        "score": round(flip.score, 6),
        "truth": flip.truth,
    }


def _round(value: float) -> float:
    """Four significant digits: what is beyond differs between runs on different machines."""
    return float(f"{value:.4g}")
