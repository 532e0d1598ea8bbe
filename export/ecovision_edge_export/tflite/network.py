"""An ONNX graph of this exporter as a PyTorch module, for litert-torch to convert.

So the TFLite model comes from the very graph that the ONNX model comes from, with the same rewrites. Tensors
have their channels last throughout, as TFLite has them; the converter then needs no transposition at all.
(Left to itself it laid some excitations out with channels first, with 17 transpositions and reshapes.)

Rule, exact in fp32 up to rounding:

1. The module takes the contract's input in float32: pixels from 0 to 255, channels last, or the classic
   normalized planes, which are turned.
2. The means of folded preprocessing are not subtracted. The convolution that reads them has the means' share
   in its bias, and its border, which must stand for the mean, is pixels of that mean around the picture. So
   nothing is computed on the input, and in int8 a pixel is its own integer.
3. Every other node becomes the PyTorch function of that name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everyone knows
from onnx import helper, numpy_helper

from ecovision_edge.errors import ExportError
from ecovision_edge_export.graph.functions import FIRST_INPUT_ALONE, functions_of

__all__ = ["Network"]

Tensor = torch.Tensor


class Network(torch.nn.Module):
    """The graph `model` with batch 1; its tensors have channels last.

    Args:
        model: As `prepare_graph` and the rewrites make it.
        height: Rows of the input.
        width: Columns of the input.

    Raises:
        ExportError: a node that no rule here understands.
    """

    def __init__(self, model: onnx.ModelProto, height: int, width: int) -> None:
        super().__init__()
        self._output = model.graph.output[0].name
        self._input = model.graph.input[0].name
        self._planes = not any(n.op_type == "Cast" for n in model.graph.node)
        self._names: dict[str, str] = {}
        for constant in model.graph.initializer:
            values = numpy_helper.to_array(constant)
            if values.dtype == np.float32:
                self._keep(constant.name, values)
        self._steps: list[Callable[[dict[str, Tensor]], None]] = []
        self._means: dict[str, Tensor] = {}
        self._size = (height, width)
        for node in model.graph.node:
            self._steps.append(self._step(node))

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(1, classes)` of pixels `(1, height, width, 3)`, or of planes `(1, 3, height, width)`."""
        values = {self._input: x.permute(0, 2, 3, 1) if self._planes else x}
        for step in self._steps:
            step(values)
        return values[self._output]

    def _keep(self, name: str, values: np.ndarray[Any, Any]) -> Tensor:
        """Return a constant, which the converter finds as a buffer of the module."""
        attribute = f"c{len(self._names)}"
        self._names[name] = attribute
        tensor = torch.from_numpy(np.array(values, np.float32))
        self.register_buffer(attribute, tensor)
        return tensor

    def _value(self, values: dict[str, Tensor], name: str) -> Tensor:
        found = values.get(name)
        constant: Tensor = getattr(self, self._names[name]) if found is None else found
        return constant

    def _step(self, node: onnx.NodeProto) -> Callable[[dict[str, Tensor]], None]:
        """Return what computes the outputs of `node` from the values so far."""
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        inputs, output, kind = list(node.input), node.output[0], node.op_type
        if kind in ("Transpose", "Cast") and inputs[0] not in self._names:
            return lambda v: v.update({output: v[inputs[0]]})
        if kind == "Sub" and inputs[1] in self._names:
            self._means[output] = getattr(self, self._names[inputs[1]]).reshape(-1)
            return lambda v: v.update({output: v[inputs[0]]})
        if kind == "Conv":
            return self._convolution(node, attributes)
        if kind == "Gemm" and attributes.get("transB", 0) == 1 and attributes.get("alpha", 1.0) == 1.0:
            return lambda v: v.update(
                {output: F.linear(v[inputs[0]], *(self._value(v, i) for i in inputs[1:]))}
            )
        function = _FUNCTIONS.get(kind)
        if function is None:
            raise ExportError(
                f"cannot convert node {node.name}",
                expected=f"one of {', '.join([*_FUNCTIONS, 'Conv', 'Gemm'])}",
                found=kind,
                fix="choose --formats onnx, and report this checkpoint",
            )
        given = inputs[:1] if kind in FIRST_INPUT_ALONE else inputs
        return lambda v: v.update({output: function(*(self._value(v, i) for i in given))})

    def _convolution(
        self, node: onnx.NodeProto, attributes: dict[str, Any]
    ) -> Callable[[dict[str, Tensor]], None]:
        x, weight, *biases = node.input
        output = node.output[0]
        stride = tuple(attributes.get("strides", (1, 1)))
        top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
        if (top, left) != (bottom, right):
            raise ExportError(
                f"cannot convert {node.name}", expected="the same border all around", found=attributes["pads"]
            )
        groups = attributes.get("group", 1)
        border = self._border(x, getattr(self, self._names[weight]), (top, left), stride)
        padding = (top, left)
        if border is not None:
            padding = (0, 0)
            kernel = getattr(self, self._names[weight]).double()
            shifted = -(kernel * self._means[x].double()[:, None, None]).sum((1, 2, 3))
            for name in biases:
                shifted += getattr(self, self._names[name]).double()
            biases = [f"{output} less the means"]
            self._keep(biases[0], shifted.float().numpy())

        def run(values: dict[str, Tensor]) -> None:
            picture = values[x]
            for axis, name, before in border or ():
                strip = self._value(values, name)
                picture = torch.cat([strip, picture] if before else [picture, strip], axis)
            planes = F.conv2d(
                picture.permute(0, 3, 1, 2),
                self._value(values, weight),
                self._value(values, biases[0]) if biases else None,
                stride=stride,
                padding=padding,
                groups=groups,
            )
            values[output] = planes.permute(0, 2, 3, 1)

        return run

    def _border(
        self, x: str, weights: Tensor, padding: tuple[int, int], stride: tuple[int, ...]
    ) -> list[tuple[int, str, bool]] | None:
        """Strips of mean pixels around the picture, rows first: axis, name, whether it comes before."""
        if x not in self._means:
            return None
        sides = list(self._size)
        strips = []
        for axis in (0, 1):
            size, kernel, pad, step = sides[axis], weights.shape[2 + axis], padding[axis], stride[axis]
            outputs = (size + 2 * pad - kernel) // step + 1
            after = max(0, (outputs - 1) * step + kernel - size - pad)
            for count, before in ((pad, True), (after, False)):
                if count:
                    shape = [1, *sides, 3]
                    shape[1 + axis] = count
                    name = f"border {axis} {before}"
                    self._keep(name, np.broadcast_to(self._means[x].numpy(), shape))
                    strips.append((1 + axis, name, before))
            sides[axis] += pad + after
        return strips


_FUNCTIONS = functions_of((1, 2))
