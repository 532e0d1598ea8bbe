"""Parity as rows of text, for the terminal and for the card."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ecovision_edge.base.stats import wilson_interval
from ecovision_edge.photographs.turns import TurnReport
from ecovision_edge_export.parity.figures import Accuracy, HalfParity, Parity

__all__ = ["parity_rows"]


def parity_rows(parity: Sequence[Parity]) -> list[list[str]]:
    """Tabulate a head, then one row per figure, with a column for PyTorch and one for each artifact."""

    def row(name: str, figure: Callable[[Parity], str]) -> list[str]:
        return [name, "", *map(figure, parity)]

    return [
        ["", "PyTorch", *(p.artifact for p in parity)],
        row("top-1 agreement", lambda p: f"{100 * p.agreement:.2f} % of {p.judged}"),
        row("flips", lambda p: f"{len(p.flips)} of {p.images}"),
        row("max |dp|", lambda p: f"{p.max_dp:.4f}"),
        row("mean |dp|", lambda p: f"{p.mean_dp:.4f}"),
        row("max |dlogit|, same input", lambda p: f"{p.max_dlogit:.2g}"),
        *_accuracy_rows([p.accuracy for p in parity if p.accuracy is not None]),
        *_turn_rows([p.turns for p in parity if p.turns is not None]),
        *_half_rows(parity),
        row("within budget", lambda p: "yes" if p.ok else "NO"),
    ]


def _half_rows(parity: Sequence[Parity]) -> list[list[str]]:
    """Tabulate what fp16 does; nothing where it was not measured."""
    if all(p.half is None for p in parity):
        return []

    def row(name: str, figure: Callable[[HalfParity], str]) -> list[str]:
        return [name, "", *("" if p.half is None else figure(p.half) for p in parity)]

    return [
        row("in fp16: top-1 agreement", lambda h: f"{100 * h.parity.agreement:.2f} % of {h.parity.judged}"),
        row("in fp16: max |dlogit| by it", lambda h: f"{h.moved:.2g}"),
        *(
            [row("in fp16: accuracy drop, points", _drop)]
            if any(p.half is not None and p.half.parity.accuracy is not None for p in parity)
            else []
        ),
    ]


def _drop(half: HalfParity) -> str:
    accuracy = half.parity.accuracy
    return "" if accuracy is None else f"{accuracy.drop_points:.2f}"


def _accuracy_rows(accuracies: Sequence[Accuracy]) -> list[list[str]]:
    """Tabulate how many labelled photographs are right; nothing where none were labelled."""
    if not accuracies:
        return []
    first = accuracies[0]
    counts = [(first.torch_correct, first.images), *((a.artifact_correct, a.images) for a in accuracies)]
    return [
        ["accuracy", *(_percent(*count) for count in counts)],
        ["Wilson 95 %", *(_interval(*count) for count in counts)],
        ["accuracy drop, points", "", *(f"{a.drop_points:.2f}" for a in accuracies)],
        ["McNemar p", "", *(f"{a.p:.2f}" for a in accuracies)],
    ]


def _turn_rows(reports: Sequence[TurnReport]) -> list[list[str]]:
    """Tabulate what turning the photographs does; nothing where they were not turned."""
    if not reports:
        return []
    few, turns = reports[0].photographs, len(reports[0].stripped.by_turn)
    sides = [report.stripped for report in reports]
    return [
        [f"accuracy of {few}, no bars", "", *(f"{100 * s.upright.accuracy:.2f} %" for s in sides)],
        [f"the same, mean of {turns} turns", "", *(f"{100 * s.mean:.2f} %" for s in sides)],
        [f"the same, worst of {turns} turns", "", *(f"{100 * s.worst.accuracy:.2f} %" for s in sides)],
    ]


def _percent(correct: int, images: int) -> str:
    return f"{100 * correct / images:.2f} %"


def _interval(correct: int, images: int) -> str:
    low, high = wilson_interval(correct, images)
    return f"{100 * low:.1f} to {100 * high:.1f} %"
