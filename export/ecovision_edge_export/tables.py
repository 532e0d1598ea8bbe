"""Parity as rows of text, for the terminal and for the card."""

from __future__ import annotations

from collections.abc import Sequence

from ecovision_edge.stats import wilson_interval
from ecovision_edge_export.parity import Parity

__all__ = ["parity_rows"]


def parity_rows(parity: Sequence[Parity]) -> list[list[str]]:
    """A head and a row an artifact, PyTorch first where there are labels."""
    labelled = parity[0].accuracy is not None
    head = ["artifact", "agreement", "flips", "max |dp|", "mean |dp|", "max |dlogit| same input"]
    rows = [head]
    if labelled:
        head += ["accuracy [Wilson 95 %]", "drop, points", "McNemar p"]
        first = parity[0].accuracy
        assert first is not None
        rows.append(["PyTorch", "", "", "", "", "", _share(first.torch_correct, first.images), "", ""])
    for p in parity:
        row = [
            p.artifact,
            f"{100 * p.agreement:.2f} % of {p.judged}",
            str(len(p.flips)),
            f"{p.max_dp:.3f}",
            f"{p.mean_dp:.4f}",
            f"{p.max_dlogit:.2g}",
        ]
        if p.accuracy is not None:
            a = p.accuracy
            row += [_share(a.artifact_correct, a.images), f"{a.drop_points:.2f}", f"{a.p:.2f}"]
        rows.append(row)
    return rows


def _share(correct: int, images: int) -> str:
    low, high = wilson_interval(correct, images)
    return f"{100 * correct / images:.2f} % [{100 * low:.1f}, {100 * high:.1f}]"
