"""What the frames of an item say together: its class, its bin, and whether that is sure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ecovision_edge.bundle.views import PLAIN, RegionView, ViewPlan
from ecovision_edge.decision.evidence import Evidence
from ecovision_edge.decision.options import DeciderOptions
from ecovision_edge.errors import OptionError

__all__ = ["EveryLabel", "Judge", "Sorting", "Verdict"]


class Sorting(Protocol):
    """What is asked of `ecovision_edge.rules.Rules`: where things go, and what a mistake costs."""

    @property
    def default(self) -> str:
        """The fail-safe bin, where what is unknown goes."""

    @property
    def unknown_cost(self) -> float:
        """The cost of sending something there as unknown."""

    def expected_costs(self, probabilities: Sequence[float], labels: Sequence[str]) -> Mapping[str, float]:
        """Return the expected cost of each bin for something of these probabilities."""


class EveryLabel:
    """Without rules every label is a bin of its own, and a mistake costs three times a refusal."""

    default = "unknown"
    unknown_cost = 1 / 3

    def expected_costs(self, probabilities: Sequence[float], labels: Sequence[str]) -> Mapping[str, float]:
        """Return the cost of each label's bin: the probability that it is another one."""
        return {label: 1 - p for label, p in zip(labels, probabilities, strict=True)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the frames so far say.

    Args:
        label: The likeliest class.
        probability: Its probability after all frames, 0 to 1.
        margin: That less the second one's, 0 to 1.
        bin: The one of least expected cost.
        cost: That cost.
        refusal: Why it is not decided yet, in one line; None if it is sure.
    """

    label: str
    probability: float
    margin: float
    bin: str
    cost: float
    refusal: str | None


class Judge:
    """Weighs the evidence; knows the labels, the rules, and when something is sure.

    Args:
        labels: The classes, in the order of the probabilities.
        rules: Where things go, and what a mistake costs.
        options: When a decision is made.
        thresholds: The least probability a class, 0 to 1, of a typical frame; None is 0 for each.
        views: Those that frames are looked at in, and what they are worth together; its thresholds are of
            that, and take the place of the others. None: all frames are looked at as they are.
    """

    def __init__(
        self,
        labels: Sequence[str],
        rules: Sorting,
        options: DeciderOptions,
        thresholds: Sequence[float] | None,
        views: ViewPlan | None = None,
    ) -> None:
        """Raises OptionError if there is not one threshold per label, from 0 to 1."""
        self._labels, self._rules, self._options = tuple(labels), rules, options
        self._views: tuple[RegionView, ...] = (PLAIN,) if views is None else views.views
        self._correlation = options.correlation if views is None else views.correlation
        together = None if views is None else views.thresholds
        self._of_all = together is not None
        self._thresholds = _checked(thresholds if together is None else together, len(self._labels))

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes."""
        return self._labels

    @property
    def default(self) -> str:
        """The fail-safe bin."""
        return self._rules.default

    def evidence(self) -> Evidence:
        """For a new item: none yet."""
        return Evidence(len(self._labels), self._correlation)

    def view(self, frames: int) -> RegionView:
        """In which an item is to be looked at after so many frames: one after the other, again and again."""
        return self._views[frames % len(self._views)]

    def number(self, view: RegionView) -> int:
        """Return the number of a view for `Evidence.add`; one that is not planned counts as plain."""
        return self._views.index(view) if view in self._views else 0

    def verdict(self, evidence: Evidence) -> Verdict:
        """What these frames say."""
        posterior = evidence.posterior()
        label = max(range(len(posterior)), key=posterior.__getitem__)
        first, second = sorted(posterior, reverse=True)[:2]
        costs = self._rules.expected_costs(posterior, self._labels)
        best = min(costs, key=lambda bin: math.inf if math.isnan(costs[bin]) else costs[bin])
        refusal = self._refusal(evidence, label, first, best, costs[best])
        return Verdict(self._labels[label], first, first - second, best, costs[best], refusal)

    def _refusal(
        self, evidence: Evidence, label: int, probability: float, bin: str, cost: float
    ) -> str | None:
        options, name = self._options, self._labels[label]
        if evidence.frames < options.min_frames:
            return f"{evidence.frames} of {options.min_frames} frames"
        if (share := evidence.agreement(label, 2 * options.min_frames)) < options.agree:
            return f"{name} in {share:.0%} of the last frames, {options.agree:.0%} are needed"
        says = probability if self._of_all else evidence.typical()[label]
        if says < self._thresholds[label]:
            return f"{name} at {says:.2f}, {self._thresholds[label]:.2f} is its threshold"
        if probability < 1 - options.error:
            return f"{name} at {probability:.2f}; {1 - options.error:.2f} is sure"
        if not cost <= self._rules.unknown_cost:  # NaN, of a `Sorting` of one's own, is no low cost
            return f"{name} costs {cost:.2f} in {bin}, {self._rules.unknown_cost:.2f} as unknown"
        return None


def _checked(thresholds: Sequence[float] | None, labels: int) -> tuple[float, ...]:
    """Return one threshold per label; raises OptionError if those given are something else."""
    if thresholds is None:
        return (0.0,) * labels
    if len(thresholds) != labels:
        raise OptionError("thresholds", expected=f"{labels}, one per label", found=len(thresholds))
    if wrong := [t for t in thresholds if not 0 <= t <= 1]:
        raise OptionError("thresholds", expected="numbers from 0 to 1", found=repr(wrong[0]))
    return tuple(thresholds)
