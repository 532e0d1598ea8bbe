"""All that a comparison found, and whether it is good enough."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.classifier import Classifier
from ecovision_edge.comparison.answers import FrameComparison
from ecovision_edge.comparison.contracts import (
    ContractDifference,
    LabelChanges,
    contract_differences,
    label_changes,
)
from ecovision_edge.comparison.latency import Latency
from ecovision_edge.comparison.mcnemar import photographs_needed
from ecovision_edge.comparison.outcomes import LabelledComparison

__all__ = ["ComparisonReport", "Side", "Verdict", "compare_models"]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two models.

    Args:
        source: What the user named.
        identity: Which bundle it is; None for a lone model file.
        artifact: Of the bundle, or the file's name.
        engine: Name and version.
        threads: For one inference.
        bytes: Size of the model file; None for a lone one.
    """

    source: Path
    identity: BundleIdentity | None
    artifact: str
    engine: str
    threads: int
    bytes: int | None

    @classmethod
    def of(cls, classifier: Classifier, source: Path) -> Side:
        """Describe a classifier that was loaded from `source`."""
        bundle = classifier.bundle
        return cls(
            source,
            classifier.identity,
            classifier.artifact,
            classifier.backend.engine,
            classifier.backend.threads,
            None if bundle is None else bundle.artifact(classifier.artifact).file.bytes,
        )

    @property
    def name(self) -> str:
        """What it is called: bundle and artifact, or the file."""
        return self.artifact if self.identity is None else f"{self.identity}, {self.artifact}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the new model may take the old one's place, by what was asked; `reason` is one sentence."""

    ok: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """All that was found.

    Args:
        old: The model in use.
        new: The one that may take its place.
        labels: How their labels differ.
        contract: What else of their contracts does.
        labelled: Both on labelled photographs; None where none were given.
        data: The folder of these.
        frames: Both on frames that nobody labelled; None where none were given.
        recorded: The folder of these.
        latency: Both on this machine; None where it was not asked for.
        margin: Accuracy that the new model may lose at most, 0 to 1; None asks nothing.
    """

    old: Side
    new: Side
    labels: LabelChanges
    contract: tuple[ContractDifference, ...]
    labelled: LabelledComparison | None = None
    data: Path | None = None
    frames: FrameComparison | None = None
    recorded: Path | None = None
    latency: Latency | None = None
    margin: float | None = None

    @property
    def failures(self) -> int:
        """How many pictures could not be looked at."""
        return sum(len(found.failures) for found in (self.labelled, self.frames) if found is not None)

    @property
    def verdict(self) -> Verdict | None:
        """What `margin` decides; None where it asks nothing.

        The new model passes if the upper end of the 95 % interval of the drop is at most the margin: it is
        then proved to be no worse than that. What a few photographs leave open does not pass.
        """
        if self.margin is None or self.labelled is None:
            return None
        total, margin = self.labelled.total, self.margin
        if total.photographs == 0:
            return Verdict(False, "not one photograph of a class that the old model knows was compared")
        low, high = total.drop_interval
        allowed = f"{_points(margin)} were allowed"
        if total.at_most(margin):
            lost = f"at most {_points(high)} of the accuracy are" if high > 0 else "no accuracy is"
            return Verdict(True, f"{lost} lost (95 % confidence); {allowed}")
        if low > margin:
            return Verdict(False, f"at least {_points(low)} of the accuracy are lost; {allowed}")
        reason = f"as much as {_points(high)} of the accuracy may be lost; {allowed}"
        if margin > 0 and total.photographs < (needed := photographs_needed(margin)):
            reason += (
                f": {total.photographs} photographs cannot prove it, at least {needed} could, "
                "if both models never differed on them"
            )
        return Verdict(False, reason)


def compare_models(old: Classifier, new: Classifier, old_source: Path, new_source: Path) -> ComparisonReport:
    """Compare what two models say of themselves; what pictures show is added by `dataclasses.replace`."""
    return ComparisonReport(
        Side.of(old, old_source),
        Side.of(new, new_source),
        label_changes(old.labels, new.labels),
        contract_differences(old.contract, new.contract),
    )


def _points(share: float) -> str:
    """Write a share of 0 to 1 as percentage points."""
    return f"{100 * share:.2f} points"
