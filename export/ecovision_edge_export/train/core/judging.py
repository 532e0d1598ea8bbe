"""A network on the photographs that validate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ecovision_edge_export.train.core.terms import FitData

__all__ = ["Tally", "judge"]


@dataclass(frozen=True, slots=True)
class Tally:
    """Mean cross entropy, and for each class how many photographs were right, and how many there are."""

    loss: float
    correct: tuple[int, ...]
    images: tuple[int, ...]

    @property
    def accuracy(self) -> float:
        """The accuracy over all photographs, 0 to 1."""
        return sum(self.correct) / sum(self.images)


def judge(
    model: torch.nn.Module, data: FitData, device: str, stepped: Callable[[int], None] = lambda number: None
) -> Tally:
    """Judge a model, which is left in eval mode, in fp32 even on CUDA: what is exported later is fp32 too.

    Args:
        model: On the device.
        data: Its `val` batches.
        device: As torch names it.
        stepped: Called with the number of batches done, from 1 on. What it raises ends the judging.
    """
    correct = torch.zeros(data.classes, dtype=torch.int64)
    images = torch.zeros(data.classes, dtype=torch.int64)
    total = 0.0
    model.eval()
    with torch.inference_mode():
        for number, batch in enumerate(data.val(), 1):
            targets = batch.targets.cpu()
            logits = model(batch.inputs.to(device)).float().cpu()
            total += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
            correct += torch.bincount(targets[logits.argmax(1) == targets], minlength=data.classes)
            images += torch.bincount(targets, minlength=data.classes)
            stepped(number)
    return Tally(total / int(images.sum()), tuple(correct.tolist()), tuple(images.tolist()))
