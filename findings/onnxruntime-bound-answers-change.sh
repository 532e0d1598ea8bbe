#!/usr/bin/env bash
# onnxruntime's IOBinding on the CPU: OrtValue.numpy() is a view that the next run overwrites, and a bound input follows
# its array or does not, depending on the array's strides.
#
# Ground: a camera loop as its examples have it: bind once, run for each frame, keep the answers; y = x + x, frames 1, 2
# and 3. Two ways to fetch the answers, and arrays with and without strides as input.
# Guess before running: numpy() hands out an array of its own, as session.run() does; bind_cpu_input() either copies the
# array or reads it at each run.
# Seen (onnx 1.23.2, onnxruntime 1.32.0):
#   io.get_outputs()[0].numpy(), kept for the three frames: 6, 6, 6; io.copy_outputs_to_cpu()[0]: 2, 4, 6
#   the view may be written to, and that changes the OrtValue
#   bind_cpu_input(array), then the array is filled anew and run without binding again: contiguous, the run sees the new
#     frame; with strides (a crop, a column, BGR turned to RGB by [..., ::-1]), it sees the first frame for ever
#   OrtValue.ortvalue_from_numpy and bind_ortvalue_input: the same two ways
# The documentation of numpy() and bind_cpu_input() says neither. No error, no warning.
# What to do: take copy_outputs_to_cpu(), or numpy().copy(), for what outlives the frame; bind np.ascontiguousarray()
# kept by name and fill that in place, or bind again for each frame.
#
# usage: bash findings/onnxruntime-bound-answers-change.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
graph = helper.make_graph(
    [helper.make_node("Add", ["x", "x"], ["y"])], "double",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def answers(fetch):
    """Run frames 1, 2 and 3 with one binding of the output; give what is kept of each, after the last."""
    io = session.io_binding()
    io.bind_output("y")
    kept = []
    for frame in (1, 2, 3):
        io.bind_cpu_input("x", np.full(4, frame, np.float32))
        session.run_with_iobinding(io)
        kept.append(fetch(io))
    return [float(answer[0]) for answer in kept]


views = answers(lambda io: io.get_outputs()[0].numpy())
copies = answers(lambda io: io.copy_outputs_to_cpu()[0])
print("get_outputs()[0].numpy() of three frames:", views, "copy_outputs_to_cpu()[0]:", copies)
so = views == [6, 6, 6] and copies == [2, 4, 6]

value = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(4, np.float32))
value.numpy()[0] = 5
print("written through numpy():", value.numpy())
so &= value.numpy()[0] == 5


def follow(array, bind):
    """Bind an array once; give the answers to frames 1, 2 and 3 written into it."""
    array[:] = 1
    io = session.io_binding()
    io.bind_output("y")
    bind(io, array)
    found = []
    for frame in (1, 2, 3):
        array[:] = frame
        session.run_with_iobinding(io)
        found.append(float(io.copy_outputs_to_cpu()[0][0]))
    return found


WAYS = {
    "bind_cpu_input": lambda io, array: io.bind_cpu_input("x", array),
    "bind_ortvalue_input": lambda io, array: io.bind_ortvalue_input(
        "x", onnxruntime.OrtValue.ortvalue_from_numpy(array)),
}
for name, bind in WAYS.items():
    whole, strided = follow(np.zeros(4, np.float32), bind), follow(np.zeros(8, np.float32)[::2], bind)
    reversed_ = follow(np.zeros(4, np.float32)[::-1], bind)
    print(f"{name} once, frames 1, 2, 3: contiguous {whole}, every other {strided}, reversed {reversed_}")
    so &= whole == [2, 4, 6] and strided == reversed_ == [2, 2, 2]
print("still so: kept answers change, and strided inputs do not" if so else "changed")
sys.exit(not so)
PYTHON
