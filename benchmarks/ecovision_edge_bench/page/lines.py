"""The rows in the order of the page, with the figures that tables and plots share, each computed once."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.stats import wilson_interval
from ecovision_edge_bench.measure.percentiles import percentile
from ecovision_edge_bench.measure.ratios import Ratio, paired_ratio
from ecovision_edge_bench.measure.result import STAGES, Result, Row, Summary
from ecovision_edge_bench.page.markup import Html, join, span, tag

__all__ = ["Line", "Share", "lines_of", "seed_of", "share_of"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Share:
    """`part` of `whole` with Wilson's 95 % interval, all 0 to 1."""

    part: int
    whole: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """0 to 1."""
        return self.part / self.whole


@dataclass(frozen=True, slots=True)
class Line:
    """One row.

    Args:
        number: On this page, from 1; tables and plots name the row by it.
        row: The row.
        is_base: Whether ratios are against it.
        total: Milliseconds end to end of each frame; may be empty.
        summaries: Of each stage, by name; empty without samples.
        medians: p50 of each stage, milliseconds, by name; empty without samples.
        ratio: Against the base.
        rounds: Median end to end of each round, milliseconds.
    """

    number: int
    row: Row
    is_base: bool
    total: Floats
    summaries: dict[str, Summary]
    medians: dict[str, float]
    ratio: Ratio | None
    rounds: dict[int, float]

    @property
    def anchor(self) -> str:
        """Where the table has it."""
        return f"row-{self.number}"

    @property
    def wrong(self) -> bool:
        """Whether its answers are surely not PyTorch's."""
        return self.row.agreement is not None and self.row.agreement.wrong

    @property
    def agreed(self) -> Share | None:
        """With PyTorch; None where nothing was judged."""
        a = self.row.agreement
        return share_of(a.agreed, a.judged) if a is not None and a.judged else None

    @property
    def correct(self) -> Share | None:
        """Accuracy; None without labels."""
        a = self.row.agreement
        return share_of(a.correct, a.labelled) if a is not None and a.labelled else None

    @property
    def marks(self) -> Html:
        """What is wrong with it, in a word each."""
        row = self.row
        failed = row.samples.error is not None or not len(self.total)
        return join(
            span(f"mark {kind}", word)
            for kind, word, holds in (
                ("bad", "FAILED", failed),
                ("bad", "WRONG", self.wrong),
                ("doubt", "INVALID", not row.valid and not failed),
                ("base", "base", self.is_base),
            )
            if holds
        )

    @property
    def who(self) -> Html:
        """Its number, a link into the table, its key, its marks."""
        number = tag("a", {"class": "no", "href": f"#{self.anchor}"}, str(self.number))
        return join([number, span("key", self.row.key), self.marks], " ")

    def cold(self, name: str) -> float | None:
        """Median over cold starts of `import_ms`, `create_ms` or `first_ms`; None where none was measured."""
        values: Sequence[float] = [getattr(c, name) for c in self.row.cold]
        return statistics.median(values) if values else None

    def memory(self, name: str) -> int | None:
        """Largest over cold starts of `peak_bytes` or `before_bytes`; None where the kernel did not say."""
        values = [v for c in self.row.cold if (v := getattr(c, name)) is not None]
        return max(values) if values else None

    def typical(self, seed: int) -> Ratio | None:
        """Median over rounds of the rounds' medians, milliseconds, with its interval."""
        # A ratio to a base that takes 1 ms in every round: the same bootstrap as for ratios.
        return paired_ratio(self.rounds, dict.fromkeys(self.rounds, 1.0), seed) if self.rounds else None


def lines_of(result: Result) -> list[Line]:
    """Return all rows: fastest first, those without samples last."""
    rows = sorted(result.rows, key=_pace)
    return [_line(result, row, number) for number, row in enumerate(rows, 1)]


def seed_of(result: Result) -> int:
    """Return the seed of the bootstrap."""
    seed = result.settings.get("seed")
    return seed if isinstance(seed, int) else 0


def share_of(part: int, whole: int) -> Share:
    """With its interval."""
    return Share(part, whole, *wilson_interval(part, whole))


def _pace(row: Row) -> float:
    return percentile(row.samples.total_ms, 50) if len(row.samples) else float("inf")


def _line(result: Result, row: Row, number: int) -> Line:
    there = len(row.samples) > 0
    values = {stage: row.stage(stage) for stage in STAGES} if there else {}
    return Line(
        number=number,
        row=row,
        is_base=row.key == result.base,
        total=np.asarray(values.get("total", []), np.float64),
        summaries={stage: Summary.of(v) for stage, v in values.items()},
        medians={stage: percentile(v, 50) for stage, v in values.items()},
        ratio=result.ratio(row),
        rounds=row.rounds() if there else {},
    )
