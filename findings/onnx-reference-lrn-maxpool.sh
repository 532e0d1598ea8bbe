#!/usr/bin/env bash
# ONNX's reference evaluator is wrong where the engines are right: LRN past channel 0, and MaxPool with SAME_LOWER.
#
# Ground: the evaluator that ships with onnx is what one turns to when two engines differ. LRN of size 3 (AlexNet,
# GoogLeNet) and a MaxPool of kernel 3, stride 2 with auto_pad, each against the formula of the specification in numpy.
# Guess before running: the reference equals the formula within 1e-5; an engine may not.
# Seen (onnx 1.23.2, onnxruntime 1.32.0, openvino 2026.4.0):
#   LRN: onnxruntime and OpenVINO equal the formula; the reference does in the first N channels only, where N is the
#     size of the batch, and hands the others out as they came in: it walks along the wrong axis
#   LRN with more pictures in the batch than channels: IndexError from the reference
#   MaxPool SAME_UPPER: all are equal; SAME_LOWER: onnxruntime and OpenVINO equal the formula, the reference does not,
#     and on 9x9 it gives a 4x4 output where the model's own checked shape is 5x5
# So "differs from the reference" is not "is wrong", and a test that compares with it alone blames the engine.
# What to do: ask three, and write the operator's formula out in numpy where they differ.
#
# usage: bash findings/onnx-reference-lrn-maxpool.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.0
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__)


def build(node, shape, out):
    graph = helper.make_graph(
        [node], "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def reference(model, x):
    return ReferenceEvaluator(onnx.load_from_string(model)).run(None, {"x": x})[0]


def ort(model, x):
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def vino(model, x):
    core = openvino.Core()
    return core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]


def lrn(x, size):
    before = (size - 1) // 2
    squares = np.stack([np.square(x[:, max(0, c - before) : c - before + size]).sum(1) for c in range(x.shape[1])], 1)
    return x / (1 + squares / size) ** 0.75


def maxpool(x, lower):
    n = x.shape[-1]
    out = -(-n // 2)
    total = max(0, (out - 1) * 2 + 3 - n)
    first = total - total // 2 if lower else total // 2
    wide = np.pad(x, ((0, 0), (0, 0), (first, total - first), (first, total - first)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    return windows.max((-1, -2))


rng = np.random.default_rng(0)
changed = False
node = helper.make_node("LRN", ["x"], ["y"], size=3, alpha=1.0)
for shape in ((1, 4, 9, 9), (2, 4, 9, 9)):
    x = rng.normal(size=shape).astype(np.float32)
    wanted, model = lrn(x, 3), build(node, shape, shape)
    for name, engine in (("reference", reference), ("onnxruntime", ort), ("openvino", vino)):
        y = engine(model, x)
        off = np.abs(y - wanted).max((0, 2, 3)).round(4).tolist()
        print(f"LRN {shape}: {name} off per channel {off}")
        right = [value < 1e-4 for value in off]
        changed |= right != [name != "reference" or c < shape[0] for c in range(4)]
        changed |= name == "reference" and not np.allclose(y[:, shape[0] :], x[:, shape[0] :])
try:
    reference(build(node, (5, 4, 9, 9), (5, 4, 9, 9)), rng.normal(size=(5, 4, 9, 9)).astype(np.float32))
    changed = True
except IndexError as error:
    print(f"LRN (5, 4, 9, 9): reference IndexError: {error}")
for auto_pad in ("SAME_UPPER", "SAME_LOWER"):
    for n in (8, 9):
        x = rng.normal(size=(1, 4, n, n)).astype(np.float32)
        wanted = maxpool(x, auto_pad == "SAME_LOWER")
        pool = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], auto_pad=auto_pad)
        model = build(pool, x.shape, wanted.shape)
        for name, engine in (("reference", reference), ("onnxruntime", ort), ("openvino", vino)):
            y = engine(model, x)
            right = y.shape == wanted.shape and bool(np.abs(y - wanted).max() < 1e-5)
            print(f"MaxPool {auto_pad} {n}x{n}: {name} {y.shape[2]}x{y.shape[3]}, {'right' if right else 'wrong'}")
            changed |= right != (name != "reference" or auto_pad == "SAME_UPPER")
print("changed" if changed else "still so: the reference is wrong and the engines are right")
sys.exit(int(changed))
PYTHON
