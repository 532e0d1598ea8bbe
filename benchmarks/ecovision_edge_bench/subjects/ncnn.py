"""ncnn, converted by pnnx, with ncnn's own preprocessing of pixels."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.extras import require
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import InferenceError, ModelError
from ecovision_edge_bench.subjects import Facts, Frame, Spec
from ecovision_edge_bench.subjects._engine import EngineSubject, hash_files, opening
from ecovision_edge_bench.subjects._tutorial import covering_size, crop_origin

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Pixels", "load"]

_INPUT, _OUTPUT = "in0", "out0"  # pnnx's names
_BLOCKTIME_MS = 0  # of threads that must not spin, else 20; heeded by LLVM's OpenMP, not by GNU's


class Pixels:
    """ncnn's own way from pixels to network input, by the functions of its examples.

    `description` says it in one line.
    """

    def __init__(self, contract: Contract) -> None:
        import ncnn

        self._ncnn = ncnn
        self._width, self._height = contract.input.width, contract.input.height
        self._shortest = contract.resize.shortest
        self._mean = [255 * m for m in contract.normalization.mean]
        self._factor = [1 / (255 * s) for s in contract.normalization.std]
        crop = "" if self._shortest is None else f" to shorter edge {self._shortest}, copy_cut_border"
        self.description = f"ncnn's from_pixels_resize{crop}, substract_mean_normalize"

    def prepare(self, frame: Frame) -> object:
        """Return an `ncnn.Mat` of `(3, height, width)` float32 RGB, normalized."""
        height, width = frame.shape[:2]
        size = (self._width, self._height)
        if self._shortest is not None:
            size = covering_size(width, height, self._shortest)
        mat = self._ncnn.Mat.from_pixels_resize(
            np.ascontiguousarray(frame), self._ncnn.Mat.PixelType.PIXEL_BGR2RGB, width, height, *size
        )
        if self._shortest is not None:
            left, top = crop_origin(size, self._width, self._height)
            right, bottom = size[0] - self._width - left, size[1] - self._height - top
            mat = self._ncnn.copy_cut_border(mat, top, bottom, left, right)
        mat.substract_mean_normalize(self._mean, self._factor)
        return mat


class _NcnnSubject(EngineSubject):
    def __init__(self, spec: Spec) -> None:
        import ncnn

        contract = Contract.loads(spec.contract)
        engine = f"ncnn {importlib.metadata.version('ncnn')}"
        network, weights = Path(spec.source), Path(spec.source).with_suffix(".bin")
        sha256, size = hash_files([network, weights])
        self._net = ncnn.Net()
        self._net.opt.num_threads = spec.threads
        if not spec.spinning:
            self._net.opt.openmp_blocktime = _BLOCKTIME_MS
        with opening(engine, spec.source):
            # It says what failed on standard error, and here only that it did.
            for path, read in ((network, self._net.load_param), (weights, self._net.load_model)):
                if read(str(path)) != 0:
                    raise ModelError(f"{engine} cannot open {path.name}", found="not a whole file of ncnn")
        pixels = Pixels(contract)
        super().__init__(
            Facts(
                engine,
                _precision(ncnn, self._net.opt),
                self._net.opt.num_threads,
                sha256,
                size,
                pixels.description,
            ),
            contract,
            pixels.prepare,
        )

    def _run(self, prepared: object) -> npt.NDArray[np.float32]:
        with self._net.create_extractor() as extractor:
            extractor.input(_INPUT, prepared)
            status, output = extractor.extract(_OUTPUT)
            if status != 0:
                raise InferenceError(
                    f"{self._facts.engine} failed to run the model", found=f"status {status}"
                )
            return np.array(output, np.float32)


def load(spec: Spec) -> _NcnnSubject:
    """Load a .param file and the .bin beside it.

    Raises:
        MissingDependencyError: no ncnn.
        ModelError: it cannot open the files.
    """
    require("ncnn", "bench-peers")
    return _NcnnSubject(spec)


def _precision(ncnn: ModuleType, options: object) -> str:
    """Return what ncnn computes in with its default options, which allow fp16 where the CPU has it.

    An Arm CPU with fp16 arithmetic computes in it. Other Arm CPUs, and x86 with F16C (as each with AVX2),
    keep the weights of fully connected layers as fp16, and compute in fp32: `fp32/fp16`. With the reference
    that moves a probability by up to 2e-4.
    """
    if ncnn.cpu_support_arm_asimdhp() and getattr(options, "use_fp16_arithmetic", False):
        return "fp16"
    converts = ncnn.cpu_support_arm_vfpv4() or ncnn.cpu_support_x86_avx2()
    return "fp32/fp16" if converts and getattr(options, "use_fp16_storage", False) else "fp32"
