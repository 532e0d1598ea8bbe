"""Have the models of other engines made, each step in a process of its own (`make_peer_model`).

So a converter may print, crash or take gigabytes, and the parent has a typed error or a finished file. A
model is named for what it was made from: weights, input size, versions of the converters and, of int8, the
calibration frames. One that is there already was made from the same, and is not made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecovision_edge.base.reasons import reason_of
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import DatasetError, ExportError
from ecovision_edge_bench.subjects import Frame
from ecovision_edge_bench.subjects._tutorial import TutorialPreprocessing

if TYPE_CHECKING:
    from ecovision_edge_bench.subjects.peers import Workbench

__all__ = ["Made", "make_model"]

CALIBRATION, HOW, STATE = "calibration.npy", "how.txt", "state.safetensors"
"""Files that a step finds or leaves in its folder, beside `model` and a suffix."""

_LIMIT_S = 1800.0  # the slowest takes half a minute on two x86 cores
_PROGRAM = "ecovision_edge_bench.subjects.make_peer_model"
_REVISION = 1  # of the steps; to be raised with a change of them, so that models are made again


@dataclass(frozen=True, slots=True)
class Made:
    """A model file (of several, the one to open), and one line on how it was made."""

    path: Path
    how: str


@dataclass(frozen=True, slots=True)
class _Step:
    """What a step of `make_peer_model` starts from, leaves, and depends on.

    Args:
        suffixes: Of the files that it leaves; the first is the one to open.
        made_by: Distributions, whose version is part of how.
        source: The step whose model it starts from; None is the checkpoint.
        calibrated: Whether it wants calibration frames.
    """

    suffixes: tuple[str, ...]
    made_by: tuple[str, ...]
    source: str | None = None
    calibrated: bool = False


_STEPS = {
    "onnx": _Step((".onnx",), ("torch", "onnxscript")),
    "onnxruntime-int8": _Step((".onnx",), ("onnxruntime",), "onnx", calibrated=True),
    "litert": _Step((".tflite",), ("litert-torch",)),
    "litert-int8": _Step((".tflite",), ("ai-edge-quantizer",), "litert", calibrated=True),
    "openvino": _Step((".xml", ".bin"), ("openvino",), "onnx"),
    "openvino-int8": _Step((".xml", ".bin"), ("nncf",), "openvino", calibrated=True),
    "ncnn": _Step((".param", ".bin"), ("pnnx",)),
    "mnn": _Step((".mnn",), ("MNN",), "onnx"),
    "executorch": _Step((".pte",), ("torch", "executorch")),
    "executorch-int8": _Step((".pte",), ("torch", "executorch", "torchao"), calibrated=True),
}


def make_model(bench: Workbench, name: str) -> Made:
    """Return the model of a step in `bench.folder`, made now where it is not there.

    Raises:
        DatasetError: the step wants calibration frames, and there are none.
        ExportError: the converter failed, with the last line of what it said; or the folder cannot be
            written.
    """
    step = _STEPS[name]
    if step.calibrated and not bench.calibration:
        raise DatasetError(f"calibration of {name}", expected="at least one frame", found="none")
    source = None if step.source is None else make_model(bench, step.source)
    stem = _stem(bench, name, step, source)
    target = bench.folder / f"{stem}{step.suffixes[0]}"
    note = bench.folder / f"{stem}.txt"
    try:
        if not (note.is_file() and all((bench.folder / f"{stem}{s}").is_file() for s in step.suffixes)):
            bench.folder.mkdir(parents=True, exist_ok=True)
            _make(bench, name, step, source, bench.folder / stem)
        return Made(target, note.read_text("utf-8").strip())
    except OSError as e:
        raise ExportError(
            f"cannot write {name} to {bench.folder}", found=reason_of(e), fix="choose another folder"
        ) from e


def _stem(bench: Workbench, name: str, step: _Step, source: Made | None) -> str:
    """`STEP-WEIGHTS-RECIPE[-CALIBRATION]`, all but the first beginnings of a sha256."""
    size = bench.contract.input
    parts = [
        str(_REVISION),
        name,
        f"{size.height}x{size.width}",
        *_versions(step),
        source.path.name if source else "",
    ]
    recipe = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    stem = f"{name}-{bench.checkpoint.source.sha256[:12]}-{recipe[:8]}"
    if step.calibrated:
        stem += f"-{_calibration_digest(bench.calibration, bench.contract)[:12]}"
    return stem


def _versions(step: _Step) -> list[str]:
    return [f"{d} {importlib.metadata.version(d)}" for d in step.made_by]


def _calibration_digest(frames: Sequence[Frame], contract: Contract) -> str:
    """Over all that decides what the converter sees: pixels, geometry, mean and std."""
    digest = hashlib.sha256(repr((contract.resize.shortest, contract.normalization)).encode())
    for frame in frames:
        digest.update(repr(frame.shape).encode())
        digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()


def _make(bench: Workbench, name: str, step: _Step, source: Made | None, target: Path) -> None:
    """Run a step in a folder of its own, then put what it left in place; the file to open comes last."""
    size = bench.contract.input
    with tempfile.TemporaryDirectory(prefix=".making-", dir=bench.folder) as temporary:
        folder = Path(temporary)
        if source is None:
            _save_state(bench, folder / STATE)
        if step.calibrated:
            _save_calibration(bench, folder / CALIBRATION)
        start = folder / STATE if source is None else source.path.resolve()
        said = _run(name, [name, str(folder), str(start), str(size.height), str(size.width)])
        left = [folder / f"model{suffix}" for suffix in step.suffixes]
        missing = [path.name for path in left if not path.is_file() or path.stat().st_size == 0]
        if missing:
            # A converter may fail and not say so by its status.
            raise ExportError(f"making {name} failed", found=f"no {', '.join(missing)}; it said: {said}")
        how = [(folder / HOW).read_text("utf-8").strip(), *_versions(step)]
        if step.calibrated:
            how.append(f"{len(bench.calibration)} frames")
        if source is not None:
            how.insert(0, source.how)
        (folder / HOW).write_text(", ".join(how), "utf-8")
        for path in (*reversed(left), folder / HOW):
            suffix = ".txt" if path.name == HOW else path.suffix
            path.replace(target.with_name(target.name + suffix))


def _run(name: str, arguments: list[str]) -> str:
    """Run `make_peer_model`; returns the last line that it printed, for the message of a failure."""
    try:
        ran = subprocess.run(
            [sys.executable, "-m", _PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        raise ExportError(f"making {name}", expected=f"an end within {_LIMIT_S:g} s", found="none") from e
    lines = [x.strip() for x in ran.stdout.decode(errors="replace").splitlines() if x.strip()]
    said = (lines or ["nothing"])[-1][:400]
    status = ran.returncode
    if status == 0:
        return said
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    raise ExportError(f"making {name} failed", found=f"{how}; it said: {said}")


def _save_state(bench: Workbench, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({k: v.contiguous() for k, v in bench.checkpoint.state.items()}, path)


def _save_calibration(bench: Workbench, path: Path) -> None:
    """The frames as network inputs, `(n, 3, height, width)` float32, one at a time: memory does not grow."""
    size = bench.contract.input
    prepare = TutorialPreprocessing(bench.contract).prepare
    batch = np.lib.format.open_memmap(
        path, "w+", np.float32, (len(bench.calibration), 3, size.height, size.width)
    )
    with contextlib.closing(batch._mmap):  # type: ignore[attr-defined]  # else the file stays open
        for i, frame in enumerate(bench.calibration):
            batch[i] = prepare(frame)[0]
        batch.flush()
