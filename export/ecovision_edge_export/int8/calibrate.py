"""Calibration: what each tensor's values are over photographs, streamed one at a time, twice.

Memory does not grow with the number of photographs: statistics per channel and one histogram per tensor are
kept, from which each recipe's ranges follow without another look at the photographs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from ecovision_edge.errors import DatasetError
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.int8.histograms import Histogram
from ecovision_edge_export.int8.recipe import Recipe
from ecovision_edge_export.int8.sessions import NetworkInput, giving_out, onnx_session
from ecovision_edge_export.int8.table import CalibrationTable, Evidence, Range
from ecovision_edge_export.rewrites.equalization import (
    ChannelStatistics,
    channel_scales,
    equalize,
    scales_of_tensors,
)
from ecovision_edge_export.rewrites.excitation import fold_excitations, silent_excitations

__all__ = ["Calibration", "measure"]


Values = npt.NDArray[np.float64]


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
    """Add minimum, maximum, mean and mean square of every float tensor to the graph's outputs.

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
    """Make a histogram of each float tensor, or of those in `only`; and a session that gives them out."""
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
