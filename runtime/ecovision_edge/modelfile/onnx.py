"""Refuse ONNX models that keep tensors in other files.

Such a model could name any file of the device, and what it names is not what was hashed. This walks only
through the messages that can hold a tensor (field numbers of onnx.proto), and skips all else unread.
"""

from __future__ import annotations

from ecovision_edge.errors import ModelError
from ecovision_edge.modelfile.protobuf import fields

__all__ = ["refuse_external_data"]

_MAX_DEPTH = 40

# message -> {field number: message}; a TensorProto is where a search ends.
_FIELDS: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of TensorProto


def refuse_external_data(model: bytes) -> None:
    """Check that `model` is one whole ONNX file.

    Raises:
        ModelError: a tensor stands in another file, or these are not the bytes of an ONNX model.
    """
    view = memoryview(model)
    try:
        has_graph = any(field.number == 7 for field in fields(view))
        external = _has_external(view, "Model", 0)
    except ValueError as e:
        raise ModelError("not an ONNX model", expected="a whole .onnx file", found=str(e)) from e
    if not has_graph:
        raise ModelError("not an ONNX model", expected="a graph", found=f"none in {len(model)} bytes")
    if external:
        raise ModelError(
            "the model keeps tensors in other files",
            expected="a model in one file",
            found="external data",
            fix="export it with `ecovision-edge export`",
        )


def _has_external(view: memoryview, message: str, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        raise ValueError("graphs nested too deep")
    if message == "Tensor":
        return any(
            field.number == _EXTERNAL_DATA or (field.number == _DATA_LOCATION and field.value)
            for field in fields(view)
        )
    inner = _FIELDS[message]
    return any(
        _has_external(field.content, inner[field.number], depth + 1)
        for field in fields(view)
        if field.content is not None and field.number in inner
    )
