"""Frames from a camera, an address or files; always the newest one, and word of how the source is doing."""

from ecovision_edge.camera.fake import FakeCamera
from ecovision_edge.camera.health import Health, HealthState
from ecovision_edge.camera.latest import LatestFrame
from ecovision_edge.camera.open import open_source
from ecovision_edge.camera.source import CapturedFrame, FrameSource, FrameStream, Image, PictureStream
from ecovision_edge.camera.watch import WatchOptions
from ecovision_edge.photographs.jpeg_picture import JpegPicture

__all__ = [
    "CapturedFrame",
    "FakeCamera",
    "FrameSource",
    "FrameStream",
    "Health",
    "HealthState",
    "Image",
    "JpegPicture",
    "LatestFrame",
    "PictureStream",
    "WatchOptions",
    "open_source",
]
