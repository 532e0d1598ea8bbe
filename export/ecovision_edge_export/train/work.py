"""A training between its photographs and its folder: what the loop is given, and what is kept of it."""

from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.photographs.turns import MOST_TURNED, TurnFigures, TurnReport
from ecovision_edge_export.photographs.seen import METADATA_KEY, Seen
from ecovision_edge_export.train.core.devices import describe_device, torch_threads, usable_cores
from ecovision_edge_export.train.core.fit import adam, fit, sgd
from ecovision_edge_export.train.core.objective import cross_entropy, distilled
from ecovision_edge_export.train.core.streams import PICTURES, STATISTICS
from ecovision_edge_export.train.core.terms import (
    Best,
    EpochRow,
    FitData,
    FitOptions,
    FitResult,
    InterruptedTrainingError,
)
from ecovision_edge_export.train.data.augment import augment
from ecovision_edge_export.train.data.batches import (
    STATISTICS_BATCH,
    STATISTICS_OF,
    WHOLE_SIZE,
    PhotographBatches,
    groups,
    normalized,
)
from ecovision_edge_export.train.data.freeze import FeatureBatches, extract
from ecovision_edge_export.train.data.listing import Listing
from ecovision_edge_export.train.data.pictures import Picture, Pictures, Skipped, squash, turned
from ecovision_edge_export.train.data.turning import measure_training
from ecovision_edge_export.train.data.views import draw_view
from ecovision_edge_export.train.networks.revive import Branch
from ecovision_edge_export.train.networks.start import Start
from ecovision_edge_export.train.networks.teachers import TEMPERATURE, Teacher
from ecovision_edge_export.train.options import Settings, TrainOptions
from ecovision_edge_export.train.recipes import train_size
from ecovision_edge_export.train.report.facts import data_facts, history_json, training_facts
from ecovision_edge_export.train.report.reporter import Reporter
from ecovision_edge_export.train.report.saving import HISTORY, Folder
from ecovision_edge_export.weights.preprocessing import Preprocessing

if TYPE_CHECKING:
    from ecovision_edge_export.train.qat.method import Int8Training

__all__ = ["Work", "worker_count"]

_CLASSIFIER = "classifier."


@dataclass(slots=True)
class Work:
    """Everything that is ready before the first step: photographs read, the model to start from."""

    settings: Settings
    options: TrainOptions
    listing: Listing
    start: Start
    pictures: tuple[Pictures, Pictures]
    skipped: list[Skipped]
    device: str
    reporter: Reporter
    stop: Callable[[], bool]
    teachers: Sequence[Teacher] = ()
    int8: Int8Training | None = None
    revived: list[Branch] = field(default_factory=list)
    machine: str = field(init=False)

    def __post_init__(self) -> None:
        self.machine = describe_device(self.device)

    @property
    def prepared(self) -> Preprocessing:
        """How photographs are prepared."""
        return Preprocessing(self.settings.size, "squash", self.start.mean, self.start.std)

    def facts(self, history: Sequence[EpochRow], best: Best) -> dict[str, JsonValue]:
        """Return what is known of the training so far."""
        data = data_facts(self.listing, *self.pictures, self.flattered, self.skipped, self.settings)
        labels = self.listing.labels
        facts = training_facts(self.settings, self.start, data, labels, history, best, self.machine)
        if self.revived:
            cast("dict[str, JsonValue]", facts["init"])["revived"] = [b.name for b in self.revived]
        if self.teachers:
            facts["distillation"] = {
                "weight": self.settings.teacher_weight,
                "temperature": TEMPERATURE,
                "teachers": [teacher.to_json() for teacher in self.teachers],
            }
        return facts

    def weights(self, best: Best) -> dict[str, Tensor]:
        """Return the weights of the whole network."""
        if self.int8 is not None:
            return self.int8.weights(best.weights)
        if not self.settings.freeze:
            return dict(best.weights)
        whole = {k: v.detach().cpu() for k, v in self.start.model.state_dict().items()}
        return whole | {_CLASSIFIER + k: v for k, v in best.weights.items()}

    @property
    def seen_before(self) -> Seen:
        """The photographs that the start and the teachers were trained on, as far as is known."""
        return functools.reduce(operator.or_, (t.seen or Seen() for t in self.teachers), self.start.seen)

    @property
    def flattered(self) -> int:
        """Validation photographs that were trained on, in this training or, as far as is known, before it."""
        train, val = self.pictures
        return self.seen_before.and_of(train.hashes, ()).count_trained(val.hashes)

    def metadata(self) -> dict[str, str]:
        """Return what the checkpoint says beside weights and facts."""
        train, val = self.pictures
        # With `keep_last` no epoch is chosen.
        seen = self.seen_before.and_of(train.hashes, () if self.int8 is not None else val.hashes)
        ranges = self.int8.metadata() if self.int8 is not None else {}
        return {METADATA_KEY: seen.dumps(), **ranges}

    def identity(self) -> dict[str, object]:
        """Return what has to be the same for a training to go on."""
        train, val = self.pictures
        taught = {"teachers": [teacher.sha256 for teacher in self.teachers]} if self.teachers else {}
        return {
            **taught,
            "labels": list(self.listing.labels),
            "init": self.start.sha256 or self.start.source,
            "train": train.digest,
            "val": val.digest,
            "device": self.device.partition(":")[0],
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
        }

    def fit(self, folder: Folder, state: Mapping[str, object] | None) -> FitResult:
        """Train, from the start or from `state`, and keep state and best weights in the folder."""
        how, settings = self.settings.how, self.settings
        identity = self.identity()
        written: list[int] = []  # epochs whose best weights are on the disk

        def save(snapshot: dict[str, object], best: Best | None) -> None:
            history = [EpochRow(**row) for row in cast("list[dict[str, int]]", snapshot["history"])]
            folder.save_state({"settings": settings.to_json(), "identity": identity, "fit": snapshot})
            if best is not None and best.row.epoch not in written:
                weights, facts = self.weights(best), self.facts(history, best)
                folder.save_weights(weights, self.listing.labels, self.prepared, facts, self.metadata())
                written.append(best.row.epoch)
            if history:
                folder.save_json(HISTORY, history_json(history))

        model = self.start.model.to(memory_format=torch.channels_last)
        answers = [teacher.answer for teacher in self.teachers]
        lesson = distilled(answers, settings.teacher_weight, TEMPERATURE) if answers else None
        objective = cross_entropy(how.smoothing, how.mixup, how.mixup_p, lesson)
        if self.int8 is not None:
            model, objective = self.int8.model, self.int8.objective
        data = self.data()
        # A classifier alone is so small that threads would only wait for each other.
        with torch_threads(1 if settings.freeze else None):
            return fit(
                model.get_submodule("classifier") if settings.freeze else model,
                data,
                FitOptions(
                    epochs=settings.epochs,
                    lr=settings.lr,
                    schedule=how.schedule,
                    warmup=how.warmup,
                    ema=how.ema,
                    seed=settings.seed,
                    device=self.device,
                    save_every=self.options.save_every,
                    # It is not about accuracy alone, and the rate has come down by then.
                    keep_last=self.int8 is not None,
                ),
                objective=objective,
                optimizer=sgd(how.weight_decay) if how.optimizer == "SGD" else adam,
                saved=None if state is None else cast("Mapping[str, object]", state["fit"]),
                save=save,
                watcher=self.reporter,
                stop=self.stop,
            )

    def data(self) -> FitData:
        """Return the batches: of photographs, or with `--freeze` of features."""
        how, settings = self.settings.how, self.settings
        train, val = self.pictures

        def other(rng: np.random.Generator) -> Picture:
            return train.picture(int(rng.integers(len(train))))

        def picture(epoch: int, step: int, index: int) -> Picture:
            rng = np.random.default_rng((PICTURES, settings.seed, epoch, index))
            size = settings.size
            if step != WHOLE_SIZE:
                size = train_size(how, size, epoch, settings.epochs, step, settings.seed)
            if how.views is not None:
                return draw_view(train.picture(index), size, how.views, rng, other)
            if how.augmentation is None:
                return train.picture(index)
            return augment(train.picture(index), size, how.augmentation, rng)

        classes, workers = len(self.listing.labels), worker_count(self.options)
        to_input = normalized(self.start.mean, self.start.std)
        photographs = functools.partial(
            PhotographBatches,
            picture,
            classes=classes,
            batch=settings.batch,
            seed=settings.seed,
            workers=workers,
            to_input=to_input,
        )
        judged = turned(val.picture, settings.size) if how.turned else val.picture
        batches = photographs(train.targets, judged, val.targets)
        if not settings.freeze:
            return batches
        self.reporter.counting("computing features", len(train) + len(val))
        every = photographs([], train.picture, train.targets)
        model = self.start.model
        return FeatureBatches(
            extract(model, every.val(), self.device, self.counted),
            extract(model, batches.val(), self.device, self.counted),
            classes=classes,
            batch=settings.batch,
            seed=settings.seed,
        )

    def sample(self, count: int) -> Iterator[Tensor]:
        """Network inputs of some photographs to train on, by the seed, unchanged: batches of up to 64.

        Raises:
            InterruptedTrainingError: `stop` said so.
        """
        train = self.pictures[0]
        squashed = squash(*self.settings.size)
        to_input = normalized(self.start.mean, self.start.std)
        order = np.random.default_rng((STATISTICS, self.settings.seed)).permutation(len(train))[:count]
        for group in groups(len(order), STATISTICS_BATCH):
            pictures = [squashed(Image.fromarray(train.picture(int(i)))) for i in order[group]]
            yield to_input(torch.from_numpy(np.stack(pictures)))
            self.counted(len(pictures))

    def validation_loss(self) -> float:
        """Mean cross entropy of the start on up to 512 validation photographs."""
        val = self.pictures[1]
        to_input = normalized(self.start.mean, self.start.std)
        chosen = range(0, len(val), -(-len(val) // STATISTICS_OF))
        model, total = self.start.model, 0.0
        model.eval()
        with torch.inference_mode():
            for group in groups(len(chosen), STATISTICS_BATCH):
                rows = chosen[group]
                inputs = to_input(torch.from_numpy(np.stack([val.picture(i) for i in rows])))
                targets = torch.tensor([val.targets[i] for i in rows])
                loss = torch.nn.functional.cross_entropy(model(inputs), targets, reduction="sum")
                total += float(loss)
        model.train()
        return total / len(chosen)

    def measure_turned(self, weights: Mapping[str, Tensor]) -> TurnReport | None:
        """Say what the weights of the network make of the validation photographs, upright and turned."""
        val, start = self.pictures[1], self.start
        self.reporter.counting("turning photographs", min(len(val), MOST_TURNED))
        report = measure_training(
            copy.deepcopy(start.model),
            weights,
            val,
            self.settings.size,
            (start.mean, start.std),
            lambda: self.reporter.counted(1),
        )
        for words, side in _sides(report):
            self.reporter.noted(
                f"{words}: {100 * side.upright.accuracy:.2f} % upright, {100 * side.mean:.2f} % in the mean "
                f"of 4 turns, {100 * side.worst.accuracy:.2f} % at worst"
            )
        return report

    def counted(self, done: int = 1) -> None:
        """Tell of so many steps of what comes before the training, and stop where that is asked for."""
        self.reporter.counted(done)
        if self.stop():
            raise InterruptedTrainingError("interrupted before the first step")


def worker_count(options: TrainOptions) -> int:
    """Threads that prepare photographs."""
    return min(4, usable_cores()) if options.workers is None else options.workers


def _sides(report: TurnReport | None) -> list[tuple[str, TurnFigures]]:
    """Return what is worth telling of a report, in words."""
    if report is None:
        return []
    few = f"{report.photographs} validation photographs"
    stripped = [(f"{few} without their grey bars", report.stripped)] if report.barred else []
    return [(f"{few} as they are", report.published), *stripped]
