"""Engines that read the exporter's fp32 files as they are; each runs in a process of its own.

    python -m ecovision_edge_bench.interop.engines ENGINE MODEL INPUTS.npy ANSWERS.npy

INPUTS are a batch of the files' own input, `(n, height, width, 3)` uint8 BGR or `(n, 3, height, width)`
float32; ANSWERS is then `(n, classes)` float32.
Each engine is asked one input at a time, with its default settings, but none computes in less than fp32.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecovision_edge.errors import ModelError
from ecovision_edge_bench.subjects.openvino import without_telemetry

__all__ = ["ENGINES", "Engine", "Inputs", "main"]

Inputs = npt.NDArray[np.uint8 | np.float32]
Output = npt.NDArray[np.float32]
Run = Callable[[Inputs], Output]  # a batch of one

_INPUT, _OUTPUT = "frame", "logits"  # names in the files of bytes that the exporter writes


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine and one format that it reads.

    Args:
        name: As the table has it.
        format: `onnx` or `tflite`.
        module: What is imported.
        distributions: What the version is read from: the first that is installed.
        open: Opens a model file for one input at a time.
        floats: Whether it wants the input as floats: it has no operator that turns bytes into them.
    """

    name: str
    format: str
    module: str
    distributions: tuple[str, ...]
    open: Callable[[Path], Run]
    floats: bool = False

    @property
    def installed(self) -> bool:
        """Whether it can be imported here."""
        return importlib.util.find_spec(self.module) is not None

    @property
    def version(self) -> str:
        """Its version; empty if no package names one."""
        for name in self.distributions:
            try:
                return importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return ""


def _onnxruntime(model: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: np.asarray(session.run(None, {name: x})[0], np.float32)


def _litert(model: Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model))
    interpreter.allocate_tensors()
    taken, given = (
        d[0]["index"] for d in (interpreter.get_input_details(), interpreter.get_output_details())
    )

    def run(x: Inputs) -> Output:
        interpreter.set_tensor(taken, x)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(given), np.float32)

    return run


def _openvino(model: Path) -> Run:
    without_telemetry()
    import openvino

    compiled = openvino.Core().compile_model(str(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    return lambda x: np.array(request.infer([x])[0], np.float32)


def _opencv(model: Path) -> Run:
    import cv2

    if model.suffix == ".onnx":
        net, prepare = cv2.dnn.readNetFromONNX(str(model)), _as_it_is
    else:
        net, prepare = cv2.dnn.readNetFromTFLite(str(model)), _float_planes

    def run(x: Inputs) -> Output:
        net.setInput(prepare(x))
        return np.array(net.forward(), np.float32)

    return run


def _as_it_is(x: Inputs) -> Inputs:
    return x


def _float_planes(x: Inputs) -> Inputs:
    """Return what OpenCV takes for a `.tflite` model of bytes: the same pixels as float32, NCHW."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2), np.float32)


def _mnn(model: Path) -> Run:
    # The module behind the command mnnconvert; see `subjects.make_peer_model`.
    import _tools
    import MNN

    with tempfile.TemporaryDirectory() as folder:
        made = str(Path(folder) / "model.mnn")
        kind = model.suffix[1:].upper()
        _tools.mnnconvert(["mnnconvert", "-f", kind, "--modelFile", str(model), "--MNNModel", made])
        names = ([_INPUT], [_OUTPUT]) if model.suffix == ".tflite" else ([], [])
        try:
            net = MNN.nn.load_module_from_file(made, *names)
        except SystemError as e:
            raise ModelError("MNN cannot open what its converter made") from e
    # Of MNN it is the origin of a model that says how a tensor of four axes is laid out.
    layout = MNN.expr.NHWC if kind == "TFLITE" else MNN.expr.NCHW

    def run(x: Inputs) -> Output:
        kind = MNN.expr.uint8 if x.dtype == np.uint8 else MNN.expr.float
        taken = MNN.expr.const(x, list(x.shape), layout, kind)
        return np.array(net.forward(taken).read(), np.float32)

    return run


def _ncnn(model: Path) -> Run:
    import ncnn
    import onnx

    dims = onnx.load(model).graph.input[0].type.tensor_type.shape.dim
    shape = f"inputshape=[1,{','.join(str(d.dim_value) for d in dims[1:])}]"
    net = ncnn.Net()
    # ncnn computes in half precision where it can, unless it is told not to.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.onnx"
        shutil.copy(model, copy)
        pnnx = str(Path(sys.executable).parent / "pnnx")
        subprocess.run([pnnx, copy.name, shape, "fp16=0"], cwd=folder, capture_output=True, check=True)
        made = copy.with_suffix(".ncnn.param"), copy.with_suffix(".ncnn.bin")
        if net.load_param(str(made[0])) or net.load_model(str(made[1])):
            raise ModelError("ncnn cannot open what pnnx made")

    def run(x: Inputs) -> Output:
        with net.create_extractor() as extractor:
            extractor.input(
                "in0", ncnn.Mat(x[0]).clone()
            )  # pnnx's names; a Mat does not keep its array alive
            return np.array(extractor.extract("out0")[1], np.float32)

    return run


ENGINES = (
    Engine("onnxruntime", "onnx", "onnxruntime", ("onnxruntime", "onnxruntime-gpu"), _onnxruntime),
    Engine("OpenVINO", "onnx", "openvino", ("openvino",), _openvino),
    Engine("OpenCV dnn", "onnx", "cv2", ("opencv-python-headless", "opencv-python"), _opencv),
    Engine("MNN", "onnx", "MNN", ("MNN",), _mnn),
    Engine("ncnn by pnnx", "onnx", "ncnn", ("ncnn",), _ncnn, floats=True),
    Engine("LiteRT", "tflite", "ai_edge_litert", ("ai-edge-litert",), _litert),
    Engine("OpenVINO", "tflite", "openvino", ("openvino",), _openvino),
    Engine("OpenCV dnn", "tflite", "cv2", ("opencv-python-headless", "opencv-python"), _opencv),
    Engine("MNN", "tflite", "MNN", ("MNN",), _mnn),
)
"""In the order of the table; the first one is what the others are compared with."""


def main(arguments: list[str]) -> int:
    """Ask one engine; what goes wrong is the last line printed."""
    number, model, inputs, answers = arguments
    try:
        run = ENGINES[int(number)].open(Path(model))
        np.save(answers, np.stack(list(_rows(run, np.load(inputs)))))
    except Exception as e:  # noqa: BLE001 - the engines' errors share no base class; the parent has a type
        print(f"{type(e).__name__}: {' '.join(str(e).split())[:300]}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _rows(run: Run, inputs: Iterable[Inputs]) -> Iterator[Output]:
    for x in inputs:
        row = run(np.ascontiguousarray(x[np.newaxis])).reshape(-1)
        if not np.isfinite(row).all():
            raise ModelError("wrong output", expected="finite numbers", found="NaN or infinity")
        yield row


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
