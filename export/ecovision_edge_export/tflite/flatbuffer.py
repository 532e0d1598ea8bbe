"""Reading, changing and writing .tflite files, by the schema that comes with ai-edge-litert.

Constants stand inside the flatbuffer, each at a multiple of 16 bytes. ai-edge-quantizer and litert-torch
write them after it, where LiteRT looks and OpenVINO and OpenCV do not. The bytes are the same for the same
model.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.extras import require
from ecovision_edge.bundle.contract import METADATA_KEY, Contract

__all__ = [
    "Model",
    "Operator",
    "constant",
    "finish",
    "operator_name",
    "read_model",
    "schema",
    "write_model",
]

Model: TypeAlias = Any  # ModelT of the schema, which has no types
Operator: TypeAlias = Any  # OperatorT
Buffer: TypeAlias = Any  # BufferT
Builder: TypeAlias = Any  # of flatbuffers, which has no types either
ALIGNMENT = 16
EXTRA = "litert-export"


def schema() -> ModuleType:
    """Return the generated schema."""
    return require("ai_edge_litert.schema_py_generated", EXTRA)


def read_model(data: bytes) -> Model:
    """Return the model as objects; constants in their buffers, wherever they stood in the file."""
    tools = require("ai_edge_litert.tools.flatbuffer_utils", EXTRA)
    return tools.read_model_from_bytearray(bytearray(data))


def write_model(model: Model) -> bytes:
    """Return the file, whose constants stand inside the flatbuffer."""
    tools = require("ai_edge_litert.tools.flatbuffer_utils", EXTRA)
    aligned = _aligned_buffer()
    model.buffers = [aligned.of(buffer.data) for buffer in model.buffers]
    return bytes(tools.convert_object_to_bytearray(model))


@functools.cache
def _aligned_buffer() -> Buffer:
    """Return a kind of BufferT that aligns its bytes, as the schema demands; its generated code does not."""
    s = schema()

    class AlignedBuffer(s.BufferT):  # type: ignore[misc, name-defined]
        @classmethod
        def of(cls, data: npt.NDArray[np.uint8] | None) -> AlignedBuffer:
            buffer = cls()
            buffer.data = data
            return buffer

        def Pack(self, builder: Builder) -> int:  # noqa: N802 - the name that the generated code calls
            data = b"" if self.data is None else bytes(self.data)
            vector = None
            if data:
                builder.StartVector(1, len(data), ALIGNMENT)
                builder.head = builder.Head() - len(data)
                builder.Bytes[builder.Head() : builder.Head() + len(data)] = data
                vector = builder.EndVector()
            s.BufferStart(builder)
            if vector is not None:
                s.BufferAddData(builder, vector)
            return int(s.BufferEnd(builder))

    return AlignedBuffer


def operator_name(model: Model, operator: Operator) -> str:
    """Name of an operator, as `CONV_2D`."""
    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return _operator_names()[number]


@functools.cache
def _operator_names() -> dict[int, str]:
    return {v: k for k, v in vars(schema().BuiltinOperator).items() if not k.startswith("_")}


def constant(model: Model, tensor: int) -> npt.NDArray[np.generic] | None:
    """Return values of a constant tensor; None of one that is computed."""
    s = schema()
    described = model.subgraphs[0].tensors[tensor]
    data = model.buffers[described.buffer].data
    if data is None or len(data) == 0:
        return None
    types = {
        s.TensorType.FLOAT32: np.float32,
        s.TensorType.INT32: np.int32,
        s.TensorType.INT8: np.int8,
        s.TensorType.UINT8: np.uint8,
    }
    shape = [] if described.shape is None else [int(n) for n in described.shape]
    values: npt.NDArray[np.generic] = np.frombuffer(bytes(data), types[described.type]).reshape(shape)
    return values


def finish(data: bytes, contract: Contract) -> bytes:
    """Return the file as it ships: the contract's input, its names, and the contract in the metadata.

    Pixels come in as uint8, and each is its own integer. Where the first convolution is fp32, the tensors up
    to the dequantization are read as uint8, and nothing is added; where it is int8, a quantization turns them
    to int8; in an fp32 model a dequantization turns them to float.
    """
    model = read_model(data)
    s = schema()
    graph = model.subgraphs[0]
    _take_input(model, contract.input.dtype)
    graph.tensors[graph.inputs[0]].name = contract.input.name.encode()
    graph.tensors[graph.outputs[0]].name = contract.output.name.encode()
    for signature in model.signatureDefs or []:
        for entries, index, name in (
            (signature.inputs, graph.inputs[0], contract.input.name),
            (signature.outputs, graph.outputs[0], contract.output.name),
        ):
            (entry,) = entries
            entry.tensorIndex, entry.name = index, name.encode()
    buffer = s.BufferT()
    buffer.data = np.frombuffer(contract.dumps().encode(), np.uint8)
    model.buffers.append(buffer)
    metadata = s.MetadataT()
    metadata.name, metadata.buffer = METADATA_KEY.encode(), len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), metadata]
    model.description = b"ecovision-edge"
    return write_model(model)


def _take_input(model: Model, dtype: str) -> None:
    """Make the input of that type; it is float32, or int8 where the network was quantized."""
    s = schema()
    graph = model.subgraphs[0]
    taken = graph.tensors[graph.inputs[0]]
    quantized = taken.type == s.TensorType.INT8
    if dtype == "float32" and not quantized:
        return
    if dtype == "uint8" and quantized and _read_as_uint8(model):
        return
    if quantized:
        operator = _operator(model, "QUANTIZE", s.BuiltinOptions.QuantizeOptions, s.QuantizeOptionsT())
    else:
        operator = _operator(model, "DEQUANTIZE", s.BuiltinOptions.DequantizeOptions, s.DequantizeOptionsT())
    new = s.TensorT()
    new.shape = [int(n) for n in taken.shape]
    new.type = s.TensorType.UINT8 if dtype == "uint8" else s.TensorType.FLOAT32
    new.hasRank = True
    if dtype == "uint8":
        new.quantization = s.QuantizationParametersT()
        new.quantization.scale, new.quantization.zeroPoint = [1.0], [0]
    graph.tensors.append(new)
    taken.name = b"taken"
    operator.inputs, operator.outputs = [len(graph.tensors) - 1], [graph.inputs[0]]
    graph.operators.insert(0, operator)
    graph.inputs = [len(graph.tensors) - 1]


def _read_as_uint8(model: Model) -> bool:
    """Make the int8 tensors from the input to a dequantization uint8; False if something else is there."""
    s = schema()
    graph = model.subgraphs[0]
    reached, constants, todo = {graph.inputs[0]}, set(), [graph.inputs[0]]
    while todo:
        tensor = todo.pop()
        for op in graph.operators:
            if tensor not in [*op.inputs]:
                continue
            kind = operator_name(model, op)
            if kind == "DEQUANTIZE":
                continue
            if kind not in ("CONCATENATION", "PAD"):
                return False
            constants |= {i for i in op.inputs if graph.tensors[i].type == s.TensorType.INT8} - reached
            todo += [o for o in op.outputs if o not in reached]
            reached |= {*op.outputs}
    for index in reached | constants:
        tensor = graph.tensors[index]
        tensor.type = s.TensorType.UINT8
        tensor.quantization.zeroPoint = [int(z) + 128 for z in tensor.quantization.zeroPoint]
        buffer = model.buffers[tensor.buffer]
        if buffer.data is not None and len(buffer.data):
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8) ^ np.uint8(128)
    return True


def _operator(model: Model, kind: str, options_type: int, options: object) -> Operator:
    s = schema()
    number = getattr(s.BuiltinOperator, kind)
    code = s.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = number
    code.version = 2
    model.operatorCodes.append(code)
    operator = s.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.builtinOptionsType, operator.builtinOptions = options_type, options
    return operator
