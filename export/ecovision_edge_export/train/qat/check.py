"""Whether the module that was trained is the int8 model that is exported: layer by layer.

Each quantized tensor is compared in integers. The module goes on from the model's own integers then, so that
a layer is judged by itself and not by those before it: fp32 sums come out in another order, and a value that
falls on a half may be a step apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch

from ecovision_edge.errors import ExportError
from ecovision_edge_export.int8.sessions import NetworkInput, giving_out, onnx_session
from ecovision_edge_export.train.qat.fake import GraphModule

__all__ = ["LEAST_EQUAL", "MOST_STEPS", "LayerMatch", "compare_layers", "require_match"]

MOST_STEPS = 1
LEAST_EQUAL = 0.99
"""Of all integers together: of one tensor a whole channel may be constant, and that constant near a half."""

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class LayerMatch:
    """A quantized tensor: how many integers were compared, how many are equal, how far off one is at most."""

    tensor: str
    integers: int
    equal: int
    most_steps: int


def compare_layers(
    module: GraphModule, model: onnx.ModelProto, inputs: Sequence[NetworkInput]
) -> tuple[LayerMatch, ...]:
    """Compare each tensor that QuantizeLinear makes, in graph order.

    Args:
        module: Of the graph `model`, or of its twin with exact sums.
        model: QDQ with uint8 activations, as onnxruntime is to run it, with all of its optimizations.
        inputs: Network inputs, at least one.
    """
    names = [n.output[0] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    session = onnx_session(giving_out(model, names, onnx.TensorProto.UINT8))
    entry = session.get_inputs()[0].name
    found = {name: [0, 0, 0] for name in names}
    for x in inputs:
        integers = dict(zip(names, session.run(names, {entry: x}), strict=True))
        with torch.inference_mode():
            module(torch.from_numpy(x), _comparing(integers, found))
    return tuple(LayerMatch(name, *found[name]) for name in names)


def require_match(rows: Sequence[LayerMatch]) -> None:
    """Check that module and model are the same network.

    Raises:
        ExportError: a tensor is more than a step apart, or too much of all of them is one.
    """
    far = [r for r in rows if r.most_steps > MOST_STEPS]
    integers, equal = sum(r.integers for r in rows), sum(r.equal for r in rows)
    if far or equal < LEAST_EQUAL * integers:
        worst = max(far, key=lambda r: r.most_steps) if far else min(rows, key=lambda r: r.equal / r.integers)
        raise ExportError(
            "the int8 graph is not what was trained",
            expected=f"all integers within {MOST_STEPS} step, {LEAST_EQUAL:.0%} of them equal",
            found=f"{100 * equal / integers:.2f} % equal; {worst.tensor}: {worst.equal} of {worst.integers} "
            f"equal, {worst.most_steps} steps at most",
            fix="report this checkpoint",
        )


def _comparing(
    integers: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]], found: dict[str, list[int]]
) -> Callable[[str, Tensor, float, int], Tensor]:
    def compare(name: str, values: Tensor, scale: float, zero: int) -> Tensor:
        theirs = torch.from_numpy(integers[name].astype(np.int32)) - zero
        ours = torch.round(values / scale).to(torch.int32)
        apart = (ours - theirs).abs()
        row = found[name]
        row[0] += apart.numel()
        row[1] += int((apart == 0).sum())
        row[2] = max(row[2], int(apart.max()))
        return theirs.to(values.dtype) * scale

    return compare
