"""The section of a card that says how a model does whichever way a thing lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from ecovision_edge.base.markdown import plain, table
from ecovision_edge.photographs.turns import TurnFigure, TurnReport
from ecovision_edge_export.parity.figures import Parity

__all__ = ["Turns", "turn_lines"]

Turns: TypeAlias = Literal["any", "upright"]
"""What a checkpoint says that its training was for."""

_TRAINED: dict[Turns | None, str] = {
    "any": "Trained for any orientation: things may lie as they fall.",
    "upright": (
        "Not trained for any orientation, only for upright things. Where they lie as they fall, as in a bin, "
        "expect the figures of the turned photographs."
    ),
    None: "Whether it was trained for any orientation is not known: the weights' file does not say.",
}


def turn_lines(parity: Sequence[Parity], turns: Turns | None) -> list[str]:
    """Return what the training was for, and accuracy by turn of each artifact.

    Args:
        parity: Of each artifact.
        turns: What the training was for; None if that is not known.
    """
    measured = [(p.artifact, p.turns) for p in parity if p.turns is not None]
    if not measured:
        return [_TRAINED[turns], "", "Accuracy by turn was not measured: that takes labelled photographs."]
    report = measured[0][1]
    bars = (
        f" Grey letterbox bars, which {report.barred} of them have and no camera's frame has, are stripped."
        if report.barred
        else ""
    )
    return [
        _TRAINED[turns],
        "",
        f"{report.photographs} of the labelled photographs, evenly spread, turned counter-clockwise.{bars}",
        "",
        *table(_rows(measured)),
    ]


def _rows(measured: Sequence[tuple[str, TurnReport]]) -> list[list[str]]:
    reports = [report for _, report in measured]
    rows = [["turn", *(plain(name) for name, _ in measured)]]
    if reports[0].barred:
        rows.append(["upright, with bars", *(_percent(r.published.upright) for r in reports)])
    for figures in zip(*(r.stripped.by_turn for r in reports), strict=True):
        degrees = figures[0].degrees
        rows.append([f"{degrees:g} degrees" if degrees else "upright", *map(_percent, figures)])
    rows.append(["mean", *(f"{100 * r.stripped.mean:.1f} %" for r in reports)])
    rows.append(["worst", *(_percent(r.stripped.worst) for r in reports)])
    return rows


def _percent(figure: TurnFigure) -> str:
    return f"{100 * figure.accuracy:.1f} %"
