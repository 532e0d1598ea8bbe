"""A comparison as lines of text, the same for the same comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ecovision_edge.base.columns import plain_table
from ecovision_edge.base.names import short
from ecovision_edge.comparison.answers import FrameComparison
from ecovision_edge.comparison.contracts import ContractDifference, LabelChanges
from ecovision_edge.comparison.latency import Latency
from ecovision_edge.comparison.outcomes import Counts, LabelledComparison
from ecovision_edge.comparison.report import ComparisonReport, Side

__all__ = [
    "class_rows",
    "contract_lines",
    "count_lines",
    "frame_lines",
    "label_line",
    "latency_line",
    "report_lines",
    "side_line",
    "verdict_line",
]

_SHOWN = 20  # disagreements that are listed; --json has all
_FEW = 3  # thresholds that are listed, of each kind
_LONGEST, _OF_A_HASH = 60, 12  # characters of a value


def report_lines(report: ComparisonReport) -> Iterator[str]:
    """Yield all of it; names of files may hold what no terminal should be given."""
    yield f"old: {side_line(report.old)}"
    yield f"new: {side_line(report.new)}"
    yield label_line(report.labels)
    yield from contract_lines(report.contract)
    if report.labelled is not None:
        yield from ("", *plain_table(class_rows(report.labelled)), "")
        yield from count_lines(report.labelled)
    if report.frames is not None:
        yield from frame_lines(report.frames)
    if report.latency is not None:
        yield latency_line(report.latency)
    if report.verdict is not None:
        yield verdict_line(report)


def side_line(side: Side) -> str:
    """Say which model it is, and how it runs here."""
    size = "" if side.bytes is None else f", {side.bytes / 1e6:.1f} MB"
    return f"{side.name}{size}, on {side.engine}, threads: {side.threads}"


def contract_lines(differences: Sequence[ContractDifference]) -> Iterator[str]:
    """Say how the contracts differ, but for the labels."""
    if not differences:
        yield "contract: the same"
        return
    yield f"contract: {_many(len(differences), 'difference')}"
    by_field: dict[str, list[ContractDifference]] = {}
    for difference in differences:
        by_field.setdefault(difference.field, []).append(difference)
    for field, found in by_field.items():
        if found[0].label is None:
            most = _OF_A_HASH if field.endswith("sha256") else _LONGEST
            yield f"  {field}: {found[0].old[:most]} -> {found[0].new[:most]}"
        else:
            each = short([f"{d.label} {d.old} -> {d.new}" for d in found[:_FEW]])
            more = f" and of {len(found) - _FEW} more labels" if len(found) > _FEW else ""
            yield f"  {field}: {each}{more}"


def class_rows(labelled: LabelledComparison) -> list[tuple[str, ...]]:
    """Make the table: a head, a row for each class, one for the classes that the old model knows."""
    head = ("class", "photographs", "old right", "new right", "right, now wrong", "wrong, now right", "p")
    rows = [_row(name, counts) for name, counts in labelled.classes.items()]
    return [head, *rows, _row("all that old knows", labelled.total)]


def count_lines(labelled: LabelledComparison) -> Iterator[str]:
    """Say what the photographs prove, and of what they say nothing."""
    total, added = labelled.total, labelled.added
    if total.photographs:
        for name, right, (low, high) in (
            ("old", total.old_right, total.old_interval),
            ("new", total.new_right, total.new_interval),
        ):
            share = _percent(right / total.photographs)
            yield f"accuracy, {name}: {share} [{100 * low:.1f}, {100 * high:.1f}] (Wilson 95 %)"
        low, high = total.drop_interval
        gained = 100 * (total.better - total.worse) / total.photographs
        yield (
            f"difference: {gained:+.2f} points [{-100 * high:+.2f}, {-100 * low:+.2f}] (Tango 95 %); "
            f"{total.worse} went from right to wrong, {total.better} from wrong to right: "
            f"p = {_p(total.p)} (McNemar, exact)"
        )
        old, new = labelled.old_decided, labelled.new_decided
        if old.count < total.photographs or new.count < total.photographs:
            yield (
                f"by their own thresholds, of one view: old decides {old.count}, {_percent(old.error)} of "
                f"them wrong; new decides {new.count}, {_percent(new.error)} wrong"
            )
        tests = sum(counts.worse + counts.better > 0 for counts in labelled.classes.values())
        if tests > 1:
            yield f"of {tests} classes that differ, a p below {0.05 / tests:.2g} counts (Bonferroni, 5 %)"
    if added.photographs:
        yield (
            f"beside them {_many(added.photographs, 'photograph')} of classes that only the new model knows: "
            f"{added.new_right} right"
        )
    if labelled.failures:
        yield f"left out, could not be looked at: {_many(len(labelled.failures), 'photograph')}"


def frame_lines(frames: FrameComparison) -> Iterator[str]:
    """Say how often both agree on frames, and where they do not."""
    low, high = frames.interval
    if frames.compared:
        yield (
            f"frames: they agree on {frames.agreed} of {frames.compared}, {_percent(frames.agreement)} "
            f"[{100 * low:.1f}, {100 * high:.1f}] (Wilson 95 %, as if each frame showed another item)"
        )
    else:
        yield "frames: none could be compared"
    if frames.skipped:
        yield f"passed over, for no network had looked at them: {_many(frames.skipped, 'frame')}"
    if frames.failures:
        yield f"left out, could not be looked at: {_many(len(frames.failures), 'frame')}"
    yield from (
        f"  {d.path.name}: {d.old} {d.old_score:.2f} -> {d.new} {d.new_score:.2f}"
        for d in frames.disagreements[:_SHOWN]
    )
    if len(frames.disagreements) > _SHOWN:
        yield f"  and {len(frames.disagreements) - _SHOWN} more; --html FILE shows them, --json FILE has all"


def latency_line(latency: Latency) -> str:
    """Say what both take here."""
    return (
        f"latency here: old {latency.old_ms:.2f} ms, new {latency.new_ms:.2f} ms; the new one takes "
        f"{latency.ratio:.3f} of the old one's time [{latency.low:.3f}, {latency.high:.3f}] "
        f"(95 %, medians of {_many(latency.rounds, 'round')} in turns)"
    )


def verdict_line(report: ComparisonReport) -> str:
    """Say whether the new model passes."""
    verdict = report.verdict
    assert verdict is not None
    return f"{'passed' if verdict.ok else 'NOT passed'}: {verdict.reason}"


def label_line(labels: LabelChanges) -> str:
    """Say how the labels differ."""
    if labels.same:
        return f"labels: the same{', in another order' if labels.reordered else ''}"
    parts = [
        f"{len(names)} {what} ({short(names)})"
        for names, what in ((labels.removed, "gone"), (labels.added, "new"))
        if names
    ]
    if labels.renamed:
        pairs = short([f"{old} -> {new}" for old, new in labels.renamed])
        parts.append(f"{pairs} differ in case alone, which rules and answers do not pass over")
    return f"labels: {'; '.join(parts)}"


def _row(name: str, counts: Counts) -> tuple[str, ...]:
    right = [
        f"{count} {_percent(count / counts.photographs):>8}" if counts.photographs else "-"
        for count in (counts.old_right, counts.new_right)
    ]
    return (name, str(counts.photographs), *right, str(counts.worse), str(counts.better), _p(counts.p))


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
