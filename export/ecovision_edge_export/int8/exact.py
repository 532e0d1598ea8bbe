"""What an int8 model answers where sums are exact, on a workstation whose CPU clips them.

x86 without VNNI multiplies u8 by s8 in pairs that it clips to 16 bits (see `Cpu.u8s8_saturates`); Arm and
x86 with VNNI do not. Parity and golden vectors computed with clipped sums would be those of no such device.

Rule, exact in every bit: each int8 weight tensor becomes uint8 with 128 added, and so does its zero point, 0,
that is then 128. The real weights are the same, so are the integer sums, and onnxruntime's u8 x u8 kernels
widen to 16 bits before they multiply, so nothing is clipped. It is slower, and never what is shipped.
"""

from __future__ import annotations

import numpy as np
import onnx

from ecovision_edge.base.device import Cpu, read_cpu
from ecovision_edge_export.graph.graphs import Graph

__all__ = ["as_devices_compute", "exact_sums"]


def exact_sums(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the twin of an int8 QDQ model by the rule of this module; a copy of any other model."""
    g = Graph.copy_of(model)
    for node in g.model.graph.node:
        weight = g.constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if weight is not None and weight.data_type == onnx.TensorProto.INT8:
            # A zero point may serve several weights; once it is uint8 it is done.
            for name in (node.input[0], node.input[2]):
                if g.constants[name].data_type == onnx.TensorProto.INT8:
                    g.put(name, (g.array(name).astype(np.int16) + 128).astype(np.uint8))
    return g.model


def as_devices_compute(model: onnx.ModelProto, cpu: Cpu | None = None) -> onnx.ModelProto:
    """`model` itself where this CPU's int8 sums are exact, else the twin that makes them so."""
    return model if (cpu or read_cpu()).u8s8_saturates is False else exact_sums(model)
