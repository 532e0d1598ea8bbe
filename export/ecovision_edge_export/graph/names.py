"""Give the traced graph's tensors names that mean something and stay the same.

The exporter numbers its tensors (`getitem_45`), differently in each version. Here each tensor is named after
the module whose weights made it, and the operators since: `features.4.block.1.0/Relu`. So ranges, reports and
bytes do not depend on the exporter's counting.
"""

from __future__ import annotations

import onnx

from ecovision_edge_export.graph.graphs import Graph

__all__ = ["rename_tensors"]


def rename_tensors(g: Graph) -> None:
    """Rename the graph's nodes and tensors; its inputs and outputs keep their names.

    1. A node with a weight `X.weight` makes the tensor `X`; its bias becomes `X.bias`.
    2. Any other node makes `INPUT/OpType`, INPUT being its first input that is no constant.
    3. A name that is taken gets a number.
    """
    graph = g.model.graph
    fixed = {v.name for v in (*graph.input, *graph.output)}
    taken = fixed | set(g.constants)
    renamed: dict[str, str] = {}
    for node in graph.node:
        weight = _weight(g, node)
        base = weight.removesuffix(".weight") if weight else _after_input(g, node, renamed)
        for i, name in enumerate(node.output):
            renamed[name] = name if name in fixed else _fresh(f"{base}:{i}" if i else base, taken)
        bias = _own_bias(g, node) if weight else None
        if bias and f"{base}.bias" not in taken:
            renamed[bias] = _fresh(f"{base}.bias", taken)
        first = renamed[node.output[0]]
        node.name = base if first in fixed else first
    for node in graph.node:
        node.input[:] = [renamed.get(i, i) for i in node.input]
        node.output[:] = [renamed.get(o, o) for o in node.output]
    for name, initializer in g.constants.items():
        initializer.name = renamed.get(name, name)
    del graph.value_info[:]
    g.index()


def _weight(g: Graph, node: onnx.NodeProto) -> str | None:
    return next((i for i in node.input if i in g.constants and i.endswith(".weight")), None)


def _after_input(g: Graph, node: onnx.NodeProto, renamed: dict[str, str]) -> str:
    data = next(iter(g.data(node)), "")
    return f"{renamed.get(data, data)}/{node.op_type}"


def _own_bias(g: Graph, node: onnx.NodeProto) -> str | None:
    """Return the third input, if it is a constant that no other node uses."""
    name = node.input[2] if len(node.input) > 2 else ""
    return name if name in g.constants and len(g.users[name]) == 1 else None


def _fresh(wanted: str, taken: set[str]) -> str:
    """Return a name that is not taken yet; it is from now on."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}#{number}"
    taken.add(name)
    return name
