"""Camera and classifier together: the loop, what it gives, and what it says at its end."""

from ecovision_edge.loop.camera_loop import CameraLoop
from ecovision_edge.loop.options import LoopOptions
from ecovision_edge.loop.result import LoopResult
from ecovision_edge.loop.summary import LoopSummary, StageTimes

__all__ = ["CameraLoop", "LoopOptions", "LoopResult", "LoopSummary", "StageTimes"]
