"""Whether other engines read the exporter's fp32 files right; a developers' tool.

    python -m ecovision_edge_bench.interop --bundle DIR [--images DIR] [--limit N]

Every engine of `engines` that is installed reads `fp32-onnx` or `fp32-tflite` of the bundle as it is, answers
the same inputs, and is compared with onnxruntime: how many first labels are the same, and how far a logit is
off at most. An engine may read a model without an error and still answer wrongly: that is what this finds.
A bundle with the input `float32-nchw` is compared by its ONNX file alone.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.errors import ModelError
from ecovision_edge_bench.interop.engines import ENGINES, Engine, Inputs

__all__ = ["RIGHT", "Row", "compare", "to_markdown"]

RIGHT = 0.01
"""Largest difference of a logit that sums in another order explain; of the reference it is 2e-5."""

_LIMIT_S = 600.0
_PROGRAM = "ecovision_edge_bench.interop.engines"

Answers = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Row:
    """One engine on one format: of `inputs` first labels `same` are; `difference` is the largest of a logit.

    `failed` is what the engine said where it gave no answers, else empty; the figures are then 0.
    """

    engine: str
    version: str
    format: str
    inputs: int
    same: int
    difference: float
    failed: str = ""

    @property
    def right(self) -> bool:
        """Whether it answers as onnxruntime does."""
        return not self.failed and self.same == self.inputs and self.difference <= RIGHT


def compare(bundle: Bundle, inputs: Inputs) -> Iterator[Row]:
    """Yield a row for each engine that is installed and whose format is there; the first is onnxruntime.

    Args:
        bundle: With `fp32-onnx` and, for engines that read it, `fp32-tflite`.
        inputs: A batch, prepared as the contract says.

    Raises:
        ArtifactNotFoundError: the bundle has no `fp32-onnx`.
        ModelError: onnxruntime gives no answers.
    """
    files = {"onnx": bundle.path / bundle.artifact("fp32-onnx").file.file}
    floats = bundle.contract.input.dtype == "float32"
    if not floats and any(a.name == "fp32-tflite" for a in bundle.manifest.artifacts):
        files["tflite"] = bundle.path / bundle.artifact("fp32-tflite").file.file
    expected: Answers | None = None
    for number, engine in enumerate(ENGINES):
        if engine.format not in files or not engine.installed or engine.floats > floats:
            continue
        found = _ask(number, files[engine.format], inputs)
        if expected is None:
            if isinstance(found, str):
                raise ModelError(f"{engine.name} gives no answers", found=found)
            expected = found
        yield _row(engine, expected, found)


def _row(engine: Engine, expected: Answers, found: Answers | str) -> Row:
    if not isinstance(found, str) and found.shape != expected.shape:
        found = f"answers of shape {found.shape}, not {expected.shape}"
    if isinstance(found, str):
        return Row(engine.name, engine.version, engine.format, len(expected), 0, 0.0, found)
    same = int((found.argmax(1) == expected.argmax(1)).sum())
    difference = float(np.abs(found - expected).max())
    return Row(engine.name, engine.version, engine.format, len(expected), same, difference)


def _ask(number: int, model: Path, inputs: Inputs) -> Answers | str:
    """Have an engine answer in a process of its own, which may crash; a text says why it did not."""
    with tempfile.TemporaryDirectory() as folder:
        taken, given = Path(folder) / "inputs.npy", Path(folder) / "answers.npy"
        np.save(taken, inputs)
        command = [sys.executable, "-m", _PROGRAM, str(number), str(model.resolve()), str(taken), str(given)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False, timeout=_LIMIT_S
            )
        except subprocess.TimeoutExpired:
            return f"no answer after {_LIMIT_S:.0f} s"
        if done.returncode < 0:
            return f"its process died of signal {-done.returncode}"
        if done.returncode or not given.is_file():
            return (done.stderr.strip().splitlines() or ["it said nothing"])[-1][:200]
        answers: Answers = np.load(given)
        return answers


def to_markdown(rows: Sequence[Row]) -> str:
    """Return the table."""
    lines = [
        "| file | engine | first label as onnxruntime's | largest difference of a logit |",
        "|---|---|---|---|",
    ]
    for r in rows:
        told = f"{r.same} of {r.inputs} | {r.difference:.1g}" if not r.failed else f"none: {r.failed} |"
        lines.append(f"| `fp32-{r.format}` | {r.engine} {r.version} | {told} |")
    return "\n".join(lines) + "\n"
