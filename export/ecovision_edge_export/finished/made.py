"""A finished model file and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ecovision_edge.backends import Backend, BackendOptions
from ecovision_edge.backends.engines import open_model
from ecovision_edge.base.fields import JsonValue
from ecovision_edge.bundle.manifest import Format, Precision
from ecovision_edge.bundle.targets import Target
from ecovision_edge_export.graph.trace import OPSET

__all__ = ["Made"]


@dataclass(frozen=True, slots=True)
class Made:
    """A finished model file.

    Args:
        precision: Of its weights and sums.
        format: Of the file.
        data: What ships.
        recipe: How int8 was made.
        judged: What the parity gate and the golden vectors run, where that is not `data`: see `exact`.
        targets: Kinds of CPU that it is for, if others have a model of their own; empty: it is for all.
    """

    precision: Precision
    format: Format
    data: bytes
    recipe: Mapping[str, JsonValue] = field(default_factory=dict)
    judged: bytes | None = None
    targets: tuple[Target, ...] = ()

    @property
    def name(self) -> str:
        """The name in the manifest."""
        return f"{self.precision}-{self.format}{''.join(f'@{t}' for t in self.targets[:1])}"

    @property
    def file(self) -> str:
        """Its name in the bundle."""
        return f"model.{self.precision}{''.join(f'.{t}' for t in self.targets[:1])}.{self.format}"

    @property
    def opset(self) -> int | None:
        """The version of ONNX's operators."""
        return OPSET if self.format == "onnx" else None

    def backend(self) -> Backend:
        """Open the engine with what is judged, on one thread: results must not depend on split sums."""
        data = self.data if self.judged is None else self.judged
        return open_model(data, self.format, BackendOptions(threads=1))
