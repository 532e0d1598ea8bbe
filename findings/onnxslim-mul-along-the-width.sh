#!/usr/bin/env bash
# onnxslim folds a Mul that runs along the width or the height into the channels of the convolution before it, when the
# map is as wide or high as it has channels.
#
# Ground: Conv, then Mul by a constant: by a weight per column (a lens correction, a spatial prior) or per channel. A
# 16x16 map of 16 channels, and of 12. onnxruntime runs the models with its own optimizations off.
# Guess before running: only a constant of shape [C, 1, 1] or a scalar is folded; slim() gives the same answers within
# 1e-4, or leaves the model as it is.
# Seen (onnx 1.23.2, onnxslim 0.1.98, onnxruntime 1.32.0):
#   [16, 1, 1] and [1, 16, 1, 1], per channel: folded, right
#   [16], [1, 16], [1, 1, 1, 16], per column, and [16, 1], [1, 1, 16, 1], per row: folded all the same, so the weight of
#     column i multiplies channel i; off by more than the largest value of the output; no error, no warning
#   the same with 12 channels on the 16x16 map: left alone, right; Add and Div in place of Mul: left alone, right
#   onnxsim 0.8.1 (tried by hand) and onnxruntime's own optimizer: right
# So the same layer is slimmed rightly at every size but one: square maps of 16x16x16, 32x32x32 or 64x64x64 are usual.
# What to do: slim(model, skip_fusion_patterns=["FusionConvMul"]), after which it is right; and let onnxslim's option
# --model-check compare the outputs, on the size that is deployed: it tells of it ("Model output y mismatch").
#
# usage: bash findings/onnxslim-mul-along-the-width.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxslim==0.1.98 onnxruntime==1.32.0
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
import onnxslim
from onnx import TensorProto, helper, numpy_helper

print("onnx", onnx.__version__, "onnxslim", onnxslim.__version__, "onnxruntime", onnxruntime.__version__)
rng = np.random.default_rng(0)
x = rng.normal(size=(1, 3, 16, 16)).astype(np.float32)


def build(operator, shape, channels):
    weight = rng.normal(size=(channels, 3, 3, 3)).astype(np.float32)
    constant = rng.uniform(0.5, 3, size=shape).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "weight"], ["map"], pads=[1, 1, 1, 1]),
         helper.make_node(operator, ["map", "constant"], ["y"])],
        "scaled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels, 16, 16])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(constant, "constant")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model, optimized=False):
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


# operator, shape of the constant, channels, whether slimming was seen to be right
CASES = [("Mul", (16, 1, 1), 16, True), ("Mul", (1, 16, 1, 1), 16, True), ("Mul", (16,), 16, False),
         ("Mul", (1, 16), 16, False), ("Mul", (1, 1, 1, 16), 16, False), ("Mul", (16, 1), 16, False),
         ("Mul", (1, 1, 16, 1), 16, False), ("Mul", (16,), 12, True), ("Mul", (16, 1), 12, True),
         ("Add", (16,), 16, True), ("Div", (16,), 16, True)]
so = True
for operator, shape, channels, right in CASES:
    model = build(operator, shape, channels)
    wanted = run(model)
    slim = onnxslim.slim(onnx.load_from_string(model.SerializeToString()))
    kept = onnxslim.slim(onnx.load_from_string(model.SerializeToString()), skip_fusion_patterns=["FusionConvMul"])
    off, own = np.abs(run(slim) - wanted).max(), np.abs(run(model, optimized=True) - wanted).max()
    print(f"{operator} by {list(shape)}, {channels} channels: slimmed to {[node.op_type for node in slim.graph.node]}, "
          f"off by {off:.1e} (largest value {np.abs(wanted).max():.1f}); onnxruntime's own {own:.1e}")
    so &= bool(off < 1e-3 if right else off > 1) and own < 1e-3
    so &= bool(np.abs(run(kept) - wanted).max() < 1e-3)
print("still so: the columns are taken for channels" if so else "changed")
sys.exit(not so)
PYTHON
