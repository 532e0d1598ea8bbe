"""Ranges and weights' scales with which XNNPACK can requantize, whatever the checkpoint is.

A dead tensor, whose values are all the same, would get a scale of next to nothing; what reads it then
requantizes with a factor of millions. XNNPACK refuses some of that, and dies of the rest: a model with such a
tensor ended in a double free when it was opened. XNNPACK's own limits (its operators' checks, as of 2026):
convolutions below 256; additions from 2^-10 to below 2^8; products from 2^-16 to below 2^8. Biases are 32-bit
integers in steps of the input's scale times the row's, so a row of tiny weights with a large bias overflows.

Rule, with a factor of two to spare:

1. A range is widened to at least `LEAST_RANGE`.
2. Where a convolution, mean, addition or product would be requantized by 128 or more, its output's range is
   widened until it is not: that output is nearly constant next to what it is made of.
3. Where an addition would requantize an input by less than 2^-9, that input's range is widened.
4. The scale of a row of weights is at least so large that its bias stays below 2^30, and that the row is
   requantized by 2^-24 at least.
5. What is written is checked against XNNPACK's limits, whoever chose it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

from ecovision_edge.errors import ExportError
from ecovision_edge_export.tflite.flatbuffer import Model, Operator, constant, operator_name, schema

__all__ = ["LINEAR", "check_scales", "fit_ranges", "scales_of_rows"]

LINEAR = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
LEAST_RANGE = 1e-4
LEVELS = 255
MOST_BIAS = 2.0**30
MOST_FACTOR, LEAST_ADDED, LEAST_ROW = 128.0, 2.0**-9, 2.0**-24
PASSES = 20

Range = tuple[float, float]
Rows = npt.NDArray[np.float64]


def fit_ranges(model: Model, ranges: Mapping[int, Range], fp32: Collection[int] = ()) -> dict[int, Range]:
    """Return the ranges of a float model's tensors by number, widened as rules 1 to 3 say; zero is in each.

    Args:
        model: As `read_model` gives it.
        ranges: `(low, high)` of the tensors that are computed, and of the input.
        fp32: Tensors whose operators stay fp32, which requantize nothing.
    """
    result = {t: _at_least((min(low, 0.0), max(high, 0.0)), LEAST_RANGE) for t, (low, high) in ranges.items()}
    for _ in range(PASSES):
        before = dict(result)
        for op in model.subgraphs[0].operators:
            if op.outputs[0] not in fp32:
                _fit(model, op, result)
        if result == before:
            return result
    raise ExportError(
        "int8 scales",
        expected="ranges that fit each other",
        found=f"none in {PASSES} passes",
        fix="choose --precision fp32",
    )


def scales_of_rows(model: Model, operator: Operator, ranges: Mapping[int, Range]) -> Rows:
    """Return the scale of each output channel of a convolution's or matrix product's weights, by rule 4."""
    x, _, *bias = operator.inputs
    scales = _widest_of_rows(model, operator) / 127
    given, made = _scale(ranges[x]), _scale(ranges[operator.outputs[0]])
    least = np.full(len(scales), made * LEAST_ROW / given)
    if bias and bias[0] >= 0:
        values = constant(model, bias[0])
        assert values is not None
        least = np.maximum(least, np.abs(values.astype(np.float64)) / (given * MOST_BIAS))
    result: Rows = np.maximum(scales, least)
    return result


def check_scales(model: Model) -> None:
    """Check a quantized model's requantization factors against XNNPACK's limits.

    Raises:
        ExportError: one is beyond them.
    """
    graph = model.subgraphs[0]
    for op in graph.operators:
        kind = operator_name(model, op)
        made = _parameters(model, op.outputs[0])
        given = [p for p in (_parameters(model, i) for i in op.inputs[:2]) if p is not None]
        if made is None or len(given) < (1 if kind == "MEAN" else 2):
            continue
        if kind in LINEAR:
            factors, low, high = given[0] * given[1] / made, 2.0**-32, 256.0
        elif kind == "ADD":
            factors, low, high = np.concatenate(given) / made, 2.0**-10, 256.0
        elif kind == "MUL":
            factors, low, high = given[0] * given[1] / made, 2.0**-16, 256.0
        elif kind == "MEAN":
            factors, low, high = given[0] / made, 2.0**-32, 256.0
        else:
            continue
        if not (np.isfinite(factors).all() and (factors >= low).all() and (factors < high).all()):
            raise ExportError(
                f"the int8 scales of {graph.tensors[op.outputs[0]].name.decode(errors='replace')[:80]}",
                expected=f"a factor from {low:.3g} to {high:g}, for XNNPACK",
                found=f"{factors.min():.3g} to {factors.max():.3g} in {kind}",
                fix="choose --precision fp32, and report this checkpoint",
            )


def _fit(model: Model, op: Operator, ranges: dict[int, Range]) -> None:
    kind, made = operator_name(model, op), op.outputs[0]
    given = [i for i in op.inputs if i in ranges]
    if made not in ranges or not given:
        return
    scales = [_scale(ranges[i]) for i in given]
    if kind in LINEAR:
        product = scales[0] * float(_widest_of_rows(model, op).max(initial=0.0)) / 127
    elif kind == "MUL" and len(scales) == 2:
        product = scales[0] * scales[1]
    elif kind in ("ADD", "MEAN"):
        product = max(scales)
    else:
        return
    ranges[made] = _at_least(ranges[made], product / MOST_FACTOR * LEVELS)
    if kind == "ADD":
        for i in given:
            ranges[i] = _at_least(ranges[i], _scale(ranges[made]) * LEAST_ADDED * LEVELS)


def _widest_of_rows(model: Model, op: Operator) -> Rows:
    """Return the greatest magnitude among the weights of each output channel."""
    weights = constant(model, op.inputs[1])
    assert weights is not None
    axis = weights.ndim - 1 if operator_name(model, op) == "DEPTHWISE_CONV_2D" else 0
    rows = np.moveaxis(np.abs(weights.astype(np.float64)), axis, 0)
    result: Rows = rows.reshape(len(rows), -1).max(axis=1)
    return result


def _scale(bounds: Range) -> float:
    return (bounds[1] - bounds[0]) / LEVELS


def _at_least(bounds: Range, width: float) -> Range:
    """Return the range, its longer side made longer until it is as wide."""
    low, high = bounds
    lack = width - (high - low)
    if lack <= width * 1e-6:
        return bounds
    return (low - lack, high) if -low > high else (low, high + lack)


def _parameters(model: Model, tensor: int) -> Rows | None:
    """Scales of a quantized tensor; None of another."""
    described = model.subgraphs[0].tensors[tensor]
    if described.type != schema().TensorType.INT8:
        return None
    return np.asarray(described.quantization.scale, np.float64)
