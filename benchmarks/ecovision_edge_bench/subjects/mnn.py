"""MNN, converted from ONNX, with its Module API."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ecovision_edge.bundle.contract import Contract
from ecovision_edge_bench.extras import require
from ecovision_edge_bench.subjects import Facts, Frame, Spec
from ecovision_edge_bench.subjects._engine import EngineSubject, hash_files, opening
from ecovision_edge_bench.subjects._tutorial import TutorialPreprocessing

if TYPE_CHECKING:
    from ecovision_edge_bench.subjects.peers import Peer, Workbench

__all__ = ["load", "make"]


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
        self._preprocessing = TutorialPreprocessing(contract)
        super().__init__(
            Facts(engine, "fp32", spec.threads, sha256, size, self._preprocessing.description), contract
        )

    def prepare(self, frame: Frame) -> npt.NDArray[np.float32]:
        return self._preprocessing.prepare(frame)

    def _run(self, prepared: object) -> npt.NDArray[np.float32]:
        # read() waits for the result: forward() only says what is wanted.
        variable = self._expr.const(prepared, self._shape, self._expr.NCHW)
        output: npt.NDArray[np.float32] = self._net.forward(variable).read()
        return output


def make(peer: Peer, bench: Workbench, threads: int, spinning: bool) -> Spec:
    """Return what MNN's converter makes of the ONNX model.

    Raises:
        ExportError: the converter failed.
    """
    from ecovision_edge_bench.subjects._making import make_model, spec_of

    return spec_of(peer, bench, make_model(bench, "mnn"), threads, spinning)


def load(spec: Spec) -> _MnnSubject:
    """Load an .mnn file.

    Raises:
        MissingDependencyError: no MNN.
        ModelError: it cannot open the file.
    """
    require("MNN", "bench-peers")
    return _MnnSubject(spec)
