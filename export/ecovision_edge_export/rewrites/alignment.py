"""Depthwise convolutions with a number of channels that int8 kernels like.

onnxruntime's int8 depthwise kernel works on blocks of 16 channels, and falls back to a slow tail where the
number of channels is no multiple of it (72, 120, 184 and 200 in MobileNetV3-Large).

Rule, exact in fp32:

1. The channels between the convolution that expands and the one that projects are padded to a multiple.
2. A new channel of the expanding convolution has weights and bias 0, so its value is 0; so it stays through
   Relu, HardSwish, its spelled-out form, and the depthwise convolution, whose new weights and biases are 0 as
   well. 3. In a squeeze-and-excitation branch the first convolution ignores it (weights 0), the second makes
   whatever it makes for it (weights and bias 0), which is then multiplied by 0. 4. The projecting convolution
   ignores it (weights 0). 5. Where anything else is met on the way, the depthwise convolution is left as it
   is.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx

from ecovision_edge_export.graph.graphs import Graph, attribute, depthwise_channels, is_spatial_mean

__all__ = ["ALIGNMENT", "align_channels"]

ALIGNMENT = 16

_ELEMENTWISE = ("Relu", "HardSwish", "HardSigmoid", "Clip", "Add", "Mul", "ReduceMean", "GlobalAveragePool")


def align_channels(g: Graph, keep: Collection[str] = (), multiple: int = ALIGNMENT) -> None:
    """Apply the rule of this module to each depthwise convolution.

    Args:
        g: fp32.
        keep: Names of depthwise convolutions that stay as they are: those that stay fp32.
        multiple: Of channels.
    """
    for node in g.model.graph.node:
        channels = depthwise_channels(g, node)
        if channels is None or node.name in keep or channels % multiple == 0:
            continue
        region = _region(g, node, channels)
        if region is not None:
            _pad(g, region, -channels % multiple)
    del g.model.graph.value_info[:]  # shapes of before


Region = tuple[list[tuple[onnx.NodeProto, bool, bool]], int]
"""Convolutions, with whether their outputs and whether their inputs are padded; and how many channels."""


def _region(g: Graph, depthwise: onnx.NodeProto, channels: int) -> Region | None:
    """Return all convolutions that touch the depthwise one's channels; None where something else does."""
    convolutions: dict[str, tuple[onnx.NodeProto, bool, bool]] = {depthwise.name: (depthwise, True, True)}
    seen: set[str] = set()
    tensors = [depthwise.input[0], depthwise.output[0]]
    while tensors:
        name = tensors.pop()
        if name in seen:
            continue
        seen.add(name)
        maker = g.maker.get(name)
        if name in g.outputs or maker is None:
            return None
        for node, as_output in [(maker, True), *((u, False) for u in g.users[name])]:
            if node.op_type == "Conv":
                if not _note(g, convolutions, node, as_output=as_output):
                    return None
            elif node.op_type in _ELEMENTWISE and _keeps_channels(g, node):
                tensors += [*g.data(node), *node.output]
            else:
                return None
    return [*convolutions.values()], channels


def _note(
    g: Graph, found: dict[str, tuple[onnx.NodeProto, bool, bool]], node: onnx.NodeProto, *, as_output: bool
) -> bool:
    """Note a convolution of the region; False where it cannot be padded."""
    if node.name in found and depthwise_channels(g, node) is not None:
        return True
    if node.input[1] not in g.constants or attribute(node, "group", 1) != 1:
        return False
    if len(node.input) > 2 and node.input[2] and node.input[2] not in g.constants:
        return False
    _, outputs, inputs = found.get(node.name, (node, False, False))
    found[node.name] = (node, outputs or as_output, inputs or not as_output)
    return True


def _keeps_channels(g: Graph, node: onnx.NodeProto) -> bool:
    """Return whether channels stay apart: constants have to be scalars, means those of height and width."""
    if node.op_type == "ReduceMean":
        return is_spatial_mean(g, node)
    return all(int(np.prod(g.constants[i].dims)) == 1 for i in node.input if i in g.constants)


def _pad(g: Graph, region: Region, extra: int) -> None:
    for node, outputs, inputs in region[0]:
        depthwise = depthwise_channels(g, node) is not None
        weight = g.own(node, 1)
        values = g.array(weight)
        widths = [(0, extra if outputs else 0), (0, extra if inputs and not depthwise else 0)]
        g.put(weight, np.pad(values, [*widths, *[(0, 0)] * (values.ndim - 2)]))
        if outputs and len(node.input) > 2 and node.input[2]:
            bias = g.own(node, 2)
            g.put(bias, np.pad(g.array(bias), (0, extra)))
        if depthwise:
            for a in node.attribute:
                if a.name == "group":
                    a.i += extra
