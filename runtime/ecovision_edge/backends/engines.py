"""The one door through which an engine is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ecovision_edge.backends import Backend, BackendOptions
from ecovision_edge.backends.survival import refuse_deadly
from ecovision_edge.bundle.manifest import Format

if TYPE_CHECKING:
    from ecovision_edge.backends.session_cache import SessionCache

__all__ = ["open_model"]


def open_model(
    model: bytes | Callable[[], bytes],
    format: Format,
    options: BackendOptions | None = None,
    *,
    cache: SessionCache | None = None,
) -> Backend:
    """Load the engine of `format`, and the model in it.

    Args:
        model: Its bytes, or what gives them: it is not asked where the cache has the graph.
        format: Of them.
        options: How the engine runs.
        cache: What was kept of earlier loads; of ONNX models alone.

    Raises:
        MissingDependencyError: the engine is not installed; the message has the pip line.
        DeadlyEngineError: it is, and would end this process on this CPU (`survival`).
        ContractError, ModelError, OptionError: as `OnnxBackend` and `LiteRtBackend`.
    """
    refuse_deadly(format)
    # An engine is loaded with its module: only when it is wanted.
    if format == "tflite":
        from ecovision_edge.backends.litert import LiteRtBackend

        return LiteRtBackend(model() if callable(model) else model, options)
    from ecovision_edge.backends.onnx import OnnxBackend

    return OnnxBackend(model, options, cache=cache)
