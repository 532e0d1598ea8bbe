"""What an export takes for granted where neither the checkpoint nor an option says it."""

from __future__ import annotations

from collections.abc import Iterator

from ecovision_edge_export.options import ExportOptions
from ecovision_edge_export.weights.checkpoint import Checkpoint
from ecovision_edge_export.weights.preprocessing import Preprocessing

__all__ = ["assumptions"]


def assumptions(options: ExportOptions, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return each with the option that would say it; empty where everything is said.

    Parity cannot find a wrong one: PyTorch is prepared in the same way. Only labelled photographs can.
    """
    return tuple(_assumed(options, checkpoint))


def _assumed(options: ExportOptions, checkpoint: Checkpoint) -> Iterator[str]:
    default = Preprocessing()
    given = (options.size, options.resize, options.mean, options.std)
    fields = dict(zip(("size", "resize", "mean", "std"), given, strict=True))
    unsaid = {field for field in checkpoint.unsaid if fields[field] is None}
    if "size" in unsaid:
        yield f"input {default.size[0]}x{default.size[1]} (--imgsz)"
    if "resize" in unsaid:
        yield f"resize {default.resize} (--resize; torchvision's recipes have shortest:256)"
    if "mean" in unsaid:
        yield f"RGB, mean {_triple(default.mean)} (--mean)"
    if "std" in unsaid:
        yield f"std {_triple(default.std)} (--std)"
    if checkpoint.labels is None and options.labels is not None:
        yield "labels in the order of --labels"


def _triple(values: tuple[float, float, float]) -> str:
    return ",".join(f"{value:g}" for value in values)
