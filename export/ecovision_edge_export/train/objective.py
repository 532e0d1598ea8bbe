"""What a step makes small: cross entropy, with label smoothing and mixup where they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Objective", "cross_entropy"]

Objective = Callable[[torch.nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Model, inputs `(n, ...)`, targets `(n,)` -> loss, a scalar, and logits `(n, classes)`."""


def cross_entropy(smoothing: float = 0.0, mixup: float = 0.0, mixup_p: float = 1.0) -> Objective:
    """Mean cross entropy of a batch.

    Args:
        smoothing: Share of each target, 0 to 1, that is spread over all classes.
        mixup: Parameter of the Beta distribution from which the share of a second photograph is drawn, for a
            batch at once; 0 is none. Draws from torch's own generator. Source: H. Zhang et al., "mixup:
            Beyond Empirical Risk Minimization", ICLR 2018, arXiv 1710.09412.
        mixup_p: Share of the batches that get it.
    """

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(logits.float(), targets, label_smoothing=smoothing)

    def plain(model: torch.nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(inputs)
        return loss(logits, targets), logits

    def mixed(model: torch.nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if mixup_p < 1 and float(torch.rand(())) >= mixup_p:
            return plain(model, inputs, targets)
        parameter = torch.tensor(mixup)
        share = float(torch.distributions.Beta(parameter, parameter).sample())
        share = max(share, 1 - share)  # the first photograph is the one that accuracy is counted on
        other = torch.randperm(len(targets)).to(inputs.device)
        logits = model(share * inputs + (1 - share) * inputs[other])
        return share * loss(logits, targets) + (1 - share) * loss(logits, targets[other]), logits

    return mixed if mixup else plain
