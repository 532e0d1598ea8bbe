"""LiteRT, the former TensorFlow Lite: converted by litert-torch, quantized by ai-edge-quantizer."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.extras import require
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import ModelError
from ecovision_edge_bench.subjects import Facts, Frame, Probabilities, Spec
from ecovision_edge_bench.subjects._engine import EngineSubject, hash_files, opening
from ecovision_edge_bench.subjects._tutorial import TutorialPreprocessing

__all__ = ["load"]

Tensor: TypeAlias = npt.NDArray[np.float32 | np.int8]


class _LiteRtSubject(EngineSubject):
    """The interpreter with its default delegate, XNNPACK.

    A static int8 model takes and gives int8: `prepare` quantizes and `post` dequantizes, as a program has to.
    """

    def __init__(self, spec: Spec) -> None:
        from ai_edge_litert.interpreter import Interpreter

        contract = Contract.loads(spec.contract)
        engine = f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"
        sha256, size = hash_files([Path(spec.source)])
        with opening(engine, spec.source):
            self._interpreter = Interpreter(model_path=spec.source, num_threads=spec.threads)
            self._interpreter.allocate_tensors()
            taken, given = self._interpreter.get_input_details()[0], self._interpreter.get_output_details()[0]
        for tensor in (taken, given):
            if tensor["dtype"] not in {np.float32, np.int8}:
                raise ModelError(
                    Path(spec.source).name, expected="float32 or int8", found=tensor["dtype"].__name__
                )
        self._input, self._output = taken["index"], given["index"]
        self._input_scale = _scale(taken["dtype"], taken["quantization"])
        self._output_scale = _scale(given["dtype"], given["quantization"])
        preprocessing = TutorialPreprocessing(contract)
        description = preprocessing.description
        if self._input_scale is not None:
            description += ", quantized to int8"
        super().__init__(
            Facts(engine, spec.precision, spec.threads, sha256, size, description),
            contract,
            preprocessing.prepare,
        )

    def prepare(self, frame: Frame) -> Tensor:
        pixels: Tensor = self._prepare(frame)
        if self._input_scale is None:
            return pixels
        scale, zero = self._input_scale
        quantized: npt.NDArray[np.int8] = np.clip(np.rint(pixels / scale) + zero, -128, 127).astype(np.int8)
        return quantized

    def post(self, output: object) -> Probabilities:
        if self._output_scale is None:
            return super().post(output)
        scale, zero = self._output_scale
        return super().post((np.asarray(output, np.float32) - zero) * scale)

    def _run(self, prepared: object) -> Tensor:
        self._interpreter.set_tensor(self._input, prepared)
        self._interpreter.invoke()
        output: Tensor = self._interpreter.get_tensor(self._output)
        return output


def load(spec: Spec) -> _LiteRtSubject:
    """Load a .tflite file.

    Raises:
        MissingDependencyError: no ai-edge-litert.
        ModelError: it cannot open the file.
    """
    require("ai_edge_litert", "bench-peers")
    return _LiteRtSubject(spec)


def _scale(dtype: type, quantization: tuple[float, int]) -> tuple[np.float32, np.float32] | None:
    """Scale and zero point of an int8 tensor; None of a float one."""
    return (np.float32(quantization[0]), np.float32(quantization[1])) if dtype is np.int8 else None
