#!/usr/bin/env bash
# OpenCV's DNN takes `Mul(HardSigmoid(a), b)` for the hard-swish of a when the attribute beta is written out: b is
# dropped. That is each squeeze-and-excitation of a MobileNetV3 as PyTorch exports it.
#
# Ground: a graph of these two nodes with two inputs, alpha 1/6, with beta 0.5 named and without it, which means the
# same (0.5 is ONNX's default); and such blocks: a factor for each channel of x, made of x by a mean and a 1x1
# convolution. torch.onnx.export of PyTorch 2.14.1 (dynamo=True) names beta; with dynamo=False it does not.
# Guess before running: an attribute with its default value changes nothing; a pattern of a fusion wants both inputs of
# the Mul to come from the same tensor.
# Seen (onnx 1.23.2, onnxruntime 1.32.0; OpenCV 5.0.0.93, both of its engines, and 4.14.0.94):
#   beta left out, or alpha 0.2 and beta 0.5: all equal onnxruntime
#   alpha 1/6 and beta 0.5, two inputs: OpenCV 5 gives a * HardSigmoid(a), b plays no part, no error, in either order of
#     the Mul's inputs; OpenCV 4.14 refuses the graph ("inputs.size() == requiredOutputs")
#   the block: OpenCV 5 and 4.14 give a 1x1 map in place of 8x8, the hard-swish of the convolution; no error
#   two blocks in a row, then a mean over the map: as many outputs as there should be, and wrong
# So a classifier, which averages its map at the end, opens, runs and gives labels: of the reference model of this
# project OpenCV 5 had 10 of 101 first labels right.
# What to do: take beta off where it is 0.5, before the file goes to OpenCV (five lines of onnx); the answers of
# onnxruntime are the same bytes.
#
# usage: bash findings/opencv-hardsigmoid-mul-becomes-hardswish.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
pip="venv/bin/pip --disable-pip-version-check"
$pip install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
$pip install --quiet --no-deps --target four opencv-python-headless==4.14.0.94
cat > show.py <<'PYTHON'
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FIVE = cv2.__version__.startswith("5")
ENGINES = [{"engine": cv2.dnn.ENGINE_NEW}, {"engine": cv2.dnn.ENGINE_CLASSIC}] if FIVE else [{}]
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__, "OpenCV", cv2.__version__)
rng = np.random.default_rng(0)
A, B = (rng.normal(1, 3, size=(1, 3, 8, 8)).astype(np.float32) for _ in range(2))


def build(nodes, inputs, out, weights=()):
    graph = helper.make_graph(
        nodes, "gate", [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(array, name) for name, array in weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def gate(attributes, *factors):
    return build([helper.make_node("HardSigmoid", ["a"], ["h"], **attributes),
                  helper.make_node("Mul", factors, ["y"])], "ab", [1, 3, 8, 8])


def blocks(count, attributes, pooled):
    """Give a graph of squeeze-and-excitation, count times in a row, and a mean if pooled."""
    nodes, weights, x = [], [], "a"
    for index in range(count):
        weights.append((f"w{index}", rng.normal(size=(3, 3, 1, 1)).astype(np.float32)))
        y = f"x{index}" if pooled or index < count - 1 else "y"
        nodes += [helper.make_node("GlobalAveragePool", [x], [f"m{index}"]),
                  helper.make_node("Conv", [f"m{index}", f"w{index}"], [f"c{index}"]),
                  helper.make_node("HardSigmoid", [f"c{index}"], [f"h{index}"], **attributes),
                  helper.make_node("Mul", [f"h{index}", x], [y])]
        x = y
    if pooled:
        nodes.append(helper.make_node("GlobalAveragePool", [x], ["y"]))
    return build(nodes, "a", [1, 3, 1, 1] if pooled else [1, 3, 8, 8], weights)


def opencv(model, feeds, engine):
    """Give what OpenCV answers, or None if it refuses."""
    try:
        net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8), **engine)
        for name, array in feeds.items():
            net.setInput(array, name)
        return net.forward()
    except cv2.error as error:
        print("  refused:", str(error).strip().splitlines()[-1][-90:])
        return None


NAMED, LEFT_OUT, OTHER = {"alpha": 1 / 6, "beta": 0.5}, {"alpha": 1 / 6}, {"alpha": 0.2, "beta": 0.5}
so = True
for what, attributes in (("beta named", NAMED), ("beta left out", LEFT_OUT), ("alpha 0.2, beta named", OTHER)):
    for name, model in (("Mul(h, b)", gate(attributes, "h", "b")), ("Mul(b, h)", gate(attributes, "b", "h")),
                        ("a block", blocks(1, attributes, pooled=False)),
                        ("two blocks, mean", blocks(2, attributes, pooled=True))):
        feeds = {"a": A, "b": B} if name.startswith("Mul") else {"a": A}
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        wanted = session.run(None, feeds)[0]
        for engine in ENGINES:
            found = opencv(model, feeds, engine)
            if found is None:
                so &= not FIVE and attributes is NAMED and len(feeds) == 2
                continue
            same = found.shape == wanted.shape and np.abs(found - wanted).max() < 1e-4
            off = f"{found.shape} for {wanted.shape}"
            if found.shape == wanted.shape:
                off = f"off by {np.abs(found - wanted).max():.2f} of {np.abs(wanted).max():.2f}"
            swish = len(feeds) == 2 and np.abs(found - A * np.clip(A / 6 + 0.5, 0, 1)).max() < 1e-4
            print(f"{what}, {name}: {'as onnxruntime' if same else off}{', the hard-swish of a' if swish else ''}")
            so &= same == (attributes is not NAMED)
            so &= swish == (attributes is NAMED and len(feeds) == 2)
            so &= (found.shape == wanted.shape) == (attributes is not NAMED or name != "a block")
sys.exit(not so)
PYTHON
changed=0
venv/bin/python show.py 2>log || { cat log >&2; changed=1; }
PYTHONPATH=four venv/bin/python show.py 2>log || { cat log >&2; changed=1; }
[ $changed = 0 ] && echo "still so: a named beta makes a hard-swish of it" || echo "changed"
exit $changed
