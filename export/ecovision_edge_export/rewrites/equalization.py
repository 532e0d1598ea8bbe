"""Channels of a tensor brought to one width, so that one scale serves them all.

A quantized tensor has one scale for all its channels: a channel a tenth as wide as the widest has a tenth of
its levels. Cross-layer equalization (Nagel et al. 2019, https://arxiv.org/abs/1906.04721, section 4.1).

Rule, exact in fp32 up to rounding:

1. A channel divided by s > 0 where it is made can be multiplied by s where it is used: a convolution that
   makes it has that row of its weights and its bias divided, one that uses it has that column multiplied.
2. Relu, means, additions of two such tensors and products with a gate let s through; so all tensors that
   these connect share one s per channel: a *space* (a residual stream, or what a depthwise one reads).
3. A space that anything else makes or uses, HardSwish above all, is left as it is. So is one that a graph's
   output belongs to.
4. Depthwise convolutions have one scale per channel already, so what only they use is made all equally wide.
   What an ordinary convolution uses costs resolution of its weights: of five exponents of the width the one
   is taken whose noise, of activations and weights as rounding makes it, is least.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from ecovision_edge_export.graph.graphs import Graph, attribute, depthwise_channels

__all__ = ["ChannelStatistics", "channel_scales", "equalize", "scales_of_tensors"]

EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
LEAST = 1 / 64
"""Least scale of a channel, of the widest one's: a dead channel must not get weights that overflow."""

_PASSES = ("Relu", "ReduceMean", "GlobalAveragePool")

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """Minimum, maximum and mean square of a tensor over photographs, each `(channels,)`."""

    low: Values
    high: Values
    square: Values

    @property
    def width(self) -> Values:
        """The width of each channel's range with zero in it."""
        result: Values = np.maximum(self.high, 0) - np.minimum(self.low, 0)
        return result


@dataclass(frozen=True, slots=True)
class _Space:
    """Tensors that share their channels' scales, and the convolutions that make and use them."""

    tensors: list[str]
    makers: list[onnx.NodeProto]
    users: list[onnx.NodeProto]


def channel_scales(g: Graph, statistics: Mapping[str, ChannelStatistics]) -> dict[str, tuple[float, ...]]:
    """Return the scale of each channel, 1/64 to 1, by the name of its space's first tensor.

    Args:
        g: fp32.
        statistics: Of its tensors.
    """
    result = {}
    for name, space in _spaces(g).items():
        # What goes into a Relu alone is not quantized: the Relu's output is.
        known = [t for t in space.tensors if t in statistics and [u.op_type for u in g.users[t]] != ["Relu"]]
        widths = [statistics[t].width for t in known if g.maker[t].op_type not in _PASSES[1:]]
        if not widths or not all(w.max() > 0 for w in widths):
            continue
        relative = np.maximum.reduce([w / w.max() for w in widths])
        scales = _best(g, space, statistics, relative)
        result[name] = tuple(float(f"{s:.4g}") for s in scales)
    return result


def equalize(g: Graph, scales: Mapping[str, tuple[float, ...]]) -> None:
    """Apply the rule of this module, by the scales that `channel_scales` found.

    Raises:
        KeyError: a name that is no space of this graph.
    """
    spaces = _spaces(g)
    for name, values in scales.items():
        s = np.array(values, np.float64)
        space = spaces[name]
        for node in space.makers:
            for place in (1, 2):
                if place < len(node.input) and node.input[place]:
                    constant = g.own(node, place)
                    array = g.array(constant).astype(np.float64)
                    g.put(constant, array / s.reshape(-1, *[1] * (array.ndim - 1)))
        for node in space.users:
            constant = g.own(node, 1)
            shape = (-1, 1, 1, 1) if depthwise_channels(g, node) else (1, -1, 1, 1)
            g.put(constant, g.array(constant).astype(np.float64) * s.reshape(shape))


def scales_of_tensors(g: Graph, scales: Mapping[str, tuple[float, ...]]) -> dict[str, Values]:
    """Return the scales of each tensor that `equalize` divides by them."""
    spaces = _spaces(g)
    return {t: np.array(values, np.float64) for name, values in scales.items() for t in spaces[name].tensors}


def _best(g: Graph, space: _Space, statistics: Mapping[str, ChannelStatistics], relative: Values) -> Values:
    """Scales by the exponent that makes the least noise."""
    users = [n for n in space.users if depthwise_channels(g, n) is None and n.input[0] in statistics]
    if not users:
        return _bounded(relative)
    shares = np.zeros_like(relative)
    for node in users:
        weights = _matrix(g, node)
        rows = np.maximum(np.abs(weights).max(axis=(1, 2), keepdims=True), 1e-30)
        shares = np.maximum(shares, (np.abs(weights) / rows).max(axis=(0, 2)))
    shares = np.maximum(shares, 1e-6)
    candidates = [_bounded(relative**e * shares ** (e - 1 if e else 0.0)) for e in EXPONENTS]
    noises = [sum(_noise(g, n, statistics[n.input[0]], s) for n in users) for s in candidates]
    return candidates[int(np.argmin(noises))]


def _noise(g: Graph, node: onnx.NodeProto, of: ChannelStatistics, scales: Values) -> float:
    """Power of the rounding noise in the convolution's output, of its signal's."""
    weights = _matrix(g, node)
    energy = (weights**2).sum(axis=(0, 2))
    step = float((of.width / scales).max()) / 255
    steps = np.abs(weights * scales[None, :, None]).max(axis=(1, 2)) / 127
    rounding: float = step**2 * float((energy * scales**2).sum())
    rounding += float((steps**2).sum()) * float((of.square / scales**2).sum()) * weights.shape[2]
    return float(rounding / 12) / max(float((energy * of.square).sum()), 1e-30)


def _bounded(scales: Values) -> Values:
    # A dead channel is as good as any: it stays with the widest.
    scales = np.where(scales > 0, scales, scales.max())
    result: Values = np.maximum(scales / scales.max(), LEAST)
    return result


def _matrix(g: Graph, node: onnx.NodeProto) -> Values:
    array = g.array(node.input[1]).astype(np.float64)
    return array.reshape(array.shape[0], array.shape[1], -1)


def _spaces(g: Graph) -> dict[str, _Space]:
    """Return the spaces that the rule allows, by their first tensor, in graph order."""
    sets, fixed = _Sets(), set(g.outputs)
    for node in g.model.graph.node:
        joined, kept = _scaling(g, node)
        fixed.update(kept)
        for name in joined:
            sets.join(name, node.output[0])
    barred = {sets.root(name) for name in fixed}
    members: dict[str, list[str]] = {}
    for name in [o for n in g.model.graph.node for o in n.output]:
        members.setdefault(sets.root(name), []).append(name)
    spaces = [_space(g, tensors) for root, tensors in members.items() if root not in barred]
    return {s.tensors[0]: s for s in spaces if s.makers and s.users}


class _Sets:
    """Disjoint sets of names: each leads to its set's root."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        while self._parent.get(name, name) != name:
            name = self._parent[name]
        return name

    def join(self, name: str, other: str) -> None:
        self._parent[self.root(name)] = self.root(other)


def _scaling(g: Graph, node: onnx.NodeProto) -> tuple[list[str], list[str]]:
    """Find the inputs of a node that share their scales with its output; and its fixed tensors."""
    data = g.data(node)
    from_outside = [i for i in data if i not in g.maker]
    if node.op_type in _PASSES or (node.op_type == "Add" and len(data) == len(node.input)):
        return data, from_outside
    gate = _gate(g, node, data)
    if gate is not None:
        return [i for i in data if i != gate], [gate, *from_outside]
    if node.op_type == "Conv" and _is_ours(g, node):
        return [], from_outside
    return [], [*data, *node.output]


def _gate(g: Graph, node: onnx.NodeProto, data: list[str]) -> str | None:
    """Return the input of a product of two tensors that a HardSigmoid made."""
    if node.op_type != "Mul" or len(set(data)) != 2:
        return None
    return next((i for i in data if i in g.maker and g.maker[i].op_type == "HardSigmoid"), None)


def _space(g: Graph, tensors: list[str]) -> _Space:
    makers = [g.maker[t] for t in tensors if g.maker[t].op_type == "Conv"]
    inside = set(tensors)
    users = [n for n in g.model.graph.node if n.op_type == "Conv" and n.input[0] in inside]
    return _Space(tensors, makers, users)


def _is_ours(g: Graph, node: onnx.NodeProto) -> bool:
    """Tell whether all inputs but the first are constant, and it is a plain or depthwise convolution."""
    ordinary = attribute(node, "group", 1) == 1
    return g.data(node) == [node.input[0]] and (ordinary or depthwise_channels(g, node) is not None)
