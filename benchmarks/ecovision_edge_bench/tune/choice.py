"""Which configuration to take: pure functions on what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ecovision_edge.base.fields import JsonValue
from ecovision_edge_bench.measure.agreement import Agreement
from ecovision_edge_bench.measure.percentiles import percentile
from ecovision_edge_bench.measure.ratios import Ratio, paired_ratio, round_medians
from ecovision_edge_bench.measure.schedule import Samples
from ecovision_edge_bench.subjects import Spec

__all__ = [
    "FINALISTS",
    "MAX_BUSY",
    "Candidate",
    "Choice",
    "agreement_fault",
    "choose",
    "finalists",
    "set_ratio",
    "unless_busy",
]

FINALISTS = 3
"""So many are measured against the base once more before one may replace it. The fastest of many looks
faster than it is, by chance; so the choice is made by figures that had no part in the selection."""

MAX_BUSY = 0.5
"""Cores that other programs may keep busy. An inference waits for the slowest of its threads, so half a core
less holds up several threads and not one: on two cores of which others kept 1.3, one thread was found faster
than two, which it is not on an idle device (see `BackendOptions`)."""


@dataclass(slots=True, eq=False)
class Candidate:
    """One configuration, and what was found of it.

    Args:
        spec: What it is.
        agreement: Of its artifact with the reference; None where that was not measured.
        golden: What the golden vectors said; empty where they were not run.
        fault: Why it cannot be chosen; None where it can.
        out_of_time: Whether the fault is that the budget was over.
        samples: Of its last measurement.
        ratio: Of its time to that of the base, in that measurement.
        final: Whether that was the final.
    """

    spec: Spec
    agreement: Agreement | None = None
    golden: str = ""
    fault: str | None = None
    out_of_time: bool = False
    samples: Samples = field(default_factory=Samples)
    ratio: Ratio | None = None
    final: bool = False

    @property
    def key(self) -> str:
        """Its name: `int8-onnx 2t`."""
        return self.spec.key

    @property
    def kept(self) -> bool:
        """Whether it was measured, and may be chosen."""
        return self.fault is None and len(self.samples) > 0

    @property
    def told_apart(self) -> bool:
        """Whether there are rounds enough to say how its speed lies to the base's."""
        return self.ratio is not None and self.ratio.high is not None

    @property
    def surely_faster(self) -> bool:
        """Whether it was in the final, and the whole 95 % interval of its ratio to the base lies below 1."""
        high = None if self.ratio is None else self.ratio.high
        return self.final and high is not None and high < 1

    @property
    def median_ms(self) -> float | None:
        """Median end to end, milliseconds; None without samples."""
        return percentile(self.samples.total_ms, 50) if len(self.samples) else None

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "artifact": self.spec.artifact,
            "precision": self.spec.precision,
            "fp16": self.spec.fp16,
            "size": self.spec.size,
            "threads": self.spec.threads,
            "spinning": self.spec.spinning,
            "median_ms": self.median_ms,
            "samples": len(self.samples),
            "rounds": len(set(self.samples.round)),
            "ratio": None if self.ratio is None else self.ratio.to_json(),
            "final": self.final,
            "agreement": None if self.agreement is None else self.agreement.to_json(),
            "golden": self.golden or None,
            "kept": self.kept,
            "fault": self.fault,
            "out_of_time": self.out_of_time,
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """The configuration that is taken, None where none can be; why; and whether that was decided at all.

    It was not where there were others and nothing could be said of how fast they are: then no profile is
    saved, and one that is there stays; `fix` is what to do about it.
    """

    candidate: Candidate | None
    why: str
    decided: bool
    fix: str = "give a larger --budget"


def agreement_fault(agreement: Agreement, *, default: bool) -> str | None:
    """Return what speaks against an artifact's answers; None where nothing does.

    An artifact has to reach its budget. That of the default configuration goes on unless it surely misses it
    (the upper end of the 95 % interval is below): neither is left, nor taken, by the chance of a few images.
    """
    if agreement.judged == 0:
        return None if default else "agreement: no image on which the reference is firm; give --images"
    missed = agreement.wrong if default else agreement.agreed < agreement.budget * agreement.judged - 1e-9
    if not missed:
        return None
    return f"agreement {agreement.agreed} of {agreement.judged}, expected {100 * agreement.budget:g} %"


def set_ratio(candidate: Candidate, base: Samples, seed: int) -> None:
    """Compare its samples with the base's of the same measurement, round by round."""
    own = candidate.samples
    if not len(own) or not len(base):
        return
    a = round_medians(own.total_ms, own.round)
    b = round_medians(base.total_ms, base.round)
    candidate.ratio = paired_ratio(a, b, seed) if a.keys() & b.keys() else None


def finalists(candidates: Sequence[Candidate], base: Candidate) -> list[Candidate]:
    """Select those that looked faster than the base, at most `FINALISTS`, the fastest first."""
    faster = [
        (c.ratio.value, i, c)
        for i, c in enumerate(candidates)
        if c is not base and c.kept and c.ratio is not None and c.ratio.value < 1
    ]
    return [c for _, _, c in sorted(faster, key=lambda x: x[:2])[:FINALISTS]]


def choose(candidates: Sequence[Candidate], base: Candidate | None) -> Choice:
    """Return the fastest by median of those that are surely faster than the base, else the base."""
    if base is None:
        return Choice(None, "no configuration answers as it should", decided=False)
    if not base.kept:
        why = base.fault or "no time was left"
        return Choice(None, f"{base.key}, that the others are compared with, was not measured: {why}", False)
    others = [c for c in candidates if c is not base]
    rivals = [c for c in others if c.kept]
    if sure := [c for c in rivals if c.surely_faster]:
        best = min(sure, key=lambda c: c.median_ms or 0.0)
        return Choice(best, f"surely faster than {base.key}: ratio {best.ratio}", decided=True)
    if not rivals:
        late = any(c.out_of_time for c in others)
        why = "no other could be measured in the budget" if late else "no other configuration is kept"
        return Choice(base, why, decided=not late)
    if finalists(candidates, base) and not any(c.final for c in rivals):
        return Choice(base, "others looked faster, and no time was left to make sure", decided=False)
    if not any(c.told_apart for c in rivals):
        return Choice(base, "too few rounds to tell it from the others", decided=False)
    return Choice(base, "no other is surely faster", decided=True)


def unless_busy(choice: Choice, busy: float | None) -> Choice:
    """Make the choice, undecided where other programs kept more than `MAX_BUSY` cores meanwhile."""
    if choice.candidate is None or not choice.decided or busy is None or busy <= MAX_BUSY:
        return choice
    why = (
        f"{choice.candidate.key} was best, but other programs kept {busy:.2f} cores, expected <= {MAX_BUSY:g}"
    )
    return Choice(choice.candidate, why, decided=False, fix="stop them, or give --anyway")
