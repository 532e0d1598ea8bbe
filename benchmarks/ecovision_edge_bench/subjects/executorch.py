"""ExecuTorch with its XNNPACK delegate, by its Python runtime: lowered as its documentation has it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.extras import require
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import ModelError
from ecovision_edge_bench.subjects import Facts, Frame, Spec
from ecovision_edge_bench.subjects._engine import EngineSubject, hash_files, opening
from ecovision_edge_bench.subjects._tutorial import TutorialPreprocessing

if TYPE_CHECKING:
    import torch

__all__ = ["load"]


class _ExecuTorchSubject(EngineSubject):
    """Its runtime takes tensors of PyTorch, whose libraries it is linked with; both share the frame's memory.

    int8 takes and gives float32 all the same: the graph quantizes for itself.
    """

    def __init__(self, spec: Spec) -> None:
        import torch
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        contract = Contract.loads(spec.contract)
        engine = f"executorch {importlib.metadata.version('executorch')}"
        sha256, size = hash_files([Path(spec.source)])
        self._tensor = torch.from_numpy
        with opening(engine, spec.source):
            portable_lib._unsafe_reset_threadpool(spec.threads)  # it has no other way; before XNNPACK starts
            program = Runtime.get().load_program(Path(spec.source))
            self._method = program.load_method("forward")
        if self._method is None:
            raise ModelError(Path(spec.source).name, expected="a method forward", found="none")
        preprocessing = TutorialPreprocessing(contract)
        threads = int(portable_lib._threadpool_get_thread_count())
        super().__init__(
            Facts(engine, spec.precision, threads, sha256, size, preprocessing.description),
            contract,
            preprocessing.prepare,
        )

    def prepare(self, frame: Frame) -> torch.Tensor:
        tensor: torch.Tensor = self._tensor(self._prepare(frame))
        return tensor

    def _run(self, prepared: object) -> npt.NDArray[np.float32]:
        output: npt.NDArray[np.float32] = self._method.execute([prepared])[0].numpy()
        return output


def load(spec: Spec) -> _ExecuTorchSubject:
    """Load a .pte file.

    Raises:
        MissingDependencyError: no executorch.
        ModelError: it cannot open the file.
    """
    require("executorch", "bench-executorch")
    return _ExecuTorchSubject(spec)
