"""Batches of photographs, made ahead by threads: the same ones whatever the number of threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ecovision_edge_export.train.core.streams import ORDER, STATISTICS
from ecovision_edge_export.train.core.terms import Batch

__all__ = ["WHOLE_SIZE", "PhotographBatches", "groups", "in_order", "normalized"]

A = TypeVar("A")
B = TypeVar("B")

Picture = npt.NDArray[np.uint8]
ToInput = Callable[[Tensor], Tensor]

VAL_BATCH = 32  # photographs; the answers do not depend on it but for rounding
AHEAD = 16  # pictures that each thread is ahead of the network
STATISTICS_OF = 512  # photographs
STATISTICS_BATCH = 64
WHOLE_SIZE = -1
"""In place of a step's number: at the size that is validated."""


def in_order(function: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """`function` of each item, in order, by `workers` threads, a bounded number ahead; 0: as it is asked for.

    What `function` raises is raised in its turn.
    """
    if workers == 0:
        yield from map(function, items)
        return
    pending: deque[Future[B]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > AHEAD * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def groups(count: int, batch: int) -> list[slice]:
    """Return batches of `count` things; one that is left over joins the batch before.

    BatchNorm cannot train on one value, which is what a single small picture comes to.
    """
    starts = list(range(0, count, batch))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], count], strict=False)]


def normalized(mean: Sequence[float], std: Sequence[float]) -> ToInput:
    """Pictures `(n, h, w, 3)` uint8 RGB to `(n, 3, h, w)` float32, by torchvision's arithmetic."""
    means = torch.tensor(mean).view(1, 3, 1, 1)
    stds = torch.tensor(std).view(1, 3, 1, 1)

    def to_input(pictures: Tensor) -> Tensor:
        # A view of channels-last memory, which trains twice as fast on a CPU.
        return pictures.permute(0, 3, 1, 2).to(torch.float32).div_(255).sub_(means).div_(stds)

    return to_input


class PhotographBatches:
    """Shuffled batches of training photographs, and those to validate on.

    Args:
        train: `(epoch, step, index)` to the picture `(h, w, 3)` uint8 RGB; the same one each time. The
            pictures of a step have one size. Step `WHOLE_SIZE` is for BatchNorm's statistics: the size that
            is validated.
        train_targets: Index of the class of each training photograph.
        val: `index` to the picture.
        val_targets: Likewise.
        classes: How many.
        batch: Photographs in a batch.
        seed: Of the order.
        workers: Threads that make pictures ahead; 0 for no threads.
        to_input: Pictures `(n, h, w, 3)` uint8 RGB to the model's input.
    """

    def __init__(
        self,
        train: Callable[[int, int, int], Picture],
        train_targets: Sequence[int],
        val: Callable[[int], Picture],
        val_targets: Sequence[int],
        *,
        classes: int,
        batch: int,
        seed: int,
        workers: int,
        to_input: ToInput,
    ) -> None:
        self._train, self._val = train, val
        self._train_targets = np.asarray(train_targets, np.int64)
        self._val_targets = np.asarray(val_targets, np.int64)
        self.classes = classes
        self._seed, self._workers, self._to_input = seed, workers, to_input
        self._groups = groups(len(train_targets), batch)
        self._val_groups = [
            slice(i, min(i + VAL_BATCH, len(val_targets))) for i in range(0, len(val_targets), VAL_BATCH)
        ]

    def steps(self, epoch: int) -> int:
        """Count the batches of an epoch."""
        return len(self._groups)

    def val_steps(self) -> int:
        """Count the batches to validate on."""
        return len(self._val_groups)

    def train(self, epoch: int, first: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `first` on, in the epoch's own order."""
        order = np.random.default_rng((ORDER, self._seed, epoch)).permutation(len(self._train_targets))
        rows = [order[group] for group in self._groups[first:]]
        yield from self._batches(rows, self._train_targets, lambda row, i: self._train(epoch, first + row, i))

    def statistics(self, epoch: int) -> Iterator[Batch]:
        """Up to 512 training photographs of the epoch's own choice, as it trains on them."""
        count = len(self._train_targets)
        chosen = np.random.default_rng((STATISTICS, self._seed, epoch)).permutation(count)[:STATISTICS_OF]
        rows = [chosen[group] for group in groups(len(chosen), STATISTICS_BATCH)]
        yield from self._batches(rows, self._train_targets, lambda _, i: self._train(epoch, WHOLE_SIZE, i))

    def val(self) -> Iterator[Batch]:
        """Yield all validation photographs, in order."""
        every = np.arange(len(self._val_targets))
        yield from self._batches(
            [every[g] for g in self._val_groups], self._val_targets, lambda _, i: self._val(i)
        )

    def _batches(
        self,
        rows: Sequence[npt.NDArray[np.int64]],
        targets: npt.NDArray[np.int64],
        picture: Callable[[int, int], Picture],
    ) -> Iterator[Batch]:
        """Yield batches of pictures; `picture` takes the number of the row and the index."""
        wanted = ((number, int(i)) for number, row in enumerate(rows) for i in row)
        pictures = in_order(lambda which: picture(*which), wanted, self._workers)
        for row in rows:
            stack = np.stack([next(pictures) for _ in row])
            yield Batch(self._to_input(torch.from_numpy(stack)), torch.from_numpy(targets[row]))
