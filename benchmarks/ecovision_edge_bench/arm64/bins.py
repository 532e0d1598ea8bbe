"""What a bin over an empty tray costs, by its parts, in an emulated Raspberry Pi; a developers' tool.

    python -m ecovision_edge_bench.arm64.bins DIR [--frames 30] [--cpu cortex-a76] [--json]

DIR is that of `python -m ecovision_edge_bench.arm64 root DIR`; the bin is this checkout's. It is a whole
`SmartBin` with a board for the live page, over a camera that gives 15 pictures of 640x480 a second. What is
counted begins when the tray is learnt and still: millions of instructions a second, of all threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.errors import EcovisionError
from ecovision_edge_bench.arm64.bin_guest import FPS, GATE, NETWORK, PAGE, WHOLE
from ecovision_edge_bench.arm64.boards import board_of
from ecovision_edge_bench.arm64.counting import NOTE, Mark, differences, read_marks
from ecovision_edge_bench.arm64.guest import NOTHING
from ecovision_edge_bench.arm64.root import PiRoot
from ecovision_edge_bench.arm64.sources import checkout
from ecovision_edge_bench.arm64.tools import EmulationError, last_line

__all__ = ["BinCost", "cost_of", "count_bin", "main"]

GUEST = "ecovision_edge_bench.arm64.bin_guest"
PARTS = {"gate": GATE, "network": NETWORK, "page": PAGE}


@dataclass(frozen=True, slots=True)
class BinCost:
    """Instructions for one frame.

    Args:
        parts: Of the loop's thread `gate`, `network` (with preparing), `page` and `rest`: loop and decision.
            `capture` is what all other threads executed.
    """

    parts: Mapping[str, float]

    @property
    def frame(self) -> float:
        """All of them."""
        return sum(self.parts.values())

    @property
    def second(self) -> float:
        """The same of a second, at 15 frames."""
        return self.frame * FPS

    def to_json(self) -> dict[str, object]:
        """Return JSON values."""
        return {"frame": self.frame, "second": self.second, "parts": dict(self.parts)}

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {of / 1e6:.2f}" for name, of in self.parts.items())
        return (
            f"{self.second / 1e6:.0f} million instructions a second; {self.frame / 1e6:.2f} a frame: {parts}"
        )


def count_bin(root: PiRoot, cpu: str, frames: int) -> BinCost:
    """Run the bin over that many frames of an empty tray.

    Raises:
        OptionError: no board has that CPU.
        EmulationError: it failed, or this is no checkout.
    """
    sources = checkout()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        environment = {
            "QEMU_PLUGIN": str(root.path / "plugin.so").replace(",", ",,"),  # a comma ends the name
            "QEMU_LOG": "plugin",
            "QEMU_LOG_FILENAME": str(log),
            "PYTHONHASHSEED": "0",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": f"{sources / 'runtime'}:{sources / 'benchmarks'}",
            "PYTHONPYCACHEPREFIX": folder,
        }
        done = root.python(cpu, "-m", GUEST, "--frames", str(frames), environment=environment)
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    if done.returncode != 0:
        raise EmulationError(f"the bin failed on {cpu}", found=last_line(done.stderr, done.returncode))
    return cost_of(read_marks(text), frames)


def cost_of(marks: Sequence[Mark], frames: int) -> BinCost:
    """Tell from the guest's marks what a frame costs.

    Raises:
        EmulationError: the marks are not all there.
    """
    mark = statistics.median_low(pair.first for pair in differences(marks, NOTHING))
    (whole,) = differences(marks, WHOLE)
    there = {one.label for one in marks}
    parts: dict[str, float] = {"capture": whole.others / frames}
    taken = 0
    for name, label in PARTS.items():
        pairs = differences(marks, label) if label in there else []
        parts[name] = sum(pair.first - mark for pair in pairs) / frames
        taken += sum(pair.first + mark for pair in pairs)  # the marks' own, at both ends
    parts["rest"] = max(0.0, (whole.first - mark - taken) / frames)
    return BinCost(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Count, and print; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m ecovision_edge_bench.arm64.bins", description="What a bin over an empty tray costs."
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="as for `ecovision_edge_bench.arm64 root`")
    parser.add_argument("--frames", type=int, default=30, metavar="N", help="counted (default %(default)s)")
    parser.add_argument("--cpu", default="cortex-a76", help="default %(default)s")
    parser.add_argument("--json", action="store_true", help="print every figure")
    options = parser.parse_args(argv)
    try:
        cost = count_bin(PiRoot.open(options.folder), board_of(options.cpu).cpu, options.frames)
    except EcovisionError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    sys.stdout.write(f"{json.dumps(cost.to_json(), indent=1)}\n" if options.json else f"{cost}\n{NOTE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
