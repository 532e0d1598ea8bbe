"""onnxruntime as its documentation has it: the exporter's and the quantizer's default settings."""

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

_FATAL_ONLY = 4  # onnxruntime's log severity: what it would log comes as an exception too


class _OnnxRuntimeSubject(EngineSubject):
    def __init__(self, spec: Spec) -> None:
        import onnxruntime as ort

        contract = Contract.loads(spec.contract)
        engine = f"onnxruntime {importlib.metadata.version('onnxruntime')}"
        path = Path(spec.source)
        sha256, size = hash_files([path])
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = spec.threads
        settings.log_severity_level = _FATAL_ONLY
        settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(spec.spinning)))
        with opening(engine, spec.source):
            self._session = ort.InferenceSession(
                str(path), settings, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            self._input = self._session.get_inputs()[0].name
        threads = self._session.get_session_options().intra_op_num_threads
        preprocessing = TutorialPreprocessing(contract)
        super().__init__(
            Facts(engine, spec.precision, threads, sha256, size, preprocessing.description),
            contract,
            preprocessing.prepare,
        )

    def _run(self, prepared: object) -> npt.NDArray[np.float32]:
        output: npt.NDArray[np.float32] = self._session.run(None, {self._input: prepared})[0]
        return output


def load(spec: Spec) -> _OnnxRuntimeSubject:
    """Load an ONNX file.

    Raises:
        MissingDependencyError: no onnxruntime.
        ModelError: it cannot open the file.
    """
    require("onnxruntime", "bench")
    return _OnnxRuntimeSubject(spec)
