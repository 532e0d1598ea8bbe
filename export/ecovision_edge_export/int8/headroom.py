"""Larger scales for rows of weights whose products x86 without VNNI would clip.

There a kernel multiplies u8 by s8 in pairs, two neighbours along the input channels, and clips each pair's
sum to 16 bits (`vpmaddubsw`; see `Cpu.u8s8_saturates`). Weights of seven bits cannot reach that, 255 * 64 * 2
< 2**15, but round twice as coarsely, all of them for the sake of a few. So each row, the weights that make
one output, gets as much room as it needs.

Rule:

1. For each ordinary convolution of 1 x 1 and each matrix product, the integers that it reads are taken from
   a run with exact sums, at `PIXELS` places of each input.
2. A row of which no pair is clipped on these stays as it is.
3. Another's scale is made 1, 1.19, 1.41, 1.68 or 2 times as large: whichever has the least mean square
   error, of rounding and of clipping together. What rounding does to the mean does not count: `bias` makes
   up for it.
4. Depthwise kernels widen before they multiply, and need no room. Where a convolution has more than one tap,
   the order of its products is the kernel's business: all its rows get 2.

Measured on the reference with two blocks in fp32 (logit SQNR on 256 photographs, exact sums and clipped
ones): eight bits 27.2 and 18.8 dB; seven bits where that is the lesser evil for a whole layer, 25.8 and 25.9;
this, 27.6 and 27.5. So one model serves every CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx

from ecovision_edge_export.graph.graphs import Graph, attribute
from ecovision_edge_export.int8.bias import rounded_rows
from ecovision_edge_export.int8.quantize import Quantized
from ecovision_edge_export.int8.sessions import NetworkInput, giving_out, onnx_session

__all__ = ["MOST_ROOM", "clipping_loss", "room_of_rows"]

MOST_ROOM = 2.0
ROOMS = (1.0, 1.19, 1.41, 1.68, MOST_ROOM)
PIXELS = 64

_INT16 = 2**15

Values = npt.NDArray[np.float64]


def room_of_rows(quantized: Quantized, inputs: Sequence[NetworkInput]) -> dict[str, tuple[float, ...]]:
    """Return by which factor to enlarge the scale of each row, for the weights that need room, by name.

    Args:
        quantized: Without room, activations uint8.
        inputs: Network inputs to judge by, at least one.
    """
    twin, ran = Graph(quantized.twin), Graph(quantized.judged)
    ran_nodes = {n.name: n for n in ran.model.graph.node}
    result: dict[str, tuple[float, ...]] = {}
    layers: dict[str, tuple[Values, onnx.NodeProto]] = {}
    for node in twin.model.graph.node:
        if node.name in quantized.fp32 or not _is_ordinary(twin, node):
            continue
        weights = twin.array(node.input[1]).astype(np.float64)
        if weights.size != weights.shape[0] * weights.shape[1]:
            result[node.input[1]] = (MOST_ROOM,) * len(weights)
            continue
        reader = ran.maker.get(ran_nodes[node.name].input[0])
        if reader is not None and reader.op_type == "DequantizeLinear":
            layers[node.input[1]] = weights.reshape(weights.shape[:2]), reader
    read = _integers(ran.model, sorted({reader.input[0] for _, reader in layers.values()}), inputs)
    for name, (weights, reader) in layers.items():
        scale, zero = float(ran.array(reader.input[1])), int(ran.array(reader.input[2]))
        room = _room(read[reader.input[0]], scale, zero, weights)
        if (room > 1).any():
            result[name] = tuple(room.tolist())
    return result


def clipping_loss(x: npt.NDArray[np.uint8], weights: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """Return what clipping the sums of pairs to 16 bits takes off: `(n, outputs)`, in integer units.

    Args:
        x: `(n, channels)`.
        weights: `(outputs, channels)`.
    """
    even = ((0, 0), (0, x.shape[1] % 2))
    w = np.pad(weights.astype(np.int32), even).reshape(len(weights), -1, 2)
    reach = 255 * np.maximum(np.maximum(w, 0).sum(2), -np.minimum(w, 0).sum(2))
    pairs = np.pad(x.astype(np.int32), even).reshape(len(x), -1, 2)
    result = np.zeros((len(x), len(weights)), np.int64)
    for output in np.flatnonzero((reach >= _INT16).any(axis=1)):
        at = np.flatnonzero(reach[output] >= _INT16)
        sums = (pairs[:, at] * w[output, at]).sum(2)
        result[:, output] = (sums - np.clip(sums, -_INT16, _INT16 - 1)).sum(1)
    return result


def _room(x: npt.NDArray[np.uint8], scale: float, zero: int, weights: Values) -> Values:
    """Return the factor of each row."""
    values = (x.astype(np.float64) - zero) * scale
    values -= values.mean(axis=0)
    covariance = values.T @ values
    steps = np.maximum(np.abs(weights).max(axis=1), 1e-30) / 127
    rounding, clipping = np.zeros((2, len(ROOMS), len(weights)))
    for i, room in enumerate(ROOMS):
        rounded = rounded_rows(weights, (room,))
        error = weights - rounded
        integers = np.round(rounded / (steps * room)[:, None]).astype(np.int8)
        rounding[i] = ((error @ covariance) * error).sum(axis=1)
        clipping[i] = np.square(clipping_loss(x, integers) * (steps * room * scale)).sum(axis=0)
    best = np.array(ROOMS)[(rounding + clipping).argmin(axis=0)]
    return np.where(clipping[0] > 0, best, 1.0)


def _is_ordinary(g: Graph, node: onnx.NodeProto) -> bool:
    """Return whether rows of its weights are what makes one output, of all its inputs."""
    if len(node.input) < 2 or node.input[1] not in g.constants:
        return False
    if node.op_type == "Gemm":
        return attribute(node, "transB", 0) == 1
    return node.op_type == "Conv" and attribute(node, "group", 1) == 1


def _integers(
    model: onnx.ModelProto, names: Sequence[str], inputs: Sequence[NetworkInput]
) -> dict[str, npt.NDArray[np.uint8]]:
    """`(n, channels)` of each uint8 tensor, at places evenly spread."""
    if not names:
        return {}
    session = onnx_session(giving_out(model, names, onnx.TensorProto.UINT8))
    found: dict[str, list[npt.NDArray[np.uint8]]] = {name: [] for name in names}
    for batch in inputs:
        for name, values in zip(
            names, session.run(names, {session.get_inputs()[0].name: batch}), strict=True
        ):
            rows = values.reshape(*values.shape[:2], -1).transpose(0, 2, 1).reshape(-1, values.shape[1])
            # An odd step walks through all columns of an image.
            found[name].append(rows[:: max(1, len(rows) // PIXELS) | 1])
    return {name: np.concatenate(rows) for name, rows in found.items()}
