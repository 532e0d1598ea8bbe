"""Run inferences, or other steps of an answer, with marks around them; the emulated Python runs this file.

    python3 -P guest.py MODEL [--fp16]
                              [--step prepare|whole --width PIXELS --height PIXELS [--jpeg] [--filter FILTER]]

An inference needs the engine alone; the other steps import the runtime, which the host puts in the path.
Standard output ends with one line of JSON: the engine, or why it does not open the model.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

MARK = 0x45436F76  # as in plugin.c
NOTHING, INFERENCE = 1, 2
"""Labels of marks; one that ends what another began has the same label."""

WARM_UP, INFERENCES = 3, 5
SEED = 0  # any number; the same input each time

FP16_FLAGS = 7
"""XNNPACK's QS8, QU8 and FORCE_FP16, as in `ecovision_edge.backends.half`."""

Tensor = npt.NDArray[np.generic]


def main(arguments: Sequence[str]) -> int:
    """Mark nothing and then the inferences of a model; the exit status."""
    options = _parser().parse_args(arguments)
    half = options.fp16 and options.model.suffix == ".tflite"
    opener = open_fp16 if half else {".onnx": open_onnxruntime, ".tflite": open_litert}[options.model.suffix]
    try:
        if options.step == "network":
            engine, infer = opener(options.model.read_bytes())
        else:
            engine, infer = open_step(options)
        for _ in range(WARM_UP):
            infer()
    except Exception as error:  # noqa: BLE001 - whatever the engine raises is told to the host
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return answer(1, error=lines[0][:300])
    mark = marker()
    for label, call in ((NOTHING, nothing), (INFERENCE, infer)):
        for left in reversed(range(INFERENCES)):
            words = label == INFERENCE and left == 0  # they are many lines: of the last inference alone
            mark(label, words)
            call()
            mark(label, words)
    return answer(0, engine=engine)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="guest.py")
    parser.add_argument("model", type=Path)
    parser.add_argument("--fp16", action="store_true")
    parser.add_argument("--step", choices=("network", "prepare", "whole"), default="network")
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--jpeg", action="store_true")
    parser.add_argument("--filter")
    return parser


def answer(status: int, **fields: str) -> int:
    """Tell the host; gives `status` back."""
    sys.stdout.write(json.dumps(fields) + "\n")
    return status


def marker() -> Callable[[int, bool], object]:
    """Return the function that marks a point of the program: a system call that fails everywhere."""
    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    return lambda label, mix: prctl(MARK, label, mix, 0, 0)


def nothing() -> None:
    """What is between two marks that measure the marks."""


def open_onnxruntime(model: bytes) -> tuple[str, Callable[[], object]]:
    """With the settings of `ecovision_edge.backends.onnx` and one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    kinds = {"tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(float)": np.float32}
    inputs = {
        given.name: made_up([n if isinstance(n, int) else 1 for n in given.shape], kinds[given.type])
        for given in session.get_inputs()
    }
    names = [output.name for output in session.get_outputs()]
    return f"onnxruntime {onnxruntime.__version__}", lambda: session.run(names, inputs)


def open_litert(model: bytes) -> tuple[str, Callable[[], object]]:
    """With its default delegate, XNNPACK, and one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    inputs = {
        int(given["index"]): made_up([max(1, int(n)) for n in given["shape"]], given["dtype"])
        for given in interpreter.get_input_details()
    }
    outputs = [int(output["index"]) for output in interpreter.get_output_details()]

    def infer() -> object:
        for index, tensor in inputs.items():
            interpreter.set_tensor(index, tensor)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return f"LiteRT {importlib.metadata.version('ai-edge-litert')}", infer


def open_fp16(model: bytes) -> tuple[str, Callable[[], object]]:
    """With the settings of `ecovision_edge.backends.half` and one thread."""
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.options import CpuOptions, Options

    cpu = CpuOptions(num_threads=1, xnnpack_flags=FP16_FLAGS)
    compiled = CompiledModel.from_buffer(model, options=Options(cpu_options=cpu))
    inputs, outputs = compiled.create_input_buffers(0), compiled.create_output_buffers(0)
    forms = [[buffer.get_tensor_details() for buffer in buffers] for buffers in (inputs, outputs)]
    tensors = [made_up(form["shape"], form["dtype"]) for form in forms[0]]
    sizes = [(int(np.prod(form["shape"])), np.dtype(form["dtype"])) for form in forms[1]]

    def infer() -> object:
        for buffer, tensor in zip(inputs, tensors, strict=True):
            buffer.write(tensor)
        compiled.run_by_index(0, inputs, outputs)
        return [buffer.read(*size) for buffer, size in zip(outputs, sizes, strict=True)]

    return f"LiteRT {importlib.metadata.version('ai-edge-litert')} in fp16", infer


def open_step(options: argparse.Namespace) -> tuple[str, Callable[[], object]]:
    """Preparing a frame, or all from the frame to the prediction: the runtime's own code, in one thread."""
    import cv2

    from ecovision_edge.classifier import Classifier
    from ecovision_edge.photographs.images import decode_image
    from ecovision_edge.preprocess import Preprocessor
    from ecovision_edge.simulation.synthetic import draw_frame

    cv2.setNumThreads(1)
    classifier = Classifier.load(
        options.model, threads=1, fp16=options.fp16, filter=options.filter, profile=False
    )
    step: Callable[[Tensor], object] = (
        classifier.prepare if options.step == "prepare" else classifier.classify
    )
    frame = draw_frame(SEED, options.width, options.height)
    libraries = f"numpy {np.__version__}, OpenCV {cv2.__version__}"
    kernel = Preprocessor(classifier.contract).kernel
    libraries += "" if kernel == "numpy" else f", {kernel}"
    engine = libraries if options.step == "prepare" else f"{classifier.backend.engine}, {libraries}"
    if not options.jpeg:
        return engine, lambda: step(frame)
    data = cv2.imencode(".jpg", frame)[1].tobytes()
    return engine, lambda: step(decode_image(data, "the frame", classifier.reduction))


def made_up(shape: Sequence[int], dtype: npt.DTypeLike) -> Tensor:
    """Return an input: normal noise, or all levels of an integer."""
    rng = np.random.default_rng(SEED)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.standard_normal(shape).astype(kind)
    levels = np.iinfo(kind)
    return rng.integers(levels.min, levels.max, shape, kind, endpoint=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
