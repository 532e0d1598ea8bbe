"""The recipes with all their numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from ecovision_edge._fields import JsonValue
from ecovision_edge.errors import OptionError
from ecovision_edge_export.train.augment import Augmentation
from ecovision_edge_export.train.terms import Schedule

__all__ = ["QAT", "RECIPES", "Recipe", "train_size"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train; `batch`, `epochs` and `lr` are defaults that options replace.

    Args:
        epochs: Of the whole training.
        batch: Photographs in a step.
        lr: Learning rate of Adam.
        schedule: Of the learning rate.
        warmup: Share of all steps over which it first rises.
        ema: Decay of the averaged weights; None: no average.
        smoothing: Of the labels.
        mixup: Parameter of mixup's Beta distribution; 0: none.
        sizes: Pairs: up to this share of the epochs, train at this share of the size. Validation is at the
            whole size always.
        augmentation: What is done to training photographs; None: resize and normalize alone.
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
    sizes: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    augmentation: Augmentation | None = field(default=None)
    temperature: float = 0.0
    mixed: float = 0.0

    def to_json(self) -> dict[str, JsonValue]:
        """All of it."""
        fields = asdict(self)
        fields["sizes"] = [list(pair) for pair in self.sizes]
        if self.augmentation is not None:
            fields["augmentation"] = self.augmentation.to_json()
        if not self.temperature:
            del fields["temperature"], fields["mixed"]
            return {"optimizer": "Adam", "loss": "cross entropy", **fields}
        loss = "divergence of int8 and fp32 from the answers of the start, and from each other"
        return {"optimizer": "Adam", "loss": loss, **fields, "lr_unit": "steps of int8"}


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
        sizes=((0.35, 0.72), (0.7, 0.86), (1.0, 1.0)),
        augmentation=Augmentation(),
    ),
    # Its learning rate is in steps of int8, see `qat.fake`.
    QAT: Recipe(epochs=6, batch=16, lr=0.08, schedule="cosine", warmup=0.03, temperature=4.0, mixed=0.5),
}
"""`card`: as the published model was made. `strong`: for what a camera sees. `qat`: for int8, see `QAT`."""


def train_size(recipe: Recipe, size: tuple[int, int], epoch: int, epochs: int) -> tuple[int, int]:
    """Height and width that an epoch, from 1 on, trains at: multiples of 32, which the network halves to.

    Raises:
        OptionError: `size` is below 32.
    """
    if min(size) < 32:
        raise OptionError("--imgsz", expected="32 pixels or more", found="x".join(map(str, size)))
    share = next(s for until, s in recipe.sizes if (epoch - 0.5) / epochs <= until)
    if share == 1.0:
        return size
    return max(32, 32 * round(size[0] * share / 32)), max(32, 32 * round(size[1] * share / 32))
