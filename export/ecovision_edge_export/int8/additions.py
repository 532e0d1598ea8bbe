"""Scales of quantized additions, chosen so that every CPU rounds their sums the same way.

A quantized addition gives `round(a * A/C + b * B/C)`, of integers `a`, `b` and the scales A, B of its inputs,
C of its output. onnxruntime computes that in fp32 on x86, and with 22-bit fixed-point factors on Arm (MLAS,
qladd.cpp): each off by a little, in its own way, and halves are rounded to even on one and away from zero on
the other. So where a sum falls on or near a half a value may come out a level apart, and the layers after it
carry that on.

Rule:

1. Each input's range is widened until its scale is a whole number of 255ths of the output's. All sums are
   then multiples of 1/255, an odd fraction: none is a half, and none is nearer to one than 1/510.
2. fp32 is off by less than 1/10,000 there, the fixed-point factors by less than 1/1,000 (`MAX_RATIO`): both
   round as exact arithmetic does.
3. An input may be the sum of an earlier addition, so the last addition comes first.

The price is at most one 255th of the output's range on each input's.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx

from ecovision_edge.errors import ExportError

__all__ = [
    "DENOMINATOR",
    "MAX_RATIO",
    "Addition",
    "align_additions",
    "quantized_additions",
]

Range = tuple[float, float]

DENOMINATOR = 255
"""Odd: no sum of whole multiples of its reciprocal is a half."""

MAX_RATIO = 4
"""Most that an input's scale may be of the output's. Arm's fixed-point factors have 22 bits: with inputs of
up to 255 levels, both together are off by at most 255 * 4 / 2**21 < 1/2,000, a quarter of the room of 1/510.
"""


@dataclass(frozen=True, slots=True)
class Addition:
    """A quantized addition of two activations, and its output."""

    inputs: tuple[str, ...]
    output: str


def quantized_additions(model: onnx.ModelProto, excluded: Collection[str]) -> list[Addition]:
    """Return the additions of activations that will be quantized, in graph order."""
    constants = {i.name for i in model.graph.initializer}
    return [
        Addition(tuple(node.input), node.output[0])
        for node in model.graph.node
        if node.op_type == "Add" and node.name not in excluded and not constants.intersection(node.input)
    ]


def align_additions(
    ranges: Mapping[str, Range], additions: Sequence[Addition], *, least: float
) -> dict[str, Range]:
    """Return the ranges, those of the additions' inputs widened by the rule of this module.

    Args:
        ranges: `(low, high)` of each tensor.
        additions: As `quantized_additions` gives them.
        least: Least width of a range.

    Raises:
        ExportError: a tensor is added to itself, or goes into two additions: it cannot serve both.
    """
    inputs = [name for addition in additions for name in addition.inputs]
    twice = sorted({name for name in inputs if inputs.count(name) > 1})
    if twice:
        raise ExportError(
            "cannot choose the scales of additions",
            expected="each tensor in at most one of them",
            found=f"{', '.join(twice[:3])} in more",
        )
    result = dict(ranges)
    for addition in additions:  # forwards: no output is much narrower than its inputs
        out, widest = addition.output, max(_width(result[name], least) for name in addition.inputs)
        result[out] = _widened(result[out], max(_width(result[out], least), widest / MAX_RATIO))
    for addition in reversed(additions):
        step = _width(result[addition.output], least) / DENOMINATOR
        for name in addition.inputs:
            # A width that is a whole number of steps already, but for rounding, stays as it is.
            steps = math.ceil(_width(result[name], least) / step - 1e-9)
            result[name] = _widened(result[name], steps * step)
    return result


def _width(span: Range, least: float) -> float:
    """Return the width as the quantizer sees it: zero has to be in the range."""
    return max(max(span[1], 0.0) - min(span[0], 0.0), least)


def _widened(span: Range, width: float) -> Range:
    """Return the range stretched about zero to `width`, which is no less than its own."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    if high - low < 1e-300:  # nothing, or so little that the factor would be infinite
        return low, width
    factor = width / (high - low)
    return low * factor, high * factor
