"""The section of a card that says what the size of the input costs, and what it gains."""

from __future__ import annotations

from ecovision_edge.base.markdown import table
from ecovision_edge_export.parity.frontier import Frontier

__all__ = ["size_lines"]


def size_lines(frontier: Frontier) -> list[str]:
    """Return the table of sizes and its plot."""
    chosen = frontier.chosen
    taken = ""
    if chosen is not None:
        taken = f" Taken is the cheapest that loses at most {frontier.max_loss:g} points against the largest."
    return [
        f"fp32 on {frontier.photographs} of the labelled photographs, evenly spread, without letterbox bars. "
        f"Cost is modelled for {frontier.target}, 1 is the largest size; loss is of the {frontier.measure}, "
        f"in percentage points.{taken}",
        "",
        *table(frontier.rows()),
        "",
        "```text",
        *frontier.plot(),
        "```",
    ]
