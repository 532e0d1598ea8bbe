"""What an inference costs on a target, modelled: to rank recipes for a CPU that is not at hand.

A graph's work is counted by kinds (`Work`), each kind has a cost (`RATES`), and the model is their sum. It
ranks; what a device takes `ecovision-edge bench` measures.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx

from ecovision_edge_export.graph.graphs import Graph, attribute
from ecovision_edge_export.targets import Target

__all__ = ["MODEL_ERROR", "RATES", "SIGNED", "Work", "modelled_cost", "work_of"]


@dataclass(frozen=True, slots=True)
class Work:
    """The work of one inference, in millions; or what a million of each costs.

    Args:
        fp32_conv: Multiply-adds of ordinary convolutions and matrix products in fp32.
        fp32_depthwise: Those of depthwise convolutions.
        fp32_depthwise_3: Those of 3 x 3 taps and stride 1, which have kernels of their own.
        fp32_values: Values that anything makes.
        int8_conv: Multiply-adds in int8.
        int8_depthwise: Likewise.
        int8_values: Values, each of which is scaled and rounded.
        quantized: Values that go from fp32 to int8.
    """

    fp32_conv: float = 0.0
    fp32_depthwise: float = 0.0
    fp32_depthwise_3: float = 0.0
    fp32_values: float = 0.0
    int8_conv: float = 0.0
    int8_depthwise: float = 0.0
    int8_values: float = 0.0
    quantized: float = 0.0


RATES: Mapping[Target, Work] = {
    "x86-vnni": Work(26.5, 26.5, 26.5, 0.0, 7.24, 45.6, 164.3, 0.0),
    "x86": Work(27.6, 81.2, 129.0, 0.0, 0.0, 0.0, 870.0, 0.0),
    "arm64": Work(0.418, 6.38, 3.47, 0.0, 0.0, 2.27, 8.51, 0.0),
    "arm64-dotprod": Work(0.537, 4.99, 2.38, 0.0, 0.0, 0.454, 7.75, 0.0),
    "arm64-fp16": Work(0.537, 4.99, 2.38, 0.0, 0.0, 0.454, 7.75, 0.0),
}
"""Costs of a million of each, in the order of `Work`: microseconds on x86, millions of instructions on Arm.

Fitted, none below zero, to the reference with -1, 0, 1, 2, 3, 4, 6, 9 and 12 leading blocks in fp32 and all,
onnxruntime 1.32, one thread: instructions as `python -m ecovision_edge_bench.arm64 count` gives them on
cortex-a72 and cortex-a76 (within 4 and 6 % of each), minima of interleaved runs on an AMD EPYC with AVX2 and
no VNNI (within 4 %). A kind that comes with another in these graphs, as multiply-adds do with values, may
have its cost in the other's. For VNNI, of which no machine was at hand, they are from a profile of a
prototype with the stem and block 1 in fp32 (Zen 4; 3.45 ms: ordinary convolutions 1.39, depthwise 0.79, fp32
0.28, all else by its values; fp32 5.8 ms). onnxruntime has no fp16 on the CPU, so `arm64-fp16` is as
`arm64-dotprod`.
"""

SIGNED: Mapping[Target, float] = {
    "x86-vnni": 3.0,
    "x86": 3.0,
    "arm64": 1.07,
    "arm64-dotprod": 0.967,
    "arm64-fp16": 0.967,
}
"""Cost of a model with signed activations, of that with unsigned ones (see `signed`)."""

MODEL_ERROR = 0.03
"""Costs that differ by less are taken as equal: half the fit's largest error."""

_UNITS = 1e6


def modelled_cost(target: Target, work: Work) -> float:
    """Return the cost of an inference in the unit of the target's rates: only ratios mean something."""
    rates = RATES[target]
    pairs = zip(dataclasses.astuple(work), dataclasses.astuple(rates), strict=True)
    return float(sum(amount * rate for amount, rate in pairs))


def work_of(model: onnx.ModelProto, fp32: Collection[str]) -> Work:
    """Return the work of one inference.

    Args:
        model: The fp32 twin of a quantized graph, or an fp32 graph.
        fp32: Names of the nodes that stay fp32.
    """
    g = Graph(onnx.shape_inference.infer_shapes(model))
    sizes = {v.name: _size(v) for v in (*g.model.graph.value_info, *g.model.graph.output)}
    total = dict.fromkeys((f.name for f in dataclasses.fields(Work)), 0.0)
    for node in g.model.graph.node:
        kind = "fp32" if node.name in fp32 else "int8"
        made = sum(sizes.get(o, 0) for o in node.output) / _UNITS
        if kind == "fp32":
            read_as_int8 = [o for o in node.output if any(u.name not in fp32 for u in g.users[o])]
            total["quantized"] += sum(sizes.get(o, 0) for o in read_as_int8) / _UNITS
        if node.op_type == "Relu":
            continue  # part of what made its input
        if kind == "int8" and node.op_type in ("Add", "Clip") and len(g.data(node)) == 1:
            continue  # of hard-swish: another reading of the same integers
        total[f"{kind}_values"] += made
        if node.op_type in ("Conv", "Gemm") and node.input[1] in g.constants:
            weights = [*g.constants[node.input[1]].dims]
            total[f"{kind}_{_layer_kind(node, weights, kind)}"] += made * _taps(node, weights)
    return Work(**total)


def _layer_kind(node: onnx.NodeProto, weights: list[int], kind: str) -> str:
    """Return the kernel that a layer runs in; fp32 has one of its own for 3 x 3 depthwise, stride 1."""
    if node.op_type != "Conv" or attribute(node, "group", 1) == 1:
        return "conv"
    small = weights[2:] == [3, 3] and attribute(node, "strides", [1, 1]) == [1, 1]
    return "depthwise_3" if small and kind == "fp32" else "depthwise"


def _taps(node: onnx.NodeProto, weights: list[int]) -> float:
    """Return how many products make one value."""
    by_rows = node.op_type == "Conv" or attribute(node, "transB")
    return math.prod(weights) / weights[0 if by_rows else 1]


def _size(value: onnx.ValueInfoProto) -> int:
    # The batch, whose size has a name and no number, is one.
    return math.prod(d.dim_value or 1 for d in value.type.tensor_type.shape.dim)
