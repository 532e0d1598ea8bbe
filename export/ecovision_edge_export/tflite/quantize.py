"""Static int8 for LiteRT: our ranges, weights and biases, written by ai-edge-quantizer.

Rule:

1. What will be int8 is rewritten as for ONNX (`rewrites`), but for alignment, which gives nothing here. The
   stem's hard-swish too: XNNPACK has no int8 hard-swish, and one is enough to break the network in two.
2. Tensors of the converted model are known by their values: on a few inputs each is equal to one of the
   graph's, and its range is that one's; if it is equal to several, what spans all of them.
3. Ranges and weights' scales are fitted to XNNPACK's limits (`scales`). Pixels have the scale 1.
4. Blocks left in fp32 stay so, with the paddings before their convolutions, and so does the last layer, whose
   rounding would be that of the answer.
5. With `half`, so do depthwise convolutions of stride 1, wherever they are, each with its ReLU, or on to the
   product of its squeeze-and-excitation: in fp16 they take fewer instructions than in int8, the way there and
   back included. Those of a greater stride do not: their larger inputs would go that way.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

from ecovision_edge.base.extras import require
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import ExportError
from ecovision_edge_export.graph.graphs import Graph, attribute
from ecovision_edge_export.int8.bias import correct_biases
from ecovision_edge_export.int8.quantize import blocks_of
from ecovision_edge_export.int8.recipe import Recipe
from ecovision_edge_export.int8.sessions import NetworkInput, giving_out, onnx_session
from ecovision_edge_export.int8.table import CalibrationTable, prepare
from ecovision_edge_export.rewrites.hard_swish import THREE, integer_hard_swish
from ecovision_edge_export.tflite.convert import EXTRA, convert, quiet
from ecovision_edge_export.tflite.flatbuffer import Model, constant, finish, operator_name, read_model
from ecovision_edge_export.tflite.scales import LINEAR, Range, check_scales, fit_ranges, scales_of_rows

__all__ = ["half_precision_nodes", "quantize_tflite"]

PROBES = 4
SAME = 1e-3  # of a tensor's greatest magnitude

Values = npt.NDArray[np.float32]
Interpreter: TypeAlias = Any  # LiteRT's, which has no types


def quantize_tflite(
    model: onnx.ModelProto,
    table: CalibrationTable,
    recipe: Recipe,
    contract: Contract,
    inputs: Sequence[NetworkInput],
    *,
    half: bool = False,
) -> bytes:
    """Return the int8 .tflite file of the fp32 graph `model`; `recipe` says which blocks stay fp32.

    Args:
        model: The fp32 graph.
        table: Its ranges, scales of channels and means.
        recipe: In place of the table's; of it, only what has a meaning here.
        contract: Of the bundle.
        inputs: Network inputs, at least one, by which tensors are known; photographs are best.
        half: Whether what rule 5 names stays fp32 too: for a CPU that has fp16.

    Raises:
        ContractError: the table is of another graph.
        ExportError: a tool failed, or no scales can be found that XNNPACK takes.
        MissingDependencyError: the extra `litert-export` is not installed.
    """
    g = Graph.copy_of(model)
    prepare(g, table)
    keep = {name for name, block in blocks_of(g.model).items() if recipe.keeps(block)}
    if half:
        keep |= half_precision_nodes(g)
    # A hard-sigmoid is spelled out in fp32 too: its clip is part of the convolution before it.
    clips = {n.name for n in g.model.graph.node if n.op_type == "HardSigmoid" and n.name in keep}
    factors = integer_hard_swish(g, keep - clips, residuals=True)
    keep |= {f"{name}/{part}" for name in clips for part in ("Add", "Clip")}
    ranges = _ranges(g.model, table.ranges, factors)
    if recipe.bias_corrected:
        correct_biases(g, table.means, factors, keep, {})
    source = g.model
    data = convert(source, contract)
    floats = read_model(data)
    equal = _equal_tensors(data, source, contract, inputs[:PROBES])
    kept_outputs = {o for n in source.graph.node if n.name in keep for o in n.output}
    kept_outputs.add(source.graph.output[0].name)
    fp32, wanted = _sort_tensors(floats, equal, ranges, kept_outputs, contract)
    fitted = fit_ranges(floats, wanted, fp32)
    quantized = _write(data, floats, fitted, fp32, per_channel=recipe.per_channel)
    finished = finish(quantized, contract)
    check_scales(read_model(finished))
    return finished


def half_precision_nodes(g: Graph) -> set[str]:
    """Return the names of the nodes of rule 5."""
    names: set[str] = set()
    for node in g.model.graph.node:
        if node.op_type != "Conv" or attribute(node, "group", 1) == 1:
            continue
        if attribute(node, "strides", [1, 1]) == [1, 1]:
            names |= {node.name, *_activated(g, node)}
    return names


def _activated(g: Graph, node: onnx.NodeProto) -> set[str]:
    """Return the ReLU that follows a layer, or the excitation that it goes into by way of a hard-swish."""
    users = g.users[node.output[0]]
    if len(users) != 1 or users[0].op_type not in ("Relu", "HardSwish"):
        return _excitation(g, node.output[0])
    (activation,) = users
    excited = _excitation(g, activation.output[0])
    return excited | ({activation.name} if excited or activation.op_type == "Relu" else set())


def _excitation(g: Graph, name: str) -> set[str]:
    """Return the nodes from the mean of a tensor to the product with it; none if it is not excited."""
    products = [user for user in g.users[name] if user.op_type == "Mul"]
    others = [user for user in g.users[name] if user.op_type != "Mul"]
    if len(products) != 1 or len(others) != 1:
        return set()
    chain = [others[0]]
    while chain[-1].name != products[0].name:
        users = g.users[chain[-1].output[0]]
        if len(users) != 1:
            return set()
        chain.append(users[0])
    return {node.name for node in chain}


def _ranges(
    twin: onnx.ModelProto, measured: Mapping[str, Range], factors: Mapping[str, float]
) -> dict[str, Range]:
    result = {
        n: (low * factors.get(n, 1.0), high * factors.get(n, 1.0)) for n, (low, high) in measured.items()
    }
    for node in twin.graph.node:
        if THREE in node.input or node.op_type == "Clip":
            result[node.output[0]] = (0.0, 6.0)
    return result


def _equal_tensors(
    data: bytes, source: onnx.ModelProto, contract: Contract, inputs: Sequence[NetworkInput]
) -> dict[int, set[str]]:
    """Find the graph's tensors that equal each computed tensor of the float model, by its number."""
    # Pixels, turned or not, are the input.
    names = [o for n in source.graph.node if n.op_type not in ("Transpose", "Cast") for o in n.output]
    session = onnx_session(giving_out(source, names))
    interpreter = _interpreter(data)
    taken = interpreter.get_input_details()[0]["index"]
    computed = [int(t) for op in interpreter._get_ops_details() for t in op["outputs"]]
    result: dict[int, set[str]] = {}
    for x in inputs:
        values = session.run(names, {contract.input.name: x})
        found: dict[int, list[tuple[str, Values]]] = {}
        for name, value in zip(names, values, strict=True):
            last = value.transpose(0, 2, 3, 1) if value.ndim == 4 else value
            found.setdefault(value.size, []).append((name, last.reshape(-1)))
        interpreter.set_tensor(taken, x.astype(np.float32))
        interpreter.invoke()
        for tensor in computed:
            own = interpreter.get_tensor(tensor).reshape(-1)
            least = SAME * max(float(np.abs(own).max(initial=0.0)), 1e-6)
            equal = {
                n for n, v in found.get(own.size, ()) if float(np.abs(own - v).max(initial=0.0)) <= least
            }
            result[tensor] = result.get(tensor, equal) & equal
    return result


def _interpreter(data: bytes) -> Interpreter:
    """LiteRT without a delegate, all tensors kept."""
    litert = require("ai_edge_litert.interpreter", EXTRA)
    interpreter = litert.Interpreter(
        model_content=data,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    return interpreter


def _sort_tensors(
    floats: Model,
    equal: Mapping[int, set[str]],
    ranges: Mapping[str, Range],
    kept_outputs: Collection[str],
    contract: Contract,
) -> tuple[set[int], dict[int, Range]]:
    """Return the computed tensors that stay fp32, and the ranges of those and of all others, by number.

    Raises:
        ExportError: a tensor with no range.
    """
    graph = floats.subgraphs[0]
    pixels = contract.input.dtype == "uint8"
    result: dict[int, Range] = {graph.inputs[0]: (0.0, 255.0) if pixels else ranges[contract.input.name]}
    fp32: set[int] = set()
    for op in graph.operators:
        made, kind = op.outputs[0], operator_name(floats, op)
        names = equal.get(made, set())
        if names & set(kept_outputs):
            fp32.add(made)
        known = [ranges[n] for n in names if n in ranges]
        if known:
            result[made] = min(r[0] for r in known), max(r[1] for r in known)
        elif kind in ("PAD", "CONCATENATION", "TRANSPOSE", "RESHAPE"):
            (source,) = [i for i in op.inputs if constant(floats, i) is None]
            result[made] = result[source]
        else:
            raise ExportError(
                f"{kind} of the converted model",
                expected="a tensor that is equal to one of the graph's",
                found=", ".join(sorted(names)) or "none",
                fix="choose --formats onnx, and report this checkpoint",
            )
    for op in reversed(graph.operators):
        made = op.outputs[0]
        if operator_name(floats, op) == "PAD":
            readers = [o.outputs[0] for o in graph.operators if made in [*o.inputs]]
            if readers and all(r in fp32 for r in readers) and op.inputs[0] in fp32:
                fp32.add(made)
    return fp32, result


def _write(
    data: bytes, floats: Model, ranges: Mapping[int, Range], fp32: Collection[int], *, per_channel: bool
) -> bytes:
    """Let ai-edge-quantizer write the int8 model."""
    quantizer = require("ai_edge_quantizer.quantizer", EXTRA)
    recipes = require("ai_edge_quantizer.recipe", EXTRA)
    graph = floats.subgraphs[0]
    statistics: dict[str, dict[str, Values]] = {}

    def state(tensor: int, low: npt.ArrayLike, high: npt.ArrayLike) -> None:
        described = graph.tensors[tensor]
        rank = 0 if described.shape is None else len(described.shape)
        statistics[described.name.decode()] = {
            side: np.asarray(v, np.float32) if np.ndim(v) else np.full([1] * rank, v, np.float32)
            for side, v in (("min", low), ("max", high))
        }

    for tensor, (low, high) in ranges.items():
        state(tensor, low, high)
    for op in graph.operators:
        if op.outputs[0] in fp32:
            continue
        kind = operator_name(floats, op)
        if kind in LINEAR:
            rows = scales_of_rows(floats, op, ranges) * 127
            rows = rows if per_channel else np.full_like(rows, rows.max())
            weights = graph.tensors[op.inputs[1]]
            shape = [1] * len(weights.shape)
            shape[-1 if kind == "DEPTHWISE_CONV_2D" else 0] = len(rows)
            state(op.inputs[1], -rows.reshape(shape), rows.reshape(shape))
        else:
            for i in op.inputs:
                values = constant(floats, i) if i >= 0 else None
                if values is not None and values.dtype == np.float32:
                    low, high = float(values.min()), float(values.max())
                    if kind == "CONCATENATION":  # a border of pixels
                        low, high = ranges[op.outputs[0]]
                    state(i, min(low, 0.0), max(high, 0.0))
    made = quantizer.Quantizer(bytearray(data), recipes.static_wi8_ai8())
    for tensor in sorted(fp32):
        name = re.escape(graph.tensors[tensor].name.decode())
        made.update_quantization_recipe(f"^{name};?$", "*", algorithm_key="no_quantize")
    try:
        with quiet():  # it draws bars
            result = made.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
        return bytes(result.quantized_model)
    except Exception as e:
        raise ExportError(
            "ai-edge-quantizer cannot quantize the network",
            found=f"{type(e).__name__}: {str(e)[:300]}",
            fix="choose --precision fp32, or install what the extra litert-export names",
        ) from e
