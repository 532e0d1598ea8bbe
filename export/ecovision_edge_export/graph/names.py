"""Give the traced graph's tensors names that mean something and stay the same.

The exporter numbers its tensors (`getitem_45`), differently in each version. Here each tensor is named after
the module whose weights made it, and the operators since: `features.4.block.1.0/Relu`. So ranges, reports and
bytes do not depend on the exporter's counting.
"""

from __future__ import annotations

import onnx

__all__ = ["rename_tensors"]


def rename_tensors(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` with its nodes and tensors renamed; inputs and outputs of the graph keep theirs.

    1. A node with a weight `X.weight` makes the tensor `X`; its bias becomes `X.bias`.
    2. Any other node makes `INPUT/OpType`, INPUT being its first input that is no constant.
    3. A name that is taken gets a number.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    fixed = {v.name for v in (*graph.input, *graph.output)}
    constants = {i.name: i for i in graph.initializer}
    renamed: dict[str, str] = {}
    taken = fixed | set(constants)

    def fresh(wanted: str) -> str:
        name, number = wanted, 1
        while name in taken:
            number += 1
            name = f"{wanted}#{number}"
        taken.add(name)
        return name

    for node in graph.node:
        weight = next((i for i in node.input if i in constants and i.endswith(".weight")), None)
        data = next((i for i in node.input if i and i not in constants), "")
        base = weight.removesuffix(".weight") if weight else f"{renamed.get(data, data)}/{node.op_type}"
        for i, name in enumerate(node.output):
            wanted = base if i == 0 else f"{base}:{i}"
            renamed[name] = name if name in fixed else fresh(wanted)
        bias = f"{base}.bias"
        old = node.input[2] if len(node.input) > 2 else ""
        if weight and old in constants and bias not in taken:
            users = [n for n in graph.node if old in n.input]
            if len(users) == 1:
                renamed[old] = fresh(bias)
        first = renamed[node.output[0]]
        node.name = base if first in fixed else first
    for node in graph.node:
        node.input[:] = [renamed.get(i, i) for i in node.input]
        node.output[:] = [renamed.get(o, o) for o in node.output]
    for name, initializer in constants.items():
        initializer.name = renamed.get(name, name)
    del graph.value_info[:]
    return result
