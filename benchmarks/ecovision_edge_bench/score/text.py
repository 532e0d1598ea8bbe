"""A score as lines of text, the same for the same score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ecovision_edge.base.columns import plain_table
from ecovision_edge.base.stats import wilson_interval
from ecovision_edge.cli.output import printable
from ecovision_edge_bench.measure.percentiles import percentile, percentile_name, supported
from ecovision_edge_bench.score.match import ItemScore, Score, Verdict

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["TIMES", "figure_rows", "label_rows", "show_score", "time_figures", "wrong_lines"]

TIMES = (50.0, 90.0)
"""Percentiles of the time to decide; each where the number of items supports it."""

MOST_SHOWN = 20  # of what went wrong; --json has all


def time_figures(seconds: Sequence[float]) -> dict[str, float | None]:
    """`p50`, `p90` and `max`; None where there are too few (see `percentiles`)."""
    enough = supported(len(seconds), TIMES)
    figures = {percentile_name(p): percentile(seconds, p) if p in enough else None for p in TIMES}
    return {**figures, "max": max(seconds, default=None)}


def figure_rows(score: Score) -> list[tuple[str, str, str]]:
    """Return what is counted, the count, and its share of what it can be of."""
    total = len(score.items)
    rows = [
        ("items", str(total), f"in {score.seconds:.0f} s"),
        ("found", str(score.found), _share(score.found, total)),
        ("missed", str(score.missed), ""),
        ("doubled", str(score.doubled), ""),
        ("false", str(len(score.false)), _false(score)),
        *((str(v), str(score.count(v)), _share(score.count(v), score.found)) for v in Verdict),
    ]
    if score.merged:
        rows.append(("merged by debounce", str(score.merged), ""))
    if (cost := score.mean_cost) is not None:
        rows.append(("cost of a found item", f"{cost:.3f}", "by the rules"))
    for name, seconds in (
        ("s from arrival", [s for one in score.items if (s := one.since_arrival_s) is not None]),
        ("s from rest", [s for one in score.items if (s := one.since_rest_s) is not None]),
    ):
        if seconds:
            figures = time_figures(seconds)
            told = [f"{key} {'-' if value is None else f'{value:.2f}'}" for key, value in figures.items()]
            rows.append((name, "", ", ".join(told)))
    return rows


def label_rows(score: Score) -> list[tuple[str, ...]]:
    """Tabulate a head, and one row per class: items, found, and what the first events were worth."""
    by_label: dict[str, list[ItemScore]] = {}
    for one in score.items:
        by_label.setdefault(one.item.label or "(no class)", []).append(one)
    head = ("class", "items", "found", *map(str, Verdict))
    return [
        head,
        *(
            (
                printable(label),
                str(len(items)),
                str(sum(one.found for one in items)),
                *(str(sum(one.verdict is v for one in items)) for v in Verdict),
            )
            for label, items in sorted(by_label.items())
        ),
    ]


def wrong_lines(score: Score) -> list[str]:
    """List each item that was missed, doubled or put wrong, and each false event, in order."""
    lines: list[tuple[float, str]] = []
    for one in score.items:
        item = one.item
        what = f"{item.arrives_s:8.2f} s  item {item.id}, {item.label or 'no class'}: "
        if not one.found:
            lines.append((item.arrives_s, f"{what}missed; it left at {item.leaves_s:.2f} s"))
            continue
        first = one.events[0]
        if one.doubled:
            times = ", ".join(f"{event.at_s:.2f}" for event in one.events)
            lines.append((item.arrives_s, f"{what}doubled: events at {times} s"))
        if one.verdict in (Verdict.WRONG_BIN, Verdict.RIGHT_BIN):
            told = f"{what}{one.verdict}: {first.label} to {first.bin} at {first.at_s:.2f} s"
            lines.append((item.arrives_s, f"{told}: {first.reason}" if first.reason else told))
    for false in score.false:
        event = false.decision
        told = f"{event.at_s:8.2f} s  false: {event.label or 'unknown'} to {event.bin}, while: {false.during}"
        lines.append((event.at_s, told))
    lines.sort(key=lambda line: line[0])
    shown = [printable(line) for _, line in lines[:MOST_SHOWN]]
    if len(lines) > MOST_SHOWN:
        shown.append(f"and {len(lines) - MOST_SHOWN} more; --json FILE has all")
    return shown


def show_score(console: Console, title: str, score: Score) -> None:
    """Title, figures, one row per class, and what went wrong: drawn tables on a terminal, else plain text."""
    console.print(printable(title))
    _table(console, [("", "", ""), *figure_rows(score)])
    if score.items:
        _table(console, label_rows(score))
    for line in wrong_lines(score):
        console.print(line)


def _table(console: Console, rows: Sequence[Sequence[str]]) -> None:
    if not console.is_terminal:
        for line in plain_table(rows):
            if line.strip():
                console.print(line.rstrip())
        return
    from rich.table import Table

    head, *body = rows
    table = Table(show_header=any(head))
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i == 0 else "right")
    for row in body:
        table.add_row(*row)
    console.print(table)


def _share(count: int, total: int) -> str:
    if total == 0:
        return ""
    low, high = wilson_interval(count, total)
    return f"{100 * count / total:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _false(score: Score) -> str:
    """Per hour, and what was there meanwhile."""
    if not score.false:
        return ""
    during = Counter(false.during for false in score.false)
    told = ", ".join(f"{kind} {count}" for kind, count in sorted(during.items()))
    rate = f"{3600 * len(score.false) / score.seconds:.1f} an hour; " if score.seconds else ""
    return f"{rate}while: {told}"
