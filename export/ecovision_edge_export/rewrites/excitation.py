"""Squeeze-and-excitation branches that say the same whatever they see, folded into the next weights.

Training leaves such branches: the Relu between their two convolutions never fires, so the gate is a constant
of each channel. Quantized they are worse than useless: a tensor that is always 0 has no scale.

Rule, exact in fp32 for every input on which the Relu does not fire:

1. The gate is then HardSigmoid of the second convolution's bias.
2. The convolution that follows the product with the gate has its columns multiplied by it.
3. The branch and the product are gone.
4. Where the product goes anywhere but into one convolution, or the branch is another, it is left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx

from ecovision_edge_export.graph.graphs import Graph, attribute, hard_sigmoid

__all__ = ["fold_excitations", "silent_excitations"]


def silent_excitations(g: Graph, ranges: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    """Names of the Relu outputs of branches that can be folded and were never above 0, in graph order."""
    return tuple(
        n.output[0]
        for n in g.model.graph.node
        if n.op_type == "Relu"
        and ranges.get(n.output[0], (0.0, 1.0))[1] <= 0
        and _branch(g, n.output[0]) is not None
    )


def fold_excitations(g: Graph, silent: Collection[str]) -> None:
    """Apply the rule of this module to the branches with these Relu outputs.

    Raises:
        KeyError: a name that is no such branch's.
    """
    for name in silent:
        found = _branch(g, name)
        if found is None:
            raise KeyError(name)
        second, gate, product, user = found
        alpha, beta = hard_sigmoid(gate)
        bias = g.array(second.input[2]).astype(np.float64)
        weight = g.own(user, 1)
        factors = np.clip(alpha * bias + beta, 0, 1).reshape(1, -1, 1, 1)
        g.put(weight, g.array(weight).astype(np.float64) * factors)
        user.input[0] = next(i for i in product.input if i != gate.output[0])
        g.drop_unused()


_Branch = tuple[onnx.NodeProto, onnx.NodeProto, onnx.NodeProto, onnx.NodeProto]


def _branch(g: Graph, relu: str) -> _Branch | None:
    """Second convolution, HardSigmoid, product, and the convolution that uses it."""
    nodes: list[onnx.NodeProto] = []
    name = relu
    for kind in ("Conv", "HardSigmoid", "Mul", "Conv"):
        users = g.users[name]
        if len(users) != 1 or users[0].op_type != kind or name in g.outputs:
            return None
        nodes.append(users[0])
        name = users[0].output[0]
    second, gate, product, user = nodes
    ok = (
        len(second.input) > 2
        and second.input[2] in g.constants
        and second.input[0] == relu
        and all(n.input[1] in g.constants and attribute(n, "group", 1) == 1 for n in (second, user))
        and len(set(g.data(product))) == 2
    )
    return (second, gate, product, user) if ok else None
