"""How long a frame takes: the distribution of each row, and what its stages take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecovision_edge_bench.measure.percentiles import percentile, percentile_name
from ecovision_edge_bench.page.lanes import (
    CURVE_WIDTH,
    Axis,
    bar,
    curve,
    figure,
    grid,
    lane,
    legend,
    log_axis,
    mark_line,
    plain_axis,
    strip,
    strips,
)
from ecovision_edge_bench.page.lines import Line
from ecovision_edge_bench.page.markup import Html, join, milliseconds, span

__all__ = ["STAGE_KINDS", "distributions", "stage_bars"]

STAGE_KINDS = (("one", "prepare"), ("two", "infer"), ("three", "post"))
"""Colour and stage."""

AXIS_ENDS_AT = 99.0  # percentile of each row that the common axis still has
_HIGH = 40.0
_FEW = 300  # samples below which bins are wider: most narrow ones would be empty
_BINS = {False: 120, True: 60}


def distributions(lines: Sequence[Line]) -> Html:
    """Histograms of the time end to end, a row each, over one common axis."""
    ends = [percentile(x.total, AXIS_ENDS_AT) for x in lines]
    axis = log_axis([*ends, *(float(x.total.min()) for x in lines)])
    caption = (
        "How often each time end to end occurred: a narrow peak far left is fast and steady, a tail to the "
        "right is frames that took longer. The scale is logarithmic (the same distance is the same factor) "
        f"and ends where {AXIS_ENDS_AT:g} % of every row's frames are in; those beyond are counted at the "
        "right."
    )
    return figure(
        "distributions",
        "Latency distributions",
        caption,
        legend(
            ("line strong", "p50"), ("line thin", "higher percentiles that the number of samples supports")
        ),
        strips(axis, "ms", [_distribution(x, axis) for x in lines]),
    )


def _distribution(line: Line, axis: Axis) -> Html:
    beyond = line.total[line.total > axis.high]
    percentiles = line.summaries["total"].percentiles
    thin = [
        mark_line(axis.share(v), 8, _HIGH, "thin", f"{percentile_name(p)} {milliseconds(v)} ms")
        for p, v in percentiles.items()
        if p > 50 and v <= axis.high
    ]
    middle = line.medians["total"]
    drawing = lane(
        _HIGH,
        grid(axis, _HIGH),
        curve(_outline(line, axis), "hill wrong" if line.wrong else "hill", _HIGH),
        *thin,
        mark_line(axis.share(middle), 4, _HIGH, "strong", f"p50 {milliseconds(middle)} ms"),
        label=f"{line.row.key}: {len(line.total)} frames, p50 {milliseconds(middle)} ms",
    )
    value = [join([milliseconds(middle), span("unit", "ms")], " ")]
    if len(beyond):
        value.append(span("aside", f"{len(beyond)} beyond, to {milliseconds(float(beyond.max()))} ms"))
    return strip(line.who, drawing, join(value, " "))


def _outline(line: Line, axis: Axis) -> str:
    """Return the histogram's outline as a path; each row is as high as its highest bin."""
    bins = _BINS[len(line.total) < _FEW]
    edges = np.geomspace(axis.low, axis.high, bins + 1)
    inside = line.total[line.total <= axis.high]
    counts = np.histogram(np.maximum(inside, axis.low), edges)[0]
    tops = _HIGH - (_HIGH - 6) * counts / max(1, int(counts.max()))
    step = CURVE_WIDTH / bins
    path = [f"M0 {_HIGH:g}"]
    for n, top in enumerate(tops.tolist()):
        path.append(f"V{top:.4g}H{(n + 1) * step:.5g}")
    return "".join([*path, f"V{_HIGH:g}Z"])


def stage_bars(lines: Sequence[Line]) -> Html:
    """Medians of the stages, stacked."""
    totals = [sum(x.medians[stage] for _, stage in STAGE_KINDS) for x in lines]
    axis = plain_axis([*totals, *(x.medians["total"] for x in lines)])
    caption = (
        "What a frame's time goes into: the median of each stage, one after the other; they need not quite "
        "add up to the median end to end, which is the line."
    )
    return figure(
        "stages",
        "Stages",
        caption,
        legend(*STAGE_KINDS, ("line strong", "p50 end to end")),
        strips(axis, "ms", [_stages(x, axis) for x in lines]),
    )


def _stages(line: Line, axis: Axis) -> Html:
    shapes, start = [], 0.0
    for kind, stage in STAGE_KINDS:
        took = line.medians[stage]
        title = f"{stage} {milliseconds(took)} ms"
        shapes.append(bar(axis.share(start), axis.share(start + took), 8, 16, kind, title))
        start += took
    parts = " + ".join(milliseconds(line.medians[stage]) for _, stage in STAGE_KINDS)
    drawing = lane(
        32,
        grid(axis, 32),
        *shapes,
        mark_line(axis.share(line.medians["total"]), 4, 28, "strong"),
        label=f"{line.row.key}: prepare + infer + post {parts} ms",
    )
    return strip(line.who, drawing, join([parts, span("unit", "ms")], " "))
