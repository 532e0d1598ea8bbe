"""How much it changes to decode a JPEG smaller, and what it saves; a developers' tool.

    python -m ecovision_edge_bench.reduced --images DIR [--bundle PATH] [--limit N] [--size WxH:Q]

Each photograph becomes a camera's frame, as of `ecovision_edge_bench.enlarged`, and a JPEG of the quality Q.
It is decoded whole and 2, 4 and 8 times smaller; the contract's filter does the rest. A line says how many
answers differ from those of the whole picture and by how much logits do, and the time of CPU from the bytes
to the network's input as a ratio to the whole picture's in the same run. The first line of each size is the
whole picture with one level more or less in two of five values of the network's input: that says what a
difference means. `chosen` is what the contract allows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.classifier import Classifier
from ecovision_edge.errors import EcovisionError, OptionError
from ecovision_edge.photographs.images import decode_image, read_image
from ecovision_edge_bench.enlarged import TILES, camera_frame, photographs, tiles_of

__all__ = ["Row", "main", "measure", "to_markdown"]

SIZES = "1920x1080:93,1920x1080:75,1280x720:90,800x600:90,640x480:90,600x450:90"
TIMES = (2, 4, 8)
SEED = 20261130  # any number; it fixes mosaics and noise

_Input = npt.NDArray[np.uint8 | np.float32]


@dataclass(frozen=True, slots=True)
class Row:
    """One size of frame, decoded so many times smaller; `by` 1 is the whole picture with noise.

    `left` is the shrink that the filter still does; `logits_max` and `logits_p50` are of the largest
    difference of a picture's logits; `time_ratio` is of medians.
    """

    width: int
    height: int
    quality: int
    by: int
    left: float
    chosen: bool
    photographs: int
    flips: int
    logits_max: float
    logits_p50: float
    time_ratio: float


def measure(
    classifier: Classifier, paths: Sequence[Path], sizes: Sequence[tuple[int, int, int]]
) -> Iterator[Row]:
    """Measure each size; raises ImageReadError."""
    tiles = tiles_of(paths[:TILES])
    for width, height, quality in sizes:
        rng = np.random.default_rng(SEED)
        yield from _measure(classifier, paths, (width, height, quality), tiles, rng)


def _measure(
    classifier: Classifier,
    paths: Sequence[Path],
    size: tuple[int, int, int],
    tiles: Sequence[npt.NDArray[np.uint8]],
    rng: np.random.Generator,
) -> Iterator[Row]:
    width, height, quality = size
    needed = classifier.contract.input
    left = min(height / needed.height, width / needed.width)
    ways = [by for by in TIMES if left / by >= 0.99]
    differences: dict[int, list[float]] = {by: [] for by in (1, *ways)}
    times: dict[int, list[float]] = {by: [] for by in (1, *ways)}
    flips = dict.fromkeys((1, *ways), 0)
    for path in paths:
        frame = camera_frame(read_image(path), width, height, tiles, rng)
        data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        inputs: dict[int, _Input] = {}
        for by in rng.permutation([1, *ways]).tolist():
            inputs[by] = _timed(classifier, data, by, times[by])
        whole = classifier.run(inputs[1])[0]
        inputs[1] = _noisy(inputs[1], rng)
        for by, given in inputs.items():
            logits = classifier.run(given)[0]
            differences[by].append(float(np.abs(logits - whole).max()))
            flips[by] += int(logits.argmax() != whole.argmax())
    for by, found in differences.items():
        ratio = statistics.median(times[by]) / statistics.median(times[1])
        chosen = by == classifier.reduction(height, width)
        middle = statistics.median(found)
        yield Row(
            width, height, quality, by, left / by, chosen, len(found), flips[by], max(found), middle, ratio
        )


def _timed(classifier: Classifier, data: bytes, by: int, times: list[float]) -> _Input:
    """Decode and prepare, and add the seconds of this thread's CPU."""
    began = time.thread_time()
    prepared = classifier.prepare(decode_image(data, "a frame", lambda height, width: by))
    times.append(time.thread_time() - began)
    return prepared


def _noisy(given: _Input, rng: np.random.Generator) -> _Input:
    """Return an input with one level more or less in two of five values; as it is, where it is no uint8."""
    if given.dtype != np.uint8:
        return given
    noise = rng.choice(np.array([-1, 0, 0, 0, 1], np.int16), given.shape)
    return np.asarray(np.clip(given.astype(np.int16) + noise, 0, 255), np.uint8)


def to_markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a markdown table."""
    lines = [
        "| frame | quality | decoded | shrink left | flips | logits, max | p50 | time |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        way = "whole, noise" if r.by == 1 else f"1/{r.by}{', chosen' if r.chosen else ''}"
        way += ", chosen" if r.by == 1 and r.chosen else ""
        lines.append(
            f"| {r.width}x{r.height} | {r.quality} | {way} | {r.left:.2f} | {r.flips} of {r.photographs} "
            f"| {r.logits_max:.3f} | {r.logits_p50:.3f} | {r.time_ratio:.2f} |"
        )
    return "\n".join(lines)


def _sizes(text: str) -> list[tuple[int, int, int]]:
    sizes = []
    for part in text.split(","):
        size, _, quality = part.partition(":")
        width, _, height = size.partition("x")
        numbers = [width, height, quality or "93"]
        if not all(n.isdecimal() and 1 <= int(n) <= 8192 for n in numbers) or not 1 <= int(numbers[2]) <= 100:
            raise OptionError("--size", expected="WIDTHxHEIGHT:QUALITY, with commas between", found=text)
        sizes.append((int(width), int(height), int(numbers[2])))
    return sizes


def main(argv: Sequence[str] | None = None) -> int:
    """Run the measurement; the exit status: 0, or what the error says."""
    parser = argparse.ArgumentParser(
        prog="python -m ecovision_edge_bench.reduced",
        description="How much it changes to decode a JPEG smaller, and what it saves.",
    )
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of photographs")
    parser.add_argument("--bundle", metavar="PATH", help="bundle or model file (default: the reference)")
    parser.add_argument("--artifact", default="auto", metavar="NAME", help="of the bundle (default: auto)")
    parser.add_argument("--limit", type=int, default=202, metavar="N", help="photographs (default 202)")
    parser.add_argument("--size", default=SIZES, metavar="WxH:Q", help=f"sizes and qualities ({SIZES})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    options = parser.parse_args(argv)
    threads = cv2.getNumThreads()
    try:
        if options.limit < 1:
            raise OptionError("--limit", expected="at least 1", found=options.limit)
        sizes = _sizes(options.size)
        paths = photographs(options.images, options.limit)
        classifier = Classifier.load(options.bundle, artifact=options.artifact, threads=1)
        cv2.setNumThreads(1)
        rows = list(measure(classifier, paths, sizes))
    except EcovisionError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    finally:
        cv2.setNumThreads(threads)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(to_markdown(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
