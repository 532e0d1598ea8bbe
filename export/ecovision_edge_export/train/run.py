"""A training, whole: from photographs to what it leaves in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor

from ecovision_edge.base.fields import JsonValue
from ecovision_edge_export.train.core.devices import choose_device, torch_threads
from ecovision_edge_export.train.core.terms import Best, EpochRow
from ecovision_edge_export.train.data.pictures import Skipped
from ecovision_edge_export.train.options import TrainOptions, settle
from ecovision_edge_export.train.prepare import check_same, prepare
from ecovision_edge_export.train.report.card import write_training_card
from ecovision_edge_export.train.report.curves import draw_curves
from ecovision_edge_export.train.report.facts import history_json
from ecovision_edge_export.train.report.reporter import Reporter
from ecovision_edge_export.train.report.saving import CARD, CURVES, FACTS, HISTORY, Folder
from ecovision_edge_export.train.work import Work

__all__ = ["Reporter", "TrainResult", "train"]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training came to, and the folder that holds it."""

    path: Path
    labels: tuple[str, ...]
    history: tuple[EpochRow, ...]
    best: Best
    facts: Mapping[str, JsonValue]
    skipped: tuple[Skipped, ...]

    def to_json(self) -> dict[str, JsonValue]:
        """Return all of it but the weights."""
        return {
            "out": self.path.name,
            "labels": list(self.labels),
            "history": history_json(self.history),
            "training": dict(self.facts),
            "skipped": [{"file": s.name, "reason": s.reason} for s in self.skipped],
        }


def train(
    options: TrainOptions,
    out: Path,
    reporter: Reporter | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Train as the options say, into the folder `out`.

    Args:
        options: What and how.
        out: Where `best.safetensors`, `last.pth`, `history.json`, `training.json`, `curves.png` and
            `MODEL_CARD.md` go.
        reporter: Sees it as it goes.
        stop: Asked often whether to save and stop.

    Raises:
        OptionError, DatasetError, CheckpointError, DownloadError: options, photographs, weights.
        ExportError: the training diverged, or the disk says no.
        InterruptedTrainingError: `stop` said so.
    """
    reporter = reporter or Reporter()
    photographs = {"--data": options.data, **({"--val": options.val} if options.val is not None else {})}
    folder = Folder(out, resume=options.resume, apart_from=photographs)
    state = folder.load_state() if options.resume else None
    settings = settle(options, cast("Mapping[str, object]", state["settings"]) if state else None)
    device = choose_device(options.device)
    with torch_threads(options.threads):
        work = prepare(settings, options, reporter, stop, device)
        if state is not None:
            check_same(state, work, reporter)
        result = work.fit(folder, state)
        facts = work.facts(result.history, result.best)
        weights = work.weights(result.best)
        turned = work.measure_turned(weights)
        if turned is not None:
            facts["turned"] = turned.to_json()
        curves = draw_curves(result.history, result.best.row.epoch, int8=work.int8 is not None)
        folder.write(CURVES, curves)
        folder.save_json(HISTORY, history_json(result.history))
        _save(folder, work, result.history, weights, facts)
        if work.int8 is not None:  # the table and the curves are there, whatever this finds
            facts["int8"] = work.int8.finish(weights, work.reporter.noted)
            _save(folder, work, result.history, weights, facts)
    return TrainResult(out, work.listing.labels, result.history, result.best, facts, tuple(work.skipped))


def _save(
    folder: Folder,
    work: Work,
    history: Sequence[EpochRow],
    weights: Mapping[str, Tensor],
    facts: Mapping[str, JsonValue],
) -> None:
    """Weights and card, with all the facts."""
    labels, name = work.listing.labels, folder.path.resolve().name
    folder.save_weights(weights, labels, work.prepared, facts, work.metadata())
    folder.save_json(FACTS, {**facts})
    folder.write(CARD, write_training_card(name, labels, work.prepared, history, facts).encode())
