"""The operators of this exporter's fp32 graphs as PyTorch functions, for the modules that compute them.

`tflite.network` has channels last, `qat.fake` channels first; convolutions and products they do themselves.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - the name that everyone knows

__all__ = ["FIRST_INPUT_ALONE", "functions_of"]

FIRST_INPUT_ALONE = ("Clip", "Reshape", "ReduceMean")
"""Operators whose other inputs, limits and shapes, are known: their functions take the first one."""


def functions_of(sides: tuple[int, int]) -> dict[str, Callable[..., torch.Tensor]]:
    """By operator, for tensors with their height and width on these two axes."""

    def mean(x: torch.Tensor) -> torch.Tensor:
        return x.mean(sides, keepdim=True)

    def flatten(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)

    return {
        "Relu": F.relu,
        "HardSwish": F.hardswish,
        "HardSigmoid": F.hardsigmoid,
        "Add": torch.add,
        "Mul": torch.mul,
        "Clip": F.relu6,  # the rewrites clip to [0, 6] and to nothing else
        "ReduceMean": mean,
        "GlobalAveragePool": mean,
        "Reshape": flatten,
        "Flatten": flatten,
    }
