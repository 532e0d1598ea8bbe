"""A finished root: what it was made of, and running Python in it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ecovision_edge_bench.arm64.boards import board_of
from ecovision_edge_bench.arm64.sources import build_wheel, sha256
from ecovision_edge_bench.arm64.tools import EmulationError, require_tools

__all__ = ["STAMP", "PiRoot", "Stamp", "recipe"]

STAMP = "ecovision-arm64.json"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a finished root was made of.

    Args:
        recipe: As `recipe()`.
        wheel: sha256 of the project's wheel.
        given: The wheel was given by the user, so it need not be of this checkout.
        system: Debian's name of the system.
        versions: Of the packages in it.
    """

    recipe: str
    wheel: str
    given: bool
    system: str = "bookworm"
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> Stamp | None:
        """Return the stamp of a root; None: not finished, or not one of ours."""
        try:
            values = json.loads((root / STAMP).read_bytes())
            return cls(
                recipe=str(values["recipe"]),
                wheel=str(values["wheel"]),
                given=bool(values["given"]),
                system=str(values["system"]),
                versions={str(name): str(version) for name, version in values["versions"].items()},
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def write(self, root: Path) -> None:
        """Say that a root is finished; the last thing to do to it."""
        (root / STAMP).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def fits(self, wanted: Stamp) -> bool:
        """Return whether the root is what would be made now, but for newer versions of other packages."""
        mine, other = ((stamp.recipe, stamp.wheel, stamp.system) for stamp in (self, wanted))
        return mine == other


@dataclass(frozen=True, slots=True)
class PiRoot:
    """A finished root."""

    path: Path
    stamp: Stamp

    @classmethod
    def open(cls, folder: Path) -> PiRoot:
        """Return the root that `make_root` made in `folder`.

        Raises:
            EmulationError: none there, or an unfinished one, or by another recipe.
            MissingDependencyError: the emulator is not installed.
        """
        path = folder.resolve() / "root"
        fix = how_to_make(folder)
        stamp = Stamp.read(path)
        if stamp is None:
            raise EmulationError("no emulated root", expected=f"a finished one at {path}", fix=fix)
        if stamp.recipe != recipe():
            raise EmulationError("the emulated root was made by another version of this tool", fix=fix)
        require_tools()
        return cls(path, stamp)

    def refuse_other_sources(self) -> None:
        """Check that the wheel in it is of this checkout, unless the user gave another on purpose.

        Raises:
            EmulationError: it is not, or this is no checkout.
        """
        if self.stamp.given:
            return
        with tempfile.TemporaryDirectory() as temporary:
            wheel = sha256(build_wheel(Path(temporary)))
        if wheel != self.stamp.wheel:
            raise EmulationError(
                "the emulated root has the wheel of other sources", fix=how_to_make(self.path.parent)
            )

    @property
    def executable(self) -> Path:
        """The emulated Python, which is started as any program is."""
        return self.path / "usr/local/bin/python3"

    def environment(self, cpu: str) -> dict[str, str]:
        """Return all that the emulated Python is told of this machine: the same each time.

        Raises:
            OptionError: no board has that CPU.
        """
        path, home = os.environ.get("PATH", os.defpath), tempfile.gettempdir()
        return {"PATH": path, "HOME": home, "QEMU_CPU": board_of(cpu).cpu}

    def python(
        self,
        cpu: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the emulated Python in `/`, its output caught.

        Args:
            cpu: QEMU's name of it, one of `BOARDS`.
            arguments: Of Python.
            environment: More of it than `environment(cpu)`.
            timeout: Seconds.

        Raises:
            OptionError: no board has that CPU.
            EmulationError: it did not end in time.
        """
        try:
            return subprocess.run(
                [str(self.executable), *arguments],
                env={**self.environment(cpu), **(environment or {})},
                cwd="/",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EmulationError("the emulated Python did not end", expected=f"{timeout:g} s") from error


def recipe() -> str:
    """Identifies what `make_root` does: a digest of the files that say it."""
    folder = Path(__file__).parent
    return sha256(*(folder / name for name in ("making.py", "boards.py", "systems.py", "plugin.c")))


def how_to_make(folder: Path) -> str:
    return f"run: python -m ecovision_edge_bench.arm64 root {shlex.quote(str(folder))}"
