"""Frames from a camera, an address or files; always the newest one, and word of how the source is doing."""

from ecovision_edge.camera.health import Health, HealthState
from ecovision_edge.camera.source import CapturedFrame, FrameSource, FrameStream, Image

__all__ = ["CapturedFrame", "FrameSource", "FrameStream", "Health", "HealthState", "Image"]
