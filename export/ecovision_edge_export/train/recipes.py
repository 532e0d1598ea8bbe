"""The recipes with all their numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.errors import OptionError
from ecovision_edge_export.train.core.streams import SIZES
from ecovision_edge_export.train.core.terms import Schedule
from ecovision_edge_export.train.data.augment import Augmentation
from ecovision_edge_export.train.data.views import Views

__all__ = ["BIN", "QAT", "RECIPES", "Recipe", "train_size", "train_sizes"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train; `batch`, `epochs` and `lr` are defaults that options replace.

    Args:
        epochs: Of the whole training.
        batch: Photographs in a step.
        lr: Learning rate.
        schedule: Of the learning rate.
        warmup: Share of all steps over which it first rises.
        ema: Decay of the averaged weights; None: no average.
        smoothing: Of the labels.
        mixup: Parameter of mixup's Beta distribution; 0: none.
        mixup_p: Share of the batches that get it.
        optimizer: `Adam`, or `SGD` with Nesterov's momentum of 0.9.
        weight_decay: Of SGD, on matrices and kernels alone.
        sizes: Up to this share of the epochs, train at one of these shares of the size, drawn for each batch.
            Validation is at the whole size always.
        augmentation: What is done to training photographs; None: resize and normalize alone.
        views: Views of training photographs instead, for a bin.
        turned: Validation photographs are judged without grey bars, each at one of the four quarter turns.
        temperature: Of the distillation of quantization-aware training, see `qat.distill`; 0: train in fp32.
        mixed: Share of the photographs that it lays another over.
    """

    epochs: int = 10
    batch: int = 32
    lr: float = 1e-3
    schedule: Schedule = "constant"
    warmup: float = 0.0
    ema: float | None = None
    smoothing: float = 0.0
    mixup: float = 0.0
    mixup_p: float = 1.0
    optimizer: Literal["Adam", "SGD"] = "Adam"
    weight_decay: float = 0.0
    sizes: tuple[tuple[float, tuple[float, ...]], ...] = ((1.0, (1.0,)),)
    augmentation: Augmentation | None = field(default=None)
    views: Views | None = field(default=None)
    turned: bool = False
    temperature: float = 0.0
    mixed: float = 0.0

    def to_json(self) -> dict[str, JsonValue]:
        """Return all of it."""
        fields = asdict(self)
        fields["sizes"] = [[until, list(shares)] for until, shares in self.sizes]
        fields["augmentation"] = None if self.augmentation is None else self.augmentation.to_json()
        fields["views"] = None if self.views is None else self.views.to_json()
        if not self.temperature:
            del fields["temperature"], fields["mixed"]
            return {"loss": "cross entropy", **fields}
        loss = "divergence of int8 and fp32 from the answers of the start, and from each other"
        return {"loss": loss, **fields, "lr_unit": "steps of int8"}


BIN = "bin"
"""For a camera that looks down at things in any orientation; from a trained start, or a long training."""

QAT = "qat"
"""Quantization-aware fine-tuning of a trained checkpoint: what `train --qat` chooses."""

RECIPES = {
    # The published EcoVision model's card: https://huggingface.co/AmadFR/ecovision_mobilenetv3
    "card": Recipe(),
    "strong": Recipe(
        schedule="cosine",
        warmup=0.05,
        ema=0.998,
        smoothing=0.1,
        mixup=0.2,
        sizes=((0.35, (0.72,)), (0.7, (0.86,)), (1.0, (1.0,))),
        augmentation=Augmentation(),
    ),
    BIN: Recipe(
        epochs=30,
        batch=64,
        lr=0.03,
        schedule="cosine",
        warmup=0.05,
        ema=0.998,
        smoothing=0.1,
        mixup=0.2,
        mixup_p=0.4,
        optimizer="SGD",
        weight_decay=5e-5,
        # 128 to 256 pixels of 224: small ones are cheap, large ones are seen when it counts.
        sizes=((0.75, (4 / 7, 5 / 7, 5 / 7, 6 / 7)), (1.0, (4 / 7, 5 / 7, 6 / 7, 1.0, 8 / 7))),
        views=Views(),
        turned=True,
    ),
    # Its learning rate is in steps of int8, see `qat.fake`.
    QAT: Recipe(epochs=6, batch=16, lr=0.08, schedule="cosine", warmup=0.03, temperature=4.0, mixed=0.5),
}
"""`card`: as the published model was made. `strong`: for what a camera sees. `bin`: for things that lie as
they fell, see `BIN`. `qat`: for int8, see `QAT`."""


def train_size(
    recipe: Recipe, size: tuple[int, int], epoch: int, epochs: int, step: int = 0, seed: int = 0
) -> tuple[int, int]:
    """Height and width that a batch trains at: multiples of 32, which the network halves to.

    Args:
        recipe: Its `sizes` say which there are.
        size: Of the network's input, pixels.
        epoch: From 1 on.
        epochs: Of the whole training.
        step: Number of the batch in the epoch, from 0 on.
        seed: Of the draw among several.

    Raises:
        OptionError: `size` is below 32.
    """
    if min(size) < 32:
        raise OptionError("--imgsz", expected="32 pixels or more", found="x".join(map(str, size)))
    shares = next(s for until, s in recipe.sizes if (epoch - 0.5) / epochs <= until)
    draw = np.random.default_rng((SIZES, seed, epoch, step)).integers(len(shares)) if len(shares) > 1 else 0
    return _scaled(size, shares[int(draw)])


def train_sizes(recipe: Recipe, size: tuple[int, int]) -> set[tuple[int, int]]:
    """Return every height and width that batches of a training at `size` may have."""
    return {_scaled(size, share) for _, shares in recipe.sizes for share in shares}


def _scaled(size: tuple[int, int], share: float) -> tuple[int, int]:
    if share == 1.0:
        return size
    return max(32, 32 * round(size[0] * share / 32)), max(32, 32 * round(size[1] * share / 32))
