"""Residual additions that round alike on every CPU."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.errors import ExportError
from ecovision_edge_export.int8.additions import (
    DENOMINATOR,
    MAX_RATIO,
    Addition,
    align_additions,
    quantized_additions,
)

spans = st.tuples(st.floats(-50, 50), st.floats(-50, 50)).map(sorted).map(tuple)


def width(span: tuple[float, float]) -> float:
    """Of a range that has zero in it."""
    return max(span[1], 0) - min(span[0], 0)


@given(st.lists(spans, min_size=5, max_size=5))
def test_input_scales_are_whole_255ths_of_the_output(ranges: list[tuple[float, float]]) -> None:
    """Also in a chain of additions, whatever the ranges; no range gets narrower."""
    names = dict(zip("abcde", ranges, strict=True))
    additions = [Addition(("a", "b"), "c"), Addition(("c", "d"), "e")]
    aligned = align_additions(names, additions, least=1e-4)
    for addition in additions:
        for name in addition.inputs:
            steps = width(aligned[name]) * DENOMINATOR / width(aligned[addition.output])
            assert steps == pytest.approx(round(steps), rel=1e-6)
            assert 1 <= round(steps) <= MAX_RATIO * DENOMINATOR + 1
    for name, (low, high) in names.items():
        assert aligned[name][0] <= min(low, 0) * (1 - 1e-9)
        assert aligned[name][1] >= max(high, 0) * (1 - 1e-9)


@given(st.tuples(st.floats(1, 30), st.floats(1, 30)))
def test_an_input_is_widened_by_at_most_a_255th_of_the_output(highs: tuple[float, float]) -> None:
    """What the rule costs is bounded by one step of the output's own range."""
    before = {"a": (0.0, highs[0]), "b": (-highs[1], 0.0), "c": (-30.0, 30.0)}
    after = align_additions(before, [Addition(("a", "b"), "c")], least=1e-4)
    assert after["c"] == before["c"]
    for name in "ab":
        assert width(after[name]) - width(before[name]) <= 60 / DENOMINATOR * (1 + 1e-9)


def test_a_tensor_in_two_additions_is_refused() -> None:
    """Its one scale cannot be a whole fraction of two others."""
    ranges = dict.fromkeys("abcd", (0.0, 1.0))
    with pytest.raises(ExportError, match="at most one"):
        align_additions(ranges, [Addition(("a", "b"), "c"), Addition(("a", "c"), "d")], least=1e-4)


@pytest.mark.slow
def test_excluded_additions_are_left_out(graph: onnx.ModelProto) -> None:
    """MobileNetV3-Large has ten residual additions, two of them in the first three blocks."""
    every = quantized_additions(graph, [])
    assert len(every) == 10
    assert all(len(a.inputs) == 2 for a in every)
    left = quantized_additions(graph, [n.name for n in graph.graph.node if n.output[0] == every[0].output])
    assert left == every[1:]


Scale = tuple[float, int]


def addition_scales(model: onnx.ModelProto) -> list[list[Scale]]:
    """Of each quantized addition: `(scale, zero point)` of both inputs and of the output."""
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    made_by = {o: n for n in model.graph.node for o in n.output}
    used_by = {i: n for n in model.graph.node for i in n.input}
    found = []
    for node in model.graph.node:
        around = [made_by.get(i) for i in node.input] + [used_by.get(node.output[0])]
        ends = [end for end in around if end is not None and end.op_type.endswith("Linear")]
        if node.op_type == "Add" and len(ends) == 3:
            found.append([(float(constants[e.input[1]]), int(constants[e.input[2]])) for e in ends])
    return found


@pytest.mark.slow
def test_the_shipped_additions_round_as_exact_arithmetic_does() -> None:
    """Every pair of inputs of every addition, through onnxruntime against integers."""
    additions = addition_scales(onnx.load(embedded_bundle_path() / "model.int8.onnx"))
    assert len(additions) >= 8
    a, b = (x.reshape(-1).astype(np.uint8) for x in np.meshgrid(np.arange(256), np.arange(256)))
    for scales in additions:
        (sa, za), (sb, zb), (sc, zc) = scales
        total = (a.astype(np.int64) - za) * round(sa / sc * DENOMINATOR)
        total += (b.astype(np.int64) - zb) * round(sb / sc * DENOMINATOR)
        expected = (2 * total + DENOMINATOR) // (2 * DENOMINATOR) + zc
        assert np.array_equal(run_addition(a, b, scales), np.clip(expected, 0, 255))


def test_no_sum_is_near_a_half() -> None:
    """The room that each CPU's own arithmetic has: 1/510, whatever the factors."""
    for p in (1, 100, 254, 255, 700):
        for a in range(-255, 256, 17):
            assert abs(Fraction(a * p, DENOMINATOR) % 1 - Fraction(1, 2)) >= Fraction(1, 2 * DENOMINATOR)


def run_addition(a: np.ndarray, b: np.ndarray, scales: list[Scale]) -> np.ndarray:
    """A quantized addition in onnxruntime, as the QDQ model's is fused."""
    initializers = []
    for name, (scale, zero) in zip("abc", scales, strict=True):
        initializers.append(helper.make_tensor(f"{name}_scale", TensorProto.FLOAT, [], [scale]))
        initializers.append(helper.make_tensor(f"{name}_zero", TensorProto.UINT8, [], [zero]))
    nodes = [
        helper.make_node("DequantizeLinear", ["a", "a_scale", "a_zero"], ["fa"]),
        helper.make_node("DequantizeLinear", ["b", "b_scale", "b_zero"], ["fb"]),
        helper.make_node("Add", ["fa", "fb"], ["fc"]),
        helper.make_node("QuantizeLinear", ["fc", "c_scale", "c_zero"], ["c"]),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.UINT8, [len(a)]) for n in "abc"]
    model = helper.make_model(
        helper.make_graph(nodes, "add", values[:2], values[2:], initializers),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"a": a, "b": b})[0]
    return result
