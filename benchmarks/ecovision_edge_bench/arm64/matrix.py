"""Which engine installs, imports and runs on which board and system, and what bits it gives there."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.base.markdown import plain, table
from ecovision_edge.bundle.engines import ENGINES
from ecovision_edge.bundle.folder import Bundle
from ecovision_edge_bench.arm64.boards import BOARDS
from ecovision_edge_bench.arm64.root import PiRoot
from ecovision_edge_bench.arm64.systems import SYSTEMS
from ecovision_edge_bench.arm64.tools import EmulationError, last_line

__all__ = ["Line", "examine", "matrix_table"]

LIBRARIES = {"numpy": "numpy", "opencv-python-headless": "cv2"}
"""What runs no model, by its name for pip: the module that it brings."""
HEADS = ("board", "CPU", "system", "engine", "installs", "imports", "model", "runs", "bits")
SECONDS = 600  # for one start of the emulated Python; it takes some 20


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table.

    Args:
        cpu: QEMU's name of the board's CPU.
        suite: Debian's name of the system.
        engine: Package and version, which pip installed there as a wheel.
        imports: `yes`, or how the import ended.
        model: The artifact that was run; empty for a library without one.
        runs: `yes`, or what `verify` says is wrong.
        bits: How its logits compare with the golden ones of the bundle, as `verify` says it.
    """

    cpu: str
    suite: str
    engine: str
    imports: str
    model: str = ""
    runs: str = ""
    bits: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the columns of `HEADS`."""
        system = SYSTEMS[self.suite]
        place = f"{system.title}, Python {system.python}"
        return (
            *(BOARDS[self.cpu].short, self.cpu, place, self.engine, "yes", self.imports),
            *(self.model or "-", self.runs or "-", self.bits or "-"),
        )


def examine(root: PiRoot, cpu: str, *bundles: Path) -> Iterator[Line]:
    """Yield the lines of one board with one system.

    Args:
        root: The system, with all engines installed.
        cpu: QEMU's name of the board's CPU.
        bundles: Their artifacts are run, each on the golden inputs of its bundle.

    Raises:
        EmulationError: the emulated Python did not end in time, or `verify` gave no report.
    """
    suite, versions = root.stamp.system, root.stamp.versions
    for package, module in LIBRARIES.items():
        yield Line(cpu, suite, f"{package} {versions[package]}", _imports(root, cpu, module))
    imports: dict[str, str] = {}
    for bundle in bundles:
        checks = _verify(root, cpu, bundle)
        for entry in Bundle.open(bundle).manifest.artifacts:
            engine = ENGINES[entry.format]
            if engine.package not in imports:
                imports[engine.package] = _imports(root, cpu, engine.module)
            ok, detail = checks.get(f"golden {entry.name}") or checks[entry.file.file]
            runs, bits = ("yes", detail.partition(", ")[2]) if ok else (detail, "")
            name = f"{engine.package} {versions[engine.package]}"
            yield Line(cpu, suite, name, imports[engine.package], entry.name, runs, bits)


def matrix_table(lines: Sequence[Line]) -> str:
    """Return the table in Markdown."""
    return "\n".join(table([HEADS, *([plain(cell) for cell in line.cells()] for line in lines)]))


def _imports(root: PiRoot, cpu: str, module: str) -> str:
    done = root.python(cpu, "-c", f"import {module}", timeout=SECONDS)
    if done.returncode == 0:
        return "yes"
    # The launcher is a shell, which adds 128 to the number of a signal.
    number = -done.returncode if done.returncode < 0 else done.returncode - 128
    if number in set(signal.Signals):
        return f"ends by {signal.Signals(number).name}"
    return last_line(done.stderr, done.returncode)


def _verify(root: PiRoot, cpu: str, bundle: Path) -> dict[str, tuple[bool, str]]:
    """Return the checks of `verify` by name: whether each is well, and what was found."""
    # One thread: emulated threads that spin while they wait take the cores from the one that works.
    command = ("-m", "ecovision_edge", "verify", str(bundle.resolve()), "--threads", "1", "--json", "-")
    done = root.python(cpu, *command, timeout=SECONDS)
    try:
        checks = json.loads(done.stdout)["checks"]
        return {str(check["name"]): (bool(check["ok"]), str(check["detail"])) for check in checks}
    except (ValueError, LookupError, TypeError) as error:
        found = last_line(done.stderr, done.returncode)
        raise EmulationError(f"verify on {cpu} gave no report", found=found) from error
