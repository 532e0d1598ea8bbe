"""GStreamer pipelines of cameras, as text for OpenCV. Pure: nothing is opened here.

Sources: libcamera's `libcamerasrc` (README of libcamera, "Using GStreamer plugin"), NVIDIA's Accelerated
GStreamer User Guide (`nvarguscamerasrc`, `nvvidconv`), OpenCV's CAP_GSTREAMER, which reads from an appsink.
"""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["APPSINK", "argus", "completed", "elements", "first_element", "libcamera"]

APPSINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
"""Frames as OpenCV wants them, of which only the newest is kept: a live source serves no old ones."""

_ENDS_IN_APPSINK = re.compile(r"(?:^|!)\s*appsink\b[^!]*$")


def libcamera(
    camera_name: str = "", *, width: int | None = None, height: int | None = None, fps: float | None = None
) -> str:
    """Return a pipeline for a camera of libcamera: on a Raspberry Pi the one on the CSI connector.

    Args:
        camera_name: Name in the list of `cam -l`; empty is the first.
        width: Pixels; None leaves it to libcamera.
        height: Pixels; None likewise.
        fps: Frames a second; None likewise.
    """
    camera = f" camera-name={_quoted(camera_name)}" if camera_name else ""
    # NV12: every Pi's image processor gives it. Left open, a raw Bayer format may be agreed on.
    caps = _caps("video/x-raw,format=NV12", width, height, fps)
    return f"libcamerasrc{camera} ! {caps} ! {APPSINK}"


def argus(
    sensor: int = 0,
    *,
    width: int | None = None,
    height: int | None = None,
    fps: float | None = None,
    flip_method: int = 0,
) -> str:
    """Return a pipeline for a CSI camera of an NVIDIA Jetson.

    Args:
        sensor: Its number, from 0.
        width: Pixels; None leaves it to the camera.
        height: Pixels; None likewise.
        fps: Frames a second; None likewise.
        flip_method: Flip method of `nvvidconv`, 0 to 7: 0 none, 2 is half a turn.
    """
    caps = _caps("video/x-raw(memory:NVMM),format=NV12", width, height, fps)
    convert = f"nvvidconv flip-method={flip_method} ! video/x-raw,format=BGRx"
    return f"nvarguscamerasrc sensor-id={sensor} ! {caps} ! {convert} ! {APPSINK}"


def completed(pipeline: str) -> str:
    """Return the pipeline with an appsink at its end, if it has none."""
    pipeline = pipeline.strip()
    if _ENDS_IN_APPSINK.search(pipeline):
        return pipeline
    return f"{pipeline.rstrip('! ')} ! {APPSINK}"


def elements(pipeline: str) -> list[str]:
    """List its elements, as far as they begin a link: caps, pads and what is in quotes do not count."""
    plain = re.sub(r'"(?:\\.|[^"\\])*"', '""', pipeline)
    return list(dict.fromkeys(re.findall(r"(?:^|!)\s*([A-Za-z][\w-]*)(?=\s|!|$)", plain)))


def first_element(pipeline: str) -> str:
    """Return its first word, for a name: what follows may hold an address with a password."""
    match = re.match(r"\s*([A-Za-z][\w-]*)", pipeline)
    return match[1] if match else "pipeline"


def _caps(kind: str, width: int | None, height: int | None, fps: float | None) -> str:
    parts = [kind]
    if width is not None:
        parts.append(f"width={width}")
    if height is not None:
        parts.append(f"height={height}")
    if fps is not None:
        parts.append(f"framerate={_rate(fps)}")
    return ",".join(parts)


def _rate(fps: float) -> str:
    """Write a rate as a fraction; 29.97 and its like as television has them, 30000/1001."""
    whole = round(fps * 1.001)
    if not float(fps).is_integer() and abs(fps * 1.001 - whole) < 0.001:
        return f"{whole * 1000}/1001"
    rate = Fraction(fps).limit_denominator(1000)
    return f"{rate.numerator}/{rate.denominator}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
