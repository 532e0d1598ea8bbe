"""The weights of several trainings from one start, averaged: kept only if validation says so.

Source: M. Wortsman et al., "Model soups", ICML 2022, arXiv 2203.05482: fine-tunings of one start lie in one
basin, so that the mean of their weights is a network too, and often a better one than each.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.errors import CheckpointError, OptionError
from ecovision_edge_export.photographs.seen import METADATA_KEY, Seen
from ecovision_edge_export.train.core.devices import choose_device, torch_threads
from ecovision_edge_export.train.core.judging import judge
from ecovision_edge_export.train.core.statistics import estimate_statistics
from ecovision_edge_export.train.core.terms import Best, EpochRow, FitData
from ecovision_edge_export.train.data.batches import STATISTICS_OF
from ecovision_edge_export.train.options import Settings, TrainOptions, settle
from ecovision_edge_export.train.prepare import prepare
from ecovision_edge_export.train.report.card import write_average_card
from ecovision_edge_export.train.report.reporter import Reporter
from ecovision_edge_export.train.report.saving import CARD, FACTS, Folder
from ecovision_edge_export.train.work import Work
from ecovision_edge_export.weights.checkpoint import Checkpoint, build_model, load_checkpoint

__all__ = ["AverageResult", "Judged", "average_trainings"]


@dataclass(frozen=True, slots=True)
class Judged:
    """One network on the validation photographs: accuracy 0 to 1, mean loss."""

    name: str
    accuracy: float
    loss: float

    def to_json(self) -> dict[str, JsonValue]:
        """Return all of it."""
        return {"name": self.name, "val_accuracy": self.accuracy, "val_loss": self.loss}


@dataclass(frozen=True, slots=True)
class AverageResult:
    """What came of it: the trainings, their average, and where it is if it was kept."""

    trainings: tuple[Judged, ...]
    average: Judged
    path: Path | None

    def to_json(self) -> dict[str, JsonValue]:
        """Return all of it."""
        return {
            "trainings": [judged.to_json() for judged in self.trainings],
            "average": self.average.to_json(),
            "kept": self.path is not None,
        }


def average_trainings(
    sources: Sequence[str],
    options: TrainOptions,
    out: Path,
    reporter: Reporter | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> AverageResult:
    """Average the weights of trainings, estimate BatchNorm's statistics again, and judge all on one folder.

    The average is written to `out`, as `train` writes, if it is better than each of the trainings: more
    accurate, or as accurate with less loss.

    Args:
        sources: Two or more, each as `load_checkpoint` takes it; usually folders of `train`.
        options: Photographs, device, threads, workers. The rest is as in the first training.
        out: A new folder.
        reporter: Sees it as it goes.
        stop: Asked often whether to stop.

    Raises:
        OptionError: fewer than two, or they do not go together.
        CheckpointError, DatasetError, DownloadError: weights, photographs.
        ExportError: the disk says no.
        InterruptedTrainingError: `stop` said so.
    """
    reporter = reporter or Reporter()
    if len(sources) < 2:
        raise OptionError("--average", expected="two trainings or more", found=len(sources))
    if options.teachers:
        raise OptionError("--average", expected="no --teacher: nothing is trained", found="--teacher")
    checkpoints = [load_checkpoint(source) for source in sources]
    _check_together(sources, checkpoints)
    photographs = {"--data": options.data, **({"--val": options.val} if options.val is not None else {})}
    folder = Folder(out, resume=False, apart_from=photographs)
    settings = _settings(replace(options, init=sources[0]), checkpoints[0])
    with torch_threads(options.threads):
        work = prepare(settings, options, reporter, stop, choose_device(options.device))
        if work.start.head != "kept":
            raise OptionError(
                "--data",
                expected=f"the classes of the trainings: {', '.join(checkpoints[0].labels or ())}",
                found=", ".join(work.listing.labels),
            )
        names = [checkpoint.source.source for checkpoint in checkpoints]
        trainings = [_judge(work, name, c)[0] for name, c in zip(names, checkpoints, strict=True)]
        mean = replace(checkpoints[0], state=_mean([c.state for c in checkpoints]))
        average, best = _judge(work, "their average", mean, estimate=True)
        if (average.accuracy, -average.loss) <= max((t.accuracy, -t.loss) for t in trainings):
            return AverageResult(tuple(trainings), average, None)
        _write(folder, work, checkpoints, trainings, best)
    return AverageResult(tuple(trainings), average, out)


def _settings(options: TrainOptions, first: Checkpoint) -> Settings:
    """Return the settings of the first training, as far as its checkpoint says."""
    facts = first.training or {}
    recipe = facts.get("recipe")
    name = recipe.get("name") if isinstance(recipe, Mapping) else None
    known = replace(options, recipe=name if name in ("card", "strong", "bin") else options.recipe)
    if first.preprocessing is not None and options.size is None:
        known = replace(known, size=first.preprocessing.size)
    return settle(known, None)


def _check_together(sources: Sequence[str], checkpoints: Sequence[Checkpoint]) -> None:
    first = checkpoints[0]
    for source, other in zip(sources[1:], checkpoints[1:], strict=True):
        for what in ("labels", "num_classes", "preprocessing"):
            a, b = getattr(first, what), getattr(other, what)
            if a != b:
                raise OptionError(
                    f"--average: {sources[0]} and {source} do not have the same {what.replace('_', ' ')}",
                    expected=str(a),
                    found=str(b),
                )
    starts = {str(_start_of(c)) for c in checkpoints}
    if len(starts) > 1:
        raise OptionError(
            "--average",
            expected="trainings from one start, or their mean is no network",
            found=f"{len(starts)} starts: {', '.join(sorted(starts))}",
        )
    if first.labels is None:
        raise CheckpointError(
            f"{sources[0]} does not name its classes", fix="average folders of `ecovision-edge train`"
        )


def _taught(checkpoint: Checkpoint) -> dict[str, JsonValue]:
    """Return what the checkpoint says of its teachers, if it had some."""
    said = (checkpoint.training or {}).get("distillation")
    return {} if said is None else {"distillation": said}


def _start_of(checkpoint: Checkpoint) -> object:
    init = (checkpoint.training or {}).get("init")
    return init.get("sha256") or init.get("source") if isinstance(init, Mapping) else None


def _mean(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """In double precision; counters are the first's."""
    return {
        key: torch.stack([state[key].double() for state in states]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value
        for key, value in states[0].items()
    }


def _judge(work: Work, name: str, checkpoint: Checkpoint, *, estimate: bool = False) -> tuple[Judged, Best]:
    """Return one network on the validation photographs, as the recipe judges them."""
    model = build_model(checkpoint).to(work.device).to(memory_format=torch.channels_last)
    data = work.data()
    if estimate:
        work.reporter.counting("estimating BatchNorm's statistics", STATISTICS_OF)
        estimate_statistics(model, _counted(work, data))
    work.reporter.counting(f"judging {name}", data.val_steps())
    tally = judge(model, data, work.device, lambda _: work.counted())
    work.reporter.noted(f"{name}: {100 * tally.accuracy:.2f} %, loss {tally.loss:.4f}")
    weights = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
    row = EpochRow(0, 0.0, 0.0, tally.loss, tally.accuracy, 0.0, 0.0)
    return Judged(name, tally.accuracy, tally.loss), Best(row, tally.correct, tally.images, weights)


def _counted(work: Work, data: FitData) -> Iterator[Tensor]:
    for batch in data.statistics(1):
        yield batch.inputs.to(work.device)
        work.counted(len(batch.inputs))


def _write(
    folder: Folder,
    work: Work,
    checkpoints: Sequence[Checkpoint],
    trainings: Sequence[Judged],
    best: Best,
) -> None:
    """Weights, facts and card, as a training leaves them."""
    facts = work.facts((), best)
    for unknown in ("best_epoch", "train_loss", "train_accuracy", "seconds"):
        del facts[unknown]
    facts["init"] = {"source": f"the average of {len(trainings)} trainings", "sha256": None, "head": "kept"}
    facts["averaged"] = [
        {**t.to_json(), "sha256": c.source.sha256, **_taught(c)}
        for t, c in zip(trainings, checkpoints, strict=True)
    ]
    turned = work.measure_turned(best.weights)
    if turned is not None:
        facts["turned"] = turned.to_json()
    labels, name = work.listing.labels, folder.path.resolve().name
    every = functools.reduce(operator.or_, (checkpoint.seen or Seen() for checkpoint in checkpoints))
    seen = every.and_of((), work.pictures[1].hashes)
    folder.save_weights(best.weights, labels, work.prepared, facts, {METADATA_KEY: seen.dumps()})
    folder.save_json(FACTS, facts)
    folder.write(CARD, write_average_card(name, labels, work.prepared, facts).encode())
