"""Static int8: QDQ with uint8 activations and int8 weights a channel, the leading blocks in fp32.

MobileNetV3 loses its accuracy where tensors have few values far from the others: nearly all of the noise
comes from activations, not from weights. So the channels are brought to one width
(`rewrites.equalization`), and ranges are those of least mean square error (`histograms`). What is left is
made by the stem and the first block, whose channels cannot be equalized; so the recipe has one more setting,
how many leading blocks stay fp32, and the smallest number is taken that keeps the network's answers on
photographs that set no range.

x86 without VNNI clips the sum of two products of u8 and s8 to 16 bits (see `Cpu.u8s8_saturates`). Measured
on the reference, over nine tenths of what that changes comes from the convolutions that expand a residual
stream, whose zero is in the middle of the uint8 range. Their weights get seven bits, of which no pair can be
clipped: so one model serves every CPU.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from ecovision_edge_export.additions import align_additions, quantized_additions
from ecovision_edge_export.calibrate import CalibrationTable, NetworkInput, onnx_session, prepare
from ecovision_edge_export.exact import as_devices_compute
from ecovision_edge_export.rewrites import rewrite_for_int8
from ecovision_edge_export.rewrites.graphs import attribute
from ecovision_edge_export.rewrites.zero_points import read_additions

__all__ = ["BlockChoice", "blocks_of", "choose_fp32_blocks", "quantize", "seven_bit_weights"]

MAX_FP32_BLOCKS = 8
MIN_AGREEMENT = 0.99
MIN_SQNR_DB = 22.0
"""A choice of blocks is good enough with both, on photographs that set no range.

The gate wants 98 % agreement; over 256 photographs 99 % leaves it a margin of two standard errors.
With 22.6 and 22.8 dB on photographs that set no range, the reference agreed on 98.7 and 99.1 % of its
validation photographs: a figure that moves less from sample to sample than a count of flips does.
"""

_MIN_RANGE = 1e-4
"""Least width of a tensor's range: a dead tensor would get a scale that no engine can requantize with."""


@dataclass(frozen=True, slots=True)
class BlockChoice:
    """One row of the search: agreement 0 to 1 and logit SQNR in dB (higher is better) against fp32."""

    fp32_blocks: int
    agreement: float
    sqnr_db: float

    @property
    def good(self) -> bool:
        """Whether it is good enough."""
        return self.agreement >= MIN_AGREEMENT and self.sqnr_db >= MIN_SQNR_DB


def blocks_of(model: onnx.ModelProto) -> dict[str, int]:
    """Block of each node by name: k for torchvision's `features.k`, -1 before it, 1000 for the classifier.

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
                current = 1000
        blocks[node.name] = current
    return blocks


def quantize(model: onnx.ModelProto, table: CalibrationTable, fp32_blocks: int) -> onnx.ModelProto:
    """The int8 model: QDQ, u8 activations a tensor, s8 weights a channel; blocks 0 to `fp32_blocks` in fp32.

    Block 0 is the stem. What will be int8 is rewritten for it first (see `rewrites`). Sums round alike on
    every CPU (see `additions`). Biases that would overflow int32 are onnxruntime's business (since 1.20).

    Args:
        model: The fp32 graph.
        table: Ranges of its tensors.
        fp32_blocks: How many leading blocks stay fp32, 0 or more.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    prepared = prepare(model, table)
    excluded = [name for name, block in blocks_of(prepared).items() if block <= fp32_blocks]
    rewritten, measured = rewrite_for_int8(prepared, table.ranges, excluded)
    aligned = align_additions(measured, quantized_additions(rewritten, excluded), least=_MIN_RANGE)
    ranges = {k: (np.float32(lo), np.float32(hi)) for k, (lo, hi) in aligned.items()}
    inferred = onnx.shape_inference.infer_shapes(rewritten)
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        quantizer = QDQQuantizer(
            inferred,
            True,  # weights per channel
            False,  # eight bits, but for those below
            QuantType.QInt8,
            QuantType.QUInt8,
            TensorsData(CalibrationMethod.MinMax, ranges),
            [],
            excluded,
            list(set(QLinearOpsRegistry) | set(QDQRegistry)),
            {
                "MinimumRealRange": _MIN_RANGE,
                "TensorQuantOverrides": {
                    name: [
                        {"axis": 0, "quant_type": QuantType.QInt8, "symmetric": True, "reduce_range": True}
                    ]
                    for name in seven_bit_weights(rewritten, aligned, excluded)
                },
            },
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    return read_additions(quantizer.model.model)


def seven_bit_weights(
    model: onnx.ModelProto, ranges: Mapping[str, tuple[float, float]], excluded: Collection[str]
) -> list[str]:
    """Weights of the ordinary convolutions whose input has its zero in the middle half of its range."""
    constants = {i.name: i for i in model.graph.initializer}
    result = []
    for node in model.graph.node:
        if node.op_type == "Conv" and node.name not in excluded and attribute(node, "group", 1) == 1:
            low, high = ranges[node.input[0]]
            if node.input[1] in constants and 0.25 < -low / max(high - low, _MIN_RANGE) < 0.75:
                result.append(node.input[1])
    return result


def choose_fp32_blocks(
    model: onnx.ModelProto,
    table: CalibrationTable,
    inputs: Sequence[NetworkInput],
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[BlockChoice, ...]:
    """Try 1, 2, ... leading blocks in fp32 until one is good enough; the last row is the choice.

    Args:
        model: The fp32 graph.
        table: Its ranges.
        inputs: Network inputs that set no range.
        progress: Called with the number of choices tried.
    """
    name = model.graph.input[0].name
    expected = _run(model, name, inputs)
    rows: list[BlockChoice] = []
    for blocks in range(1, MAX_FP32_BLOCKS + 1):
        found = _run(as_devices_compute(quantize(model, table, blocks)), name, inputs)
        noise = float(np.square(found - expected, dtype=np.float64).sum())
        signal = float(np.square(expected, dtype=np.float64).sum())
        rows.append(
            BlockChoice(
                blocks,
                float((found.argmax(1) == expected.argmax(1)).mean()),
                float(10 * np.log10(signal / max(noise, 1e-30))),
            )
        )
        progress(blocks)
        if rows[-1].good:
            break
    return tuple(rows)


def _run(model: onnx.ModelProto, name: str, inputs: Sequence[NetworkInput]) -> npt.NDArray[np.float32]:
    session = onnx_session(model)
    return np.concatenate([session.run(None, {name: x})[0] for x in inputs])


class _quiet:  # noqa: N801 - reads as a statement
    """Onnxruntime's quantizer logs advice through the root logger; keep it off the user's terminal."""

    def __enter__(self) -> None:
        self._level = logging.root.level
        logging.root.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        logging.root.setLevel(self._level)
