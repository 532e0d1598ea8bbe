"""The report of a run as one page of HTML that needs nothing else: no script, no font, no request."""

from __future__ import annotations

from importlib import resources

from ecovision_edge_bench.measure.result import Result
from ecovision_edge_bench.page.costs import cold_starts, memory
from ecovision_edge_bench.page.details import details
from ecovision_edge_bench.page.drift import over_minutes, over_rounds
from ecovision_edge_bench.page.head import head, title_of
from ecovision_edge_bench.page.latency import distributions, stage_bars
from ecovision_edge_bench.page.lines import Line, lines_of, seed_of
from ecovision_edge_bench.page.markup import Html, named, tag
from ecovision_edge_bench.page.overview import overview
from ecovision_edge_bench.page.tradeoff import tradeoff

__all__ = ["write_page"]

_START = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
"""


def write_page(result: Result) -> str:
    """Return one self-contained HTML document: verdict, table, plots, details.

    Its figures are those of the result, and what follows from its samples; text of the result is escaped.
    """
    lines = lines_of(result)
    style = Html((resources.files(__name__) / "style.css").read_text(encoding="utf-8"))
    body = tag(
        "body",
        {},
        tag(
            "main",
            {},
            head(result, lines),
            overview(result, lines),
            _plots(result, lines),
            details(result, lines),
        ),
    )
    title = tag("title", {}, f"{title_of(result)} - ecovision-edge bench")
    return f"{_START}{title}\n{tag('style', {}, style)}\n</head>\n{body}\n</html>\n"


def _plots(result: Result, lines: list[Line]) -> Html:
    drawn = [x for x in lines if len(x.total)]
    parts: list[str] = [tag("h2", {}, "Plots")]
    missing = [x.row.key for x in lines if not len(x.total)]
    if missing:
        parts.append(
            tag("p", {"class": "read"}, f"Without samples, so not in plots of latency: {', '.join(missing)}.")
        )
    if drawn:
        parts += [
            distributions(drawn),
            stage_bars(drawn),
            tradeoff(drawn, seed_of(result), named(result.parity.get("why_none"), "no reason given")),
            over_minutes(drawn, result) if result.minutes else over_rounds(drawn),
        ]
    parts += [cold_starts(lines), memory(lines)]
    return tag("section", {"id": "plots"}, *parts)
