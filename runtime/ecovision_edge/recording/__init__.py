"""Keeping frames with what was said of them, in folders that do not grow without end, and replaying them."""

from ecovision_edge.recording.folder import FrameFolder, Outcome
from ecovision_edge.recording.options import RecordOptions, RecordStats
from ecovision_edge.recording.recorder import HardRecorder, Recorder
from ecovision_edge.recording.replay import (
    Difference,
    RecordedFrame,
    ReplayReport,
    Said,
    compare,
    read_recording,
)
from ecovision_edge.recording.sidecar import RecordedResult

__all__ = [
    "Difference",
    "FrameFolder",
    "HardRecorder",
    "Outcome",
    "RecordOptions",
    "RecordStats",
    "RecordedFrame",
    "RecordedResult",
    "Recorder",
    "ReplayReport",
    "Said",
    "compare",
    "read_recording",
]
