"""The addition in a quantized hard-swish as another reading of the same integers.

Hard-swish is x * clip(x + 3, 0, 6), spelled out (see `hard_swish`). Below -3 it is zero whatever x is, so x
may be clipped there.

Rule, exact in every bit but that the clip is no longer rounded to levels of its own:

1. x is quantized from -3 up, in steps of 3/n: `shifted_range`. Then its zero point is n, and the same
   integers read with zero point 0 are x + 3, clipped at 0.
2. The addition, and the quantization of its output, give way to that reading: DequantizeLinear with zero
   point 0.
3. The clip at 6 is one of the integers at 2 n; where that is 255 or more there is nothing to clip.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from ecovision_edge.errors import ExportError
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.rewrites.hard_swish import THREE

__all__ = ["read_additions", "shifted_range"]

_LEVELS = 255
_ZERO = "hard_swish.zero_point"


def shifted_range(high: float) -> tuple[float, float]:
    """Return the range from -3 to `high` or a little beyond, of which 3 is a whole number of steps, 1 to 255.

    Args:
        high: Greatest value to be represented; below 0 it is taken as 0, above 762 as 762.
    """
    steps = int(np.clip(_LEVELS * 3 / (max(high, 0.0) + 3), 1, _LEVELS))
    return -3.0, _LEVELS * 3 / steps - 3


def read_additions(g: Graph) -> None:
    """Apply the rule of this module to each addition of hard-swish's 3 in a quantized graph.

    Args:
        g: As onnxruntime's QDQ quantizer makes it of a graph that `integer_hard_swish` made, with
            `shifted_range` as the range of what is added to.

    Raises:
        ExportError: a scale of which 3 is no whole number of steps.
    """
    three = {THREE, *(o for u in g.users[f"{THREE}_quantized"] for o in u.output)}
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node in g.model.graph.node:
        if node.op_type != "Add" or not three.intersection(node.input):
            continue
        x = g.maker[next(i for i in node.input if i not in three)]
        quantized = g.users[node.output[0]][0]
        if x.op_type != "DequantizeLinear" or quantized.op_type != "QuantizeLinear":
            continue  # stays fp32
        scale, steps = float(g.array(x.input[1])), int(g.array(x.input[2]))
        if abs(scale * steps - 3) > 1e-5:
            raise ExportError(
                f"cannot read {node.name} as a zero point",
                expected="3 to be a whole number of steps",
                found=f"{steps} steps of {scale:.6g}",
                fix="keep its block in fp32 with --fp32-blocks",
            )
        replaced[node.name] = replaced[quantized.name] = []
        for reader in g.users[quantized.output[0]]:
            replaced[reader.name] = _reading(g, reader, x, steps)
    g.set_nodes(new for n in g.model.graph.node for new in replaced.get(n.name, [n]))
    g.drop_unused()


def _reading(g: Graph, reader: onnx.NodeProto, x: onnx.NodeProto, steps: int) -> list[onnx.NodeProto]:
    """Return what makes the output of `reader`, a DequantizeLinear, of the integers of `x`."""
    g.put(_ZERO, np.array(0, np.uint8))
    source, nodes = x.input[0], []
    if 2 * steps < _LEVELS:
        clipped, most = f"{reader.output[0]}/Clip", f"{reader.output[0]}/most"
        g.put(most, np.array(2 * steps, np.uint8))
        nodes.append(helper.make_node("Clip", [source, _ZERO, most], [clipped], clipped))
        source = clipped
    nodes.append(
        helper.make_node("DequantizeLinear", [source, x.input[1], _ZERO], reader.output, reader.name)
    )
    return nodes
