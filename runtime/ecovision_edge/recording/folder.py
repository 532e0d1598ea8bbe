"""A bounded folder of frames, each a picture with a sidecar."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ecovision_edge.base.files import is_open_file, is_there, read_regular_file
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import RecordError
from ecovision_edge.photographs.images import find_images
from ecovision_edge.photographs.jpeg_picture import JpegPicture
from ecovision_edge.recording import disk
from ecovision_edge.recording.options import RecordOptions
from ecovision_edge.recording.sidecar import MAX_SIDECAR_BYTES, is_sidecar, is_torn, sidecar_bytes

if TYPE_CHECKING:
    from ecovision_edge.camera.source import Image, Picture
    from ecovision_edge.loop import LoopResult

__all__ = ["FrameFolder", "Outcome"]

_MAX_NUMBER = 999_999_999  # of nine digits: sorted by name is sorted by number
_PLAIN = re.compile(r"(\d{9})\.(?:png|jpg)")
_DESCRIBED = re.compile(r"\d{8}T\d{6}\.\d{3}Z_[^_]*_\d\.\d\d_(\d{9})\.(?:png|jpg)")
_SUFFIXES = {"png": ".png", "jpeg": ".jpg"}


_log = logging.getLogger("ecovision_edge")


class Outcome(Enum):
    """What became of a frame that was to be added; the values are words for a log."""

    KEPT = "kept"
    FULL = "the folder is full"
    TOO_LARGE = "a frame is larger than the whole folder may be"
    LOW = "the disk has too little free space"


@dataclass(frozen=True, slots=True)
class _Pair:
    """A frame in the folder."""

    number: int
    picture: Path
    size: int


class FrameFolder:
    """A folder of frames that keeps to its bounds. For one thread at a time, and one process.

    The pictures are `000000123.png`: the numbers go on after the highest in the folder, so sorted order is
    the order of capture, over restarts too. Nothing is ever removed but such frames, and hidden files of our
    own.

    Args:
        path: The folder; it is made if it is not there.
        options: Format and bounds.
        described: Names have time, label and score before the number. In such a folder, which is for people,
            other pictures are left alone; in one without, which is for a replay, they are refused.

    Raises:
        RecordError: it cannot be made or written to, unless that is for want of space; another recorder is at
            work there; or it has other pictures, which a replay would mix in.
    """

    def __init__(
        self, path: str | os.PathLike[str], options: RecordOptions | None = None, *, described: bool = False
    ) -> None:
        self._path = Path(path)
        self._options = options or RecordOptions()
        self._described = described
        self._pairs: deque[_Pair] = deque()  # the oldest first
        self._bytes = 0
        self._next = 0
        self._removed = 0
        self._full = False
        self._lock: int | None = None
        self._ready = False
        with self._typed():
            try:
                self._open()
            except OSError as e:  # what is beside a recording has to go on, too
                if e.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                _log.warning("%s: no space left; frames are kept as soon as there is room", self._path)

    def __repr__(self) -> str:
        return f"<FrameFolder {self._path}: {self.frames} frames, {self.size} bytes>"

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    @property
    def frames(self) -> int:
        """How many are in it."""
        return len(self._pairs)

    @property
    def size(self) -> int:
        """Bytes of the pictures and sidecars of those."""
        return self._bytes

    @property
    def removed(self) -> int:
        """How many this object has removed to make room."""
        return self._removed

    def add(self, result: LoopResult) -> Outcome:
        """Write a frame with its result, if the bounds let it.

        Raises:
            RecordError: the disk says no, or the frame cannot be encoded; the next one may fare better.
        """
        with self._typed():
            if self._lock is not None and not is_open_file(self._path, self._lock):
                self.close()  # somebody renamed or replaced the folder, and the lock went with it
            if not self._ready:
                self._open()
            try:
                return self._add(result)
            except FileNotFoundError:  # somebody removed the folder: it is made again
                self.close()
                self._open()
                return self._add(result)

    def close(self) -> None:
        """Let others record here. Idempotent."""
        self._ready = False
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextlib.contextmanager
    def _typed(self) -> Iterator[None]:
        """Turn an error of the disk into one of ours; the cause has its number."""
        try:
            yield
        except RecordError:
            raise
        except (OSError, ValueError) as e:  # ValueError: a path with a zero byte, a time beyond the calendar
            number = e.errno if isinstance(e, OSError) else None
            raise RecordError(
                f"cannot record to {self._path}",
                expected="a folder to write to",
                found=os.strerror(number) if number else str(e),
                fix="make room, or choose another folder" if number == errno.ENOSPC else None,
            ) from e

    def _open(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        self._lock = disk.lock_folder(self._path)
        try:
            disk.mend(self._path)
            pairs = sorted(self._scan(), key=lambda pair: pair.number)
            if not self._described:
                self._refuse_others({pair.picture for pair in pairs})
            probe = disk.hidden_name(self._path / "000000000.png")
            disk.write_file(probe, b"", fsync=False)
            probe.unlink()
        except BaseException:
            self.close()
            raise
        self._pairs = deque(pairs)
        self._bytes = sum(pair.size for pair in pairs)
        self._next = max(self._next, pairs[-1].number + 1 if pairs else 0)
        self._full = False
        self._ready = True

    def _scan(self) -> Iterator[_Pair]:
        """Yield the frames that are ours; remove torn ones, which a power cut leaves."""
        pattern = _DESCRIBED if self._described else _PLAIN
        with os.scandir(self._path) as entries:
            files = {e.name: e.stat().st_size for e in entries if e.is_file(follow_symlinks=False)}
        for name, size in files.items():
            picture = self._path / name
            sidecar = disk.sidecar_of(picture)
            if (match := pattern.fullmatch(name)) is None or (length := files.get(sidecar.name)) is None:
                continue
            if not self._described:  # nine digits may be anybody's; only what the sidecar says is proof
                data = read_regular_file(sidecar, MAX_SIDECAR_BYTES)
                if is_torn(data) or (size == 0 and is_sidecar(data)):
                    _log.warning("%s: removed, for a power cut left it torn", picture)
                    disk.remove_pair(picture)
                    continue
                if not is_sidecar(data):
                    continue
            yield _Pair(int(match[1]), picture, size + length)

    def _refuse_others(self, ours: set[Path]) -> None:
        other = next((path for path in find_images(self._path) if path not in ours), None)
        if other is not None:
            raise RecordError(
                f"cannot record to {self._path}",
                expected="a new folder, or one with nothing but a recording: a replay takes every picture",
                found=f"{other.relative_to(self._path)}, which has no sidecar of ours",
                fix="choose another folder",
            )

    def _add(self, result: LoopResult) -> Outcome:
        # What needs no encoding comes first; the free space, for it notices that the folder is gone.
        if self._free() < self._options.min_free_bytes:
            return Outcome.LOW
        if self._full:
            return Outcome.FULL
        kept = self._as_it_came(result.frame.picture)
        suffix = _SUFFIXES[self._options.format if kept is None else "jpeg"]
        number, picture = self._new_name(_description(result) if self._described else "", suffix)
        image = self._encode(result.frame.image) if kept is None else kept
        sidecar = sidecar_bytes(result, picture.name)
        size = len(image) + len(sidecar)
        if size > self._options.max_bytes:
            return Outcome.TOO_LARGE
        oldest = self._too_many(size)
        if oldest and self._options.whenfull == "stop":
            self._full = True
            return Outcome.FULL
        # Checked before anything is removed, and after: not every file system gives back at once.
        room = sum(pair.size for pair in oldest)
        if self._free() + room - size < self._options.min_free_bytes:
            return Outcome.LOW
        for pair in oldest:
            self._remove(pair)
        if oldest and self._free() - size < self._options.min_free_bytes:
            return Outcome.LOW
        disk.write_pair(picture, image, sidecar, fsync=self._options.fsync)
        self._pairs.append(_Pair(number, picture, size))
        self._bytes += size
        self._next = number + 1
        return Outcome.KEPT

    def _free(self) -> int:
        return shutil.disk_usage(self._path).free

    def _as_it_came(self, picture: Picture) -> bytes | None:
        """Return the JPEG of a camera that gave one: nothing is lost, and it is smaller than a PNG of it."""
        return picture.jpeg if isinstance(picture, JpegPicture) else None

    def _new_name(self, prefix: str, suffix: str) -> tuple[int, Path]:
        """Return the next number, and a picture's path of which neither it nor its sidecar is there."""
        number = self._next
        while number <= _MAX_NUMBER:
            stem = f"{prefix}{number:09d}"
            picture = self._path / f"{stem}{suffix}"
            if not any(is_there(p, link=True) for p in (picture, disk.sidecar_of(picture))):
                return number, picture
            number += 1
        raise RecordError(
            f"cannot record to {self._path}",
            expected="fewer than 1,000,000,000 frames ever",
            fix="choose another folder",
        )

    def _encode(self, image: Image) -> bytes:
        # PNG as OpenCV does it by itself: to name a compression, the fastest too, switches its fast strategy
        # off, and takes twice the time.
        flags = [] if self._options.format == "png" else [cv2.IMWRITE_JPEG_QUALITY, self._options.quality]
        try:
            ok, data = cv2.imencode(_SUFFIXES[self._options.format], np.ascontiguousarray(image), flags)
        except cv2.error as e:
            raise RecordError("a frame cannot be encoded", found=reason_of(e)) from e
        if not ok:
            raise RecordError("a frame cannot be encoded", found=f"{image.shape} {image.dtype}")
        return bytes(data)

    def _too_many(self, size: int) -> list[_Pair]:
        """Return the oldest frames that have to go before one of `size` bytes comes."""
        frames, total = self.frames + 1, self._bytes + size
        oldest = []
        for pair in self._pairs:
            if frames <= self._options.max_frames and total <= self._options.max_bytes:
                break
            oldest.append(pair)
            frames -= 1
            total -= pair.size
        return oldest

    def _remove(self, pair: _Pair) -> None:
        if disk.remove_pair(pair.picture):
            self._removed += 1
        self._pairs.popleft()
        self._bytes -= pair.size


def _description(result: LoopResult) -> str:
    """Return the time, label and score as the beginning of a file name that any file system takes."""
    time = datetime.fromtimestamp(result.time, timezone.utc)
    said = result.prediction
    text, score = (str(result.tray), "") if said is None else (said.label, f"{said.score:.2f}_")
    label = "".join(c if c.isalnum() else "-" for c in text[:40])
    stamp = f"{time:%Y%m%dT%H%M%S}.{time.microsecond // 1000:03d}Z"
    return f"{stamp}_{label}_{score}"
