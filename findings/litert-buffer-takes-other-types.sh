#!/usr/bin/env bash
# LiteRT's CompiledModel: a TensorBuffer takes an array of another type or size without a word; the model runs on its
# bytes and on what is left of the frame before.
#
# Ground: a model with one float32 input (y = x + 0, so that the output shows what the model got), two frames one after
# the other. The older Interpreter of the same package stands beside it.
# Guess before running: write() converts, as OpenVINO does, or raises, as Interpreter.set_tensor() does ("Got value of
# type UINT8 but expected type FLOAT32").
# Seen (ai-edge-litert 2.3.0):
#   Interpreter.set_tensor refuses each of these arrays with a ValueError
#   TensorBuffer.write of uint8, int32 or float16: no error; the bytes are taken for float32. A uint8 frame fills the
#     first quarter, the other three are those of the frame before
#   write of a float32 array of half the size: no error, the second half is that of the frame before
#   write of float64, or of more bytes than fit: refused
#   read(count, dtype) with another dtype reinterprets the output in the same way
# So porting from Interpreter to CompiledModel turns a forgotten astype(float32) from an error into answers that look
# like answers, and stay the same for most of the picture while the camera moves.
# What to do: check shape and dtype before write(), against get_tensor_details() of the buffer (it has both).
#
# usage: bash findings/litert-buffer-takes-other-types.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6
venv/bin/python - 2>log <<'PYTHON' || { cat log >&2; exit 1; }
import sys
from importlib.metadata import version

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.interpreter import Interpreter

print("ai-edge-litert", version("ai-edge-litert"))


def new(kind, **fields):
    made = kind()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def identity(shape):
    """Give a TFLite model of one ADD: y = x + 0."""
    zero = np.frombuffer(np.zeros(1, np.float32).tobytes(), np.uint8)
    tensors = [new(schema.TensorT, name=name, shape=list(size), type=schema.TensorType.FLOAT32, buffer=buffer)
               for name, size, buffer in (("x", shape, 0), ("zero", (1,), 1), ("y", shape, 0))]
    add = new(schema.OperatorT, opcodeIndex=0, inputs=[0, 1], outputs=[2], builtinOptions=schema.AddOptionsT(),
              builtinOptionsType=schema.BuiltinOptions.AddOptions)
    graph = new(schema.SubGraphT, name="main", tensors=tensors, inputs=[0], outputs=[2], operators=[add])
    code = new(schema.OperatorCodeT, builtinCode=schema.BuiltinOperator.ADD,
               deprecatedBuiltinCode=schema.BuiltinOperator.ADD, version=1)
    model = new(schema.ModelT, version=3, operatorCodes=[code], subgraphs=[graph],
                buffers=[schema.BufferT(), new(schema.BufferT, data=zero)])
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


content = identity((1, 4, 4, 1))
interpreter = Interpreter(model_content=content)
interpreter.allocate_tensors()
model = CompiledModel.from_buffer(content)
into, out = model.create_input_buffers(0), model.create_output_buffers(0)
before = np.full((1, 4, 4, 1), -1, np.float32)
now = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)


def refused(call, *arguments):
    try:
        call(*arguments)
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


frames = {"float32": now, "uint8": now.astype(np.uint8), "int32": now.astype(np.int32),
          "float16": now.astype(np.float16), "half the size": now[:, :2],
          "float64": now.astype(np.float64), "twice the size": np.concatenate([now, now])}
SEEN = {"float32": 0, "uint8": 12, "int32": 0, "float16": 8, "half the size": 8}  # values of the frame before
so = True
for name, frame in frames.items():
    into[0].write(before)
    older = refused(interpreter.set_tensor, 0, frame)
    newer = refused(into[0].write, frame)
    so &= (older is None) == (name == "float32") and (newer is None) == (name in SEEN)
    print(f"{name}: Interpreter {older or 'takes it'}; CompiledModel {newer or 'takes it'}")
    if newer is None:
        model.run_by_index(0, into, out)
        got = out[0].read(16, np.float32)
        stale = int((got == -1).sum())
        print(f"  the model got {got[:3]} ... {got[-2:]}; {stale} of 16 are the frame before's")
        right = 8 if name == "half the size" else 16
        same = np.array_equal(got[:right], now.reshape(-1)[:right])
        so &= stale == SEEN[name] and same == (name in ("float32", "half the size"))
into[0].write(now)
model.run_by_index(0, into, out)
print("read as int32:", out[0].read(3, np.int32), "as float32:", out[0].read(3, np.float32))
so &= not np.array_equal(out[0].read(3, np.int32), [0, 1, 2])
print("details of the buffer:", into[0].get_tensor_details())
print("still so: other types and sizes are taken" if so else "changed")
sys.exit(not so)
PYTHON
