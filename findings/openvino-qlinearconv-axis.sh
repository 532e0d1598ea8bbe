#!/usr/bin/env bash
# OpenVINO reads the per-channel weight scales of QLinearConv along the input channels, ONNX means the output channels.
#
# Ground: a QLinearConv whose weight has one scale per output channel, which is what quantize_static writes with
# quant_format=QOperator and per_channel=True. The same numbers are run as QuantizeLinear, DequantizeLinear, Conv too.
# Guess before running: equal to onnxruntime within one step of the output, in either form; or the form is refused.
# Seen (onnx 1.23.2, onnxruntime 1.32.0, openvino 2026.4.0):
#   4 -> 4 channels: OpenVINO runs it and is off by more than half of the range; it equals a numpy convolution with
#     the scales along the wrong axis
#   3 -> 4 channels, and depthwise: OpenVINO refuses to convert the model: "scale elements '4' must match the input
#     shape dimension '3 pointed to by the axis attribute: 1"
#   one scale for the whole weight, and the form with DequantizeLinear (axis=0): OpenVINO is right
#   onnxruntime equals the numpy convolution along the right axis in each case
# So whether one gets an error or wrong numbers depends on the layer being square, and a network is refused at its first
# layer that is not; one whose layers are all square would be wrong in silence.
# What to do: write QDQ models (the default of quantize_static) for OpenVINO, or per_channel=False with QOperator.
#
# usage: bash findings/openvino-qlinearconv-axis.sh   (exit 0: still so; 1: it has changed)
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
from onnx import TensorProto, helper, numpy_helper

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__)
IN, OUT = np.float32(0.03), np.float32(0.3)
rng = np.random.default_rng(0)


def build(form, weight, scale, group):
    node = helper.make_node
    first, last = node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["cq", "s2", "z2"], ["y"])
    if form == "QLinearConv":
        middle = [node("QLinearConv", ["q", "s", "z", "w", "ws", "wz", "s2", "z2"], ["cq"], group=group)]
    else:
        middle = [
            node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
            node("Conv", ["d", "wd"], ["c"], group=group),
            node("QuantizeLinear", ["c", "s2", "z2"], ["cq"]),
        ]
    tensors = {"s": IN, "z": np.uint8(128), "w": weight, "ws": scale, "wz": np.zeros(scale.shape, np.int8),
               "s2": OUT, "z2": np.uint8(120)}
    graph = helper.make_graph(
        [first, *middle, last], "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, weight.shape[1] * group, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, weight.shape[0], 6, 6])],
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


def by_hand(x, weight, scale, axis):
    """Convolve in numpy with the scales along this axis of the weight."""
    real = weight * scale.reshape([-1 if a == axis else 1 for a in range(4)])
    seen = (np.clip(np.round(x / IN) + 128, 0, 255) - 128) * IN
    windows = np.lib.stride_tricks.sliding_window_view(seen, (3, 3), axis=(2, 3))
    total = np.einsum("nchwij,ocij->nohw", windows, real)
    return (np.clip(np.round(total / OUT) + 120, 0, 255) - 120) * OUT


SCALES = np.array([0.001, 0.01, 0.02, 0.04], np.float32)
# name, form, weight's shape, scale, group, what OpenVINO was seen to do
CASES = [
    ("4 -> 4", "QLinearConv", (4, 4, 3, 3), SCALES, 1, "wrong"),
    ("3 -> 4", "QLinearConv", (4, 3, 3, 3), SCALES, 1, "refused"),
    ("depthwise", "QLinearConv", (4, 1, 3, 3), SCALES, 4, "refused"),
    ("4 -> 4, one scale", "QLinearConv", (4, 4, 3, 3), np.float32(0.01), 1, "right"),
    ("4 -> 4", "DequantizeLinear", (4, 4, 3, 3), SCALES, 1, "right"),
    ("3 -> 4", "DequantizeLinear", (4, 3, 3, 3), SCALES, 1, "right"),
]
changed = False
for name, form, shape, scale, group, seen in CASES:
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    x = rng.normal(size=(1, shape[1] * group, 8, 8)).astype(np.float32)
    model = build(form, weight, scale, group)
    wanted = ort(model, x)
    line = f"{form} {name}: "
    if group == 1:
        off = float(np.abs(wanted - by_hand(x, weight, scale, 0)).max())
        line += f"onnxruntime off by {off:.2f}; "
        changed |= off > OUT * 1.01
    try:
        found = vino(model, x)
    except Exception as error:
        said = next((part for part in str(error).splitlines() if "scale elements" in part), str(error)[:90])
        print(line + f"openvino refuses: {said.strip()}")
        changed |= seen != "refused"
        continue
    off = float(np.abs(found - wanted).max())
    line += f"openvino off by {off:.2f} of {np.abs(wanted).max():.2f}"
    if scale.shape and shape[1] == 4:
        swapped = float(np.abs(found - by_hand(x, weight, scale, 1)).max())
        line += f", from the scales along axis 1 {swapped:.2f}"
        changed |= (swapped < OUT * 1.01) != (seen == "wrong")
    print(line)
    changed |= seen != ("right" if off < OUT * 1.01 else "wrong")
print("changed" if changed else "still so: the scales are read along the input channels")
sys.exit(int(changed))
PYTHON
