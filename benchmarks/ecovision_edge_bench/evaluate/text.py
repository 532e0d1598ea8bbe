"""The figures as lines of text, the same for the same figures."""

from __future__ import annotations

from ecovision_edge.cli.output import printable
from ecovision_edge.photographs.turns import TurnReport
from ecovision_edge_bench.evaluate.metrics import CALIBRATION_BINS, Metrics
from ecovision_edge_bench.evaluate.run import Evaluation

__all__ = [
    "accuracy_line",
    "class_rows",
    "figure_lines",
    "note_lines",
    "percent",
    "title",
    "turn_rows",
]

MAX_CONFUSIONS = 10  # that are printed; --json has the whole matrix
_SHOWN = 10  # names in a note


def percent(share: float | None) -> str:
    """Return a share of 0 to 1 as per cent; a dash for none."""
    return "-" if share is None else f"{100 * share:.2f} %"


def title(evaluation: Evaluation) -> str:
    """Return what was evaluated, on what."""
    chosen = len(evaluation.answers.images)
    of = f" of {evaluation.data.found}" if evaluation.data.limit is not None else ""
    return printable(f"{evaluation.model.name} on {chosen}{of} photographs of {evaluation.data.folder}")


def class_rows(metrics: Metrics) -> list[tuple[str, str, str, str]]:
    """Make the table of a model card: head, one row per class in label order, and all together."""
    return [
        ("class", "correct", "incorrect", "accuracy"),
        *((c.label, str(c.correct), str(c.incorrect), percent(c.accuracy)) for c in metrics.classes),
        ("all", str(metrics.correct), str(metrics.incorrect), percent(metrics.accuracy)),
    ]


def accuracy_line(metrics: Metrics) -> str:
    """Accuracy with its interval."""
    low, high = metrics.interval
    return f"{percent(metrics.accuracy)} [{100 * low:.1f}, {100 * high:.1f}]"


def figure_lines(metrics: Metrics) -> list[str]:
    """Return the figures of all classes together, and what is most often taken for what."""
    classes = len(metrics.classes) - len(metrics.absent)
    confusions = metrics.confusions
    lines = [
        f"accuracy {accuracy_line(metrics)} (Wilson 95 %)",
        f"macro F1 {metrics.macro_f1:.4f} of {classes} {'class' if classes == 1 else 'classes'}",
        f"calibration error (ECE, {CALIBRATION_BINS} bins) {metrics.ece:.4f}",
        f"mean confidence {metrics.mean_confidence:.4f}",
        f"negative log-likelihood {metrics.nll:.4f}",
        f"confusions, of {metrics.incorrect}:" if confusions else "confusions: none",
        *(f"  {c.truth} -> {c.predicted} {c.count}" for c in confusions[:MAX_CONFUSIONS]),
    ]
    if len(confusions) > MAX_CONFUSIONS:
        lines.append(f"  and {len(confusions) - MAX_CONFUSIONS} more pairs; --json FILE has all")
    return lines


def turn_rows(report: TurnReport) -> list[tuple[str, ...]]:
    """Accuracy by turn: a head, one row per turn, mean and worst; with and without bars if some have them."""
    sides = [("as published", report.published), ("bars stripped", report.stripped)]
    if not report.barred:
        sides = [("accuracy", report.stripped)]
    return [
        ("turn", *(name for name, _ in sides)),
        *(
            (f"{figures[0].degrees:g}\N{DEGREE SIGN}", *(percent(figure.accuracy) for figure in figures))
            for figures in zip(*(side.by_turn for _, side in sides), strict=True)
        ),
        ("mean", *(percent(side.mean) for _, side in sides)),
        ("worst", *(percent(side.worst.accuracy) for _, side in sides)),
    ]


def _bar_lines(report: TurnReport | None) -> list[str]:
    """With and without letterbox bars, upright, where photographs have any."""
    if report is None or not report.barred:
        return []
    published, stripped = report.published.upright, report.stripped.upright
    return [
        f"{report.barred} of {report.photographs} photographs have grey letterbox bars, which a camera's "
        f"frame has not: accuracy {percent(published.accuracy)} with them, "
        f"{percent(stripped.accuracy)} without"
    ]


def note_lines(evaluation: Evaluation) -> list[str]:
    """Return what a reader has to know besides: what was left out, and what bars do."""
    lines = [
        *_bar_lines(evaluation.turns),
        *(
            f"skipped, as --map says: {folder}, {images} {'image' if images == 1 else 'images'}"
            for folder, images in evaluation.data.skipped
        ),
    ]
    absent = evaluation.metrics.absent
    if absent:
        more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        lines.append(f"no photographs of {', '.join(absent[:_SHOWN])}{more}: left out of macro F1")
    model = evaluation.model
    if model.precision == "int8" and model.engine.startswith("onnxruntime") and model.cpu.u8s8_saturates:
        lines.append("this CPU clips sums of int8 products: other devices may differ in a few answers")
    failures = len(evaluation.answers.failures)
    if failures:
        lines.append(f"{failures} {'image' if failures == 1 else 'images'} could not be decoded: left out")
    return [printable(line) for line in lines]
