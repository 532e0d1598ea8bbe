"""The size of the input as a choice: accuracy against cost, and what follows from the size that is taken."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tests.export.graphs import folded, shorten

from ecovision_edge import Bundle, verify_bundle
from ecovision_edge.bundle.contract import Contract, InputSpec, ResizeSpec, WeightsSource
from ecovision_edge.cli import main
from ecovision_edge.errors import OptionError
from ecovision_edge.photographs.turns import TurnFigure, TurnFigures, TurnReport
from ecovision_edge_export import pipeline, sizes
from ecovision_edge_export.card.sizes import size_lines
from ecovision_edge_export.graph.sides import at_size
from ecovision_edge_export.making import Artifacts, ExportRun, make_artifacts
from ecovision_edge_export.options import ExportOptions, make_contract, parse_sizes
from ecovision_edge_export.parity.figures import GateClosedError
from ecovision_edge_export.parity.frontier import Frontier, SizeFigure
from ecovision_edge_export.photographs.dataset import PhotographSet, list_photographs
from ecovision_edge_export.pipeline import export_bundle
from ecovision_edge_export.publish.push import prepare_push
from ecovision_edge_export.transcript import Reporter, Transcript
from ecovision_edge_export.weights.checkpoint import Checkpoint
from ecovision_edge_export.weights.preprocessing import Preprocessing

LABELS = ("blue", "red")
SOURCE = WeightsSource("mobilenet_v3_large", "colours", "0" * 64)
CONTRACT = Contract(LABELS, SOURCE, InputSpec(height=64, width=64))
AUTO = ExportOptions("reference", val=Path("val"), sizes=(32, 64), auto_size=True)


def colours(side: int) -> onnx.ModelProto:
    """A network without preprocessing in it: how blue a picture is, and how red."""
    weights = np.zeros((2, 3, 1, 1), np.float32)
    weights[0, 0] = weights[1, 2] = 1
    nodes = [
        helper.make_node("Transpose", ["frame"], ["t"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["t"], ["c"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Conv", ["c", "w"], ["v"], "conv", strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["v"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["logits"], "flatten"),
    ]
    taken = helper.make_tensor_value_info("frame", TensorProto.UINT8, ["batch", side, side, 3])
    given = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "colours", [taken], [given], [numpy_helper.from_array(weights, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def pictures(folder: Path, labels: Sequence[str], each: int = 2) -> Path:
    """Blue and red ones, a folder each."""
    for index, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for i in range(each):
            picture = np.full((40, 56, 3), 20 + i, np.uint8)
            picture[..., 2 * index] += 150
            cv2.imwrite(str(folder / label / f"{i}.png"), picture)
    return folder


@pytest.fixture
def val(tmp_path: Path) -> PhotographSet:
    """Two pictures of each colour, labelled."""
    return list_photographs(pictures(tmp_path / "val", LABELS), LABELS, "--val")


def figure(side: int, cost: float, *correct: int) -> SizeFigure:
    """Of 1000 photographs so many right at each turn."""
    turns = tuple(TurnFigure(360 * i / len(correct), n, 1000) for i, n in enumerate(correct))
    return SizeFigure(side, 215 * cost, cost, TurnFigures(turns))


def frontier(max_loss: float | None, *, any_orientation: bool = True) -> Frontier:
    """Three sizes: upright the smallest is nearly as good as the largest, turned it is not."""
    figures = (figure(128, 0.33, 948, 848), figure(160, 0.51, 946, 942), figure(224, 1.0, 950, 940))
    return Frontier(figures, 1000, any_orientation, "arm64", max_loss)


def test_the_cheapest_within_the_loss_is_taken() -> None:
    """By the mean over turns where the training was for any orientation, else by the upright ones alone."""
    for loss, turned, upright in ((0.0, 224, 224), (0.1, 160, 224), (0.2, 160, 128), (6.0, 128, 128)):
        for any_orientation, side in ((True, turned), (False, upright)):
            chosen = frontier(loss, any_orientation=any_orientation).chosen
            assert chosen is not None
            assert chosen.side == side, (loss, any_orientation)
    assert frontier(None).chosen is None


def test_the_frontier_is_a_table_a_plot_and_json() -> None:
    """The card shows the first two; the JSON says what was taken and what each size loses."""
    found = frontier(0.5)
    text = "\n".join(size_lines(found))
    assert "| 160 (taken) | 110 M | 0.51 | 94.6 % | 94.4 % | 94.2 % | 0.1 |" in text
    points = [line.partition("|")[2].split() for line in found.plot() if " o " in line]
    assert points == [["o", "160", "o", "224"], ["o", "128"]]
    document = json.loads(json.dumps(found.to_json()))
    assert document["chosen"] == 160
    assert [(row["size"], row["loss"]) for row in document["sizes"]] == [(128, 4.7), (160, 0.1), (224, 0)]
    assert found.summary().endswith("; 160 is taken, within 0.5 points")


def test_sizes_that_are_equally_good_are_drawn() -> None:
    """One line of the plot holds all; points that touch keep their marks."""
    figures = tuple(figure(side, cost, 900) for side, cost in ((216, 0.94), (220, 0.97), (224, 1.0)))
    (line,) = (x for x in Frontier(figures, 1000, False, "arm64").plot() if "o" in x.partition("|")[2])
    assert line.partition("|")[2].split() == ["o", "oo", "224"]
    assert line.startswith("  90.0 % |")


def test_sizes_are_measured(val: PhotographSet) -> None:
    """On real files, with the graph at each size; cost falls with the area, a stage says what was found."""
    script = Transcript(Reporter())
    graph = colours(64)
    before = graph.SerializeToString()
    found = sizes.measure_sizes((32, 64), AUTO, CONTRACT, graph, val, "arm64", script)
    assert graph.SerializeToString() == before
    assert [f.side for f in found.figures] == [32, 64]
    assert [f.turns.mean for f in found.figures] == [1, 1]
    assert [round(f.cost, 2) for f in found.figures] == [0.25, 1]
    assert found.chosen is found.figures[0]
    said = script.to_json()
    assert [stage["stage"] for stage in said["stages"]] == ["sizes"]  # type: ignore[union-attr,index,call-overload]
    assert "4 photographs" in str(said["warnings"])  # too few for half a point


def test_where_no_smaller_size_will_do_the_largest_is_taken(
    val: PhotographSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a warning says so."""
    turns = [figure(0, 0, right).turns for right in (900, 950)]
    reports = [TurnReport(1000, 0, found, found) for found in turns]
    monkeypatch.setattr(sizes, "count_turns", lambda *_, **__: reports)
    script = Transcript(Reporter())
    found = sizes.measure_sizes((32, 64), AUTO, CONTRACT, colours(64), val, "arm64", script)
    assert found.chosen is found.figures[-1]
    assert "no smaller size is within 0.5 points" in str(script.to_json()["warnings"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sizes": (16, 224)}, "--sizes.*32 to 1024.*16x16"),
        ({"sizes": (224,)}, "--sizes.*2 to 16 different ones, found 224"),
        ({"sizes": (128, 128)}, "--sizes.*different"),
        ({"val": None}, "--size auto.*expected --val"),
        ({"val": None, "auto_size": False}, "--sizes.*expected --val"),
        ({"sizes": (), "keep_sizes": True}, "--keep-sizes.*expected --sizes, which it keeps"),
        ({"size": (64, 64)}, "--size auto.*no other size"),
        ({"auto_size": False, "max_loss": 1.0}, "--max-loss.*--size auto"),
        ({"max_loss": -1.0}, "--max-loss.*0 to 100"),
    ],
)
def test_sizes_that_cannot_be_chosen_among_are_refused(change: dict[str, object], words: str) -> None:
    """Each names the option, what was expected and what was found."""
    with pytest.raises(OptionError, match=words):
        dataclasses.replace(AUTO, **change)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--size", "auto"], ["--sizes", "64,x"], ["--max-loss", "1"]])
def test_the_command_refuses_them_too(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line that names the option; nothing is written."""
    assert main(["export", "--out", str(tmp_path / "b"), *words]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"ecovision-edge: {words[0]}")
    assert not (tmp_path / "b").exists()


def test_sizes_are_parsed() -> None:
    """Pixels with commas; anything else is an error."""
    assert parse_sizes("128, 160,224") == (128, 160, 224)
    for text in ("", "128,", "a", "128x160", "-3,4", "999999"):
        with pytest.raises(OptionError, match="--sizes"):
            parse_sizes(text)


def test_which_sizes_are_measured(val: PhotographSet) -> None:
    """Those that are given, or the common ones below the checkpoint's own and that one."""
    own = {s: dataclasses.replace(CONTRACT, input=InputSpec(height=s, width=s)) for s in (128, 224, 320)}
    bare = dataclasses.replace(AUTO, sizes=())
    assert sizes.sides_of(dataclasses.replace(AUTO, sizes=(96, 64)), own[224], val) == (64, 96)
    assert sizes.sides_of(bare, own[224], val) == (128, 160, 192, 224)
    assert sizes.sides_of(bare, own[320], val) == (128, 160, 192, 224, 320)
    assert sizes.sides_of(ExportOptions("reference"), own[224], None) == ()
    oblong = dataclasses.replace(CONTRACT, input=InputSpec(height=192, width=256))
    for contract in (own[128], oblong):
        with pytest.raises(OptionError, match=r"--size auto.*--sizes, or a square network"):
            sizes.sides_of(bare, contract, val)
    kept = ExportOptions("reference", val=Path("val"), sizes=(96, 64), keep_sizes=True)
    with pytest.raises(OptionError, match=r"--keep-sizes.*with the bundle's own, 224"):
        sizes.sides_of(kept, own[224], val)
    flat = PhotographSet(tuple(dataclasses.replace(p, label=None) for p in val.photographs))
    with pytest.raises(OptionError, match=r"--size auto.*found photographs without labels"):
        sizes.sides_of(bare, own[224], flat)


def test_a_crop_shows_the_same_part_at_each_size() -> None:
    """The shorter edge shrinks with the side; `squash` needs nothing."""
    cropped = dataclasses.replace(
        CONTRACT, input=InputSpec(height=224, width=224), resize=ResizeSpec("shortest", 256)
    )
    assert sizes.contract_at(cropped, 160).resize.shortest == 183
    assert sizes.contract_at(cropped, 224) == cropped
    assert sizes.contract_at(CONTRACT, 32).resize == CONTRACT.resize


def test_what_was_measured_is_what_is_exported() -> None:
    """The options that come of a choice make the contract that the size was judged with."""
    checkpoint = Checkpoint({}, 2, SOURCE, LABELS, preprocessing=Preprocessing((224, 224), "shortest:256"))
    options = dataclasses.replace(AUTO, max_loss=0.2)
    contract = make_contract(options, checkpoint)
    settled = sizes.settle_size(options, checkpoint, contract, frontier(0.2))
    assert make_contract(settled, checkpoint) == sizes.contract_at(contract, 160)
    own = sizes.settle_size(options, checkpoint, contract, frontier(0.0, any_orientation=False))
    assert own.size is None  # as if it had not been asked for: recorded ranges fit
    assert make_contract(own, checkpoint) == contract
    assert sizes.settle_size(options, checkpoint, contract, frontier(None)) is options
    named = dataclasses.replace(AUTO, auto_size=False, size=(160, 160), resize="shortest:183")
    there = make_contract(named, checkpoint)
    for side in (128, 160, 224):
        at = sizes.options_at(named, checkpoint, there, side)
        assert make_contract(at, checkpoint) == sizes.contract_at(there, side)


@pytest.mark.slow
def test_a_graph_at_another_size_is_the_one_traced_there() -> None:
    """Byte for byte."""
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, 2, 1),
        torch.nn.Hardswish(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 2),
    ).eval()
    smaller = dataclasses.replace(CONTRACT, input=InputSpec(height=32, width=32))
    large, small = folded(network, 64, 64, CONTRACT), folded(network, 32, 32, smaller)
    sized = at_size(large, smaller.input)
    assert sized.SerializeToString(deterministic=True) == small.SerializeToString(deterministic=True)


@pytest.mark.slow
def test_a_bundle_has_the_size_that_was_taken(
    simplified: onnx.ModelProto,
    reference: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Contract, golden vectors, parity, card and manifest follow from it; the terminal shows the frontier."""
    shorten(monkeypatch, simplified, frames=4)
    assert reference.labels is not None
    folder, out = pictures(tmp_path / "val", reference.labels[:2]), tmp_path / "bundle"
    command = ["export", "--precision", "fp32", "--val", str(folder), "--out", str(out)]
    chosen = [
        "--sizes",
        "224,64,96",
        "--size",
        "auto",
        "--max-loss",
        "100",
        "--json",
        str(tmp_path / "a.json"),
    ]
    assert main([*command, *chosen]) == 0
    shown = capsys.readouterr().err
    assert "64 (taken)" in shown
    assert "against cost on" in shown
    bundle = Bundle.open(out)
    assert (bundle.contract.input.height, bundle.contract.input.width) == (64, 64)
    assert verify_bundle(out).ok
    assert bundle.manifest.provenance["sizes"]["chosen"] == 64  # type: ignore[index,call-overload]
    assert "\n## Sizes\n" in (out / "MODEL_CARD.md").read_text("utf-8")
    document = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert "sizes" in [stage["stage"] for stage in document["stages"]]
    assert [row["size"] for row in document["provenance"]["sizes"]["sizes"]] == [64, 96, 224]


@pytest.mark.slow
def test_other_sizes_are_kept_in_the_bundle(
    simplified: onnx.ModelProto, reference: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each as a bundle by itself that the outer one names; what the gate refuses is left out, and told."""
    shorten(monkeypatch, simplified, frames=4)

    def make(run: ExportRun) -> Artifacts:
        if run.contract.input.height == 96:
            raise GateClosedError("parity failed", (), {}, found="96", fix="none")
        return make_artifacts(run)

    monkeypatch.setattr(pipeline, "make_artifacts", make)
    assert reference.labels is not None
    folder, out = pictures(tmp_path / "val", reference.labels[:2], each=1), tmp_path / "bundle"
    options = ExportOptions(
        "reference", precisions=("fp32",), val=folder, sizes=(224, 64, 96), keep_sizes=True
    )
    result = export_bundle(options, out)
    bundle = Bundle.open(out)
    assert [(size.side, size.sha256 is None) for size in bundle.manifest.sizes] == [(64, False), (224, True)]
    rows = bundle.manifest.provenance["sizes"]["sizes"]  # type: ignore[index,call-overload]
    assert [size.loss for size in bundle.manifest.sizes] == [rows[0]["loss"], rows[2]["loss"]]  # type: ignore[index,call-overload]
    assert any(
        "size 96 is left out, the gate refuses it: parity failed" in str(w)
        for w in result.transcript["warnings"]
    )  # type: ignore[union-attr]
    inner = bundle.at_size(64)
    assert (inner.contract.input.height, inner.manifest.schema_version) == (64, 1)
    assert "In `sizes/64` is the same network" in (out / "MODEL_CARD.md").read_text("utf-8")
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == prepare_push(out, "me/bin").keys() - {"README.md"}
    assert {f"sizes/64/{path.name}" for path in inner.path.iterdir()} <= files


@pytest.mark.slow
def test_sizes_alone_change_nothing(
    simplified: onnx.ModelProto, reference: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are shown; the model is the one at its own size, byte for byte."""
    shorten(monkeypatch, simplified, frames=4)
    assert reference.labels is not None
    folder = pictures(tmp_path / "val", reference.labels[:2], each=1)
    options = ExportOptions("reference", precisions=("fp32",), val=folder)
    plain = export_bundle(options, tmp_path / "plain")
    measured = export_bundle(dataclasses.replace(options, sizes=(64, 96)), tmp_path / "measured")
    for name in ("model.fp32.onnx", "golden.npz"):
        assert (plain.path / name).read_bytes() == (measured.path / name).read_bytes()
    assert measured.manifest.provenance["sizes"]["chosen"] is None  # type: ignore[index,call-overload]
