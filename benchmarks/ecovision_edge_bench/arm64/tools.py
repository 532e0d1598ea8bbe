"""What this machine has to have, and running it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ecovision_edge.errors import EcovisionError, MissingDependencyError

__all__ = [
    "TOOLS",
    "EmulationError",
    "apt_line",
    "install_tools",
    "last_line",
    "missing_packages",
    "require_tools",
    "run_step",
]

TOOLS = {
    "qemu-aarch64": "qemu-user",  # not qemu-user-static, which cannot load a plugin
    "mmdebstrap": "mmdebstrap",
    "gcc": "gcc",
    "/usr/include/stdio.h": "libc6-dev",
    "aarch64-linux-gnu-objdump": "binutils-aarch64-linux-gnu",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
"""Program or file, and the Debian package that has it."""


class EmulationError(EcovisionError, RuntimeError):
    """The emulated root is not there or cannot be made, or something failed in it."""


def missing_packages() -> list[str]:
    """Return the Debian packages to install before a root can be made or used."""
    return [
        package for file, package in TOOLS.items() if shutil.which(file) is None and not Path(file).exists()
    ]


def apt_line(packages: Sequence[str]) -> str:
    """Return the command that installs them."""
    return f"sudo apt-get install --no-install-recommends {' '.join(packages)}"


def require_tools() -> None:
    """Check that all is there.

    Raises:
        MissingDependencyError: it is not; with the line that installs it.
    """
    missing = missing_packages()
    if missing:
        found = f"no {', '.join(missing)}"
        problem = "Debian's tools are missing"
        if shutil.which("apt-get") is None:
            raise MissingDependencyError(problem, expected="Debian, or what is made of it", found=found)
        raise MissingDependencyError(problem, found=found, fix=f"run: {apt_line(missing)}")


def install_tools() -> None:
    """Install what is missing.

    Raises:
        MissingDependencyError: not root, or not on Debian.
        EmulationError: apt-get failed.
    """
    missing = missing_packages()
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingDependencyError(
            "cannot install what is missing", expected="root, on Debian", fix=f"run: {apt_line(missing)}"
        )
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run_step("apt-get update", ["apt-get", "update", "-qq"], env=quiet)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
    run_step("apt-get install", [*install, *missing], env=quiet)


def run_step(
    step: str, command: Sequence[str], lock: int | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Run a step; it keeps `lock`, so that it still holds if this process is killed and the step is not.

    Raises:
        EmulationError: the step failed.
    """
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=env,
        pass_fds=() if lock is None else (lock,),
        check=False,
    )
    if done.returncode != 0:
        raise EmulationError(f"{step} failed", found=last_line(done.stderr, done.returncode))


def last_line(text: str, status: int) -> str:
    """Return what a program said last of what went wrong."""
    lines = text.strip().splitlines()
    return lines[-1].strip()[:300] if lines else f"exit status {status}"
