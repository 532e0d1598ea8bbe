"""Hard-swish and hard-sigmoid as additions, clips and products, which engines have in int8.

onnxruntime runs HardSwish and HardSigmoid in fp32 even in a quantized model: every value is dequantized, and
quantized again. Spelled out, the product is int8, the addition another zero point of the same integers (see
`zero_points`), and the clip one of integers.

Rule, exact in fp32 up to rounding:

1. HardSwish(x) = x * clip(x + 3, 0, 6) / 6 becomes Mul(x, Clip(Add(x, 3), 0, 6)): a tensor 6 times as large.
2. HardSigmoid(x) with alpha 1/6 and beta 1/2 is clip(x + 3, 0, 6) / 6, and becomes Clip(Add(x, 3), 0, 6): 6
   times as large as well.
3. A tensor that is f times as large makes those that follow it so: through ReduceMean, Reshape, Flatten and
   Relu f times, through a product of two tensors by both their factors.
4. A convolution or matrix product with constant weights takes the factor back: its weights are divided by f.
5. With `residuals`, an addition takes the factor if its other side is a convolution that nobody else reads:
   that one's weights and bias are multiplied by f, and the sum is f times as large.
6. Where the factor would reach anything else, the graph's output for one, the node is left as it is.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper

from ecovision_edge_export.graph.graphs import Graph, attribute, hard_sigmoid

__all__ = ["FACTOR", "THREE", "integer_hard_swish"]

_LINEAR = ("Conv", "Gemm")
_PASSES = ("ReduceMean", "GlobalAveragePool", "Reshape", "Flatten", "Relu")
FACTOR = 6.0

THREE = "hard_swish.3"
"""Name of the constant 3 that is added."""


def integer_hard_swish(g: Graph, keep: Collection[str] = (), *, residuals: bool = False) -> dict[str, float]:
    """Apply the rule of this module to each HardSwish and HardSigmoid.

    Args:
        g: fp32, nodes in topological order.
        keep: Names of nodes that stay as they are: those that stay fp32, where engines fuse HardSwish into
            the convolution before it.
        residuals: Whether rule 5 is applied.

    Returns:
        By name, how many times as large each tensor is that was there before. New tensors are clips and what
        is clipped: their range is [0, 6].
    """
    chosen = {
        node.output[0]
        for node in g.model.graph.node
        if node.name not in keep and _is_ours(node) and _is_absorbed(g, node.output[0], residuals)
    }
    for name, value in ((THREE, 3.0), ("hard_swish.0", 0.0), ("hard_swish.6", 6.0)):
        if chosen:
            g.put(name, np.array(value, np.float32))
    factors: dict[str, float] = {}
    nodes: list[onnx.NodeProto] = []
    for node in g.model.graph.node:
        factor = float(np.prod([factors.get(i, 1.0) for i in g.data(node)]))
        if node.op_type == "Add" and factor != 1.0:
            (other,) = (i for i in node.input if i not in factors)
            _multiply(g, g.maker[other], factor)
            factors[other] = factors[node.output[0]] = factor
        elif node.op_type in _LINEAR and factor != 1.0:
            weight = g.own(node, 1)
            g.put(weight, g.array(weight).astype(np.float64) / factor)
        elif factor != 1.0:
            factors[node.output[0]] = factor
        if node.output[0] in chosen:
            factors[node.output[0]] = FACTOR
            nodes += _spelled_out(node)
        else:
            nodes.append(node)
    g.set_nodes(nodes)
    return factors


def _is_ours(node: onnx.NodeProto) -> bool:
    if node.op_type != "HardSigmoid":
        return node.op_type == "HardSwish"
    alpha, beta = hard_sigmoid(node)
    return abs(alpha - 1 / 6) < 1e-6 and abs(beta - 0.5) < 1e-6


def _multiply(g: Graph, conv: onnx.NodeProto, factor: float) -> None:
    """Make a convolution's output `factor` times as large."""
    for place in range(1, len(conv.input)):
        constant = g.own(conv, place)
        g.put(constant, g.array(constant).astype(np.float64) * factor)


def _takes_residual(g: Graph, add: onnx.NodeProto, name: str) -> bool:
    """Return whether rule 5 holds of an addition that reads `name`."""
    others = [i for i in add.input if i != name]
    if len(others) != 1 or others[0] not in g.maker or others[0] in g.outputs:
        return False
    conv = g.maker[others[0]]
    return (
        conv.op_type == "Conv"
        and len(g.users[others[0]]) == 1
        and all(i in g.constants for i in conv.input[1:])
    )


def _is_absorbed(g: Graph, name: str, residuals: bool) -> bool:
    """Return whether a factor on this tensor reaches constant weights on every path, and nothing else."""
    if name in g.outputs or not g.users[name]:
        return False
    for user in g.users[name]:
        if user.op_type in _LINEAR:
            if user.input[0] != name or user.input[1] not in g.constants or not _plain_gemm(user):
                return False
            continue
        passes = (
            user.op_type in _PASSES
            or (user.op_type == "Mul" and len(set(g.data(user))) == 2)
            or (residuals and user.op_type == "Add" and _takes_residual(g, user, name))
        )
        if not passes or not _is_absorbed(g, user.output[0], residuals):
            return False
    return True


def _plain_gemm(node: onnx.NodeProto) -> bool:
    return node.op_type != "Gemm" or attribute(node, "alpha", 1.0) == 1.0


def _spelled_out(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return the nodes that make 6 times what `node` made, under its name."""
    x, out = node.input[0], node.output[0]
    add, clip = f"{out}/Add", out if node.op_type == "HardSigmoid" else f"{out}/Clip"
    nodes = [
        helper.make_node("Add", [x, THREE], [add], f"{node.name}/Add"),
        helper.make_node("Clip", [add, "hard_swish.0", "hard_swish.6"], [clip], f"{node.name}/Clip"),
    ]
    if node.op_type == "HardSwish":
        nodes.append(helper.make_node("Mul", [x, clip], [out], node.name))
    return nodes
