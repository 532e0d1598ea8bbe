"""Fold preprocessing into the graph: the network then takes OpenCV's own pixels.

Rule, exact in fp32 up to rounding:

1. The input becomes `(batch, height, width, 3)` uint8 BGR.
2. `(pixel / 255 - mean) / std` is `(pixel - 255 mean) * 1 / (255 std)`. The subtraction becomes a node; it
   cannot go into the first convolution's bias, since that convolution pads with zeros, which stand for the
   mean.
3. The factor `1 / (255 std)` goes into the first convolution's weights, channel by channel.
4. BGR to RGB is the same weights with their input channels in reverse.
5. NHWC to NCHW is a Transpose, first of all, while the pixels are bytes; then the cast to float, then the
   subtraction. With channels last the subtraction of three means is slow: onnxruntime broadcasts them pixel
   by pixel, which took a tenth of the whole int8 network's time.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import ExportError
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.graph.trace import INPUT

__all__ = ["fold_preprocessing"]


def fold_preprocessing(g: Graph, contract: Contract) -> None:
    """Make the graph's input the contract's; with a float32 contract only the input's name changes.

    Raises:
        ExportError: the input does not go into one convolution with weights in the graph, and nowhere else.
    """
    conv = _stem(g)
    spec, taken = contract.input, g.model.graph.input[0]
    if spec.dtype == "float32":
        conv.input[0] = taken.name = spec.name
        g.index()
        return
    weight = conv.input[1]
    std = np.array(contract.normalization.std, np.float64)
    values = g.array(weight).astype(np.float64) / (255 * std)[None, :, None, None]
    g.put(weight, values[:, ::-1])
    mean = 255 * np.array(contract.normalization.mean, np.float64)[::-1]
    g.put("preprocess.mean", mean.reshape(1, 3, 1, 1))
    nodes = [
        helper.make_node(
            "Transpose", [spec.name], ["preprocess/Transpose"], "preprocess/Transpose", perm=[0, 3, 1, 2]
        ),
        helper.make_node(
            "Cast", ["preprocess/Transpose"], ["preprocess/Cast"], "preprocess/Cast", to=TensorProto.FLOAT
        ),
        helper.make_node("Sub", ["preprocess/Cast", "preprocess.mean"], ["preprocess/Sub"], "preprocess/Sub"),
    ]
    conv.input[0] = "preprocess/Sub"
    batch = taken.type.tensor_type.shape.dim[0].dim_param
    taken.CopyFrom(
        helper.make_tensor_value_info(spec.name, TensorProto.UINT8, [batch, spec.height, spec.width, 3])
    )
    g.set_nodes([*nodes, *g.model.graph.node])


def _stem(g: Graph) -> onnx.NodeProto:
    """Return the convolution that takes the input."""
    users = g.users[INPUT]
    if not (
        len(users) == 1
        and users[0].op_type == "Conv"
        and users[0].input[0] == INPUT
        and users[0].input[1] in g.constants
        and len(g.users[users[0].input[1]]) == 1
        and g.constants[users[0].input[1]].dims[1] == 3
    ):
        raise ExportError(
            "fold preprocessing",
            expected="one convolution of 3 channels on the input, with weights of its own",
            found=", ".join(n.op_type for n in users) or "nothing",
        )
    return users[0]
