"""`ecovision-edge tune`, as a user runs it: a short run of the embedded bundle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecovision_edge import Bundle
from ecovision_edge.backends.survival import FILE_NAME
from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.cli import main
from ecovision_edge.profile import PROFILE_DIR_VARIABLE, load_profile
from ecovision_edge_bench.tune import plan as plan_module
from ecovision_edge_bench.tune import run as run_module
from ecovision_edge_bench.tune.choice import Choice
from ecovision_edge_bench.tune.result import Request, Tuned
from ecovision_edge_bench.tune.session import Session

SHORT = ["tune", "--budget", "5s", "--parity-images", "4", "--threads", "1"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where profiles go, not there yet."""
    monkeypatch.setenv(PROFILE_DIR_VARIABLE, str(tmp_path / "profiles"))
    return tmp_path / "profiles"


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """`instant(decided)`: a run that measures nothing, and takes the default."""

    def set_up(decided: bool) -> None:
        def measure(request: Request, say: object) -> Tuned:
            tuned = Session(request, lambda line: None, _no_worker, lambda: 0.0, lambda: None).tuned
            tuned.base = tuned.candidates[0]
            tuned.choice = Choice(tuned.base, "made up", decided)
            return tuned

        monkeypatch.setattr(run_module, "run_tune", measure)

    return set_up


def _no_worker(*_: object) -> Any:
    raise AssertionError("nothing is started here")


@pytest.mark.slow
def test_a_run_measures_chooses_and_saves(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real processes on the real bundle: a row each, a choice, and the profile that a later load finds."""
    out = tmp_path / "t.json"
    status = main([*SHORT, "--budget", "10s", "--anyway", "--json", str(out)])
    printed = capsys.readouterr().out
    result = json.loads(out.read_text())
    assert result["schema"] == "ecovision-edge/tune"
    rows = result["rows"]
    assert set(rows) == {result["default"], "int8-onnx 1t"}
    assert all(row["fault"] is None or row["out_of_time"] for row in rows.values())
    assert rows[result["default"]]["median_ms"] > 0
    assert (result["reference"], result["images"]) == ("int8-onnx", 4)
    assert result["evidence"] == "drawn frames"
    for key in rows:
        assert f"\n{key} " in printed
    # A machine that is busy may give too few rounds: then it says so, and saves nothing.
    assert (status == 0) == result["decided"] == (result["saved"] is not None)
    profile = load_profile(Bundle.open(embedded_bundle_path()))
    assert (profile is not None) == result["decided"]
    if profile is not None:
        row = rows[result["choice"]]
        assert (profile.artifact, profile.threads) == (row["artifact"], row["threads"])
        assert profile.spinning == row["spinning"]
        assert profile.measured["choice"] == result["choice"]
        assert result["saved"] in printed
        assert "choice: " in printed


@pytest.mark.slow
def test_a_dry_run_saves_nothing(
    folder: Path, instant: Callable[[bool], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even the folder is made; and it needs none that can be written."""
    instant(True)
    assert main([*SHORT, "--dry-run"]) == 0
    assert not folder.exists()
    assert "nothing saved: --dry-run" in capsys.readouterr().out


@pytest.mark.slow
def test_an_undecided_run_leaves_the_old_profile(
    folder: Path, instant: Callable[[bool], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, and it says why."""
    instant(True)
    assert main(SHORT) == 0
    (file,) = (path for path in folder.glob("*.json") if path.name != FILE_NAME)
    before = file.stat()
    instant(False)
    assert main(SHORT) == 1
    assert file.stat() == before
    assert "undecided: made up; no profile saved" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line; nothing is measured."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(PROFILE_DIR_VARIABLE, str(tmp_path / "file" / "sub"))
    monkeypatch.setattr(run_module, "run_tune", _no_worker)
    assert main(SHORT) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ecovision-edge: cannot save a device profile in ")
    assert PROFILE_DIR_VARIABLE in line


def test_without_any_engine_there_is_the_pip_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing is measured."""
    monkeypatch.setattr(plan_module, "is_installed", lambda format: False)
    assert main(SHORT) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install onnxruntime" in line


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--budget", "1s"], "--budget"),
        (["--budget", "soon"], "soon"),
        (["--threads", "0"], "--threads"),
        (["--parity-images", "0"], "--parity-images"),
        (["--images", "no/such"], "no/such"),
        (["--json", "no/such/t.json"], "no/such"),
        (["no/such"], "no/such"),
    ],
)
def test_misuse_is_one_line_and_status_2(
    options: list[str], word: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is measured."""
    assert main([*SHORT, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line
    assert not folder.exists()


@pytest.mark.slow
def test_it_needs_no_extra(tmp_path: Path) -> None:
    """Neither rich, nor pillow, nor torch, nor onnx: the parent and its workers run without."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'rich', 'PIL', 'torch', 'torchvision', 'onnx'}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-m", "ecovision_edge", *SHORT, "--dry-run", "--json", "-"],
        env={**environment, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr  # 1: undecided, on a busy machine
    result = json.loads(done.stdout)
    row = result["rows"][result["default"]]
    assert row["fault"] is None or row["out_of_time"]
    assert result["saved"] is None
