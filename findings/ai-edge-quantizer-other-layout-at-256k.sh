#!/usr/bin/env bash
# ai-edge-quantizer: from 256 KiB of constants on, a quantized .tflite file keeps them behind its flatbuffer, where
# LiteRT alone looks; below, in it. So OpenVINO reads the small network and not the larger one of the same layers.
#
# Ground: one FULLY_CONNECTED of 512 inputs and 400 or 600 outputs, quantized by the recipe dynamic_wi8_afp32 to 205 and
# 307 kB of weights; against the same file with its constants put back into the flatbuffer.
# Guess before running: what LiteRT reads OpenVINO reads, for it is the same schema; the fields Buffer.offset and size
# are for files of more than 2 GB, which a flatbuffer cannot be.
# Seen (ai-edge-quantizer 0.10.0, ai-edge-litert 2.3.0, openvino 2026.4.1):
#   400 outputs: constants in the flatbuffer; OpenVINO answers as LiteRT does, within its rounding
#   600 outputs: constants behind it; LiteRT reads it, OpenVINO says "This tensor should be either input, constant or
#     should be already produced by previous operators"
#   read and written again by ai_edge_litert.tools.flatbuffer_utils: OpenVINO answers, and LiteRT the same as before
#   OpenCV 5.0.0.93 refuses such a file of floats as well ("Tensor B must be two ...", tried by hand)
# The message is about the graph, so one looks for a wrong operator; a test with a small network of the same layers
# passes.
# What to do: flatbuffer_utils.write_model(flatbuffer_utils.read_model(path), path) before the file goes elsewhere.
#
# usage: bash findings/ai-edge-quantizer-other-layout-at-256k.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  ai-edge-quantizer==0.10.0 ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6 openvino==2026.4.1
venv/bin/python - 2>log <<'PYTHON' || { cat log >&2; exit 1; }
import sys
from importlib.metadata import version

import flatbuffers
import numpy as np
import openvino
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from ai_edge_quantizer import quantizer, recipe

print("ai-edge-quantizer", version("ai-edge-quantizer"), "ai-edge-litert", version("ai-edge-litert"),
      "openvino", openvino.__version__)
rng = np.random.default_rng(0)
core = openvino.Core()


def new(kind, **fields):
    made = kind()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def dense(outputs):
    """Give a float32 TFLite model of one FULLY_CONNECTED, 512 to outputs."""
    arrays = [rng.normal(size=(outputs, 512)).astype(np.float32), np.arange(outputs, dtype=np.float32)]
    tensors = [new(schema.TensorT, name=name, shape=list(shape), type=schema.TensorType.FLOAT32, buffer=buffer)
               for name, shape, buffer in (("x", (1, 512), 0), ("w", arrays[0].shape, 1), ("b", arrays[1].shape, 2),
                                           ("y", (1, outputs), 0))]
    node = new(schema.OperatorT, opcodeIndex=0, inputs=[0, 1, 2], outputs=[3],
               builtinOptions=schema.FullyConnectedOptionsT(),
               builtinOptionsType=schema.BuiltinOptions.FullyConnectedOptions)
    operator = schema.BuiltinOperator.FULLY_CONNECTED
    code = new(schema.OperatorCodeT, builtinCode=operator, deprecatedBuiltinCode=operator, version=1)
    graph = new(schema.SubGraphT, name="main", tensors=tensors, inputs=[0], outputs=[3], operators=[node])
    buffers = [new(schema.BufferT, data=np.frombuffer(array.tobytes(), np.uint8)) for array in arrays]
    model = new(schema.ModelT, version=3, operatorCodes=[code], subgraphs=[graph],
                buffers=[schema.BufferT(), *buffers])
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def behind(path):
    """Tell whether the weights stand behind the flatbuffer."""
    with open(path, "rb") as file:
        model = schema.Model.GetRootAs(file.read(), 0)
    return any(model.Buffers(index).Offset() > 1 for index in range(model.BuffersLength()))


def lite(path, x):
    interpreter = Interpreter(path)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def vino(path, x):
    """Give OpenVINO's answer, or None if it refuses."""
    try:
        return core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]
    except RuntimeError as error:
        print("  OpenVINO refuses:", str(error)[str(error).find("This tensor"):][:110].strip())
        return None


x = rng.normal(size=(1, 512)).astype(np.float32)
so = True
for outputs in (400, 600):
    with open("float.tflite", "wb") as file:
        file.write(dense(outputs))
    path, again = f"{outputs}.tflite", f"{outputs}-again.tflite"
    work = quantizer.Quantizer("float.tflite")
    work.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    work.quantize().export_model(path)
    flatbuffer_utils.write_model(flatbuffer_utils.read_model(path), again)
    wanted = lite(path, x)
    for name, large in ((path, outputs == 600), (again, False)):
        print(f"{name}: constants {'behind' if behind(name) else 'in'} the flatbuffer")
        found = vino(name, x)
        so &= behind(name) == large and (found is None) == large and np.array_equal(lite(name, x), wanted)
        if found is not None:
            print(f"  OpenVINO is off by {np.abs(found - wanted).max():.2f} of {np.abs(wanted).max():.0f}")
            so &= bool(np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max())
print("still so: 256 KiB decide who reads it" if so else "changed")
sys.exit(not so)
PYTHON
