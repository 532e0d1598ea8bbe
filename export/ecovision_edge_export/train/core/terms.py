"""What goes into the training loop and comes out of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from ecovision_edge.errors import ExportError, OptionError

__all__ = [
    "Batch",
    "Best",
    "EpochRow",
    "FitData",
    "FitOptions",
    "FitResult",
    "InterruptedTrainingError",
    "MakeOptimizer",
    "Save",
    "Schedule",
    "Watcher",
]

Schedule = Literal["constant", "cosine"]
MakeOptimizer = Callable[[list[torch.nn.Parameter], float], torch.optim.Optimizer]
"""Of parameters and a learning rate."""


class InterruptedTrainingError(ExportError):
    """The training was asked to stop; what it has done is saved."""

    exit_status = 130


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs `(n, ...)` as the model takes them, and targets `(n,)` int64, on any device."""

    inputs: Tensor
    targets: Tensor


class FitData(Protocol):
    """Where batches come from; the same ones each time that they are asked for."""

    classes: int

    def steps(self, epoch: int) -> int:
        """Count the batches of an epoch; epochs count from 1."""

    def train(self, epoch: int, first: int) -> Iterator[Batch]:
        """Return the batches of an epoch, from number `first` on."""

    def val(self) -> Iterator[Batch]:
        """Give the batches to validate on."""

    def statistics(self, epoch: int) -> Iterator[Batch]:
        """Give some to estimate BatchNorm's statistics from: as in training, at the size of validation."""

    def val_steps(self) -> int:
        """Return how many these are."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How to train.

    Args:
        epochs: At least 1.
        lr: Learning rate, above 0.
        schedule: `constant`, or `cosine` from `lr` to a hundredth of it.
        warmup: Share of all steps, 0 to 1, over which the rate first rises in a line.
        ema: Decay of the averaged weights, 0 to 1; these are then validated and kept. None: no average.
        seed: Of everything random.
        device: `cpu` or `cuda`, as torch names it; on CUDA with automatic mixed precision.
        save_every: Seconds between two saves in the middle of an epoch.
        keep_last: Whether the last epoch is kept, whatever its accuracy, in place of the best.

    Raises:
        OptionError: a value outside its range.
    """

    epochs: int = 10
    lr: float = 1e-3
    schedule: Schedule = "constant"
    warmup: float = 0.0
    ema: float | None = None
    seed: int = 0
    device: str = "cpu"
    save_every: float = 60.0
    keep_last: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.epochs <= 100_000:
            raise OptionError("--epochs", expected="1 to 100000", found=self.epochs)
        if not (math.isfinite(self.lr) and 0 < self.lr <= 10):
            raise OptionError("--lr", expected="above 0, at most 10", found=self.lr)
        if not 0 <= self.warmup <= 1:
            raise OptionError("warmup", expected="0 to 1", found=self.warmup)
        if self.ema is not None and not 0 < self.ema < 1:
            raise OptionError("ema", expected="between 0 and 1", found=self.ema)
        if not 0 <= self.seed < 2**32:
            raise OptionError("--seed", expected=f"0 to {2**32 - 1}", found=self.seed)


@dataclass(frozen=True, slots=True)
class EpochRow:
    """A row of the table: losses are means over photographs, accuracies 0 to 1; `seconds` of the epoch."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Best:
    """The epoch of the best validation accuracy (then of the least loss, then the first), and its weights.

    With `keep_last` it is the last one so far.

    `correct` and `images` count the validation photographs of each class.
    """

    row: EpochRow
    correct: tuple[int, ...]
    images: tuple[int, ...]
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class FitResult:
    """All epochs, and the best of them."""

    history: tuple[EpochRow, ...]
    best: Best


Save = Callable[[dict[str, object], Best | None], None]
"""Takes a snapshot, and the best so far; see `fit`."""


class Watcher:
    """Sees the training as it goes, and shows nothing: override what is to be shown."""

    def started(self, what: str, epoch: int, steps: int) -> None:
        """`training` or `validating` of an epoch begins."""

    def stepped(self, done: int, loss: float | None) -> None:
        """Tell how many of its batches are done, and the mean loss so far."""

    def ended(self, row: EpochRow, *, best: bool) -> None:
        """An epoch is over, now or before the training was resumed.

        `best` is whether it is the best so far; never with `keep_last`.
        """
