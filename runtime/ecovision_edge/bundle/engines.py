"""Which engine runs which format, and whether it is installed; nothing here loads one."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

from ecovision_edge.bundle.manifest import Format

__all__ = ["ENGINES", "Engine", "is_installed", "preferred_formats"]


class Engine(NamedTuple):
    """The package of an engine, the module that it is imported as, and the extra that brings it.

    Without an extra the package is installed by its own name.
    """

    package: str
    module: str
    extra: str | None = None
    note: str = ""

    @property
    def fix(self) -> str:
        """What to do where it is missing."""
        from ecovision_edge.base.installation import extra_fix, pip_fix

        return (pip_fix(self.package) if self.extra is None else extra_fix(self.extra)) + self.note


ENGINES: dict[Format, Engine] = {
    "onnx": Engine(
        "onnxruntime", "onnxruntime", note=" (on a Jetson: the onnxruntime-gpu wheel of its JetPack)"
    ),
    "tflite": Engine("ai-edge-litert", "ai_edge_litert", "litert"),
}
"""The engine of each format."""


def is_installed(format: Format) -> bool:
    """Return whether the engine of `format` is there, without loading it; it may still be broken."""
    try:
        return importlib.util.find_spec(ENGINES[format].module) is not None
    except (ImportError, ValueError):  # ValueError: loaded in a way that the import system does not know
        return False


def preferred_formats() -> tuple[Format, ...]:
    """Return formats in the order of preference on this device: ONNX, unless only LiteRT is installed."""
    if is_installed("tflite") and not is_installed("onnx"):
        return ("tflite", "onnx")
    return ("onnx", "tflite")
