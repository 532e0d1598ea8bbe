"""Calibration: the range that each tensor takes over photographs, streamed one at a time.

Memory does not grow with the number of photographs: only a minimum and a maximum a tensor are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from ecovision_edge._fields import JsonValue, canonical_json, parse_json
from ecovision_edge.errors import DatasetError

__all__ = ["REFERENCE_CALIBRATION", "CalibrationTable", "Evidence", "measure_ranges", "onnx_session"]

REFERENCE_CALIBRATION = Path(__file__).parent / "models" / "reference.calibration.json"
"""Ranges recorded with the reference weights, so that they can be exported where there are no photographs."""

Evidence = Literal["photographs", "generated", "recorded"]


@dataclass(frozen=True, slots=True)
class CalibrationTable:
    """Range `(low, high)` of each float tensor, by name, and what it was measured on.

    `images` is how many, `digest` the sha256 over their names and contents (empty for generated ones),
    `fp32_blocks` the number of leading blocks that were found to need fp32 (see `quantize`).
    """

    ranges: Mapping[str, tuple[float, float]]
    images: int
    digest: str
    evidence: Evidence
    fp32_blocks: int | None = None

    def dumps(self) -> bytes:
        """As JSON, the same bytes for the same table."""
        ranges: dict[str, JsonValue] = {k: [lo, hi] for k, (lo, hi) in sorted(self.ranges.items())}
        return canonical_json(
            {
                "images": self.images,
                "digest": self.digest,
                "fp32_blocks": self.fp32_blocks,
                "ranges": ranges,
            }
        )

    @classmethod
    def loads(cls, data: bytes, where: str) -> CalibrationTable:
        """Read what `dumps` wrote.

        Raises:
            ContractError: malformed.
        """
        f = parse_json(data, where)
        ranges = f.sub("ranges")
        table = cls(
            ranges={k: _pair(ranges.numbers(k, 2, -1e30, 1e30)) for k in f.free("ranges")},
            images=f.integer("images", 1, 10**9),
            digest=f.text("digest", pattern="[0-9a-f]{64}", what="64 hexadecimal digits"),
            evidence="recorded",
            fp32_blocks=f.integer("fp32_blocks", 0, 100) if f.has("fp32_blocks") else None,
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
    inputs: Iterable[npt.NDArray[np.uint8 | np.float32]],
    *,
    digest: str,
    evidence: Evidence,
    progress: Callable[[int], None] = lambda done: None,
) -> CalibrationTable:
    """Run `model` over network inputs, and keep each float tensor's least and greatest value.

    Args:
        model: The fp32 graph, preprocessing folded.
        inputs: Batches of the contract's shape.
        digest: Of the photographs.
        evidence: What the inputs are.
        progress: Called with the number of inputs done.

    Raises:
        DatasetError: no input, or a value that is not finite.
    """
    probe, names = _with_ranges(model)
    session = onnx_session(probe)
    input_name = session.get_inputs()[0].name
    low, high = np.full(len(names), math.inf), np.full(len(names), -math.inf)
    done = 0
    for batch in inputs:
        values = np.array(session.run(None, {input_name: batch}), np.float64).reshape(len(names), 2)
        low, high = np.minimum(low, values[:, 0]), np.maximum(high, values[:, 1])
        done += len(batch)
        progress(done)
    finite = np.isfinite(low) & np.isfinite(high)
    if done == 0 or not finite.all():
        wrong = [n for n, ok in zip(names, finite, strict=True) if done and not ok]
        raise DatasetError(
            "calibration",
            expected="finite activations on at least one image",
            found=f"{done} images, not finite: {', '.join(wrong[:5]) or 'none'}",
        )
    ranges = {n: (float(a), float(b)) for n, a, b in zip(names, low, high, strict=True)}
    return CalibrationTable(ranges, done, digest, evidence)


def _with_ranges(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The graph with ReduceMin and ReduceMax of every float tensor as its only outputs."""
    inferred = onnx.shape_inference.infer_shapes(model)
    graph = inferred.graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    names = [o for n in graph.node for o in n.output if kinds.get(o) == TensorProto.FLOAT]
    names += [i.name for i in graph.input if i.type.tensor_type.elem_type == TensorProto.FLOAT]
    del graph.output[:]
    for name in names:
        for kind in ("ReduceMin", "ReduceMax"):
            output = f"{name}:{kind}"
            graph.node.append(helper.make_node(kind, [name], [output], output, keepdims=0))
            graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    return inferred, names


def _pair(values: tuple[float, ...]) -> tuple[float, float]:
    low, high = values
    return low, high
