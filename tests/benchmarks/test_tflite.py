"""TFLite artifacts of this project's own in `bench` and `eval`, with LiteRT for real."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.bundle.sizes import SizeEntry
from ecovision_edge.cli import main
from ecovision_edge.errors import OptionError
from ecovision_edge_bench.measure.choose import choose_subjects
from ecovision_edge_bench.subjects import Spec, engine_modules

pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install 'ecovision-edge[litert]'")

pytestmark = pytest.mark.slow

SHORT = [
    "--quick",
    "--threads",
    "1",
    "--against",
    "none",
    "--min-secs",
    "0.1",
    "--min-count",
    "4",
    "--cold-starts",
    "0",
]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle of ONNX and TFLite artifacts, as the runtime's tests make it."""
    path = Path(__file__).parents[1] / "runtime" / "conftest.py"
    spec = importlib.util.spec_from_file_location("_runtime_conftest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder: Path = module.Forge().bundle(
        tmp_path_factory.mktemp("both") / "bundle", precisions=["int8-onnx", "fp32-tflite", "int8-tflite"]
    )
    return folder


def test_tflite_artifacts_are_rows_beside_onnx(both: Path, tmp_path: Path) -> None:
    """Each in its engine; LiteRT has no choice of spinning, so it has one row for two threads."""
    out = tmp_path / "r.json"
    options = ["--threads", "2", "--spinning", "on,off", "--parity-images", "2", "--json", str(out)]
    assert main(["bench", "-b", str(both), *SHORT, *options]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert list(rows) == ["int8-onnx 2t", "int8-onnx 2t no-spin", "fp32-tflite 2t", "int8-tflite 2t"]
    assert "ai-edge-litert" in json.dumps(rows["int8-tflite 2t"])
    assert "onnxruntime" in json.dumps(rows["int8-onnx 2t"])


def test_a_lone_tflite_file_is_measured(both: Path, tmp_path: Path) -> None:
    """Named as the file."""
    out = tmp_path / "r.json"
    assert main(["bench", "-b", str(both / "model.int8.tflite"), *SHORT, "--json", str(out)]) == 0
    assert list(json.loads(out.read_text())["rows"]) == ["model.int8.tflite 1t"]


def test_artifacts_by_name_and_precision_are_taken_once(both: Path) -> None:
    """`int8` is ONNX where there is one; a name twice is one row."""
    chosen = choose_subjects(both, artifacts="int8, int8-onnx,int8-tflite", against=("none",))
    assert [spec.name for spec in chosen.specs] == ["int8-onnx", "int8-tflite"]


def test_each_size_of_a_bundle_has_a_row(both: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its default artifact, or of those that are asked for; it runs the bundle of that size."""
    flat = Bundle.open(both)
    own = SizeEntry(flat.contract.input.height, 0.9, 0.0, 1.0)
    sizes = (SizeEntry(4, 0.9, 0.0, 0.3, "0" * 64), own)
    sized = dataclasses.replace(flat, manifest=dataclasses.replace(flat.manifest, sizes=sizes))
    monkeypatch.setattr(Bundle, "open", lambda path: sized)
    monkeypatch.setattr(
        Bundle, "at_size", lambda self, side: dataclasses.replace(flat, path=Path(f"sizes/{side}"))
    )
    chosen = choose_subjects(both, against=("none",))
    assert [(spec.name, spec.size) for spec in chosen.specs] == [
        *((name, None) for name in ("int8-onnx", "fp32-tflite", "int8-tflite")),
        ("int8-onnx 4px", 4),
    ]
    assert chosen.specs[-1].source == "sizes/4"
    named = choose_subjects(both, artifacts="int8-tflite", against=("none",))
    assert [spec.name for spec in named.specs] == ["int8-tflite", "int8-tflite 4px"]


def test_an_artifact_without_its_engine_is_left_out_with_a_note(
    both: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it was asked for by name, or nothing else is left: then its process says what to install."""
    monkeypatch.setattr("ecovision_edge_bench.measure.choose.is_installed", lambda f: f == "onnx")
    chosen = choose_subjects(both, against=("none",))
    assert [spec.name for spec in chosen.specs] == ["int8-onnx"]
    assert "int8-tflite is left out: ai-edge-litert is not installed" in chosen.notes
    named = choose_subjects(both, artifacts="int8-tflite", against=("none",))
    assert [spec.name for spec in named.specs] == ["int8-tflite"]
    monkeypatch.setattr("ecovision_edge_bench.measure.choose.is_installed", lambda f: False)
    assert len(choose_subjects(both, against=("none",)).specs) == 3


def test_a_delegate_is_for_tflite_rows_alone(both: Path) -> None:
    """ONNX rows run beside it; a bundle of ONNX alone has no use for one."""
    chosen = choose_subjects(both, against=("none",), delegate="libx.so")
    assert {spec.name: spec.delegate for spec in chosen.specs} == {
        "int8-onnx": "",
        "fp32-tflite": "libx.so",
        "int8-tflite": "libx.so",
    }
    with pytest.raises(OptionError, match="--delegate: expected a TFLite artifact"):
        choose_subjects(embedded_bundle_path(), against=("none",), delegate="libx.so")


def test_providers_are_for_onnx_rows_alone(both: Path) -> None:
    """Named in the row; what is wrong with them is said before anything is measured."""
    options = ["cpu:x=1"]
    chosen = choose_subjects(both, against=("none",), providers="cpu", provider_options=options)
    assert {spec.key: spec.provider_options for spec in chosen.specs} == {
        "int8-onnx cpu 1t": "cpu:x=1",
        "fp32-tflite 1t": "",
        "int8-tflite 1t": "",
    }
    for wrong in ({"artifacts": "int8-tflite", "providers": "cpu"}, {"provider_options": ["a=1"]}):
        with pytest.raises(OptionError, match="--providers: expected providers, and an ONNX artifact"):
            choose_subjects(both, against=("none",), **wrong)
    with pytest.raises(OptionError, match="expected NAME=VALUE"):
        choose_subjects(both, against=("none",), providers="cpu", provider_options=["a"])


def test_a_delegate_that_does_not_exist_fails_its_rows(both: Path, tmp_path: Path) -> None:
    """The others are measured all the same; the status is 1, and the row has the loader's reason."""
    out = tmp_path / "r.json"
    options = ["--artifact", "int8-onnx,int8-tflite", "--delegate", "libnone.so.1", "--json", str(out)]
    assert main(["bench", "-b", str(both), *SHORT, *options]) == 1
    rows = json.loads(out.read_text())["rows"]
    assert "libnone.so.1: cannot open shared object file" in json.dumps(rows["int8-tflite 1t"])
    assert "cannot open" not in json.dumps(rows["int8-onnx 1t"])


@pytest.mark.parametrize(
    ("artifact", "module"),
    [("int8-tflite", "ecovision_edge.backends.litert"), ("int8-onnx", "ecovision_edge.backends.onnx")],
)
def test_the_engine_of_the_artifact_is_imported_first(artifact: str, module: str) -> None:
    """So that its import is timed apart from loading the model; a lone file tells by its name."""
    assert engine_modules(Spec("classifier", "x", "int8", "folder", artifact=artifact)) == (module,)
    assert engine_modules(Spec("classifier", "x", "int8", f"m.{artifact[5:].upper()}")) == (module,)


def test_accuracy_is_measured_of_tflite(
    both: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an artifact and of a lone file; the report names the engine."""
    for i, label in enumerate(["blue", "green", "red"]):
        (tmp_path / label).mkdir()
        colour = np.zeros(3, np.uint8)
        colour[i] = 200
        cv2.imwrite(str(tmp_path / label / "a.png"), np.zeros((20, 20, 3), np.uint8) + colour)
    for options in (["-b", str(both), "--artifact", "int8-tflite"], ["-b", str(both / "model.int8.tflite")]):
        assert main(["eval", "--data", str(tmp_path), *options, "--json", "-"]) == 0
        said = capsys.readouterr().out
        assert "ai-edge-litert" in said
        assert main(["eval", "--data", str(tmp_path), *options, "--delegate", "libnone.so.1"]) == 2
        assert "libnone.so.1: cannot open" in capsys.readouterr().err


def test_the_worker_loads_only_its_own_engine(both: Path) -> None:
    """A TFLite row's memory is not onnxruntime's."""
    code = (
        "import sys; from ecovision_edge_bench.subjects import Spec, load;"
        "load(Spec('classifier', 'x', 'int8', sys.argv[1], artifact='int8-tflite'));"
        "assert 'ai_edge_litert' in sys.modules; assert 'onnxruntime' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(both)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
