#!/usr/bin/env bash
# OpenCV 5's DNN: an int8 Conv has garbage in the last pixels of its output, past the last full block of 8.
#
# Ground: QuantizeLinear, DequantizeLinear, Conv of 4 to 4 channels, QuantizeLinear, DequantizeLinear: the form in which
# onnxruntime's quantize_static writes int8 models, for every square image from 3x3 to 16x16. One step of
# the output is 0.15; an engine that rounds otherwise is off by one step.
# Guess before running: equal to onnxruntime but for single values that are off by one step.
# Seen (onnx 1.23.2, onnxruntime 1.32.0, openvino 2026.4.0; each size three times):
#   opencv-python-headless 5.0.0.93: off by up to 155 of 255 steps, and only in the last (H * W) % 8 pixels of each
#     channel: the last one for 7x7, the last four for 10x10; nothing at 4x4, 8x8, 12x12, 16x16; kernel 1 as well as 3
#   the same picture gives the same numbers again, but which sizes are hit depends on what was run before and on the
#     number of threads, so it may come and go with an unrelated change
#   opencv-python-headless 4.14.0.94, OpenVINO: within one step everywhere; the float model is right in OpenCV 5, too
# So an int8 network for 224x224 has a spoilt lower right corner in its last 7x7 maps, with no error and no warning.
# What to do: keep int8 models out of OpenCV 5.0.0 (run them in onnxruntime or OpenVINO, or the float model in OpenCV),
# and compare int8 with the float model per pixel, not by accuracy alone.
#
# usage: bash findings/opencv5-int8-last-pixels.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.0
cat > last.py <<'PYTHON'
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

STEP = 0.15
print("opencv", cv2.__version__)
rng = np.random.default_rng(0)
weight = rng.normal(size=(4, 4, 3, 3)).astype(np.float32)
scale = (np.abs(weight).max((1, 2, 3)) / 127).astype(np.float32)
whole = np.round(weight / scale[:, None, None, None]).astype(np.int8)


def build(size, kernel, quantized):
    w = whole if kernel == 3 else np.ascontiguousarray(whole[:, :, 1:2, 1:2])
    pads = [kernel // 2] * 4
    node = helper.make_node
    if quantized:
        nodes = [
            node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
            node("Conv", ["d", "wd"], ["c"], pads=pads),
            node("QuantizeLinear", ["c", "step", "middle"], ["cq"]),
            node("DequantizeLinear", ["cq", "step", "middle"], ["y"]),
        ]
        tensors = {"s": np.float32(0.03), "z": np.uint8(128), "w": w, "ws": scale, "wz": np.zeros(4, np.int8),
                   "step": np.float32(STEP), "middle": np.uint8(120)}
    else:
        nodes = [node("Conv", ["x", "w"], ["y"], pads=pads)]
        tensors = {"w": w * scale[:, None, None, None]}
    shape = [1, 4, size, size]
    graph = helper.make_graph(
        nodes, "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
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


spoilt = {"openvino": {}, "opencv": {}}
worst = {"openvino": 0.0, "opencv": 0.0, "opencv float": 0.0}
for kernel in (3, 1):
    for size in range(3, 17):
        model, plain = build(size, kernel, True), build(size, kernel, False)
        for _ in range(3):
            x = rng.normal(size=(1, 4, size, size)).astype(np.float32)
            wanted = ort(model, x)
            for name, engine in (("openvino", vino), ("opencv", opencv)):
                steps = np.abs(engine(model, x) - wanted).reshape(4, -1).max(0) / STEP
                worst[name] = max(worst[name], float(steps.max()))
                spoilt[name].setdefault((kernel, size), set()).update(np.flatnonzero(steps > 1.5).tolist())
            worst["opencv float"] = max(worst["opencv float"], float(np.abs(opencv(plain, x) - ort(plain, x)).max()))
for name, cases in spoilt.items():
    print(f"  {name}: off by {worst[name]:.0f} steps at most")
    for (kernel, size), pixels in cases.items():
        if pixels:
            print(f"    kernel {kernel}, {size}x{size}: pixels {sorted(pixels)} of {size * size}")
print(f"  opencv, float: off by {worst['opencv float']:.1e} at most")
behind = all(pixel >= size * size // 8 * 8 for (_, size), pixels in spoilt["opencv"].items() for pixel in pixels)
hit = {kernel for (kernel, _), pixels in spoilt["opencv"].items() if pixels}
expected = {1, 3} if cv2.__version__.startswith("5.") else set()
sys.exit(int(hit != expected or not behind or any(spoilt["openvino"].values()) or worst["opencv float"] > 1e-3))
PYTHON
changed=0
for version in 4.14.0.94 5.0.0.93; do
  venv/bin/pip install --quiet --disable-pip-version-check --no-deps --target "cv-$version" \
    "opencv-python-headless==$version"
  PYTHONPATH="$PWD/cv-$version" venv/bin/python last.py || changed=1
done
[ "$changed" = 0 ] && echo "still so: the last pixels of an int8 Conv are garbage in OpenCV 5" || echo "changed"
exit "$changed"
