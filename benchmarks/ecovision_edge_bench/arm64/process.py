"""Instructions of a whole program, from start to end, by the method that the package describes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.errors import OptionError
from ecovision_edge_bench.arm64.root import PiRoot
from ecovision_edge_bench.arm64.sources import checkout
from ecovision_edge_bench.arm64.tools import EmulationError, last_line

__all__ = ["MARK", "Ends", "ProcessCount", "count_process", "read_ends"]

MARK = "{n}"
"""What stands in the arguments for the number."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Instructions from start to end: of the program's first thread, and of all others."""

    first: int
    others: int

    @property
    def all(self) -> int:
        """Instructions of all threads."""
        return self.first + self.others


@dataclass(frozen=True, slots=True)
class ProcessCount:
    """What `once`, with `times` of something, and `twice`, with double that, executed."""

    cpu: str
    times: int
    once: Ends
    twice: Ends

    @property
    def each(self) -> float:
        """Instructions of one of them, in all threads."""
        return (self.twice.all - self.once.all) / self.times

    @property
    def each_first(self) -> float:
        """Instructions of one of them, in the program's first thread."""
        return (self.twice.first - self.once.first) / self.times

    @property
    def start(self) -> float:
        """All that does not grow with their number: starting and ending."""
        return 2 * self.once.all - self.twice.all

    def to_json(self) -> dict[str, object]:
        """Return JSON values."""
        return {
            "cpu": self.cpu,
            "times": self.times,
            "each": self.each,
            "each_first": self.each_first,
            "start": self.start,
            "once": [self.once.first, self.once.others],
            "twice": [self.twice.first, self.twice.others],
        }

    def __str__(self) -> str:
        return (
            f"{self.cpu}: {self.each / 1e6:.2f} million instructions each, {self.each_first / 1e6:.2f} of "
            f"them in the first thread; {self.start / 1e6:.0f} million to start and end"
        )


def count_process(root: PiRoot, cpu: str, arguments: Sequence[str], times: int) -> ProcessCount:
    """Run a program of the emulated Python three times: to compile its modules, with N, and with 2 N.

    Args:
        root: Where Python is; the project's modules are those of this checkout.
        cpu: `cortex-a72` or `cortex-a76`.
        arguments: Of Python; `{n}` in them becomes the number.
        times: N, 1 or more.

    Raises:
        OptionError: no board has that CPU, or the arguments have no `{n}`.
        EmulationError: the program failed, or wrote no count; or this is no checkout.
    """
    if not any(MARK in argument for argument in arguments) or times < 1:
        raise OptionError(
            "a program to count", expected=f"{MARK} in its arguments, 1 or more", found=" ".join(arguments)
        )
    with tempfile.TemporaryDirectory() as compiled:
        _run(root, cpu, arguments, times, compiled)
        once, twice = (_run(root, cpu, arguments, n, compiled) for n in (times, 2 * times))
    return ProcessCount(cpu, times, once, twice)


def read_ends(log: str) -> Ends:
    """Add up what the plugin wrote of each process as it ended.

    Raises:
        EmulationError: it wrote nothing.
    """
    ends = re.findall(r"^end (\d+) (\d+)$", log, re.MULTILINE)
    if not ends:
        raise EmulationError("the counting plugin wrote no count", fix="did the program end by itself?")
    return Ends(sum(int(first) for first, _ in ends), sum(int(others) for _, others in ends))


def _run(root: PiRoot, cpu: str, arguments: Sequence[str], number: int, compiled: str) -> Ends:
    sources = checkout()
    with tempfile.TemporaryDirectory() as folder:
        plugin = str(root.path / "plugin.so").replace(",", ",,")  # a comma ends the name
        environment = {
            "QEMU_PLUGIN": plugin,
            "QEMU_LOG": "plugin",
            "QEMU_LOG_FILENAME": str(Path(folder, "log.%d")),  # a log for each process
            "PYTHONHASHSEED": "0",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": f"{sources / 'runtime'}:{sources / 'benchmarks'}",
            "PYTHONPYCACHEPREFIX": compiled,
        }
        words = [argument.replace(MARK, str(number)) for argument in arguments]
        done = root.python(cpu, *words, environment=environment)
        logs = [file.read_text(encoding="utf-8", errors="replace") for file in Path(folder).glob("log.*")]
    if done.returncode != 0:
        found = last_line(done.stderr, done.returncode)
        raise EmulationError(f"the program failed on {cpu}", found=found)
    return read_ends("\n".join(logs))
