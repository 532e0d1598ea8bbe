"""The weights of several trainings from one start, averaged: kept only if validation says so.

Source: M. Wortsman et al., "Model soups", ICML 2022, arXiv 2203.05482: fine-tunings of one start lie in one
basin, so that the mean of their weights is a network too, and often a better one than each. A training that
learnt long from its start is mixed into it by less than half (M. Wortsman et al., "Robust fine-tuning of
zero-shot models", CVPR 2022, arXiv 2109.01903), so that several shares are tried and validation chooses.
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
from ecovision_edge_export.weights.preprocessing import Preprocessing

SHARES = (1 / 2, 1 / 3, 1 / 6)
"""Shares in the average that are tried for each training after the best one, in this order."""

__all__ = ["AverageResult", "Judged", "average_trainings"]


@dataclass(frozen=True, slots=True)
class Judged:
    """One network on the validation photographs: accuracy 0 to 1, mean loss."""

    name: str
    accuracy: float
    loss: float

    @property
    def merit(self) -> tuple[float, float]:
        """What makes it better than another: its accuracy, then a smaller loss."""
        return self.accuracy, -self.loss

    def to_json(self) -> dict[str, JsonValue]:
        """Return all of it."""
        return {"name": self.name, "val_accuracy": self.accuracy, "val_loss": self.loss}


@dataclass(frozen=True, slots=True)
class AverageResult:
    """What came of it: the trainings, their average, and where it is if it was kept.

    `shares` are those of the trainings in the average, in their order; they sum to 1.
    """

    trainings: tuple[Judged, ...]
    shares: tuple[float, ...]
    average: Judged
    path: Path | None

    def to_json(self) -> dict[str, JsonValue]:
        """Return all of it."""
        return {
            "trainings": [judged.to_json() for judged in self.trainings],
            "shares": list(self.shares),
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

    Begins with the best training and mixes the others into it, the better ones first, each by the best of
    `SHARES` if that is better than without. The average is written to `out`, as `train` writes, if it is
    better than each of the trainings: more accurate, or as accurate with less loss.

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
        mixture = _mix(work, checkpoints, trainings)
        kept = mixture.judged.merit > max(t.merit for t in trainings)
        if kept:
            _write(folder, work, checkpoints, trainings, mixture)
    return AverageResult(tuple(trainings), mixture.shares, mixture.judged, out if kept else None)


@dataclass(frozen=True, slots=True)
class _Mixture:
    """Shares of the trainings, and the network that they make."""

    shares: tuple[float, ...]
    judged: Judged
    best: Best


def _mix(work: Work, checkpoints: Sequence[Checkpoint], trainings: Sequence[Judged]) -> _Mixture:
    """Return the best average found: of two trainings or more."""
    first, *others = sorted(range(len(trainings)), key=lambda i: trainings[i].merit, reverse=True)
    shares = tuple(float(i == first) for i in range(len(trainings)))
    found: _Mixture | None = None
    for other in others:
        tried = [
            tuple((1 - share) * s + share * (i == other) for i, s in enumerate(shares)) for share in SHARES
        ]
        mixtures = [_judge_mixture(work, checkpoints, each) for each in tried]
        found = max([*mixtures, *([found] if found else [])], key=lambda m: m.judged.merit)
        if found.judged.merit > trainings[first].merit:
            shares = found.shares
    assert found is not None
    return found


def _judge_mixture(work: Work, checkpoints: Sequence[Checkpoint], shares: tuple[float, ...]) -> _Mixture:
    name = "average of " + " + ".join(
        f"{100 * share:.0f} % {checkpoint.source.source}"
        for share, checkpoint in zip(shares, checkpoints, strict=True)
        if share
    )
    mean = replace(checkpoints[0], state=_mean([c.state for c in checkpoints], shares))
    return _Mixture(shares, *_judge(work, name, mean, estimate=True))


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
        for what, a, b in (
            ("labels", first.labels, other.labels),
            ("num classes", first.num_classes, other.num_classes),
            ("preprocessing", _preprocessing_of(first), _preprocessing_of(other)),
        ):
            if a != b:
                raise OptionError(
                    f"--average: {sources[0]} and {source} do not have the same {what}",
                    expected=str(a),
                    found=str(b),
                )
    if not set.intersection(*map(_ancestors, checkpoints)):
        starts = sorted({str(_start_of(c)) for c in checkpoints})
        raise OptionError(
            "--average",
            expected="trainings from one start, or their mean is no network",
            found=f"{len(starts)} starts: {', '.join(starts)}",
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


def _ancestors(checkpoint: Checkpoint) -> set[str]:
    """Return the names of the network itself, of its start, and of what it is the average of."""
    averaged = (checkpoint.training or {}).get("averaged")
    rows = averaged if isinstance(averaged, Sequence) else ()
    of = (row.get("sha256") for row in rows if isinstance(row, Mapping))
    return {str(name) for name in (checkpoint.source.sha256, _start_of(checkpoint), *of) if name}


def _preprocessing_of(checkpoint: Checkpoint) -> Preprocessing:
    """Return what the checkpoint says, or the default that `export` takes where it says nothing."""
    return checkpoint.preprocessing or Preprocessing()


def _mean(states: Sequence[Mapping[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Average in double precision; counters are the first's."""
    weights = torch.tensor(shares, dtype=torch.float64)
    return {
        key: torch.tensordot(weights, torch.stack([state[key].double() for state in states]), 1).to(
            value.dtype
        )
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
    mixture: _Mixture,
) -> None:
    """Weights, facts and card, as a training leaves them."""
    best = mixture.best
    facts = work.facts((), best)
    for unknown in ("best_epoch", "train_loss", "train_accuracy", "seconds"):
        del facts[unknown]
    facts["init"] = {"source": f"the average of {len(trainings)} trainings", "sha256": None, "head": "kept"}
    facts["averaged"] = [
        {**t.to_json(), "share": share, "sha256": c.source.sha256, **_taught(c)}
        for t, c, share in zip(trainings, checkpoints, mixture.shares, strict=True)
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
