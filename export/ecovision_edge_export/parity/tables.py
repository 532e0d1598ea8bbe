"""Parity as rows of text, for the terminal and for the card."""

from __future__ import annotations

from collections.abc import Sequence

from ecovision_edge.base.stats import wilson_interval
from ecovision_edge_export.parity.figures import Parity

__all__ = ["parity_rows"]


def parity_rows(parity: Sequence[Parity]) -> list[list[str]]:
    """Tabulate a head, then one row per figure, with a column for PyTorch and one for each artifact."""
    rows = [
        ["", "PyTorch", *(p.artifact for p in parity)],
        ["top-1 agreement", "", *(f"{100 * p.agreement:.2f} % of {p.judged}" for p in parity)],
        ["flips", "", *(f"{len(p.flips)} of {p.images}" for p in parity)],
        ["max |dp|", "", *(f"{p.max_dp:.4f}" for p in parity)],
        ["mean |dp|", "", *(f"{p.mean_dp:.4f}" for p in parity)],
        ["max |dlogit|, same input", "", *(f"{p.max_dlogit:.2g}" for p in parity)],
    ]
    accuracies = [p.accuracy for p in parity if p.accuracy is not None]
    if accuracies:
        first = accuracies[0]
        rows += [
            [
                "accuracy",
                _percent(first.torch_correct, first.images),
                *(_percent(a.artifact_correct, a.images) for a in accuracies),
            ],
            [
                "Wilson 95 %",
                _interval(first.torch_correct, first.images),
                *(_interval(a.artifact_correct, a.images) for a in accuracies),
            ],
            ["accuracy drop, points", "", *(f"{a.drop_points:.2f}" for a in accuracies)],
            ["McNemar p", "", *(f"{a.p:.2f}" for a in accuracies)],
        ]
    reports = [p.turns for p in parity if p.turns is not None]
    if reports:
        few, turns = reports[0].photographs, len(reports[0].stripped.by_turn)
        sides = [report.stripped for report in reports]
        rows += [
            [f"accuracy of {few}, no bars", "", *(f"{100 * s.upright.accuracy:.2f} %" for s in sides)],
            [f"the same, mean of {turns} turns", "", *(f"{100 * s.mean:.2f} %" for s in sides)],
            [f"the same, worst of {turns} turns", "", *(f"{100 * s.worst.accuracy:.2f} %" for s in sides)],
        ]
    rows.append(["within budget", "", *("yes" if p.ok else "NO" for p in parity)])
    return rows


def _percent(correct: int, images: int) -> str:
    return f"{100 * correct / images:.2f} %"


def _interval(correct: int, images: int) -> str:
    low, high = wilson_interval(correct, images)
    return f"{100 * low:.1f} to {100 * high:.1f} %"
