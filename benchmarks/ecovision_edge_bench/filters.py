"""How close each resize filter comes to PIL's, and what it costs; a developers' tool.

    python -m ecovision_edge_bench.filters --images DIR [--model BUNDLE_OR_ONNX] [--markdown] [--json FILE]

The network was trained on pictures that PIL resized (antialiased bilinear), so PIL's result is the reference:
for each size of frame and each filter the table gives the difference in pixels (levels of 255), in
probabilities and in top-1, and the time as a ratio to PIL's in the same run. `enlarged` makes the frames.

**Times** are of the resize alone, in seconds of the processor, so that other programs do not count. One
thread in OpenCV, all filters on the same frame in an order shuffled again for each; PIL's excludes the
conversion from numpy, which a program would have to pay as well. Set `OPENBLAS_NUM_THREADS=1` to hold `pil`
to one thread too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.bundle.contract import (
    METADATA_KEY,
    Contract,
    InputSpec,
    Normalization,
    ResizeSpec,
    WeightsSource,
)
from ecovision_edge.errors import (
    ArtifactNotFoundError,
    EcovisionError,
    MissingDependencyError,
    ModelError,
    OptionError,
)
from ecovision_edge.photographs.images import read_image
from ecovision_edge.preprocess import Preprocessor, resize
from ecovision_edge.preprocess.antialias import antialiased_resize
from ecovision_edge.preprocess.geometry import Geometry
from ecovision_edge.preprocess.native import find_native
from ecovision_edge_bench.enlarged import SEED, TILES, Image, camera_frame, photographs, tiles_of

__all__ = ["Model", "Row", "main", "measure", "to_markdown"]

Resizer: TypeAlias = Callable[[Image], Image]

REFERENCE = "PIL"
BY_NUMPY = "pil by numpy"  # a row of its own where `pil` is the native library's
SIZES = ((256, 256), (512, 384), (640, 480), (800, 600), (1280, 720), (1280, 960), (1920, 1080), (2000, 1500))


@dataclass(frozen=True, slots=True)
class Row:
    """One filter at one size of frame, against PIL.

    Attributes:
        width: Of the frame, pixels.
        height: Of the frame, pixels.
        filter: `PIL`, `pil`, `fast`, `INTER_LINEAR`, `INTER_AREA`; `pil by numpy` where `pil` is native.
        photographs: How many were measured.
        mean_difference: Mean absolute difference of the pixels, levels of 255.
        max_difference: Largest of all, levels of 255.
        probability_difference: Mean over photographs of the largest difference of a probability;
            None: no model.
        flips: Photographs whose top-1 differs; None: no model.
        time_ratio: Median time / PIL's median time.
        median_ms: Median time on this machine, milliseconds.
        min_ms: Least time on this machine, milliseconds.
        times_ms: Every time measured, milliseconds.
    """

    width: int
    height: int
    filter: str
    photographs: int
    mean_difference: float
    max_difference: int
    probability_difference: float | None
    flips: int | None
    time_ratio: float
    median_ms: float
    min_ms: float
    times_ms: list[float] = field(repr=False)


class Model:
    """Any ONNX classifier with one of the two inputs that a contract may name.

    Args:
        path: An ONNX file, or a bundle: a folder in which `model.fp32.onnx`, else the first `*.onnx`,
            is taken.

    Raises:
        ArtifactNotFoundError: No such file.
        ModelError: onnxruntime cannot open it, or its input is neither `(n, h, w, 3) uint8` nor
            `(n, 3, h, w) float32`.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        file = _model_file(path)
        try:
            self._session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions have no common base but this
            raise ModelError(f"cannot open {file}", found=str(error)[:200]) from error
        given = self._session.get_inputs()[0]
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        self.contract = Contract.loads(text) if text else _assumed_contract(given.type, given.shape, file)
        self._name = given.name
        self._batches = not isinstance(given.shape[0], int)
        self._preprocessor = Preprocessor(self.contract)

    def probabilities(self, images: Sequence[Image]) -> npt.NDArray[np.float64]:
        """Classify pictures that already have the network's size.

        Args:
            images: `(height, width, 3) uint8 BGR` each.

        Returns:
            `(len(images), classes) float64`, each row with the sum 1.
        """
        batch = self._preprocessor.prepare_batch(list(images))
        parts = [batch] if self._batches else [batch[i : i + 1] for i in range(len(batch))]
        outputs = np.concatenate([self._session.run(None, {self._name: part})[0] for part in parts])
        values = outputs.astype(np.float64)
        if self.contract.output.kind == "probabilities":
            return values
        exponents = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def measure(
    paths: Sequence[Path], sizes: Sequence[tuple[int, int]], model: Model | None = None
) -> Iterator[Row]:
    """Measure every filter at each size `(width, height)`; PIL's own row comes first in each.

    Raises:
        MissingDependencyError: Pillow is not installed.
        ImageReadError: A photograph cannot be decoded.
    """
    spec = InputSpec() if model is None else model.contract.input
    filters = _filters(spec.height, spec.width)
    tiles = tiles_of(paths[:TILES])
    for width, height in sizes:
        rng = np.random.default_rng(SEED)
        tally = {name: _Tally() for name in filters}
        for path in paths:
            frame = camera_frame(read_image(path), width, height, tiles, rng)
            pictures = _run(filters, frame, tally, rng)
            answers = None if model is None else model.probabilities(list(pictures.values()))
            _compare(pictures, answers, tally)
        base = statistics.median(tally[REFERENCE].times_ms)
        for name, seen in tally.items():
            yield seen.row(width, height, name, base)


def to_markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a markdown table."""
    lines = [
        "| frame | filter | pixels: mean | max | probability | top-1 flips | time / PIL | this machine |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        probability = "" if r.probability_difference is None else f"{r.probability_difference:.4f}"
        flips = "" if r.flips is None else f"{r.flips} of {r.photographs}"
        lines.append(
            f"| {r.width}x{r.height} | {r.filter} | {r.mean_difference:.2f} | {r.max_difference} "
            f"| {probability} | {flips} | {r.time_ratio:.2f} | {r.median_ms:.2f} ms |"
        )
    return "\n".join(lines)


@dataclass(slots=True)
class _Tally:
    """What was seen of one filter at one size."""

    times_ms: list[float] = field(default_factory=list)
    means: list[float] = field(default_factory=list)
    largest: int = 0
    probability: list[float] = field(default_factory=list)
    flips: int = 0

    def row(self, width: int, height: int, name: str, base_ms: float) -> Row:
        median = statistics.median(self.times_ms)
        return Row(
            width=width,
            height=height,
            filter=name,
            photographs=len(self.means),
            mean_difference=statistics.fmean(self.means),
            max_difference=self.largest,
            probability_difference=statistics.fmean(self.probability) if self.probability else None,
            flips=self.flips if self.probability else None,
            time_ratio=median / base_ms,
            median_ms=median,
            min_ms=min(self.times_ms),
            times_ms=self.times_ms,
        )


def _filters(height: int, width: int) -> dict[str, Resizer]:
    """List each filter under its name; first the reference, which takes and gives PIL images."""
    spec = ResizeSpec()

    def opencv(interpolation: int) -> Resizer:
        return lambda frame: np.asarray(
            cv2.resize(frame, (width, height), interpolation=interpolation), np.uint8
        )

    def pillow(frame: Image) -> Image:
        module = _pillow()
        picture = module.fromarray(frame)
        return np.asarray(picture.resize((width, height), module.Resampling.BILINEAR))

    def by_numpy(frame: Image) -> Image:
        out = np.empty((height, width, 3), np.uint8)
        antialiased_resize(frame, Geometry.of(spec, frame.shape[0], frame.shape[1], height, width), out)
        return out

    found: dict[str, Resizer] = {
        REFERENCE: pillow,
        "pil": lambda frame: resize(frame, spec, height, width, "pil"),
        "fast": lambda frame: resize(frame, spec, height, width, "fast"),
        "INTER_LINEAR": opencv(cv2.INTER_LINEAR),
        "INTER_AREA": opencv(cv2.INTER_AREA),
    }
    return {**found, BY_NUMPY: by_numpy} if find_native() else found


def _run(
    filters: dict[str, Resizer], frame: Image, tally: dict[str, _Tally], rng: np.random.Generator
) -> dict[str, Image]:
    """Resize a frame by every filter in shuffled order, timed; the results are in the filters' order."""
    names = list(filters)
    if not tally[REFERENCE].times_ms:
        for name in names:  # the first run fills caches and weights, so it is not timed
            filters[name](frame)
    results: dict[str, Image] = {}
    for name in rng.permutation(names):
        started = time.thread_time()
        results[str(name)] = filters[str(name)](frame)
        tally[str(name)].times_ms.append((time.thread_time() - started) * 1e3)
    return {name: results[name] for name in names}


def _compare(
    pictures: dict[str, Image], answers: npt.NDArray[np.float64] | None, tally: dict[str, _Tally]
) -> None:
    reference = pictures[REFERENCE]
    for i, (name, picture) in enumerate(pictures.items()):
        seen = tally[name]
        difference = cv2.absdiff(picture, reference)
        seen.means.append(float(difference.mean()))
        seen.largest = max(seen.largest, int(difference.max()))
        if answers is not None:
            seen.probability.append(float(np.abs(answers[i] - answers[0]).max()))
            seen.flips += int(answers[i].argmax() != answers[0].argmax())


def _pillow() -> ModuleType:
    try:
        import PIL.Image
    except ImportError as error:
        from ecovision_edge.base.installation import extra_fix

        raise MissingDependencyError("Pillow is not installed", fix=extra_fix("bench")) from error
    return PIL.Image


def _model_file(path: Path) -> Path:
    if path.is_file():
        return path
    candidates = [path / "model.fp32.onnx", *sorted(path.glob("*.onnx"))] if path.is_dir() else []
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ArtifactNotFoundError("no model", expected="an ONNX file, or a bundle that holds one", found=path)


def _assumed_contract(kind: str, shape: Sequence[object], file: Path) -> Contract:
    """For a model without a contract: its input's type and shape, and ImageNet's normalization."""
    weights = WeightsSource("unknown", file.name, "0" * 64)
    sides = {"tensor(uint8)": slice(1, 3), "tensor(float)": slice(2, 4)}.get(kind)
    found = [side for side in shape[sides] if isinstance(side, int)] if sides and len(shape) == 4 else []
    if len(found) != 2:
        raise ModelError(
            f"input of {file.name}",
            expected="(n, height, width, 3) uint8 or (n, 3, height, width) float32 with fixed sides",
            found=f"{kind} {list(shape)}",
        )
    height, width = found
    if kind == "tensor(uint8)":
        return Contract(("a", "b"), weights, InputSpec(height=height, width=width))
    spec = InputSpec(layout="NCHW", dtype="float32", color="RGB", height=height, width=width)
    return Contract(("a", "b"), weights, spec, normalization=Normalization(in_graph=False))


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (
        width.isdecimal() and height.isdecimal() and 1 <= int(width) <= 8192 and 1 <= int(height) <= 8192
    ):
        raise OptionError("--size", expected="WIDTHxHEIGHT, sides from 1 to 8192", found=text)
    return int(width), int(height)


def _machine() -> dict[str, object]:
    """Return what a reader has to know about the machine to judge the times."""
    return {
        "machine": platform.machine(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "native": native.kernel if (native := find_native()) else None,
        "pillow": _pillow().__version__,
        "opencv_threads": cv2.getNumThreads(),
        "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS"),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ecovision_edge_bench.filters",
        description="How close each resize filter comes to PIL's, and what it costs.",
    )
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of photographs")
    parser.add_argument("--model", type=Path, metavar="PATH", help="ONNX file or bundle, for probabilities")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--markdown", action="store_true", help="print the table and nothing else")
    parser.add_argument("--limit", type=int, default=200, metavar="N", help="photographs (default 200)")
    parser.add_argument(
        "--size", action="append", metavar="WxH", help="size of frame; again for more (default: eight sizes)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the measurement; the exit status: 0, or what the error says."""
    options = _parser().parse_args(argv)
    try:
        return _report(options)
    except EcovisionError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status


def _report(options: argparse.Namespace) -> int:
    if options.limit < 1:
        raise OptionError("--limit", expected="at least 1", found=options.limit)
    _pillow()
    sizes = [_size(text) for text in options.size] if options.size else list(SIZES)
    paths = photographs(options.images, options.limit)
    model = Model(options.model) if options.model else None
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        machine = _machine()
        rows = list(measure(paths, sizes, model))
    finally:
        cv2.setNumThreads(threads)
    if options.json:
        document = {"seed": SEED, "machine": machine, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if not options.markdown:
        facts = ", ".join(f"{key} {value}" for key, value in machine.items())
        sys.stdout.write(f"{len(paths)} photographs of {options.images}; {facts}\n\n")
    sys.stdout.write(to_markdown(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
