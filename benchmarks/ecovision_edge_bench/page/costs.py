"""What a start costs, in time and in memory."""

from __future__ import annotations

from collections.abc import Sequence

from ecovision_edge_bench.page.lanes import Axis, bar, figure, grid, lane, legend, plain_axis, strip, strips
from ecovision_edge_bench.page.lines import Line
from ecovision_edge_bench.page.markup import UNMEASURED, Html, join, span

__all__ = ["MIB", "PARTS", "cold_starts", "memory"]

MIB = 2**20
PARTS = (
    ("one", "import the engine", "import_ms"),
    ("two", "open the model", "create_ms"),
    ("three", "first answer", "first_ms"),
)


def cold_starts(lines: Sequence[Line]) -> Html:
    """Import, open, first answer, stacked."""
    cold = [x for x in lines if x.row.cold]
    if not cold:
        return figure("cold", "Cold start", "Not drawn: no cold start was measured.")
    count = max(len(x.row.cold) for x in cold)
    axis = plain_axis([sum(x.cold(name) or 0.0 for _, _, name in PARTS) for x in cold])
    caption = (
        f"How long until a fresh process has its first answer: medians of {count} "
        f"{'start' if count == 1 else 'starts'}; the system's file cache is not emptied in between."
    )
    return figure(
        "cold",
        "Cold start",
        caption,
        legend(*((kind, word) for kind, word, _ in PARTS)),
        strips(axis, "ms", [_start(x, axis) for x in cold]),
    )


def _start(line: Line, axis: Axis) -> Html:
    shapes, start = [], 0.0
    for kind, word, name in PARTS:
        took = line.cold(name) or 0.0
        shapes.append(bar(axis.share(start), axis.share(start + took), 8, 16, kind, f"{word} {took:.1f} ms"))
        start += took
    parts = " + ".join(f"{line.cold(name) or 0.0:.0f}" for _, _, name in PARTS)
    drawing = lane(32, grid(axis, 32), *shapes, label=f"{line.row.key}: {parts} ms")
    return strip(line.who, drawing, join([parts, span("unit", "ms")], " "))


def memory(lines: Sequence[Line]) -> Html:
    """Peak memory of a fresh process, and how much of it was there before the engine."""
    known = [(x, peak) for x in lines if (peak := x.memory("peak_bytes")) is not None]
    if not known:
        return figure("memory", "Memory", "Not drawn: no peak of memory was measured.")
    axis = plain_axis([peak / MIB for _, peak in known])
    caption = (
        "The most memory that a fresh process held until its first answer; the pale part was taken before "
        "the engine was imported, by Python and the frames."
    )
    return figure(
        "memory",
        "Memory",
        caption,
        legend(("pale", "before the engine"), ("one", "engine, model and buffers")),
        strips(axis, "MiB", [_memory(x, peak, axis) for x, peak in known]),
    )


def _memory(line: Line, peak: int, axis: Axis) -> Html:
    before = line.memory("before_bytes")
    split = axis.share((before or 0) / MIB)
    told = UNMEASURED if before is None else f"{before / MIB:.0f} MiB"
    drawing = lane(
        32,
        grid(axis, 32),
        bar(0.0, split, 8, 16, "pale", f"before the engine: {told}"),
        bar(split, axis.share(peak / MIB), 8, 16, "one", f"peak {peak / MIB:.0f} MiB"),
        label=f"{line.row.key}: peak {peak / MIB:.0f} MiB, before the engine {told}",
    )
    return strip(line.who, drawing, join([f"{peak / MIB:.0f}", span("unit", "MiB")], " "))
