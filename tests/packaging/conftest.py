"""The two wheels, each built once for all packaging tests."""

from __future__ import annotations

import os
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


def built(factory: pytest.TempPathFactory, contents: str) -> Path:
    (wheel,) = made_once(factory, f"{contents}-wheel", lambda out: build_wheel(out, contents)).glob("*.whl")
    return wheel


def build_wheel(out: Path, contents: str) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(root)]
    environment = {**os.environ, "ECOVISION_EDGE_WHEEL": contents}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
