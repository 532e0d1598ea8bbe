"""What a step makes small: cross entropy; where asked for with label smoothing, mixup and teachers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name that everyone knows
from torch import Tensor

__all__ = ["Lesson", "Objective", "cross_entropy", "distilled", "divergence"]

Objective = Callable[[torch.nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Model, inputs `(n, ...)`, targets `(n,)` -> loss, a scalar, and logits `(n, classes)`."""

Lesson = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Inputs as the model got them, its logits, the loss of the labels -> the loss that is trained on."""


def cross_entropy(
    smoothing: float = 0.0, mixup: float = 0.0, mixup_p: float = 1.0, lesson: Lesson | None = None
) -> Objective:
    """Mean cross entropy of a batch.

    Args:
        smoothing: Share of each target, 0 to 1, that is spread over all classes.
        mixup: Parameter of the Beta distribution from which the share of a second photograph is drawn, for a
            batch at once; 0 for no mixup. Draws from torch's own generator. Source: H. Zhang et al., "mixup:
            Beyond Empirical Risk Minimization", ICLR 2018, arXiv 1710.09412.
        mixup_p: Share of the batches that get it.
        lesson: What teachers add, see `distilled`; of a mixture they see the mixture. None: no teacher.
    """

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)

    def plain(model: torch.nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(inputs)
        total = loss(logits, targets)
        return total if lesson is None else lesson(inputs, logits, total), logits

    def mixed(model: torch.nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if mixup_p < 1 and float(torch.rand(())) >= mixup_p:
            return plain(model, inputs, targets)
        parameter = torch.tensor(mixup)
        share = float(torch.distributions.Beta(parameter, parameter).sample())
        share = max(share, 1 - share)  # the first photograph is the one that accuracy is counted on
        other = torch.randperm(len(targets)).to(inputs.device)
        mixture = share * inputs + (1 - share) * inputs[other]
        logits = model(mixture)
        total = share * loss(logits, targets) + (1 - share) * loss(logits, targets[other])
        return total if lesson is None else lesson(mixture, logits, total), logits

    return mixed if mixup else plain


def distilled(answers: Sequence[Callable[[Tensor], Tensor]], weight: float, temperature: float) -> Lesson:
    """Learn from teachers too: `(1 - weight) * loss + weight * temperature**2 * divergence`.

    The divergence is Kullback and Leibler's, of the student's softened probabilities from the mean of the
    teachers'; each network's logits are softened by the temperature. Source: G. Hinton et al., "Distilling
    the Knowledge in a Neural Network", 2015, arXiv 1503.02531.

    Args:
        answers: Of each teacher: inputs, the same that the student gets, to logits `(n, classes)`.
        weight: Of the teachers, 0 to 1.
        temperature: Above 0.
    """

    def lesson(inputs: Tensor, logits: Tensor, loss: Tensor) -> Tensor:
        with torch.no_grad():
            each = [F.log_softmax(answer(inputs).float() / temperature, 1) for answer in answers]
            wanted = each[0]
            if len(each) > 1:
                wanted = torch.logsumexp(torch.stack(each), 0) - math.log(len(each))
        found = F.log_softmax(logits.float() / temperature, 1)
        return (1 - weight) * loss + weight * temperature**2 * divergence(found, wanted)

    return lesson


def divergence(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of `found` from `wanted`, log-probabilities `(n, classes)`."""
    return F.kl_div(found, wanted, log_target=True, reduction="batchmean")
