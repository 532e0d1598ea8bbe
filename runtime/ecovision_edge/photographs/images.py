"""Image files as OpenCV frames."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.base.files import is_there, read_regular_file
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import ImageReadError
from ecovision_edge.photographs.image_size import MAX_IMAGE_PIXELS, image_kind, image_size
from ecovision_edge.photographs.jpeg import check_whole

__all__ = [
    "IMAGE_KINDS",
    "IMAGE_SUFFIXES",
    "MAX_IMAGE_BYTES",
    "MAX_IMAGE_PIXELS",
    "Reduce",
    "check_pixels",
    "decode_image",
    "find_images",
    "found_instead",
    "leaving",
    "passed_over",
    "read_image",
    "read_image_bytes",
    "read_image_stream",
]

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".png", ".bmp", ".webp", ".tif", ".tiff"}
)
IMAGE_KINDS = "JPEG, PNG, BMP, WebP or TIFF images"
MAX_IMAGE_BYTES = 256 * 2**20
_KINDS_SHOWN = 12  # of files that were passed over
_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

Reduce: TypeAlias = Callable[[int, int], int]
"""Given a picture's height and width, how many times smaller it may be decoded: 1 (whole), 2, 4 or 8."""


def leaving(reduce: Reduce, share: float) -> Reduce:
    """Return what asks for as much as `reduce` wants where only `share` of each side is then looked at."""
    return lambda height, width: reduce(int(height * share), int(width * share))


def read_image(path: str | os.PathLike[str], reduce: Reduce | None = None) -> npt.NDArray[np.uint8]:
    """Read an image file as `(height, width, 3) uint8 BGR`, turned upright as its EXIF orientation says.

    Args:
        path: The file.
        reduce: How small a JPEG may be decoded, which takes half the time of decoding it whole
            (`Classifier.reduction`); None, and any other format: whole, equal to what PIL decodes.

    Raises:
        ImageReadError: no such file, not an image that OpenCV can decode, or one of more than
            `MAX_IMAGE_PIXELS`.
    """
    return decode_image(read_image_bytes(path), str(path), reduce)


def read_image_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read the bytes of an image file, as yet undecoded.

    Raises:
        ImageReadError: no file that can be read, or one of more than 256 MiB.
    """
    try:
        data = read_regular_file(Path(path), MAX_IMAGE_BYTES)
    except (OSError, ValueError) as e:
        reason = reason_of(e)
        raise ImageReadError(f"cannot read {path}", expected="an image file", found=reason) from e
    return _bounded(data, str(path))


def read_image_stream(stream: BinaryIO, name: str) -> bytes:
    """Read the bytes of an image that a pipe gives, to its end; `name` is for the message.

    Raises:
        ImageReadError: more than 256 MiB, of which no more is read, or a stream that cannot be read.
    """
    try:
        data = stream.read(MAX_IMAGE_BYTES + 1)
    except OSError as e:
        raise ImageReadError(f"cannot read {name}", expected="an image", found=e.strerror) from e
    return _bounded(data, name)


def _bounded(data: bytes, name: str) -> bytes:
    if len(data) > MAX_IMAGE_BYTES:
        raise ImageReadError(f"{name} is too large", expected=f"at most {MAX_IMAGE_BYTES} bytes")
    return data


def check_pixels(size: tuple[int, int], name: str, most: int = MAX_IMAGE_PIXELS) -> None:
    """Refuse an image of too many pixels, before it is decoded.

    Args:
        size: Width and height, pixels.
        name: Name for the message.
        most: Pixels.

    Raises:
        ImageReadError: more than `most`.
    """
    width, height = size
    if width * height > most:
        raise ImageReadError(
            f"{name} is too large",
            expected=f"at most {most // 10**6} megapixels",
            found=f"{width} x {height} pixels",
            fix="make it smaller",
        )


def decode_image(data: bytes, name: str, reduce: Reduce | None = None) -> npt.NDArray[np.uint8]:
    """Decode the bytes of a JPEG, PNG, BMP, WebP, TIFF, GIF, AVIF or PNM as `read_image` does.

    The head is asked for the size before anything is decoded.

    Args:
        data: The bytes.
        name: Name for the message.
        reduce: As of `read_image`.

    Raises:
        ImageReadError: not an image that OpenCV can decode, half a JPEG, or one of more than
            `MAX_IMAGE_PIXELS`.
    """
    check_whole(data, name)
    frame = None
    size = image_size(data)
    if size is not None:
        check_pixels(size, name)
        by = 1
        if reduce is not None and image_kind(data) == "JPEG":  # others are decoded whole, and then shrunk
            by = min(reduce(*size), reduce(*reversed(size)))  # EXIF may turn it by a quarter
        try:
            frame = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS[by])
        except cv2.error as e:  # over a size that OpenCV refuses, for instance
            raise ImageReadError(f"cannot decode {name}", expected="an image", found=reason_of(e)) from e
    if frame is None:
        raise ImageReadError(
            f"cannot decode {name}",
            expected="a whole JPEG, PNG, BMP, WebP or TIFF image",
            found=f"{len(data)} bytes that OpenCV cannot decode" if data else "an empty file",
        )
    return np.asarray(frame, np.uint8)


def find_images(
    folder: str | os.PathLike[str], passed: Counter[str] | None = None, *, deep: bool = True
) -> Iterator[Path]:
    """Yield the image files below `folder`, in sorted order; hidden files and folders are passed over.

    What a recording says of an image, a `.json` of its name beside it, is part of it and not counted.
    Links are followed, each folder once, and none to what `folder` is in.

    Args:
        folder: Folder to look in.
        passed: Counts what else is there, for `passed_over`; complete when the last image has come.
        deep: Also in the folders below.
    """
    passed = Counter() if passed is None else passed
    seen = _ancestors(folder)

    def unreadable(_: OSError) -> None:
        passed["folder that cannot be read"] += 1

    for root, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        if (identity := _identity(root)) in seen:
            folders.clear()
            continue
        seen.add(identity)
        folders[:] = sorted(name for name in folders if deep and not name.startswith("."))
        shown = sorted(name for name in files if not name.startswith("."))
        stems = {Path(name).stem for name in shown if _is_image(name)}
        for name in shown:
            if _is_image(name):
                yield Path(root) / name
            elif Path(name).suffix != ".json" or Path(name).stem not in stems:
                passed[_kind(Path(root) / name)] += 1


def _is_image(name: str) -> bool:
    """Return whether the name of a file is that of an image."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def passed_over(where: str, passed: Mapping[str, int]) -> tuple[str, ...]:
    """Say which files `find_images` passed over: a message, or none.

    Args:
        where: What was looked in, for example `--data photos`.
        passed: What `find_images` counted.
    """
    if not passed:
        return ()
    return (f"{where}: passed over {_counted(passed)}: no {IMAGE_KINDS} by their names",)


def found_instead(passed: Mapping[str, int]) -> str:
    """Say what was found where there is no image: `none`, or `none, but 12 .heic, 3 .gif`."""
    return f"none, but {_counted(passed)}" if passed else "none"


def _counted(passed: Mapping[str, int]) -> str:
    """Return `12 .heic, 3 .gif`, the most first."""
    every = sorted(passed.items(), key=lambda item: (-item[1], item[0]))
    most, others = every[:_KINDS_SHOWN], sum(count for _, count in every[_KINDS_SHOWN:])
    return ", ".join([f"{count} {kind}" for kind, count in most] + [f"{others} more"] * (others > 0))


def _kind(path: Path) -> str:
    """Return what a message calls a file that is no image: its suffix, where it has one that can be shown."""
    suffix = path.suffix.lower()
    if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix):
        return suffix
    return "other" if is_there(path) else "broken link"


def _ancestors(folder: str | os.PathLike[str]) -> set[tuple[int, int] | None]:
    """Return the folders that `folder` is in, as they are named and as they are."""
    try:
        named, real = Path(os.path.abspath(folder)), Path(os.path.realpath(folder))  # noqa: PTH100
    except (OSError, ValueError):
        return set()
    return {_identity(parent) for parent in {*named.parents, *real.parents}}


def _identity(folder: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Return the device and inode of a folder, by whatever name; None if it is gone."""
    try:
        status = Path(folder).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
