#!/usr/bin/env bash
# onnxruntime's quantize_static: CalibrationMethod.Entropy gives MinMax's ranges, to the last bit, and no option of it
# changes that.
#
# Ground: one Conv; activations that are Gaussian, rectified Gaussian with a speck of 50 in each frame, and heavy-tailed
# (Student's t, 2 degrees): what Entropy is taken for. 8 frames of 3x32x32.
# Guess before running: Entropy cuts the speck and the tails off, as TensorRT's does; ranges differ from MinMax's in all
# three, by an order of magnitude in the second.
# Seen (onnx 1.23.2, onnxruntime 1.32.0):
#   scale and zero point of the input are equal for MinMax and Entropy in all three
#   extra_options num_bins, num_quantized_bins, CalibNumBins: taken without a word, no effect; CalibPercentile of the
#     method Percentile works
#   the calibrator itself, create_calibrator(..., extra_options={"num_bins": 2048}): 0 to 3.2 in place of 0 to 50 for
#     the specks, and -23 to 23 in place of -109 to 178 for the tails
# Its defaults are 128 bins and 128 quantized bins: the search over thresholds from 128 bins up to all of them has one
# candidate, the whole range. Only its log tells: "Number of histogram bins : 128", "quantized bins : 128".
# So whoever compares the methods finds entropy no better than min-max, and gives up int8 for a model with outliers.
# What to do: let create_calibrator with num_bins give the ranges, and hand them to quantize_static by the option
# TensorQuantOverrides ({"x": [{"rmin": low, "rmax": high}]}, as NumPy scalars: of a float it asks the dtype); or take
# Percentile with CalibPercentile.
#
# usage: bash findings/quantize-static-entropy-is-minmax.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0
venv/bin/python - <<'PYTHON'
import contextlib
import io
import logging
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, quantize_static
from onnxruntime.quantization.calibrate import create_calibrator

logging.disable(logging.WARNING)  # its advice to run the pre-processing first, which changes nothing here
print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
rng = np.random.default_rng(0)
SHAPE = (8, 1, 3, 32, 32)


def specks():
    frames = np.maximum(rng.normal(size=SHAPE), 0)
    frames[..., 0, 0] = 50
    return frames


DATA = {name: frames.astype(np.float32) for name, frames in
        {"gaussian": rng.normal(size=SHAPE), "specks": specks(), "tails": rng.standard_t(2, size=SHAPE)}.items()}
graph = helper.make_graph(
    [helper.make_node("Conv", ["x", "weight"], ["y"])], "conv",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 30, 30])],
    [numpy_helper.from_array((0.1 * rng.normal(size=(4, 3, 3, 3))).astype(np.float32), "weight")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "float.onnx")


class Frames(CalibrationDataReader):
    def __init__(self, frames):
        self.left = iter(frames)

    def get_next(self):
        return next(({"x": frame} for frame in self.left), None)


def scale(frames, method, **options):
    """Give scale and zero point that quantize_static chooses for the input."""
    with contextlib.redirect_stdout(io.StringIO()):
        quantize_static("float.onnx", "int8.onnx", Frames(frames), calibrate_method=method, extra_options=options)
    chosen = {item.name: numpy_helper.to_array(item).item() for item in onnx.load("int8.onnx").graph.initializer
              if item.name in ("x_scale", "x_zero_point")}
    return chosen["x_scale"], chosen["x_zero_point"]


def itself(frames):
    """Give the range that the calibrator with 2048 bins chooses for the input."""
    with contextlib.redirect_stdout(io.StringIO()):
        calibrator = create_calibrator("float.onnx", calibrate_method=CalibrationMethod.Entropy,
                                       augmented_model_path="augmented.onnx", extra_options={"num_bins": 2048})
        calibrator.collect_data(Frames(frames))
        low, high = calibrator.compute_data()["x"].range_value
    return low, high


so = True
OPTIONS = {"num_bins": 2048, "num_quantized_bins": 64, "CalibNumBins": 2048, "CalibNumQuantizedBins": 64}
for name, frames in DATA.items():
    minmax, entropy = scale(frames, CalibrationMethod.MinMax), scale(frames, CalibrationMethod.Entropy)
    optional = scale(frames, CalibrationMethod.Entropy, **OPTIONS)
    percentile = scale(frames, CalibrationMethod.Percentile, CalibPercentile=99.0)
    low, high = itself(frames)
    handed = scale(frames, CalibrationMethod.MinMax, TensorQuantOverrides={"x": [{"rmin": low, "rmax": high}]})
    print(f"{name}: from {frames.min():.1f} to {frames.max():.1f}; MinMax {minmax}, Entropy {entropy}, with options "
          f"{optional}, Percentile 99 {percentile}; the calibrator with 2048 bins {low:.1f} to {high:.1f}, handed over "
          f"{handed}")
    so &= abs(handed[0] - (high - low) / 255) < 1e-3 * handed[0]
    so &= minmax == entropy == optional and percentile[0] < 0.7 * minmax[0] and high - low < 0.9 * float(np.ptp(frames))
print("still so: Entropy is MinMax" if so else "changed")
sys.exit(not so)
PYTHON
