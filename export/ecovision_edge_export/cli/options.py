"""What both commands have: options that mean the same, and the libraries that they need."""

from __future__ import annotations

from typing import Annotated

import typer

from ecovision_edge.base.extras import require

__all__ = ["MaximumDrop", "MinimumAgreement", "require_all", "require_litert"]

MinimumAgreement = Annotated[
    float, typer.Option(help="Minimum top-1 agreement of int8 with PyTorch, per cent.")
]
MaximumDrop = Annotated[float, typer.Option(help="Maximum drop of int8 accuracy, in percentage points.")]


def require_all() -> None:
    """Raise MissingDependencyError unless the libraries of the export are installed."""
    for module in ("torch", "torchvision", "onnx", "onnxscript", "onnxsim", "PIL", "safetensors"):
        require(module, "export")


def require_litert() -> None:
    """Raise MissingDependencyError unless those of the export to LiteRT are."""
    from ecovision_edge_export.tflite.convert import EXTRA, quiet

    with quiet():
        for module in ("litert_torch", "ai_edge_quantizer.quantizer", "ai_edge_litert.interpreter"):
            require(module, EXTRA)
