"""PyTorch eager, and compiled by torch.compile: the baseline, with torchvision's own preprocessing."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.extras import require
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import MissingDependencyError
from ecovision_edge_bench.subjects import Facts, Spec
from ecovision_edge_bench.subjects._engine import EngineSubject, opening

if TYPE_CHECKING:
    import torch

    from ecovision_edge_export.parity.baseline import TorchBaseline
    from ecovision_edge_export.weights.checkpoint import Checkpoint

__all__ = ["checkpoint_of", "load"]

COMPILED = "torch-compile"


class _TorchSubject(EngineSubject):
    def __init__(
        self,
        facts: Facts,
        contract: Contract,
        baseline: TorchBaseline,
        network: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        super().__init__(facts, contract, lambda frame: baseline.prepare_frame(frame).unsqueeze(0))
        self._network = network

    def _run(self, prepared: object) -> npt.NDArray[np.float32]:
        import torch

        # One setting for the whole process, which another subject in it may have changed.
        if torch.get_num_threads() != self._facts.threads:
            torch.set_num_threads(self._facts.threads)
        assert isinstance(prepared, torch.Tensor)
        with torch.inference_mode():
            output: npt.NDArray[np.float32] = self._network(prepared).numpy()
        return output


def checkpoint_of(name: str, weights: str) -> tuple[str, str]:
    """Return the source of a peer that runs the checkpoint itself, and how it does; nothing is made.

    Raises:
        MissingDependencyError: torch.compile without a C++ compiler.
    """
    if name != COMPILED:
        return _absolute(weights), "the checkpoint in torchvision's network"
    _require_compiler()
    return _absolute(weights), "torch.compile, default settings"


def load(spec: Spec) -> _TorchSubject:
    """Load the checkpoint; `torch-compile` is compiled here, by running it once.

    Raises:
        MissingDependencyError: no torch; or torch.compile without a C++ compiler.
        CheckpointError, DownloadError: as `load_checkpoint`.
        ModelError: torch.compile fails.
    """
    for module in ("torch", "torchvision", "PIL"):
        require(module, "export")
    import torch

    from ecovision_edge_export.parity.baseline import TorchBaseline
    from ecovision_edge_export.weights.checkpoint import load_checkpoint

    contract = Contract.loads(spec.contract)
    checkpoint = load_checkpoint(spec.source, num_classes=len(contract.labels), labels=contract.labels)
    baseline = TorchBaseline(checkpoint, contract)
    torch.set_num_threads(spec.threads)
    compiled = spec.name == COMPILED
    if compiled:
        _require_compiler()
    facts = Facts(
        f"torch {importlib.metadata.version('torch')}",
        "fp32",
        torch.get_num_threads(),
        checkpoint.source.sha256,
        _bytes(spec.source, checkpoint),
        "PIL and torchvision, antialiased",
    )
    network = torch.compile(baseline.model) if compiled else baseline.model
    subject = _TorchSubject(facts, contract, baseline, network)
    if compiled:
        blank = np.zeros((contract.input.height, contract.input.width, 3), np.uint8)
        with opening("torch.compile", spec.source):
            subject.infer(subject.prepare(blank))
    return subject


def _require_compiler() -> None:
    """torch.compile writes C++; it takes $CXX, else g++ (clang++ on macOS).

    Raises:
        MissingDependencyError: there is no such program.
    """
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise MissingDependencyError(
            f"{COMPILED} needs a C++ compiler",
            expected=f"{compiler} on the PATH",
            found="none",
            fix="install g++ (Debian: apt install g++), or name another in CXX",
        )


def _absolute(weights: str) -> str:
    """Return a path that means the same file in another process; `reference` and `hf://...` as they are."""
    from ecovision_edge_export.weights.checkpoint import REFERENCE

    if weights == REFERENCE or weights.startswith("hf:"):
        return weights
    return str(Path(weights).expanduser().resolve())


def _bytes(source: str, checkpoint: Checkpoint) -> int:
    """Return the bytes of the checkpoint's file, or of the weights in memory for one from the hub."""
    from ecovision_edge_export.ecovision import REFERENCE_WEIGHTS
    from ecovision_edge_export.weights.checkpoint import REFERENCE

    if source.startswith("hf:"):
        return sum(t.numel() * t.element_size() for t in checkpoint.state.values())
    return (REFERENCE_WEIGHTS if source == REFERENCE else Path(source)).stat().st_size
