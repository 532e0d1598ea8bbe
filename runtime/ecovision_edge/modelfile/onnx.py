"""Refuse ONNX models that keep tensors in other files.

Such a model could name any file of the device, and what it names is not what was hashed. The runtime has no
`onnx` package, so this walks the protobuf wire format itself (https://protobuf.dev/programming-guides/encoding,
field numbers of onnx.proto), only through the messages that can hold a tensor, and skips all else unread.
"""

from __future__ import annotations

from collections.abc import Iterator

from ecovision_edge.errors import ModelError

__all__ = ["refuse_external_data"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
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
        has_graph = any(number == 7 for number, _, _ in _fields(view))
        external = _has_external(view, "Model", 0)
    except (IndexError, ValueError) as e:
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
        return any(n == _EXTERNAL_DATA or (n == _DATA_LOCATION and value) for n, value, _ in _fields(view))
    inner = _FIELDS[message]
    return any(
        _has_external(part, inner[number], depth + 1)
        for number, _, part in _fields(view)
        if part is not None and number in inner
    )


def _fields(view: memoryview) -> Iterator[tuple[int, int, memoryview | None]]:
    """Each field of a message: number, value of a varint (else 0), content of a length-delimited one."""
    at, end = 0, len(view)
    while at < end:
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(view, at)
            yield number, value, None
        elif wire == _BYTES:
            size, at = _varint(view, at)
            if size > end - at:
                raise ValueError("truncated")
            yield number, 0, view[at : at + size]
            at += size
        elif wire in {_FIXED64, _FIXED32}:
            at += 8 if wire == _FIXED64 else 4
            if at > end:
                raise ValueError("truncated")
        else:
            raise ValueError(f"wire type {wire}")


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number of more than 64 bits")
