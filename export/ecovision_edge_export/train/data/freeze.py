"""Training of the classifier alone: what comes before it is computed once for each photograph."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ecovision_edge_export.train.core.streams import ORDER
from ecovision_edge_export.train.core.terms import Batch
from ecovision_edge_export.train.data.batches import groups

__all__ = ["FeatureBatches", "extract"]

VAL_BATCH = 4096  # features; a small matrix


def extract(
    model: torch.nn.Module, batches: Iterator[Batch], device: str, progressed: Callable[[int], None]
) -> tuple[Tensor, Tensor]:
    """Give the features `(n, 960)` that the classifier of a mobilenet_v3_large gets, and the targets `(n,)`.

    In eval mode: BatchNorm uses the statistics that it has, as it will on the device.
    """
    features, targets = [], []
    body = model.to(device).eval()
    convolutions, pool = body.get_submodule("features"), body.get_submodule("avgpool")
    with torch.inference_mode():
        for batch in batches:
            features.append(pool(convolutions(batch.inputs.to(device))).flatten(1).cpu())
            targets.append(batch.targets)
            progressed(len(batch.targets))
    # Clones: a tensor of inference mode may take no part in a training.
    return torch.cat(features).clone(), torch.cat(targets).clone()


class FeatureBatches:
    """Shuffled batches of features, and those to validate on.

    Args:
        train: Features `(n, d)` and targets `(n,)`.
        val: Likewise.
        classes: How many.
        batch: Features in a batch.
        seed: Of the order.
    """

    def __init__(
        self, train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor], *, classes: int, batch: int, seed: int
    ) -> None:
        self._train, self._val = train, val
        self.classes = classes
        self._seed = seed
        self._groups = groups(len(train[1]), batch)

    def steps(self, epoch: int) -> int:
        """Count the batches of an epoch."""
        return len(self._groups)

    def val_steps(self) -> int:
        """Count the batches to validate on."""
        return -(-len(self._val[1]) // VAL_BATCH)

    def train(self, epoch: int, first: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `first` on, in the epoch's own order."""
        order = np.random.default_rng((ORDER, self._seed, epoch)).permutation(len(self._train[1]))
        for group in self._groups[first:]:
            rows = torch.from_numpy(order[group])
            yield Batch(self._train[0][rows], self._train[1][rows])

    def statistics(self, epoch: int) -> Iterator[Batch]:
        """None: a classifier has no BatchNorm."""
        return iter(())

    def val(self) -> Iterator[Batch]:
        """Yield all validation features, in order."""
        for start in range(0, len(self._val[1]), VAL_BATCH):
            rows = slice(start, start + VAL_BATCH)
            yield Batch(self._val[0][rows], self._val[1][rows])
