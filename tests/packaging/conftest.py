"""The two wheels, each built once for all packaging tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.sharing import made_once


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's ordinary wheel, built from this checkout."""
    return built(tmp_path_factory, "full")


@pytest.fixture(scope="session")
def device_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that holds what a device needs, built from this checkout."""
    return built(tmp_path_factory, "device")


@pytest.fixture(scope="session")
def native_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the native filter, for this machine."""
    return built_native(tmp_path_factory, "cc", "here")


@pytest.fixture(scope="session")
def native_wheel_arm64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for AArch64, by Debian's cross compiler."""
    return built_native(tmp_path_factory, "aarch64-linux-gnu-gcc", "arm64")


def built_native(factory: pytest.TempPathFactory, compiler: str, name: str) -> Path:
    if shutil.which(compiler) is None:
        packages = "gcc libc6-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
        pytest.skip(f"needs {compiler}: sudo apt-get install {packages}")

    def make(out: Path) -> None:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
        environment = {**os.environ, "CC": compiler, "CFLAGS": "-Werror"}
        native = Path(__file__).resolve().parents[2] / "runtime" / "native"
        done = subprocess.run(
            [*command, str(native)], capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr

    (wheel,) = made_once(factory, f"native-wheel-{name}", make).glob("*.whl")
    return wheel


def built(factory: pytest.TempPathFactory, contents: str) -> Path:
    (wheel,) = made_once(factory, f"{contents}-wheel", lambda out: build_wheel(out, contents)).glob("*.whl")
    return wheel


def build_wheel(out: Path, contents: str) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(root)]
    environment = {**os.environ, "ECOVISION_EDGE_WHEEL": contents}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
