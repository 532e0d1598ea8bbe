"""Collect the wheels: this project's own, and with pip all that it needs on the board."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path

from ecovision_edge.base.installation import Installation, has_pip
from ecovision_edge.base.names import hinted
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import MissingDependencyError, OptionError, WheelsError
from ecovision_edge.wheels.boards import Target

__all__ = ["Collected", "collect_wheels"]

_QUIET = ("--quiet", "--disable-pip-version-check", "--no-input")
_DEVICE = {"ECOVISION_EDGE_WHEEL": "device"}  # hatch_build.py: without the weights for training


@dataclass(frozen=True, slots=True)
class Collected:
    """A folder of wheels.

    Args:
        folder: Where they are.
        wheels: Their names.
        size: Bytes, all together.
        extras: Of this project, that they serve too.
    """

    folder: Path
    wheels: tuple[str, ...]
    size: int
    extras: tuple[str, ...]

    def install_line(self) -> str:
        """Return the board's shell command; the folder lies beside where it is run."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        pip = [".venv/bin/pip", "install", "--no-index", "--find-links", self.folder.resolve().name]
        return f"python3 -m venv .venv && {shlex.join([*pip, f'ecovision-edge{extras}'])}"


def collect_wheels(
    target: Target, folder: Path, extras: Sequence[str] = (), wheel: Path | None = None
) -> Collected:
    """Fill a new folder with all the wheels that this project needs on a board.

    Args:
        target: What they have to fit.
        folder: Absent or empty; it is left so if something fails.
        extras: Of this project, such as `web`.
        wheel: This project's own; None: it is built from where this installation came from.

    Raises:
        OptionError: no such wheel or extra, or the folder holds something.
        MissingDependencyError: this Python has no pip.
        WheelsError: a wheel could not be built or fetched, or there is none for the board.
    """
    if sys.platform != "linux":  # markers ask sys.platform, which pip itself needs as it is
        raise WheelsError("wheels for a board", expected="Linux to collect them on", found=sys.platform)
    if not has_pip():
        raise MissingDependencyError("pip is not installed", fix=f"run: {sys.executable} -m ensurepip")
    extras = tuple(dict.fromkeys(extras))
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise OptionError("--out", expected="a new or an empty folder", found=folder)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".wheels-", dir=folder.parent) as temporary:
            own = _build(Path(temporary, "own")) if wheel is None else wheel
            _check_extras(own, extras)
            parts = Path(temporary, "all")
            _download(target, parts, f"{own.resolve()}{'[' + ','.join(extras) + ']' if extras else ''}")
            files = sorted(parts.iterdir())
            for file in files:
                file.replace(folder / file.name)
    except OSError as error:
        if isinstance(error, WheelsError):
            raise
        raise WheelsError(f"cannot write {folder}", found=reason_of(error)) from error
    names = tuple(file.name for file in files)
    return Collected(folder, names, sum((folder / name).stat().st_size for name in names), extras)


def _build(folder: Path) -> Path:
    """Return this project's wheel for devices, or the very wheel that was installed, if it is still there."""
    origin = Installation.here().origin()
    if not origin:
        raise WheelsError(
            "this installation does not know what it was installed from", fix="name the wheel: --wheel FILE"
        )
    _run_pip(["-m", "pip", "wheel"], [*_QUIET, "--no-deps", "--wheel-dir", str(folder), *origin], _DEVICE)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _check_extras(wheel: Path, extras: Sequence[str]) -> None:
    """Refuse an extra that the wheel does not have: pip only warns of it."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            told = BytesParser().parsebytes(archive.read(name), headersonly=True)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise OptionError("--wheel", expected="a wheel of ecovision-edge", found=wheel) from error
    if told["Name"] != "ecovision-edge":
        raise OptionError("--wheel", expected="a wheel of ecovision-edge", found=f"one of {told['Name']}")
    known = told.get_all("Provides-Extra") or []
    unknown = [extra for extra in extras if extra not in known]
    if unknown:
        raise OptionError("--extra", expected=f"some of {', '.join(known)}", found=hinted(unknown, known))


def _download(target: Target, folder: Path, requirement: str) -> None:
    """Have pip fetch a wheel of everything, chosen and needed as on the board."""
    command = ["-m", "ecovision_edge.wheels.as_board", target.machine, target.python, "download"]
    _run_pip(command, [*_QUIET, *target.pip_options(), "--dest", str(folder), requirement])


def _run_pip(
    command: Sequence[str], arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> None:
    """Run pip with this Python.

    Raises:
        WheelsError: it failed; with what it said was wrong.
    """
    done = subprocess.run(
        [sys.executable, *command, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **(environment or {})},
        check=False,
    )
    if done.returncode != 0:
        raise WheelsError(
            f"pip {command[-1]} failed",
            found=_error_of(done.stderr) or f"exit status {done.returncode}",
            fix="leave out an extra that needs what has no wheel for the board; its apt may have that",
        )


def _error_of(text: str) -> str:
    """Return what pip calls an error: its last such line."""
    errors = [line.removeprefix("ERROR:").strip() for line in text.splitlines() if line.startswith("ERROR:")]
    return (errors or text.strip().splitlines() or [""])[-1][:300]
