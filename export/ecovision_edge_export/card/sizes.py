"""The section of a card that says what the size of the input costs, and what it gains."""

from __future__ import annotations

from collections.abc import Sequence

from ecovision_edge.base.markdown import table
from ecovision_edge.bundle.sizes import SizeEntry
from ecovision_edge_export.parity.frontier import Frontier

__all__ = ["size_lines"]


def size_lines(frontier: Frontier, kept: Sequence[SizeEntry] = ()) -> list[str]:
    """Return the table of sizes and its plot, and which of them the bundle has, if it has several."""
    chosen = frontier.chosen
    taken = ""
    if chosen is not None:
        taken = f" Taken is the cheapest that loses at most {frontier.max_loss:g} points against the largest."
    return [
        f"fp32 on {frontier.photographs} of the labelled photographs, evenly spread, without letterbox bars. "
        f"Cost is modelled for {frontier.target}, 1 is the largest size; loss is of the {frontier.measure}, "
        f"in percentage points.{taken}",
        *_kept(kept),
        "",
        *table(frontier.rows()),
        "",
        "```text",
        *frontier.plot(),
        "```",
    ]


def _kept(kept: Sequence[SizeEntry]) -> list[str]:
    others = [f"`{size.folder}`" for size in kept if size.sha256 is not None]
    if not others:
        return []
    return [
        "",
        f"In {', '.join(others)} is the same network at these sizes, each a bundle by itself with its own "
        "card. `ecovision-edge tune .` chooses among them on a device.",
    ]
