#!/usr/bin/env bash
# onnxruntime's quantize_static, QOperator format: a bias that two layers share gets the scale of the first and ruins
# the second; the QDQ format of the same call is right.
#
# Ground: one Conv applied to two feature maps, same weight and same bias, as the heads of RetinaNet and other detectors
# share them between levels; the second map has 8 times the range. Calibrated on the very data that is then tried.
# Guess before running: the bias, an int32 whose scale is input scale times weight scale, is copied for the second
# layer, as each needs its own; both formats are within 1 dB of each other, at 35 dB or more.
# Seen (onnx 1.23.2, onnxruntime 1.32.0):
#   QDQ: 47 dB and 39 dB; the file holds the bias twice, with two scales
#   QOperator: 47 dB and -4 dB, per tensor and per channel alike; the file holds one bias, and the second layer reads it
#     with its own scale, as a bias about 8 times too large (1.5 dB and 39 dB with the nodes in the other order)
#   with a bias for each layer, of the same values, both formats are right
#   no error, no warning from quantize_static or the checker
# So a detector finds small objects well and large ones not at all (or the reverse), after int8 alone.
# What to do: take QuantFormat.QDQ (the default), or give each layer a bias of its own before quantizing (initializers
# that are equal may also have been merged by a simplifier); compare int8 and float per output, not on an average.
#
# usage: bash findings/quantize-static-shared-bias.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0
venv/bin/python - <<'PYTHON'
import logging
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

logging.disable(logging.WARNING)  # its advice to run the pre-processing first, which changes nothing here
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
rng = np.random.default_rng(0)
weight = (0.1 * rng.normal(size=(4, 3, 3, 3))).astype(np.float32)
frames = [
    {"fine": rng.normal(size=(1, 3, 16, 16)).astype(np.float32),
     "coarse": (8 * rng.normal(size=(1, 3, 8, 8))).astype(np.float32)}
    for _ in range(8)
]
SIZES = {"fine": 16, "coarse": 8}


class Frames(CalibrationDataReader):
    def __init__(self):
        self.left = iter(frames)

    def get_next(self):
        return next(self.left, None)


def build(levels, shared):
    biases = {level: "bias" if shared else f"bias_{level}" for level in levels}
    bias = np.array([-4.5, 0.8, -1.2, 0.2], np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", [level, "weight", biases[level]], [f"{level}_out"]) for level in levels],
        "head",
        [helper.make_tensor_value_info(level, TensorProto.FLOAT, [1, 3] + [SIZES[level]] * 2) for level in levels],
        [helper.make_tensor_value_info(f"{level}_out", TensorProto.FLOAT, [1, 4] + [SIZES[level] - 2] * 2)
         for level in levels],
        [numpy_helper.from_array(weight, "weight")]
        + [numpy_helper.from_array(bias, name) for name in sorted(set(biases.values()))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "float.onnx")


def decibels(form, per_channel):
    """Give the ratio of signal to quantization noise of each output."""
    quantize_static("float.onnx", "int8.onnx", Frames(), quant_format=form, per_channel=per_channel)
    onnx.checker.check_model("int8.onnx")
    runs = [onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            for path in ("float.onnx", "int8.onnx")]
    found = {}
    for level in SIZES:
        exact, rough = (np.concatenate([run.run([f"{level}_out"], frame)[0] for frame in frames]) for run in runs)
        found[level] = 10 * float(np.log10(np.square(exact).sum() / np.square(exact - rough).sum()))
    return found


changed = False
for levels in (("fine", "coarse"), ("coarse", "fine")):
    for shared in (True, False):
        build(levels, shared)
        for form in (QuantFormat.QDQ, QuantFormat.QOperator):
            for per_channel in (False, True):
                found = decibels(form, per_channel)
                print(f"order {levels}, {'one bias' if shared else 'two biases'}, {form.name}, "
                      f"per_channel {per_channel}: "
                      + ", ".join(f"{level} {value:.1f} dB" for level, value in found.items()))
                for level, value in found.items():
                    ruined = shared and form == QuantFormat.QOperator and level == levels[1]
                    changed |= value > 10 if ruined else value < 30
print("changed" if changed else "still so: the second layer reads the first one's bias")
sys.exit(int(changed))
PYTHON
