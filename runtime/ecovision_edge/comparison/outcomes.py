"""What two classifiers say of the same photographs, counted: pure, by the names of the classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ecovision_edge.base.stats import wilson_interval
from ecovision_edge.comparison.mcnemar import drop_interval, mcnemar

__all__ = ["Counts", "Decided", "Failure", "LabelledComparison", "Outcome", "count_outcomes"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What both say of one photograph: labels, by name.

    Args:
        name: The file's path below the folder of the photographs.
        truth: What it is.
        old: What the old one says.
        new: What the new one says.
        old_sure: Whether it is sure enough by its own thresholds, as a bin that sees one frame has to be.
        new_sure: Whether the new one is.
    """

    name: str
    truth: str
    old: str
    new: str
    old_sure: bool = True
    new_sure: bool = True

    @property
    def worse(self) -> bool:
        """Whether the old one is right and the new one is wrong."""
        return self.old == self.truth != self.new

    @property
    def better(self) -> bool:
        """Whether the old one is wrong and the new one is right."""
        return self.new == self.truth != self.old


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that could not be compared, and why, in one line."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decided:
    """What a model decides by its own thresholds, which photographs are not unknown to it.

    Args:
        count: How many.
        wrong: How many of them it calls something else than what they are.
    """

    count: int
    wrong: int

    @property
    def error(self) -> float:
        """Share of `wrong`, 0 to 1; 0 where nothing is decided."""
        return self.wrong / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class Counts:
    """Photographs of one class, or of all, and how both did on them.

    Args:
        photographs: How many.
        old_right: How many of them the old one calls what they are.
        new_right: How many the new one does.
        worse: How many were right and are wrong.
        better: How many were wrong and are right.
    """

    photographs: int
    old_right: int
    new_right: int
    worse: int
    better: int

    @property
    def p(self) -> float:
        """McNemar's exact two-sided p, 0 to 1: small where both hardly do equally well."""
        return mcnemar(self.worse, self.better)

    @property
    def p_worse(self) -> float:
        """McNemar's exact one-sided p, 0 to 1: small where the new one is worse."""
        return mcnemar(self.worse, self.better, one_sided=True)

    @property
    def old_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the old one's accuracy."""
        return wilson_interval(self.old_right, self.photographs)

    @property
    def new_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the new one's accuracy."""
        return wilson_interval(self.new_right, self.photographs)

    @property
    def drop(self) -> float:
        """Accuracy lost, -1 to 1: below 0 the new one is better; 0 without photographs."""
        return (self.worse - self.better) / self.photographs if self.photographs else 0.0

    @property
    def drop_interval(self) -> tuple[float, float]:
        """Tango's 95 % interval of `drop`."""
        return drop_interval(self.worse, self.better, self.photographs)

    def at_most(self, margin: float) -> bool:
        """Whether it is proved that no more than `margin` of accuracy, 0 to 1, is lost.

        That is so where the upper end of `drop_interval` is no more: few photographs prove little.
        """
        return self.photographs > 0 and self.drop_interval[1] <= margin


@dataclass(frozen=True, slots=True)
class LabelledComparison:
    """Both on labelled photographs.

    Args:
        outcomes: What both say, photograph by photograph.
        failures: Photographs that could not be looked at; they count nowhere else.
        classes: Counts by class, in the old one's order, then the classes that only the new one knows.
        total: Counts over the classes that the old one knows: what worked has to go on working. A class that
            the new one lacks is among them, and always wrong.
        added: Counts over the classes that only the new one knows; the old one is always wrong.
        old_decided: Of the photographs in `total`, those that the old one decides by its thresholds.
        new_decided: Those that the new one does.
    """

    outcomes: tuple[Outcome, ...]
    failures: tuple[Failure, ...]
    classes: Mapping[str, Counts]
    total: Counts
    added: Counts
    old_decided: Decided
    new_decided: Decided


def count_outcomes(
    outcomes: Sequence[Outcome], old_labels: Sequence[str], failures: Sequence[Failure] = ()
) -> LabelledComparison:
    """Count by class and over all.

    Args:
        outcomes: What both said.
        old_labels: The classes that the old one knows.
        failures: What could not be looked at.
    """
    known = dict.fromkeys(old_labels)
    names = [*known, *sorted({o.truth for o in outcomes} - known.keys())]
    old_ones = [o for o in outcomes if o.truth in known]
    by_class = {name: _counts(o for o in outcomes if o.truth == name) for name in names}
    return LabelledComparison(
        outcomes=tuple(outcomes),
        failures=tuple(failures),
        classes={name: counts for name, counts in by_class.items() if counts.photographs},
        total=_counts(old_ones),
        added=_counts(o for o in outcomes if o.truth not in known),
        old_decided=_decided([o.old == o.truth for o in old_ones if o.old_sure]),
        new_decided=_decided([o.new == o.truth for o in old_ones if o.new_sure]),
    )


def _decided(right: Sequence[bool]) -> Decided:
    return Decided(len(right), right.count(False))


def _counts(outcomes: Iterable[Outcome]) -> Counts:
    every = list(outcomes)
    return Counts(
        photographs=len(every),
        old_right=sum(o.old == o.truth for o in every),
        new_right=sum(o.new == o.truth for o in every),
        worse=sum(o.worse for o in every),
        better=sum(o.better for o in every),
    )
