"""What quantization does to each layer: the report that a bundle keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from ecovision_edge.base.fields import JsonValue
from ecovision_edge_export.graph.graphs import Graph, attribute
from ecovision_edge_export.int8.fidelity import sqnr_of_powers
from ecovision_edge_export.int8.quantize import Quantized, blocks_of
from ecovision_edge_export.int8.sessions import NetworkInput, giving_out, onnx_session
from ecovision_edge_export.int8.table import CalibrationTable
from ecovision_edge_export.rewrites.hard_swish import THREE

__all__ = ["layer_rows"]


_Compared = tuple[str, str, float, float]
"""A tensor of the twin, its name in the graph that ran, and between which values anything reads it."""


def layer_rows(
    quantized: Quantized, table: CalibrationTable, inputs: Sequence[NetworkInput]
) -> list[JsonValue]:
    """Return a row for each layer with weights, in graph order, as JSON objects.

    `layer`, `block` and `kind` say which; `precision` is fp32 or int8; `range` is that of what it makes, with
    its activation, as int8 has it (None: fp32); `sqnr_db` is the signal to quantization noise there, of all
    that the layers before it did as well (None: no noise at all); `roomy_rows` how many of its rows have room
    (see `headroom`).
    """
    twin, ran = Graph(quantized.twin), Graph(quantized.judged)
    blocks = blocks_of(quantized.twin)
    rows: list[dict[str, JsonValue]] = []
    compared: list[_Compared] = []
    for node in twin.model.graph.node:
        if node.op_type not in ("Conv", "Gemm") or node.input[1] not in twin.constants:
            continue
        made = _activated(twin, node)
        as_int8 = f"{made}_DequantizeLinear_Output"
        int8 = node.name not in quantized.fp32
        shown = as_int8 if as_int8 in ran.maker else made
        if shown not in ran.maker:
            shown = next((o for o in (as_int8, made, *ran.outputs) if o in ran.maker), made)
        compared.append((made, shown, *_read_between(twin, made)))
        span = quantized.ranges.get(made)
        rows.append(
            {
                "layer": node.name,
                "block": blocks[node.name],
                "kind": _kind(twin, node),
                "precision": "int8" if int8 else "fp32",
                "range": [float(f"{v:.4g}") for v in span] if int8 and span else None,
                "roomy_rows": sum(r > 1 for r in table.room.get(node.input[1], ())) if int8 else 0,
            }
        )
    noise = _noise(quantized, compared, inputs)
    return [{**row, "sqnr_db": db} for row, db in zip(rows, noise, strict=True)]


def _activated(g: Graph, node: onnx.NodeProto) -> str:
    """Return what the layer makes, after a Relu that is its only reader."""
    name: str = node.output[0]
    users = g.users[name]
    return users[0].output[0] if len(users) == 1 and users[0].op_type == "Relu" else name


def _read_between(g: Graph, name: str) -> tuple[float, float]:
    """Hard-swish is zero below -3, and hard-sigmoid the same beyond 3 as well."""
    users = g.users[name]
    if not any(THREE in user.input for user in users):
        return -np.inf, np.inf
    return -3.0, 3.0 if len(users) == 1 else np.inf


def _kind(g: Graph, node: onnx.NodeProto) -> str:
    if node.op_type == "Gemm":
        return "dense"
    taps = "x".join(str(d) for d in g.constants[node.input[1]].dims[2:])
    return f"{'depthwise' if attribute(node, 'group', 1) != 1 else 'conv'} {taps}"


def _noise(
    quantized: Quantized, compared: Sequence[_Compared], inputs: Sequence[NetworkInput]
) -> list[float | None]:
    """SQNR in dB of each pair of tensors, the twin's and the one that ran."""
    names = [made for made, *_ in compared], [shown for _, shown, *_ in compared]
    expected, found = (
        onnx_session(giving_out(model, given))
        for model, given in zip((quantized.twin, quantized.judged), names, strict=True)
    )
    entry = expected.get_inputs()[0].name
    signal, noise = np.zeros((2, len(compared)))
    for batch in inputs:
        pairs = zip(
            compared,
            expected.run(names[0], {entry: batch}),
            found.run(names[1], {entry: batch}),
            strict=True,
        )
        for i, ((_, _, low, high), made, shown) in enumerate(pairs):
            a, b = (np.clip(x, low, high).astype(np.float64) for x in (made, shown))
            signal[i] += np.square(a).sum()
            noise[i] += np.square(a - b).sum()
    return [
        round(sqnr_of_powers(s, n), 1) if n > 1e-12 * s else None
        for s, n in zip(signal.tolist(), noise.tolist(), strict=True)
    ]
