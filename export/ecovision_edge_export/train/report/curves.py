"""The curves of a training as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

from ecovision_edge.base.extras import require
from ecovision_edge_export.train.core.terms import EpochRow

__all__ = ["draw_curves"]


def draw_curves(history: Sequence[EpochRow], kept: int, *, int8: bool = False) -> bytes:
    """Losses and accuracies by epoch, as a PNG of 1200 x 500 pixels; the epoch that was kept is marked.

    Args:
        history: All epochs, at least one.
        kept: The epoch whose weights were kept.
        int8: Whether it was a training for int8: its training loss is a divergence, that of validation a
            cross entropy, so each has axes of its own.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    require("matplotlib", "export")
    # The figure alone: pyplot would look for a screen, and keep every figure.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    train, validation = [r.train_loss for r in history], [r.val_loss for r in history]
    panels: list[tuple[str, dict[str, list[float]]]] = [("Loss", {"train": train, "validation": validation})]
    if int8:
        panels = [
            ("Training loss: divergence from fp32", {"train": train}),
            ("Validation loss of int8: cross entropy", {"validation": validation}),
        ]
    accuracies = {
        "train": [100 * r.train_accuracy for r in history],
        "validation": [100 * r.val_accuracy for r in history],
    }
    panels.append(("Accuracy of int8, %" if int8 else "Accuracy, %", accuracies))
    epochs = [row.epoch for row in history]
    figure = Figure(figsize=(12, 5), dpi=100, layout="constrained")
    marker = "o" if len(history) <= 30 else ""  # a single epoch is a point, which no line shows
    colors = {"train": "C0", "validation": "C1"}
    for axes, (title, curves) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for name, values in curves.items():
            axes.plot(epochs, values, marker=marker, color=colors[name], label=name)
        label = f"{'last' if int8 else 'best'}, epoch {kept}"
        axes.axvline(kept, linestyle=":", color="grey", label=label)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
