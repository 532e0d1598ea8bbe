"""Facts about an x86 that is too old for the wheels: one line, and no death without a word."""

import sys

import pytest

from ecovision_edge.base import old_cpu
from ecovision_edge.base.old_cpu import X86_64_V2, refuse_old_x86
from ecovision_edge.cli import main
from ecovision_edge.errors import MissingDependencyError

NEHALEM = " ".join(sorted(X86_64_V2))
CORE2 = "fpu sse2 pni ssse3 cx16 lahf_lm"


@pytest.fixture(autouse=True)
def nothing_is_loaded(monkeypatch):
    """On an x86."""
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    monkeypatch.setattr(old_cpu.platform, "machine", lambda: "x86_64")


@pytest.fixture
def cpuinfo(tmp_path):
    """Of a first core with such flags, and of a second one."""

    def write(flags):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nmodel name\t: an old one\nflags\t\t: {flags}\n\nflags\t\t: none\n")
        return path

    return write


def test_what_an_old_cpu_lacks_is_said_in_one_line(cpuinfo):
    """With what to do."""
    with pytest.raises(MissingDependencyError) as raised:
        refuse_old_x86(cpuinfo(CORE2), runs=lambda: False)
    message = str(raised.value)
    assert "found an old one without popcnt, sse4_1, sse4_2" in message
    assert "python3-numpy" in message


def test_builds_that_run_there_are_let_run(cpuinfo):
    """A distribution's own ask for less."""
    refuse_old_x86(cpuinfo(CORE2), runs=lambda: True)


def test_a_cpu_that_has_it_all_is_not_tried(cpuinfo, tmp_path, monkeypatch):
    """Nor one that says nothing, nor another architecture."""
    refuse_old_x86(cpuinfo(NEHALEM), runs=lambda: pytest.fail("tried"))
    refuse_old_x86(tmp_path / "none", runs=lambda: pytest.fail("tried"))
    (tmp_path / "cpuinfo").write_text("processor : 0\n")
    refuse_old_x86(tmp_path / "cpuinfo", runs=lambda: pytest.fail("tried"))
    monkeypatch.setattr(old_cpu.platform, "machine", lambda: "aarch64")
    refuse_old_x86(cpuinfo(CORE2), runs=lambda: pytest.fail("tried"))


def test_where_numpy_is_loaded_nothing_is_asked(cpuinfo, monkeypatch):
    """It runs."""
    monkeypatch.setitem(sys.modules, "numpy", object())
    refuse_old_x86(cpuinfo(CORE2), runs=lambda: pytest.fail("tried"))


def test_the_command_line_says_it_and_ends(monkeypatch, cpuinfo, capsys):
    """Status 1, one line."""
    monkeypatch.setattr(
        "ecovision_edge.cli.refuse_old_x86", lambda: refuse_old_x86(cpuinfo(CORE2), runs=lambda: False)
    )
    assert main(["classify", "demo:"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ecovision-edge: numpy and OpenCV as installed do not run on this CPU")


@pytest.mark.slow
def test_the_libraries_here_run():
    """In a process of their own."""
    assert old_cpu._libraries_run()
