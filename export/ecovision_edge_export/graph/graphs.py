"""Finding one's way in an ONNX graph: who makes a tensor, who uses it, what is constant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

__all__ = ["Graph", "attribute", "depthwise_channels", "hard_sigmoid", "is_spatial_mean"]

Array = npt.NDArray[np.float32]


class Graph:
    """An index over the graph of `model`, which its methods change in place, and keep the index right.

    A rewrite takes one and changes it, so that a chain of them shares one model and one index. Where `model`
    has to stay as it is, start from `copy_of`.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.index()

    @classmethod
    def copy_of(cls, model: onnx.ModelProto) -> Graph:
        """Index a copy of `model`."""
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return cls(copy)

    def index(self) -> None:
        """Read the graph again, after a change that no method here made."""
        graph = self.model.graph
        self.constants = {i.name: i for i in graph.initializer}
        self.maker = {o: n for n in graph.node for o in n.output}
        self.users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self.users[name].append(node)
        self.outputs = {o.name for o in graph.output}

    def data(self, node: onnx.NodeProto) -> list[str]:
        """Return its inputs that are no constants."""
        return [i for i in node.input if i and i not in self.constants]

    def array(self, name: str) -> Array:
        """Return a constant's values."""
        values: Array = numpy_helper.to_array(self.constants[name])
        return values

    def put(self, name: str, values: npt.NDArray[np.generic]) -> None:
        """Set a constant, new or old; floats become float32."""
        if values.dtype == np.float64:
            values = values.astype(np.float32)
        tensor = numpy_helper.from_array(np.asarray(values, order="C"), name)
        if name in self.constants:
            self.constants[name].CopyFrom(tensor)
        else:
            self.model.graph.initializer.append(tensor)
            self.constants[name] = self.model.graph.initializer[-1]

    def own(self, node: onnx.NodeProto, place: int) -> str:
        """Name a constant input of `node` that nobody else uses: its own, or a copy made now."""
        name: str = node.input[place]
        sharers = sum(list(n.input).count(name) for n in self.users[name])
        if sharers == 1:
            return name
        copy = f"{node.name}.{place}"
        self.put(copy, self.array(name))
        node.input[place] = copy
        self.users[name] = [n for n in self.users[name] if name in n.input]
        self.users[copy] = [node]
        return copy

    def set_nodes(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Give the graph these nodes, in topological order, in place of its own."""
        nodes = list(nodes)
        del self.model.graph.node[:]
        self.model.graph.node.extend(nodes)
        self.index()

    def drop_unused(self) -> None:
        """Take out nodes and constants that nothing uses; nodes are in topological order, as ONNX demands."""
        graph = self.model.graph
        used = set(self.outputs)
        for i in reversed(range(len(graph.node))):
            if used.isdisjoint(graph.node[i].output):
                del graph.node[i]
            else:
                used.update(graph.node[i].input)
        for i in reversed(range(len(graph.initializer))):
            if graph.initializer[i].name not in used:
                del graph.initializer[i]
        self.index()


def is_spatial_mean(g: Graph, node: onnx.NodeProto) -> bool:
    """Return whether this is a ReduceMean over height and width of NCHW that keeps the dimensions."""
    if node.op_type != "ReduceMean" or attribute(node, "keepdims", 1) != 1:
        return False
    if len(node.input) < 2 or node.input[1] not in g.constants:
        return False
    return sorted(g.array(node.input[1]).tolist()) in ([2, 3], [-2, -1])


def depthwise_channels(g: Graph, node: onnx.NodeProto) -> int | None:
    """Count the channels of a depthwise convolution of constant weights; None for any other node."""
    if node.op_type != "Conv" or node.input[1] not in g.constants:
        return None
    shape = g.constants[node.input[1]].dims
    group = attribute(node, "group", 1)
    return int(shape[0]) if group == shape[0] and shape[0] > 1 and shape[1] == 1 else None


def hard_sigmoid(node: onnx.NodeProto) -> tuple[float, float]:
    """Slope and offset of a HardSigmoid; those of ONNX where it names none."""
    alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
    assert isinstance(alpha, float)
    assert isinstance(beta, float)
    return alpha, beta


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """Return the value of a node's attribute."""
    for a in node.attribute:
        if a.name == name:
            return onnx.helper.get_attribute_value(a)
    return default
