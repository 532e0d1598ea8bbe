"""Static int8: QDQ with uint8 activations and int8 weights, as a `Recipe` says.

MobileNetV3 loses its accuracy where tensors have few values far from the others: nearly all of the noise
comes from activations, not from weights. So the channels are brought to one width
(`rewrites.equalization`), ranges are cut where that makes less noise (`histograms`), and the layers that are
left as the noisiest, the stem and the first block above all, stay fp32. Which of all that pays is measured
for each checkpoint: see `search`.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.int8.additions import align_additions, quantized_additions
from ecovision_edge_export.int8.bias import correct_biases
from ecovision_edge_export.int8.exact import as_devices_compute
from ecovision_edge_export.int8.signed import read_signed
from ecovision_edge_export.int8.table import CalibrationTable, prepare
from ecovision_edge_export.rewrites import rewrite_for_int8
from ecovision_edge_export.rewrites.zero_points import read_additions

__all__ = ["CLASSIFIER", "MIN_RANGE", "Quantized", "blocks_of", "quantize"]

CLASSIFIER = 1000
"""Its number as a block."""

MIN_RANGE = 1e-4
"""Least width of a tensor's range: a dead tensor would get a scale that no engine can requantize with."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """An int8 model and what it is compared with.

    Args:
        model: What ships.
        judged: The model to run on this machine to know what devices answer, see `exact`.
        twin: The fp32 graph with the same tensors, by the same names.
        ranges: `(low, high)` of the twin's tensors.
        fp32: Names of the nodes that stay fp32.
    """

    model: onnx.ModelProto
    judged: onnx.ModelProto
    twin: onnx.ModelProto
    ranges: Mapping[str, tuple[float, float]]
    fp32: frozenset[str]


def blocks_of(model: onnx.ModelProto) -> dict[str, int]:
    """Block of each node by name: k for torchvision's `features.k`, -1 before it, `CLASSIFIER` after all.

    A node without weights belongs to the block that made its input.
    """
    blocks: dict[str, int] = {}
    current = -1
    for node in model.graph.node:
        for name in (*node.input, *node.output):
            match = re.match(r"features\.(\d+)\.", name)
            if match and any(w == name for w in node.input if w.endswith(".weight")):
                current = int(match[1])
            elif name.startswith("classifier.") and name.endswith(".weight"):
                current = CLASSIFIER
        blocks[node.name] = current
    return blocks


def quantize(model: onnx.ModelProto, table: CalibrationTable) -> Quantized:
    """Return the int8 model of the fp32 graph `model`, as `table.recipe` says.

    What will be int8 is rewritten for it first (see `rewrites`). Sums round alike on every CPU (see
    `additions`). Where a bias would overflow int32 for its weights' scale, onnxruntime (since 1.20) takes a
    larger scale.

    Raises:
        ContractError: the table is of another graph.
        ExportError: the graph has what no rule here understands.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    recipe = table.recipe
    twin = Graph.copy_of(model)
    prepare(twin, table)
    excluded = [name for name, block in blocks_of(twin.model).items() if recipe.keeps(block)]
    measured, factors = rewrite_for_int8(twin, table.ranges, excluded)
    ranges = align_additions(measured, quantized_additions(twin.model, excluded), least=MIN_RANGE)
    source = twin
    if recipe.bias_corrected:
        source = Graph.copy_of(twin.model)
        correct_biases(source, table.means, factors, excluded, table.room)
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        quantizer = QDQQuantizer(
            onnx.shape_inference.infer_shapes(source.model),
            recipe.per_channel,
            False,  # eight bits
            QuantType.QInt8,
            QuantType.QUInt8,
            TensorsData(
                CalibrationMethod.MinMax,
                {k: (np.float32(low), np.float32(high)) for k, (low, high) in ranges.items()},
            ),
            [],
            excluded,
            list(set(QLinearOpsRegistry) | set(QDQRegistry)),
            {
                "MinimumRealRange": MIN_RANGE,
                "TensorQuantOverrides": _ranges_of_rows(twin, table.room, excluded),
            },
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    made = Graph(quantizer.model.model)
    read_additions(made)
    judged = as_devices_compute(made.model)
    if recipe.signed:
        if judged is made.model:
            made = Graph.copy_of(judged)
        read_signed(made)
    return Quantized(
        model=made.model,
        judged=judged,
        twin=twin.model,
        ranges=ranges,
        fp32=frozenset(excluded),
    )


def _ranges_of_rows(
    g: Graph, room: Mapping[str, Sequence[float]], excluded: Collection[str]
) -> dict[str, list[dict[str, object]]]:
    """For onnxruntime's quantizer, the range of each row of the weights that have room."""
    from onnxruntime.quantization import QuantType

    result = {}
    for node in g.model.graph.node:
        if node.name in excluded or len(node.input) < 2 or node.input[1] not in room:
            continue
        weights = g.array(node.input[1])
        widest = np.maximum(np.abs(weights.reshape(len(weights), -1)).max(axis=1), 1e-30)
        common = {"quant_type": QuantType.QInt8, "symmetric": True}
        rows = [
            {**common, "rmin": np.float32(-w), "rmax": np.float32(w)}
            for w in widest * np.array(room[node.input[1]])
        ]
        rows[0]["axis"] = 0
        result[node.input[1]] = rows
    return result


class _quiet:  # noqa: N801 - reads as a statement
    """Onnxruntime's quantizer logs advice through the root logger; keep it off the user's terminal."""

    def __enter__(self) -> None:
        self._level = logging.root.level
        logging.root.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        logging.root.setLevel(self._level)
