"""MNN, converted from ONNX, with its Module API."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.extras import require
from ecovision_edge.bundle.contract import Contract
from ecovision_edge_bench.subjects import Facts, Spec
from ecovision_edge_bench.subjects._engine import EngineSubject, hash_files, opening
from ecovision_edge_bench.subjects._tutorial import TutorialPreprocessing

__all__ = ["load"]


class _MnnSubject(EngineSubject):
    def __init__(self, spec: Spec) -> None:
        import MNN

        contract = Contract.loads(spec.contract)
        engine = f"MNN {importlib.metadata.version('MNN')}"
        sha256, size = hash_files([Path(spec.source)])
        self._expr = MNN.expr
        with opening(engine, spec.source):
            # `precision` stays MNN's own: normal, which is fp32 on a CPU.
            runtime = MNN.nn.create_runtime_manager(({"backend": "CPU", "numThread": spec.threads},))
            self._net = MNN.nn.load_module_from_file(spec.source, [], [], runtime_manager=runtime)
        self._shape = [1, 3, contract.input.height, contract.input.width]
        preprocessing = TutorialPreprocessing(contract)
        super().__init__(
            Facts(engine, "fp32", spec.threads, sha256, size, preprocessing.description),
            contract,
            preprocessing.prepare,
        )

    def _run(self, prepared: object) -> npt.NDArray[np.float32]:
        # read() waits for the result: forward() only says what is wanted.
        variable = self._expr.const(prepared, self._shape, self._expr.NCHW)
        output: npt.NDArray[np.float32] = self._net.forward(variable).read()
        return output


def load(spec: Spec) -> _MnnSubject:
    """Load an .mnn file.

    Raises:
        MissingDependencyError: no MNN.
        ModelError: it cannot open the file.
    """
    require("MNN", "bench-peers")
    return _MnnSubject(spec)
