"""Facts about the extras: what they ask for has wheels for the boards that they are for."""

import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from tests.packaging.pages import ENVIRONMENT, REPOSITORY

PLATFORMS = tuple(f"manylinux_2_{minor}_aarch64" for minor in range(17, 37))  # glibc of Debian 12


def requirements(extra, python):
    """What an extra asks for on 64-bit Arm with that Python.

    Read here, since pip looks at the markers as of the interpreter that it runs in.
    """
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    (lines,) = re.findall(rf"^{extra} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    environment = {"platform_machine": "aarch64", "sys_platform": "linux", "python_version": python}
    found = [Requirement(line) for line in re.findall(r'^\s*"([^"]+)"', lines, re.MULTILINE)]
    return {r.name: str(r.specifier) for r in found if r.marker is None or r.marker.evaluate(environment)}


@pytest.mark.parametrize(
    ("python", "libraries"),
    [
        ("3.10", {"gpiozero", "gpiod", "lgpio"}),
        ("3.11", {"gpiozero", "gpiod", "lgpio"}),
        ("3.13", {"gpiozero", "gpiod"}),
        ("3.14", {"gpiozero", "gpiod"}),
    ],
)
def test_pins_ask_for_lgpio_only_where_it_has_a_wheel(python, libraries):
    """So `.[gpio]` installs on the Python of Debian 12 and of Debian 13."""
    assert requirements("gpio", python).keys() == libraries


@pytest.mark.slow
@pytest.mark.packaging
@pytest.mark.parametrize("python", ["3.11", "3.13", "3.14"])
def test_every_library_of_the_pins_has_a_wheel_for_a_board(tmp_path, python):
    """As pip would take it on 64-bit Raspberry Pi OS, with no compiler and no swig."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
            *(option for name in PLATFORMS for option in ("--platform", name)),
            *("--python-version", python, "--dest", str(tmp_path)),
            *(f"{name}{versions}" for name, versions in requirements("gpio", python).items()),
        ],
        capture_output=True,
        check=False,
        env=ENVIRONMENT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert {p.name.partition("-")[0] for p in tmp_path.iterdir()} == {*requirements("gpio", python)}


def test_what_pins_other_libraries_is_in_no_other_extra():
    """`.[all]` has to go with whatever PyTorch is newest; ExecuTorch is linked with one."""
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    naming = [line for line in text.splitlines() if '"executorch>=' in line or "bench-executorch" in line]
    assert [line.partition(" = ")[0] for line in naming] == ["bench-executorch"]
