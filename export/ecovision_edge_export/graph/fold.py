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
from onnx import TensorProto, helper, numpy_helper

from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import ExportError
from ecovision_edge_export.graph.trace import INPUT

__all__ = ["fold_preprocessing"]


def fold_preprocessing(model: onnx.ModelProto, contract: Contract) -> onnx.ModelProto:
    """A copy of `model` whose input is the contract's; with a float32 contract only the input's name changes.

    Raises:
        ExportError: the input does not go into one convolution with weights in the graph, and nowhere else.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    conv, weight = _stem(graph)
    spec = contract.input
    if spec.dtype == "float32":
        conv.input[0] = graph.input[0].name = spec.name
        return result
    std = np.array(contract.normalization.std, np.float64)
    values = numpy_helper.to_array(weight).astype(np.float64) / (255 * std)[None, :, None, None]
    weight.CopyFrom(numpy_helper.from_array(_float32(values[:, ::-1]), weight.name))
    mean = _float32(255 * np.array(contract.normalization.mean, np.float64)[::-1]).reshape(1, 3, 1, 1)
    graph.initializer.append(numpy_helper.from_array(mean, "preprocess.mean"))
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
    for i, node in enumerate(nodes):
        graph.node.insert(i, node)
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    graph.input[0].CopyFrom(
        helper.make_tensor_value_info(spec.name, TensorProto.UINT8, [batch, spec.height, spec.width, 3])
    )
    return result


def _stem(graph: onnx.GraphProto) -> tuple[onnx.NodeProto, onnx.TensorProto]:
    users = [n for n in graph.node if INPUT in n.input]
    weights = {i.name: i for i in graph.initializer}
    if (
        len(users) != 1
        or users[0].op_type != "Conv"
        or users[0].input[0] != INPUT
        or users[0].input[1] not in weights
        or sum(users[0].input[1] in n.input for n in graph.node) != 1
        or weights[users[0].input[1]].dims[1] != 3
    ):
        raise ExportError(
            "fold preprocessing",
            expected="one convolution of 3 channels on the input, with weights of its own",
            found=", ".join(n.op_type for n in users) or "nothing",
        )
    return users[0], weights[users[0].input[1]]


def _float32(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.ascontiguousarray(values, np.float32)
