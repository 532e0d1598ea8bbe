"""What is known of a training, measured or chosen: into the checkpoint, `training.json` and the card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

from ecovision_edge import __version__
from ecovision_edge.base.fields import JsonValue
from ecovision_edge_export.card.turned import Turns
from ecovision_edge_export.train.core.terms import Best, EpochRow
from ecovision_edge_export.train.data.listing import Listing
from ecovision_edge_export.train.data.pictures import Pictures, Skipped
from ecovision_edge_export.train.networks.start import Start
from ecovision_edge_export.train.options import Settings
from ecovision_edge_export.train.recipes import QAT

__all__ = ["class_rows", "data_facts", "history_json", "recipe_facts", "training_facts"]


def recipe_facts(settings: Settings) -> dict[str, JsonValue]:
    """Return the recipe, all its numbers, and what the options changed in it."""
    how = settings.how.to_json()
    chosen: dict[str, JsonValue] = {"epochs": settings.epochs, "batch": settings.batch, "lr": settings.lr}
    if settings.teachers:
        how["loss"] = "cross entropy, and divergence from the answers of teachers"
    trained = "the classifier alone" if settings.freeze else "all layers"
    return {"name": settings.recipe, "trained": trained, **how, **chosen}


def data_facts(
    listing: Listing,
    train: Pictures,
    val: Pictures,
    flattered: int,
    skipped: Sequence[Skipped],
    settings: Settings,
) -> dict[str, JsonValue]:
    """Counts, hashes, and how the photographs were parted.

    Args:
        listing: All photographs.
        train: Those trained on.
        val: Those validated on.
        flattered: How many of these were trained on too.
        skipped: Those that could not be read.
        settings: Of the training.
    """

    def side(pictures: Pictures) -> dict[str, JsonValue]:
        counts = listing.counts(pictures.images)
        return {
            "photographs": len(pictures),
            "sha256": pictures.digest,
            "by_class": dict(zip(listing.labels, counts, strict=True)),
        }

    return {
        "train": side(train),
        "validation": {**side(val), "trained_on": flattered},
        "split": listing.split,
        "map": settings.map,
        "skipped_files": len(skipped),
    }


def training_facts(
    settings: Settings,
    start: Start,
    data: dict[str, JsonValue],
    labels: Sequence[str],
    history: Sequence[EpochRow],
    best: Best,
    device: str,
) -> dict[str, JsonValue]:
    """Return all of it, for the checkpoint."""
    import torch
    import torchvision

    return {
        "init": {"source": start.source, "sha256": start.sha256, "head": start.head},
        "recipe": recipe_facts(settings),
        "turns": _turns(settings, start),
        "size": list(settings.size),
        "seed": settings.seed,
        "data": data,
        "epochs": len(history),
        "best_epoch": best.row.epoch,
        "train_loss": best.row.train_loss,
        "train_accuracy": best.row.train_accuracy,
        "val_loss": best.row.val_loss,
        "val_accuracy": best.row.val_accuracy,
        "classes": cast("list[JsonValue]", class_rows(labels, best)),
        "seconds": round(sum(row.seconds for row in history), 1),
        "device": device,
        "versions": {
            "ecovision_edge": __version__,
            "torch": str(torch.__version__),
            "torchvision": str(torchvision.__version__),
        },
    }


def _turns(settings: Settings, start: Start) -> Turns | None:
    """For things in any orientation, or upright ones; where features stay as they were, as the start was."""
    if settings.how.turned:
        return "any"
    return start.turns if settings.freeze or settings.recipe == QAT else "upright"


def class_rows(labels: Sequence[str], best: Best) -> list[dict[str, JsonValue]]:
    """Validation photographs of each class: how many were right and wrong in the best epoch."""
    return [
        {
            "label": label,
            "images": images,
            "correct": correct,
            "incorrect": images - correct,
            "accuracy": correct / images if images else None,
        }
        for label, images, correct in zip(labels, best.images, best.correct, strict=True)
    ]


def history_json(history: Sequence[EpochRow]) -> list[JsonValue]:
    """Write the table, one row per epoch."""
    return [asdict(row) for row in history]
