"""Plots that keep the size of their text at any width: rows of text, each beside a lane of SVG.

Along a lane, places are per cent of its width and stretch with the page; across it they are pixels and do
not. Curves, which cannot be given in per cent, are drawn in a stretched view box whose strokes do not scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ecovision_edge_bench.page.markup import Html, escape, join, span, tag, unbroken

__all__ = [
    "Axis",
    "axis_strip",
    "bar",
    "curve",
    "figure",
    "grid",
    "lane",
    "legend",
    "log_axis",
    "mark_line",
    "nice_above",
    "per_cent",
    "plain_axis",
    "strip",
    "strips",
    "unit_text",
]

CURVE_WIDTH = 1000
_MOST_TICKS = 8
_LOG_STEPS = ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))
_LEAST = 1e-6  # milliseconds: a logarithm needs more than 0


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, which differ; both above 0 where it is logarithmic."""

    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Return how far along, 0 to 1; what is outside is brought to the end."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round numbers inside it."""
        if self.log:
            for steps in _LOG_STEPS:
                powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
                found = [s * 10.0**p for p in powers for s in steps]
                found = [t for t in found if self.low <= t <= self.high]
                if 3 <= len(found) <= _MOST_TICKS:
                    return found
        step = nice_above((self.high - self.low) / 6)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)]


def log_axis(values: Sequence[float], margin: float = 1.06) -> Axis:
    """Logarithmic, around at least one value."""
    low, high = max(min(values), _LEAST), max(*values, _LEAST)
    return Axis(low / margin, high * margin, log=True)


def plain_axis(values: Sequence[float]) -> Axis:
    """From 0 to a little beyond the largest."""
    return Axis(0.0, max(*values, _LEAST) * 1.02)


def nice_above(value: float) -> float:
    """Return the minimum of 1, 2, 2.5, 5 times a power of ten that is not below `value`, which is above 0."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9))


def unit_text(value: float) -> str:
    """Return a tick's number."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def per_cent(share: float) -> str:
    """Return a place along a lane, from 0 to 1."""
    return f"{100 * share:.3f}%"


def mark_line(share: float, top: float, bottom: float, kind: str, title: str = "") -> Html:
    """Return a line across a lane, at 0 to 1 along it, from `top` to `bottom` pixels."""
    place = per_cent(share)
    return tag("line", {"class": kind, "x1": place, "x2": place, "y1": top, "y2": bottom}, _title(title))


def bar(start: float, end: float, top: float, height: float, kind: str, title: str = "") -> Html:
    """Return a rectangle from `start` to `end`, 0 to 1 along a lane."""
    return tag(
        "rect",
        {
            "class": kind,
            "x": per_cent(start),
            "width": per_cent(max(0.0, end - start)),
            "y": top,
            "height": height,
        },
        _title(title),
    )


def curve(path: str, kind: str, height: float) -> Html:
    """Return a path of SVG in units of `CURVE_WIDTH` along the lane and pixels across."""
    box: dict[str, str | float] = {
        "viewBox": f"0 0 {CURVE_WIDTH} {height:g}",
        "preserveAspectRatio": "none",
        "width": "100%",
        "height": height,
    }
    return tag("svg", box, tag("path", {"class": kind, "d": path}))


def grid(axis: Axis, height: float) -> Html:
    """Return a faint line at each tick."""
    return join(mark_line(axis.share(t), 0, height, "grid") for t in axis.ticks())


def lane(height: float, *shapes: str, label: str = "") -> Html:
    """Return the drawing beside a row's name; `label` says what it shows to those who cannot see it."""
    attributes: dict[str, str | float] = {"class": "lane", "height": height}
    attributes.update({"role": "img", "aria-label": label} if label else {"aria-hidden": "true"})
    return tag("svg", attributes, *shapes)


def strip(who: str, drawing: Html, value: str = "", kind: str = "") -> Html:
    """Return one row of a plot."""
    return tag(
        "div",
        {"class": f"strip {kind}".strip()},
        tag("div", {"class": "who"}, who),
        tag("div", {"class": "draw"}, drawing),
        tag("div", {"class": "value"}, value),
    )


def axis_strip(axis: Axis, unit: str) -> Html:
    """Ticks with their numbers, and the unit in the column of values."""
    texts = []
    for t in axis.ticks():
        share = axis.share(t)
        side = "start" if share < 0.03 else "end" if share > 0.97 else "middle"
        texts.append(
            tag("text", {"class": "tick", "x": per_cent(share), "y": 14, "text-anchor": side}, unit_text(t))
        )
    return strip("", lane(18, *texts), unit, "axis")


def strips(axis: Axis, unit: str, rows: Sequence[Html], below: Sequence[Html] = ()) -> Html:
    """Return rows over their axis, then rows `below` it; a long plot has the axis above, too."""
    first = [axis_strip(axis, unit)] if len(rows) > 6 else []
    return tag("div", {"class": "strips"}, *first, *rows, axis_strip(axis, unit), *below)


def legend(*entries: tuple[str, str]) -> Html:
    """Return what colours and lines mean: pairs of a class and a word."""
    return tag(
        "p",
        {"class": "legend"},
        *(span("entry", tag("i", {"class": f"swatch {kind}"}), " ", word) for kind, word in entries),
    )


def figure(name: str, heading: str, caption: str, *content: str) -> Html:
    """Return a plot with its heading and the sentence that says how to read it; `name` is its anchor."""
    return tag(
        "figure",
        {"id": name},
        tag("figcaption", {}, tag("h3", {}, heading), tag("p", {}, unbroken(caption))),
        *content,
    )


def _title(text: str) -> Html:
    return tag("title", {}, text) if text else escape("")
