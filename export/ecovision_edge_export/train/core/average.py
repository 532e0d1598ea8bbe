"""The exponential moving average of a model's weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

__all__ = ["WeightAverage"]


class WeightAverage:
    """Keeps `average = decay * average + (1 - decay) * weights` of all floating tensors of a model.

    BatchNorm's running statistics are averaged too. In the first steps the decay is `(1 + n) / (10 + n)`, as
    in TensorFlow's `ExponentialMovingAverage(num_updates=n)`, so that the start is soon forgotten.

    Args:
        model: Its tensors are to stay the same objects.
        decay: Between 0 and 1.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self._decay = decay
        self._live = {k: v for k, v in model.state_dict().items() if v.is_floating_point()}
        self._average = {k: v.detach().clone() for k, v in self._live.items()}

    @torch.no_grad()
    def update(self, number: int) -> None:
        """Take in the weights after step `number`, from 1 on."""
        decay = min(self._decay, (1 + number) / (10 + number))
        torch._foreach_lerp_(list(self._average.values()), list(self._live.values()), 1 - decay)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The average in the place of the model's weights, for the time of the block."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the model's weights and the average; once more puts both back."""
        for key, live in self._live.items():
            kept = live.clone()
            live.copy_(self._average[key])
            self._average[key].copy_(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the average."""
        return dict(self._average)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """What `state_dict` gave."""
        for key, average in self._average.items():
            average.copy_(state[key])
