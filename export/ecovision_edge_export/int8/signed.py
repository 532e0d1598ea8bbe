"""Activations as int8 in place of uint8: the same model, each integer less by 128.

Arm's dot-product kernels of onnxruntime take both operands signed or both unsigned. With uint8 activations
they have to turn int8 weights into unsigned ones, and to make up for that with a sum over each row of
activations. Measured on the reference (`python -m ecovision_edge_bench.arm64 count`): 60.5 to 58.5 million
instructions an inference on cortex-a76; without dot products, on cortex-a72, 98.0 to 104.8; and x86 has no
such kernels at all, and takes three times as long.

Rule, exact in every bit:

1. Each uint8 zero point of an activation becomes int8, 128 less; so does each bound of a Clip of integers.
2. The integers between are then 128 less, and the real values the same.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from ecovision_edge.errors import ExportError
from ecovision_edge_export.graph.graphs import Graph

__all__ = ["read_signed"]


def read_signed(g: Graph) -> None:
    """Apply the rule of this module to a QDQ graph of uint8 activations.

    Raises:
        ExportError: integers are computed with in another way than the rule knows.
    """
    places = {"QuantizeLinear": (2,), "DequantizeLinear": (2,), "Clip": (1, 2)}
    bounds = {
        name
        for node in g.model.graph.node
        for place in places.get(node.op_type, ())
        if (name := node.input[place]) in g.constants and g.constants[name].data_type == TensorProto.UINT8
    }
    for name in bounds:
        strange = [n.op_type for n in g.users[name] if n.op_type not in places]
        if strange:
            raise ExportError(
                "cannot make activations int8",
                expected="zero points and bounds that only quantization uses",
                found=f"{name} goes into {', '.join(strange[:3])}",
                fix="choose --target arm64, whose activations are uint8",
            )
        g.put(name, (g.array(name).astype(np.int16) - 128).astype(np.int8))
    del g.model.graph.value_info[:]  # types of before
