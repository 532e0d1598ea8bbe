"""Results of a loop for the tests of recordings, without a network; few imports, for short processes."""

from __future__ import annotations

import numpy as np

from ecovision_edge.camera.source import CapturedFrame
from ecovision_edge.loop.result import LoopResult
from ecovision_edge.prediction import Prediction, Timings
from ecovision_edge.recording import RecordOptions


def noise(seed, width=16, height=12):
    """A frame of noise: its size as a PNG is that of its pixels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def result(index=0, image=None, score=0.75, label="paper", time=1795638611.123, captured_at=None):
    """What the loop gives."""
    second = (1 - score) * 0.75
    prediction = Prediction(
        label, 1, score, abs(score - second), (1 - score - second, score, second), Timings(1.5, 2.5, 0.1)
    )
    frame = CapturedFrame(
        noise(index) if image is None else image, index, 100.0 + index if captured_at is None else captured_at
    )
    return LoopResult(index, frame, prediction, ("glass", label, "shoes"), 4.5, 0, time)


def options(**changes):
    """Of a disk on which there is room."""
    return RecordOptions(**{"min_free_bytes": 0, **changes})
