"""A calibration as text: the same for the same figures."""

from __future__ import annotations

from collections.abc import Sequence

from ecovision_edge.calibration.figures import Calibration, Coverage, ViewsCalibration

__all__ = ["calibration_lines", "class_rows", "kept_by_views", "view_rows"]

_BASIS = {
    "own": "its own photographs",
    "pooled": "no proof of its own: all classes together",
    "never": "too often wrong, however sure",
}


def calibration_lines(result: Calibration, present: float) -> list[str]:
    """Write figures, tables and what they mean; `present` is the temperature before."""
    options = result.options
    fit = "fitted" if result.fitted else "kept: these photographs set none between 0.05 and 20"
    lines = [
        f"temperature {present:g} -> {result.temperature:g} ({fit})",
        f"accuracy {result.correct / result.photographs:.2%}: {result.correct} of {result.photographs}",
        f"expected calibration error {result.ece_before:.4f} -> {result.ece_after:.4f} (15 bins)",
        f"negative log-likelihood {result.nll_before:.4f} -> {result.nll_after:.4f} nats",
        "",
        *_table(class_rows(result)),
        "",
        *_table(_coverage_rows(result)),
        "",
    ]
    lines += [
        f"coverage at {risk:.1%} risk: {found.coverage:.1%} ({found.kept} of {found.photographs}), "
        + (f"threshold {found.threshold:.4f}" if found.kept else "no threshold has it")
        for risk, found in result.at_risk
    ]
    if result.rejection:
        lines += ["", *_table(_rejection_rows(result)), ""]
        lines.append("Thresholds are on probability; photographs of no class counted as errors.")
    if result.views is not None:
        lines += ["", *_table(view_rows(result.views)), "", kept_by_views(result.views)]
    lines += [
        f"What stands after an arrow, or is kept, is held out: of {options.folds} folds each by what the "
        "others set.",
        f"At or above its threshold at most {options.max_error:.1%} of a class's predictions are to be "
        f"wrong, at a confidence of {options.confidence:.0%} (Clopper and Pearson).",
    ]
    return lines


def class_rows(result: Calibration) -> list[list[str]]:
    """Tabulate one row per class: photographs, predictions, threshold, and what it keeps, held out."""
    head = ["class", "photographs", "called so", "wrong", "threshold", "kept", "wrong", "set by"]
    unknown = result.unknown > 0
    rows = [[*head[:7], *(["unknown"] if unknown else []), head[7]]]
    for c in result.classes:
        rows.append(
            [
                c.label,
                *(str(n) for n in (c.photographs, c.predicted, c.wrong)),
                f"{c.threshold.value:.3f}",
                *(str(n) for n in (c.kept, c.wrong_kept)),
                *([str(c.unknown_kept)] if unknown else []),
                _BASIS[c.threshold.basis],
            ]
        )
    return rows


def view_rows(views: ViewsCalibration) -> list[list[str]]:
    """Tabulate a head, then one row per view: what it and those before it say together, held out."""
    risks = [risk for risk, _ in views.combinations[0].at_risk]
    rows = [
        ["views, one more in each row", "correlation", "worth", "accuracy", "ECE", "NLL"]
        + [f"decided at {risk:.1%}" for risk in risks]
    ]
    for c in views.combinations:
        shown = [f"{c.correlation:.2f}", f"{c.effective:.2f}", f"{c.correct / views.photographs:.2%}"]
        shares = [f"{share:.1%}" for _, share in c.at_risk]
        rows.append([str(c.last), *shown, f"{c.ece:.4f}", f"{c.nll:.4f}", *shares])
    return rows


def kept_by_views(views: ViewsCalibration) -> str:
    """Return what the thresholds of all views together keep, held out."""
    wrong = f", {views.wrong_kept} of them wrong ({views.wrong_kept / views.kept:.1%})" if views.kept else ""
    return (
        f"By all {len(views.plan.views)} views {views.kept} of {views.photographs} are decided "
        f"({views.kept / views.photographs:.1%}){wrong}."
    )


def _coverage_rows(result: Calibration) -> list[list[str]]:
    unknown = result.unknown > 0
    rows = [["threshold", "coverage", "risk", "kept", "wrong", *(["unknown kept"] if unknown else [])]]

    def row(name: str, c: Coverage) -> list[str]:
        risk = "-" if c.risk is None else f"{c.risk:.2%}"
        shown = [name, f"{c.coverage:.1%}", risk, str(c.kept), str(c.wrong)]
        return [*shown, f"{c.unknown_kept} of {result.unknown}"] if unknown else shown

    rows += [row(f"{c.threshold:.2f}", c) for c in result.curve]
    rows.append(row("fitted", result.fitted_coverage))
    return rows


def _rejection_rows(result: Calibration) -> list[list[str]]:
    rows = [["rejection by", "AUROC", "FPR at 95 % TPR"]]
    return rows + [[r.score, f"{r.auroc:.4f}", f"{r.fpr:.2%}"] for r in result.rejection]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out columns with two spaces between: the first flush left, the last too where it is words."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    words = rows[0][-1] == "set by"
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        if words:
            cells[-1] = row[-1]
        lines.append("  ".join(cells))
    return lines
