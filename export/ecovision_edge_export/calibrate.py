"""Calibration: the range of each tensor over photographs, streamed one at a time, twice.

Memory does not grow with the number of photographs: statistics a channel and a histogram a tensor are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from ecovision_edge._fields import JsonValue, canonical_json, parse_json
from ecovision_edge.errors import ContractError, DatasetError
from ecovision_edge_export.histograms import Histogram
from ecovision_edge_export.rewrites.equalization import (
    ChannelStatistics,
    channel_scales,
    equalize,
    scales_of_tensors,
)
from ecovision_edge_export.rewrites.excitation import fold_excitations, silent_excitations

__all__ = [
    "REFERENCE_CALIBRATION",
    "CalibrationTable",
    "Evidence",
    "NetworkInput",
    "measure_ranges",
    "onnx_session",
    "prepare",
]

REFERENCE_CALIBRATION = Path(__file__).parent / "models" / "reference.calibration.json"
"""Ranges recorded with the reference weights, so that they can be exported where there are no photographs."""

MAX_CHANNELS = 10_000  # of a tensor, in a recorded table

Evidence = Literal["photographs", "generated", "recorded"]
NetworkInput = npt.NDArray[np.uint8 | np.float32]
Range = tuple[float, float]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CalibrationTable:
    """Range `(low, high)` of each float tensor of the prepared graph (see `prepare`), by name.

    `images` is how many it was measured on, `digest` the sha256 over their names and contents,
    `fp32_blocks` the number of leading blocks that were found to need fp32 (see `quantize`), `scales` those
    of the channels (see `equalization`), `silent` the excitations that are constant (see `excitation`).
    """

    ranges: Mapping[str, Range]
    images: int
    digest: str
    evidence: Evidence
    fp32_blocks: int | None = None
    scales: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    silent: tuple[str, ...] = ()

    def dumps(self) -> bytes:
        """As JSON, the same bytes for the same table."""
        ranges: dict[str, JsonValue] = {k: [lo, hi] for k, (lo, hi) in sorted(self.ranges.items())}
        return canonical_json(
            {
                "images": self.images,
                "digest": self.digest,
                "fp32_blocks": self.fp32_blocks,
                "ranges": ranges,
                "scales": {k: [*v] for k, v in sorted(self.scales.items())},
                "silent": [*self.silent],
            }
        )

    @classmethod
    def loads(cls, data: bytes, where: str) -> CalibrationTable:
        """Read what `dumps` wrote.

        Raises:
            ContractError: malformed.
        """
        f = parse_json(data, where)
        ranges, scales = f.sub("ranges"), f.sub("scales")
        table = cls(
            ranges={k: _pair(ranges.numbers(k, 2, -1e30, 1e30)) for k in f.free("ranges")},
            images=f.integer("images", 1, 10**9),
            digest=f.text("digest", pattern="[0-9a-f]{64}", what="64 hexadecimal digits"),
            evidence="recorded",
            fp32_blocks=f.integer("fp32_blocks", 0, 100) if f.has("fp32_blocks") else None,
            scales={
                k: scales.numbers(k, len(scales.items(k, most=MAX_CHANNELS)), 1e-6, 1e6)
                for k in f.free("scales")
            },
            silent=tuple(str(name) for name in f.items("silent", most=1000)),
        )
        f.done()
        return table


def onnx_session(model: onnx.ModelProto, threads: int = 1) -> ort.InferenceSession:
    """An onnxruntime session on the CPU. One thread, so that sums are the same on every run."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def measure_ranges(
    model: onnx.ModelProto,
    inputs: Callable[[], Iterable[NetworkInput]],
    *,
    digest: str,
    evidence: Evidence,
    progress: Callable[[int], None] = lambda done: None,
) -> CalibrationTable:
    """Run `model` over network inputs, twice: find what to prepare, then the ranges of the prepared graph.

    The first time each channel's least and greatest value and mean square are kept, from which come the
    excitations to fold and the channels' scales; the second time a histogram a tensor.

    Args:
        model: The fp32 graph, preprocessing folded.
        inputs: Gives batches of the contract's shape, the same each time.
        digest: Of the photographs.
        evidence: What the inputs are.
        progress: Called with the number of inputs done, which goes up to twice their number.

    Raises:
        DatasetError: no input, or a value that is not finite.
    """
    statistics, images = _measure_channels(model, inputs(), progress)
    widest = {name: (float(s.low.min()), float(s.high.max())) for name, s in statistics.items()}
    silent = silent_excitations(model, widest)
    folded = fold_excitations(model, silent)
    scales = channel_scales(folded, statistics)
    prepared = equalize(folded, scales)
    divided = scales_of_tensors(folded, scales)
    for name, by in divided.items():
        of = statistics[name]
        widest[name] = (float((of.low / by).min()), float((of.high / by).max()))
    ranges = _measure_histograms(prepared, widest, inputs(), lambda done: progress(images + done))
    return CalibrationTable(ranges, images, digest, evidence, scales=scales, silent=silent)


def prepare(model: onnx.ModelProto, table: CalibrationTable) -> onnx.ModelProto:
    """The fp32 graph that the table's ranges are of: excitations folded, channels equalized.

    Raises:
        ContractError: the table is of another graph.
    """
    try:
        return equalize(fold_excitations(model, table.silent), table.scales)
    except (KeyError, ValueError) as e:
        raise ContractError("calibration table", expected="that of this graph", found=str(e)) from e


def _measure_channels(
    model: onnx.ModelProto, inputs: Iterable[NetworkInput], progress: Callable[[int], None]
) -> tuple[dict[str, ChannelStatistics], int]:
    """Least and greatest value and mean square of each channel of each float tensor; and how many images."""
    probe, names = _with_channel_statistics(model)
    session = onnx_session(probe)
    input_name = session.get_inputs()[0].name
    low: dict[str, Values] = {}
    high: dict[str, Values] = {}
    square: dict[str, Values] = {}
    done = 0
    for batch in inputs:
        values = session.run(None, {input_name: batch})
        for i, name in enumerate(names):
            least, most, squares = (np.atleast_1d(v).astype(np.float64) for v in values[3 * i : 3 * i + 3])
            low[name] = np.minimum(low.get(name, math.inf), least)
            high[name] = np.maximum(high.get(name, -math.inf), most)
            square[name] = square.get(name, np.zeros(1)) + squares * len(batch)
        done += len(batch)
        progress(done)
    wrong = [n for n in low if not (np.isfinite(low[n]).all() and np.isfinite(high[n]).all())]
    if done == 0 or wrong:
        raise DatasetError(
            "calibration",
            expected="finite activations on at least one image",
            found=f"{done} images, not finite: {', '.join(wrong[:5]) or 'none'}",
        )
    return {n: ChannelStatistics(low[n], high[n], square[n] / done) for n in names}, done


def _with_channel_statistics(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The graph with ReduceMin, ReduceMax and the mean square of every float tensor as its only outputs.

    A channel is an index of the second dimension; a tensor with fewer has one.
    """
    inferred, kinds = _inferred(model)
    graph = inferred.graph
    names = _float_tensors(inferred, kinds)
    del graph.output[:]
    for name in names:
        rank = len(kinds[name].shape.dim)
        axes = [i for i in range(rank) if i != 1]
        graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), f"{name}:axes"))
        graph.node.append(helper.make_node("Mul", [name, name], [f"{name}:squared"], f"{name}:squared"))
        for kind, of in (("ReduceMin", name), ("ReduceMax", name), ("ReduceMean", f"{name}:squared")):
            output = f"{name}:{kind}"
            graph.node.append(helper.make_node(kind, [of, f"{name}:axes"], [output], output, keepdims=0))
            graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return inferred, names


def _measure_histograms(
    model: onnx.ModelProto,
    widest: Mapping[str, Range],
    inputs: Iterable[NetworkInput],
    progress: Callable[[int], None],
) -> dict[str, Range]:
    """The range of each float tensor that rounds and clips its values with the least mean square error."""
    probe, kinds = _inferred(model)
    names = _float_tensors(probe, kinds)
    del probe.graph.output[:]
    for name in names:
        probe.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    users: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node.op_type)
    # What is below -3 is nothing to a hard-swish or hard-sigmoid.
    least = {n: -3.0 for n in names if users.get(n) and set(users[n]) <= {"HardSwish", "HardSigmoid"}}
    histograms = {
        n: Histogram.between(max(widest[n][0], least.get(n, -math.inf)), widest[n][1]) for n in names
    }
    session = onnx_session(probe)
    input_name = session.get_inputs()[0].name
    done = 0
    for batch in inputs:
        for name, values in zip(names, session.run(names, {input_name: batch}), strict=True):
            histograms[name].add(values)
        done += len(batch)
        progress(done)
    return {n: histograms[n].best_range(fixed_low=n in least) for n in names}


def _inferred(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, onnx.TypeProto.Tensor]]:
    inferred = onnx.shape_inference.infer_shapes(model)
    values = (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input)
    return inferred, {v.name: v.type.tensor_type for v in values}


def _float_tensors(model: onnx.ModelProto, kinds: Mapping[str, onnx.TypeProto.Tensor]) -> list[str]:
    names = [o for n in model.graph.node for o in n.output]
    names += [i.name for i in model.graph.input]
    return [n for n in names if n in kinds and kinds[n].elem_type == TensorProto.FLOAT]


def _pair(values: tuple[float, ...]) -> tuple[float, float]:
    low, high = values
    return low, high
