"""OpenVINO on the CPU, as its documentation has it for one frame at a time: the LATENCY hint."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.extras import require
from ecovision_edge.bundle.contract import Contract
from ecovision_edge_bench.subjects import Facts, Spec
from ecovision_edge_bench.subjects._engine import EngineSubject, hash_files, opening
from ecovision_edge_bench.subjects._tutorial import TutorialPreprocessing

__all__ = ["load", "precision_hint", "without_telemetry"]

_HINTS = {"fp32": "f32", "bf16": "bf16"}
_PRECISIONS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}


def without_telemetry() -> None:
    """Keep `import openvino` from telling Google Analytics of it, unasked; call it before.

    It would also leave files in the home folder, and a thread that waits for the network while others are
    measured. OpenVINO takes a stub of its own where the package `openvino_telemetry` cannot be imported.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


# Here, since whoever measures imports this module first, then the engine on its own to time that.
without_telemetry()


def precision_hint(precision: str, machine: str) -> str | None:
    """Return what layers in floats are to be computed in; None leaves that to OpenVINO.

    Of int8 on Arm it would choose fp16, which ends at 65504: the int32 biases of quantized layers are cut
    there, and labels are wrong without an error.
    """
    return "f32" if precision == "int8" and machine in ("aarch64", "arm64") else _HINTS.get(precision)


class _OpenVinoSubject(EngineSubject):
    def __init__(self, spec: Spec) -> None:
        import openvino

        contract = Contract.loads(spec.contract)
        engine = f"openvino {importlib.metadata.version('openvino')}"
        path = Path(spec.source)
        sha256, size = hash_files([path, path.with_suffix(".bin")])
        settings: dict[str, str | int] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": spec.threads,
        }
        if (hint := precision_hint(spec.precision, platform.machine())) is not None:
            settings["INFERENCE_PRECISION_HINT"] = hint
        with opening(engine, spec.source):
            compiled = openvino.Core().compile_model(str(path), "CPU", settings)
            # The hint is a wish: where the CPU has no bf16, the network is computed in fp32.
            real = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
            threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
            self._request = compiled.create_infer_request()
        precision = "int8" if spec.precision == "int8" else _PRECISIONS.get(real, real)
        preprocessing = TutorialPreprocessing(contract)
        super().__init__(
            Facts(engine, precision, threads, sha256, size, preprocessing.description),
            contract,
            preprocessing.prepare,
        )

    def _run(self, prepared: object) -> npt.NDArray[np.float32]:
        output: npt.NDArray[np.float32] = self._request.infer([prepared])[0]
        return output


def load(spec: Spec) -> _OpenVinoSubject:
    """Load an .xml file and the .bin beside it.

    Raises:
        MissingDependencyError: no openvino.
        ModelError: it cannot open the files.
    """
    require("openvino", "bench-peers")
    return _OpenVinoSubject(spec)
