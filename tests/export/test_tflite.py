"""TFLite: the same network, one XNNPACK partition in int8, and no scale that XNNPACK cannot take."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tests.export.graphs import folded, rewritten

from ecovision_edge.backends import BackendOptions
from ecovision_edge.backends.litert import LiteRtBackend
from ecovision_edge.bundle.contract import METADATA_KEY, Contract
from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.classifier import Classifier
from ecovision_edge.cli import main
from ecovision_edge.errors import ExportError, OptionError
from ecovision_edge.preprocess import Preprocessor
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export import pipeline
from ecovision_edge_export.graph.graphs import Graph
from ecovision_edge_export.int8.calibrate import measure
from ecovision_edge_export.int8.fidelity import sqnr_db
from ecovision_edge_export.int8.quantize import blocks_of
from ecovision_edge_export.int8.recipe import Recipe
from ecovision_edge_export.int8.sessions import onnx_session
from ecovision_edge_export.int8.sharing import Shared
from ecovision_edge_export.int8.table import REFERENCE_CALIBRATION, CalibrationTable
from ecovision_edge_export.options import ExportOptions, InputForm, make_contract
from ecovision_edge_export.pipeline import ExportResult, export_bundle
from ecovision_edge_export.rewrites.hard_swish import integer_hard_swish
from ecovision_edge_export.targets import TARGETS
from ecovision_edge_export.tflite import choose, convert, quantize
from ecovision_edge_export.tflite.choose import ORDER, open_once, tflite_recipe, tflite_trials
from ecovision_edge_export.tflite.flatbuffer import (
    constant,
    finish,
    operator_name,
    read_model,
    schema,
    write_model,
)
from ecovision_edge_export.tflite.network import Network
from ecovision_edge_export.tflite.quantize import half_precision_nodes, quantize_tflite
from ecovision_edge_export.tflite.scales import check_scales, fit_ranges
from ecovision_edge_export.weights.checkpoint import Checkpoint

pytestmark = pytest.mark.slow

Change = Callable[[np.ndarray], np.ndarray]

INT8 = Recipe(fp32_blocks=1)
"""What the reference is given."""


@pytest.fixture(scope="module")
def inputs(contract: Contract) -> list[np.ndarray]:
    """Network inputs."""
    return [Preprocessor(contract).prepare(draw_frame(seed)) for seed in range(4)]


@pytest.fixture(scope="module")
def recorded() -> CalibrationTable:
    """The ranges that were recorded with the reference."""
    return CalibrationTable.loads(REFERENCE_CALIBRATION.read_bytes(), "recorded")


def shorten(patch: pytest.MonkeyPatch, graph: onnx.ModelProto) -> None:
    """Let an export of the reference not trace it again, and judge on eight synthetic frames."""
    patch.setattr(pipeline, "prepare_graph", lambda *_: graph)
    patch.setattr("ecovision_edge_export.parity.measure.GENERATED_IMAGES", 8)


TRACED: dict[tuple[InputForm, tuple[int, int], bool], tuple[onnx.ModelProto, Contract]] = {}


def tiny(
    reference: Checkpoint, form: InputForm, size: tuple[int, int], *, biased: bool = False
) -> tuple[onnx.ModelProto, Contract]:
    """The graph of a network with three blocks of each kind there is, random weights, and its contract.

    Its excitations' biases are zero, and so not there, unless it is `biased`. Traced once; copy it before
    changing it.
    """
    if (form, size, biased) in TRACED:
        return TRACED[form, size, biased]
    from torchvision.models.mobilenetv3 import InvertedResidualConfig as Block
    from torchvision.models.mobilenetv3 import MobileNetV3

    blocks = [
        Block(16, 3, 16, 16, False, "RE", 1, 1, 1),
        Block(16, 3, 64, 24, True, "RE", 2, 1, 1),
        Block(24, 5, 72, 24, True, "HS", 1, 1, 1),
    ]
    torch.manual_seed(5)
    network = MobileNetV3(blocks, last_channel=64, num_classes=10).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.uniform_(-0.5, 0.5)
        elif biased and isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            module.bias.data.uniform_(-0.5, 0.5)
    options = ExportOptions(weights="reference", input_form=form, size=size)
    contract = make_contract(options, reference)
    graph = folded(network, *size, contract)
    return TRACED.setdefault((form, size, biased), (graph, contract))


CONVERTED: list[bytes] = []
"""What `both` converted, in order: fp32 first."""


@pytest.fixture(scope="module")
def both(graph: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """A bundle with all four artifacts."""
    options = ExportOptions(weights="reference", formats=("onnx", "tflite"), target="arm64")
    original = convert.convert

    def keep(model: onnx.ModelProto, contract: Contract) -> bytes:
        CONVERTED.append(original(model, contract))
        return CONVERTED[-1]

    with pytest.MonkeyPatch.context() as patch:
        shorten(patch, graph)
        patch.setattr(convert, "convert", keep)
        return export_bundle(options, tmp_path_factory.mktemp("both") / "bundle")


@pytest.fixture(scope="module")
def raw(both: ExportResult) -> bytes:
    """The reference's fp32 model as it was converted."""
    return CONVERTED[0]


@pytest.fixture(scope="module")
def fp32(both: ExportResult) -> bytes:
    """The reference's finished fp32 model."""
    return (both.path / "model.fp32.tflite").read_bytes()


@pytest.fixture(scope="module")
def int8(both: ExportResult) -> bytes:
    """Its finished int8 model."""
    return (both.path / "model.int8.tflite").read_bytes()


@pytest.fixture(scope="module")
def all_int8(
    graph: onnx.ModelProto, contract: Contract, recorded: CalibrationTable, inputs: list[np.ndarray]
) -> bytes:
    """With no block in fp32, not even the stem."""
    return quantize_tflite(graph, recorded, dataclasses.replace(INT8, fp32_blocks=-1), contract, inputs)


def logits(data: bytes, inputs: list[np.ndarray]) -> np.ndarray:
    """What the runtime gives, `(n, classes)`."""
    backend = LiteRtBackend(data, BackendOptions(threads=1))
    return np.concatenate([backend.run(x) for x in inputs])


def expected(graph: onnx.ModelProto, inputs: list[np.ndarray]) -> np.ndarray:
    """What onnxruntime gives of the graph."""
    session = onnx_session(graph)
    return np.concatenate([session.run(None, {session.get_inputs()[0].name: x})[0] for x in inputs])


def partitions(data: bytes) -> tuple[int, list[str]]:
    """How many XNNPACK partitions a model has, and which operators are in none."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    ops = interpreter._get_ops_details()
    delegated = [op for op in ops if op["op_name"] == "DELEGATE"]
    model = read_model(data)
    taken = {int(t) for op in delegated for t in op["inputs"]}
    outside = [
        operator_name(model, op) for op in model.subgraphs[0].operators if {*map(int, op.outputs)} & taken
    ]
    return len(delegated), outside


def kinds(data: bytes) -> Counter[str]:
    """How many operators of each kind."""
    model = read_model(data)
    return Counter(operator_name(model, op) for op in model.subgraphs[0].operators)


def test_fp32_is_the_same_network(fp32: bytes, graph: onnx.ModelProto, inputs: list[np.ndarray]) -> None:
    """To 1e-4 of a logit, from the same bytes of pixels."""
    assert np.abs(logits(fp32, inputs) - expected(graph, inputs)).max() < 1e-4


def int8_of(graph: onnx.ModelProto, contract: Contract, inputs: list[np.ndarray]) -> bytes:
    """All int8, calibrated on the inputs themselves."""
    recipe = dataclasses.replace(INT8, fp32_blocks=-1)
    table = measure(graph, lambda: iter(inputs), digest="0" * 64, evidence="generated").table(recipe)
    return quantize_tflite(graph, table, recipe, contract, inputs[:2])


def as_module(graph: onnx.ModelProto, x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What PyTorch gives of `Network`."""
    with torch.no_grad():
        logits: np.ndarray = Network(graph, *size)(torch.from_numpy(x.astype(np.float32))).numpy()
    return logits


def test_the_module_is_the_graph_of_any_size(reference: Checkpoint) -> None:
    """Borders of mean pixels are exact where rows are odd, and where there are none on one side."""
    for size in ((97, 130), (64, 33)):
        graph, contract = tiny(reference, "uint8-nhwc", size)
        x = Preprocessor(contract).prepare(draw_frame(3))
        wanted = expected(graph, [x])
        assert np.abs(as_module(graph, x, size) - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_a_node_without_a_rule_is_refused(graph: onnx.ModelProto) -> None:
    """And named."""
    strange = onnx.ModelProto()
    strange.CopyFrom(graph)
    next(n for n in strange.graph.node if n.op_type == "Relu").op_type = "Sigmoid"
    with pytest.raises(ExportError, match=r"cannot convert node .* found Sigmoid"):
        Network(strange, 224, 224)


def test_no_tensor_is_turned(fp32: bytes, int8: bytes, all_int8: bytes) -> None:
    """The converter finds channels last everywhere: no transposition, no reshape."""
    for data in (fp32, int8, all_int8):
        assert not {"TRANSPOSE", "RESHAPE", "SUB", "CAST"} & kinds(data).keys()
    assert kinds(fp32)["HARD_SWISH"] == 21


def test_int8_is_one_partition(int8: bytes, all_int8: bytes, fp32: bytes) -> None:
    """Nothing of it is left to slow kernels.

    But where the stem is int8, pixels become int8 before the partition: XNNPACK turns no uint8 into int8.
    """
    assert partitions(int8) == (1, [])
    assert partitions(all_int8) == (1, ["QUANTIZE"])
    assert partitions(fp32) == (1, [])


def test_what_is_int8_and_what_is_not(int8: bytes, all_int8: bytes) -> None:
    """All of it is, but for the last layer, and the leading blocks that were asked for."""

    def floats(data: bytes) -> list[str]:
        model = read_model(data)
        graph = model.subgraphs[0]
        return [
            operator_name(model, op)
            for op in graph.operators
            if graph.tensors[op.outputs[0]].type == schema().TensorType.FLOAT32
        ]

    assert floats(all_int8) == ["DEQUANTIZE", "FULLY_CONNECTED"]
    stem_and_block = ["DEQUANTIZE", "CONV_2D", "HARD_SWISH", "DEPTHWISE_CONV_2D", "CONV_2D", "ADD"]
    assert floats(int8) == [*stem_and_block, "DEQUANTIZE", "FULLY_CONNECTED"]
    assert kinds(int8)["HARD_SWISH"] == 1
    assert kinds(all_int8)["HARD_SWISH"] == 0


def test_input_and_contract(int8: bytes, all_int8: bytes, fp32: bytes, contract: Contract) -> None:
    """Pixels come in as uint8, and are their own integers; the contract is in the metadata."""
    for data in (int8, all_int8, fp32):
        model = read_model(data)
        graph = model.subgraphs[0]
        taken = graph.tensors[graph.inputs[0]]
        assert taken.type == schema().TensorType.UINT8
        assert (list(taken.quantization.scale), list(taken.quantization.zeroPoint)) == ([1.0], [0])
        assert taken.name == contract.input.name.encode()
        (entry,) = [m for m in model.metadata if m.name == METADATA_KEY.encode()]
        assert Contract.loads(bytes(model.buffers[entry.buffer].data).decode()) == contract
        assert LiteRtBackend(data).contract == contract


def test_a_float_contract_takes_floats(reference: Checkpoint) -> None:
    """The classic input: normalized planes; in int8 too."""
    graph, contract = tiny(reference, "float32-nchw", (64, 96))
    inputs = [Preprocessor(contract).prepare(draw_frame(seed)) for seed in range(6)]
    wanted = expected(graph, inputs)
    assert np.abs(as_module(graph, inputs[0], (64, 96)) - wanted[:1]).max() < 1e-4 * np.abs(wanted).max()
    data = int8_of(graph, contract, inputs)
    assert partitions(data)[0] == 1
    assert sqnr_db(logits(data, inputs), wanted) > 20


def test_the_same_inputs_give_the_same_bytes(reference: Checkpoint) -> None:
    """Converted and quantized twice."""
    graph, contract = tiny(reference, "uint8-nhwc", (64, 64), biased=True)
    inputs = [Preprocessor(contract).prepare(draw_frame(seed)) for seed in range(2)]
    assert int8_of(graph, contract, inputs) == int8_of(graph, contract, inputs)


def test_int8_answers_as_fp32(
    int8: bytes, graph: onnx.ModelProto, contract: Contract, photographs: Path
) -> None:
    """On 60 photographs of all classes: at most one flips, and logits are 20 dB above the noise."""
    from ecovision_edge.photographs.images import read_image

    paths = sorted((photographs / "val").glob("*/*"))[::20]
    prepare = Preprocessor(contract).prepare
    inputs = [prepare(read_image(path)) for path in paths]
    found, wanted = logits(int8, inputs), expected(graph, inputs)
    assert len(paths) >= 60
    assert (found.argmax(1) != wanted.argmax(1)).sum() <= 1
    assert sqnr_db(found, wanted) > 20


def test_the_residual_takes_the_factor(graph: onnx.ModelProto, inputs: list[np.ndarray]) -> None:
    """With `residuals` no HardSwish is left, and the answer is the same; without, the stem's is."""
    changed, factors = rewritten(graph, integer_hard_swish, residuals=True)
    plain, _ = rewritten(graph, integer_hard_swish)

    def left(model: onnx.ModelProto) -> list[str]:
        return [n.name for n in model.graph.node if n.op_type == "HardSwish"]

    assert left(changed) == []
    assert left(plain) == ["features.0.0/HardSwish"]
    assert factors["features.1.block.1.0/Add"] == factors["features.1.block.1.0"] == 6.0
    wanted = expected(graph, inputs)
    assert np.abs(expected(changed, inputs) - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_the_residual_is_left_where_somebody_else_reads_it(graph: onnx.ModelProto) -> None:
    """The other side of the addition must be a convolution of its own."""
    shared = onnx.ModelProto()
    shared.CopyFrom(graph)
    shared.graph.node.append(onnx.helper.make_node("Relu", ["features.1.block.1.0"], ["extra"], "extra"))
    shared.graph.output.append(onnx.helper.make_tensor_value_info("extra", 1, None))
    changed, _ = rewritten(shared, integer_hard_swish, residuals=True)
    assert [n.name for n in changed.graph.node if n.op_type == "HardSwish"] == ["features.0.0/HardSwish"]


def _spoilt(graph: onnx.ModelProto, changes: dict[str, Change]) -> onnx.ModelProto:
    """The graph with constants altered, by name."""
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    for tensor in result.graph.initializer:
        if tensor.name in changes:
            values = changes[tensor.name](onnx.numpy_helper.to_array(tensor).copy())
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), tensor.name))
    return result


def _first_rows(rows: int, factor: float, offset: float = 0.0) -> Change:
    return lambda v: np.concatenate([v[:rows] * factor + offset, v[rows:]])


DEAD: dict[str, Change] = {
    # An excitation that hardly ever fires, and is not folded: one unit is nearly dead, the others are.
    "features.2.block.2.fc1.weight": lambda v: v * 1e-6,
    "features.2.block.2.fc1.bias": lambda v: np.where(np.arange(len(v)) == 0, 1e-9, -1),
    # Dead channels, before a depthwise convolution and of one.
    "features.3.block.0.0.weight": _first_rows(8, 0),
    "features.3.block.0.0.bias": _first_rows(8, 0),
    "features.2.block.1.0.weight": _first_rows(8, 0),
    "features.2.block.1.0.bias": _first_rows(8, 0),
    # Tiny weights with a large bias, which overflows in steps of their scale.
    "features.3.block.3.0.weight": _first_rows(4, 1e-12),
    "features.3.block.3.0.bias": _first_rows(4, 0, 2),
}
FOLDED: dict[str, Change] = {
    "features.3.block.2.fc1.weight": lambda v: v * 0,
    "features.3.block.2.fc1.bias": lambda v: v * 0 - 1,
}
HUGE: dict[str, Change] = {
    "features.3.block.0.0.weight": _first_rows(1, 1e4),
    "features.3.block.0.0.bias": _first_rows(1, 1e4),
    "features.3.block.1.0.weight": _first_rows(1, 1e-4),
}


@pytest.mark.parametrize(("changes", "least_db"), [(DEAD, 18), (FOLDED, 18), (HUGE, -100)])
def test_awkward_checkpoints_open_and_run(
    changes: dict[str, Change], least_db: float, reference: Checkpoint
) -> None:
    """Every factor is one that XNNPACK takes; a process of its own opens and runs the model.

    A huge channel leaves the others few levels: what that is worth is the gate's business.
    """
    graph, contract = tiny(reference, "uint8-nhwc", (64, 64), biased=True)
    inputs = [Preprocessor(contract).prepare(draw_frame(seed)) for seed in range(6)]
    awkward = _spoilt(graph, changes)
    assert changes.keys() <= {i.name for i in awkward.graph.initializer}
    data = int8_of(awkward, contract, inputs)
    open_once(data)
    found = logits(data, inputs)
    assert np.isfinite(found).all()
    assert partitions(data)[0] == 1
    assert sqnr_db(found, expected(awkward, inputs)) > least_db


def test_factors_beyond_xnnpack_are_found(int8: bytes) -> None:
    """Whoever chose the scales: of convolutions, additions, products."""
    check_scales(read_model(int8))
    for kind in ("CONV_2D", "ADD", "MUL", "MEAN"):
        model = read_model(int8)
        graph = model.subgraphs[0]
        op = next(
            o
            for o in graph.operators
            if operator_name(model, o) == kind
            and graph.tensors[o.outputs[0]].type == schema().TensorType.INT8
            and graph.tensors[o.inputs[0]].type == schema().TensorType.INT8
        )
        graph.tensors[op.outputs[0]].quantization.scale = [4e-12]
        with pytest.raises(ExportError, match=r"int8 scales of .*XNNPACK"):
            check_scales(model)


def test_ranges_are_widened_until_they_fit(fp32: bytes) -> None:
    """A dead output next to a live input, and the other way round in an addition."""
    model = read_model(fp32)
    graph = model.subgraphs[0]
    ops = [(operator_name(model, op), op) for op in graph.operators]
    ranges = {int(op.outputs[0]): (-1.0, 1.0) for _, op in ops} | {int(graph.inputs[0]): (0.0, 255.0)}
    conv = next(op for kind, op in ops if kind == "CONV_2D")
    add = next(op for kind, op in ops if kind == "ADD")
    ranges[int(conv.inputs[0])] = (0.0, 255.0)
    ranges[int(conv.outputs[0])] = (0.0, 0.0)
    ranges[int(add.inputs[0])] = (0.0, 1e-9)
    ranges[int(add.outputs[0])] = (-1000.0, 1000.0)
    fitted = fit_ranges(model, ranges)
    weights = constant(model, conv.inputs[1])
    assert weights is not None
    product = 1.0 * float(np.abs(weights).max()) / 127
    low, high = fitted[int(conv.outputs[0])]
    assert product / ((high - low) / 255) <= 128.01
    assert fitted[int(add.inputs[0])][1] >= 2000 / 512 * 0.999
    assert fitted[int(add.outputs[0])] == (-1000.0, 1000.0)
    kept = fit_ranges(model, ranges, fp32={int(conv.outputs[0])})
    assert kept[int(conv.outputs[0])] == (0.0, 1e-4)


def test_a_file_is_read_and_written(int8: bytes) -> None:
    """The same bytes, and constants inside the flatbuffer at multiples of 16: engines look there alone."""
    assert write_model(read_model(int8)) == int8
    packed = schema().Model.GetRootAs(bytearray(int8), 0)
    buffers = [packed.Buffers(i) for i in range(packed.BuffersLength())]
    assert not any(buffer.Offset() or buffer.Size() for buffer in buffers)
    data = [buffer.DataAsNumpy() for buffer in buffers if buffer.DataLength()]
    start = np.frombuffer(packed._tab.Bytes, np.uint8).ctypes.data
    assert all((values.ctypes.data - start) % 16 == 0 for values in data)
    assert len(data) > 100


def test_a_model_that_cannot_be_opened_is_an_error(int8: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, whether LiteRT refuses it or dies of it."""
    with pytest.raises(ExportError, match=r"LiteRT cannot run the model: .*ModelError|found ecovision"):
        open_once(int8[: len(int8) // 2])
    monkeypatch.setattr(choose, "OPENER", "import os; os.abort()")
    with pytest.raises(ExportError, match="found signal 6"):
        open_once(int8)
    monkeypatch.setattr(choose, "OPENER", "import time; time.sleep(60)")
    monkeypatch.setattr(choose, "OPEN_SECONDS", 0.5)
    with pytest.raises(ExportError, match="no end"):
        open_once(int8)


@pytest.mark.slow
def test_for_fp16_depthwise_layers_of_stride_1_stay_fp32(
    graph: onnx.ModelProto, contract: Contract, recorded: CalibrationTable, inputs: list[np.ndarray]
) -> None:
    """Those of stride 2 are int8; the model opens, and answers as it should."""
    data = quantize_tflite(graph, recorded, INT8, contract, inputs, half=True)
    model = read_model(data)
    made = [
        (op.builtinOptions.strideH, model.subgraphs[0].tensors[op.outputs[0]].type)
        for op in model.subgraphs[0].operators
        if operator_name(model, op) == "DEPTHWISE_CONV_2D"
    ]
    types = schema().TensorType
    assert Counter(made) == {(1, types.FLOAT32): 11, (2, types.INT8): 4}
    assert sqnr_db(logits(data, inputs), expected(graph, inputs)) > 20


def test_what_stays_fp32_for_fp16_is_known(graph: onnx.ModelProto) -> None:
    """Depthwise layers of stride 1, each with its ReLU, or on to the product of its excitation."""
    g = Graph.copy_of(graph)
    names = half_precision_nodes(g)
    kinds = Counter(node.op_type for node in g.model.graph.node if node.name in names)
    excited = {
        "ReduceMean": 6,
        "HardSigmoid": 6,
        "Mul": 6,
        "HardSwish": 4,
    }  # 4 after a hard-swish, 2 after a ReLU
    assert kinds == {"Conv": 11 + 2 * 6, "Relu": 4 + 6, **excited}


def test_trials_come_in_the_order_of_costs(
    graph: onnx.ModelProto,
    contract: Contract,
    recorded: CalibrationTable,
    inputs: list[np.ndarray],
    int8: bytes,
    all_int8: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cheapest first, each only when it is asked for; where none is good enough, the most faithful."""
    assert ORDER.keys() == set(TARGETS)
    asked: list[int] = []

    halves: list[bool] = []

    def make(model: object, table: object, recipe: Recipe, *_: object, half: bool) -> bytes:
        asked.append(recipe.fp32_blocks)
        halves.append(half)
        return all_int8 if recipe.fp32_blocks == -1 else int8

    monkeypatch.setattr(choose, "quantize_tflite", make)
    trials = tflite_trials(graph, recorded, contract, inputs, target="arm64-dotprod", agree=0.5)
    first = next(trials)
    assert (first.recipe.fp32_blocks, asked, len(first.tried)) == (-1, [-1], 1)
    assert first.recipe.fp32_also == ()
    assert not first.recipe.signed
    assert len(next(trials).tried) == 2
    asked.clear()
    (only,) = tflite_trials(graph, recorded, contract, inputs, target="arm64-dotprod", agree=1.1)
    assert (only.data, asked) == (int8, [-1, 0, 1, 2, 3])
    assert len(only.tried) == 5
    assert not any(halves)
    trial = next(tflite_trials(graph, recorded, contract, inputs, target="arm64-fp16", agree=0.5))
    assert halves[-1]
    assert tflite_recipe(trial, recorded, Shared("arm64-fp16", {"arm64-fp16": 0.0}))["fp32_blocks"] == (
        "0-1, last layer, depthwise layers of stride 1 and their excitations"
    )


def test_a_library_that_fails_is_one_line(
    graph: onnx.ModelProto,
    contract: Contract,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """And what the converter prints stays off the terminal."""
    import litert_torch

    def fail(*_: object) -> None:
        print("progress of the converter")
        raise RuntimeError("out of rules")

    monkeypatch.setattr(litert_torch, "convert", fail)
    with pytest.raises(ExportError, match=r"litert-torch cannot convert .*RuntimeError: out of rules"):
        convert.convert(graph, contract)
    assert capfd.readouterr() == ("", "")


def test_a_tensor_that_is_not_known_is_refused(
    graph: onnx.ModelProto,
    contract: Contract,
    recorded: CalibrationTable,
    inputs: list[np.ndarray],
    raw: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A converter that computes something else than the rewritten graph does not get through."""
    monkeypatch.setattr(quantize, "convert", lambda *_: raw)
    with pytest.raises(ExportError, match="equal to one of the graph's"):
        quantize_tflite(graph, recorded, INT8, contract, inputs)


def test_export_makes_both_formats(
    both: ExportResult, capsys: pytest.CaptureFixture[str], raw: bytes, contract: Contract
) -> None:
    """Four artifacts behind one gate, verified by both engines; each tells how it was made."""
    names = ["fp32-onnx", "int8-onnx", "fp32-tflite", "int8-tflite"]
    assert [a.name for a in both.manifest.artifacts] == names
    assert [p.artifact for p in both.parity] == names
    assert all(p.ok for p in both.parity)
    bundle = Bundle.open(both.path)
    assert bundle.read(bundle.artifact("fp32-tflite")) == finish(raw, contract)
    versions = bundle.manifest.provenance["versions"]
    assert isinstance(versions, dict)
    assert {"litert-torch", "ai-edge-quantizer", "ai-edge-litert"} <= versions.keys()
    assert bundle.artifact("int8-tflite").recipe["fp32_blocks"] == "0-1, last layer"
    assert main(["verify", str(bundle.path)]) == 0
    assert main(["quant-report", str(bundle.path), "--artifact", "int8-tflite"]) == 0
    shown = capsys.readouterr().out
    assert "static int8" in shown
    frame = draw_frame(7)
    answers = {name: Classifier.load(bundle.path, artifact=name).classify(frame) for name in names}
    assert len({a.label for a in answers.values()}) == 1
    assert abs(answers["fp32-onnx"].score - answers["fp32-tflite"].score) < 1e-4


def test_tflite_alone(
    tmp_path: Path, graph: onnx.ModelProto, raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle without ONNX is whole: its only format is the default."""
    shorten(monkeypatch, graph)
    monkeypatch.setattr(convert, "convert", lambda *_: raw)
    options = ExportOptions(weights="reference", formats=("tflite",), precisions=("fp32",))
    export_bundle(options, tmp_path / "alone")
    assert Classifier.load(tmp_path / "alone").artifact == "fp32-tflite"
    assert json.loads((tmp_path / "alone" / "bundle.json").read_text())["artifacts"][0]["opset"] is None


def test_formats_are_checked() -> None:
    """One line for a format that does not exist."""
    with pytest.raises(OptionError, match=r"--formats: expected onnx, tflite or both, found pt"):
        ExportOptions(weights="reference", formats=("pt",))


def test_blocks_of_the_rewritten_graph_are_known(graph: onnx.ModelProto) -> None:
    """The blocks that stay fp32 are told by weights, whatever was rewritten."""
    changed, _ = rewritten(graph, integer_hard_swish, residuals=True)
    assert set(blocks_of(changed).values()) == set(blocks_of(graph).values())
