"""Facts about the table of boards, systems and engines, but for the emulation; that is in tests/packaging."""

import json
import subprocess
from pathlib import Path

import pytest

from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge_bench.arm64 import cli
from ecovision_edge_bench.arm64.matrix import Line, examine, matrix_table
from ecovision_edge_bench.arm64.root import PiRoot, Stamp
from ecovision_edge_bench.arm64.tools import EmulationError

VERSIONS = {"numpy": "2.4", "opencv-python-headless": "5.0", "onnxruntime": "1.32.0", "ai-edge-litert": "2.3"}
STAMP = Stamp("r", "w", False, "trixie", VERSIONS)


def check(name, ok, detail):
    return {"name": name, "ok": ok, "checked": True, "detail": detail}


SAME = check("golden int8-onnx", True, "4 vectors, same bits")


class FakeRoot:
    """Stands for a `PiRoot`: `verify` reports these checks, and these modules end the process."""

    def __init__(self, checks, dies=None):
        self.checks, self.dies, self.stamp, self.starts = checks, dies or {}, STAMP, []

    def python(self, cpu, *arguments, timeout):
        self.starts.append((cpu, arguments[-1]))
        if arguments[0] == "-c":
            status = self.dies.get(arguments[1].removeprefix("import "), 0)
            return subprocess.CompletedProcess(arguments, status, "", "first\nlast words\n")
        report = json.dumps({"checks": self.checks}) if self.checks is not None else ""
        return subprocess.CompletedProcess(arguments, 1, report, "first\nlast words\n")


def lines(*given):
    return list(examine(FakeRoot(*given), "cortex-a53", embedded_bundle_path()))


def test_a_line_says_what_verify_says_on_that_board():
    """Libraries that run no model are imported alone."""
    assert lines([SAME]) == [
        Line("cortex-a53", "trixie", "numpy 2.4", "yes"),
        Line("cortex-a53", "trixie", "opencv-python-headless 5.0", "yes"),
        Line("cortex-a53", "trixie", "onnxruntime 1.32.0", "yes", "int8-onnx", "yes", "same bits"),
    ]


@pytest.mark.parametrize("status", [-4, 132])
def test_an_import_that_ends_the_process_names_the_signal(status):
    """As subprocess has it, and as a shell does."""
    checks = [check("model.int8.onnx", False, "would end the process")]
    line = lines(checks, {"onnxruntime": status})[-1]
    assert (line.imports, line.runs, line.bits) == ("ends by SIGILL", "would end the process", "")


def test_an_import_that_fails_has_its_last_words():
    """Those of the exception."""
    assert lines([SAME], {"cv2": 1})[1].imports == "last words"


def test_no_report_is_an_error():
    """Rather than a table without the engine."""
    with pytest.raises(EmulationError, match="verify on cortex-a53 gave no report: last words"):
        lines(None)


def test_the_table_names_board_and_system():
    """In the words of a user."""
    head, _, row, *_ = matrix_table(lines([SAME])).splitlines()
    assert head.startswith("| board | CPU | system |")
    assert row == "| Pi 3 | cortex-a53 | Debian 13, Python 3.13 | numpy 2.4 | yes | yes | - | - | - |"


def test_a_bar_in_what_verify_says_is_no_column():
    """`max |dlogit|` is foreign text in a table."""
    told = check("golden int8-onnx", True, "4 vectors, max |dlogit| 0.097 (allowed 0.38), 0 flips")
    row = matrix_table(lines([told])).splitlines()[-1]
    assert row.endswith(r"| yes | max \|dlogit\| 0.097 (allowed 0.38), 0 flips |")


def test_the_command_goes_through_boards_roots_and_bundles(monkeypatch, capsys):
    """Each board with all systems, then the next."""
    fakes = {"a": FakeRoot([SAME]), "b": FakeRoot([SAME])}
    monkeypatch.setattr(PiRoot, "open", lambda folder: fakes[Path(folder).name])
    bundle = str(embedded_bundle_path())
    assert cli.main(["table", "a", "b", "--cpu", "cortex-a72,cortex-a76", "--bundle", bundle]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + 2 * 2 * 3
    assert {cpu for cpu, _ in fakes["b"].starts} == {"cortex-a72", "cortex-a76"}
