"""pip, as if it ran on the board: `python -m ecovision_edge.wheels.as_board MACHINE PYTHON PIP_ARGUMENTS`.

pip's `--platform` and `--python-version` choose among the wheels of a package. Which packages are needed at
all it asks of the machine that it runs on: of `tomli; python_version < "3.11"` and of
`lgpio; platform_machine == "aarch64"` a workstation would bring neither (PEP 508 markers are read from
`platform`). So that module answers for the board, in a process of its own.
"""

from __future__ import annotations

import platform
import runpy
import sys

__all__: list[str] = []


def _answer_for(machine: str, python: str) -> None:
    """Let `platform` tell of the board: its processor, and its Python's oldest patch release."""
    version = f"{python}.0"
    platform.machine = lambda: machine
    platform.python_version = lambda: version
    major, minor, patch = version.split(".")
    platform.python_version_tuple = lambda: (major, minor, patch)


if __name__ == "__main__":
    _answer_for(sys.argv[1], sys.argv[2])
    sys.argv = ["pip", *sys.argv[3:]]
    runpy.run_module("pip", run_name="__main__")
