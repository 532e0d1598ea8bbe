#!/usr/bin/env bash
# OpenVINO's Relu, Clip and HardSigmoid and OpenCV's Clip and Sigmoid turn NaN into a number: a network with a NaN in
# it, or fed with nothing else, answers with ordinary logits.
#
# Ground: a small classifier (two convolutions with an activation each, global average, 10 classes) on a frame with one
# NaN, on a frame of NaN alone (an exposure divided by zero), and with one NaN in a bias (a training that diverged).
# OpenVINO in float32.
# Guess before running: NaN in, NaN out, as in numpy and PyTorch, so that a check of the logits finds it.
# Seen (onnx 1.23.2, onnxruntime 1.32.0, openvino 2026.4.1, opencv-python-headless 5.0.0.93, x86-64):
#   onnxruntime: ten NaN in every case
#   OpenVINO: with Relu and Clip(0, 6) ten finite logits in every case, for a frame of NaN too; with HardSwish and
#     Sigmoid ten NaN. The operators alone: Relu(NaN) is 0, Clip(NaN, 0, 6) 0, HardSigmoid(NaN) 1, Sigmoid(NaN) NaN
#   OpenCV: with Clip and Sigmoid ten finite logits, with Relu and HardSwish eight or ten NaN
#   MaxPool: onnxruntime and OpenVINO both leave a NaN out
# So a guard like `if not isfinite(logits).all()` works in the trial with onnxruntime and may never fire elsewhere; and
# whether it does hangs on the activation.
# What to do: look for NaN where it can come from: in the weights at export, in the input; and compare with answers
# known to be right (golden vectors) on the engine that is used.
#
# usage: bash findings/nan-becomes-a-label.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 \
    opencv-python-headless==5.0.0.93 numpy==2.4.6
venv/bin/python - 2>log <<'PYTHON' || { cat log >&2; exit 1; }
import sys
from importlib.metadata import version

import cv2
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

print(*(f"{name} {version(name)}" for name in ("onnxruntime", "openvino", "opencv-python-headless")))
core = openvino.Core()
random = np.random.default_rng(0)
WEIGHTS = {"w1": random.normal(0, 0.3, (8, 3, 3, 3)), "b1": random.normal(0, 0.1, 8),
           "w2": random.normal(0, 0.3, (16, 8, 1, 1)), "fc": random.normal(0, 1, (16, 10)), "low": np.array(0.0),
           "high": np.array(6.0)}
ACTIVATIONS = {"Relu": (), "Clip": ("low", "high"), "HardSigmoid": (), "HardSwish": (), "Sigmoid": ()}


def packed(nodes, before, after, weights):
    """Give a model's bytes."""
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes, "graph", [helper.make_tensor_value_info("x", TensorProto.FLOAT, before)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, after)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items() if name in used])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def activation(name, before, after):
    return helper.make_node(name, [before, *ACTIVATIONS[name]], [after])


def classifier(name, weights):
    return packed([
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        activation(name, "c1", "a1"), helper.make_node("Conv", ["a1", "w2"], ["c2"]), activation(name, "c2", "a2"),
        helper.make_node("GlobalAveragePool", ["a2"], ["g"]), helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "fc"], ["y"])], [1, 3, 32, 32], [1, 10], weights)


def by_onnxruntime(model, x):
    return onnxruntime.InferenceSession(model).run(None, {"x": x})[0]


def by_openvino(model, x):
    return core.compile_model(core.read_model(model, b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]


def by_opencv(model, x):
    network = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
    network.setInput(x)
    return network.forward()


ENGINES = {"onnxruntime": by_onnxruntime, "OpenVINO": by_openvino, "OpenCV": by_opencv}
frame = random.normal(0, 1, (1, 3, 32, 32)).astype(np.float32)
speck = frame.copy()
speck[0, 1, 5, 7] = np.nan
diverged = {**WEIGHTS, "b1": np.where(np.arange(8) == 3, np.nan, WEIGHTS["b1"])}
CASES = {"one NaN in the frame": (WEIGHTS, speck), "all of the frame NaN": (WEIGHTS, np.full_like(frame, np.nan)),
         "one NaN in a bias": (diverged, frame)}
FINITE = {"OpenVINO": {"Relu", "Clip"}, "OpenCV": {"Clip", "Sigmoid"}, "onnxruntime": set()}
so = True
for name in ("Relu", "Clip", "HardSwish", "Sigmoid"):
    for case, (weights, x) in CASES.items():
        answers = {}
        for engine, run in ENGINES.items():
            assert np.isfinite(run(classifier(name, WEIGHTS), frame)).all()
            logits = run(classifier(name, weights), x)
            finite = bool(np.isfinite(logits).all())
            answers[engine] = f"finite, class {logits.argmax()}" if finite else f"{np.isnan(logits).sum()} NaN"
            so &= finite == (name in FINITE[engine])
        print(f"{name}, {case}: " + "; ".join(f"{engine} {answer}" for engine, answer in answers.items()))
few = np.array([np.nan, -1, 1, 2], np.float32).reshape(1, 1, 2, 2)
ALONE = {"Relu": 0, "Clip": 0, "HardSigmoid": 1, "Sigmoid": None}  # of NaN in OpenVINO
for name, expected in ALONE.items():
    model = packed([activation(name, "x", "y")], [1, 1, 2, 2], [1, 1, 2, 2], WEIGHTS)
    ours, theirs = by_onnxruntime(model, few).flat[0], by_openvino(model, few).flat[0]
    print(f"{name}(NaN) alone: onnxruntime {ours}, OpenVINO {theirs}")
    so &= np.isnan(ours) and (np.isnan(theirs) if expected is None else theirs == expected)
pool = packed([helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2])], [1, 1, 2, 2], [1, 1, 1, 1], {})
pooled = [float(run(pool, few).item()) for run in (by_onnxruntime, by_openvino)]
print("MaxPool of NaN, -1, 1, 2: onnxruntime, OpenVINO:", *pooled)
so &= pooled == [2, 2]
print("still so: NaN becomes a number in some engines" if so else "changed")
sys.exit(not so)
PYTHON
