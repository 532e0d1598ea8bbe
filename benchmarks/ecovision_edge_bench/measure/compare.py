"""Two results side by side: what got slower, with an interval; a refusal where they cannot be compared."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.errors import EcovisionError, OptionError
from ecovision_edge_bench.measure.ratios import Ratio, unpaired_ratio
from ecovision_edge_bench.measure.result import Result, Row

__all__ = ["Change", "NotComparableError", "check_comparable", "compare_results", "parse_share"]

_MACHINE = ("arch", "cpu", "cpu_features", "board", "cores", "usable_cores")
_FRAMES = ("width", "height", "source")
_SETTINGS = ("fps", "isolate")


class NotComparableError(EcovisionError, ValueError):
    """The two results were not measured under like conditions."""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class Change:
    """One row of both results; `ratio` is second over first, end to end.

    Args:
        key: Of the row.
        ratio: With its 95 % interval.
        slower_by: Share by which it has to be slower to count.
        turned_wrong: Whether the second surely misses its parity budget and the first does not.
        same_model: Whether both ran the same model file.
    """

    key: str
    ratio: Ratio
    slower_by: float
    turned_wrong: bool
    same_model: bool

    @property
    def regression(self) -> bool:
        """Slower by more than `slower_by`, with an interval that leaves out no change; or wrong now."""
        slower = self.ratio.differs and self.ratio.value - 1 > self.slower_by
        return slower or self.turned_wrong

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "ratio": self.ratio.to_json(),
            "differs": self.ratio.differs,
            "turned_wrong": self.turned_wrong,
            "same_model": self.same_model,
            "regression": self.regression,
        }


def check_comparable(first: Result, second: Result) -> list[str]:
    """Return how the conditions of two results differ; nothing where they can be compared."""
    pairs = [
        *((f"machine {k}", first.machine.get(k), second.machine.get(k)) for k in _MACHINE),
        *((f"frame {k}", first.frames.get(k), second.frames.get(k)) for k in _FRAMES),
        *((k, first.settings.get(k), second.settings.get(k)) for k in _SETTINGS),
        (
            "sustained",
            first.settings.get("sustained_secs") is not None,
            second.settings.get("sustained_secs") is not None,
        ),
    ]
    return [f"{what}: {a} and {b}" for what, a, b in pairs if a != b]


def compare_results(
    first: Result, second: Result, *, fail_over: float = 0.0, relative: bool = False, anyway: bool = False
) -> list[Change]:
    """Compare the rows that both results have.

    Args:
        first: The older.
        second: The newer.
        fail_over: Share by which a row may be slower, 0 to 10.
        relative: Compare each row's ratio to the base of its own run, which takes out how fast the machine
            was that day; the base's own row then drops out.
        anyway: Compare what is not comparable.

    Raises:
        NotComparableError: other conditions, or no row in common.
        OptionError: `fail_over` outside its range, or `relative` where the bases differ.
    """
    if not 0 <= fail_over <= 10:
        raise OptionError("--fail-over", expected="0 % to 1000 %", found=f"{100 * fail_over:g} %")
    different = check_comparable(first, second)
    if different and not anyway:
        raise NotComparableError(
            "not comparable", found="; ".join(different), fix="measure both alike, or give --anyway"
        )
    if relative and first.base != second.base:
        raise OptionError("--relative", expected="the same base", found=f"{first.base} and {second.base}")
    changes = []
    for row in first.rows:
        other = second.row(row.key)
        if other is None or (relative and row.key == first.base):
            continue
        a, b = _rounds(first, row, relative), _rounds(second, other, relative)
        if a and b:
            changes.append(
                Change(
                    row.key,
                    unpaired_ratio(b, a),
                    fail_over,
                    _wrong(other) and not _wrong(row),
                    row.sha256 == other.sha256,
                )
            )
    if not changes:
        raise NotComparableError(
            "nothing to compare",
            expected="rows with samples in both",
            found=f"{', '.join(r.key for r in first.rows)}; {', '.join(r.key for r in second.rows)}",
        )
    return changes


def parse_share(text: str) -> float:
    """`5%` or `0.05` as 0.05.

    Raises:
        OptionError: neither.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip())
    if match is None:
        raise OptionError("--fail-over", expected="like 5% or 0.05", found=text)
    return float(match[1]) / (100 if match[2] else 1)


def _rounds(result: Result, row: Row, relative: bool) -> dict[int, float]:
    rounds = row.rounds() if len(row.samples) else {}
    base = result.row(result.base)
    if not relative or base is None or not len(base.samples):
        return {} if relative else rounds
    per_round = base.rounds()
    return {n: value / per_round[n] for n, value in rounds.items() if n in per_round}


def _wrong(row: Row) -> bool:
    return row.agreement is not None and row.agreement.wrong
