"""The plots of the report as inline SVG; the colours are the page's, in light and dark mode."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

from ecovision_edge.base.stats import wilson_interval
from ecovision_edge_bench.evaluate.metrics import Metrics, ReliabilityBin

__all__ = ["add", "heat_map", "reliability_diagram"]

_CELL = 34  # pixels, side of a cell of the heat map
_LETTER = 6.6  # pixels, about, of a letter at 12 px
_MOST_LETTERS = 22  # of a label; the rest is in its tooltip

# The reliability diagram, pixels: the plot above, and below it the histogram on the same axis.
_LEFT, _TOP, _WIDE, _HIGH, _GAP, _LOW = 46, 10, 300, 230, 14, 52


def add(
    parent: ET.Element, tag: str, text: str | None = None, attributes: Mapping[str, str] | None = None
) -> ET.Element:
    """Append an element with text and attributes, and return it; escaping is the serializer's."""
    child = ET.SubElement(parent, tag, dict(attributes or {}))
    child.text = text
    return child


def heat_map(metrics: Metrics, shown: Sequence[int]) -> ET.Element:
    """Draw the confusion matrix of the `shown` classes: rows are truths, columns predictions.

    The stronger the colour, the larger the share of the row's photographs. Where `shown` is not all, a last
    column counts what was taken for a class that is not shown.
    """
    labels = [metrics.classes[i].label for i in shown]
    others = len(shown) < len(metrics.classes)
    names = [*labels, "(others)"] if others else labels
    margin = round(min(_MOST_LETTERS, max(map(len, names))) * _LETTER) + 10
    width, height = margin + _CELL * len(names), margin + _CELL * len(labels)
    svg = _svg(width, height, "Confusion matrix")
    svg.set("style", f"min-width:{round(width * 0.72)}px;width:{width}px")
    for j, name in enumerate(names):
        x = margin + _CELL * j + _CELL / 2
        at = {"x": "0", "y": "4", "transform": f"translate({x:g},{margin - 6}) rotate(-90)"}
        _label(svg, name, {**at, "class": "axis"})
    for i, row in enumerate(shown):
        y = margin + _CELL * i
        _label(
            svg,
            labels[i],
            {"x": str(margin - 6), "y": f"{y + _CELL / 2 + 4:g}", "class": "axis", "text-anchor": "end"},
        )
        total = metrics.classes[row].photographs
        counts = [int(metrics.confusion[row, column]) for column in shown]
        if others:
            counts.append(total - sum(counts))
        for j, count in enumerate(counts):
            tip = f"{names[j]} for {labels[i]}: {count} of {total}"
            _cell(svg, (margin + _CELL * j, y), count, count / total if total else 0.0, i == j, tip)
    return svg


def _cell(
    svg: ET.Element, place: tuple[float, float], count: int, share: float, right: bool, tip: str
) -> None:
    x, y = place
    box = {"x": f"{x + 1:g}", "y": f"{y + 1:g}", "width": str(_CELL - 2), "height": str(_CELL - 2), "rx": "3"}
    if not count:
        add(svg, "rect", None, {**box, "class": "empty"})
        return
    group = add(svg, "g")
    add(group, "title", tip)
    # The square root lifts the few errors of a good classifier off the background.
    opacity = 0.12 + 0.88 * share**0.5
    side = "right" if right else "wrong"
    add(group, "rect", None, {**box, "class": side, "fill-opacity": f"{opacity:.2f}"})
    dark = "on" if opacity > 0.55 else "off"
    middle = {"x": f"{x + _CELL / 2:g}", "y": f"{y + _CELL / 2 + 4:g}", "text-anchor": "middle"}
    add(group, "text", str(count), {**middle, "class": dark})


def reliability_diagram(bins: Sequence[ReliabilityBin]) -> ET.Element:
    """Accuracy against confidence, one bar per bin with Wilson's 95 % interval, over a histogram."""
    floor = _TOP + _HIGH
    bottom = floor + _GAP + _LOW
    svg = _svg(_LEFT + _WIDE + 12, bottom + 36, "Reliability diagram")
    svg.set("style", f"width:{_LEFT + _WIDE + 12}px")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y, x = floor - _HIGH * share, _LEFT + _WIDE * share
        _line(svg, (_LEFT, y), (_LEFT + _WIDE, y), "grid")
        add(
            svg,
            "text",
            f"{share:g}",
            {"x": str(_LEFT - 6), "y": f"{y + 4:g}", "class": "axis", "text-anchor": "end"},
        )
        add(
            svg,
            "text",
            f"{share:g}",
            {"x": f"{x:g}", "y": str(bottom + 14), "class": "axis", "text-anchor": "middle"},
        )
    largest = max(b.count for b in bins)
    for b in bins:
        if b.accuracy is not None and b.confidence is not None:
            _bin(svg, b, b.accuracy, b.confidence, largest)
    _line(svg, (_LEFT, floor), (_LEFT + _WIDE, _TOP), "ideal")
    _line(svg, (_LEFT, bottom), (_LEFT + _WIDE, bottom), "grid")
    middle = {"class": "axis", "text-anchor": "middle"}
    add(svg, "text", "confidence", {**middle, "x": str(_LEFT + _WIDE // 2), "y": str(bottom + 30)})
    for text, y in (("accuracy", _TOP + _HIGH / 2), ("count", floor + _GAP + _LOW / 2)):
        add(
            svg, "text", text, {**middle, "x": "0", "y": "0", "transform": f"translate(12,{y:g}) rotate(-90)"}
        )
    return svg


def _bin(svg: ET.Element, b: ReliabilityBin, accuracy: float, confidence: float, largest: int) -> None:
    floor = _TOP + _HIGH
    x, width = _LEFT + _WIDE * b.low, _WIDE * (b.high - b.low)
    group = add(svg, "g")
    add(
        group,
        "title",
        f"confidence {b.low:.3f} to {b.high:.3f}: {b.count} photographs, "
        f"mean confidence {confidence:.3f}, accuracy {accuracy:.3f}",
    )
    across = {"x": f"{x + 1:.1f}", "width": f"{width - 2:.1f}"}
    _bar(group, across, floor, _HIGH * accuracy, "right")
    low, high = wilson_interval(b.correct, b.count)
    middle = x + width / 2
    _line(group, (middle, floor - _HIGH * low), (middle, floor - _HIGH * high), "whisker")
    y = floor - _HIGH * confidence
    _line(group, (x + 1, y), (x + width - 1, y), "said")
    _bar(group, across, floor + _GAP + _LOW, _LOW * b.count / largest, "count")


def _bar(parent: ET.Element, across: Mapping[str, str], floor: float, height: float, kind: str) -> None:
    add(
        parent,
        "rect",
        None,
        {**across, "y": f"{floor - height:.1f}", "height": f"{height:.1f}", "class": kind},
    )


def _svg(width: float, height: float, name: str) -> ET.Element:
    return ET.Element("svg", {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": name})


def _line(parent: ET.Element, start: tuple[float, float], end: tuple[float, float], kind: str) -> None:
    (x1, y1), (x2, y2) = start, end
    at = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}", "class": kind}
    add(parent, "line", None, at)


def _label(svg: ET.Element, name: str, attributes: Mapping[str, str]) -> None:
    """A label, cut where it is long; whole in the tooltip."""
    short = name if len(name) <= _MOST_LETTERS else f"{name[: _MOST_LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
    text = add(svg, "text", short, attributes)
    if short != name:
        add(text, "title", name)
