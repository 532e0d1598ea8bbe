"""This checkout: its wheel, and telling files apart."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

from ecovision_edge.base.installation import has_pip
from ecovision_edge.errors import MissingDependencyError
from ecovision_edge_bench.arm64.tools import EmulationError, run_step

__all__ = ["build_wheel", "checkout", "pip_command", "sha256"]


def checkout() -> Path:
    """Return the sources that this module is part of.

    Raises:
        EmulationError: it is installed without them.
    """
    folder = Path(__file__).resolve().parents[3]
    if not (folder / "pyproject.toml").is_file() or not (folder / "tests" / "runtime").is_dir():
        raise EmulationError("this needs a checkout of the project", found=f"none at {folder}")
    return folder


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout; the same sources give the same bytes.

    Raises:
        EmulationError: this is no checkout, or the build failed.
    """
    # Where the build's own requirement is installed, nothing has to be fetched.
    alone = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    run_step(
        "pip wheel", [*pip_command("wheel"), *alone, "--no-deps", "--wheel-dir", str(folder), str(checkout())]
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def pip_command(command: str) -> list[str]:
    """Return the start of a command of this Python's own pip.

    Raises:
        MissingDependencyError: it has none.
    """
    if not has_pip():
        raise MissingDependencyError("pip is not installed", fix=f"run: {sys.executable} -m ensurepip")
    return [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check"]


def sha256(*files: Path) -> str:
    """Hash the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
