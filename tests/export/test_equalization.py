"""What calibration prepares: channels of one width, constant excitations folded, ranges of least error."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.export.graphs import reweighted, rewritten

from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import ExportError
from ecovision_edge.preprocess import Preprocessor
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.int8 import calibrate
from ecovision_edge_export.int8.calibrate import measure
from ecovision_edge_export.int8.histograms import Histogram
from ecovision_edge_export.int8.quantize import quantize
from ecovision_edge_export.int8.sessions import onnx_session
from ecovision_edge_export.rewrites.equalization import (
    ChannelStatistics,
    channel_scales,
    equalize,
    scales_of_tensors,
)
from ecovision_edge_export.rewrites.excitation import fold_excitations, silent_excitations
from ecovision_edge_export.rewrites.zero_points import read_additions, shifted_range
from ecovision_edge_export.weights.checkpoint import Checkpoint

Statistics = dict[str, ChannelStatistics]


@pytest.fixture(scope="module")
def inputs(contract: Contract) -> list[np.ndarray]:
    """Four network inputs."""
    return [Preprocessor(contract).prepare(draw_frame(seed)) for seed in range(4)]


@pytest.fixture(scope="module")
def statistics(graph: onnx.ModelProto, inputs: list[np.ndarray]) -> Statistics:
    """Over those inputs."""
    return calibrate._measure_channels(graph, iter(inputs), lambda _: None)[0]


def answers(model: onnx.ModelProto, inputs: list[np.ndarray]) -> np.ndarray:
    """Logits, (inputs, classes)."""
    session = onnx_session(model)
    return np.concatenate([session.run(None, {"frame": x})[0] for x in inputs])


@pytest.mark.slow
def test_channel_statistics_are_those_of_the_values(
    graph: onnx.ModelProto, inputs: list[np.ndarray], statistics: Statistics
) -> None:
    """Least, greatest and mean square of each channel of a tensor, over all inputs."""
    name = "features.3.block.0.0/Relu"
    probe = onnx.ModelProto()
    probe.CopyFrom(graph)
    probe.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    values = np.concatenate([onnx_session(probe).run([name], {"frame": x})[0] for x in inputs])
    of = statistics[name]
    assert of.low.shape == (72,)
    np.testing.assert_allclose(of.low, values.min((0, 2, 3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(of.high, values.max((0, 2, 3)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(of.square, np.square(values, dtype=np.float64).mean((0, 2, 3)), rtol=1e-4)


@pytest.mark.slow
def test_equalization_changes_no_answer(
    graph: onnx.ModelProto, inputs: list[np.ndarray], statistics: Statistics
) -> None:
    """On synthetic frames and on noise, to 1e-5 of the largest; the graph given is not touched."""
    before = graph.SerializeToString(deterministic=True)
    equal, _ = rewritten(graph, equalize, channel_scales(Graph(graph), statistics))
    assert graph.SerializeToString(deterministic=True) == before
    noise = np.random.default_rng(0).integers(0, 256, inputs[0].shape).astype(np.uint8)
    expected, found = (answers(m, [*inputs, noise]) for m in (graph, equal))
    assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.slow
def test_what_only_a_depthwise_convolution_reads_becomes_equally_wide(
    graph: onnx.ModelProto, inputs: list[np.ndarray], statistics: Statistics
) -> None:
    """All channels but those that the bound of 1/64 holds back."""
    equal, _ = rewritten(graph, equalize, channel_scales(Graph(graph), statistics))
    after = calibrate._measure_channels(equal, iter(inputs), lambda _: None)[0]
    name = "features.3.block.0.0/Relu"
    assert np.ptp(statistics[name].high) > 0.5 * statistics[name].high.max()
    alive = after[name].high > 0
    held_back = after[name].high < 0.99 * after[name].high.max()
    assert (statistics[name].high[alive & held_back] <= statistics[name].high.max() / 60).all()
    assert (alive & ~held_back).sum() > 60


@pytest.mark.slow
def test_hard_swish_and_the_output_are_left(graph: onnx.ModelProto, statistics: Statistics) -> None:
    """Only tensors that a scale passes through are divided; a residual stream shares its scales."""
    g = Graph(graph)
    scales = channel_scales(g, statistics)
    divided = scales_of_tensors(g, scales)
    for name in divided:
        assert {n.op_type for n in (g.maker[name], *g.users[name])} <= {
            *("Conv", "Relu", "ReduceMean", "Add", "Mul")
        }
    assert not any("HardSwish" in name or "HardSigmoid" in name.split("/")[-1] for name in divided)
    assert "logits" not in divided
    stream = [
        divided[f"features.{k}.block.2.0{end}"] for k, end in ((7, ""), (8, ""), (8, "/Add"), (10, "/Add"))
    ]
    assert all(np.array_equal(stream[0], s) for s in stream)
    assert all(1 / 64 <= s <= 1 for values in scales.values() for s in values)


@pytest.fixture(scope="module")
def silenced(reference: Checkpoint, simplified: onnx.ModelProto, contract: Contract) -> onnx.ModelProto:
    """The reference with one excitation that never fires."""
    state = {k: v.clone() for k, v in reference.state.items()}
    state["features.6.block.2.fc1.weight"].zero_()
    state["features.6.block.2.fc1.bias"].fill_(-1.0)
    return reweighted(simplified, state, contract)


@pytest.mark.slow
def test_a_constant_excitation_is_folded(silenced: onnx.ModelProto, inputs: list[np.ndarray]) -> None:
    """The branch is gone, the answers are the same; another one stays."""
    statistics = calibrate._measure_channels(silenced, iter(inputs), lambda _: None)[0]
    ranges = {n: (float(s.low.min()), float(s.high.max())) for n, s in statistics.items()}
    silent = silent_excitations(Graph(silenced), ranges)
    assert "features.6.block.2.fc1/Relu" in silent
    assert "features.5.block.2.fc1/Relu" not in silent
    without, _ = rewritten(silenced, fold_excitations, ["features.6.block.2.fc1/Relu"])
    onnx.checker.check_model(without, full_check=True)
    left = {n.name for n in without.graph.node}
    assert not any(name.startswith("features.6.block.2.") for name in left)
    assert any(name.startswith("features.5.block.2.") for name in left)
    expected, found = (answers(m, inputs) for m in (silenced, without))
    assert np.abs(expected - found).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.slow
def test_what_is_no_excitation_is_not_folded(graph: onnx.ModelProto) -> None:
    """A Relu in front of a depthwise convolution is none, however silent."""
    assert silent_excitations(Graph(graph), {"features.3.block.0.0/Relu": (0.0, 0.0)}) == ()
    with pytest.raises(KeyError):
        fold_excitations(Graph(graph), ["features.3.block.0.0/Relu"])


@given(st.floats(-100, 1000))
def test_three_is_a_whole_number_of_steps(high: float) -> None:
    """The range starts at -3 and reaches the greatest value, which is at most 762."""
    low, top = shifted_range(high)
    steps = 3 / ((top - low) / 255)
    assert low == -3
    assert steps == pytest.approx(round(steps))
    assert 1 <= round(steps) <= 255
    assert top >= min(high, 762) - 1e-9


@pytest.mark.slow
def test_a_zero_point_that_is_not_three_is_refused(graph: onnx.ModelProto, inputs: list[np.ndarray]) -> None:
    """The rule needs 3 to be whole; anything else would be another function."""
    table = measure(graph, lambda: iter(inputs), digest="", evidence="generated").table()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecovision_edge_export.int8.quantize.read_additions", lambda g: None)
        untouched = quantize(graph, table).model
    expected, found = (answers(m, inputs) for m in (untouched, rewritten(untouched, read_additions)[0]))
    assert np.abs(expected - found).max() < 0.1 * np.abs(expected).max()
    scale = next(i for i in untouched.graph.initializer if i.name == "features.7.block.0.0_scale")
    scale.CopyFrom(onnx.numpy_helper.from_array(np.array(0.123, np.float32), scale.name))
    with pytest.raises(ExportError, match="whole number of steps"):
        read_additions(Graph(untouched))


def rounded(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """As uint8 holds them."""
    step = (high - low) / 255
    zero = np.round(-low / step)
    return (np.clip(np.round(values / step) + zero, 0, 255) - zero) * step


def test_the_best_range_leaves_out_what_is_rare() -> None:
    """One value of a million far out does not set the scale, and the error is less than with it."""
    values = np.random.default_rng(0).normal(size=10_001).astype(np.float32)
    histogram = Histogram.between(float(values.min()), 20)
    histogram.add(np.array([20], np.float32))
    for _ in range(100):
        histogram.add(values)
    low, high = histogram.range_by("mse")
    assert 3 < high < 12
    every = np.append(np.tile(values, 100), np.float32(20))
    errors = [np.square(rounded(every, *r) - every).mean() for r in ((low, high), (values.min(), 20))]
    assert errors[0] < errors[1]


def test_the_best_range_of_even_values_is_all_of_them() -> None:
    """Nothing is gained by clipping where no value is rare; a fixed low end stays."""
    values = np.linspace(-3, 5, 9_999, dtype=np.float32)
    histogram = Histogram.between(-3, 5)
    histogram.add(values)
    low, high = histogram.range_by("mse")
    assert low < -2.85
    assert high > 4.8
    assert histogram.range_by("mse", fixed_low=True)[0] == -3


@pytest.mark.parametrize("span", [(0.0, 0.0), (2.0, 2.0), (-1.0, -0.5)])
def test_odd_histograms_have_a_range(span: tuple[float, float]) -> None:
    """Of a dead tensor, of a constant, of one that is always below zero."""
    histogram = Histogram.between(*span)
    histogram.add(np.full(5, span[0], np.float32))
    low, high = histogram.range_by("mse")
    assert low <= 0 <= high
    assert low >= min(span[0], 0)
