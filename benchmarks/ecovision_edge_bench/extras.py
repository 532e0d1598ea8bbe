"""The optional libraries of measuring, which come with the extra `bench`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["require"]


def require(module: str, extra: str = "bench", minimum: str | None = None) -> ModuleType:
    """Import an optional library, as `ecovision_edge_export.extras.require` does.

    Raises:
        MissingDependencyError: not installed, older than `minimum`, or installed but broken.
    """
    from ecovision_edge_export import extras  # imports nothing of the exporter's own libraries

    return extras.require(module, extra, minimum)
