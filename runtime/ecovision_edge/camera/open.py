"""`open_source`: from what a user writes to a source of frames."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from ecovision_edge.base.addresses import FOREIGN_PREFIX, Options, split_foreign, split_options, split_pairs
from ecovision_edge.base.files import is_folder, is_there
from ecovision_edge.base.names import closest
from ecovision_edge.camera import pipelines
from ecovision_edge.camera.files import VIDEO_SUFFIXES, images_source, is_glob, video_source
from ecovision_edge.camera.http import http_source
from ecovision_edge.camera.network import network_source
from ecovision_edge.camera.opencv import GStreamerSource, require_gstreamer, take_size
from ecovision_edge.camera.picamera import picamera_source
from ecovision_edge.camera.rpicam import rpicam_source
from ecovision_edge.camera.scene import demo_source
from ecovision_edge.camera.source import FrameSource
from ecovision_edge.camera.transform import Transform
from ecovision_edge.camera.v4l2 import v4l2_source
from ecovision_edge.errors import SourceError
from ecovision_edge.photographs.images import IMAGE_SUFFIXES

__all__ = ["open_source"]

_KINDS = (
    "a camera (0, /dev/video0, rpicam://, picamera2://, libcamera://, csi://0, gst:PIPELINE), an address "
    "(rtsp://, http://), a video, a folder or glob of images, or demo:"
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_CAMERA = re.compile(r"(?:[0-9]{1,3}|/dev/(?:video|v4l/)[^?]*)(?:\?|$)")
_PASSWORD = re.compile(r"^.*:.*@", re.DOTALL)


def open_source(uri: str) -> FrameSource:
    """Make the source that `uri` names, with its options checked. Nothing is opened before `connect`.

    ======================================  ============================================================
    `0`, `/dev/video0`                      a V4L2 camera: width, height, fps, fourcc
    `rpicam://`, `rpicam://1`               a Raspberry Pi camera through rpicam-vid: width, height, fps
    `picamera2://`, `picamera2://1`         the same through picamera2: and stream=main|lores
    `libcamera://`, `libcamera://NAME`      the same through GStreamer: width, height, fps
    `csi://0`                               a Jetson's camera: width, height, fps, flip-method=0 to 7
    `gst:PIPELINE`                          any GStreamer pipeline; an appsink is added if it has none
    `rtsp://`, `rtsps://`                   transport=tcp|udp (not rtsps), open_timeout, read_timeout
    `http://`, `https://`                   MJPEG, or a still: fps, open_timeout, read_timeout in seconds
    `clip.mp4`, `file:...`                  a video: fps, loop=1
    `photos`, `photos/*.jpg`                images in sorted order: fps, loop=1
    `demo:`                                 a synthetic tray: fps, width, height, seed, frames
    `demo:?script=FILE`                     one on which happens what the file says: loop=1
    ======================================  ============================================================

    Options are written `?name=value&name=value`; of the addresses, and of `gst:`, where `?` means something
    else already, `?ecovision.name=value`. Each source takes `rotate=0|90|180|270`, then `mirror=1`, then
    `roi=x,y,w,h` in fractions of the picture. A path that exists is taken as it is, `?` and all. In addresses
    `${NAME}` is that variable of the environment.

    Raises:
        SourceError: no such kind of source, or an option is unknown or out of range.
        MissingDependencyError: it needs picamera2, rpicam-vid or an OpenCV with GStreamer, not there.
    """
    if not uri or "\0" in uri:
        raise SourceError("source", expected=_KINDS, found="nothing" if not uri else "a NUL character")
    match = _SCHEME.match(uri)
    if match is None or is_there(uri):
        return _local(uri)
    scheme, is_address, rest = match[1].lower(), match[2] is not None, uri[match.end() :]
    if is_address and scheme in _NETWORK:
        return _NETWORK[scheme](uri)
    if scheme == "gst":
        return _pipeline(uri[len("gst:") :])
    if scheme == "file":
        return _local(*_file(uri[len("file:") :]))
    if scheme not in _SCHEMES and not is_address:
        return _local(uri)  # a colon in a path
    name = f"{scheme}://" if is_address else scheme
    if scheme in _BOARDS:
        camera, pairs = split_options(rest)
        return _BOARDS[scheme](camera, Options(name, pairs))
    if scheme == "demo" and rest.partition("?")[0] == "":  # a path may be in its options
        return demo_source(Options(name, split_pairs(rest[1:])))
    near = closest(scheme, _SCHEMES)
    fix = f"did you mean {near}:{'//' if near in _NETWORK else ''}?" if near else None
    raise SourceError("source", expected=_KINDS, found=f"{uri[: match.end()].lower()}...", fix=fix)


def _local(text: str, shown: str | None = None) -> FrameSource:
    """Return a camera by number or device, or files; `shown` is the path as given, where that was `file:`."""
    there = is_there(text)
    camera = shown is None and _CAMERA.match(text)
    path, pairs = (text, {}) if there and not camera else split_options(text)
    there = is_there(path)
    # What is no path may be an address with a slip in it, and a password.
    name = shown or (path if there else _PASSWORD.sub("...@", path))
    options = Options(name, pairs)
    if camera:
        return v4l2_source(path, options)
    suffix = Path(path).suffix.lower()
    if is_folder(path) or suffix in IMAGE_SUFFIXES or path.endswith("/"):
        return images_source(path, name, options)
    if suffix in VIDEO_SUFFIXES:
        return video_source(path, name, options)
    if not there and is_glob(path):
        return images_source(path, name, options)
    if not there:
        raise SourceError("source", expected=_KINDS, found=f"no file or folder {name}")
    suffixes = ", ".join(sorted(VIDEO_SUFFIXES | IMAGE_SUFFIXES))
    raise SourceError(
        f"kind of {name}", expected=f"a folder, or a file with one of {suffixes}", found=suffix or "none"
    )


def _file(rest: str) -> tuple[str, str]:
    """Return the path in `file:path`, as it is, or in `file:///path`, with %XX decoded; and a name."""
    if not rest.startswith("//"):
        return rest, split_options(rest)[0]
    host, slash, path = rest[2:].partition("/")
    if host not in ("", "localhost") or not slash:
        raise SourceError("file://", expected="file:///path", found=f"file://{host}{slash}...")
    path = f"/{path}"
    if not is_there(path):
        before, mark, options = path.rpartition("?")
        path = f"{unquote(before)}?{options}" if mark and split_options(path)[1] else unquote(path)
    return path, split_options(path)[0]


def _pipeline(text: str) -> GStreamerSource:
    pipeline, pairs = split_foreign(text)
    name = f"gst:{pipelines.first_element(pipeline)}"
    if not pipeline.strip():
        raise SourceError(
            "pipeline of gst:", expected="elements of GStreamer with ! between", found="nothing"
        )
    options = Options(name, pairs, FOREIGN_PREFIX)
    transform = Transform.take(options)
    options.done()
    pipeline = pipelines.completed(pipeline)
    require_gstreamer(name, pipeline)
    return GStreamerSource(name, pipeline, transform)


def _libcamera(camera: str, options: Options) -> GStreamerSource:
    width, height, fps = take_size(options)
    transform = Transform.take(options)
    options.done()
    name = f"libcamera {camera}".rstrip()
    pipeline = pipelines.libcamera(camera, width=width, height=height, fps=fps)
    require_gstreamer(name, pipeline)
    return GStreamerSource(name, pipeline, transform)


def _csi(sensor: str, options: Options) -> GStreamerSource:
    if not re.fullmatch(r"[0-9]{0,2}", sensor):
        raise SourceError("camera of csi://", expected="a number, or nothing for 0", found=sensor)
    width, height, fps = take_size(options)
    flip = options.integer("flip-method", 0, 7)
    transform = Transform.take(options)
    options.done()
    number = int(sensor or 0)
    pipeline = pipelines.argus(number, width=width, height=height, fps=fps, flip_method=flip or 0)
    require_gstreamer(f"csi {number}", pipeline)
    return GStreamerSource(f"csi {number}", pipeline, transform)


_NETWORK: dict[str, Callable[[str], FrameSource]] = {
    **dict.fromkeys(("http", "https"), http_source),
    **dict.fromkeys(("rtsp", "rtsps"), network_source),
}
_BOARDS: dict[str, Callable[[str, Options], FrameSource]] = {
    "csi": _csi,
    "libcamera": _libcamera,
    "picamera2": picamera_source,
    "rpicam": rpicam_source,
}
_SCHEMES = (*_NETWORK, *_BOARDS, "demo", "file", "gst")
