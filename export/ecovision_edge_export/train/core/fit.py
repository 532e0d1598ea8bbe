"""The training loop: any model, any source of batches; saved as it goes, resumed with the same result.

Everything random of a step comes from the seed and the step's own number, so a loop that was killed and goes
on from what it saved computes what one that was not killed does: bit for bit on one machine with one number
of threads, on the CPU.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ecovision_edge.errors import ExportError
from ecovision_edge_export.train.core.average import WeightAverage
from ecovision_edge_export.train.core.judging import judge
from ecovision_edge_export.train.core.objective import Objective, cross_entropy
from ecovision_edge_export.train.core.statistics import has_statistics, re_estimated
from ecovision_edge_export.train.core.streams import STEPS
from ecovision_edge_export.train.core.terms import (
    Batch,
    Best,
    EpochRow,
    FitData,
    FitOptions,
    FitResult,
    InterruptedTrainingError,
    MakeOptimizer,
    Watcher,
)

__all__ = ["adam", "fit", "sgd"]

_LAST_SHARE = 0.01  # of the learning rate that a cosine schedule ends with


def adam(parameters: list[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Adam with torch's defaults, as the published model's card names it."""
    return torch.optim.Adam(parameters, lr=lr)


def sgd(weight_decay: float, momentum: float = 0.9) -> MakeOptimizer:
    """SGD with Nesterov's momentum; matrices and kernels decay, biases and BatchNorm do not."""

    def make(parameters: list[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=True)

    return make


def fit(
    model: torch.nn.Module,
    data: FitData,
    options: FitOptions,
    *,
    objective: Objective | None = None,
    optimizer: MakeOptimizer = adam,
    saved: Mapping[str, object] | None = None,
    save: Callable[[dict[str, object], Best | None], None] | None = None,
    watcher: Watcher | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> FitResult:
    """Train `model`, in place, with all of its parameters that want a gradient.

    Args:
        model: Gives logits `(n, classes)` for the inputs of a batch. Moved to the device.
        data: Batches.
        options: How.
        objective: Loss and logits of a batch; None is plain cross entropy.
        optimizer: Makes the optimizer of the parameters.
        saved: What `save` was given before: go on from there.
        save: Called at the start, every `save_every` seconds, after each epoch and before an interruption,
            with what is to be given as `saved` (tensors, numbers, texts, lists and dicts: `torch.load` with
            `weights_only` reads it) and the best so far.
        watcher: Sees it as it goes.
        stop: Asked after each batch whether to save and stop.

    Raises:
        ExportError: the loss is no number any more.
        InterruptedTrainingError: `stop` said so.
    """
    devices = [torch.device(options.device)] if options.device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        loop = _Loop(model, data, options, objective or cross_entropy(), optimizer)
        if saved is not None:
            loop.restore(saved)
        return loop.run(save or (lambda *_: None), watcher or Watcher(), stop)


@dataclass(slots=True)
class _Progress:
    """Where the loop is: `step` batches of `epoch` are done, `done` of all; the sums are the epoch's."""

    epoch: int = 1
    step: int = 0
    done: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    seconds: float = 0.0
    history: list[EpochRow] = field(default_factory=list)
    best: Best | None = None


class _Loop:
    def __init__(
        self,
        model: torch.nn.Module,
        data: FitData,
        options: FitOptions,
        objective: Objective,
        optimizer: MakeOptimizer,
    ) -> None:
        self.model = model.to(options.device)
        self.data, self.options, self.objective = data, options, objective
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = optimizer(parameters, options.lr)
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.average = WeightAverage(self.model, options.ema) if options.ema is not None else None
        self.normalizes = has_statistics(self.model)
        self.cuda = options.device.startswith("cuda")
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.cuda)
        self.total = sum(data.steps(epoch) for epoch in range(1, options.epochs + 1))
        self.at = _Progress()

    def run(
        self,
        save: Callable[[dict[str, object], Best | None], None],
        watcher: Watcher,
        stop: Callable[[], bool],
    ) -> FitResult:
        def keep() -> None:
            save(self.snapshot(), self.at.best)

        keep()
        for row in self.at.history:  # of what was resumed
            watcher.ended(row, best=self._is_best(row))
        while self.at.epoch <= self.options.epochs:
            self._train(watcher, keep, stop)
            self._finish_epoch(watcher, keep, stop)
            keep()
        assert self.at.best is not None
        return FitResult(tuple(self.at.history), self.at.best)

    def _train(self, watcher: Watcher, keep: Callable[[], None], stop: Callable[[], bool]) -> None:
        """What is left of the epoch."""
        at = self.at
        steps = self.data.steps(at.epoch)
        watcher.started("training", at.epoch, steps)
        if at.step == steps:  # saved between training and validation
            return
        watcher.stepped(at.step, at.loss_sum / at.seen if at.seen else None)
        self.model.train()
        started = saved = time.monotonic()
        for batch in self.data.train(at.epoch, at.step):
            self._step(batch)
            watcher.stepped(at.step, at.loss_sum / at.seen)
            now = time.monotonic()
            at.seconds, started = at.seconds + now - started, now
            if stop():
                keep()
                raise self._interrupted()
            if now - saved >= self.options.save_every:
                keep()
                saved = now
        assert at.step == steps

    def _step(self, batch: Batch) -> None:
        at = self.at
        # The step's own randomness: dropout and mixup are the same whether the loop was resumed or not.
        words = np.random.SeedSequence((STEPS, self.options.seed, at.epoch, at.step)).generate_state(
            1, np.uint64
        )
        torch.manual_seed(int(words[0] >> np.uint64(1)))
        factor = self._rate_factor(at.done)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        inputs = batch.inputs.to(self.options.device, non_blocking=True)
        targets = batch.targets.to(self.options.device, non_blocking=True)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", enabled=self.cuda):
            loss, logits = self.objective(self.model, inputs, targets)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ExportError(
                f"the training diverged in epoch {at.epoch}, batch {at.step + 1}",
                expected="a loss that is a number",
                found=value,
                fix="train again with a lower --lr",
            )
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        at.step += 1
        at.done += 1
        if self.average is not None:
            self.average.update(at.done)
        at.loss_sum += value * len(targets)
        at.correct += int((logits.detach().argmax(1) == targets).sum())
        at.seen += len(targets)

    def _finish_epoch(self, watcher: Watcher, keep: Callable[[], None], stop: Callable[[], bool]) -> None:
        """Validate, and put a row to the history."""
        at = self.at
        started = time.monotonic()
        watcher.started("validating", at.epoch, self.data.val_steps())

        def stepped(number: int) -> None:
            watcher.stepped(number, None)
            if stop():
                raise self._interrupted()

        try:
            with self._judged(at.epoch):
                found = judge(self.model, self.data, self.options.device, stepped)
                weights = {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}
        except InterruptedTrainingError:
            keep()  # now that the model has its own weights again
            raise
        row = EpochRow(
            epoch=at.epoch,
            train_loss=at.loss_sum / at.seen,
            train_accuracy=at.correct / at.seen,
            val_loss=found.loss,
            val_accuracy=found.accuracy,
            lr=self.options.lr * self._rate_factor(at.done - 1),
            seconds=at.seconds + time.monotonic() - started,
        )
        better = (
            at.best is None
            or self.options.keep_last
            or (row.val_accuracy, -row.val_loss) > (at.best.row.val_accuracy, -at.best.row.val_loss)
        )
        if better:
            at.best = Best(row, found.correct, found.images, weights)
        self.at = _Progress(at.epoch + 1, done=at.done, history=[*at.history, row], best=at.best)
        watcher.ended(row, best=self._is_best(row))

    def _is_best(self, row: EpochRow) -> bool:
        """Return whether it is worth telling: where the last is kept, each epoch would be."""
        return not self.options.keep_last and self.at.best is not None and row == self.at.best.row

    @contextlib.contextmanager
    def _judged(self, epoch: int) -> Iterator[None]:
        """The weights that are judged and kept, for the time of the block: averaged, with new statistics."""
        with contextlib.ExitStack() as stack:
            if self.average is not None:
                stack.enter_context(self.average.in_place())
            if self.normalizes:
                inputs = (b.inputs.to(self.options.device) for b in self.data.statistics(epoch))
                stack.enter_context(re_estimated(self.model, inputs))
            yield

    def _interrupted(self) -> InterruptedTrainingError:
        at = self.at
        return InterruptedTrainingError(
            f"interrupted in epoch {at.epoch} of {self.options.epochs}, "
            f"after batch {at.step} of {self.data.steps(at.epoch)}; all of it is saved"
        )

    def _rate_factor(self, done: int) -> float:
        """Return the learning rate's share of `lr` in the step after `done` others."""
        warm = round(self.options.warmup * self.total)
        if done < warm:
            return (done + 1) / (warm + 1)
        if self.options.schedule == "constant":
            return 1.0
        share = (done - warm) / max(1, self.total - warm - 1)
        return _LAST_SHARE + (1 - _LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))

    def snapshot(self) -> dict[str, object]:
        """Give all that `restore` needs. The tensors are the loop's own: to be written at once, not kept."""
        at = self.at
        best = at.best
        return {
            "epoch": at.epoch,
            "step": at.step,
            "done": at.done,
            "loss_sum": at.loss_sum,
            "correct": at.correct,
            "seen": at.seen,
            "seconds": at.seconds,
            "history": [asdict(row) for row in at.history],
            "best": None
            if best is None
            else {
                "row": asdict(best.row),
                "correct": list(best.correct),
                "images": list(best.images),
                "weights": dict(best.weights),
            },
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, saved: Mapping[str, object]) -> None:
        """Go back to a snapshot of the same model, data and options."""
        best = cast("Mapping[str, object] | None", saved["best"])
        numbers = {k: saved[k] for k in ("epoch", "step", "done", "loss_sum", "correct", "seen", "seconds")}
        self.at = _Progress(
            **cast("dict[str, int]", numbers),
            history=[_row(row) for row in cast("list[Mapping[str, object]]", saved["history"])],
            best=None if best is None else _best(best),
        )
        self.model.load_state_dict(cast("dict[str, Tensor]", saved["model"]))
        self.optimizer.load_state_dict(cast("dict[str, object]", saved["optimizer"]))
        if self.average is not None:
            self.average.load_state_dict(cast("dict[str, Tensor]", saved["average"]))
        if self.cuda and saved["scaler"]:
            self.scaler.load_state_dict(cast("dict[str, object]", saved["scaler"]))


def _row(saved: Mapping[str, object]) -> EpochRow:
    return EpochRow(**cast("dict[str, float]", dict(saved)))  # type: ignore[arg-type]


def _best(saved: Mapping[str, object]) -> Best:
    return Best(
        _row(cast("Mapping[str, object]", saved["row"])),
        tuple(cast("list[int]", saved["correct"])),
        tuple(cast("list[int]", saved["images"])),
        cast("dict[str, Tensor]", saved["weights"]),
    )
