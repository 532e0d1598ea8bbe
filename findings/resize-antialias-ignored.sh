#!/usr/bin/env bash
# Resize with antialias=1: onnxruntime filters, OpenVINO and OpenCV's DNN read the attribute and do not.
#
# Ground: a preprocessing Resize inside an ONNX model (opset 18 and later), shrunk 16 -> 7, as one builds it so that the
# device needs no resize of its own.
# Guess before running: an engine that does not implement antialias refuses the model, or all agree within 1e-5.
# Seen (onnx 1.23.2, onnxruntime 1.32.0, openvino 2026.4.0, opencv-python-headless 5.0.0.93):
#   onnxruntime, antialias=1 against ONNX's reference evaluator: equal to 1e-6
#   OpenVINO and OpenCV, antialias=1 against onnxruntime's antialias=1: off by more than the output's own largest value
#   OpenVINO and OpenCV, antialias=1 against onnxruntime's antialias=0: equal to 1e-5
#   the same with linear and cubic; no error and no warning from either
# So a model whose resize was checked in onnxruntime aliases elsewhere, and loses accuracy in silence.
# What to do: resize outside the graph, or compare each engine's output on a frame that is really shrunk. An integer
# shrink may be written as AveragePool, on which they agree.
#
# usage: bash findings/resize-antialias-ignored.sh   (exit 0: still so; 1: it has changed)
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
from onnx.reference import ReferenceEvaluator

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__,
      "opencv", cv2.__version__)
x = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)


def build(mode, antialias):
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode=mode, antialias=antialias)],
        "shrink",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 7, 7])],
        [numpy_helper.from_array(np.array([1, 3, 7, 7], np.int64), "sizes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def ort(model):
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def vino(model):
    core = openvino.Core()
    return core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]


def opencv(model):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
    net.setInput(x)
    return net.forward()


changed = False
for mode in ("linear", "cubic"):
    filtered, plain = build(mode, 1), build(mode, 0)
    wanted, aliased = ort(filtered), ort(plain)
    reference = ReferenceEvaluator(onnx.load_from_string(filtered)).run(None, {"x": x})[0]
    print(f"{mode}: onnxruntime against the reference {np.abs(wanted - reference).max():.1e}; "
          f"largest value {np.abs(wanted).max():.2f}")
    changed |= bool(np.abs(wanted - reference).max() > 1e-4)
    for name, engine in (("openvino", vino), ("opencv", opencv)):
        found = engine(filtered)
        off, same = np.abs(found - wanted).max(), np.abs(found - aliased).max()
        print(f"  {name}: from antialias=1 {off:.2f}, from antialias=0 {same:.1e}")
        changed |= bool(off < 0.5 or same > 1e-4)
print("changed" if changed else "still so: antialias=1 is read as antialias=0")
sys.exit(changed)
PYTHON
