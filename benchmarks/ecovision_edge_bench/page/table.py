"""A result as rows of text: for the terminal, and as one block of Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from ecovision_edge.base.stats import wilson_interval
from ecovision_edge_bench.measure.percentiles import percentile, percentile_name, supported
from ecovision_edge_bench.measure.result import Result, Row
from ecovision_edge_bench.measure.sources import SOURCES

__all__ = [
    "cold_rows",
    "headline",
    "latency_rows",
    "minute_rows",
    "size_rows",
    "source_rows",
    "to_markdown",
    "verdict",
]

PRINTED = (90.0, 99.0, 99.9)
_MB = 1e6


def latency_rows(result: Result) -> list[list[str]]:
    """Tabulate one row per subject: stages, percentiles that the samples support, ratio, parity."""
    shown = [p for p in PRINTED if any(p in supported(len(row.samples)) for row in result.rows)]
    labelled = any(row.agreement is not None and row.agreement.labelled for row in result.rows)
    head = ["", "precision", "threads", "prepare", "infer", "post", "end to end p50"]
    head += [percentile_name(p) for p in shown]
    head += [f"/ {result.base} [95 %]", "agrees with PyTorch", "max |dp|"]
    head += ["accuracy [95 %]"] if labelled else []
    rows = [head]
    for row in result.rows:
        total = row.summary()
        cells = [row.key, row.precision, str(row.threads) if row.threads else ""]
        if total is None:
            rows.append([*cells, *[""] * (len(head) - len(cells) - 1), "failed"])
            continue
        cells += [f"{percentile(row.stage(stage), 50):.2f}" for stage in ("prepare", "infer", "post")]
        cells.append(f"{percentile(row.stage('total'), 50):.2f} ms")
        cells += [f"{total.percentiles[p]:.2f}" if p in total.percentiles else "-" for p in shown]
        ratio = result.ratio(row)
        cells.append("1" if row.key == result.base else str(ratio) if ratio is not None else "-")
        cells += _parity_cells(row, labelled)
        rows.append(cells)
    return rows


def cold_rows(result: Result) -> list[list[str]]:
    """Tabulate a head, then one row per subject: what runs, and what a start costs."""
    rows = [["", "engine", "file", "sha256", "import", "open", "first answer", "peak memory", "frames by"]]
    for row in result.rows:
        if not row.engine:
            continue
        cells = [row.key, row.engine, f"{row.bytes / _MB:.1f} MB", row.sha256[:12]]
        if row.cold:
            for name in ("import_ms", "create_ms", "first_ms"):
                cells.append(f"{statistics.median(getattr(c, name) for c in row.cold):.0f} ms")
            peaks = [c.peak_bytes for c in row.cold if c.peak_bytes is not None]
            cells.append(f"{max(peaks) / 2**20:.0f} MiB" if peaks else "-")
        else:
            cells += ["-"] * 4
        rows.append([*cells, row.preprocessing])
    return rows


def size_rows(result: Result) -> list[list[str]]:
    """Tabulate the frontier of a bundle of several sizes, in the manifest's order; nothing for any other."""
    sizes = result.bundle.get("sizes")
    measured = [row for row in result.rows if len(row.samples)]
    compared = {row.name.removesuffix(f" {row.size}px") for row in measured if row.size is not None}
    if not isinstance(sizes, dict) or not compared:
        return []
    rows = [["size", "", "infer p50", "end to end p50", f"/ {result.base} [95 %]", "accuracy", "loss"]]
    for side, known in sizes.items():
        if not isinstance(known, dict):
            continue
        size = None if known.get("sha256") is None else known.get("size")
        for row in measured:
            if row.size == size and (size is not None or row.name in compared):
                ratio = result.ratio(row)
                rows.append(
                    [
                        side,
                        row.key,
                        *(f"{percentile(row.stage(stage), 50):.2f} ms" for stage in ("infer", "total")),
                        "1" if row.key == result.base else str(ratio) if ratio is not None else "-",
                        f"{100 * _number(known.get('accuracy')):.1f} %",
                        f"{_number(known.get('loss')):.1f} points",
                    ]
                )
    return rows


def source_rows(result: Result) -> list[list[str]]:
    """Tabulate what preparing costs by what a frame comes as; nothing where it was not measured."""
    rows = [
        [row.key, *(f"{statistics.median(row.sources[source]):.2f} ms" for source in SOURCES)]
        for row in result.rows
        if all(row.sources.get(source) for source in SOURCES)
    ]
    return [["prepare, of", "a raw frame", "a JPEG, whole", "a JPEG, reduced"], *rows] if rows else []


def minute_rows(result: Result) -> list[list[str]]:
    """Tabulate sustained mode: a head, then one row per minute with each median and the machine's state."""
    if not result.minutes:
        return []
    keys = [row.key for row in result.rows if len(row.samples)]
    rows = [["minute", *(f"{k} p50" for k in keys), "temperature", "frequency", "throttled"]]
    for number, state in enumerate(result.minutes):
        cells = [str(number + 1)]
        for key in keys:
            row = result.row(key)
            assert row is not None
            values = [
                total
                for at, total in zip(row.samples.at_s, row.samples.total_ms, strict=True)
                if number * 60 <= at < (number + 1) * 60
            ]
            cells.append(f"{percentile(values, 50):.2f} ms" if values else "-")
        cells.append(_unit(state.get("temperature_c"), "°C"))
        cells.append(_unit(state.get("frequency_mhz"), "MHz"))
        throttling = state.get("throttling")
        now = throttling.get("now") if isinstance(throttling, dict) else None
        cells.append("not readable" if now is None else ", ".join(map(str, now)) or "no")  # type: ignore[arg-type]
        rows.append(cells)
    return rows


def headline(result: Result) -> str:
    """Return what was measured on what, one line."""
    m, s = result.machine, result.settings
    mode = "as fast as it goes" if s.get("fps") is None else f"paced at {s['fps']:g} frames a second"
    if s.get("sustained_secs") is not None:
        mode += f", sustained for {s['sustained_secs']:g} s"
    size = f"{result.frames.get('width')}x{result.frames.get('height')}"
    board = f"{m['board']}, " if m.get("board") else ""
    return (
        f"{result.bundle.get('name') or 'a lone model'} on {board}{m.get('cpu')} ({m.get('arch')}, "
        f"{m.get('usable_cores')} cores), frames {size}, {mode}"
    )


def verdict(result: Result) -> list[str]:
    """`VALID` or `INVALID` and each reason, then what the reader has to know; one line each."""
    lines = ["VALID" if result.valid else "INVALID"]
    lines += [f"  the run: {reason}" for reason in result.reasons]
    lines += [f"  {row.key}: {reason}" for row in result.rows for reason in row.reasons]
    for row in result.rows:
        a = row.agreement
        if a is not None and a.wrong:
            lines.append(
                f"  {row.key} is WRONG: it agrees with PyTorch on {a.agreed} of {a.judged}, "
                f"expected {100 * a.budget:g} %"
            )
    frontier = (
        "accuracy of a size is that of fp32 at the export, its loss against the largest"
        if size_rows(result)
        else ""
    )
    lines += [f"  note: {note}" for note in (_parity_note(result), frontier, *result.notes) if note]
    return lines


def to_markdown(result: Result) -> str:
    """Return one block to paste: what, the tables, the verdict."""
    parts = [f"**{headline(result)}** ({result.created})", _markdown(latency_rows(result))]
    parts.append(_markdown(cold_rows(result)))
    if sizes := size_rows(result):
        parts.append(_markdown(sizes))
    if sources := source_rows(result):
        parts.append(_markdown(sources))
    if result.minutes:
        parts.append(_markdown(minute_rows(result)))
    first, *rest = verdict(result)
    parts.append("\n".join([f"**{first}**", "", *(f"- {_cell(line.strip())}" for line in rest)]).rstrip())
    versions = ", ".join(f"{k} {v}" for k, v in result.versions.items())
    parts.append(f"Milliseconds are medians; ratios are paired by round. {versions}.")
    return "\n\n".join(parts) + "\n"


def _parity_cells(row: Row, labelled: bool) -> list[str]:
    a = row.agreement
    if a is None:
        return ["not measured", "-", *(["-"] if labelled else [])]
    cells = [
        f"{a.agreed} of {a.judged}{' WRONG' if a.wrong else ''}" if a.judged else "not measured",
        f"{a.max_dp:.4f}" if a.judged else "-",
    ]
    if labelled:
        low, high = wilson_interval(a.correct, a.labelled)
        cells.append(f"{100 * a.correct / a.labelled:.1f} % [{100 * low:.1f}, {100 * high:.1f}]")
    return cells


def _parity_note(result: Result) -> str:
    if result.parity.get("reference") is None:
        return f"no parity: {result.parity.get('why_none')}"
    if result.parity.get("evidence") not in {None, "photographs"}:
        return (
            "parity is measured on synthetic frames, which is weak evidence: give photographs with --images; "
            "only those on which PyTorch is firm count"
        )
    return ""


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _unit(value: object, unit: str) -> str:
    return f"{value:.0f} {unit}" if isinstance(value, (int, float)) else "not readable"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [f"| {' | '.join(_cell(c) for c in row)} |" for row in rows]
    return "\n".join([head, "|---" + "|---:" * (len(rows[0]) - 1) + "|", *body])


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
