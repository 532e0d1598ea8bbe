#!/usr/bin/env bash
# PRelu with a slope along the width: OpenVINO lays it along the channels if the lengths agree, OpenCV's DNN always.
#
# Ground: one PRelu on 1x4xHxW; ONNX broadcasts the slope from the right, as numpy does, so a slope of shape [W] has one
# value per column. The input is -1 everywhere, so that the output shows which slope each position got.
# Guess before running: the engines broadcast, as they do for Mul, or refuse.
# Seen (onnx 1.23.2, onnxruntime 1.32.0, openvino 2026.4.0, opencv-python-headless 5.0.0.93):
#   onnxruntime equals numpy in every case; Mul by the same vector is right in all engines
#   slope [4] on 1x4x5x4: OpenVINO and OpenCV give one slope per channel
#   slope [9] on 1x4x5x9: OpenVINO is right; OpenCV takes the first 4 of the 9 for the channels, and says nothing
#   slope [1, 1, 4] on 1x4x5x4: OpenVINO is right; OpenCV gives one slope per channel
#   slope [4, 1, 1], one per channel: all are right
# So the meaning of one file depends, in OpenVINO, on whether the width happens to equal the number of channels.
# What to do: write the slope with as many axes as the input has (OpenVINO), or write it as
# Relu(x) - slope * Relu(-x) (everywhere).
#
# usage: bash findings/prelu-slope-on-the-wrong-axis.sh   (exit 0: still so; 1: it has changed)
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
from onnx import TensorProto, helper, numpy_helper

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__,
      "opencv", cv2.__version__)


def build(op, shape, slope):
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "slope"], ["y"])], "slopes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(slope, "slope")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def ort(model, x):
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def vino(model, x):
    core = openvino.Core()
    return core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]


def opencv(model, x):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
    net.setInput(x)
    return net.forward()


# input, slope, engines seen to lay it along the channels
CASES = [
    ((1, 4, 5, 4), (4,), {"openvino", "opencv"}),
    ((1, 4, 5, 9), (9,), {"opencv"}),
    ((1, 4, 5, 4), (1, 1, 4), {"opencv"}),
    ((1, 4, 5, 4), (4, 1, 1), set()),
]
changed = False
for shape, form, wrong in CASES:
    x = -np.ones(shape, np.float32)
    slope = np.arange(1, 1 + np.prod(form), dtype=np.float32).reshape(form)
    channels = slope.reshape(-1)[: shape[1]].reshape(1, -1, 1, 1) * x
    for name, engine in (("onnxruntime", ort), ("openvino", vino), ("opencv", opencv)):
        found = engine(build("PRelu", shape, slope), x)
        right, swapped = bool(np.allclose(found, slope * x)), bool(np.allclose(found, channels))
        product = bool(np.allclose(engine(build("Mul", shape, slope), x), slope * x))
        print(f"{'x'.join(map(str, shape))}, slope {list(form)}: {name} row 0 of channel 0 {found[0, 0, 0].tolist()}: "
              f"{'right' if right else 'one per channel' if swapped else 'other'}"
              f"; Mul {'right' if product else 'wrong'}")
        changed |= right != (name not in wrong) or (name in wrong and not swapped) or not product
print("changed" if changed else "still so: the slope is laid along the channels")
sys.exit(int(changed))
PYTHON
