"""What a step of quantization-aware training makes small: the distance from what fp32 answers.

The photographs were trained on before, so their labels say little that is new; the answers of the network
that training starts from say which classes are near, and keep int8 close to it (Hinton et al. 2015,
https://arxiv.org/abs/1503.02531).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that everyone knows
from torch import Tensor

from ecovision_edge_export.train.core.objective import Objective, divergence

__all__ = ["distillation"]


def distillation(
    teacher: torch.nn.Module, plain: torch.nn.Module, temperature: float, mixed: float
) -> Objective:
    """Kullback-Leibler divergences of softened answers, added up.

    1. Of int8 from the teacher's: it is to answer as before.
    2. Of fp32 from the teacher's: without it fp32 drifts away while int8 comes near, since weights then make
       up for errors that fp32 does not make.
    3. Of int8 from fp32's: the two are to err alike, which is what an export's parity is about.

    Half of the photographs are mirrored, and some have another laid over them: on photographs that the
    teacher knows by heart it is too sure of itself to teach.

    Args:
        teacher: In eval mode; takes what the model takes.
        plain: The model's own weights in fp32.
        temperature: Above 0; logits are divided by it, and the loss multiplied by its square.
        mixed: Share of the photographs, 0 to 1, that another is laid over, by up to a half.
    """

    def loss(model: torch.nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        seen = _varied(inputs, mixed)
        with torch.no_grad():
            wanted = F.log_softmax(teacher(seen).float() / temperature, 1)
        logits = model(seen)
        near = F.log_softmax(plain(seen).float() / temperature, 1)
        found = F.log_softmax(logits.float() / temperature, 1)
        total = divergence(found, wanted) + divergence(near, wanted) + divergence(found, near)
        return total * temperature**2, logits

    return loss


def _varied(inputs: Tensor, mixed: float) -> Tensor:
    """Drawn from torch's own generator, which the loop seeds for each step."""
    count = len(inputs)
    mirrored = (torch.rand(count) < 0.5).to(inputs.device).view(-1, 1, 1, 1)
    result = torch.where(mirrored, inputs.flip(3), inputs)
    share = 0.5 * torch.rand(count) * (torch.rand(count) < mixed)
    other = torch.randperm(count).to(inputs.device)
    return result.lerp(result[other], share.to(inputs.device).view(-1, 1, 1, 1))
