"""Facts about reading the exporter's fp32 files by other engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.sharing import made_once

from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.errors import ModelError
from ecovision_edge_bench import interop
from ecovision_edge_bench.interop import Row, compare, to_markdown
from ecovision_edge_bench.interop.__main__ import main
from ecovision_edge_bench.interop.engines import ENGINES

BYTES = [e for e in ENGINES if not e.floats]
CANNOT = ("MNN", "tflite")  # its converter knows no constant that is concatenated: the padding of the stem


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the reference in both formats, made once."""
    pytest.importorskip("litert_torch", reason="needs litert-torch: [litert-export]")
    from ecovision_edge_export.options import ExportOptions
    from ecovision_edge_export.pipeline import export_bundle

    def make(folder: Path) -> None:
        options = ExportOptions(weights="reference", precisions=("fp32",), formats=("onnx", "tflite"))
        export_bundle(options, folder / "bundle")

    return made_once(tmp_path_factory, "interop", make) / "bundle"


@pytest.mark.slow
def test_engines_that_are_installed_read_the_files_right(
    fp32: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each answers as onnxruntime does, but one that says that it cannot."""
    assert main(["--bundle", str(fp32), "--limit", "8"]) == 0
    told = capsys.readouterr().out.splitlines()
    for engine, line in zip([e for e in BYTES if e.installed], told[2:], strict=True):
        assert f"| `fp32-{engine.format}` | {engine.name} " in line
        assert ("8 of 8" in line) == ((engine.name, engine.format) != CANNOT), line


def rows_of(monkeypatch: pytest.MonkeyPatch, *answers: np.ndarray | str) -> list[Row]:
    """Rows of engines that are all installed and answer so, one after the other; the rest say nothing.

    The embedded bundle's int8 model stands for the one in fp32.
    """
    bundle = Bundle.open(embedded_bundle_path())
    entry, given = bundle.artifact("int8-onnx"), iter(answers)
    monkeypatch.setattr(interop, "_ask", lambda *_: next(given, "nothing"))
    monkeypatch.setattr(Bundle, "artifact", lambda *_: entry)
    monkeypatch.setattr(interop.Engine, "installed", True)
    return list(compare(bundle, np.zeros((2, 224, 224, 3), np.uint8)))


def test_a_row_counts_the_first_labels_and_the_farthest_logit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against those of onnxruntime; whoever answers otherwise is not right, nor who does not answer."""
    right = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    rows = rows_of(monkeypatch, right, right + np.float32(1e-4), right[:, ::-1], "died")
    assert [(r.same, r.right) for r in rows] == [(2, True), (2, True), (0, False), (0, False)]
    assert rows[2].difference == 1
    table = to_markdown(rows).splitlines()
    assert table[2].startswith("| `fp32-onnx` | onnxruntime ")
    assert table[3].endswith(" | 2 of 2 | 0.0001 |")
    assert table[5].endswith(" | none: died | |")


def test_without_onnxruntimes_answers_there_is_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error with what it said; of other engines answers of another shape are a row."""
    with pytest.raises(ModelError, match="onnxruntime gives no answers: it broke"):
        rows_of(monkeypatch, "it broke")
    _, other, *_ = rows_of(monkeypatch, np.ones((2, 10), np.float32), np.ones((2, 1000), np.float32))
    assert other.failed == "answers of shape (2, 1000), not (2, 10)"


def test_an_engine_that_breaks_is_a_text(tmp_path: Path) -> None:
    """In a process of its own; the last line that it said."""
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    said = interop._ask(0, broken, np.zeros((1, 8, 8, 3), np.uint8))
    assert isinstance(said, str)
    assert "InvalidProtobuf" in said


def test_a_bundle_without_fp32_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """One line that names what there is."""
    assert main(["--bundle", str(embedded_bundle_path()), "--limit", "1"]) == 2
    assert "no artifact 'fp32-onnx'" in capsys.readouterr().err
