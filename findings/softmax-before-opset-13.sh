#!/usr/bin/env bash
# Softmax of opset 11 over an image: three meanings among onnxruntime, OpenVINO, OpenCV and ONNX's own reference.
#
# Ground: one Softmax on 1x4x5x6, as at the end of a segmentation network. Before opset 13 the axis said where the input
# is folded to a matrix: axis=1 makes one distribution of all 4*5*6 values. From 13 on it is one per position.
# Guess before running: every engine reads the opset and follows its rule; the reference evaluator surely does.
# Seen (onnx 1.23.2, onnxruntime 1.32.0, openvino 2026.4.0, opencv-python-headless 5.0.0.93):
#   onnxruntime folds in opset 9, 11 and 12 for Softmax and LogSoftmax, as the specification says
#   OpenVINO folds Softmax in opset 9 and does not in 11 and 12; it folds LogSoftmax in all three
#   OpenCV and onnx.reference.ReferenceEvaluator never fold
#   with the axis left out, opset 12: onnxruntime folds at 1, OpenVINO takes axis 1 alone, OpenCV and the reference take
#     the last axis; OpenCV takes axis 1 in opset 11
#   opset 13: all agree; on a matrix or 1xCx1x1 with axis=1 all opsets agree, which is why it is seldom noticed
# So the same file gives scores that add up to 1 in one engine and to 30 in another, with the same best class and no
# warning; and the evaluator that one would call in as judge does not follow the rule of the opset.
# What to do: convert such models to opset 13 or later (onnx.version_converter) or write the rule out with Flatten and
# Reshape; check that the scores add up to what is wanted; do not settle it by the reference evaluator.
#
# usage: bash findings/softmax-before-opset-13.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.0 opencv-python-headless==5.0.0.93
venv/bin/python - <<'PYTHON'
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__,
      "opencv", cv2.__version__)


def build(op, opset, axis, shape):
    node = helper.make_node(op, ["x"], ["y"], **({} if axis is None else {"axis": axis}))
    graph = helper.make_graph(
        [node], "scores",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def reference(model, x):
    return ReferenceEvaluator(onnx.load_from_string(model)).run(None, {"x": x})[0]


def ort(model, x):
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def vino(model, x):
    core = openvino.Core()
    return core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]


def opencv(model, x):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
    net.setInput(x)
    return net.forward()


ENGINES = {"onnxruntime": ort, "openvino": vino, "opencv": opencv, "reference": reference}


def meaning(op, y, x):
    """Name the axes over which y is a distribution of x."""
    for name, axes in (("folded", (1, 2, 3)), ("axis 1", (1,)), ("last", (3,))):
        power = np.exp(x - x.max(axes, keepdims=True))
        soft = power / power.sum(axes, keepdims=True)
        if np.abs((soft if op == "Softmax" else np.log(soft)) - y).max() < 1e-5:
            return name
    return "other"


# operator, opset, axis: what onnxruntime, OpenVINO, OpenCV and the reference were seen to do
SEEN = {
    ("Softmax", 9, 1): ("folded", "folded", "axis 1", "axis 1"),
    ("Softmax", 11, 1): ("folded", "axis 1", "axis 1", "axis 1"),
    ("Softmax", 12, 1): ("folded", "axis 1", "axis 1", "axis 1"),
    ("Softmax", 11, None): ("folded", "axis 1", "axis 1", "last"),
    ("Softmax", 12, None): ("folded", "axis 1", "last", "last"),
    ("Softmax", 13, 1): ("axis 1", "axis 1", "axis 1", "axis 1"),
    ("LogSoftmax", 11, 1): ("folded", "folded", "axis 1", "axis 1"),
    ("LogSoftmax", 13, 1): ("axis 1", "axis 1", "axis 1", "axis 1"),
}
x = np.random.default_rng(0).normal(size=(1, 4, 5, 6)).astype(np.float32)
changed = False
for (op, opset, axis), seen in SEEN.items():
    model = build(op, opset, axis, x.shape)
    values = {name: engine(model, x) for name, engine in ENGINES.items()}
    found = {name: meaning(op, value, x) for name, value in values.items()}
    total = {name: float((value if op == "Softmax" else np.exp(value)).sum()) for name, value in values.items()}
    print(f"{op} opset {opset} axis {axis}: "
          + ", ".join(f"{name} {how} (adds up to {total[name]:.0f})" for name, how in found.items()))
    changed |= tuple(found.values()) != seen
flat = x[:, :, :1, :1].copy()
old, new = (build("Softmax", opset, 1, flat.shape) for opset in (11, 13))
same = max(float(np.abs(engine(old, flat) - ort(new, flat)).max()) for engine in ENGINES.values())
print(f"1x4x1x1, opset 11 against opset 13: off by {same:.1e} at most")
changed |= same > 1e-5
print("changed" if changed else "still so: the engines differ before opset 13")
sys.exit(int(changed))
PYTHON
