"""Rewrites of the fp32 graph: each gives the same answers, and leaves alone what it does not understand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.export.graphs import rewritten

from ecovision_edge.bundle.contract import Contract
from ecovision_edge.preprocess import Preprocessor
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.int8 import calibrate
from ecovision_edge_export.int8.quantize import blocks_of
from ecovision_edge_export.int8.sessions import onnx_session
from ecovision_edge_export.rewrites import rewrite_for_int8
from ecovision_edge_export.rewrites.alignment import align_channels
from ecovision_edge_export.rewrites.hard_swish import integer_hard_swish
from ecovision_edge_export.rewrites.pooling import pool_means
from ecovision_edge_export.rewrites.zero_points import shifted_range

Rewrite = Callable[[Graph], object]

REWRITES: dict[str, Rewrite] = {
    "hard-swish": integer_hard_swish,
    "pooling": pool_means,
    "alignment": align_channels,
    "all": lambda g: rewrite_for_int8(g, {}, ()),
}


def operators(model: onnx.ModelProto) -> Counter[str]:
    """How many of each."""
    return Counter(n.op_type for n in model.graph.node)


def small(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], out: str = "y") -> onnx.ModelProto:
    """A graph of `x`, (batch, 3, 4, 4), to `out`."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 4, 4])
    y = helper.make_tensor_value_info(out, TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(v.astype(v.dtype), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "small", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def node(op: str, inputs: str, out: str, **attributes: object) -> onnx.NodeProto:
    """A node named after its output."""
    return helper.make_node(op, inputs.split(), [out], out, **attributes)


def weights(seed: int, *shape: int) -> np.ndarray:
    """Random float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def run(model: onnx.ModelProto, seed: int = 9) -> np.ndarray:
    """Its answer on random inputs that reach both ends of the clips."""
    x = 6 * weights(seed, 5, 3, 4, 4)
    result: np.ndarray = onnx_session(model).run(None, {"x": x})[0]
    return result


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """To 1e-5 of the largest."""
    return a.shape == b.shape and bool(np.abs(a - b).max() <= 1e-5 * np.abs(a).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", REWRITES)
def test_the_whole_network_gives_the_same_logits(
    name: str, graph: onnx.ModelProto, contract: Contract
) -> None:
    """On synthetic frames and on noise, to 1e-5 of the largest; the graph given is not touched."""
    before = graph.SerializeToString(deterministic=True)
    changed, _ = rewritten(graph, REWRITES[name])
    assert graph.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(changed, full_check=True)
    frames = [Preprocessor(contract).prepare(draw_frame(seed)) for seed in range(3)]
    frames.append(np.random.default_rng(0).integers(0, 256, frames[0].shape).astype(np.uint8))
    x = np.concatenate(frames)
    expected, found = (onnx_session(m).run(None, {"frame": x})[0] for m in (graph, changed))
    assert same(expected, found)


@pytest.mark.slow
def test_nothing_of_hard_swish_is_left_but_at_the_residual(graph: onnx.ModelProto) -> None:
    """The stem's output goes into the residual of block 1: that one stays."""
    found = operators(rewritten(graph, integer_hard_swish)[0])
    assert (found["HardSwish"], found["HardSigmoid"]) == (1, 0)
    assert found["Clip"] == 28


@pytest.mark.slow
def test_every_depthwise_convolution_is_aligned(graph: onnx.ModelProto) -> None:
    """To 16; those that are already stay as they are."""
    groups = [
        a.i
        for n in rewritten(graph, align_channels)[0].graph.node
        if n.op_type == "Conv"
        for a in n.attribute
        if a.name == "group" and a.i > 1
    ]
    assert len(groups) == 15
    assert all(g % 16 == 0 for g in groups)
    assert sorted(set(groups)) == [16, 64, 80, 128, 192, 208, 240, 480, 672, 960]


@pytest.mark.slow
def test_what_is_kept_is_not_touched(graph: onnx.ModelProto) -> None:
    """Nodes of the blocks that stay fp32, and the weights that they use."""
    keep = {name for name, block in blocks_of(graph).items() if block <= 9}
    changed, _ = rewritten(graph, rewrite_for_int8, {}, keep)
    after = {n.name: n for n in changed.graph.node}
    tensors = {i.name: i for i in changed.graph.initializer}
    for n in graph.graph.node:
        if n.name in keep:
            assert after[n.name] == n
    for tensor in graph.graph.initializer:
        if any(tensor.name in n.input for n in graph.graph.node if n.name in keep):
            assert tensors[tensor.name] == tensor


@pytest.mark.slow
def test_ranges_follow_the_factors(graph: onnx.ModelProto) -> None:
    """A hard-swish's output is 6 times as large, a product of two such 36 times; clips are 0 to 6."""
    names = [o for n in graph.graph.node for o in n.output]
    changed, (ranges, factors) = rewritten(graph, rewrite_for_int8, dict.fromkeys(names, (-1.0, 2.0)), ())
    assert ranges["features.7.block.0.0"] == shifted_range(2.0)
    assert ranges["features.7.block.2.0"] == (-1.0, 2.0)
    assert factors["features.7.block.0.0/HardSwish"] == 6
    assert ranges["features.7.block.0.0/HardSwish"] == (-6.0, 12.0)
    assert ranges["features.11.block.2.fc2/HardSigmoid"] == (0.0, 6.0)
    assert ranges["features.11.block.2.fc2/HardSigmoid/Mul"] == (-36.0, 72.0)
    assert ranges["features.4.block.2.fc2/HardSigmoid/Mul"] == (-6.0, 12.0)
    made = {o for n in changed.graph.node for o in n.output}
    assert made - {"preprocess/Transpose"} <= set(ranges)


@pytest.mark.slow
def test_a_hard_sigmoid_reads_nothing_beyond_three(graph: onnx.ModelProto) -> None:
    """So no level is spent there; what a hard-swish reads keeps its range."""
    names = [o for n in graph.graph.node for o in n.output]
    _, (ranges, _) = rewritten(graph, rewrite_for_int8, dict.fromkeys(names, (-1.0, 100.0)), ())
    assert ranges["features.11.block.2.fc2"] == shifted_range(3.0)
    assert ranges["features.7.block.0.0"] == shifted_range(100.0)


@pytest.mark.slow
def test_measured_ranges_of_the_rewritten_graph_are_those_that_were_derived(
    graph: onnx.ModelProto, contract: Contract
) -> None:
    """Calibrating the new graph gives the old one's ranges times the factors, clips aside."""

    def spans(model: onnx.ModelProto) -> dict[str, tuple[float, float]]:
        statistics, _, _ = calibrate._measure_channels(model, iter(inputs), lambda _: None)
        return {name: (s.low.min(), s.high.max()) for name, s in statistics.items()}

    inputs = [Preprocessor(contract).prepare(draw_frame(seed)) for seed in range(2)]
    old = spans(graph)
    spelled_out, factors = rewritten(graph, integer_hard_swish)
    new = spans(spelled_out)
    for name, (low, high) in old.items():
        f = factors.get(name, 1.0)
        assert new[name] == pytest.approx((low * f, high * f), rel=1e-3, abs=1e-4), name


HARD_SWISH = [node("HardSwish", "x", "h")]
CONV = node("Conv", "h w", "y")
W = {"w": weights(1, 2, 3, 1, 1)}


def test_a_factor_is_taken_back_by_the_next_convolution() -> None:
    """Weights are a sixth."""
    model = small([*HARD_SWISH, CONV], W)
    changed, factors = rewritten(model, integer_hard_swish)
    assert operators(changed) == {"Add": 1, "Clip": 1, "Mul": 1, "Conv": 1}
    assert same(run(model), run(changed))
    assert factors == {"h": 6.0}


def test_weights_that_others_use_are_copied() -> None:
    """A convolution that shares them keeps its own."""
    nodes = [*HARD_SWISH, node("Conv", "h w", "a"), node("Conv", "x w", "b"), node("Add", "a b", "y")]
    model = small(nodes, W)
    changed, _ = rewritten(model, integer_hard_swish)
    assert operators(changed)["HardSwish"] == 0
    assert same(run(model), run(changed))


@pytest.mark.parametrize(
    "nodes",
    [
        [*HARD_SWISH, node("Add", "h x", "y")],
        [*HARD_SWISH, node("Identity", "h", "y")],
        [*HARD_SWISH, node("Softmax", "h", "s"), node("Conv", "s w", "y")],
        [*HARD_SWISH, node("Mul", "h h", "m"), node("Conv", "m w", "y")],
        [node("HardSigmoid", "x", "h"), CONV],
        [*HARD_SWISH, node("Conv", "h w", "c"), node("Concat", "c h", "y", axis=1)],
    ],
    ids=["residual", "unknown", "not linear", "squared", "another slope", "one path of two"],
)
def test_where_the_factor_would_be_lost_hard_swish_is_left(nodes: list[onnx.NodeProto]) -> None:
    """Graph unchanged."""
    model = small(nodes, W)
    changed, factors = rewritten(model, integer_hard_swish)
    assert operators(changed) == operators(model)
    assert factors == {}
    assert same(run(model), run(changed))


def test_a_hard_swish_that_is_the_output_is_left() -> None:
    """Its values are what the user gets."""
    model = small([node("HardSwish", "x", "y")], {})
    assert operators(rewritten(model, integer_hard_swish)[0]) == {"HardSwish": 1}


def test_squeeze_and_excitation_is_rewritten_whole() -> None:
    """Pooling, two convolutions, hard-sigmoid and product, on a hard-swish: 36 times, taken back at once."""
    constants = {
        "a": weights(1, 2, 3, 1, 1),
        "b": weights(2, 3, 2, 1, 1),
        "w": weights(3, 4, 3, 1, 1),
        "axes": np.array([2, 3], np.int64),
    }
    nodes = [
        *HARD_SWISH,
        node("ReduceMean", "h axes", "p", keepdims=1),
        node("Conv", "p a", "q"),
        node("Relu", "q", "r"),
        node("Conv", "r b", "s"),
        node("HardSigmoid", "s", "t", alpha=1 / 6, beta=0.5),
        node("Mul", "t h", "m"),
        node("Conv", "m w", "y"),
    ]
    model = small(nodes, constants)
    changed, factors = rewritten(model, integer_hard_swish)
    assert factors["m"] == 36
    assert operators(changed)["HardSigmoid"] == operators(changed)["HardSwish"] == 0
    assert same(run(model), run(changed))
    pooled, _ = rewritten(changed, pool_means)
    assert operators(pooled)["GlobalAveragePool"] == 1
    assert same(run(model), run(pooled))


@pytest.mark.parametrize("mean", [{"keepdims": 0}, {"axes": np.array([1, 2], np.int64)}])
def test_other_means_are_left(mean: dict[str, object]) -> None:
    """Dimensions dropped, or other axes."""
    axes = mean.get("axes", np.array([2, 3], np.int64))
    assert isinstance(axes, np.ndarray)
    keep = int(mean.get("keepdims", 1))  # type: ignore[call-overload]
    model = small([node("ReduceMean", "x axes", "y", keepdims=keep)], {"axes": axes})
    assert operators(rewritten(model, pool_means)[0]) == {"ReduceMean": 1}


DEPTHWISE = {
    "e": weights(1, 5, 3, 1, 1),
    "eb": weights(2, 5),
    "d": weights(3, 5, 1, 3, 3),
    "p": weights(4, 2, 5, 1, 1),
}


def test_padded_channels_change_nothing() -> None:
    """Expand, activation, depthwise, project: 5 channels become 16."""
    nodes = [
        node("Conv", "x e eb", "a"),
        node("HardSwish", "a", "b"),
        node("Conv", "b d", "c", group=5, pads=[1, 1, 1, 1]),
        node("Conv", "c p", "y"),
    ]
    model = small(nodes, DEPTHWISE)
    aligned, _ = rewritten(model, align_channels)
    shapes = {i.name: tuple(i.dims) for i in aligned.graph.initializer}
    assert shapes == {"e": (16, 3, 1, 1), "eb": (16,), "d": (16, 1, 3, 3), "p": (2, 16, 1, 1)}
    assert same(run(model), run(aligned))


@pytest.mark.parametrize(
    "middle",
    [
        [node("Softmax", "c", "m", axis=1)],
        [node("Add", "c k", "m")],
        [node("Identity", "c", "m")],
    ],
    ids=["mixes channels", "a constant a channel", "unknown"],
)
def test_channels_that_are_mixed_are_not_padded(middle: list[onnx.NodeProto]) -> None:
    """Graph unchanged."""
    nodes = [
        node("Conv", "x e eb", "a"),
        node("Conv", "a d", "c", group=5, pads=[1, 1, 1, 1]),
        *middle,
        node("Conv", "m p", "y"),
    ]
    model = small(nodes, {**DEPTHWISE, "k": weights(5, 1, 5, 1, 1)})
    aligned, _ = rewritten(model, align_channels)
    assert {i.name: tuple(i.dims) for i in aligned.graph.initializer} == {
        i.name: tuple(i.dims) for i in model.graph.initializer
    }


def test_a_depthwise_convolution_of_the_input_is_not_padded() -> None:
    """Nobody could make its new channels."""
    model = small([node("Conv", "x d3", "y", group=3)], {"d3": weights(1, 3, 1, 3, 3)})
    assert rewritten(model, align_channels)[0].graph.initializer[0].dims[0] == 3
