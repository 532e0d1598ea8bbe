"""The same graph for another size of pictures."""

from __future__ import annotations

import onnx

from ecovision_edge.bundle.contract import InputSpec

__all__ = ["at_size"]


def at_size(model: onnx.ModelProto, spec: InputSpec) -> onnx.ModelProto:
    """Return a copy that takes pictures of the size of `spec`; the weights and the nodes stay as they are.

    The network is convolutional up to its pooled head, so its graph is the same, byte for byte, as one
    traced at that size.

    Args:
        model: An fp32 graph with preprocessing folded, whose input has the name and layout of `spec`.
        spec: The input that the copy has.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    first = 1 if spec.layout == "NHWC" else 2
    dims = copy.graph.input[0].type.tensor_type.shape.dim
    dims[first].dim_value, dims[first + 1].dim_value = spec.height, spec.width
    del copy.graph.value_info[:]  # sizes in between are those of the other pictures
    return copy
