#!/usr/bin/env bash
# OpenVINO in fp16, which is its own choice on Arm, cuts each constant at 65504 before it computes with it: the int32
# bias of an int8 convolution loses what is above, without an error or an infinity.
#
# Ground: a quantized convolution as onnxruntime's quantize_static writes it (weights int8, bias int32, DequantizeLinear
# before each), with biases of 0.5 to 2 at a scale of 1e-5; the same sums as DequantizeLinear and Add, as constants in
# float32 times a scale, and with the numbers as an input.
# Guess before running: an int8 convolution adds its bias in int32; what is computed in fp16 loses digits, 0.1 % at
# most, for all values of the model are small; what overflowed would be inf, and seen.
# Seen (onnx 1.23.2, onnxruntime 1.32.0; openvino 2026.4.1 on an emulated Cortex-A76 with no setting, and on x86 with
# INFERENCE_PRECISION_HINT f16, the same numbers):
#   biases of 0.5, 0.6 and 0.65 are right; 0.7, 1 and 1.5 are all 0.66, and -1 and -2 are -0.66
#   so in each of the three graphs of constants, also where the constant is a float32 in the file
#   the same numbers as an input: inf, as fp16 has it
#   f32 (and on x86 bf16): right
# A bias's scale is its input's times its weights', 1e-5 or less: a bias of 0.66 is already beyond. On x86 the same
# file is right, since there OpenVINO takes f32 or bf16 of itself.
# What to do: on Arm compile int8 models with {"INFERENCE_PRECISION_HINT": "f32"} (the int8 layers stay int8); look for
# int32 constants above 65504 in the file.
#
# Wants 64-bit Arm, or an x86 whose OPTIMIZATION_CAPABILITIES in OpenVINO have FP16; elsewhere it ends with status 2.
# usage: bash findings/openvino-fp16-cuts-constants.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 openvino==2026.4.1
venv/bin/python - <<'PYTHON'
import platform
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

core = openvino.Core()
ARM = platform.machine() in ("aarch64", "arm64")
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__, "openvino", openvino.__version__,
      platform.machine())
if "FP16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
    print("this CPU has no fp16: nothing to see here")
    sys.exit(2)
SCALE = np.float32(1e-5)
NUMBERS = np.array([50_000, 60_000, 65_000, 70_000, 100_000, 150_000, -100_000, -200_000], np.int32)
COLUMN = NUMBERS.reshape(1, 8, 1, 1)


def node(operator, inputs, output, **attributes):
    return helper.make_node(operator, inputs.split(), [output], **attributes)


def build(nodes, kind=TensorProto.FLOAT, **constants):
    graph = helper.make_graph(
        nodes, "sums", [helper.make_tensor_value_info("x", kind, [1, 8, 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 1, 1])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


conv = build(
    [node("QuantizeLinear", "x sx zx", "xq"), node("DequantizeLinear", "xq sx zx", "xd"),
     node("DequantizeLinear", "w sw zw", "wd", axis=0), node("DequantizeLinear", "b sb zb", "bd", axis=0),
     node("Conv", "xd wd bd", "c"), node("QuantizeLinear", "c sy zy", "q"), node("DequantizeLinear", "q sy zy", "y")],
    sx=np.float32(0.02), zx=np.uint8(0), w=np.random.default_rng(0).integers(-127, 128, (8, 8, 1, 1)).astype(np.int8),
    sw=np.full(8, 0.0005, np.float32), zw=np.zeros(8, np.int8), b=NUMBERS, sb=np.full(8, SCALE),
    zb=np.zeros(8, np.int32), sy=np.float32(0.02), zy=np.uint8(128))
zeros = np.zeros((1, 8, 1, 1), np.float32)
MODELS = {
    "int8 convolution": (conv, zeros),
    "DequantizeLinear and Add": (build([node("DequantizeLinear", "b s", "d"), node("Add", "x d", "y")],
                                       b=COLUMN, s=SCALE), zeros),
    "float constants": (build([node("Mul", "b s", "d"), node("Add", "x d", "y")],
                              b=COLUMN.astype(np.float32), s=SCALE), zeros),
    "input": (build([node("Cast", "x", "f", to=TensorProto.FLOAT), node("Mul", "f s", "y")], TensorProto.INT32,
                    s=SCALE), COLUMN),
}
so = True
for name, (model, x) in MODELS.items():
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x": x})[0].ravel()
    print(f"{name}: onnxruntime {np.round(wanted, 2)}")
    for hint in ("f32", "f16"):
        settings = {} if ARM and hint == "f16" else {"INFERENCE_PRECISION_HINT": hint}
        compiled = core.compile_model(core.read_model(model), "CPU", settings)
        real = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        found = np.array(compiled(x)[0]).ravel()
        print(f"  OpenVINO, {settings or 'no setting'} ({real}): {np.round(found, 2)}")
        above = np.abs(NUMBERS) > 65_504
        cut = np.clip(NUMBERS, -65_504, 65_504) * SCALE if name != "input" else np.copysign(np.inf, NUMBERS)
        expected = np.where(above & (hint == "f16"), cut, wanted)
        so &= real == hint and np.allclose(found, expected, atol=0.021 if name == "int8 convolution" else 1e-3)
print("still so: fp16 cuts the constants" if so else "changed")
sys.exit(not so)
PYTHON
