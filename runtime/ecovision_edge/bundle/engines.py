"""Which engine runs which format, and whether it is installed; nothing here loads one."""

from __future__ import annotations

import contextlib
import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

from ecovision_edge.bundle.manifest import Format

__all__ = ["ENGINES", "Engine", "installed_versions", "is_installed", "preferred_formats", "written_version"]


class Engine(NamedTuple):
    """The package of an engine, the module that it is imported as, and the extra that brings it.

    Without an extra the package is installed by its own name. `builds` are packages that bring the same
    module; a board has one of them.
    """

    package: str
    module: str
    extra: str | None = None
    note: str = ""
    builds: tuple[str, ...] = ()

    @property
    def fix(self) -> str:
        """What to do where it is missing."""
        from ecovision_edge.base.installation import extra_fix, pip_fix

        return (pip_fix(self.package) if self.extra is None else extra_fix(self.extra)) + self.note


ENGINES: dict[Format, Engine] = {
    "onnx": Engine(
        "onnxruntime",
        "onnxruntime",
        note=" (on a Jetson: the onnxruntime-gpu wheel of its JetPack)",
        builds=("onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-qnn"),
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


def installed_versions(format: Format) -> dict[str, str]:
    """Return the version of each package that brings the engine of `format`, as its metadata says.

    Nothing is imported. Where there is no metadata, as of a build by hand, its first file is read; empty
    where that does not say either.
    """
    import importlib.metadata  # here, since not every start needs it

    engine = ENGINES[format]
    found = {}
    for name in (engine.package, *engine.builds):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    if not found and (version := written_version(format)) is not None:
        found[engine.package] = version
    return found


def written_version(format: Format) -> str | None:
    """Return `__version__` as it stands in the first file of the engine's module; None if it does not.

    Reading that takes a tenth of the time of the metadata.
    """
    try:
        spec = importlib.util.find_spec(ENGINES[format].module)
        text = Path(spec.origin).read_text("utf-8", "replace") if spec and spec.origin else ""
    except (ImportError, ValueError, OSError):
        return None
    match = re.search(r"""^__version__ = ["']([\w.+-]+)["']""", text, re.MULTILINE)
    return match[1] if match else None


def preferred_formats() -> tuple[Format, ...]:
    """Return formats in the order of preference on this device: ONNX, unless only LiteRT is installed."""
    if is_installed("tflite") and not is_installed("onnx"):
        return ("tflite", "onnx")
    return ("onnx", "tflite")
