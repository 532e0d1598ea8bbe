"""Rounding as the int8 graph does it, with gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ecovision_edge_export.int8.quantize import MIN_RANGE

__all__ = ["Quantization", "rounded", "rounded_bias", "rounded_rows", "rows_scales"]

_WEIGHT_LEVELS = 127
_BIAS_ROOM = 1.0001 * 2.0 / (2.0**32 - 2)  # onnxruntime's, see `QDQQuantizer`
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True)
class Quantization:
    """Scale and zero point, and between which integers."""

    scale: float
    zero: int
    low: int
    high: int


def rows_scales(weights: Tensor, bias: Tensor | None, given: float, room: Tensor, *, each: bool) -> Tensor:
    """Find the scales `(rows,)` of a layer's int8 weights, as onnxruntime's quantizer finds them, in fp32.

    Args:
        weights: `(rows, ...)`.
        bias: `(rows,)`; its integers, in steps of `given` times the scale, are to fit into 32 bits.
        given: Scale of the layer's input.
        room: `(rows,)` or `(1,)` of fp64.
        each: Whether each row has a scale of its own; else all are that of the widest.
    """
    flat = weights.detach().reshape(len(weights), -1)
    low, high = flat.amin(1).clamp(max=0), flat.amax(1).clamp(min=0)
    if len(room) == len(flat) and len(room) > 1:
        high = (torch.maximum(-low, high).double().clamp(min=1e-30) * room).float()
        low = -high
    if not each:
        low, high = low.amin().expand(len(flat)), high.amax().expand(len(flat))
    high = torch.maximum(high, low + MIN_RANGE)
    scales = (torch.maximum(-low, high).double() / _WEIGHT_LEVELS).float()
    scales = torch.where(scales < _TINY, torch.ones_like(scales), scales)
    if bias is not None:
        least = _BIAS_ROOM * bias.detach().double().abs() / given
        if not each:
            least = least.amax()
        scales = torch.maximum(scales, least.float())
    return scales


class _Rounding(torch.autograd.Function):
    """Torch's own fake quantization is one pass that is not vectorized: several times as slow on a CPU."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, q: Quantization) -> Tensor:
        ctx.save_for_backward(x)
        ctx.q = q  # type: ignore[attr-defined] # how torch keeps what is no tensor
        return x.div(q.scale).round_().clamp_(q.low - q.zero, q.high - q.zero).mul_(q.scale)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        q: Quantization = ctx.q  # type: ignore[attr-defined]
        low, high = (q.low - q.zero - 0.5) * q.scale, (q.high - q.zero + 0.5) * q.scale
        return torch.ops.aten.hardtanh_backward(gradient, x, low, high), None


def rounded(x: Tensor, q: Quantization) -> Tensor:
    """Give the values that the integers of `x` mean; the gradient is 1 within the range, 0 beyond it."""
    result: Tensor = _Rounding.apply(x, q)
    return result


class _RoundingRows(torch.autograd.Function):
    """By a division in fp32, as onnxruntime's quantizer does it; torch's own multiplies by the reciprocal.

    That is another integer at a tie, which is no rare thing: a row with room for twice its weights has its
    largest one at 63.5.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, weights: Tensor, scales: Tensor) -> Tensor:
        return weights.div(scales).round_().clamp_(-_WEIGHT_LEVELS, _WEIGHT_LEVELS).mul_(scales)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def rounded_rows(weights: Tensor, scales: Tensor) -> Tensor:
    """Weights `(rows, ...)` rounded to int8 with the scales `(rows,)`; the gradient is 1, for all fit."""
    result: Tensor = _RoundingRows.apply(weights, scales.view(-1, *[1] * (weights.ndim - 1)))
    return result


def rounded_bias(bias: Tensor, steps: Tensor) -> Tensor:
    """Return a bias `(rows,)` rounded to whole steps `(rows,)`; the gradient is 1."""
    # Its integers have up to 31 bits, which fp32 has not.
    rounded = torch.round(bias.double() / steps.double()).float() * steps
    return bias + (rounded - bias).detach()
