"""Calibration: what each tensor's values are over photographs, streamed one at a time, twice.

Memory does not grow with the number of photographs: statistics per channel and one histogram per tensor are
kept, from which each recipe's ranges follow without another look at the photographs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from ecovision_edge.base.fields import Fields, JsonValue, parse_json
from ecovision_edge.errors import ContractError, DatasetError
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.int8.histograms import Histogram
from ecovision_edge_export.int8.recipe import Recipe
from ecovision_edge_export.rewrites.equalization import (
    ChannelStatistics,
    channel_scales,
    equalize,
    scales_of_tensors,
)
from ecovision_edge_export.rewrites.excitation import fold_excitations, silent_excitations

__all__ = [
    "REFERENCE_CALIBRATION",
    "Calibration",
    "CalibrationTable",
    "Evidence",
    "NetworkInput",
    "giving_out",
    "measure",
    "onnx_session",
    "prepare",
]

REFERENCE_CALIBRATION = Path(__file__).parents[1] / "models" / "reference.calibration.json"
"""Ranges recorded with the reference weights, so that they can be exported where there are no photographs."""

MAX_CHANNELS = 10_000  # of a tensor, in a recorded table

Evidence = Literal["photographs", "generated", "recorded", "trained"]
NetworkInput = npt.NDArray[np.uint8 | np.float32]
Range = tuple[float, float]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CalibrationTable:
    """Range `(low, high)` of each float tensor of the prepared graph (see `prepare`), by name.

    `images` is how many it was measured on, `digest` the sha256 over their names and contents, `recipe` how
    the ranges were found and what else the search chose, `tried` the search's rows as the manifest has them,
    `scales` those of the channels (see `equalization`), `silent` the excitations that are constant (see
    `excitation`), `means` of the channels of each tensor, where biases are to be corrected (see `bias`),
    `room` how many times as large as need be the scale of each row of some weights is (see `headroom`).
    """

    ranges: Mapping[str, Range]
    images: int
    digest: str
    evidence: Evidence
    recipe: Recipe = field(default_factory=Recipe)
    tried: tuple[JsonValue, ...] = ()
    scales: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    means: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    room: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        """Whether the weights were trained for these ranges."""
        return self.evidence == "trained"

    @property
    def method(self) -> str:
        """How the ranges were found, in a word."""
        return "trained" if self.trained else self.recipe.ranges

    def dumps(self) -> bytes:
        """Return JSON, the same bytes for the same table."""
        ranges: dict[str, JsonValue] = {k: [lo, hi] for k, (lo, hi) in sorted(self.ranges.items())}
        return _compact(
            {
                "images": self.images,
                "digest": self.digest,
                "recipe": self.recipe.to_json(),
                "tried": [*self.tried],
                "ranges": ranges,
                "scales": {k: [*v] for k, v in sorted(self.scales.items())},
                "silent": [*self.silent],
                "means": {k: [*v] for k, v in sorted(self.means.items())},
                "room": {k: [*v] for k, v in sorted(self.room.items())},
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
            recipe=Recipe.from_fields(f.sub("recipe")),
            tried=tuple(f.items("tried", most=1000)),
            scales=_vectors(f, "scales", 1e-6, 1e6),
            silent=tuple(str(name) for name in f.items("silent", most=1000)),
            means=_vectors(f, "means", -1e30, 1e30),
            room=_vectors(f, "room", 1, 2),
        )
        f.done()
        return table


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was seen on photographs, of which `table` makes the ranges of any recipe.

    Args:
        images: How many.
        digest: The sha256 over their names and contents.
        evidence: What they were.
        silent: Excitations that are constant.
        scales: Of the channels that equalization divides.
        histograms: Of each tensor, equalized.
        plain: Of the tensors that equalization changes, as they are without it.
        fixed: Tensors that only hard-swish or hard-sigmoid reads: their range begins at -3.
        means: Of each tensor's channels, not equalized.
        divided: By which scales equalization divides a tensor's channels.
    """

    images: int
    digest: str
    evidence: Evidence
    silent: tuple[str, ...]
    scales: Mapping[str, tuple[float, ...]]
    histograms: Mapping[str, Histogram]
    plain: Mapping[str, Histogram]
    fixed: frozenset[str]
    means: Mapping[str, Values]
    divided: Mapping[str, Values]

    def table(self, recipe: Recipe | None = None) -> CalibrationTable:
        """Return the ranges that a recipe asks for; None is the default one."""
        recipe = recipe or Recipe()
        histograms = self.histograms if recipe.equalized else {**self.histograms, **self.plain}
        means: dict[str, tuple[float, ...]] = {}
        if recipe.bias_corrected:
            for name, values in self.means.items():
                if name not in self.histograms:
                    continue  # folded away
                by = self.divided.get(name) if recipe.equalized else None
                means[name] = tuple(float(f"{v:.6g}") for v in (values if by is None else values / by))
        return CalibrationTable(
            {n: h.range_by(recipe.ranges, fixed_low=n in self.fixed) for n, h in histograms.items()},
            self.images,
            self.digest,
            self.evidence,
            recipe,
            scales=self.scales if recipe.equalized else {},
            silent=self.silent,
            means=means,
        )


def onnx_session(model: onnx.ModelProto, threads: int = 1) -> ort.InferenceSession:
    """Return an onnxruntime session on the CPU. One thread, so that sums are the same on every run."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def giving_out(
    model: onnx.ModelProto, names: Iterable[str], kind: int = TensorProto.FLOAT
) -> onnx.ModelProto:
    """Return the graph with the tensors of these names, of the element type `kind`, as its only outputs."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for name in dict.fromkeys(names):
        probe.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    return probe


def measure(
    model: onnx.ModelProto,
    inputs: Callable[[], Iterable[NetworkInput]],
    *,
    digest: str,
    evidence: Evidence,
    progress: Callable[[int], None] = lambda done: None,
) -> Calibration:
    """Run `model` over network inputs, twice: find what to prepare, then what values the tensors have.

    The first time each channel's least and greatest value, mean and mean square are kept, from which come the
    excitations to fold and the channels' scales; the second time one histogram per tensor.

    Args:
        model: The fp32 graph, preprocessing folded.
        inputs: Gives batches of the contract's shape, the same each time.
        digest: Of the photographs.
        evidence: What the inputs are.
        progress: Called with the number of inputs done, which goes up to twice their number.

    Raises:
        DatasetError: no input, or a value that is not finite.
    """
    statistics, means, images = _measure_channels(model, inputs(), progress)
    widest = {name: (float(s.low.min()), float(s.high.max())) for name, s in statistics.items()}
    g = Graph.copy_of(model)
    silent = silent_excitations(g, widest)
    fold_excitations(g, silent)
    scales = channel_scales(g, statistics)
    divided = scales_of_tensors(g, scales)
    narrowed = dict(widest)
    for name, by in divided.items():
        of = statistics[name]
        narrowed[name] = (float((of.low / by).min()), float((of.high / by).max()))
    fixed = _read_from_minus_three(g)
    plain, plain_session = _histograms(g.model, widest, fixed, divided)
    equalize(g, scales)
    histograms, session = _histograms(g.model, narrowed, fixed, None)
    sessions = [(session, histograms), (plain_session, plain)]
    done = 0
    for batch in inputs():
        for session, counted in sessions:
            if not counted:
                continue
            values = session.run([*counted], {session.get_inputs()[0].name: batch})
            for histogram, array in zip(counted.values(), values, strict=True):
                histogram.add(array)
        done += len(batch)
        progress(images + done)
    return Calibration(images, digest, evidence, silent, scales, histograms, plain, fixed, means, divided)


def prepare(g: Graph, table: CalibrationTable) -> None:
    """Make an fp32 graph the one that the table's ranges are of: excitations folded, channels equalized.

    Raises:
        ContractError: the table is of another graph.
    """
    try:
        fold_excitations(g, table.silent)
        equalize(g, table.scales)
    except (KeyError, ValueError) as e:
        raise ContractError(
            "calibration table",
            expected="that of this graph",
            found=str(e),
            fix="give --calib photographs, so that it is measured again",
        ) from e


def _measure_channels(
    model: onnx.ModelProto, inputs: Iterable[NetworkInput], progress: Callable[[int], None]
) -> tuple[dict[str, ChannelStatistics], dict[str, Values], int]:
    """Measure statistics and mean of each channel of each float tensor; and count the images."""
    probe, names = _with_channel_statistics(model)
    session = onnx_session(probe)
    input_name = session.get_inputs()[0].name
    low: dict[str, Values] = {}
    high: dict[str, Values] = {}
    sums: dict[str, Values] = {}
    squares: dict[str, Values] = {}
    done = 0
    for batch in inputs:
        values = session.run(None, {input_name: batch})
        for i, name in enumerate(names):
            least, most, mean, square = (
                np.atleast_1d(v).astype(np.float64) for v in values[4 * i : 4 * i + 4]
            )
            low[name] = np.minimum(low.get(name, math.inf), least)
            high[name] = np.maximum(high.get(name, -math.inf), most)
            sums[name] = sums.get(name, np.zeros(1)) + mean * len(batch)
            squares[name] = squares.get(name, np.zeros(1)) + square * len(batch)
        done += len(batch)
        progress(done)
    wrong = [n for n in low if not (np.isfinite(low[n]).all() and np.isfinite(high[n]).all())]
    if done == 0 or wrong:
        raise DatasetError(
            "calibration",
            expected="finite activations on at least one image",
            found=f"{done} images, not finite: {', '.join(wrong[:5]) or 'none'}",
        )
    statistics = {n: ChannelStatistics(low[n], high[n], squares[n] / done) for n in names}
    return statistics, {n: s / done for n, s in sums.items()}, done


def _with_channel_statistics(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The graph with the least and greatest value, mean and mean square of every float tensor as its outputs.

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
        for kind, of in (
            ("ReduceMin", name),
            ("ReduceMax", name),
            ("ReduceMean", name),
            ("ReduceMean", f"{name}:squared"),
        ):
            output = f"{of}:{kind}"
            graph.node.append(helper.make_node(kind, [of, f"{name}:axes"], [output], output, keepdims=0))
            graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return inferred, names


def _read_from_minus_three(g: Graph) -> frozenset[str]:
    """Return tensors that only hard-swish or hard-sigmoid reads: what is below -3 is nothing to them."""
    kinds = {name: {user.op_type for user in users} for name, users in g.users.items() if users}
    return frozenset(n for n, readers in kinds.items() if readers <= {"HardSwish", "HardSigmoid"})


def _histograms(
    model: onnx.ModelProto,
    widest: Mapping[str, Range],
    fixed: Collection[str],
    only: Collection[str] | None,
) -> tuple[dict[str, Histogram], ort.InferenceSession]:
    """An empty histogram of each float tensor, or of those in `only`; and a session that gives them out."""
    names = [n for n in _float_tensors(*_inferred(model)) if only is None or n in only]
    least = dict.fromkeys(fixed, -3.0)
    histograms = {
        n: Histogram.between(max(widest[n][0], least.get(n, -math.inf)), widest[n][1]) for n in names
    }
    return histograms, onnx_session(giving_out(model, names) if names else model)


def _inferred(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, onnx.TypeProto.Tensor]]:
    inferred = onnx.shape_inference.infer_shapes(model)
    values = (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input)
    return inferred, {v.name: v.type.tensor_type for v in values}


def _float_tensors(model: onnx.ModelProto, kinds: Mapping[str, onnx.TypeProto.Tensor]) -> list[str]:
    names = [o for n in model.graph.node for o in n.output]
    names += [i.name for i in model.graph.input]
    return [n for n in names if n in kinds and kinds[n].elem_type == TensorProto.FLOAT]


def _compact(value: dict[str, JsonValue]) -> bytes:
    """JSON with a line for each key of the first two levels: thousands of numbers are no text to read."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            inner = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in item.items())
            lines.append(f"{json.dumps(key)}: {{\n{inner}\n }}")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(item)}")
    return ("{\n " + ",\n ".join(lines) + "\n}\n").encode()


def _vectors(f: Fields, key: str, low: float, high: float) -> dict[str, tuple[float, ...]]:
    values = f.sub(key)
    return {
        name: values.numbers(name, len(values.items(name, most=MAX_CHANNELS)), low, high)
        for name in f.free(key)
    }


def _pair(values: tuple[float, ...]) -> tuple[float, float]:
    low, high = values
    return low, high
