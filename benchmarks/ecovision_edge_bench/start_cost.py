"""What a start costs, to the first answer, against importing the libraries alone; a developers' tool.

    python -m ecovision_edge_bench.start_cost [--rounds 15] [--bundle DIR]

Processes in turn: one that imports numpy, OpenCV and onnxruntime; one that also loads the bundle's model and
classifies a frame of 640x480, with what an earlier start kept (the graph as onnxruntime rewrites it); and one
without. Each tells its own CPU time up to there, with one thread: no wait for a core is in it. Medians, and
their ratio to the first.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ecovision_edge.base.homes import PROFILE_DIR_VARIABLE
from ecovision_edge.errors import InferenceError

__all__ = ["main", "measure"]

_TOLD = "import time; print(time.process_time())"
_IMPORTS = f"import numpy, cv2, onnxruntime\n{_TOLD}"
_ANSWER = f"""\
import numpy as np
from ecovision_edge import Classifier
classifier = Classifier.load({{bundle!r}}, threads=1, profile={{kept}})
classifier.classify(np.zeros((480, 640, 3), np.uint8))
{_TOLD}"""


def measure(bundle: Path | None, rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each round, by what was started.

    Raises:
        InferenceError: a start failed.
    """
    place = None if bundle is None else str(bundle.resolve())
    codes = {
        "imports alone": _IMPORTS,
        "first answer": _ANSWER.format(bundle=place, kept=True),
        "the same, nothing kept": _ANSWER.format(bundle=place, kept=False),
    }
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, PROFILE_DIR_VARIABLE: folder, "ORT_DISABLE_TELEMETRY": "1"}
        for code in codes.values():  # the first one keeps what the others find, modules compiled too
            _seconds(code, environment)
        times: dict[str, list[float]] = {name: [] for name in codes}
        for _ in range(rounds):
            for name, code in codes.items():
                times[name].append(_seconds(code, environment))
    return times


def _seconds(code: str, environment: Mapping[str, str]) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InferenceError("a start failed", found=(done.stderr.strip().splitlines() or [""])[-1][:300])
    return float(done.stdout.split()[-1])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a line for each; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m ecovision_edge_bench.start_cost", description="What a start costs."
    )
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="of each (default %(default)s)")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="default: the embedded one")
    options = parser.parse_args(argv)
    try:
        times = measure(options.bundle, max(1, options.rounds))
    except InferenceError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    base = statistics.median(next(iter(times.values())))
    for name, own in times.items():
        median = statistics.median(own)
        sys.stdout.write(f"{name:24}{median * 1000:7.0f} ms{median / base:7.2f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
