"""The exporter's int8 graph as a PyTorch module whose weights can be trained.

Nothing here decides what is quantized, where, or by which scale: that is read from the very QDQ graph that
the exporter wrote. So module and model cannot drift apart; `check` compares them layer by layer.

Rule:

1. QuantizeLinear gives the values that its integers stand for, rounded and clipped. Its gradient is 1 between
   the ends of the range and 0 beyond them (the straight-through estimator: Bengio et al. 2013,
   https://arxiv.org/abs/1308.3432; Jacob et al. 2018, https://arxiv.org/abs/1712.05877).
2. DequantizeLinear with the same zero point gives them as they are. With another, as hard-swish's addition of
   3 is written (see `rewrites.zero_points`), they are so many steps more or less. A Clip of integers clips
   values.
3. Weights are the fp32 graph's own, rounded in each pass by the rule of the exporter: one scale per row,
   of its greatest magnitude, times its room (see `headroom`), and large enough for its bias. Scales get no
   gradient.
4. A bias is rounded to the product of the scales of input and weights.
5. Every other node is the PyTorch function of that name, in fp32.

A weight is trained as its distance from where it began, in steps of its first scale; a bias in steps of the
tensor that it is added to. One learning rate then means the same in every row, whatever equalization made of
it. What alignment added stays zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everyone knows
from onnx import helper, numpy_helper

from ecovision_edge.errors import ExportError
from ecovision_edge_export.graph.functions import FIRST_INPUT_ALONE, functions_of
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.int8.quantize import MIN_RANGE
from ecovision_edge_export.train.qat.rounding import (
    Quantization,
    rounded,
    rounded_bias,
    rounded_rows,
    rows_scales,
)

__all__ = ["GraphModule", "Hook"]

Tensor = torch.Tensor
Hook = Callable[[str, Tensor, float, int], Tensor]
"""Called with name, values, scale and zero point of each quantized tensor; gives what is to go on with."""

_Values = dict[str, Tensor]
_Step = Callable[[_Values, "Hook | None"], None]


class GraphModule(torch.nn.Module):
    """An ONNX graph of this exporter, fp32 or QDQ, as a module: `(n, ...)` network inputs to logits.

    Args:
        model: As the rewrites or `quantize` make it; batch dynamic.
        twin: Of a QDQ graph the fp32 graph with the weights before they were rounded; else `model` itself.
        room: Of weights by name, how many times as large as need be the scale of each row is.
        ranges: `(low, high)` of the twin's tensors, where they are known: they give the biases their steps.
        factors: As `weights.factors_of` gives them; where one is zero nothing is trained.
        shared: A module of the same constants whose parameters this one computes with, having none itself.

    Its parameters are the changes of the twin's weights and biases, all zero at first.

    Raises:
        ExportError: a node that no rule here understands.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        twin: onnx.ModelProto | None = None,
        room: Mapping[str, Sequence[float]] | None = None,
        ranges: Mapping[str, tuple[float, float]] | None = None,
        factors: Mapping[str, npt.NDArray[np.float64]] | None = None,
        shared: GraphModule | None = None,
    ) -> None:
        super().__init__()
        self._graph = Graph(model)
        self._twin = Graph(twin) if twin is not None else self._graph
        self._room = room or {}
        self._ranges = ranges or {}
        self._factors = factors or {}
        # In a tuple, so that torch does not take its parameters for this module's own.
        self._shared = (shared,) if shared is not None else ()
        self._names: dict[str, str] = {}
        self._output = model.graph.output[0].name
        self._input = model.graph.input[0].name
        self.changes = torch.nn.ParameterDict()
        self._quantized: dict[str, Quantization] = {}
        self._steps: list[_Step] = []
        for node in self._graph.model.graph.node:
            step = self._step(node)
            if step is not None:
                self._steps.append(step)

    def forward(self, x: Tensor, hook: Hook | None = None) -> Tensor:
        """Return logits `(n, classes)` of network inputs of the contract's layout and type."""
        values: _Values = {self._input: x}
        for step in self._steps:
            step(values, hook)
        return values[self._output]

    def constants(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the trained constants as they are now, by the names of the twin's."""
        with torch.no_grad():
            return {name: self._constant(name).cpu().numpy().copy() for name in self._names}

    def _constant(self, name: str) -> Tensor:
        if self._shared:
            return self._shared[0]._constant(name)
        key = self._names[name]
        start: Tensor = getattr(self, f"start_{key}")
        unit: Tensor = getattr(self, f"unit_{key}")
        return torch.addcmul(start, self.changes[key], unit)

    def _train(self, name: str, unit: Tensor) -> None:
        """Make a constant of the twin trainable, in steps of `unit`."""
        if name in self._names:
            raise ExportError(
                "cannot train the graph", expected="weights of one layer each", found=f"{name} in two"
            )
        key = f"{len(self._names)}"
        self._names[name] = key
        if self._shared:
            return
        start = _tensor(self._twin.array(name))
        if name in self._factors:
            unit = unit * _tensor(self._factors[name] != 0)
        # They follow from the checkpoint that training starts from: nothing to save.
        self.register_buffer(f"start_{key}", start, persistent=False)
        self.register_buffer(f"unit_{key}", unit.expand(start.shape).contiguous(), persistent=False)
        self.changes[key] = torch.nn.Parameter(torch.zeros_like(start))

    def _step(self, node: onnx.NodeProto) -> _Step | None:
        """Find what computes the outputs of `node` from the values so far; None if done elsewhere."""
        kind, output = node.op_type, node.output[0]
        if kind == "DequantizeLinear" and node.input[0] in self._graph.constants:
            return None  # its layer does
        if kind == "QuantizeLinear":
            return self._quantize(node)
        if kind == "DequantizeLinear":
            return self._dequantize(node)
        if kind in ("Conv", "Gemm"):
            return self._layer(node)
        if kind == "Clip" and node.input[0] in self._quantized:
            return self._clip(node)
        function = _FUNCTIONS.get(kind)
        if function is None:
            raise ExportError(
                f"cannot train through {node.name}",
                expected=f"one of {', '.join([*_FUNCTIONS, 'Conv', 'Gemm'])}",
                found=kind,
                fix="report this checkpoint",
            )
        given = list(node.input[:1]) if kind in FIRST_INPUT_ALONE else list(node.input)
        constants = [i for i in given if i in self._graph.constants]
        fixed = {name: f"fixed_{len(self._steps)}_{i}" for i, name in enumerate(constants)}
        for name, buffer in fixed.items():
            self.register_buffer(buffer, _tensor(self._graph.array(name)), persistent=False)

        def run(values: _Values, _: Hook | None) -> None:
            values[output] = function(*(getattr(self, fixed[i]) if i in fixed else values[i] for i in given))

        return run

    def _integers(self, node: onnx.NodeProto) -> Quantization:
        scale = float(self._graph.array(node.input[1]))
        zero = numpy_helper.to_array(self._graph.constants[node.input[2]])
        limits = np.iinfo(np.int8 if zero.dtype == np.int8 else np.uint8)
        return Quantization(scale, int(zero), int(limits.min), int(limits.max))

    def _quantize(self, node: onnx.NodeProto) -> _Step:
        x, output = node.input[0], node.output[0]
        q = self._quantized[output] = self._integers(node)

        def run(values: _Values, hook: Hook | None) -> None:
            real = rounded(values[x], q)
            values[output] = real if hook is None else hook(output, real, q.scale, q.zero)

        return run

    def _dequantize(self, node: onnx.NodeProto) -> _Step:
        x, output = node.input[0], node.output[0]
        made, read = self._quantized[x], self._integers(node)
        offset = (made.zero - read.zero) * read.scale
        if made.scale != read.scale:
            raise ExportError(f"cannot train through {node.name}", expected="one scale", found="two")

        def run(values: _Values, _: Hook | None) -> None:
            values[output] = values[x] + offset if offset else values[x]

        return run

    def _clip(self, node: onnx.NodeProto) -> _Step:
        x, output = node.input[0], node.output[0]
        q = self._quantized[output] = self._quantized[x]
        low, high = ((int(self._graph.array(i)) - q.zero) * q.scale for i in node.input[1:3])

        def run(values: _Values, _: Hook | None) -> None:
            values[output] = values[x].clamp(low, high)

        return run

    def _layer(self, node: onnx.NodeProto) -> _Step:
        """Return a convolution or matrix product with its weights."""
        x, weight, *biases = node.input
        reader = self._graph.maker.get(weight)
        live = reader.input[0].removesuffix("_quantized") if reader is not None else weight
        bias = biases[0] if biases else None
        values = _tensor(self._twin.array(live))
        each = reader is None or self._graph.array(reader.input[1]).ndim == 1
        room = torch.tensor(self._room.get(live, (1.0,)), dtype=torch.float64)
        given = self._integers(self._graph.maker[x]).scale if reader is not None else 1.0
        scales = rows_scales(values, None, given, room, each=each)
        self._train(live, scales.reshape(-1, *[1] * (values.ndim - 1)))
        if bias is not None:
            self._train(bias, torch.full((1,), self._bias_step(node)))
        function = self._function(node)
        output = node.output[0]

        def run(known: _Values, _: Hook | None) -> None:
            w = self._constant(live)
            b = self._constant(bias) if bias is not None else None
            if reader is not None:
                with torch.no_grad():
                    s = rows_scales(w, b, given, room.to(w.device), each=each)
                w = rounded_rows(w, s)
                b = None if b is None else rounded_bias(b, s * given)
            known[output] = function(known[x], w, b)

        return run

    def _bias_step(self, node: onnx.NodeProto) -> float:
        """Return a 255th of what the layer makes, or of what its activation does."""
        name = node.output[0].removesuffix("_QuantizeLinear_Input")
        span = self._ranges.get(name)
        readers = [u.output[0] for u in self._twin.users[name]]
        if span is None and readers:
            span = self._ranges.get(readers[0])
        return max(span[1] - span[0], MIN_RANGE) / 255 if span else 1 / 255

    def _function(self, node: onnx.NodeProto) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Gemm":
            if attributes.get("transB", 0) != 1 or attributes.get("alpha", 1.0) != 1.0:
                raise ExportError(
                    f"cannot train {node.name}", expected="a plain matrix product", found=attributes
                )
            return F.linear
        stride = tuple(attributes.get("strides", (1, 1)))
        top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
        groups = int(attributes.get("group", 1))
        if (top, left) != (bottom, right):
            raise ExportError(f"cannot train {node.name}", expected="the same border all around", found="two")
        return lambda x, w, b: F.conv2d(x, w, b, stride, (top, left), 1, groups)


def _tensor(values: npt.NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.array(values))


_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "Transpose": lambda x: x.permute(0, 3, 1, 2),  # preprocessing's, from channels last
    "Cast": lambda x: x.float(),
    "Sub": torch.sub,
    **functions_of((2, 3)),
}
