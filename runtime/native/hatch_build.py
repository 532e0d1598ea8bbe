"""Compile the library into the wheel, and name the wheel for the machine that it is for."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACE = "ecovision_edge_native/resize.so"


class Library(BuildHookInterface[Any]):
    """The library needs no Python, only glibc 2.17 or newer: one wheel serves every version of both."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, into the sources for an editable installation, else into a folder that goes away.

        Raises:
            CalledProcessError: the compiler failed.
        """
        root = Path(self.root)
        self._folder = tempfile.TemporaryDirectory()
        out = root / PLACE if version == "editable" else Path(self._folder.name) / "resize.so"
        command = [sys.executable, str(root / "compile.py"), str(out)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        architecture, _, system = done.stdout.strip().partition("-")
        kind = "manylinux_2_17" if system.endswith("gnu") else "linux"
        build_data["tag"] = f"py3-none-{kind}_{architecture}"
        build_data["pure_python"] = False
        if version != "editable":
            build_data["force_include"][str(out)] = PLACE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the folder."""
        self._folder.cleanup()
