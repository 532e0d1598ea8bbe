"""A graph in onnxruntime: the values that its tensors have."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

__all__ = ["NetworkInput", "giving_out", "onnx_session"]

NetworkInput = npt.NDArray[np.uint8 | np.float32]


def onnx_session(model: onnx.ModelProto, threads: int = 1) -> ort.InferenceSession:
    """Return an onnxruntime session on the CPU. One thread, so that sums are the same on every run."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def giving_out(
    model: onnx.ModelProto, names: Iterable[str], kind: int = TensorProto.FLOAT
) -> onnx.ModelProto:
    """Return the graph with the tensors of these names, of the element type `kind`, as its only outputs."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for name in dict.fromkeys(names):
        probe.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    return probe
