"""What preparing costs by what a frame comes as: pixels, or a JPEG, decoded whole or as small as will do."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import cv2
import numpy as np

from ecovision_edge.photographs.images import decode_image

if TYPE_CHECKING:
    from ecovision_edge_bench.subjects import Frame

__all__ = ["ROUNDS", "SOURCES", "PreparesJpeg", "measure_sources"]

SOURCES = ("raw", "jpeg", "reduced")
"""Pixels; a JPEG decoded whole; one decoded as small as the contract allows."""

QUALITY = 93  # as rpicam:// asks for
ROUNDS = 24
_SEED = 20261130  # any number; it fixes the order


@runtime_checkable
class PreparesJpeg(Protocol):
    """A subject that knows how small a JPEG may be decoded for it."""

    def prepare(self, frame: Frame) -> object:
        """Frame to network input."""

    def reduction(self, height: int, width: int) -> int:
        """Return how many times smaller a picture of that size may be decoded."""


def measure_sources(
    subject: PreparesJpeg,
    frames: Sequence[Frame],
    rounds: int = ROUNDS,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Prepare the same frames as each of `SOURCES`, in shuffled turns.

    Args:
        subject: Prepares.
        frames: `(height, width, 3) uint8 BGR` each, taken in turn.
        rounds: Number of times; the first one, of cold caches, is not among them.
        clock: Seconds.

    Returns:
        Milliseconds by source, one per round: decoding, if any, and preparing.
    """
    encoded = [
        cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes() for frame in frames
    ]
    ways: dict[str, Callable[[int], object]] = {
        "raw": lambda n: subject.prepare(np.asarray(frames[n])),
        "jpeg": lambda n: subject.prepare(decode_image(encoded[n], "a frame")),
        "reduced": lambda n: subject.prepare(decode_image(encoded[n], "a frame", subject.reduction)),
    }
    order = random.Random(_SEED)  # noqa: S311 - no secret
    found: dict[str, list[float]] = {source: [] for source in SOURCES}
    for number in range(rounds + 1):
        for source in order.sample(SOURCES, len(SOURCES)):
            began = clock()
            ways[source](number % len(frames))
            if number:
                found[source].append((clock() - began) * 1e3)
    return found
