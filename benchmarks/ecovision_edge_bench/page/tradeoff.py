"""Speed against being right."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ecovision_edge_bench.measure.ratios import Ratio
from ecovision_edge_bench.page.lanes import (
    Axis,
    axis_strip,
    figure,
    grid,
    lane,
    legend,
    log_axis,
    nice_above,
    per_cent,
    unit_text,
)
from ecovision_edge_bench.page.lines import Line, Share
from ecovision_edge_bench.page.markup import Html, join, milliseconds, span, tag

__all__ = ["tradeoff"]

_AREA = 300.0  # pixels from the scale's top to its foot
_MARGIN = 22.0  # above and below it, at least: room for numbers
_NARROW = 300.0  # pixels: what does not touch on the narrowest page does not on a wider one
_LABEL = (22.0, 17.0)
_DOT = 6.0
_WRONG = ("dot bad", "WRONG: surely below the budget of the export's gate")


@dataclass(frozen=True, slots=True)
class _Scale:
    """The axis upward, per cent, with `top` pixels above it."""

    axis: Axis
    top: float = 0.0

    @property
    def high(self) -> float:
        """The height of the whole plot, in pixels."""
        return self.top + _AREA + _MARGIN

    def down(self, share: float) -> float:
        """Pixels from the top of the plot."""
        return self.top + _AREA * (1 - self.axis.share(100 * share))


@dataclass(frozen=True, slots=True)
class _Point:
    """A row in the plot.

    Args:
        line: The row.
        share: How often it is right.
        along: 0 to 1 along the plot.
        down: Pixels from its top.
        below: Whether the scale ends above it.
        typical: Its p50 with an interval.
        rise: Pixels from the point up to its number; below 0 is down.
    """

    line: Line
    share: Share
    along: float
    down: float
    below: bool
    typical: Ratio | None
    rise: float = 0.0


def tradeoff(lines: Sequence[Line], seed: int, why_none: str) -> Html:
    """Time end to end against accuracy; without labels against agreement with PyTorch."""
    labelled = any(x.correct is not None for x in lines)
    shares = [(x, s) for x in lines if (s := x.correct if labelled else x.agreed) is not None]
    heading = "Latency against accuracy" if labelled else "Latency against agreement with PyTorch"
    if not shares:
        return figure(
            "tradeoff", heading, f"Not drawn: whether answers are right was not measured; {why_none}"
        )
    what = "accuracy" if labelled else "agreement with PyTorch"
    typical = {x.number: x.typical(seed) for x, _ in shares}
    x_axis, axis = _time_axis(shares, typical), _axis(shares)
    placed = [_point(x, s, x_axis, _Scale(axis), typical[x.number]) for x, s in shares]
    y, points = _layout(placed, axis)
    caption = _caption(what, points, [x.row.key for x in lines if x.number not in typical])
    drawing = lane(y.high, grid(x_axis, y.high), _across(y), *_draw(points, x_axis, y), label=caption)
    return figure(
        "tradeoff",
        heading,
        caption,
        legend(*([("dot", "subject, by its number"), _WRONG] if any(x.wrong for x, _ in shares) else [])),
        tag(
            "div",
            {"class": "xy"},
            tag("div", {"class": "up"}, f"{what}, %"),
            _numbers(y),
            tag("div", {"class": "draw"}, drawing),
        ),
        tag("div", {"class": "xy foot"}, axis_strip(x_axis, "ms")),
        tag("ul", {"class": "key-list"}, *(_entry(p) for p in points)),
    )


def _caption(what: str, points: Sequence[_Point], missing: Sequence[str]) -> str:
    caption = (
        f"Further left is faster, further up is more often right: p50 end to end against {what}; whiskers "
        "are the 95 % interval of each subject by itself."
    )
    if any(p.below for p in points):
        caption += " A triangle at the foot is a subject below the scale."
    return caption + (f" Not drawn, since not measured: {', '.join(missing)}." if missing else "")


def _time_axis(shares: Sequence[tuple[Line, Share]], typical: Mapping[int, Ratio | None]) -> Axis:
    """Around all medians, and the ends of their intervals."""
    ends = [v for r in typical.values() if r is not None for v in (r.low, r.high) if v is not None]
    return log_axis([*(x.medians["total"] for x, _ in shares), *ends], 1.12)


def _axis(shares: Sequence[tuple[Line, Share]]) -> Axis:
    """Around all rows that are not wrong: one that is wrong half the time must not flatten the rest."""
    right = [s for x, s in shares if not x.wrong] or [s for _, s in shares]
    low = 100 * min(s.low for s in right)
    step = nice_above(max(100 - low, 0.1) / 6)
    return Axis(max(0.0, math.floor(low / step) * step), 100.0)


def _point(line: Line, share: Share, x: Axis, y: _Scale, typical: Ratio | None) -> _Point:
    below = 100 * share.value < y.axis.low
    down = _AREA + _MARGIN - 8 if below else y.down(share.value)
    return _Point(line, share, x.share(line.medians["total"]), down, below, typical)


def _layout(points: Sequence[_Point], axis: Axis) -> tuple[_Scale, list[_Point]]:
    """Find a place for each number, and make as much room above the scale as they need."""
    raised = [dataclasses.replace(p, rise=r) for p, r in zip(points, _rises(points), strict=True)]
    top = max(_MARGIN, *(_LABEL[1] / 2 + p.rise - p.down for p in raised))
    return _Scale(axis, top), [dataclasses.replace(p, down=p.down + top) for p in raised]


def _rises(points: Sequence[_Point]) -> list[float]:
    """For each point how far above it its number goes: the nearest place where it touches nothing.

    Numbers stay straight above or below their points: sideways they would meet others on a wider page.
    """
    taken = [(p.along * _NARROW, p.down, 2 * _DOT, 2 * _DOT) for p in points]
    found = []
    for p in points:
        at = p.along * _NARROW
        steps = [sign * n * _LABEL[1] for n in range(1, 4 * len(points) + 2) for sign in (1, -1)]
        rise = next(
            r
            for r in steps
            if (r > 0 or p.down - r < _AREA) and not any(_touch((at, p.down - r, *_LABEL), b) for b in taken)
        )
        taken.append((at, p.down - rise, *_LABEL))
        found.append(rise)
    return found


def _touch(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    """Return whether two boxes, middle and size, overlap."""
    return abs(a[0] - b[0]) < (a[2] + b[2]) / 2 and abs(a[1] - b[1]) < (a[3] + b[3]) / 2


def _across(y: _Scale) -> Html:
    lines = []
    for t in y.axis.ticks():
        down = y.down(t / 100)
        lines.append(tag("line", {"class": "grid", "x1": "0", "x2": "100%", "y1": down, "y2": down}))
    return join(lines)


def _numbers(y: _Scale) -> Html:
    texts = [
        tag(
            "text",
            {"class": "tick", "x": "100%", "y": y.down(t / 100) + 4, "text-anchor": "end"},
            unit_text(t),
        )
        for t in y.axis.ticks()
    ]
    return tag("svg", {"class": "upward", "height": y.high, "aria-hidden": "true"}, *texts)


def _draw(points: Sequence[_Point], x: Axis, y: _Scale) -> list[Html]:
    """Whiskers under dots under numbers."""
    whiskers, dots, labels = [], [], []
    for point in points:
        kind = "bad" if point.line.wrong else ""
        t = point.typical
        if t is not None and t.low is not None and t.high is not None:
            ends = {"x1": per_cent(x.share(t.low)), "x2": per_cent(x.share(t.high))}
            whiskers.append(
                tag("line", {"class": f"whisker {kind}".strip(), **ends, "y1": point.down, "y2": point.down})
            )
        inner = []
        if not point.below:
            top, bottom = (y.down(v) - point.down for v in (point.share.high, point.share.low))
            inner.append(tag("line", {"class": f"whisker {kind}".strip(), "y1": top, "y2": bottom}))
        whiskers.append(_at(point, *inner))
        dots.append(_at(point, _symbol(point), tag("title", {}, _told(point))))
        labels.append(_at(point, *_label(point)))
    return [*whiskers, *dots, *labels]


def _at(point: _Point, *shapes: Html) -> Html:
    """Shapes in pixels around a point whose place along the lane is per cent."""
    return tag("svg", {"class": "point", "x": per_cent(point.along), "y": point.down}, *shapes)


def _symbol(point: _Point) -> Html:
    if point.below:
        return tag("path", {"class": "dot bad", "d": "M-7 -6H7L0 6Z"})
    if point.line.wrong:
        return tag("path", {"class": "dot bad", "d": "M0 -7.5L7.5 0L0 7.5L-7.5 0Z"})
    return tag("circle", {"class": "dot", "r": _DOT})


def _label(point: _Point) -> list[Html]:
    rise = point.rise
    text = tag("text", {"class": "number", "y": 4.5 - rise, "text-anchor": "middle"}, str(point.line.number))
    if abs(rise) <= _LABEL[1]:
        return [text]
    # From the dot's edge to the number's.
    toward = math.copysign(1, -rise)
    return [tag("line", {"class": "leader", "y1": toward * _DOT, "y2": -rise - toward * 8}), text]


def _told(point: _Point) -> str:
    s = point.share
    return (
        f"{point.line.row.key}: {milliseconds(point.line.medians['total'])} ms, "
        f"{100 * s.value:.1f} % [{100 * s.low:.1f}, {100 * s.high:.1f}], {s.part} of {s.whole}"
    )


def _entry(point: _Point) -> Html:
    s = point.share
    figures = (
        f"{milliseconds(point.line.medians['total'])} ms, {100 * s.value:.1f} % "
        f"[{100 * s.low:.1f}, {100 * s.high:.1f}]"
    )
    return tag("li", {}, point.line.who, " ", span("aside", figures))
