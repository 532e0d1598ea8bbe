#!/usr/bin/env bash
# OpenVINO's reader of TFLite files drops half_pixel_centers of RESIZE_NEAREST_NEIGHBOR: right when a map is doubled,
# shifted by up to half a step when it is shrunk.
#
# Ground: RESIZE_NEAREST_NEIGHBOR with half_pixel_centers, the way of tf.image.resize since TensorFlow 2, against
# LiteRT; the same with RESIZE_BILINEAR.
# Guess before running: equal, to the bit; or refused, as OpenVINO refuses other TFLite operators.
# Seen (ai-edge-litert 2.3.0, openvino 2026.4.1):
#   a ramp of 64 shrunk to 8: LiteRT takes columns 4, 12, 20, ..., OpenVINO 0, 8, 16, ...; no error, no warning
#   the operator that OpenVINO makes of it says coordinate_transformation_mode asymmetric, with the flag and without
#   64 to 128, 64 to 192: equal, so a feature pyramid passes every check; 64 to 96: another column for 32 of 96
#   without the flag, and RESIZE_BILINEAR with and without it: equal
# So masks and label maps that the model itself shrinks lie up to half a cell (here 4 pixels) beside the picture.
# What to do: compare on a size that is shrunk; write a nearest shrink as a strided slice that starts in the middle, on
# which they agree, or resize outside the model.
#
# usage: bash findings/openvino-tflite-nearest-shifted.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6 openvino==2026.4.1
venv/bin/python - 2>log <<'PYTHON' || { cat log >&2; exit 1; }
import sys
from importlib.metadata import version

import flatbuffers
import numpy as np
import openvino
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

print("ai-edge-litert", version("ai-edge-litert"), "openvino", openvino.__version__)


def new(kind, **fields):
    made = kind()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def resize(kind, half, size, out):
    """Give a TFLite model of one resize of a map one pixel high."""
    operator, options, options_type = {
        "nearest": (schema.BuiltinOperator.RESIZE_NEAREST_NEIGHBOR, schema.ResizeNearestNeighborOptionsT,
                    schema.BuiltinOptions.ResizeNearestNeighborOptions),
        "bilinear": (schema.BuiltinOperator.RESIZE_BILINEAR, schema.ResizeBilinearOptionsT,
                     schema.BuiltinOptions.ResizeBilinearOptions),
    }[kind]
    floats, integers = schema.TensorType.FLOAT32, schema.TensorType.INT32
    tensors = [new(schema.TensorT, name=name, shape=shape, type=number, buffer=buffer)
               for name, shape, number, buffer in (("x", [1, 1, size, 1], floats, 0), ("size", [2], integers, 1),
                                                   ("y", [1, 1, out, 1], floats, 0))]
    node = new(schema.OperatorT, opcodeIndex=0, inputs=[0, 1], outputs=[2], builtinOptionsType=options_type,
               builtinOptions=new(options, alignCorners=False, halfPixelCenters=half))
    code = new(schema.OperatorCodeT, builtinCode=operator, deprecatedBuiltinCode=operator, version=3)
    graph = new(schema.SubGraphT, name="main", tensors=tensors, inputs=[0], outputs=[2], operators=[node])
    sizes = np.frombuffer(np.array([1, out], np.int32).tobytes(), np.uint8)
    model = new(schema.ModelT, version=3, operatorCodes=[code], subgraphs=[graph],
                buffers=[schema.BufferT(), new(schema.BufferT, data=sizes)])
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def lite(model, x):
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, x)
    interpreter.invoke()
    return interpreter.get_tensor(2).reshape(-1)


core = openvino.Core()


def vino(model, x):
    with open("model.tflite", "wb") as file:
        file.write(model)
    read = core.read_model("model.tflite")
    modes = [node.get_attributes()["coordinate_transformation_mode"] for node in read.get_ops()
             if node.get_type_name() == "Interpolate"]
    return core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0].reshape(-1), modes


# kind, half_pixel_centers, output size of 64, how many were seen to differ
CASES = [("nearest", True, 8, 8), ("nearest", True, 96, 32), ("nearest", True, 128, 0), ("nearest", True, 192, 0),
         ("nearest", False, 8, 0), ("nearest", False, 96, 0), ("bilinear", True, 8, 0), ("bilinear", False, 8, 0)]
x = np.arange(64, dtype=np.float32).reshape(1, 1, 64, 1)
so = True
for kind, half, out, seen in CASES:
    model = resize(kind, half, 64, out)
    wanted, (found, modes) = lite(model, x), vino(model, x)
    differ = int((np.abs(wanted - found) > 1e-3).sum())
    print(f"{kind}, half_pixel_centers {half}, 64 to {out}: {differ} differ; LiteRT {wanted[:4]}, "
          f"OpenVINO {found[:4]}, {modes}")
    so &= differ == seen
print("still so: the flag is dropped" if so else "changed")
sys.exit(not so)
PYTHON
