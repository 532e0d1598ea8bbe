#!/usr/bin/env bash
# OpenCV 5's DNN runs auto_pad=SAME_UPPER at stride 2 one pixel off: it pads before where ONNX pads behind.
#
# Ground: Conv and MaxPool of kernel 3, stride 2 with auto_pad, on an even input: the first layer of a MobileNet or
# EfficientNet that comes from TensorFlow or Keras. SAME_UPPER asks for 0 rows before and 1 behind.
# Guess before running: auto_pad equals the pads spelled out, within 1e-4; if anything is wrong, it is the rare
# SAME_LOWER, and OpenCV 5 is no worse than 4.
# Seen (onnx 1.23.2, onnxruntime 1.32.0 and openvino 2026.4.0 equal to the pads spelled out in every case):
#   opencv-python-headless 5.0.0.93: SAME_UPPER, kernel 3, stride 2, size 224 gives just what pads (1, 0) give, and so
#     with SAME_LOWER of an even kernel at stride 1; SAME_LOWER with kernel 3 is right
#   opencv-python-headless 4.14.0.94: SAME_UPPER is right; every uneven SAME_LOWER gives what SAME_UPPER gives
#   both: right on an odd size (225), where the padding is even; right with `pads` spelled out; no error, no warning
# So a model that was right in OpenCV 4 loses accuracy in OpenCV 5, by a shift of one pixel per such layer, at 224 and
# not at 225; the shapes agree, so only a comparison of the numbers finds it.
# What to do: write the pads out before deployment (static shapes allow it: the total is
# max(0, (ceil(n / s) - 1) * s + k - n), the smaller half first for SAME_UPPER, behind for SAME_LOWER), and compare the
# engine's output with onnxruntime's.
#
# usage: bash findings/opencv5-same-upper-shifted.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.0
cat > same.py <<'PYTHON'
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

MAJOR = int(cv2.__version__.split(".")[0])
print("opencv", cv2.__version__)
rng = np.random.default_rng(0)


def build(op, size, kernel, stride, weight, **padding):
    out = -(-size // stride)
    node = helper.make_node(op, ["x", "w"] if op == "Conv" else ["x"], ["y"], kernel_shape=[kernel, kernel],
                            strides=[stride, stride], **padding)
    graph = helper.make_graph(
        [node], "same",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, out, out])],
        [numpy_helper.from_array(weight, "w")] if op == "Conv" else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
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


# auto_pad, kernel, stride, size, the major versions of OpenCV seen to be wrong
CASES = [
    ("SAME_UPPER", 3, 2, 224, {5}),
    ("SAME_UPPER", 3, 2, 225, set()),
    ("SAME_LOWER", 3, 2, 224, {4}),
    ("SAME_LOWER", 2, 1, 224, {4, 5}),
]
changed = False
for op in ("Conv", "MaxPool"):
    for auto_pad, kernel, stride, size, wrong in CASES:
        x = rng.normal(size=(1, 3, size, size)).astype(np.float32)
        weight = rng.normal(size=(3, 3, kernel, kernel)).astype(np.float32)
        total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
        first, last = total // 2, total - total // 2
        if auto_pad == "SAME_LOWER":
            first, last = last, first
        model = build(op, size, kernel, stride, weight, auto_pad=auto_pad)
        spelled = build(op, size, kernel, stride, weight, pads=[first, first, last, last])
        swapped = ort(build(op, size, kernel, stride, weight, pads=[last, last, first, first]), x)
        wanted = ort(spelled, x)
        off = {name: float(np.abs(engine(model, x) - wanted).max())
               for name, engine in (("onnxruntime", ort), ("openvino", vino), ("opencv", opencv))}
        explicit = float(np.abs(opencv(spelled, x) - wanted).max())
        like = float(np.abs(opencv(model, x) - swapped).max())
        print(f"  {op} {auto_pad} kernel {kernel} stride {stride} size {size}, pads ({first}, {last}): off by "
              + ", ".join(f"{name} {value:.1e}" for name, value in off.items())
              + f"; opencv with pads spelled out {explicit:.1e}, from pads ({last}, {first}) {like:.1e}")
        changed |= max(off["onnxruntime"], off["openvino"], explicit) > 1e-3
        changed |= (off["opencv"] > 0.5) != (MAJOR in wrong) or (MAJOR in wrong and like > 1e-3)
sys.exit(int(changed))
PYTHON
changed=0
for version in 4.14.0.94 5.0.0.93; do
  venv/bin/pip install --quiet --disable-pip-version-check --no-deps --target "cv-$version" \
    "opencv-python-headless==$version"
  PYTHONPATH="$PWD/cv-$version" venv/bin/python same.py || changed=1
done
[ "$changed" = 0 ] && echo "still so: SAME_UPPER is padded before in 5, SAME_LOWER behind in 4" || echo "changed"
exit "$changed"
