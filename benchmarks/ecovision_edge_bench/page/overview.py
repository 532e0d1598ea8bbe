"""The main table: one row per subject."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ecovision_edge_bench.measure.percentiles import min_samples, percentile_name, supported
from ecovision_edge_bench.measure.result import Result
from ecovision_edge_bench.measure.sources import SOURCES
from ecovision_edge_bench.page.costs import MIB
from ecovision_edge_bench.page.head import wrong_sentence
from ecovision_edge_bench.page.lines import Line
from ecovision_edge_bench.page.markup import UNMEASURED, Html, join, milliseconds, named, span, tag

__all__ = ["overview"]

_SHOWN = (90.0, 99.0)
_MB = 1e6
_STAGES = ("prepare", "infer", "post")
_NONE = span("none", UNMEASURED)


Cells = Callable[[Line], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Columns under one group's head; `cells` gives one for each of `heads`."""

    group: str
    heads: tuple[str, ...]
    cells: Cells


def overview(result: Result, lines: Sequence[Line]) -> Html:
    """Return every row of the result."""
    columns = _columns(result, lines)
    groups = [
        tag("th", {"colspan": len(c.heads), "scope": "colgroup", "class": "group"}, c.group) for c in columns
    ]
    heads = [tag("th", {"scope": "col"}, h) for c in columns for h in c.heads]
    body = []
    for line in lines:
        cells = [tag("td", {}, cell) for c in columns for cell in c.cells(line)]
        width = 1 + len(cells)
        if not _any_figure(line):
            cells = [tag("td", {"colspan": len(cells), "class": "nothing"}, _NONE)]
        kind = "bad" if line.wrong or not len(line.total) else "" if line.row.valid else "doubt"
        name = tag("th", {"scope": "row", "class": "subject"}, line.who)
        body.append(tag("tr", {"id": line.anchor, "class": kind}, name, *cells))
        why = [*line.row.reasons, *([wrong_sentence(line)] if line.wrong else [])]
        if line.row.samples.error is not None and line.row.samples.error not in why:
            why.insert(0, line.row.samples.error)
        if why:
            text = tag("div", {}, join(why, "; "))
            body.append(tag("tr", {"class": f"why {kind}"}, tag("td", {"colspan": width}, text)))
    table = tag(
        "table",
        {},
        tag(
            "thead",
            {},
            tag("tr", {}, tag("th", {"rowspan": 2, "class": "subject"}, "subject"), *groups),
            tag("tr", {}, *heads),
        ),
        tag("tbody", {}, *body),
    )
    return tag(
        "section",
        {"id": "overview"},
        tag("h2", {}, "Subjects"),
        tag("p", {"class": "read"}, _read(result, lines)),
        tag("div", {"class": "wide", "tabindex": "0"}, table),
    )


def _read(result: Result, lines: Sequence[Line]) -> str:
    text = (
        "Fastest first. Times are of one frame, prepare + infer + post; camera and decoding are not in them. "
        f"A ratio below 1 is faster than {result.base}. Square brackets are 95 % intervals."
    )
    missing = [
        p for p in _SHOWN if any(len(x.total) and p not in x.summaries["total"].percentiles for x in lines)
    ]
    if missing:
        need = ", ".join(f"{percentile_name(p)} {min_samples(p)}" for p in missing)
        text += f" A dash is a percentile that so few frames do not support: needed are {need}."
    return text


def _columns(result: Result, lines: Sequence[Line]) -> list[_Columns]:
    shown = [p for p in _SHOWN if any(p in supported(len(x.total)) for x in lines)]
    names = ("p50", *map(percentile_name, shown))
    runs = _Columns(
        "runs", ("precision", "threads"), lambda x: (named(x.row.precision), str(x.row.threads or UNMEASURED))
    )
    columns = [
        _Columns("end to end, ms", names, lambda x: _end_to_end(x, shown)),
        _Columns("over the base", ("ratio",), lambda x: (_ratio(x),)),
        _Columns("against PyTorch", ("agrees", "max |dp|"), _agreement),
    ]
    if any(x.correct is not None for x in lines):
        columns.append(_Columns("on labels", ("accuracy, %",), lambda x: (_accuracy(x),)))
    if any(x.row.sources for x in lines):
        columns.append(_Columns("prepare by source, ms", ("raw", "JPEG", "JPEG reduced"), _sources))
    return [
        *columns,
        runs,
        _Columns("stages p50, ms", _STAGES, lambda x: tuple(_number(x.medians.get(s), 2) for s in _STAGES)),
        _Columns("file", ("MB",), lambda x: (_number(x.row.bytes / _MB if x.row.bytes else None, 2),)),
        _Columns(
            "cold start, ms",
            ("open", "first answer"),
            lambda x: (_number(x.cold("create_ms"), 1), _number(x.cold("first_ms"), 1)),
        ),
        _Columns("peak memory", ("MiB",), _memory),
    ]


def _any_figure(line: Line) -> bool:
    """Return whether a row that failed got far enough to have some."""
    return bool(len(line.total) or line.row.cold or line.row.agreement or line.row.bytes)


def _end_to_end(line: Line, shown: Sequence[float]) -> tuple[str, ...]:
    if not len(line.total):
        return (_NONE,) * (1 + len(shown))
    known = line.summaries["total"].percentiles
    middle = tag("b", {}, milliseconds(line.medians["total"]))
    return (middle, *(milliseconds(known[p]) if p in known else span("none", "–") for p in shown))  # noqa: RUF001


def _ratio(line: Line) -> str:
    r = line.ratio
    if line.is_base:
        return span("none", "base")
    if r is None:
        return _NONE
    interval = "no interval" if r.low is None or r.high is None else f"[{r.low:.3f}, {r.high:.3f}]"
    return join([f"{r.value:.3f}", tag("small", {}, interval)], " ")


def _agreement(line: Line) -> tuple[str, ...]:
    a = line.row.agreement
    if a is None or not a.judged:
        return (_NONE, _NONE)
    told = f"{a.agreed} of {a.judged}"
    difference = "< 0.0001" if 0 < a.max_dp < 5e-5 else f"{a.max_dp:.4f}"
    return (span("bad", told) if line.wrong else told, difference)


def _accuracy(line: Line) -> str:
    s = line.correct
    if s is None:
        return _NONE
    interval = f"[{100 * s.low:.1f}, {100 * s.high:.1f}]"
    return join([f"{100 * s.value:.1f}", tag("small", {}, interval)], " ")


def _sources(line: Line) -> tuple[str, ...]:
    times = line.row.sources
    return tuple(
        _number(statistics.median(times[source]) if times.get(source) else None, 2) for source in SOURCES
    )


def _memory(line: Line) -> tuple[str, ...]:
    peak = line.memory("peak_bytes")
    return (_number(None if peak is None else peak / MIB, 0),)


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"
