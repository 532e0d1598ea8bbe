"""Make the model of another engine; run by `subjects._making`, each step in a process of its own.

    python -m ecovision_edge_bench.subjects.make_peer_model STEP FOLDER SOURCE HEIGHT WIDTH

SOURCE is a state dict (.safetensors) or the model of an earlier step. FOLDER has `calibration.npy`,
`(n, 3, height, width)` float32, where the step wants it; the model is left there as `model` and its suffixes,
with one line in `how.txt`. Each engine's tools are used as its documentation does, with default settings;
where they are not, `how.txt` says so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ecovision_edge.errors import ExportError
from ecovision_edge_bench.subjects._making import CALIBRATION, HOW
from ecovision_edge_bench.subjects.openvino import without_telemetry

if TYPE_CHECKING:
    import torch

__all__ = ["STEPS", "main"]

Size = tuple[int, int]
Batch = npt.NDArray[np.float32]


def _onnx(source: Path, size: Size) -> str:
    import torch

    program = torch.onnx.export(_network(source), (torch.zeros(1, 3, *size),), dynamo=True)
    assert program is not None
    program.save("model.onnx")
    return "torch.onnx.export"


def _onnxruntime_int8(source: Path, size: Size) -> str:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = onnx.load(source).graph.input[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = _batches()

        def get_next(self) -> dict[str, Batch] | None:
            batch = next(self._batches, None)
            return None if batch is None else {name: batch}

    try:
        quant_pre_process(str(source), "prepared.onnx")
        start, how = "prepared.onnx", "quant_pre_process, "
    except Exception:  # noqa: BLE001 - it is a recommendation: without it the model is still quantized
        start, how = str(source), "no quant_pre_process, which failed, "
    quantize_static(start, "model.onnx", Reader())
    return f"{how}quantize_static"


def _litert(source: Path, size: Size) -> str:
    import litert_torch
    import torch

    litert_torch.convert(_network(source), (torch.zeros(1, 3, *size),)).export("model.tflite")
    return "litert_torch.convert"


def _litert_int8(source: Path, size: Size) -> str:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    ((signature, names),) = Interpreter(str(source)).get_signature_list().items()
    (name,) = names["inputs"]
    made = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
    ranges = made.calibrate({signature: [{name: batch} for batch in _batches()]})
    widened = _widen_constants(ranges)
    made.quantize(ranges).export_model("model.tflite")
    return f"static_wi8_ai8, {widened} constant activations given the range 1"


def _widen_constants(ranges: dict[str, dict[str, npt.NDArray[np.float32]]]) -> int:
    """Give activations that were the same everywhere in calibration a range of 1; returns how many.

    Squeeze units may be dead. ai-edge-quantizer 0.10 makes a scale of 4e-12 for such a tensor, which
    overflows the next bias, and XNNPACK then refuses the whole model.
    """
    widened = 0
    for statistics in ranges.values():
        low, high = statistics.get("min"), statistics.get("max")
        if low is not None and high is not None and np.array_equal(low, high):
            statistics["max"] = high + np.float32(1)
            widened += 1
    return widened


def _openvino(source: Path, size: Size) -> str:
    without_telemetry()
    import openvino

    openvino.save_model(openvino.convert_model(str(source)), "model.xml", compress_to_fp16=False)
    return "openvino.convert_model, weights kept fp32"


def _openvino_int8(source: Path, size: Size) -> str:
    without_telemetry()
    import nncf
    import openvino

    model = openvino.Core().read_model(str(source))
    openvino.save_model(nncf.quantize(model, nncf.Dataset(list(_batches()))), "model.xml")
    return "nncf.quantize"


def _ncnn(source: Path, size: Size) -> str:
    import pnnx
    import torch

    # By default pnnx rounds the weights to fp16, and a row called fp32 would not be.
    pnnx.export(_network(source), "model.pt", torch.zeros(1, 3, *size), fp16=False)
    for suffix in ("param", "bin"):
        Path(f"model.ncnn.{suffix}").replace(f"model.{suffix}")
    return "pnnx, fp16=0"


def _mnn(source: Path, size: Size) -> str:
    # The module behind the command mnnconvert. MNN.tools.mnnconvert itself would pip install a library that
    # reports each conversion to its maker.
    import _tools

    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", "model.mnn"])
    return "mnnconvert"


def _executorch(source: Path, size: Size) -> str:
    _lower(_network(source), size)
    return "torch.export, XnnpackPartitioner"


def _executorch_int8(source: Path, size: Size) -> str:
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    exported = torch.export.export(_network(source), (torch.zeros(1, 3, *size),))
    prepared = prepare_pt2e(exported.module(), quantizer)
    with torch.no_grad():
        for batch in _batches():
            prepared(torch.from_numpy(batch))
    _lower(convert_pt2e(prepared), size)
    return "PT2E with XNNPACKQuantizer, per channel, XnnpackPartitioner"


def _lower(network: torch.nn.Module, size: Size) -> None:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    exported = torch.export.export(network, (torch.zeros(1, 3, *size),))
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    Path("model.pte").write_bytes(lowered.buffer)


STEPS: dict[str, Callable[[Path, Size], str]] = {
    "onnx": _onnx,
    "onnxruntime-int8": _onnxruntime_int8,
    "litert": _litert,
    "litert-int8": _litert_int8,
    "openvino": _openvino,
    "openvino-int8": _openvino_int8,
    "ncnn": _ncnn,
    "mnn": _mnn,
    "executorch": _executorch,
    "executorch-int8": _executorch_int8,
}
"""By name: makes the model in the current folder, and returns one line on how."""


def main(arguments: list[str]) -> int:
    """Run one step; what goes wrong is the last line printed."""
    name, folder, source, height, width = arguments
    os.chdir(folder)
    try:
        how = STEPS[name](Path(source), (int(height), int(width)))
        Path(HOW).write_text(how, "utf-8")
    except Exception as e:  # noqa: BLE001 - the converters' errors share no base class; the parent has a type
        print(f"{type(e).__name__}: {' '.join(str(e).split())[:300]}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _network(source: Path) -> torch.nn.Module:
    """Return the checkpoint whose weights the parent saved."""
    from safetensors.torch import load_file

    from ecovision_edge.bundle.contract import WeightsSource
    from ecovision_edge_export.weights.checkpoint import ARCHITECTURE, Checkpoint, build_model

    state = load_file(source)
    bias = state.get("classifier.3.bias")
    if bias is None:
        raise ExportError(source.name, expected=f"weights of {ARCHITECTURE}", found="other ones")
    return build_model(Checkpoint(state, len(bias), WeightsSource(ARCHITECTURE, source.name, "")))


def _batches() -> Iterator[Batch]:
    """Network inputs for calibration, `(1, 3, height, width)` float32 each."""
    for image in np.load(CALIBRATION, mmap_mode="r"):
        yield np.array(image[np.newaxis])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
