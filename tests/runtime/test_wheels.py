"""Facts about the folder of wheels for a board: what it holds, and what is said where it cannot be made."""

import subprocess
import sys
import zipfile
from itertools import pairwise

import pytest

from ecovision_edge.base.installation import has_pip
from ecovision_edge.cli.app import main
from ecovision_edge.errors import EcovisionError, MissingDependencyError, OptionError, WheelsError
from ecovision_edge.wheels import collecting
from ecovision_edge.wheels.boards import BOARDS, PYTHONS, Board, Target
from ecovision_edge.wheels.collecting import Collected, collect_wheels

OWN = (
    'Requires-Dist: old; python_version < "3.11"',
    'Requires-Dist: pins; platform_machine == "aarch64" and extra == "gpio"',
    "Requires-Dist: engine",
    'Requires-Dist: source; extra == "picamera2"',
    "Provides-Extra: gpio",
    "Provides-Extra: picamera2",
)


def make_wheel(folder, name, *lines, tag="py3-none-any", version="1.0"):
    """A wheel with nothing but its metadata."""
    stem = name.replace("-", "_")
    file = folder / f"{stem}-{version}-{tag}.whl"
    info = f"{stem}-{version}.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        told = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines]
        archive.writestr(f"{info}/METADATA", "\n".join(told) + "\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return file


@pytest.fixture
def own(tmp_path):
    """This project's wheel, as far as pip looks at it."""
    return make_wheel(tmp_path, "ecovision-edge", *OWN)


@pytest.fixture
def no_pip(monkeypatch):
    """Nothing is fetched: whoever starts pip fails the test."""
    monkeypatch.setattr(collecting, "has_pip", lambda: True)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was started"))


@pytest.fixture
def index(tmp_path, monkeypatch):
    """All that pip finds: one package for old Pythons, one for Arm, an engine for each machine and glibc."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("old", "pins"):
        make_wheel(folder, name)
    for tag in ("cp313-cp313-manylinux_2_28_aarch64", "cp310-cp310-manylinux_2_28_aarch64"):
        make_wheel(folder, "engine", tag=tag)
    make_wheel(folder, "engine", tag="cp313-cp313-manylinux_2_42_aarch64", version="2.0")  # glibc too new
    make_wheel(folder, "engine", tag="cp313-cp313-manylinux_2_28_x86_64", version="3.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


needs_pip = pytest.mark.skipif(not has_pip(), reason="needs pip: python -m ensurepip")


@needs_pip
@pytest.mark.slow
@pytest.mark.usefixtures("index")
@pytest.mark.parametrize(
    ("board", "python", "extras", "expected"),
    [
        ("pi5", None, ["gpio"], ["engine-1.0-cp313-cp313-manylinux_2_28_aarch64", "pins-1.0-py3-none-any"]),
        ("orin", None, [], ["engine-1.0-cp310-cp310-manylinux_2_28_aarch64", "old-1.0-py3-none-any"]),
        ("x86", "3.13", ["gpio"], ["engine-3.0-cp313-cp313-manylinux_2_28_x86_64"]),
    ],
)
def test_a_folder_holds_what_the_board_needs_whatever_machine_collects_it(
    own, tmp_path, board, python, extras, expected
):
    """By its processor, its glibc, and its Python: chosen, and needed at all."""
    collected = collect_wheels(Board.named(board).target(python), tmp_path / "out", extras, own)
    names = sorted(file.stem for file in (tmp_path / "out").iterdir())
    assert names == sorted([*expected, own.stem])
    assert sorted(collected.wheels) == [f"{name}.whl" for name in names]
    assert collected.size == sum(file.stat().st_size for file in (tmp_path / "out").iterdir())


@needs_pip
@pytest.mark.slow
@pytest.mark.usefixtures("index")
def test_a_package_without_a_wheel_is_named_and_the_folder_stays_empty(own, tmp_path):
    """So the same command runs once more, without that extra."""
    with pytest.raises(WheelsError, match=r"pip download failed: No matching distribution found for source"):
        collect_wheels(Target("aarch64", "3.13"), tmp_path / "out", ["picamera2"], own)
    assert list((tmp_path / "out").iterdir()) == []
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_the_tags_are_those_of_every_older_glibc_and_no_newer_one():
    """Wheels for an older glibc run; `manylinux2014` is the old name of 2.17."""
    options = Target("aarch64", "3.11").pip_options()
    platforms = [value for option, value in pairwise(options) if option == "--platform"]
    assert platforms == [f"manylinux_2_{n}_aarch64" for n in range(36, 16, -1)] + ["manylinux2014_aarch64"]
    assert options[options.index("--abi") + 1] == "cp311"


def test_each_board_has_a_system():
    """Its Python is one that this project runs on."""
    assert {board.python for board in BOARDS.values()} <= set(PYTHONS)
    assert all(board.target().system for board in BOARDS.values())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Board.named("pi6"), r"--board: expected pi5, .*, found pi6 \(close to pi\d\)"),
        (lambda: Board.named("pi5").target("3.9"), r"--python: expected 3.10, .*, found '3.9'"),
    ],
)
def test_what_is_not_in_the_lists_is_refused(call, message):
    """With all that would do."""
    with pytest.raises(OptionError, match=message):
        call()


@pytest.mark.usefixtures("no_pip")
def test_an_extra_that_the_wheel_lacks_is_refused(own, tmp_path):
    """Before anything is fetched: pip would only warn of it."""
    with pytest.raises(OptionError, match=r"--extra: .*found gpoi \(close to gpio\)"):
        collect_wheels(Target("aarch64", "3.13"), tmp_path / "out", ["gpoi"], own)


@pytest.mark.usefixtures("no_pip")
@pytest.mark.parametrize("text", ["", "no archive"])
def test_what_is_no_wheel_of_this_project_is_refused(tmp_path, text):
    """Another file, or another project's wheel."""
    file = tmp_path / "x-1.0-py3-none-any.whl"
    file.write_text(text)
    with pytest.raises(OptionError, match="--wheel: expected a wheel of ecovision-edge"):
        collect_wheels(Target("aarch64", "3.13"), tmp_path / "out", (), file)
    with pytest.raises(OptionError, match="found one of other"):
        collect_wheels(Target("aarch64", "3.13"), tmp_path / "out", (), make_wheel(tmp_path, "other"))


@pytest.mark.usefixtures("no_pip")
def test_a_folder_that_holds_something_is_refused(own, tmp_path):
    """Wheels of another day in it would be installed too."""
    with pytest.raises(OptionError, match="--out: expected a new or an empty folder"):
        collect_wheels(Target("aarch64", "3.13"), tmp_path, (), own)


@pytest.mark.usefixtures("no_pip")
def test_a_folder_that_cannot_be_made_is_an_error_of_ours(own):
    """A file stands where a folder would have to be."""
    with pytest.raises(WheelsError, match="cannot write"):
        collect_wheels(Target("aarch64", "3.13"), own / "out", (), own)


@pytest.mark.parametrize(
    ("platform", "pip", "error"), [("linux", False, MissingDependencyError), ("darwin", True, WheelsError)]
)
def test_what_cannot_collect_says_so(own, tmp_path, monkeypatch, platform, pip, error):
    """A Python without pip, as of pipx or uv; another system than Linux, whose markers differ."""
    monkeypatch.setattr(collecting, "has_pip", lambda: pip)
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(error) as raised:
        collect_wheels(Target("aarch64", "3.13"), tmp_path / "out", (), own)
    assert isinstance(raised.value, EcovisionError)


def test_the_command_prints_the_line_for_the_board(own, tmp_path, monkeypatch, capsys):
    """Quoted for a shell; the folder lies beside where it is run."""
    collected = Collected(tmp_path / "my wheels", ("a.whl",), 2_600_000, ("web", "gpio"))
    asked = []
    monkeypatch.setattr(collecting, "collect_wheels", lambda *given: asked.append(given) or collected)
    out = str(tmp_path / "my wheels")
    options = ["--board", "pi4", "--python", "3.11", "--out", out, "--extra", "web", "--wheel", str(own)]
    assert main(["wheels", *options]) == 0
    assert asked == [(Target("aarch64", "3.11"), tmp_path / "my wheels", ["web"], own)]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("1 wheels, 3 MB, in ")
    assert printed[-1] == (
        "python3 -m venv .venv && .venv/bin/pip install --no-index --find-links 'my wheels' "
        "'ecovision-edge[web,gpio]'"
    )
