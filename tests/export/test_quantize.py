"""Calibration and int8."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import torch

from ecovision_edge.contract import Contract
from ecovision_edge.drawn import draw_frame
from ecovision_edge.errors import ContractError, DatasetError
from ecovision_edge.preprocess import Preprocessor
from ecovision_edge_export.calibrate import (
    REFERENCE_CALIBRATION,
    CalibrationTable,
    measure_ranges,
    onnx_session,
    prepare,
)
from ecovision_edge_export.checkpoint import Checkpoint, build_model
from ecovision_edge_export.fold import fold_preprocessing
from ecovision_edge_export.quantize import blocks_of, choose_fp32_blocks, quantize
from ecovision_edge_export.trace import simplify, trace


@pytest.fixture(scope="module")
def inputs(contract: Contract) -> list[np.ndarray]:
    """Eight network inputs."""
    return [Preprocessor(contract).prepare(draw_frame(seed)) for seed in range(8)]


@pytest.fixture(scope="module")
def table(graph: onnx.ModelProto, inputs: list[np.ndarray]) -> CalibrationTable:
    """Ranges over those inputs."""
    return measure_ranges(graph, lambda: iter(inputs), digest="0" * 64, evidence="generated")


def test_ranges_are_within_the_values_of_the_prepared_graph(
    graph: onnx.ModelProto, inputs: list[np.ndarray], table: CalibrationTable
) -> None:
    """None is wider than what the tensor takes, and none leaves out more than three quarters."""
    logits = np.concatenate([onnx_session(graph).run(None, {"frame": x})[0] for x in inputs])
    low, high = table.ranges["logits"]
    assert logits.min() * (1 + 1e-4) <= low <= logits.min() * 0.25
    assert logits.max() * 0.25 <= high <= logits.max() * (1 + 1e-4)
    assert table.images == 8
    assert table.ranges["features.2.block.0.0/Relu"][0] == 0
    assert len(table.scales) > 15


def test_a_table_survives_its_file(table: CalibrationTable) -> None:
    """What is written is what is read, to the last bit; what is not a table is a typed error."""
    again = CalibrationTable.loads(dataclasses.replace(table, fp32_blocks=3).dumps(), "t")
    assert again.ranges == dict(table.ranges)
    assert again.scales == dict(table.scales)
    assert again.silent == table.silent
    assert again.fp32_blocks == 3
    for bad in (b"", b"{}", b'{"images": 1, "digest": "x", "ranges": {}}', b'{"ranges": {"a": [1]}}'):
        with pytest.raises(ContractError):
            CalibrationTable.loads(bad, "t")


def test_calibration_reads_one_input_at_a_time(graph: onnx.ModelProto, inputs: list[np.ndarray]) -> None:
    """The stream is pulled as it is used: memory does not grow with the number of photographs."""
    pulled: list[int] = []
    done: list[int] = []

    def stream():  # type: ignore[no-untyped-def]
        for i, x in enumerate(inputs[:3]):
            assert len(done) % 3 == i, "an input was asked for before the one before it was used"
            pulled.append(i)
            yield x

    measure_ranges(graph, stream, digest="", evidence="generated", progress=done.append)
    assert pulled == [0, 1, 2, 0, 1, 2]
    assert done == [1, 2, 3, 4, 5, 6]


def test_no_input_is_an_error(graph: onnx.ModelProto) -> None:
    """Ranges over nothing do not exist."""
    with pytest.raises(DatasetError, match="at least one image"):
        measure_ranges(graph, lambda: iter([]), digest="", evidence="generated")


def test_leading_blocks_stay_fp32(graph: onnx.ModelProto, table: CalibrationTable) -> None:
    """No tensor of the blocks asked for is quantized; the first after them is."""
    model = quantize(graph, table, 3)
    names = {n.name: n for n in model.graph.node}
    quantized = {n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    assert not any(q.startswith(("features.0.", "features.1.", "features.2.")) for q in quantized)
    assert "features.3.block.2.0/Add" in quantized
    assert names["features.3.block.0.0"].input[1] == "features.3.block.0.0.weight"
    assert names["features.4.block.0.0"].input[1].endswith("_DequantizeLinear_Output")
    onnx.checker.check_model(model, full_check=True)


def test_every_node_has_a_block(graph: onnx.ModelProto) -> None:
    """Blocks go up along the graph: preprocessing, stem, 16 blocks, classifier."""
    blocks = list(blocks_of(graph).values())
    assert blocks == sorted(blocks)
    assert set(blocks) == {-1, *range(17), 1000}


def test_weights_are_symmetric_per_channel_and_activations_asymmetric(
    graph: onnx.ModelProto, table: CalibrationTable
) -> None:
    """u8s8: int8 weights with zero point 0 and a scale a channel; uint8 activations."""
    model = quantize(graph, table, 1)
    initializers = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    scale = initializers["features.4.block.0.0.weight_scale"]
    zero = initializers["features.4.block.0.0.weight_zero_point"]
    assert scale.shape == (80,)  # 72, aligned
    assert zero.dtype == np.int8
    assert not zero.any()
    activations = {n.input[2] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    assert all(initializers[a].dtype == np.uint8 for a in activations)


def test_int8_is_the_same_bytes_each_time(graph: onnx.ModelProto, table: CalibrationTable) -> None:
    """Same graph and ranges, same model."""
    assert quantize(graph, table, 2).SerializeToString(deterministic=True) == quantize(
        graph, table, 2
    ).SerializeToString(deterministic=True)


def test_the_recorded_ranges_fit_the_graph(graph: onnx.ModelProto) -> None:
    """The table that ships has exactly the tensors of the graph that the exporter prepares by it."""
    recorded = CalibrationTable.loads(REFERENCE_CALIBRATION.read_bytes(), "recorded")
    inferred = onnx.shape_inference.infer_shapes(prepare(graph, recorded))
    kinds = {
        v.name: v.type.tensor_type.elem_type for v in (*inferred.graph.value_info, *inferred.graph.output)
    }
    assert set(recorded.ranges) == {n for n, k in kinds.items() if k == onnx.TensorProto.FLOAT}
    assert recorded.fp32_blocks is not None


def test_a_table_of_another_graph_is_refused(graph: onnx.ModelProto, table: CalibrationTable) -> None:
    """Scales of a tensor that is not there, or of another number of channels, are a typed error."""
    name, values = next(iter(table.scales.items()))
    for scales in ({"other": values}, {name: values[:-1]}):
        with pytest.raises(ContractError, match="calibration table"):
            prepare(graph, dataclasses.replace(table, scales=scales))
    with pytest.raises(ContractError, match="calibration table"):
        prepare(graph, dataclasses.replace(table, silent=("other",)))


def test_no_addition_of_hard_swish_is_left(graph: onnx.ModelProto, table: CalibrationTable) -> None:
    """What int8 blocks add are residuals alone, and no HardSwish or HardSigmoid is left in them."""
    model = quantize(graph, table, 1)
    kinds = [n.op_type for n in model.graph.node]
    assert kinds.count("Add") == 10
    assert "HardSigmoid" not in kinds
    assert kinds.count("HardSwish") == 1  # the stem's


def test_the_search_stops_at_the_first_good_choice(
    graph: onnx.ModelProto, table: CalibrationTable, inputs: list[np.ndarray]
) -> None:
    """All rows before the last are not good enough; SQNR is positive and in decibels."""
    rows = choose_fp32_blocks(graph, table, inputs[:4])
    assert [r.fp32_blocks for r in rows] == list(range(1, len(rows) + 1))
    assert all(not r.good for r in rows[:-1])
    assert all(5 < r.sqnr_db < 80 for r in rows)


def test_sqnr_goes_up_with_more_fp32(
    graph: onnx.ModelProto, table: CalibrationTable, inputs: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Higher is better: eight blocks in fp32 are closer to fp32 than one."""
    monkeypatch.setattr("ecovision_edge_export.quantize.MIN_SQNR_DB", 1000.0)
    monkeypatch.setattr("ecovision_edge_export.quantize.MAX_FP32_BLOCKS", 6)
    rows = choose_fp32_blocks(graph, table, inputs[:4])
    assert len(rows) == 6
    assert rows[-1].sqnr_db > rows[0].sqnr_db


@pytest.mark.parametrize("kind", ["dead squeeze-and-excitation", "dead channels", "huge channel"])
def test_awkward_checkpoints_quantize(
    kind: str, reference: Checkpoint, contract: Contract, inputs: list[np.ndarray]
) -> None:
    """The int8 model opens, its answer is finite, and near fp32 where channels are dead."""
    state = {k: v.clone() for k, v in reference.state.items()}
    if kind == "dead squeeze-and-excitation":
        state["features.6.block.2.fc1.weight"].zero_()
        state["features.6.block.2.fc1.bias"].fill_(-1.0)
    elif kind == "dead channels":
        for name in ("weight", "bias"):
            state[f"features.5.block.0.1.{name}"][:100] = 0
    else:
        state["features.8.block.0.1.weight"][3] *= 200
        state["features.8.block.1.0.weight"][3] /= 200
    model = build_model(dataclasses.replace(reference, state=state))
    fp32 = fold_preprocessing(simplify(trace(model, 224, 224)), contract)
    ranges = measure_ranges(fp32, lambda: iter(inputs), digest="0" * 64, evidence="generated")
    int8 = quantize(fp32, ranges, 4)
    scales = [
        onnx.numpy_helper.to_array(i)
        for i in int8.graph.initializer
        if i.name.endswith("_scale") and "weight" not in i.name and "bias" not in i.name
    ]
    assert min(s.min() for s in scales) >= 1e-7
    a, b = (
        np.concatenate([onnx_session(m).run(None, {"frame": x})[0] for x in inputs]) for m in (fp32, int8)
    )
    assert np.isfinite(b).all()
    if kind != "huge channel":  # one scale a tensor cannot hold both it and the others: the gate's business
        assert np.abs(a - b).max() < 0.5 * np.abs(a).max()
    assert torch.isfinite(torch.from_numpy(a)).all()


def test_expansions_of_a_residual_stream_have_seven_bits(
    graph: onnx.ModelProto, table: CalibrationTable
) -> None:
    """No pair of their products can be clipped to 16 bits; projections keep eight."""
    model = quantize(graph, table, 1)
    weights = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    for k in (3, 7, 14):
        expansion = weights[f"features.{k}.block.0.0.weight_quantized"]
        assert 60 <= np.abs(expansion.astype(int)).max() <= 64
    assert np.abs(weights["features.5.block.3.0.weight_quantized"].astype(int)).max() == 127
