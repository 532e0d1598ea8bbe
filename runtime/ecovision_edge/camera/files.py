"""Files as sources: a video, a folder of images, a glob of them. They have an end, and each frame counts."""

from __future__ import annotations

import glob
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import cv2

from ecovision_edge.base.addresses import Options
from ecovision_edge.base.files import is_file, is_folder, is_there
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.camera.network import TRIES, open_ffmpeg
from ecovision_edge.camera.opencv import MAX_FPS
from ecovision_edge.camera.source import Image, Picture, PictureStream
from ecovision_edge.camera.transform import Transform
from ecovision_edge.camera.upright import set_upright
from ecovision_edge.errors import BadFrameError, CaptureError, ImageReadError, SourceOpenError
from ecovision_edge.photographs.images import (
    IMAGE_SUFFIXES,
    decode_image,
    find_images,
    found_instead,
    passed_over,
    read_image_bytes,
)
from ecovision_edge.photographs.jpeg import JPEG_START
from ecovision_edge.photographs.jpeg_picture import JpegPicture, as_small_as_can_be

__all__ = [
    "VIDEO_SUFFIXES",
    "FileStream",
    "ImagesSource",
    "VideoSource",
    "images_source",
    "is_glob",
    "video_source",
]

VIDEO_SUFFIXES = frozenset(
    {
        ".264", ".265", ".3gp", ".avi", ".flv", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mjpeg",
        ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv",
    }
)  # fmt: skip

_log = logging.getLogger("ecovision_edge")

FileFrame: TypeAlias = Image | JpegPicture | ImageReadError
"""A frame, as yet unchecked, or why it cannot be read."""


class FileStream(PictureStream):
    """A `FrameStream` over frames that an iterator gives; None at its end.

    Args:
        name: Name for messages.
        frames: What one round gives; an ImageReadError stands for a frame that cannot be read.
        transform: Applied to each frame.
        again: Begins another round at the end of one; None is one round.
    """

    def __init__(
        self,
        name: str,
        frames: Iterator[FileFrame],
        transform: Transform,
        again: Callable[[], Iterator[FileFrame]] | None = None,
    ) -> None:
        self._name, self._transform = name, transform
        self._frames, self._again = frames, again
        self._closed, self._any = False, False

    def read_picture(self) -> Picture | None:
        """Return the next frame as it came; None at the end, again and again.

        Raises:
            BadFrameError: the next one cannot be read; read on.
            CaptureError: there was not one frame in a whole round, or it is closed.
        """
        if self._closed:
            raise CaptureError(f"{self._name} is closed")
        frame = next(self._frames, None)
        if frame is None and self._any and self._again is not None:
            self._any = False
            self._frames = self._begun(self._again)
            frame = next(self._frames, None)
        if frame is None:
            if not self._any:
                raise CaptureError(f"{self._name} holds no frame that can be read")
            return None
        if isinstance(frame, ImageReadError):
            raise BadFrameError(frame.message) from frame
        if isinstance(frame, JpegPicture):
            if not self._any:
                self._try(frame)
            self._any = True
            return frame  # which is transformed once it is decoded
        self._any = True
        return self._transform.finish(frame, self._name)

    @staticmethod
    def _try(picture: JpegPicture) -> None:
        """Decode it, as small as can be, to know of one picture in a round that it can be read."""
        try:
            picture.reduced(as_small_as_can_be)
        except ImageReadError as e:
            raise BadFrameError(e.message) from e

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._closed = True
        close = getattr(self._frames, "close", None)  # of a generator
        if close is not None:
            close()

    def _begun(self, again: Callable[[], Iterator[FileFrame]]) -> Iterator[FileFrame]:
        try:
            return again()
        except SourceOpenError as e:
            raise CaptureError(f"{self._name} cannot be read again", found=reason_of(e)) from e


@dataclass(frozen=True, slots=True)
class VideoSource:
    """A video file, each frame of it in order.

    Args:
        path: The file.
        name: Name for messages.
        interval: Seconds between frames; None is as fast as they are taken.
        loop: Whether it begins again at its end, for ever.
        transform: Applied to each frame.
    """

    path: str = field(repr=False)  # what is no path at all may be an address with a password
    name: str
    interval: float | None = None
    loop: bool = False
    transform: Transform = field(default_factory=Transform)
    live: bool = False

    def connect(self) -> FileStream:
        """Open the file.

        Raises:
            SourceOpenError: missing, or no video that FFmpeg can decode.
        """
        return FileStream(self.name, self._frames(), self.transform, self._frames if self.loop else None)

    def _frames(self) -> Iterator[FileFrame]:
        problem, path = f"{self.name} cannot be opened", self.path
        if not is_there(path):
            raise SourceOpenError(problem, expected="a video file", found="no such file")
        if not is_file(path):
            raise SourceOpenError(problem, expected="a video file", found="no regular file")
        # The whole path: of "a:b.avi" FFmpeg would take "a:" for a protocol.
        capture, _ = open_ffmpeg(str(Path(path).absolute()), [])
        if not capture.isOpened():
            capture.release()
            raise SourceOpenError(problem, expected="a video", found="a file that FFmpeg cannot decode")
        return self._decoded(capture)

    def _decoded(self, capture: cv2.VideoCapture) -> Iterator[FileFrame]:
        count = failed = 0
        try:
            expected = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            turned = set_upright(capture)
            while failed < TRIES:
                ok, frame = capture.read()
                if not ok:
                    failed += 1
                    continue
                for _ in range(failed):  # it was not the end yet
                    yield ImageReadError(f"cannot decode frame {count} of {self.name}")
                    count += 1
                count, failed = count + 1, 0
                yield turned(frame)  # type: ignore[arg-type]  # `finish` checks what it really is
            # Headers give the count nearly; much less is a file that was cut off.
            if 0 < count < 0.95 * expected:
                _log.warning("%s ended after %d of about %d frames", self.name, count, expected)
        except cv2.error as e:
            raise CaptureError(
                f"{self.name} failed after {count} frames", found=f"OpenCV error {e.code}"
            ) from e
        finally:
            capture.release()


@dataclass(frozen=True, slots=True)
class ImagesSource:
    """Image files in sorted order: of a folder and those below, of a glob, or one.

    One that cannot be read, or has gone meanwhile, is a bad frame: the loop logs it and reads on.

    Args:
        path: Folder, file, or glob (`**` is any folders).
        name: Name for messages.
        interval: Seconds between frames; None is as fast as they are taken.
        loop: Whether it begins again at its end, for ever, with the files that are then there.
        transform: Applied to each frame.
    """

    path: str = field(repr=False)  # what is no path at all may be an address with a password
    name: str
    interval: float | None = None
    loop: bool = False
    transform: Transform = field(default_factory=Transform)
    live: bool = False

    def connect(self) -> FileStream:
        """List the files.

        Raises:
            SourceOpenError: there are none.
        """
        passed: Counter[str] = Counter()
        images = self._images(passed)
        for note in passed_over(self.name, passed):
            _log.warning("%s", note)
        return FileStream(self.name, images, self.transform, self._images if self.loop else None)

    def _images(self, passed: Counter[str] | None = None) -> Iterator[FileFrame]:
        path = self.path
        passed = Counter() if passed is None else passed
        if is_folder(path):
            found = list(find_images(path, passed))
        elif is_there(path):
            found = [Path(path)]
        else:
            matches = (Path(p) for p in sorted(glob.glob(path, recursive=True)))  # noqa: PTH207 - of a string
            found = [p for p in matches if p.suffix.lower() in IMAGE_SUFFIXES and not p.is_dir()]
        if not found:
            suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
            raise SourceOpenError(
                f"{self.name} cannot be opened",
                expected=f"images ({suffixes})",
                found=found_instead(passed),
            )
        return self._read(found)

    def _read(self, paths: list[Path]) -> Iterator[FileFrame]:
        for path in paths:
            try:
                picture = self._picture(path)
            except ImageReadError as e:
                yield e
            else:
                yield picture

    def _picture(self, path: Path) -> Image | JpegPicture:
        data, name = read_image_bytes(path), str(path)
        if data.startswith(JPEG_START):
            return JpegPicture(data, name, self.transform)
        return decode_image(data, name)


def is_glob(path: str) -> bool:
    """Return whether the path has a `*`, `?` or `[`."""
    return glob.has_magic(path)


def video_source(path: str, name: str, options: Options) -> VideoSource:
    """Make the source of a video file with `fps=` and `loop=`; raises SourceError."""
    return VideoSource(path, name, *_pace(options))


def images_source(path: str, name: str, options: Options) -> ImagesSource:
    """Make the source of image files with `fps=` and `loop=`; raises SourceError."""
    return ImagesSource(path, name, *_pace(options))


def _pace(options: Options) -> tuple[float | None, bool, Transform]:
    fps = options.number("fps", 0, MAX_FPS)
    loop = options.flag("loop")
    transform = Transform.take(options)
    options.done()
    return None if fps is None else 1 / fps, loop, transform
