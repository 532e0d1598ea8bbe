"""The numbers that an int8 model is made of, and judged by: ranges, noise, biases, costs, recipes."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.export.graphs import rewritten

from ecovision_edge.base.device import Cpu
from ecovision_edge.base.fields import Fields
from ecovision_edge.errors import ContractError
from ecovision_edge_export.int8.bias import correct_biases, rounded_rows
from ecovision_edge_export.int8.costs import RATES, Work, modelled_cost, work_of
from ecovision_edge_export.int8.fidelity import fidelity, sqnr_db
from ecovision_edge_export.int8.histograms import Histogram
from ecovision_edge_export.int8.recipe import RANGE_METHODS, RangeMethod, Recipe
from ecovision_edge_export.int8.sessions import onnx_session
from ecovision_edge_export.targets import TARGETS, Target, assumed_target, signed_activations, target_of

Floats = npt.NDArray[np.float32]


def gaussian(seed: int, *shape: int) -> Floats:
    """Random float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


BODY = gaussian(0, 100_000)
FAR = 20.0


def with_an_outlier() -> Histogram:
    """100,000 values of a Gaussian, and one at 20; each is counted."""
    histogram = Histogram.between(float(BODY.min()), FAR)
    for part in np.split(BODY, 10):
        histogram.add(part)
    histogram.add(np.array([FAR], np.float32))
    assert histogram.counts.sum() == 100_001
    return histogram


def rounding_error(span: tuple[float, float]) -> float:
    """Mean square error of the same values in uint8 of that range."""
    values = np.append(BODY, np.float32(FAR)).astype(np.float64)
    step = (span[1] - span[0]) / 255
    zero = np.round(-span[0] / step)
    held = (np.clip(np.round(values / step) + zero, 0, 255) - zero) * step
    return float(np.square(held - values).mean())


def test_minmax_is_the_whole_range() -> None:
    """The outlier too."""
    assert with_an_outlier().range_by("minmax") == (float(BODY.min()), FAR)


def test_the_percentile_leaves_out_one_of_100_000() -> None:
    """Beyond each end are about 10 values, as a bin allows; the outlier is one of them."""
    low, high = with_an_outlier().range_by("percentile")
    assert high < BODY.max() < FAR
    assert 7 <= (low > BODY).sum() <= 13
    assert 7 <= (high < BODY).sum() + 1 <= 13


@pytest.mark.parametrize("method", ["mse", "entropy"])
def test_a_lone_outlier_is_cut(method: RangeMethod) -> None:
    """Less far than it is, and not less far than nearly all values are."""
    _, high = with_an_outlier().range_by(method)
    assert np.quantile(BODY, 0.999) < high < FAR


def test_mse_has_less_error_than_any_other_method() -> None:
    """Of the raw values, rounded by hand."""
    histogram = with_an_outlier()
    errors = {method: rounding_error(histogram.range_by(method)) for method in RANGE_METHODS}
    assert errors["mse"] < errors["minmax"]
    assert errors["mse"] == min(errors.values())


def test_rarer_outliers_are_cut_more() -> None:
    """Ten times the values, the same one at 20."""
    once, more = with_an_outlier(), with_an_outlier()
    for part in np.split(BODY, 10):
        for _ in range(9):
            more.add(part)
    assert more.range_by("mse")[1] < once.range_by("mse")[1]


SPANS: dict[str, Floats] = {
    "both signs": BODY[:20_000],
    "positive": np.abs(BODY[:20_000]) + 1,
    "negative": -np.abs(BODY[:20_000]) - 1,
    "one value": np.array([3.0], np.float32),
    "two values": np.array([-1e-6, 1e6], np.float32),
    "tiny": np.array([-1e-45, 1e-45], np.float32),
    "huge": np.array([-3e38, 3e38, 1.0], np.float32),
    "zeros": np.zeros(50, np.float32),
    "zeros and a value": np.append(np.zeros(1000, np.float32), np.float32(2)),
}


@pytest.mark.parametrize("method", RANGE_METHODS)
@pytest.mark.parametrize("name", SPANS)
def test_zero_is_in_every_range(name: str, method: RangeMethod) -> None:
    """And no range is wider than the values with zero, or empty where they are not."""
    values = SPANS[name].reshape(1, -1)
    least, most = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    histogram = Histogram.between(float(values.min()), float(values.max()))
    histogram.add(values)
    low, high = histogram.range_by(method)
    assert least <= low <= 0 <= high <= most
    assert (low < high) is (least < most)


@pytest.mark.parametrize("method", RANGE_METHODS)
def test_a_fixed_low_end_stays(method: RangeMethod) -> None:
    """For every method; without it each but minmax would have moved it."""
    histogram = Histogram.between(-FAR, 6.0)
    histogram.add(np.append(BODY[:19_000], np.float32(-FAR)))
    assert histogram.range_by(method, fixed_low=True)[0] == -FAR
    assert (histogram.range_by(method)[0] == -FAR) is (method == "minmax")


@pytest.mark.parametrize("method", RANGE_METHODS)
@pytest.mark.parametrize("span", [(0.0, 0.0), (-2.0, 5.0)])
def test_an_empty_histogram_has_the_range_it_was_made_for(
    span: tuple[float, float], method: RangeMethod
) -> None:
    """Nothing was counted, and counting no values counts none."""
    histogram = Histogram.between(*span)
    histogram.add(np.zeros((0, 4), np.float32))
    assert not histogram.counts.any()
    assert histogram.range_by(method) == span


def test_values_beyond_an_end_count_as_that_end() -> None:
    """Finite ones."""
    histogram = Histogram.between(-1, 1)
    histogram.add(np.array([-5, -1.5, 1.5, 1e6, 1e6], np.float32))
    assert (histogram.counts[0], histogram.counts[-1], histogram.counts.sum()) == (2, 3, 5)


@pytest.mark.parametrize(("value", "place"), [(np.inf, -1), (3e38, -1), (-np.inf, 0), (-3e38, 0)])
def test_values_far_beyond_an_end_count_as_that_end(value: float, place: int) -> None:
    """However far."""
    histogram = Histogram.between(-1, 1)
    histogram.add(np.array([value], np.float32))
    assert histogram.counts[place] == 1


def test_what_is_no_number_raises_nothing() -> None:
    """The range is that of the others, or all of it."""
    histogram = Histogram.between(-1, 1)
    histogram.add(np.array([0.5, np.nan, -0.5], np.float32))
    for method in RANGE_METHODS:
        low, high = histogram.range_by(method)
        assert -1 <= low <= 0 <= high <= 1


def test_noise_of_a_tenth_is_20_db() -> None:
    """In amplitude, a hundredth in power; half of it is 6.02 dB more."""
    signal = gaussian(1, 30, 6).astype(np.float64)
    assert sqnr_db(1.1 * signal, signal) == pytest.approx(20, abs=1e-9)
    assert sqnr_db(0.95 * signal, signal) == pytest.approx(20 + 20 * np.log10(2), abs=1e-9)
    assert sqnr_db(np.zeros_like(signal), signal) == 0
    assert sqnr_db(11 * signal, signal) == pytest.approx(-20)


def test_less_noise_is_more_db() -> None:
    """No noise is the most, and a number."""
    signal, noise = gaussian(1, 30, 6), gaussian(2, 30, 6)
    found = [sqnr_db(signal + np.float32(a) * noise, signal) for a in (3, 1, 0.1, 0.01, 0)]
    assert found == sorted(found)
    assert len(set(found)) == 5
    assert np.isfinite(found).all()
    assert np.isfinite(sqnr_db(np.zeros(3), np.zeros(3)))


def test_identical_logits_agree() -> None:
    """On every input, and as many are to be expected."""
    logits = gaussian(3, 40, 6)
    same = fidelity(logits, logits)
    assert (same.agreement, same.expected_agreement) == (1, 1)
    assert same.sqnr_db > 200


def test_the_expected_agreement_is_of_all_pairs_of_lead_and_noise() -> None:
    """Leads 1 and 0.5, noise -0.8 and 0.2: only -0.8 on the lead of 0.5 flips, one pair of four."""
    expected = np.array([[2, 1, 0], [0, 1, 1.5]], np.float32)
    found = np.array([[1.6, 1.4, 0], [0, 1, 1.7]], np.float32)
    result = fidelity(found, expected)
    assert (result.agreement, result.expected_agreement) == (1, 0.75)
    flipped = fidelity(found[::-1], expected[::-1])
    assert (flipped.agreement, flipped.expected_agreement) == (1, 0.75)


def test_a_flip_is_a_disagreement() -> None:
    """Noise of -1.2 on a lead of 1, none on a lead of 2."""
    expected = np.array([[2, 1], [1, 3]], np.float32)
    result = fidelity(np.array([[1, 1.2], [1, 3]], np.float32), expected)
    assert (result.agreement, result.expected_agreement) == (0.5, 0.75)


def test_noise_lowers_both_agreements() -> None:
    """Beyond all leads about half of the pairs flip; found and expected are as near as 400 inputs allow."""
    logits, noise = gaussian(4, 400, 6), gaussian(5, 400, 6)
    small, large = (fidelity(logits + np.float32(a) * noise, logits) for a in (0.1, 100))
    assert 0.9 < small.expected_agreement < 1
    assert small.agreement == pytest.approx(small.expected_agreement, abs=0.03)
    assert large.agreement < 0.3
    assert 0.4 < large.expected_agreement < 0.6
    assert large.sqnr_db < small.sqnr_db


def test_rounded_rows_are_half_a_step_off_at_most() -> None:
    """A step of a 127th of each row's largest, and whole numbers of it."""
    weights = gaussian(6, 5, 3, 3, 3).astype(np.float64)
    weights[3] = 0
    rounded = rounded_rows(weights)
    steps = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / 127
    assert rounded.shape == weights.shape
    assert (np.abs(rounded - weights) <= steps / 2 * (1 + 1e-9)).all()
    assert not rounded[3].any()
    whole = rounded[:3] / steps[:3]
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-9)
    assert np.abs(whole).max() == pytest.approx(127)


def test_room_makes_steps_larger() -> None:
    """Of the rows that have it; twice the step is half as many levels."""
    weights = gaussian(6, 2, 50).astype(np.float64)
    plain, roomy, mixed = (rounded_rows(weights, r) for r in ((1.0,), (2.0,), (1.0, 2.0)))
    steps = np.abs(weights).max(axis=1, keepdims=True) / 127
    error = np.abs(roomy - weights)
    assert (error <= steps * (1 + 1e-9)).all()
    assert (error > steps / 2 * (1 + 1e-9)).any()
    whole = roomy / (2 * steps)
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-9)
    np.testing.assert_array_equal(mixed[0], plain[0])
    np.testing.assert_array_equal(mixed[1], roomy[1])


def model_of(nodes: list[onnx.NodeProto], constants: dict[str, Floats], shape: list[int]) -> onnx.ModelProto:
    """A graph of `x`, a batch of `shape`, to what its last node makes."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])
    y = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "small", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def node(op: str, inputs: str, out: str, **attributes: Any) -> onnx.NodeProto:
    """A node named after its output."""
    return helper.make_node(op, inputs.split(), [out], out, **attributes)


def conv(group: int, *shape: int, channels: int = 3) -> onnx.ModelProto:
    """One convolution of random weights and biases, of 5 x 5 values a channel."""
    constants = {"w": gaussian(7, *shape), "b": gaussian(8, shape[0])}
    return model_of([node("Conv", "x w b", "y", group=group)], constants, [channels, 5, 5])


def constant(model: onnx.ModelProto, name: str) -> Floats:
    """By name."""
    (found,) = [i for i in model.graph.initializer if i.name == name]
    values: Floats = numpy_helper.to_array(found)
    return values


def made_means(model: onnx.ModelProto, x: Floats, room: tuple[float, ...] | None = None) -> Floats:
    """Mean of each channel of what it makes; with weights rounded, if there is room to round them with."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if room is not None:
        rounded = rounded_rows(constant(model, "w").astype(np.float64), room).astype(np.float32)
        (weights,) = [i for i in copy.graph.initializer if i.name == "w"]
        weights.CopyFrom(numpy_helper.from_array(rounded, "w"))
    result: Floats = onnx_session(copy).run(None, {"x": x})[0]
    means: Floats = result.astype(np.float64).mean(axis=(0, 2, 3))
    return means


def flat_frames(channels: int) -> Floats:
    """Inputs each of one value a channel, so that windows see the same means as the whole; means about 2."""
    values = gaussian(9, 16, channels, 1, 1) + 2
    return np.ascontiguousarray(np.broadcast_to(values, (16, channels, 5, 5)))


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1.0, 2.0])
@pytest.mark.parametrize("room", [(1.0,), (1.0, 2.0, 1.5)])
@pytest.mark.parametrize(
    ("group", "shape"), [(1, (3, 3, 1, 1)), (1, (3, 3, 3, 3)), (3, (3, 1, 3, 3)), (3, (3, 1, 1, 1))]
)
def test_corrected_biases_make_up_for_rounded_weights(
    group: int, shape: tuple[int, ...], room: tuple[float, ...], factor: float
) -> None:
    """The layer makes the same means as before, which the rounded weights alone do not."""
    model, x = conv(group, *shape), flat_frames(3)
    means = {"x": [float(m) / factor for m in x.mean(axis=(0, 2, 3), dtype=np.float64)]}
    before = model.SerializeToString(deterministic=True)
    corrected, _ = rewritten(
        model, correct_biases, means, {"x": factor} if factor != 1 else {}, (), {"w": room}
    )
    assert model.SerializeToString(deterministic=True) == before
    expected = made_means(model, x)
    np.testing.assert_allclose(made_means(corrected, x, room), expected, rtol=0, atol=1e-5)
    # A lone weight is its row's largest, and exact without room for more.
    moved = np.abs(made_means(model, x, room) - expected).max()
    assert moved > 1e-4 or (shape == (3, 1, 1, 1) and room == (1.0,))


@pytest.mark.slow
@pytest.mark.parametrize(("group", "shape"), [(1, (4, 4, 1, 1)), (4, (4, 1, 3, 3))])
def test_channels_that_alignment_added_are_zero(group: int, shape: tuple[int, ...]) -> None:
    """The means are those of before."""
    model, x = conv(group, *shape, channels=4), flat_frames(4)
    x[:, 3] = 0
    means = {"x": x.mean(axis=(0, 2, 3), dtype=np.float64)[:3].tolist()}
    corrected, _ = rewritten(model, correct_biases, means, {}, (), {})
    expected = made_means(model, x)
    np.testing.assert_allclose(made_means(corrected, x, (1.0,)), expected, rtol=0, atol=1e-5)
    assert np.abs(made_means(model, x, (1.0,)) - expected).max() > 1e-4


@pytest.mark.slow
def test_what_is_not_to_be_corrected_is_left_alone() -> None:
    """Nodes that are excluded, inputs of no known means, groups of several channels."""
    means = {"x": [1.0, 2.0, 3.0, 4.0]}
    plain, grouped = conv(1, 4, 4, 1, 1, channels=4), conv(2, 4, 2, 1, 1, channels=4)
    same = [
        (plain, rewritten(plain, correct_biases, means, {}, {"y"}, {})[0]),
        (plain, rewritten(plain, correct_biases, {"other": means["x"]}, {}, (), {})[0]),
        (grouped, rewritten(grouped, correct_biases, means, {}, (), {})[0]),
    ]
    for model, found in same:
        np.testing.assert_array_equal(constant(found, "b"), constant(model, "b"))
    changed, _ = rewritten(plain, correct_biases, means, {}, {"another"}, {})
    assert (constant(changed, "b") != constant(plain, "b")).any()
    np.testing.assert_array_equal(constant(changed, "w"), constant(plain, "w"))


@pytest.mark.slow
def test_layers_that_share_a_bias_get_one_each() -> None:
    """Else the correction of one would be the other's too."""
    nodes = [node("Conv", "x w b", "a"), node("Conv", "x v b", "c"), node("Add", "a c", "y")]
    constants = {"w": gaussian(1, 3, 3, 1, 1), "v": gaussian(2, 3, 3, 1, 1), "b": gaussian(3, 3)}
    model, means = model_of(nodes, constants, [3, 5, 5]), np.array([1.0, 2.0, 3.0])
    corrected, _ = rewritten(model, correct_biases, {"x": means.tolist()}, {}, (), {})
    for place, name in enumerate(("w", "v")):
        weights = constants[name].astype(np.float64)
        shift = (weights - rounded_rows(weights))[:, :, 0, 0] @ means
        found = constant(corrected, corrected.graph.node[place].input[2])
        np.testing.assert_allclose(found, constants["b"] + shift, rtol=0, atol=1e-6)


def millions(**work: float) -> Work:
    """Work given in ones."""
    return Work(**{k: v / 1e6 for k, v in work.items()})


def same_work(found: Work, expected: Work) -> bool:
    """To rounding."""
    return dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(expected), rel=1e-9, abs=1e-15)


@pytest.mark.slow
def test_the_work_of_a_pointwise_convolution() -> None:
    """8 to 16 channels at 6 x 6: 576 values of 8 multiply-adds."""
    model = model_of([node("Conv", "x w", "y")], {"w": gaussian(1, 16, 8, 1, 1)}, [8, 6, 6])
    assert same_work(work_of(model, {"y"}), millions(fp32_conv=4608, fp32_values=576))
    assert same_work(work_of(model, ()), millions(int8_conv=4608, int8_values=576))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("taps", "stride", "values", "kind"),
    [(3, 1, 288, "fp32_depthwise_3"), (3, 2, 72, "fp32_depthwise"), (5, 1, 128, "fp32_depthwise")],
)
def test_the_work_of_a_depthwise_convolution(taps: int, stride: int, values: int, kind: str) -> None:
    """8 channels of 6 x 6, padded by 1; 3 x 3 of stride 1 is a kind of its own, but not in int8."""
    layer = node("Conv", "x w", "y", group=8, strides=[stride, stride], pads=[1, 1, 1, 1])
    model = model_of([layer], {"w": gaussian(1, 8, 1, taps, taps)}, [8, 6, 6])
    adds = values * taps * taps
    assert same_work(work_of(model, {"y"}), millions(fp32_values=values, **{kind: adds}))
    assert same_work(work_of(model, ()), millions(int8_values=values, int8_depthwise=adds))


@pytest.mark.slow
@pytest.mark.parametrize("turned", [0, 1])
def test_the_work_of_a_matrix_product(turned: int) -> None:
    """20 to 5 values, however the weights lie."""
    weights = gaussian(1, 5, 20) if turned else gaussian(1, 20, 5)
    model = model_of([node("Gemm", "x w", "y", transB=turned)], {"w": weights}, [20])
    assert same_work(work_of(model, {"y"}), millions(fp32_conv=100, fp32_values=5))
    assert same_work(work_of(model, ()), millions(int8_conv=100, int8_values=5))


@pytest.mark.slow
def test_the_work_of_what_stands_between() -> None:
    """A Relu is part of what it follows; so is a constant's sum in int8, that of two tensors is not."""
    nodes = [
        node("Conv", "x w", "a"),
        node("Relu", "a", "b"),
        node("Add", "b three", "c"),
        node("Add", "c b", "d"),
    ]
    constants = {"w": gaussian(1, 4, 8, 1, 1), "three": np.array(3, np.float32)}
    model = model_of(nodes, constants, [8, 6, 6])
    assert same_work(work_of(model, ()), millions(int8_conv=1152, int8_values=2 * 144))
    assert same_work(work_of(model, set("abcd")), millions(fp32_conv=1152, fp32_values=3 * 144))


@pytest.mark.slow
def test_values_that_go_to_int8_are_counted() -> None:
    """Once, however many read them; not where all that read them are fp32."""
    nodes = [node("Conv", "x w", "a"), node("Conv", "a v", "b"), node("Conv", "a u", "c")]
    nodes.append(node("Add", "b c", "y"))
    constants = {"w": gaussian(1, 4, 8, 1, 1), "v": gaussian(2, 2, 4, 1, 1), "u": gaussian(3, 2, 4, 1, 1)}
    model = model_of(nodes, constants, [8, 6, 6])
    assert work_of(model, {"a"}).quantized * 1e6 == pytest.approx(144)
    assert work_of(model, {"a", "b"}).quantized * 1e6 == pytest.approx(144 + 72)
    assert work_of(model, set("abcy")).quantized == 0


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_int8_is_cheaper_than_fp32(target: Target) -> None:
    """One convolution of 64 to 64 channels at 28 x 28; twice the work is twice the cost."""
    model = model_of([node("Conv", "x w", "y")], {"w": gaussian(1, 64, 64, 1, 1)}, [64, 28, 28])
    fp32, int8 = (work_of(model, names) for names in ({"y"}, ()))
    assert 0 < modelled_cost(target, int8) < modelled_cost(target, fp32)
    twice = Work(*(2 * amount for amount in dataclasses.astuple(int8)))
    assert modelled_cost(target, twice) == pytest.approx(2 * modelled_cost(target, int8))
    assert modelled_cost(target, Work()) == 0


def test_no_rate_is_below_zero() -> None:
    """More work never costs less, on any target."""
    assert set(RATES) == set(TARGETS)
    assert min(itertools.chain.from_iterable(map(dataclasses.astuple, RATES.values()))) >= 0


@pytest.mark.parametrize(
    ("arch", "features", "target"),
    [
        ("x86_64", {"avx2", "avx512_vnni"}, "x86-vnni"),
        ("AMD64", {"avx2", "avx_vnni"}, "x86-vnni"),
        ("x86_64", {"avx2", "avx512f"}, "x86"),
        ("x86_64", set(), "x86"),
        ("aarch64", {"asimd", "asimddp"}, "arm64-dotprod"),
        ("aarch64", {"asimd"}, "arm64"),
        ("arm64", set(), "arm64"),
        ("ARM64", {"asimddp"}, "arm64-dotprod"),
        ("riscv64", set(), "x86"),
        ("", set(), "x86"),
        ("armv7l", {"neon"}, "x86"),  # a Raspberry Pi of 32 bits
        ("loongarch64", {"lsx"}, "x86"),
    ],
)
def test_the_target_that_a_cpu_is(arch: str, features: set[str], target: Target) -> None:
    """By its integer kernels; where it cannot be told the one whose models serve all."""
    assert target_of(Cpu(arch, "?", frozenset(features))) == target


def test_what_auto_took_is_told_where_it_is_hardly_the_device() -> None:
    """On x86, with the names of the boards; not on a board, nor where a target was named."""
    workstation = Cpu("x86_64", "?", frozenset({"avx2", "avx512_vnni"}))
    said = assumed_target("auto", workstation)
    assert said is not None
    assert said.startswith("int8 is made for x86-vnni, which this machine is; ")
    assert "--target arm64 (" in said
    assert "--target arm64-dotprod (Pi 5" in said
    assert assumed_target("x86-vnni", workstation) is None
    assert assumed_target("auto", Cpu("aarch64", "?", frozenset({"asimd"}))) is None


RECIPES = [
    Recipe(),
    Recipe(-1, (), "minmax", False, False, False, False, True),
    Recipe(3, (5, 1000), "entropy", bias_corrected=False),
    Recipe(100, ranges="percentile", headroom=False),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_read_as_written(recipe: Recipe) -> None:
    """Every field."""
    value = recipe.to_json()
    assert set(value) == {f.name for f in dataclasses.fields(Recipe)}
    assert Recipe.from_fields(Fields.of(value, "recipe")) == recipe


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fp32_blocks", -2),
        ("fp32_blocks", 101),
        ("fp32_blocks", 1.5),
        ("fp32_blocks", True),
        ("fp32_blocks", None),
        ("fp32_also", None),
        ("fp32_also", 4),
        ("fp32_also", "4"),
        ("fp32_also", ["4"]),
        ("fp32_also", [True]),
        ("fp32_also", [-1]),
        ("fp32_also", [1001]),
        ("fp32_also", [1.5]),
        ("fp32_also", [10**400]),
        ("fp32_also", [[1]]),
        ("fp32_also", [1] * 101),
        ("ranges", "best"),
        ("ranges", None),
        ("ranges", ["mse"]),
        *[(f.name, 1) for f in dataclasses.fields(Recipe) if f.type == "bool"],
        ("more", 1),
    ],
)
def test_a_malformed_recipe_is_refused(key: str, value: Any) -> None:
    """With the place of what is wrong; nothing is made to fit."""
    with pytest.raises(ContractError, match=rf"recipe\b.*{key}"):
        Recipe.from_fields(Fields.of({**Recipe().to_json(), key: value}, "recipe"))


@pytest.mark.parametrize("key", [f.name for f in dataclasses.fields(Recipe)])
def test_a_recipe_lacks_nothing(key: str) -> None:
    """There is no default for what a file does not say."""
    value = Recipe().to_json()
    del value[key]
    with pytest.raises(ContractError, match=key):
        Recipe.from_fields(Fields.of(value, "recipe"))


@pytest.mark.parametrize(
    ("blocks", "also", "text"),
    [
        (-1, (), "none"),
        (0, (), "0"),
        (1, (), "0-1"),
        (12, (), "0-12"),
        (-1, (4,), "4"),
        (-1, (0,), "0"),
        (-1, (1000,), "classifier"),
        (0, (1000,), "0, classifier"),
        (1, (4, 7, 1000), "0-1, 4, 7, classifier"),
        (4, (2, 4, 5), "0-4, 5"),
    ],
)
def test_the_blocks_that_stay_fp32_as_text(blocks: int, also: tuple[int, ...], text: str) -> None:
    """A block among the leading ones is not named again."""
    assert Recipe(blocks, also).fp32_text == text


def test_the_blocks_that_stay_fp32() -> None:
    """The leading ones, and those named."""
    recipe = Recipe(1, (4, 1000))
    assert [b for b in (*range(8), 1000) if recipe.keeps(b)] == [0, 1, 4, 1000]
    assert not Recipe(-1).keeps(0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_only_arm_with_dot_products_has_signed_activations(recipe: Recipe, target: Target) -> None:
    """Nothing else of the recipe depends on the target."""
    signed = target in ("arm64-dotprod", "arm64-fp16")
    assert signed_activations(target) is signed
    assert recipe.for_target(target) == dataclasses.replace(recipe, signed=signed)
