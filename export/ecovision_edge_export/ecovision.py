"""The published EcoVision model and the reference weights in this package: labels and file."""

from __future__ import annotations

from pathlib import Path

__all__ = ["LABELS", "REFERENCE_WEIGHTS"]

REFERENCE_WEIGHTS = Path(__file__).parent / "models" / "reference.safetensors"
"""The file that `load_checkpoint("reference")` reads."""

LABELS = (
    "battery",
    "biological",
    "cardboard",
    "clothes",
    "glass",
    "metal",
    "paper",
    "plastic",
    "shoes",
    "trash",
)
"""Labels of the reference weights and of the published EcoVision model, in the order of the output."""
