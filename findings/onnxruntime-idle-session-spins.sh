#!/usr/bin/env bash
# onnxruntime: between two inferences a session with two threads burns CPU, ten times what the inference itself took.
#
# Ground: one 3x3 convolution, 64 to 64 channels, on 56x56, in a session with intra_op_num_threads=2 and else default
# options. After each inference the process sleeps for 100 ms, as a camera of ten frames a second has it do. Counted is
# the CPU time of the whole process, during the inference and during the sleep.
# Guess before running: an idle session uses no CPU; if its threads spin, then for microseconds.
# Seen (onnxruntime 1.32.0, x86-64, two cores, both busy with other work too):
#   default options: 2.0 ms CPU per inference, then 26.7 ms while the process sleeps
#   session.intra_op.allow_spinning=0: 2.1 ms per inference, then 0.05 ms
# So a device that looks at ten frames a second runs hot over waiting, and profilers that sample Python show nothing. In
# benchmarks that alternate engines the threads of the one still spin while the other is measured.
# What to do: session.intra_op.allow_spinning=0 where frames come now and then (session.force_spinning_stop=1 ends it
# after each run); leave it on where inferences follow each other at once.
#
# usage: bash findings/onnxruntime-idle-session-spins.sh   (exit 0: still so; 1: it has changed). Needs two cores.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0
venv/bin/python - <<'PYTHON'
import sys
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

print("onnxruntime", onnxruntime.__version__)
SHAPE = [1, 64, 56, 56]
WEIGHT = np.random.default_rng(0).normal(size=(64, 64, 3, 3)).astype(np.float32)
graph = helper.make_graph(
    [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
    "convolution",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)],
    [numpy_helper.from_array(WEIGHT, "w")],
)
MODEL = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7).SerializeToString()
X = np.zeros(SHAPE, np.float32)


def cpu_ms(entries):
    """CPU of the process in milliseconds, per inference and per sleep of 100 ms."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    session.run(None, {"x": X})
    time.sleep(1)
    busy = idle = 0.0
    for _ in range(20):
        start = time.process_time()
        session.run(None, {"x": X})
        ran = time.process_time()
        time.sleep(0.1)
        busy, idle = busy + ran - start, idle + time.process_time() - ran
    return busy / 20 * 1e3, idle / 20 * 1e3


by_default = cpu_ms({})
sleeping = cpu_ms({"session.intra_op.allow_spinning": "0"})
for name, (busy, idle) in (("default options", by_default), ("allow_spinning=0", sleeping)):
    print(f"{name}: {busy:.2f} ms CPU per inference, {idle:.2f} ms per sleep of 100 ms")
so = by_default[1] > 2 * by_default[0] and by_default[1] > 10 * sleeping[1]
print("still so: an idle session spins" if so else "changed")
sys.exit(not so)
PYTHON
