"""How a run went over time: each row against itself, and in sustained mode beside the machine's state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.fields import JsonValue
from ecovision_edge_bench.measure.percentiles import percentile, supported
from ecovision_edge_bench.measure.result import Result
from ecovision_edge_bench.page.lanes import (
    CURVE_WIDTH,
    Axis,
    bar,
    curve,
    figure,
    grid,
    lane,
    legend,
    nice_above,
    strip,
    strips,
)
from ecovision_edge_bench.page.lines import Line
from ecovision_edge_bench.page.markup import Html, escape, join, milliseconds, span, tag

__all__ = ["Minute", "minutes_of", "over_minutes", "over_rounds"]

_HIGH, _HIGH_MINUTES = 52.0, 84.0
_MOST_POINTS = 240  # of a curve: more are not to be told apart on a screen
_STEADY = 0.05  # half height of the band that helps the eye
_MOST_UP, _MOST_DOWN = 2.0, 0.9  # shares that a lane reaches, whatever the outlier
_MINUTE_S = 60.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Minute:
    """One row in one minute: its median, and where enough frames are there their p10 and p90."""

    number: int
    middle: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class _Scale:
    """Shares of a row's own middle, from the foot of a lane to its top, `pixels` above."""

    low: float
    high: float
    pixels: float

    def down(self, value: float) -> float:
        """Pixels from the top of the lane; what leaves it is brought to its edge."""
        at = min(max(value, self.low), self.high)
        return 2 + (self.pixels - 4) * (self.high - at) / (self.high - self.low)

    @property
    def told(self) -> str:
        """For a caption."""
        return f"{100 * (self.low - 1):+.0f} % at its foot to {100 * (self.high - 1):+.0f} % at its top"


def over_rounds(lines: Sequence[Line]) -> Html:
    """Medians of the rounds over the run."""
    drawn = [x for x in lines if len(x.rounds) > 1]
    if not drawn:
        return figure("drift", "Over time", "Not drawn: no subject has more than one round.")
    group = max(1, math.ceil(max(len(x.rounds) for x in drawn) / _MOST_POINTS))
    points = {x.number: _rounds(x, group) for x in drawn}
    scale = _scale([v for _, values in points.values() for v in values.tolist()], _HIGH)
    axis = Axis(0.0, max(float(at[-1]) for at, _ in points.values()) * 1.01 or 1.0)
    each = "a round's median" if group == 1 else f"the median of {group} rounds' medians"
    caption = (
        f"Whether times held still: each point is {each} over the row's p50, the band is "
        f"±{100 * _STEADY:.0f} %; a bump in all rows is the machine's, in one row the subject's. A lane goes "
        f"from {scale.told}, and what leaves it is drawn at the edge; at the right, least and greatest."
    )
    rows = []
    for x in drawn:
        at, values = points[x.number]
        ends = " to ".join(milliseconds(float(v) * x.medians["total"]) for v in (values.min(), values.max()))
        drawing = _lane(axis, scale, _path(axis, scale, at, values), f"{x.row.key}: {ends} ms")
        rows.append(strip(x.who, drawing, join([ends, span("unit", "ms")], " ")))
    return figure("drift", "Over time", caption, strips(axis, "s", rows))


def minutes_of(line: Line, count: int) -> list[Minute]:
    """Return the first `count` minutes of a row; those without frames are left out."""
    at = np.asarray(line.row.samples.at_s, np.float64)
    which = np.floor_divide(at, _MINUTE_S).astype(np.int64)
    found = []
    for number in range(count):
        values = line.total[which == number]
        if len(values):
            enough = 90.0 in supported(len(values))
            low, high = (percentile(values, p) if enough else None for p in (10, 90))
            found.append(Minute(number + 1, percentile(values, 50), low, high))
    return found


def over_minutes(lines: Sequence[Line], result: Result) -> Html:
    """Draw sustained mode: one point per minute for each row, and the machine's state below."""
    count = len(result.minutes)
    minutes = {x.number: found for x in lines if (found := minutes_of(x, count))}
    values = [
        v / found[0].middle
        for found in minutes.values()
        for m in found
        for v in (m.middle, m.low, m.high)
        if v is not None
    ]
    scale = _scale(values or [1.0], _HIGH_MINUTES)
    axis = Axis(0.0, float(count))
    caption = (
        "Whether it stays as fast as it starts: each minute's median over that of the row's first minute, "
        f"and under that the machine at the end of each minute; the band is ±{100 * _STEADY:.0f} %. A lane "
        f"goes from {scale.told}; at the right, first and last."
    )
    rows = []
    for x in lines:
        if x.number in minutes:
            found = minutes[x.number]
            ends = _arrow(milliseconds(found[0].middle), milliseconds(found[-1].middle))
            drawing = _lane(axis, scale, _minute_paths(axis, scale, found), f"{x.row.key}: {ends} ms")
            rows.append(strip(x.who, drawing, join([ends, span("unit", "ms")], " ")))
    states = [
        *_state(axis, result.minutes, "temperature_c", "temperature", "°C"),
        *_state(axis, result.minutes, "frequency_mhz", "frequency", "MHz"),
        *_throttled(axis, result.minutes),
    ]
    unread = [
        word
        for word, name in (
            ("temperature", "temperature_c"),
            ("frequency", "frequency_mhz"),
            ("throttling", "throttling"),
        )
        if all(m.get(name) is None for m in result.minutes)
    ]
    if unread:
        caption += f" Not readable on this machine: {', '.join(unread)}."
    return figure(
        "sustained",
        "Sustained",
        caption,
        legend(("line curve", "median of the minute"), ("area", "10 % to 90 % of frames")),
        strips(axis, "minutes", [*rows, *states]),
    )


def _scale(values: Sequence[float], pixels: float) -> _Scale:
    """Round shares around the values, no nearer than the band and no farther than a lane may reach."""
    up = max(max(values) - 1, 2 * _STEADY)
    down = max(1 - min(values), 2 * _STEADY)
    return _Scale(1 - min(nice_above(down), _MOST_DOWN), 1 + min(nice_above(up), _MOST_UP), pixels)


def _rounds(line: Line, group: int) -> tuple[Floats, Floats]:
    """When (s), and medians over the row's own p50, of `group` rounds together."""
    numbers, first = np.unique(np.asarray(line.row.samples.round), return_index=True)
    at = np.asarray(line.row.samples.at_s, np.float64)[first]
    middle = max(line.medians["total"], 1e-9)
    values = np.array([line.rounds[int(n)] for n in numbers]) / middle
    starts = range(0, len(values), group)
    return at[::group], np.array([np.median(values[n : n + group]) for n in starts])


def _path(axis: Axis, scale: _Scale, at: Floats, values: Floats) -> Html:
    places = [
        f"{CURVE_WIDTH * axis.share(a):.5g} {scale.down(v):.4g}"
        for a, v in zip(at.tolist(), values.tolist(), strict=True)
    ]
    return curve("M" + "L".join(places), "curve", scale.pixels)


def _minute_paths(axis: Axis, scale: _Scale, found: Sequence[Minute]) -> Html:
    first = found[0].middle
    x = [CURVE_WIDTH * axis.share(m.number - 0.5) for m in found]
    known = [(a, m.low, m.high) for a, m in zip(x, found, strict=True)]
    upper = [f"{a:.5g} {scale.down(h / first):.4g}" for a, _, h in known if h is not None]
    lower = [f"{a:.5g} {scale.down(w / first):.4g}" for a, w, _ in reversed(known) if w is not None]
    area = (
        curve("M" + "L".join([*upper, *lower]) + "Z", "area", scale.pixels) if len(upper) > 1 else escape("")
    )
    middle = [f"{a:.5g} {scale.down(m.middle / first):.4g}" for a, m in zip(x, found, strict=True)]
    # A path of one point draws nothing: a minute alone is a short line.
    return join(
        [area, curve("M" + "L".join(middle) + ("h8" if len(middle) == 1 else ""), "curve", scale.pixels)]
    )


def _lane(axis: Axis, scale: _Scale, path: Html, label: str) -> Html:
    top, foot = scale.down(1 + _STEADY), scale.down(1 - _STEADY)
    middle = scale.down(1)
    return lane(
        scale.pixels,
        bar(0.0, 1.0, top, foot - top, "band"),
        grid(axis, scale.pixels),
        tag("line", {"class": "zero", "x1": "0", "x2": "100%", "y1": middle, "y2": middle}),
        path,
        label=label,
    )


def _state(
    axis: Axis, minutes: Sequence[Mapping[str, JsonValue]], name: str, word: str, unit: str
) -> list[Html]:
    """Return a lane of what the machine read, on a scale of its own; none where it was not readable."""
    points = [
        (n + 1.0, float(v))
        for n, m in enumerate(minutes)
        if isinstance(v := m.get(name), (int, float)) and not isinstance(v, bool)
    ]
    if not points:
        return []
    low, high = min(v for _, v in points), max(v for _, v in points)
    room = high - low or 1.0
    high_at = 44.0
    places = [
        f"{CURVE_WIDTH * axis.share(a):.5g} {5 + (high_at - 10) * (high - v) / room:.4g}" for a, v in points
    ]
    path = "M" + "L".join(places) + ("h-8" if len(places) == 1 else "")
    drawing = lane(
        high_at,
        grid(axis, high_at),
        curve(path, "state", high_at),
        label=f"{word}: {low:.0f} to {high:.0f} {unit}",
    )
    told = _arrow(f"{points[0][1]:.0f}", f"{points[-1][1]:.0f}")
    spread = span("aside", f"{low:.0f} to {high:.0f}")
    return [strip(span("key", word), drawing, join([told, span("unit", unit), spread], " "), "machine")]


def _throttled(axis: Axis, minutes: Sequence[Mapping[str, JsonValue]]) -> list[Html]:
    """Return a lane with the minutes at whose end the processor said that it was slowed down."""
    now = [_now(m) for m in minutes]
    if all(n is None for n in now):
        return []
    slowed = [(n, words) for n, words in enumerate(now) if words]
    bars = [bar(axis.share(n), axis.share(n + 1), 8, 12, "throttled", ", ".join(w)) for n, w in slowed]
    words = list(dict.fromkeys(w for _, found in slowed for w in found))
    told = f"{len(slowed)} of {len(minutes)} minutes: {', '.join(words)}" if slowed else "in no minute"
    drawing = lane(28, grid(axis, 28), *bars, label=f"throttled {told}")
    return [strip(span("key", "throttled"), drawing, told, "machine")]


def _now(minute: Mapping[str, JsonValue]) -> list[str] | None:
    throttling = minute.get("throttling")
    now = throttling.get("now") if isinstance(throttling, dict) else None
    return [str(n) for n in now] if isinstance(now, list) else None


def _arrow(first: str, last: str) -> str:
    return f"{first} → {last}"
