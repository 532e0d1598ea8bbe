"""Calibration and int8."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from tests.export.graphs import reweighted, rewritten

from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import ContractError, DatasetError, ExportError
from ecovision_edge.preprocess import Preprocessor
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.int8 import stage
from ecovision_edge_export.int8.calibrate import Calibration, measure
from ecovision_edge_export.int8.fidelity import Fidelity
from ecovision_edge_export.int8.headroom import clipping_loss, room_of_rows
from ecovision_edge_export.int8.layers import layer_rows
from ecovision_edge_export.int8.quantize import blocks_of, quantize
from ecovision_edge_export.int8.recipe import Recipe
from ecovision_edge_export.int8.search import Trial, make_int8, ranked, search
from ecovision_edge_export.int8.sessions import onnx_session
from ecovision_edge_export.int8.signed import read_signed
from ecovision_edge_export.int8.table import REFERENCE_CALIBRATION, CalibrationTable, prepare
from ecovision_edge_export.options import ExportOptions
from ecovision_edge_export.transcript import Reporter, Transcript
from ecovision_edge_export.weights.checkpoint import Checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(contract: Contract) -> list[np.ndarray]:
    """Eight network inputs."""
    return [Preprocessor(contract).prepare(draw_frame(seed)) for seed in range(8)]


@pytest.fixture(scope="module")
def calibration(graph: onnx.ModelProto, inputs: list[np.ndarray]) -> Calibration:
    """What is seen on those inputs."""
    return measure(graph, lambda: iter(inputs), digest="0" * 64, evidence="generated")


@pytest.fixture(scope="module")
def table(calibration: Calibration) -> CalibrationTable:
    """Ranges over those inputs, by the default recipe."""
    return calibration.table()


def with_blocks(table: CalibrationTable, blocks: int) -> CalibrationTable:
    """The table with so many leading blocks in fp32."""
    return dataclasses.replace(table, recipe=dataclasses.replace(table.recipe, fp32_blocks=blocks))


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
    whole = dataclasses.replace(with_blocks(table, 3), room={"w": (1.0, 1.41)}, tried=({"what": "it"},))
    again = CalibrationTable.loads(whole.dumps(), "t")
    assert again == dataclasses.replace(whole, evidence="recorded")
    assert again.means
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

    measure(graph, stream, digest="", evidence="generated", progress=done.append)
    assert pulled == [0, 1, 2, 0, 1, 2]
    assert done == [1, 2, 3, 4, 5, 6]


def test_no_input_is_an_error(graph: onnx.ModelProto) -> None:
    """Ranges over nothing do not exist."""
    with pytest.raises(DatasetError, match="at least one image"):
        measure(graph, lambda: iter([]), digest="", evidence="generated")


def test_leading_blocks_stay_fp32(graph: onnx.ModelProto, table: CalibrationTable) -> None:
    """No tensor of the blocks asked for is quantized; the first after them is."""
    model = quantize(graph, with_blocks(table, 3)).model
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
    """u8s8: int8 weights with zero point 0 and one scale per channel; uint8 activations."""
    model = quantize(graph, table).model
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
    first, second = (quantize(graph, table).model.SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_the_recorded_ranges_fit_the_graph(graph: onnx.ModelProto) -> None:
    """The table that ships has exactly the tensors of the graph that the exporter prepares by it."""
    recorded = CalibrationTable.loads(REFERENCE_CALIBRATION.read_bytes(), "recorded")
    inferred = onnx.shape_inference.infer_shapes(rewritten(graph, prepare, recorded)[0])
    kinds = {
        v.name: v.type.tensor_type.elem_type for v in (*inferred.graph.value_info, *inferred.graph.output)
    }
    assert set(recorded.ranges) == {n for n, k in kinds.items() if k == onnx.TensorProto.FLOAT}
    assert recorded.room
    assert recorded.tried


def test_a_table_of_another_graph_is_refused(graph: onnx.ModelProto, table: CalibrationTable) -> None:
    """Scales of a tensor that is not there, or of another number of channels, are a typed error."""
    name, values = next(iter(table.scales.items()))
    for scales in ({"other": values}, {name: values[:-1]}):
        with pytest.raises(ContractError, match="calibration table"):
            prepare(Graph.copy_of(graph), dataclasses.replace(table, scales=scales))
    with pytest.raises(ContractError, match="calibration table"):
        prepare(Graph.copy_of(graph), dataclasses.replace(table, silent=("other",)))


def test_no_addition_of_hard_swish_is_left(graph: onnx.ModelProto, table: CalibrationTable) -> None:
    """What int8 blocks add are residuals alone, and no HardSwish or HardSigmoid is left in them."""
    model = quantize(graph, table).model
    kinds = [n.op_type for n in model.graph.node]
    assert kinds.count("Add") == 10
    assert "HardSigmoid" not in kinds
    assert kinds.count("HardSwish") == 1  # the stem's


@pytest.mark.parametrize("kind", ["dead squeeze-and-excitation", "dead channels", "huge channel"])
def test_awkward_checkpoints_quantize(
    kind: str,
    reference: Checkpoint,
    simplified: onnx.ModelProto,
    contract: Contract,
    inputs: list[np.ndarray],
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
    fp32 = reweighted(simplified, state, contract)
    seen = measure(fp32, lambda: iter(inputs), digest="0" * 64, evidence="generated")
    int8 = quantize(fp32, with_blocks(seen.table(), 4)).model
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


def test_rows_that_would_be_clipped_get_room(
    graph: onnx.ModelProto, table: CalibrationTable, inputs: list[np.ndarray]
) -> None:
    """Their scale is up to twice as large, the others' is as it was, and hardly anything is clipped then."""
    plain = quantize(graph, table)
    room = room_of_rows(plain, inputs)
    assert any(name.startswith("features.4.block.0.0") for name in room)
    roomy = quantize(graph, dataclasses.replace(table, room=room))
    for name, rows in room.items():
        before, after = (
            next(onnx.numpy_helper.to_array(i) for i in m.graph.initializer if i.name == f"{name}_scale")
            for m in (plain.model, roomy.model)
        )
        assert np.allclose(after / before, rows, rtol=1e-5)
        assert max(rows) > 1
        assert set(rows) <= {1.0, 1.19, 1.41, 1.68, 2.0}
    assert room_of_rows(plain, inputs) == room


def test_the_loss_by_clipping_is_that_of_pairs() -> None:
    """By hand: 255 * 127 * 2 is 64770, of which 16 bits hold 32767; seven bits are never clipped."""
    x = np.array([[255, 255, 255], [255, 0, 255]], np.uint8)
    weights = np.array([[127, 127, 127], [-128, -128, 0], [64, 64, 64]], np.int8)
    loss = clipping_loss(x, weights)
    assert loss.tolist() == [[64770 - 32767, -65280 + 32768, 0], [0, 0, 0]]


def test_signed_activations_are_the_same_model(
    graph: onnx.ModelProto, table: CalibrationTable, inputs: list[np.ndarray]
) -> None:
    """Zero points are int8 and 128 less; logits are those of the unsigned model, which a twin computes."""
    recipe = table.recipe.for_target("arm64-dotprod")
    made = quantize(graph, dataclasses.replace(table, recipe=recipe))
    unsigned = quantize(graph, table)
    a, b = (
        {i.name: onnx.numpy_helper.to_array(i) for i in m.graph.initializer}
        for m in (unsigned.model, made.model)
    )
    changed = [n for n in a if a[n].dtype == np.uint8]
    assert changed
    assert all((a[n].astype(int) - 128 == b[n].astype(int)).all() for n in changed)
    assert not any(v.dtype == np.uint8 for v in b.values())
    onnx.checker.check_model(made.model, full_check=True)
    found, expected = (
        np.concatenate([onnx_session(m).run(None, {"frame": x})[0] for x in inputs])
        for m in (made.model, unsigned.judged)
    )
    # x86 has no such kernels and computes in fp32 between: the last bits may differ, by up to 13 steps of the
    # logits' scale on these frames.
    assert np.abs(found - expected).max() < 0.5
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 7 / 8


def test_signed_refuses_what_it_does_not_know() -> None:
    """A zero point that an addition of integers reads as well is no zero point alone."""
    helper, uint8 = onnx.helper, onnx.TensorProto.UINT8
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("Add", ["q", "z"], ["y"]),
    ]
    g = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [2])],
        [helper.make_tensor_value_info("y", uint8, [2])],
        [
            onnx.numpy_helper.from_array(np.float32(1), "s"),
            onnx.numpy_helper.from_array(np.uint8(3), "z"),
        ],
    )
    with pytest.raises(ExportError, match="z goes into Add"):
        read_signed(Graph(helper.make_model(g)))


def test_every_layer_is_in_the_report(
    graph: onnx.ModelProto, table: CalibrationTable, inputs: list[np.ndarray]
) -> None:
    """Each layer with weights has a row; what is fp32 before any int8 is exact, what is int8 is not."""
    made, roomy = make_int8(graph, table, inputs)
    rows = layer_rows(made, roomy, inputs[:4])
    by_name = {r["layer"]: r for r in rows if isinstance(r, dict)}
    layers = [n.name for n in graph.graph.node if n.op_type in ("Conv", "Gemm")]
    assert set(by_name) <= set(layers)
    assert len(by_name) >= len(layers) - 2 * len(table.silent)
    assert by_name["features.0.0"]["sqnr_db"] is None
    assert by_name["features.0.0"]["precision"] == "fp32"
    first = by_name["features.2.block.0.0"]
    assert first["precision"] == "int8"
    assert isinstance(first["sqnr_db"], float)
    assert 20 < first["sqnr_db"] < 60
    assert first["range"] is not None
    assert by_name["features.4.block.1.0"]["kind"] == "depthwise 5x5"
    assert by_name["classifier.3"]["kind"] == "dense"


def test_a_bias_too_large_for_int32_is_held_by_a_larger_scale(
    reference: Checkpoint, simplified: onnx.ModelProto, contract: Contract, inputs: list[np.ndarray]
) -> None:
    """Weights of a millionth beside a bias of one: int32 would overflow in steps of such weights."""
    state = {k: v.clone() for k, v in reference.state.items()}
    state["features.7.block.2.1.weight"][0] = 1e-9
    state["features.7.block.2.1.bias"][0] = 5.0
    fp32 = reweighted(simplified, state, contract)
    seen = measure(fp32, lambda: iter(inputs), digest="0" * 64, evidence="generated")
    made = quantize(fp32, seen.table(Recipe(equalized=False)))
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in made.model.graph.initializer}
    bias = constants["features.7.block.2.0.bias_quantized"].astype(np.float64)
    scale = constants["features.7.block.2.0.bias_quantized_scale"].astype(np.float64)
    assert abs(float((bias * scale)[0]) - 5.0) < 1e-3
    found = np.concatenate([onnx_session(made.judged).run(None, {"frame": x})[0] for x in inputs])
    assert np.isfinite(found).all()


def test_default_recipes_differ_in_blocks_and_share_their_ranges(
    contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges take seconds to find, and do not hang on which blocks are fp32."""
    recorded = CalibrationTable.loads(REFERENCE_CALIBRATION.read_bytes(), "recorded")
    asked: list[Recipe] = []

    class Measured:
        def table(self, recipe: Recipe) -> CalibrationTable:
            asked.append(recipe)
            return dataclasses.replace(recorded, recipe=recipe)

    monkeypatch.setattr(stage, "LAYER_INPUTS", 1)
    script = Transcript(Reporter())
    options, preprocessor = ExportOptions("reference"), Preprocessor(contract)
    found = stage._default_recipes(options, Measured(), preprocessor, ["arm64", "x86-vnni"], script)  # type: ignore[arg-type]
    recipes = found["arm64"].tables
    assert set(found) == {"arm64", "x86-vnni"}
    assert [t.recipe.fp32_blocks for t in recipes] == list(stage.DEFAULT_FP32_BLOCKS)
    assert all(t.ranges is recipes[0].ranges for t in recipes)
    assert len(asked) == 1


def test_the_search_tries_and_ranks(
    graph: onnx.ModelProto, calibration: Calibration, inputs: list[np.ndarray]
) -> None:
    """All stages are there; less noise is a higher SQNR; what is ranked first is the cheapest good one."""
    done: list[int] = []
    rows = search(graph, calibration, inputs[:4], target="arm64", agree=0.5, progress=done.append)
    assert done == list(range(1, len(rows) + 1))
    numbers = {r.what: r for r in rows if r.stage == "numbers"}
    assert {"ranges mse", "ranges minmax", "ranges percentile", "ranges entropy"} <= set(numbers)
    assert (
        numbers["one scale for a layer's weights"].fidelity.sqnr_db < numbers["ranges mse"].fidelity.sqnr_db
    )
    leading = [r for r in rows if r.stage == "leading blocks"]
    assert [r.table.recipe.fp32_blocks for r in leading] == [0, 1, 2, 3]
    assert all(r.table.room for r in leading)
    assert leading[3].fidelity.sqnr_db > leading[0].fidelity.sqnr_db
    assert all(0.2 < r.cost < 1 for r in rows)
    best = ranked(rows, 0.5)
    assert best[0].cost <= 1.03 * min(r.cost for r in leading if r.within(0.5))


def test_blocks_are_added_where_leading_ones_are_dear(
    graph: onnx.ModelProto,
    calibration: Calibration,
    inputs: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a budget that nothing meets, single blocks are tried on the cheapest row as well."""
    monkeypatch.setattr("ecovision_edge_export.int8.search.MOST_LEADING", 2)
    monkeypatch.setattr("ecovision_edge_export.int8.search.LEAST_LEADING", 2)
    monkeypatch.setattr("ecovision_edge_export.int8.search.MOST_ADDED", 1)
    monkeypatch.setattr("ecovision_edge_export.int8.search.RANGE_METHODS", ("minmax",))
    monkeypatch.setattr("ecovision_edge_export.int8.search.blocks_of", lambda _: {"a": 2, "b": 3, "c": 15})
    monkeypatch.setattr("ecovision_edge_export.int8.search.WORTH_DB", -100.0)
    rows = search(graph, calibration, inputs[:2], target="x86", agree=1.1)
    added = [r for r in rows if r.stage == "added blocks"]
    assert len(added) == 1
    assert added[0].table.recipe.fp32_also in ((2,), (3,), (15,))
    assert ranked(rows, 1.1) == (
        max((r for r in rows if r.stage != "numbers"), key=lambda r: r.fidelity.sqnr_db),
    )


def test_of_equal_costs_the_most_faithful_is_first(table: CalibrationTable) -> None:
    """A cost within the model's error is the same cost; beyond it the cheaper is first."""

    def trial(what: str, cost: float, db: float) -> Trial:
        return Trial("leading blocks", what, table, Fidelity(db, 0.99, 0.99), cost)

    rows = [trial("dear", 0.9, 40), trial("cheap", 0.5, 20), trial("alike", 0.51, 25)]
    assert [t.what for t in ranked(rows, 0.98)] == ["alike", "cheap", "dear"]
    assert [t.what for t in ranked(rows, 0.995)] == ["dear"]
