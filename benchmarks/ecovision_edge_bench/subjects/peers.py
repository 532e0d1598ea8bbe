"""The engines that a user would pick instead, and how the model of each is made from the same checkpoint.

Each is used as its own documentation says, with its default settings; see the module of its kind in
`subjects`. Making a model is slow and wants the workstation's libraries; running it wants the engine alone.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ecovision_edge.base.installation import extra_fix
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import MissingDependencyError
from ecovision_edge_bench.subjects import Frame, Spec

if TYPE_CHECKING:
    from ecovision_edge_export.weights.checkpoint import Checkpoint

__all__ = ["PEERS", "Peer", "Workbench", "make_peer"]


@dataclass(frozen=True, slots=True)
class Workbench:
    """What peers are made from.

    Args:
        checkpoint: The weights.
        weights: The text that `load_checkpoint` loaded them from; PyTorch loads them again where it runs.
        contract: Input size, mean, std, labels.
        calibration: Frames for int8 ranges.
        folder: Where model files go, named for what they were made from; one that is there already is not
            made again.
    """

    checkpoint: Checkpoint
    weights: str
    contract: Contract
    calibration: Sequence[Frame]
    folder: Path


@dataclass(frozen=True, slots=True)
class Peer:
    """One engine at one precision.

    Args:
        name: As `--against` takes it.
        kind: Of subject; its module loads it.
        precision: `fp32`, `bf16` or `int8`.
        runs_with: Modules that running it imports.
        made_with: Modules that making it imports besides.
        extra: Of ecovision-edge, which installs them.
        model: The step of `make_model` that makes its model; empty: PyTorch runs the checkpoint itself.
    """

    name: str
    kind: str
    precision: str
    runs_with: tuple[str, ...]
    made_with: tuple[str, ...]
    extra: str = "bench-peers"
    model: str = ""

    def missing(self) -> tuple[str, ...]:
        """Return the modules that are not installed; none says that it can be made and run here."""
        return tuple(m for m in (*self.runs_with, *self.made_with) if importlib.util.find_spec(m) is None)


_EXPORT = ("torch", "torchvision", "onnx", "onnxscript")

_TORCH, _LITERT = ("torch", "torchvision", "PIL"), ("torch", "litert_torch")


def _executorch(precision: str) -> Peer:
    return Peer(
        f"executorch-{precision}",
        "executorch",
        precision,
        runs_with=("executorch", "torch"),
        made_with=("torchvision", "torchao"),
        extra="bench-executorch",
        model="executorch" if precision == "fp32" else "executorch-int8",
    )


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("torch", "torch", "fp32", _TORCH, (), "export"),
        Peer("torch-compile", "torch", "fp32", _TORCH, (), "export"),
        Peer("onnxruntime-fp32", "onnxruntime", "fp32", ("onnxruntime",), _EXPORT, "export", "onnx"),
        Peer(
            "onnxruntime-int8", "onnxruntime", "int8", ("onnxruntime",), _EXPORT, "export", "onnxruntime-int8"
        ),
        Peer("litert-fp32", "litert", "fp32", ("ai_edge_litert",), _LITERT, model="litert"),
        Peer(
            "litert-int8",
            "litert",
            "int8",
            ("ai_edge_litert",),
            (*_LITERT, "ai_edge_quantizer"),
            model="litert-int8",
        ),
        Peer("openvino-fp32", "openvino", "fp32", ("openvino",), _EXPORT, model="openvino"),
        Peer("openvino-bf16", "openvino", "bf16", ("openvino",), _EXPORT, model="openvino"),
        Peer("openvino-int8", "openvino", "int8", ("openvino",), (*_EXPORT, "nncf"), model="openvino-int8"),
        Peer("ncnn-fp32", "ncnn", "fp32", ("ncnn",), ("torch", "pnnx"), model="ncnn"),
        Peer("mnn-fp32", "mnn", "fp32", ("MNN",), _EXPORT, model="mnn"),
        _executorch("fp32"),
        _executorch("int8"),
    )
}
"""All peers by name, in the order in which tables show them."""


def make_peer(peer: Peer, bench: Workbench, *, threads: int = 1, spinning: bool = True) -> Spec:
    """Make a peer's model in `bench.folder`, and say how to load it.

    Raises:
        MissingDependencyError: a library that it needs is not installed, or a compiler for torch.compile.
        DatasetError: int8 without calibration frames.
        ExportError: its converter failed; the message has the converter's own last words.
    """
    missing = peer.missing()
    if missing:
        raise MissingDependencyError(
            f"{peer.name} needs {', '.join(missing)}, not installed here",
            fix=extra_fix(peer.extra),
        )
    if peer.model:
        from ecovision_edge_bench.subjects._making import make_model

        made = make_model(bench, peer.model)
        source, how = str(made.path.resolve()), made.how
    else:
        from ecovision_edge_bench.subjects.torch_eager import checkpoint_of

        source, how = checkpoint_of(peer.name, bench.weights)
    return Spec(
        kind=peer.kind,
        name=peer.name,
        precision=peer.precision,
        source=source,
        contract=bench.contract.dumps(),
        threads=threads,
        spinning=spinning,
        made=how,
    )
