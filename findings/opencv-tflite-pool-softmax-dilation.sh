#!/usr/bin/env bash
# OpenCV 5's reader of TFLite files: AVERAGE_POOL_2D with SAME counts the padding, SOFTMAX normalises along the width,
# and a dilated CONV_2D with SAME is wrong everywhere; no error.
#
# Ground: models of one operator each, as Keras layers give them, against LiteRT. OpenCV takes the input as NCHW and
# gives NCHW; that is allowed for.
# Guess before running: OpenCV refuses what it does not know (it does, for many operators), and what it reads it
# computes as LiteRT does, within 1e-5.
# Seen (ai-edge-litert 2.3.0, opencv-python-headless 5.0.0.93):
#   average of 3x3, stride 2, SAME, over ones: LiteRT gives ones, OpenCV 0.44 in the corners and 0.67 along the edges;
#     with VALID both agree (a TFLite file has no option for it: padding is never counted)
#   softmax over the channels of a 1x7x9x4 map (a segmentation head): OpenCV's equals a softmax along the width, and
#     its channels do not add up to 1; of a 1x6 vector it is right
#   softmax with beta 2.5: computed with beta 1
#   conv 3x3, dilation 2, SAME: off by more than the largest value, at the centre too; the same with VALID is right to
#     1e-5, and so is SAME without dilation
# So a classifier (VALID, no dilation, softmax of a vector) is right, and the segmenter beside it is nonsense.
# What to do: compare with LiteRT on a real frame before cv2.dnn.readNetFromTFLite goes to a device; or export to ONNX
# with explicit pads.
#
# usage: bash findings/opencv-tflite-pool-softmax-dilation.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  ai-edge-litert==2.3.0 flatbuffers==25.12.19 numpy==2.4.6 opencv-python-headless==5.0.0.93
venv/bin/python - 2>log <<'PYTHON' || { cat log >&2; exit 1; }
import sys
from importlib.metadata import version

import cv2
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

print("ai-edge-litert", version("ai-edge-litert"), "opencv", cv2.__version__)
rng = np.random.default_rng(0)


def new(kind, **fields):
    made = kind()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def build(operator, options, shape, out, *weights):
    """Give a TFLite model of one float32 operator: input, weights, options."""
    arrays = [np.ascontiguousarray(weight, np.float32) for weight in weights]
    tensors = [new(schema.TensorT, name=name, shape=list(size), type=schema.TensorType.FLOAT32, buffer=buffer)
               for name, size, buffer in [("x", shape, 0), ("y", out, 0)]
               + [(f"w{index}", array.shape, index + 1) for index, array in enumerate(arrays)]]
    node = new(schema.OperatorT, opcodeIndex=0, inputs=[0, *range(2, 2 + len(arrays))], outputs=[1],
               builtinOptions=options,
               builtinOptionsType=getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T")))
    code = new(schema.OperatorCodeT, builtinCode=operator, deprecatedBuiltinCode=operator, version=1)
    graph = new(schema.SubGraphT, name="main", tensors=tensors, inputs=[0], outputs=[1], operators=[node])
    buffers = [new(schema.BufferT, data=np.frombuffer(array.tobytes(), np.uint8)) for array in arrays]
    model = new(schema.ModelT, version=3, operatorCodes=[code], subgraphs=[graph],
                buffers=[schema.BufferT(), *buffers])
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def lite(model, x):
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, x)
    interpreter.invoke()
    return interpreter.get_tensor(1)


def opencv(model, x):
    net = cv2.dnn.readNetFromTFLite(np.frombuffer(model, np.uint8))
    net.setInput(np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x)
    y = net.forward()
    return y.transpose(0, 2, 3, 1) if y.ndim == 4 else y


def compare(name, model, x, right):
    """Print how far OpenCV is from LiteRT; tell whether that is as it was seen."""
    wanted, found = lite(model, x), opencv(model, x)
    off = np.abs(wanted - found).max()
    print(f"{name}: off by {off:.1e} (largest value {np.abs(wanted).max():.2f})")
    return found, (off < 1e-4 if right else off > 0.1)


SAME, VALID = 0, 1
operators = schema.BuiltinOperator
x = rng.normal(size=(1, 7, 9, 4)).astype(np.float32)
ones = np.ones_like(x)
so = []
for padding, name, out in ((SAME, "SAME", (1, 4, 5, 4)), (VALID, "VALID", (1, 3, 4, 4))):
    pool = build(operators.AVERAGE_POOL_2D,
                 new(schema.Pool2DOptionsT, padding=padding, strideW=2, strideH=2, filterWidth=3, filterHeight=3),
                 x.shape, out)
    found, seen = compare(f"average pool 3x3, {name}, of ones", pool, ones, padding == VALID)
    print(f"  corner {found[0, 0, 0, 0]:.2f}, edge {found[0, 0, 1, 0]:.2f}, centre {found[0, 1, 1, 0]:.2f}")
    so.append(seen)

for beta, shape in ((1.0, (1, 6)), (2.5, (1, 6)), (1.0, x.shape)):
    softmax = build(operators.SOFTMAX, new(schema.SoftmaxOptionsT, beta=beta), shape, shape)
    logits = x if len(shape) == 4 else x.reshape(-1)[:6].reshape(shape)
    found, seen = compare(f"softmax of {shape}, beta {beta}", softmax, logits, (beta, len(shape)) == (1.0, 2))
    so.append(seen)
    if len(shape) == 4:
        total = found.sum(axis=3)
        print(f"  sums along the channels {total.min():.2f} to {total.max():.2f}, along the width "
              f"{found.sum(axis=2).min():.4f} to {found.sum(axis=2).max():.4f}")
        so.append(np.abs(found.sum(axis=2) - 1).max() < 1e-4)

weight, bias = rng.normal(size=(5, 3, 3, 4)), rng.normal(size=5)
for padding, name, dilation, out in ((SAME, "SAME", 1, (1, 7, 9, 5)), (VALID, "VALID", 2, (1, 3, 5, 5)),
                                     (SAME, "SAME", 2, (1, 7, 9, 5))):
    options = new(schema.Conv2DOptionsT, padding=padding, strideW=1, strideH=1, dilationWFactor=dilation,
                  dilationHFactor=dilation)
    conv = build(operators.CONV_2D, options, x.shape, out, weight, bias)
    found, seen = compare(f"conv 3x3, {name}, dilation {dilation}", conv, x, (name, dilation) != ("SAME", 2))
    so.append(seen)
    if (name, dilation) == ("SAME", 2):
        centre = np.abs(found - lite(conv, x))[0, 3, 4].max()
        print(f"  at the centre {centre:.2f}")
        so.append(centre > 1)
print("still so: OpenCV reads them otherwise" if all(so) else "changed")
sys.exit(not all(so))
PYTHON
