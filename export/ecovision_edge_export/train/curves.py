"""The curves of a training as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

from ecovision_edge_export.extras import require
from ecovision_edge_export.train.fit import EpochRow

__all__ = ["draw_curves"]


def draw_curves(history: Sequence[EpochRow], best_epoch: int) -> bytes:
    """Losses and accuracies by epoch, as a PNG of 1200 x 500 pixels; the best epoch is marked.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require("matplotlib", "export")
    # The figure alone: pyplot would look for a screen, and keep every figure.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [row.epoch for row in history]
    figure = Figure(figsize=(12, 5), dpi=100, layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    marker = "o" if len(history) <= 30 else ""  # a single epoch is a point, which no line shows
    for axes, title, pairs in (
        (
            losses,
            "Loss",
            (("train", [r.train_loss for r in history]), ("validation", [r.val_loss for r in history])),
        ),
        (
            accuracies,
            "Accuracy, %",
            (
                ("train", [100 * r.train_accuracy for r in history]),
                ("validation", [100 * r.val_accuracy for r in history]),
            ),
        ),
    ):
        for name, values in pairs:
            axes.plot(epochs, values, marker=marker, label=name)
        axes.axvline(best_epoch, linestyle=":", color="grey", label=f"best, epoch {best_epoch}")
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
