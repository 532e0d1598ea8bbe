"""Facts about quantization-aware training: its module is the int8 model, and its result exports."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnxruntime.quantization.quant_utils import quantize_nparray
from tests.export.graphs import traced_by_shape, traced_once

from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import CheckpointError, ContractError, ExportError, OptionError
from ecovision_edge.preprocess import Preprocessor
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export import pipeline
from ecovision_edge_export.ecovision import LABELS
from ecovision_edge_export.int8.quantize import quantize
from ecovision_edge_export.int8.search import ranked, search
from ecovision_edge_export.int8.stage import find_recipes
from ecovision_edge_export.int8.trained import TrainedRanges
from ecovision_edge_export.options import ExportOptions, make_contract
from ecovision_edge_export.pipeline import ExportResult, export_bundle
from ecovision_edge_export.tflite.flatbuffer import read_model
from ecovision_edge_export.train.core.terms import EpochRow, InterruptedTrainingError
from ecovision_edge_export.train.data.batches import normalized
from ecovision_edge_export.train.options import TrainOptions, settle
from ecovision_edge_export.train.qat import prepare
from ecovision_edge_export.train.qat.check import LayerMatch, compare_layers, require_match
from ecovision_edge_export.train.qat.fake import GraphModule
from ecovision_edge_export.train.qat.prepare import OnPlanes, Qat, prepare_qat
from ecovision_edge_export.train.qat.rounding import rounded_rows, rows_scales
from ecovision_edge_export.train.qat.weights import state_of
from ecovision_edge_export.train.run import Reporter, TrainResult, train
from ecovision_edge_export.transcript import Reporter as ScriptReporter
from ecovision_edge_export.transcript import Transcript
from ecovision_edge_export.weights.checkpoint import Checkpoint, build_model, load_checkpoint

pytestmark = pytest.mark.slow

SIDE = 64


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(os, "fsync", lambda _: None)  # nobody pulls the plug here
        # Other ranges, and rows with room, take seconds to find.
        quick = dataclasses.replace(prepare.TRAINED_RECIPE, ranges="minmax", headroom=False)
        m.setattr(prepare, "TRAINED_RECIPE", quick)
        for module in (prepare, pipeline):
            m.setattr(module, "trace", traced_by_shape)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small(reference: Checkpoint) -> Contract:
    """The reference's contract at 64 x 64."""
    return make_contract(ExportOptions(weights="reference", size=(SIDE, SIDE)), reference)


@pytest.fixture(scope="module")
def inputs(small: Contract) -> list[np.ndarray]:
    """Network inputs of synthetic frames."""
    return [Preprocessor(small).prepare(draw_frame(seed)) for seed in range(6)]


@pytest.fixture(scope="module")
def ready(reference: Checkpoint, small: Contract, inputs: list[np.ndarray]) -> Qat:
    """A training made ready. Who changes its parameters puts them back."""
    with pytest.MonkeyPatch.context() as m:
        roomy = dataclasses.replace(prepare.TRAINED_RECIPE, headroom=True)
        m.setattr(prepare, "TRAINED_RECIPE", roomy)
        made = prepare_qat(reference, small, inputs, digest="0" * 64)
    assert made.table.room
    return made


@pytest.fixture
def moved(ready: Qat) -> Iterator[Qat]:
    """The same after some steps: every weight and bias is somewhere else."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in ready.model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        yield ready
        for parameter in ready.model.parameters():
            parameter.zero_()


# -- the module --------------------------------------------------------------------------------------------


def test_every_integer_of_the_int8_model_is_the_modules_but_for_halves(
    ready: Qat, inputs: list[np.ndarray]
) -> None:
    rows = compare_layers(ready.model.network, ready.quantized.judged, inputs[:3])
    assert len(rows) > 100
    assert max(r.most_steps for r in rows) <= 1
    assert sum(r.equal for r in rows) >= 0.995 * sum(r.integers for r in rows)
    require_match(rows)


def test_module_and_model_with_other_weights_are_told_apart(moved: Qat, inputs: list[np.ndarray]) -> None:
    rows = compare_layers(moved.model.network, moved.quantized.judged, inputs[:1])
    with pytest.raises(ExportError, match="the int8 graph is not what was trained: expected all integers"):
        require_match(rows)


def test_a_layer_far_off_is_named() -> None:
    rows = (LayerMatch("near", 1000, 999, 1), LayerMatch("far", 1000, 999, 2))
    with pytest.raises(ExportError, match="far: 999 of 1000 equal, 2 steps"):
        require_match(rows)


def test_blocks_in_fp32_and_signed_activations_are_the_module_as_well(
    ready: Qat, inputs: list[np.ndarray]
) -> None:
    """The module reads the graph: whatever recipe it was made by."""
    recipe = dataclasses.replace(ready.table.recipe, fp32_blocks=3, signed=True)
    table = dataclasses.replace(ready.table, recipe=recipe)
    made = quantize(ready.graph, table)
    unsigned = GraphModule(made.judged, made.twin, table.room, made.ranges)
    require_match(compare_layers(unsigned, made.judged, inputs[:2]))
    signed = GraphModule(made.model, made.twin, table.room, made.ranges)
    x = torch.from_numpy(inputs[0])
    with torch.no_grad():
        assert torch.allclose(signed(x), unsigned(x), atol=1e-5)


def test_weights_at_a_tie_are_rounded_as_the_exporter_rounds_them() -> None:
    """A row with room for twice its weights has its largest one at 63.5, or next to it."""
    weights = torch.randn((400, 9), generator=torch.Generator().manual_seed(0)).requires_grad_()
    room = torch.full((400,), 2.0, dtype=torch.float64)
    scales = rows_scales(weights, None, 1.0, room, each=True)
    found = rounded_rows(weights, scales)
    for row, scale, got in zip(weights.detach().numpy(), scales.numpy(), found.detach(), strict=True):
        integers = quantize_nparray(onnx.TensorProto.INT8, row, scale, np.int8(0))
        assert np.array_equal(np.round(got.numpy() / scale), integers)
        assert np.abs(integers).max() in (63, 64)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert weights.grad is not None
    assert bool((weights.grad == 1).all())


def test_gradients_pass_within_the_range_and_stop_beyond_it(ready: Qat) -> None:
    node = onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    back = onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])
    constants = [
        numpy_helper.from_array(np.array(0.1, np.float32), "s"),
        numpy_helper.from_array(np.array(100, np.uint8), "z"),
    ]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node, back],
        "g",
        [value("x", onnx.TensorProto.FLOAT, [4])],
        [value("y", onnx.TensorProto.FLOAT, [4])],
        constants,
    )
    module = GraphModule(onnx.helper.make_model(graph))
    x = torch.tensor([-11.0, -0.26, 0.04, 15.6], requires_grad=True)
    y = module(x)
    y.sum().backward()
    assert torch.allclose(y, torch.tensor([-10.0, -0.3, 0.0, 15.5]))
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_every_layer_is_trained_and_what_alignment_added_stays_zero(moved: Qat) -> None:
    """Gradients reach each weight's tensor; a trained constant is zero where the graph has no weight."""
    before = {i.name: numpy_helper.to_array(i) for i in moved.quantized.twin.graph.initializer}
    trained = moved.model.network.constants()
    padded = 0
    for name, values in trained.items():
        weight = before[name]
        assert not np.array_equal(values, weight), name
        if name.endswith(".weight") and len(weight) % 16 == 0:
            dead = ~weight.reshape(len(weight), -1).any(axis=1)
            original = moved.checkpoint.state.get(name)
            if original is not None and len(original) < len(weight):
                padded += 1
                assert dead[len(original) :].all()
                assert not values[len(original) :].any()
                assert not trained[name.replace(".weight", ".bias")][len(original) :].any()
    assert padded >= 3


def test_planes_are_the_same_pixels(ready: Qat, small: Contract, inputs: list[np.ndarray]) -> None:
    """What the training loop feeds, normalized RGB, gives what the device's BGR bytes give."""
    rgb = torch.from_numpy(np.ascontiguousarray(inputs[0][..., ::-1]))
    planes = normalized(small.normalization.mean, small.normalization.std)(rgb)
    with torch.no_grad():
        assert torch.equal(ready.model(planes), ready.model.network(torch.from_numpy(inputs[0])))


# -- back to a checkpoint ----------------------------------------------------------------------------------


def test_trained_weights_come_back_from_a_checkpoint_as_they_were(
    moved: Qat, inputs: list[np.ndarray], small: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through BatchNorm, tracing, folding and all rewrites; the int8 model then is the module."""
    monkeypatch.setattr(prepare, "trace", traced_once)  # these very weights
    state = moved.state(moved.model.state_dict())
    exported = moved.exported(state)
    again = {i.name: numpy_helper.to_array(i) for i in exported.quantized.twin.graph.initializer}
    for name, values in moved.model.network.constants().items():
        assert np.allclose(again[name], values, rtol=2e-6, atol=1e-9), name
    rows = exported.check(inputs)
    assert sum(r.equal for r in rows) >= 0.99 * sum(r.integers for r in rows)
    shared = GraphModule(moved.quantized.twin, shared=moved.model.network)
    assert list(shared.parameters()) == []
    planes = normalized(small.normalization.mean, small.normalization.std)(
        torch.from_numpy(np.concatenate(inputs)[..., ::-1].copy())
    )
    whole = build_model(dataclasses.replace(moved.checkpoint, state=state))
    with torch.no_grad():
        expected, found = whole(planes), OnPlanes(shared, small)(planes)
    assert float((expected - found).abs().max()) < 1e-4 * float(expected.abs().max())
    assert not torch.equal(expected, build_model(moved.checkpoint)(planes))


def test_a_branch_that_was_folded_never_fires_again(
    ready: Qat, small: Contract, inputs: list[np.ndarray]
) -> None:
    """Not even on pictures on which it did: the checkpoint in fp32 is the folded graph on all of them."""
    name = "features.13.block.2.fc1/Relu"
    table = dataclasses.replace(ready.table, silent=(name,), scales={}, room={})
    made = quantize(ready.graph, table)
    folded = GraphModule(made.twin)
    state = state_of(folded.constants(), made.twin, ready.graph, table, ready.checkpoint.state, small)
    bias = "features.13.block.2.fc1.bias"
    assert float((ready.checkpoint.state[bias] - state[bias]).min()) == pytest.approx(1000, rel=1e-3)
    frames = torch.from_numpy(np.concatenate(inputs))
    planes = normalized(small.normalization.mean, small.normalization.std)(frames.flip(3))
    whole = build_model(dataclasses.replace(ready.checkpoint, state=state))
    with torch.no_grad():
        expected, found = folded(frames), whole(planes)
    assert float((expected - found).abs().max()) < 1e-4 * float(expected.abs().max())


def test_ranges_survive_the_metadata_and_fit_one_network_input(
    ready: Qat, small: Contract, reference: Checkpoint
) -> None:
    text = ready.ranges.dumps()
    again = TrainedRanges.loads(text, "mine: quantization")
    assert again == ready.ranges
    assert again.table.evidence == "trained"
    assert again.table.recipe.fp32_text == "none"
    assert again.misfit(small) is None
    for options, why in (
        (ExportOptions("reference", size=(96, 64)), "size"),
        (ExportOptions("reference", size=(SIDE, SIDE), mean=(0.5, 0.5, 0.5)), "mean"),
        (ExportOptions("reference", size=(SIDE, SIDE), input_form="float32-nchw"), "layout"),
    ):
        assert (again.misfit(make_contract(options, reference)) or "").startswith(why)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema":2}', '{"schema":1,"table":{}}', '{"schema":1,"input":{}}']
)
def test_malformed_ranges_are_one_typed_error(text: str) -> None:
    with pytest.raises(CheckpointError, match="mine: quantization"):
        TrainedRanges.loads(text, "mine: quantization")


# -- the export's side -------------------------------------------------------------------------------------


def test_an_export_of_another_size_says_why_it_measures_its_own_ranges(
    ready: Qat, small: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecovision_edge_export.int8.stage.GENERATED_IMAGES", 2)
    other = dataclasses.replace(ready.ranges, input={**ready.ranges.input, "size": [224.0, 224.0]})
    script = Transcript(ScriptReporter())
    options = ExportOptions("mine.safetensors", size=(SIDE, SIDE), fp32_blocks=2)
    recipes = find_recipes(options, small, ready.graph, None, ["arm64"], script, other)["arm64"]
    assert recipes[0].evidence == "generated"
    warnings = script.to_json()["warnings"]
    assert isinstance(warnings, list)
    assert any("another network input (size [64.0, 64.0], not [224.0, 224.0])" in str(w) for w in warnings)


def test_without_photographs_the_cheapest_blocks_in_fp32_come_first(
    ready: Qat, small: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate then takes the first that it lets through; synthetic frames judge nothing."""
    monkeypatch.setattr("ecovision_edge_export.int8.search.LEAST_LEADING", 2)
    monkeypatch.setattr("ecovision_edge_export.int8.stage.LAYER_INPUTS", 2)
    script = Transcript(ScriptReporter())
    options = ExportOptions("mine.safetensors", size=(SIDE, SIDE))
    by_target = find_recipes(options, small, ready.graph, None, ["arm64-dotprod"], script, ready.ranges)
    recipes = by_target["arm64-dotprod"]
    assert sorted(t.recipe.fp32_blocks for t in recipes) == [-1, 0, 1]
    assert recipes[0].recipe.fp32_blocks == 1  # onnxruntime's int8 stem and depthwise cost more than fp32's
    assert {t.recipe.signed for t in recipes} == {True}
    assert all(t.ranges == ready.table.ranges and not t.recipe.bias_corrected for t in recipes)
    assert not recipes.searched
    assert recipes[0].tried == ()
    one = dataclasses.replace(options, fp32_blocks=1)
    found = find_recipes(one, small, ready.graph, None, ["arm64"], script, ready.ranges)["arm64"]
    assert [t.recipe.fp32_blocks for t in found] == [1]


def test_a_search_over_trained_ranges_only_asks_which_blocks_stay_fp32(
    ready: Qat, inputs: list[np.ndarray]
) -> None:
    rows = search(ready.graph, ready.table, inputs, target="arm64", agree=0.5, fp32_blocks=1)
    assert [(r.stage, r.what) for r in rows] == [("leading blocks", "fp32: 0-1")]
    assert rows[0].table.ranges == ready.table.ranges
    assert ranked(rows, 0.5) == rows


# -- ecovision-edge train --qat ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four noisy pictures of each of the reference's classes."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for label in LABELS:
        (folder / label).mkdir()
        colour = rng.integers(0, 255, 3)
        for i in range(4):
            noisy = np.clip(rng.normal(0, 25, (70, 80, 3)) + colour, 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / label / f"{i}.png"), noisy)
    return folder


def options(data: Path, **changes: object) -> TrainOptions:
    values: dict[str, object] = {"recipe": "qat", "init": "reference", "size": (SIDE, SIDE)}
    values |= {"epochs": 1, "batch": 8, "workers": 0, **changes}
    return TrainOptions(data, **values)  # type: ignore[arg-type]


class Listener(Reporter):
    """Keeps what was noted, and which epochs were called the best."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.best: list[int] = []

    def ended(self, row: EpochRow, *, best: bool) -> None:
        if best:
            self.best.append(row.epoch)

    def noted(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="module")
def tuned(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, list[str]]:
    """A training for int8, and what it said."""
    listener = Listener()
    result = train(options(pictures), tmp_path_factory.mktemp("tuned") / "mine", listener)
    assert not listener.best  # the last epoch is kept, so none is the best
    return result, listener.notes


def test_training_for_int8_leaves_weights_ranges_and_what_it_won(
    tuned: tuple[TrainResult, list[str]], reference: Checkpoint
) -> None:
    result, notes = tuned
    checkpoint = load_checkpoint(str(result.path))
    assert checkpoint.quantization is not None
    ranges = TrainedRanges.loads(checkpoint.quantization, "mine")
    assert ranges.input["size"] == [SIDE, SIDE]
    assert set(checkpoint.state) == set(reference.state)
    weight = "features.16.0.weight"
    assert not torch.equal(checkpoint.state[weight], reference.state[weight])
    facts = json.loads((result.path / "training.json").read_text())
    assert facts["recipe"]["name"] == "qat"
    card = (result.path / "MODEL_CARD.md").read_text()
    assert "learning rate 0.08 steps of int8" in card
    assert "in the last epoch" in card
    assert "best epoch [" not in card
    assert facts["int8"]["equal_integers"] > 0.99
    assert facts["int8"]["most_steps_apart"] <= 1
    assert facts["int8"]["trained"]["images"] == 10
    assert [n.partition(":")[0] for n in notes[-2:]] == [
        "all in int8, rounded after training",
        "all in int8, trained for it",
    ]


@pytest.fixture(scope="module")
def bundle(tuned: tuple[TrainResult, list[str]], tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    weights = str(tuned[0].path)
    asked = ExportOptions(
        weights,
        formats=("onnx", "tflite"),
        precisions=("int8",),
        target="arm64-dotprod",
        allow_parity_failure=True,
    )
    with pytest.MonkeyPatch.context() as m:
        m.setattr("ecovision_edge_export.int8.search.LEAST_LEADING", 1)
        m.setattr("ecovision_edge_export.parity.measure.GENERATED_IMAGES", 24)
        return export_bundle(asked, tmp_path_factory.mktemp("bundle") / "b")


def test_export_takes_the_trained_ranges_and_says_so(bundle: ExportResult) -> None:
    """In the transcript, the manifest and the quantization report; the gate is still asked."""
    text = json.dumps(bundle.to_json())
    assert "ranges of a quantization-aware training on 30 photographs, from the checkpoint" in text
    assert [a.name for a in bundle.manifest.artifacts] == ["int8-onnx", "int8-tflite"]
    reasons = ("quantization-aware training", "the first by trained ranges")
    for artifact, parity, reason in zip(bundle.manifest.artifacts, bundle.parity, reasons, strict=True):
        recipe = artifact.recipe
        assert recipe["ranges"] == "trained"
        assert recipe["biases_corrected"] is False
        assert str(recipe["fp32_blocks"]).removesuffix(", last layer") in {"none", "0", "0-1", "0-2", "0-3"}
        assert recipe["tried"] == []
        assert reason in str(recipe["chosen_because"])
        assert str(recipe["chosen_because"]).endswith("that the parity gate let through")
        assert parity.judged
    card = (bundle.path / "MODEL_CARD.md").read_text()
    assert card.count("ranges of a quantization-aware training, measured on 30 photographs before it") == 2
    assert bundle.manifest.provenance["calibration"]["evidence"] == "trained"  # type: ignore[index,call-overload]


def test_the_scales_in_the_tflite_file_are_those_of_the_training(
    bundle: ExportResult, tuned: tuple[TrainResult, list[str]]
) -> None:
    """All but a few, that XNNPACK's limits widen; hard-swish comes six times as large, or cut at 6."""
    checkpoint = load_checkpoint(str(tuned[0].path))
    assert checkpoint.quantization is not None
    trained = TrainedRanges.loads(checkpoint.quantization, "mine").table.ranges.values()
    widths = np.array([max(high, 0.0) - min(low, 0.0) for low, high in trained])
    widths = np.concatenate([widths, 6 * widths, [6.0, 255.0]])
    graph = read_model((bundle.path / "model.int8.tflite").read_bytes()).subgraphs[0]
    computed = {int(i) for op in graph.operators for i in op.outputs}
    quantization = [graph.tensors[i].quantization for i in computed]
    scales = np.array([q.scale[0] for q in quantization if q is not None and q.scale is not None])
    known = [bool((np.abs(255 * scale / widths - 1) < 1e-4).any()) for scale in scales]
    assert len(scales) > 100
    assert sum(known) > 0.9 * len(known)


def test_a_training_for_int8_that_was_interrupted_comes_to_the_same_weights(
    tuned: tuple[TrainResult, list[str]],
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Told of the whole one; it takes seconds, and changes no weight.
    monkeypatch.setattr("ecovision_edge_export.train.qat.method.Int8Training.finish", lambda *_: {})
    batches = iter([False, True])

    def stop() -> bool:
        return (tmp_path / "mine" / "last.pth").exists() and next(batches)

    with pytest.raises(InterruptedTrainingError):
        train(options(pictures), tmp_path / "mine", stop=stop)
    train(TrainOptions(pictures, workers=0, resume=True), tmp_path / "mine")
    whole, parts = (load_checkpoint(str(f)).state for f in (tuned[0].path, tmp_path / "mine"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_training_for_int8_needs_a_trained_start(pictures: Path, tmp_path: Path) -> None:
    for init in (None, "imagenet", "none"):
        with pytest.raises(OptionError, match="--qat: expected --init with a trained checkpoint"):
            settle(options(pictures, init=init), None)
    other = tmp_path / "other"
    for label in LABELS[:3]:
        (other / label).mkdir(parents=True)
        for i in range(2):
            cv2.imwrite(str(other / label / f"{i}.png"), np.full((40, 40, 3), 60 * i, np.uint8))
    with pytest.raises(
        OptionError, match="--qat: expected --init with a checkpoint that was trained on these"
    ):
        train(options(other), tmp_path / "out")


def test_a_table_of_another_graph_is_refused_before_anything_is_quantized(
    ready: Qat, small: Contract
) -> None:
    table = dataclasses.replace(ready.table, scales={"no such tensor": (1.0,)})
    foreign = dataclasses.replace(ready.ranges, table=table)
    script = Transcript(ScriptReporter())
    with pytest.raises(ContractError, match="calibration table"):
        find_recipes(ExportOptions("x"), small, ready.graph, None, ["arm64"], script, foreign)


def test_an_int8_model_that_is_another_network_does_not_cost_table_curves_and_card(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check comes last: what was trained is there to be looked at, and to go on from."""

    def another(*_: object) -> None:
        raise ExportError("not the same network")

    monkeypatch.setattr("ecovision_edge_export.train.qat.method.Int8Training.finish", another)
    with pytest.raises(ExportError, match="not the same network"):
        train(options(pictures), tmp_path / "mine")
    files = {p.name for p in (tmp_path / "mine").iterdir()}
    assert files >= {
        "best.safetensors",
        "last.pth",
        "history.json",
        "training.json",
        "curves.png",
        "MODEL_CARD.md",
    }
    assert load_checkpoint(str(tmp_path / "mine")).quantization is not None
