"""`ecovision-edge bench`, as a user runs it: short runs of real subjects."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from ecovision_edge.classifier import Classifier
from ecovision_edge.cli import main
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_bench.measure.choose import parse_against
from ecovision_edge_bench.measure.result import Result
from ecovision_edge_bench.subjects.peers import PEERS

pytestmark = pytest.mark.slow

SHORT = [
    "--min-secs",
    "0.2",
    "--min-count",
    "5",
    "--cold-starts",
    "1",
    "--frame",
    "160x120",
    "--threads",
    "1",
]
ALONE = [*SHORT, "--against", "none", "--parity-images", "2"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six drawn images, two in each of three classes' folders: those that the reference is surest of.

    What it is not sure of, rounding to int8 may change.
    """
    folder = tmp_path_factory.mktemp("photographs")
    classifier = Classifier.load()
    sure = sorted(range(24), key=lambda seed: -classifier.classify(draw_frame(seed, 320, 240)).score)
    for seed, label in zip(sure, ("glass", "metal", "paper") * 2, strict=False):
        (folder / label).mkdir(exist_ok=True)
        cv2.imwrite(str(folder / label / f"{seed}.png"), draw_frame(seed, 320, 240))
    return folder


@pytest.fixture
def no_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PyTorch count as missing: its start takes longer than all else, and what is tested needs none."""
    monkeypatch.setitem(PEERS, "torch", dataclasses.replace(PEERS["torch"], runs_with=("no_such_library",)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, photographs: Path) -> dict[str, Path]:
    """One run against PyTorch on photographs, in every form."""
    folder = tmp_path_factory.mktemp("run")
    files = {name: folder / f"r.{name}" for name in ("json", "markdown", "html")}
    targets = [word for name, file in files.items() for word in (f"--{name}", str(file))]
    assert main(["bench", *SHORT, "--images", str(photographs), *targets]) == 0
    return files


def test_a_run_has_latency_parity_accuracy_and_a_cold_start(run: dict[str, Path]) -> None:
    """Of both subjects, in one file; the ratio is against PyTorch."""
    result = Result.loads(run["json"].read_bytes(), "r.json")
    assert [row.key for row in result.rows] == ["torch 1t", "int8-onnx 1t"]
    assert result.base == "torch 1t"
    torch, int8 = result.rows
    for row in (torch, int8):
        assert len(row.samples) >= 5
        assert len(row.cold) == 1
        assert row.agreement is not None
        assert (row.agreement.judged, row.agreement.labelled) == (6, 6)
    assert torch.agreement is not None
    assert (torch.agreement.agreed, torch.agreement.max_dp) == (6, 0)
    ratio = result.ratio(int8)
    assert ratio is not None
    assert ratio.value > 0
    assert result.machine["cores"] == os.cpu_count()
    assert result.bundle["sha256"]


def test_markdown_and_page_have_the_same_rows(run: dict[str, Path]) -> None:
    """Both name both subjects."""
    for name in ("markdown", "html"):
        text = run[name].read_text()
        assert "torch 1t" in text
        assert "int8-onnx 1t" in text


def test_show_prints_a_result_again(run: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """The same block of Markdown, byte for byte; and tables."""
    assert main(["bench", "show", str(run["json"]), "--markdown", "-"]) == 0
    assert capsys.readouterr().out == run["markdown"].read_text()
    assert main(["bench", "show", str(run["json"])]) == 0
    assert "int8-onnx 1t" in capsys.readouterr().out


def test_a_lone_subject_needs_no_torch(tmp_path: Path) -> None:
    """A process in which torch cannot be imported measures the runtime, and says why there is no parity."""
    out = tmp_path / "r.json"
    code = (
        "import sys, importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, *a: None if n.startswith('torch') else find(n, *a)\n"
        "sys.modules['torch'] = None\n"
        "from ecovision_edge.cli import main\n"
        f"sys.exit(main(['bench', *{SHORT!r}, '--parity-images', '2', '--json', {str(out)!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = Result.loads(out.read_bytes(), "r.json")
    assert [row.key for row in result.rows] == ["int8-onnx 1t"]
    assert result.parity["reference"] is None
    assert "torch" in str(result.parity["why_none"])


@pytest.mark.usefixtures("no_reference")
def test_settings_multiply_rows(tmp_path: Path) -> None:
    """Threads times spinning, which one thread has no use for."""
    out = tmp_path / "r.json"
    options = [*ALONE, "--threads", "1,2", "--spinning", "on,off", "--cold-starts", "0"]
    assert main(["bench", *options, "--json", str(out)]) == 0
    assert list(json.loads(out.read_text())["rows"]) == [
        "int8-onnx 1t",
        "int8-onnx 2t",
        "int8-onnx 2t no-spin",
    ]


@pytest.mark.usefixtures("no_reference")
def test_a_paced_and_isolated_run_says_so(tmp_path: Path) -> None:
    """In its settings."""
    out = tmp_path / "r.json"
    assert main(["bench", *ALONE, "--fps", "40", "--isolate", "--json", str(out)]) == 0
    result = Result.loads(out.read_bytes(), "r.json")
    assert (result.settings["fps"], result.settings["isolate"]) == (40.0, True)


def test_an_interrupt_writes_what_there_is(tmp_path: Path) -> None:
    """Ctrl-C during a sustained run: a result, INVALID because it was interrupted."""
    out = tmp_path / "r.json"
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored where a script's & started us
        "from ecovision_edge_bench.measure import run\n"
        "inner = run.run_schedule\n"
        "def schedule(*a, **k):\n"
        "    k['each_round'] = lambda s: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return inner(*a[:3], **k)\n"
        "run.run_schedule = schedule\n"
        "import dataclasses\n"
        "from ecovision_edge_bench.subjects.peers import PEERS\n"
        "PEERS['torch'] = dataclasses.replace(PEERS['torch'], runs_with=('no_such_library',))\n"  # it is slow
        "from ecovision_edge.cli import main\n"
        f"sys.exit(main(['bench', *{ALONE!r}, '--sustained', '10m', '--json', {str(out)!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = Result.loads(out.read_bytes(), "r.json")
    assert "interrupted" in result.reasons
    assert len(result.rows[0].samples) > 0


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--frame", "640"], "--frame"),
        (["--threads", "0"], "--threads"),
        (["--against", "caffe"], "--against"),
        (["--artifact", "int4"], "int4"),
        (["--base", "torch"], "--base"),
        (["--fps", "0"], "--fps"),
        (["--sustained", "soon"], "duration"),
        (["--parity-images", "0"], "--parity-images"),
        (["--json", "no/such/folder/r.json"], "no/such/folder"),
        (["--images", "no/such"], "--images"),
        (["--bundle", "no/such"], "no/such"),
        (["--weights", "no/such.pth"], "such.pth"),
    ],
)
def test_misuse_is_one_line_and_status_2(
    options: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is measured."""
    assert main(["bench", *ALONE, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line


def test_a_result_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A photograph, for instance; or another JSON."""
    for name, data in (("a", b"\x89PNG"), ("b", b"{}")):
        (tmp_path / name).write_bytes(data)
        assert main(["bench", "show", str(tmp_path / name)]) != 0
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_name_of_an_engine_is_each_of_its_precisions() -> None:
    """Beside names that say one; `torch` is a name itself."""
    assert parse_against("executorch, torch") == ("executorch-fp32", "executorch-int8", "torch")
    assert parse_against("openvino-int8,openvino")[:2] == ("openvino-int8", "openvino-fp32")
