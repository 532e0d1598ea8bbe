"""BatchNorm's running statistics, estimated again before a network is judged or kept.

torchvision's MobileNetV3 lets them follow with a momentum of 0.01: after few steps, and after averaging
weights, they are those of another network.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["estimate_statistics", "has_statistics", "re_estimated"]


def has_statistics(model: torch.nn.Module) -> bool:
    """Return whether any BatchNorm of the model keeps running statistics."""
    return bool(_layers(model))


def estimate_statistics(model: torch.nn.Module, inputs: Iterable[Tensor]) -> None:
    """Replace every BatchNorm's running mean and variance by those of `inputs`, each batch counting the same.

    Weights, modes and momenta stay; dropout is off.

    Args:
        model: In any mode, on the device of the inputs.
        inputs: Batches `(n, ...)` as the model takes them, each of more than one picture. If there are none,
            nothing is changed.
    """
    layers = _layers(model)
    kept = [(m, m.training) for m in model.modules()]
    momenta = [layer.momentum for layer in layers]
    fresh = True
    try:
        model.eval()
        for layer in layers:
            layer.train()
            layer.momentum = None  # a plain mean over batches
        with torch.no_grad():
            for batch in inputs:
                if fresh:
                    for layer in layers:
                        layer.reset_running_stats()
                    fresh = False
                model(batch)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, training in kept:
            module.training = training


@contextlib.contextmanager
def re_estimated(model: torch.nn.Module, inputs: Iterable[Tensor]) -> Iterator[None]:
    """Put estimated statistics in the place of the running ones for the time of the block."""
    before = {k: v.clone() for layer in _layers(model) for k, v in _named(layer)}
    try:
        estimate_statistics(model, inputs)
        yield
    finally:
        with torch.no_grad():
            for layer in _layers(model):
                for name, buffer in _named(layer):
                    buffer.copy_(before[name])


def _named(layer: _BatchNorm) -> list[tuple[str, Tensor]]:
    return [(f"{id(layer)}.{name}", buffer) for name, buffer in layer.named_buffers()]


def _layers(model: torch.nn.Module) -> list[_BatchNorm]:
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
