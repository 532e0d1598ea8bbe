"""The export, whole, and the writing of bundles."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from tests.export.graphs import shorten

from ecovision_edge import Bundle, Classifier, verify_bundle
from ecovision_edge.base.device import Cpu
from ecovision_edge.bundle.contract import METADATA_KEY, Contract
from ecovision_edge.bundle.targets import Target
from ecovision_edge.bundle.writing import write_folder
from ecovision_edge.cli import main
from ecovision_edge.errors import BundleWriteError, ExportError, IntegrityError, ParityError, StageError
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export import making, pipeline
from ecovision_edge_export.ecovision import LABELS
from ecovision_edge_export.int8.quantize import Quantized
from ecovision_edge_export.int8.stage import Recipes, find_recipes
from ecovision_edge_export.int8.table import REFERENCE_CALIBRATION, CalibrationTable
from ecovision_edge_export.options import ExportOptions
from ecovision_edge_export.parity import recheck
from ecovision_edge_export.parity.figures import Budget
from ecovision_edge_export.pipeline import ExportResult, export_bundle
from ecovision_edge_export.transcript import Reporter, Transcript
from ecovision_edge_export.weights.checkpoint import Checkpoint

if TYPE_CHECKING:
    from ecovision_edge.base.fields import JsonValue

    from .conftest import FakeHub

pytestmark = pytest.mark.slow

Export = Callable[..., ExportResult]
QuantizeBy = Callable[..., tuple[Quantized, CalibrationTable, "list[JsonValue]"]]


@pytest.fixture
def export(simplified: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> Export:
    """`export_bundle` of the reference, without tracing it again, on eight synthetic frames."""
    shorten(monkeypatch, simplified, frames=8)

    def run(out: Path, **changes: object) -> ExportResult:
        return export_bundle(ExportOptions(weights="reference", **changes), out)  # type: ignore[arg-type]

    return run


@pytest.fixture(scope="module")
def quantized() -> dict[object, tuple[Quantized, CalibrationTable, list[JsonValue]]]:
    """What `quantized_once` has made."""
    return {}


@pytest.fixture
def quantized_once(
    quantized: dict[object, tuple[Quantized, CalibrationTable, list[JsonValue]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Let exports with the recorded ranges quantize once for all tests of what is done with an int8 model."""
    quantize_by = making.quantize_by

    def run(*args: Any) -> tuple[Quantized, CalibrationTable, list[JsonValue]]:
        recipe = args[1].recipe
        if recipe not in quantized:
            quantized[recipe] = quantize_by(*args)
        return quantized[recipe]

    monkeypatch.setattr(making, "quantize_by", run)


def names(folder: Path) -> set[str]:
    """What is in a folder."""
    return {p.name for p in folder.iterdir()}


def test_a_bundle_is_whole_and_verifies(exported: ExportResult) -> None:
    """All files are there, the contract is in each model, and the device's self-test passes."""
    assert names(exported.path) == {
        "bundle.json",
        "model.fp32.onnx",
        "model.int8.onnx",
        "golden.npz",
        "MODEL_CARD.md",
    }
    report = verify_bundle(exported.path)
    assert report.ok
    bundle = Bundle.open(exported.path)
    for name in ("model.fp32.onnx", "model.int8.onnx"):
        model = onnx.load(exported.path / name)
        metadata = {p.key: p.value for p in model.metadata_props}
        assert list(metadata) == [METADATA_KEY]
        assert Contract.loads(metadata[METADATA_KEY]) == bundle.contract
    assert Classifier.load(exported.path / "model.int8.onnx").labels == bundle.contract.labels


def test_the_same_inputs_give_the_same_bytes(
    export: Export, exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice on one day all files are the same, but for the times that a card tells of its machine;
    models and golden vectors also on another set of synthetic frames.
    """
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first, second = export(tmp_path / "a"), export(tmp_path / "b")
    assert first.manifest.version is not None
    assert first.manifest.version.startswith("2023.11.14+")
    assert first.to_json()["version"] == Bundle.open(first.path).identity.version == first.manifest.version

    def told(folder: Path, name: str) -> bytes:
        data = (folder / name).read_bytes()
        if name != "MODEL_CARD.md":
            return data
        before, _, rest = data.partition(b"\n## Latency\n")
        return before + rest.partition(b"\n## ")[2]

    for name in names(first.path):
        assert told(first.path, name) == told(second.path, name), name
    for name in ("model.fp32.onnx", "model.int8.onnx", "golden.npz"):
        assert (first.path / name).read_bytes() == (exported.path / name).read_bytes(), name


def test_nothing_of_this_machine_is_in_a_bundle(exported: ExportResult) -> None:
    """No path, user or host name."""
    words = [os.uname().nodename.encode(), str(exported.path.parent).encode(), b"/tmp/", b"/home/", b"/root/"]
    for path in exported.path.iterdir():
        data = path.read_bytes()
        assert [w for w in words if len(w) > 3 and w in data] == [], path.name


def test_weak_evidence_is_recorded(exported: ExportResult) -> None:
    """Without photographs the manifest and the card say so."""
    provenance = Bundle.open(exported.path).manifest.provenance
    assert provenance["validation"]["evidence"] == "generated"  # type: ignore[index,call-overload]
    assert provenance["parity_waived"] is False
    card = (exported.path / "MODEL_CARD.md").read_text()
    assert "synthetic frames, not on photographs: weak evidence" in card


@pytest.mark.usefixtures("quantized_once")
def test_the_gate_keeps_the_old_bundle(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing int8 model is not written, the older bundle stays, and nothing is left beside it."""
    out = tmp_path / "bundle"
    export(out, precisions=("fp32",))
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    monkeypatch.setattr(making, "quantize_by", ruined(making.quantize_by))
    with pytest.raises(ParityError, match=r"nothing was written.*int8-onnx agreement: expected >= 98 %"):
        export(out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert names(tmp_path) == {"bundle"}


@pytest.mark.usefixtures("quantized_once")
def test_a_waiver_is_written_down(export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --allow-parity-failure the bundle is written, and manifest and card say what failed."""
    monkeypatch.setattr(making, "quantize_by", ruined(making.quantize_by))
    result = export(tmp_path / "bundle", allow_parity_failure=True)
    assert result.manifest.provenance["parity_waived"] is True
    assert "Waived: int8-onnx agreement" in (result.path / "MODEL_CARD.md").read_text()
    assert any("waived" in w for w in result.transcript["warnings"])  # type: ignore[union-attr,operator]


def ruined(quantize_by: QuantizeBy, times: int = 99) -> QuantizeBy:
    """A quantizer whose logits have the wrong sign, the first `times` times."""
    left = [times]

    def run(*args: Any) -> tuple[Quantized, CalibrationTable, list[JsonValue]]:
        made, table, layers = quantize_by(*args)
        if left[0] > 0:
            left[0] -= 1
            made = dataclasses.replace(made, model=negated(made.model), judged=negated(made.judged))
        return made, table, layers

    return run


def negated(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its logits negated."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    last = next(n for n in result.graph.node if "logits" in n.output)
    last.output[:] = ["right"]
    result.graph.node.append(onnx.helper.make_node("Neg", ["right"], ["logits"], "wrong"))
    return result


@pytest.mark.usefixtures("quantized_once")
def test_what_the_gate_refuses_gives_way_to_the_next_recipe(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two recipes the first fails: the second is written, and the transcript says why."""

    def two(*args: Any) -> dict[Target, Recipes]:
        ((target, found),) = find_recipes(*args).items()
        second = dataclasses.replace(found[0].recipe, fp32_blocks=3)
        return {target: Recipes((found[0], dataclasses.replace(found[0], recipe=second)), found.inputs)}

    monkeypatch.setattr(pipeline, "find_recipes", two)
    monkeypatch.setattr(making, "quantize_by", ruined(making.quantize_by, times=1))
    result = export(tmp_path / "bundle", precisions=("int8",))
    assert result.manifest.artifacts[0].recipe["fp32_blocks"] == "0-3"
    assert any("not enough" in str(w) for w in result.transcript["warnings"])  # type: ignore[union-attr]


@pytest.mark.parametrize("target", ["x86-vnni", "arm64", "arm64-dotprod"])
def test_each_target_gives_a_bundle_that_verifies(export: Export, tmp_path: Path, target: str) -> None:
    """Its recipe names the target; activations are signed for dot products alone; it verifies here."""
    result = export(tmp_path / "bundle", precisions=("int8",), target=target)
    recipe = result.manifest.artifacts[0].recipe
    assert recipe["target"] == target
    assert recipe["activations"] == ("int8" if target == "arm64-dotprod" else "uint8") + " per tensor"
    assert recipe["clipping_safe"] is True
    assert verify_bundle(result.path).ok


@pytest.mark.usefixtures("quantized_once")
def test_targets_share_an_artifact_that_is_good_enough_for_all(export: Export, tmp_path: Path) -> None:
    """It says so; and the bundle is one that older runtimes read."""
    result = export(tmp_path / "bundle", precisions=("int8",), target="arm64,x86-vnni")
    (int8,) = result.manifest.artifacts
    assert (int8.name, int8.targets, result.manifest.schema_version) == ("int8-onnx", (), 1)
    assert (int8.recipe["target"], int8.recipe["serves"]) == ("arm64", ["x86-vnni (+0.0 % of cost)"])
    assert "for arm64, serving x86-vnni (+0.0 % of cost) too" in (result.path / "MODEL_CARD.md").read_text()


def test_a_target_that_would_lose_too_much_has_an_artifact_of_its_own(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both stand in one bundle beside one fp32, each with golden vectors and parity, and verify."""
    monkeypatch.setattr("ecovision_edge_export.int8.sharing.MOST_LOSS", 0.03)
    result = export(tmp_path / "bundle", target="arm64,arm64-dotprod")
    names = ["fp32-onnx", "int8-onnx@arm64", "int8-onnx@arm64-dotprod"]
    assert [a.name for a in result.manifest.artifacts] == [p.artifact for p in result.parity] == names
    own = [a.recipe["activations"] for a in result.manifest.artifacts[1:]]
    assert own == ["uint8 per tensor", "int8 per tensor"]
    bundle = Bundle.open(result.path)
    assert set(bundle.golden().logits) == set(names)
    assert verify_bundle(result.path).ok
    assert bundle.artifact("int8", "arm64-dotprod").file.file == "model.int8.arm64-dotprod.onnx"
    assert bundle.artifact("int8", "x86").name == "int8-onnx@arm64"


@pytest.mark.usefixtures("quantized_once")
def test_int8_that_is_not_faster_is_not_recommended(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no ratio would be good enough the export says that fp32 is to be preferred here."""
    monkeypatch.setattr("ecovision_edge_export.finished.speed.NOT_FASTER", 0.0)
    result = export(tmp_path / "bundle", precisions=("int8",))
    assert any("not faster than fp32 on this machine" in str(w) for w in result.transcript["warnings"])  # type: ignore[union-attr]
    stages = result.transcript["stages"]
    assert any(s["stage"] == "time" for s in stages)  # type: ignore[union-attr,index,call-overload]


def test_a_model_that_crashes_its_engine_is_not_written(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle is opened in a process of its own: what dies there is an error here, and nothing is left."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr(pipeline, "VERIFIER", (sys.executable, "-c", code))
    with pytest.raises(ExportError, match=r"does not verify.*signal 11"):
        export(tmp_path / "bundle", precisions=("fp32",))
    assert names(tmp_path) == set()


def test_the_classic_input_is_classified_too(export: Export, exported: ExportResult, tmp_path: Path) -> None:
    """--input float32-nchw: the runtime normalizes, and answers as with the folded graph."""
    result = export(tmp_path / "classic", precisions=("fp32",), input_form="float32-nchw")
    classic, folded = Classifier.load(result.path), Classifier.load(exported.path, artifact="fp32")
    assert classic.contract.input.shape(1) == (1, 3, 224, 224)
    frame = draw_frame(3)
    assert np.abs(classic.logits(frame) - folded.logits(frame)).max() < 1e-3


def test_a_centre_crop_is_exported(export: Export, tmp_path: Path) -> None:
    """--resize shortest:256 passes the gate against torchvision's Resize and CenterCrop."""
    result = export(tmp_path / "crop", precisions=("fp32",), resize="shortest:256")
    assert result.parity[0].ok
    assert result.parity[0].max_dp < 5e-3  # what the rounding of a pixel may move


def test_the_fast_filter_is_what_parity_measures(export: Export, tmp_path: Path) -> None:
    """With --filter fast the probabilities are no longer PyTorch's to the last digit."""
    result = export(tmp_path / "fast", precisions=("fp32",), filter="fast", allow_parity_failure=True)
    assert result.manifest.contract.resize.filter == "fast"
    assert result.parity[0].max_dp > 1e-4


def test_weights_from_a_hub_are_exported(
    export: Export, reference: Checkpoint, here: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hf:// through the hub: the manifest names file and commit, and parity finds it again."""
    torch.save(dict(reference.state), tmp_path / "w.pth")
    here.add("someone/sorter", "deep/best.pth", (tmp_path / "w.pth").read_bytes(), commit="d" * 40)
    spec = "hf://someone/sorter@main/deep/best.pth"
    result = export_bundle(
        ExportOptions(weights=spec, labels=LABELS, precisions=("fp32",)), tmp_path / "bundle"
    )
    weights = Bundle.open(tmp_path / "bundle").contract.weights
    assert weights.source == "hf://someone/sorter/deep/best.pth"
    assert weights.revision == "d" * 40
    assert result.manifest.name == "best"
    here.commits["someone/sorter", "main"] = "e" * 40  # the branch moves on; the bundle's commit stays
    assert recheck.recheck_parity(tmp_path / "bundle", None)[0].ok


@pytest.mark.parametrize(
    ("options", "told"),
    [({}, 1), ({"target": "arm64"}, 0), ({"precisions": ("fp32",)}, 0)],
    ids=["no target", "target", "no int8"],
)
def test_an_export_tells_the_target_that_it_assumed(
    options: dict[str, Any],
    told: int,
    reference: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On x86, before anything long is done; not where it was named, nor where no int8 is made."""
    heard: list[str] = []

    class Hears(Reporter):
        def warned(self, message: str) -> None:
            heard.append(message)

    def stop(*_: object) -> None:
        raise ExportError("enough")

    monkeypatch.setattr(pipeline, "load_checkpoint", lambda *_, **__: reference)
    monkeypatch.setattr(pipeline, "read_cpu", lambda: Cpu("x86_64", "?", frozenset({"avx512_vnni"})))
    monkeypatch.setattr(pipeline, "prepare_graph", stop)
    with pytest.raises(ExportError, match="enough"):
        export_bundle(ExportOptions(weights="reference", **options), tmp_path / "bundle", Hears())
    assert sum("--target arm64" in message and "x86-vnni" in message for message in heard) == told


def test_a_fine_tune_of_three_classes_is_exported(reference: Checkpoint, tmp_path: Path) -> None:
    """Own labels, own size, own photographs: from a .pth of three classes to a bundle that classifies."""
    state = {k: v.clone() for k, v in reference.state.items()}
    for key in ("classifier.3.weight", "classifier.3.bias"):
        state[key] = state[key][[2, 5, 8]]
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "three.pth")
    photographs = tmp_path / "photographs"
    for i in range(12):
        label = ("box", "can", "shoe")[i % 3]
        (photographs / label).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(photographs / label / f"{i}.png"), draw_frame((2, 5, 7)[i % 3] + 8 * i, 160, 120))
    options = ExportOptions(
        weights=str(tmp_path / "three.pth"),
        labels=("box", "can", "shoe"),
        size=(96, 128),
        calib=photographs,
        calib_size=8,
        val=photographs,
        agree=60,
        max_drop=50,
    )
    result = export_bundle(options, tmp_path / "bundle")
    assert result.parity[0].ok
    assert result.parity[0].accuracy is not None
    prediction = Classifier.load(tmp_path / "bundle").classify(draw_frame(2))
    assert prediction.label in ("box", "can", "shoe")
    assert sum(prediction.probabilities) == pytest.approx(1)
    assert result.manifest.name == "three"
    assert result.manifest.contract.weights.source == "three.pth"
    assumed = [str(w) for w in result.transcript["warnings"] if str(w).startswith("assumed: ")]  # type: ignore[union-attr]
    assert len(assumed) == 1
    assert "resize squash (--resize; torchvision's recipes have shortest:256)" in assumed[0]
    assert result.manifest.provenance["assumed"][-1] == "labels in the order of --labels"  # type: ignore[index,call-overload]
    assert "Assumed, since the checkpoint does not say it: resize squash" in (
        tmp_path / "bundle" / "MODEL_CARD.md"
    ).read_text().replace("\\", "")
    turns = result.parity[0].turns
    assert turns is not None
    assert (turns.photographs, turns.published.upright.correct) == (
        12,
        result.parity[0].accuracy.artifact_correct,
    )
    assert "90 degrees" in (result.path / "MODEL_CARD.md").read_text()
    assert result.manifest.artifacts[0].parity["turns"]["turns"] == 4  # type: ignore[index,call-overload]


def test_a_stage_that_breaks_is_named(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of a library becomes one that says which stage, and what ran before it."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("in a library")

    monkeypatch.setattr(pipeline, "fold_preprocessing", broken)
    with pytest.raises(
        StageError, match=r"stage fold failed \(before it: load, trace, simplify\).*ZeroDivisionError"
    ):
        export(tmp_path / "bundle")
    assert names(tmp_path) == set()


def test_the_transcript_has_every_stage(exported: ExportResult) -> None:
    """In order, each with its figure; the page of the architecture shows the same."""
    stages = exported.transcript["stages"]
    ran = [s["stage"] for s in stages]  # type: ignore[union-attr,index,call-overload]
    assert ran == ["load", "trace", "simplify", "fold", "calibrate", "quantize", "parity", "time", "write"]
    page = Path(__file__).parents[2] / "docs" / "architecture.md"
    assert f"```text\n{' -> '.join(ran)}\n```" in page.read_text("utf-8")
    assert all(s["found"] for s in stages)  # type: ignore[union-attr,index,call-overload]


def test_something_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    """A folder with other things, or a file, is refused before any work is done."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"mine")
    for target in (tmp_path / "photos", tmp_path / "photos" / "a.jpg"):
        with pytest.raises(BundleWriteError, match="will not write to"):
            export_bundle(ExportOptions(weights="reference"), target)
    assert (tmp_path / "photos" / "a.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize("out", [".", "..", "x" * 300])
def test_a_place_that_is_none_for_a_bundle_is_misuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    """The current folder, its parent, a name that is too long: one line, status 2, nothing done."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["export", "--out", out]) == 2
    assert "--out" in capsys.readouterr().err.splitlines()[-1]
    assert names(tmp_path) == {"here"}


def test_a_link_to_a_bundle_stays_a_link(tmp_path: Path) -> None:
    """And leads to the new bundle."""
    write_folder(tmp_path / "real", {"bundle.json": b"1"}, lambda folder: None)
    (tmp_path / "link").symlink_to("real")
    write_folder(tmp_path / "link", {"bundle.json": b"2"}, lambda folder: None)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "bundle.json").read_bytes() == b"2"
    assert names(tmp_path) == {"real", "link"}


def test_what_fails_verification_is_not_put_in_place(tmp_path: Path) -> None:
    """The error of the verification goes through, and the old folder stays."""
    write_folder(tmp_path / "b", {"bundle.json": b"old"}, lambda folder: None)

    def refuse(folder: Path) -> None:
        assert (folder / "bundle.json").read_bytes() == b"new"
        raise IntegrityError("no")

    with pytest.raises(IntegrityError):
        write_folder(tmp_path / "b", {"bundle.json": b"new"}, refuse)
    assert (tmp_path / "b" / "bundle.json").read_bytes() == b"old"
    assert names(tmp_path) == {"b"}


@pytest.mark.parametrize("exchange", [True, False])
def test_a_bundle_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    """With the atomic exchange, and without it where the system has none: no file of the old one stays."""
    if not exchange:
        monkeypatch.setattr("ecovision_edge.bundle.writing._exchange", lambda first, second: False)
    write_folder(tmp_path / "b", {"bundle.json": b"1", "old": b""}, lambda folder: None)
    write_folder(tmp_path / "b", {"bundle.json": b"2"}, lambda folder: None)
    assert names(tmp_path / "b") == {"bundle.json"}
    assert names(tmp_path) == {"b"}
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o755


def test_a_place_that_cannot_be_written_to_is_one_error(tmp_path: Path) -> None:
    """A file where a folder should be."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleWriteError, match="choose another --out"):
        write_folder(tmp_path / "file" / "b", {"bundle.json": b""}, lambda folder: None)


def test_killed_at_any_moment_there_is_the_old_bundle_or_the_new(tmp_path: Path) -> None:
    """A process that replaces a bundle again and again is killed 30 times; what is there is always whole."""
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        from ecovision_edge.bundle.writing import write_folder
        n = 0
        while True:
            n += 1
            files = {"bundle.json": b"%d" % n, "a": b"%d" % n * 5000, "b": b"%d" % n * 5000}
            write_folder(Path(sys.argv[1]), files, lambda folder: None)
            if n == 1:
                print("go", flush=True)
    """)
    target = tmp_path / "bundle"
    for kill in range(30):
        command = [sys.executable, "-c", code, str(target)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
            for _ in range(kill * 2000):  # another moment each time, without a clock
                pass
            process.send_signal(signal.SIGKILL)
        number = (target / "bundle.json").read_bytes()
        assert names(target) == {"bundle.json", "a", "b"}
        assert (target / "a").read_bytes() == (target / "b").read_bytes() == number * 5000


def test_the_command_prints_a_transcript_and_writes_json(
    export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stages with ticks, the parity table, the commands to run next; --json has all of it."""
    out, report = tmp_path / "bundle", tmp_path / "report.json"
    assert main(["export", "--out", str(out), "--precision", "fp32", "--json", str(report)]) == 0
    printed = capsys.readouterr().err
    assert "✓ parity" in printed
    assert "weak evidence" in printed
    assert f"ecovision-edge verify {out}" in printed.replace("\n", "")
    data = json.loads(report.read_text())
    assert data["parity"]["fp32-onnx"]["ok"] is True
    assert [s["stage"] for s in data["stages"]][-1] == "write"


@pytest.mark.usefixtures("quantized_once")
def test_the_command_returns_1_for_a_closed_gate_and_2_for_misuse(
    export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line of error each."""
    monkeypatch.setattr(making, "quantize_by", ruined(making.quantize_by))
    report = tmp_path / "report.json"
    command = ["export", "--out", str(tmp_path / "a"), "--precision", "int8", "--json", str(report)]
    assert main(command) == 1
    assert "parity failed" in capsys.readouterr().err.splitlines()[-1]
    failed = json.loads(report.read_text())["parity"]["int8-onnx"]
    assert failed["ok"] is False
    assert len(failed["flips"]) > 0
    report.unlink()
    for arguments in (
        ["--weights", "none.pth"],
        ["--imgsz", "x"],
        ["--filter", "y"],
        ["--input", "z"],
        ["--std", "0,1,1"],
        ["--resize", "shortest:100"],
        ["--name", "a\tb"],
        ["--bundle-version", "a b"],
        ["--json", "none/x.json"],
    ):
        assert main(["export", "--out", str(tmp_path / "b"), *arguments]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith("ecovision-edge: ")
    assert names(tmp_path) == set()


def test_parity_is_a_command(exported: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It measures a finished bundle; the exit status is 1 where a budget is not met."""
    monkeypatch.setattr("ecovision_edge_export.parity.measure.GENERATED_IMAGES", 8)
    assert main(["parity", str(exported.path), "--artifact", "fp32", "--json", str(tmp_path / "p.json")]) == 0
    assert json.loads((tmp_path / "p.json").read_text())["fp32-onnx"]["ok"] is True
    monkeypatch.setattr(recheck, "budget_for", lambda *_, **__: Budget(agreement=1.1))
    assert main(["parity", str(exported.path), "--artifact", "fp32"]) == 1
    assert main(["parity", str(exported.path), "--images", str(tmp_path / "none")]) == 2


def test_real_photographs_pass_the_gate(
    photographs: Path, tmp_path: Path, export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fp32 and int8 within their budgets on 60 validation photographs, int8 calibrated on 40."""
    # Each recipe that the search tries takes seconds.
    monkeypatch.setattr("ecovision_edge_export.int8.search.RANGE_METHODS", ("mse",))
    monkeypatch.setattr("ecovision_edge_export.int8.search.LEAST_LEADING", 2)
    val = tmp_path / "val"
    for folder in sorted((photographs / "val").iterdir()):
        (val / folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:6]:
            (val / folder.name / path.name).symlink_to(path)
    result = export(tmp_path / "bundle", calib=photographs / "train", calib_size=40, val=val)
    fp32, int8 = result.parity
    assert fp32.ok
    assert int8.ok
    assert fp32.evidence == "photographs"
    assert fp32.accuracy is not None
    assert result.manifest.provenance["calibration"]["images"] == 40  # type: ignore[index,call-overload]


def test_a_library_error_before_any_stage_says_nothing_ran() -> None:
    """The first stage has nothing before it."""
    script = Transcript(pipeline.Reporter())
    with pytest.raises(StageError, match=r"before it: nothing"), script.stage("trace"):
        raise RuntimeError("no")


@pytest.mark.usefixtures("quantized_once")
def test_blocks_asked_for_are_kept(export: Export, tmp_path: Path) -> None:
    """--fp32-blocks 0 means none but the stem, -1 not even it, with recorded ranges too."""
    for blocks, text in ((0, "0"), (-1, "none")):
        result = export(tmp_path / text, precisions=("int8",), fp32_blocks=blocks, allow_parity_failure=True)
        assert result.manifest.artifacts[0].recipe["fp32_blocks"] == text
    recorded = CalibrationTable.loads(REFERENCE_CALIBRATION.read_bytes(), "recorded").recipe.fp32_text
    default = export(tmp_path / "c", precisions=("int8",)).manifest.artifacts[0]
    assert default.recipe["fp32_blocks"] == recorded
