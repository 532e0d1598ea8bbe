"""Photographs as pixels: read once, hashed, kept in memory as far as that goes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from ecovision_edge.errors import ImageReadError
from ecovision_edge.photographs.images import read_image_bytes
from ecovision_edge.photographs.labelled import LabelledImage
from ecovision_edge.photographs.letterbox import strip_bars
from ecovision_edge_export.photographs.decoding import decode_rgb
from ecovision_edge_export.train.data.batches import in_order

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "Memory",
    "Picture",
    "Pictures",
    "Skipped",
    "read_pictures",
    "squash",
    "stripped",
    "turned",
    "within",
]

Picture: TypeAlias = npt.NDArray[np.uint8]
"""`(h, w, 3)` uint8 RGB."""

Shape = Callable[["Image.Image"], Picture]


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image file that could not be read, and why."""

    name: str
    reason: str


class Memory:
    """How many bytes of pictures may be kept: a quarter of what is available, 4 GiB at most."""

    def __init__(self, most: int | None = None) -> None:
        self.left = _available() // 4 if most is None else most
        self.left = min(self.left, 4 << 30)

    def take(self, picture: Picture) -> bool:
        """Return whether there is room for it, which is then taken."""
        fits = picture.nbytes <= self.left
        if fits:
            self.left -= picture.nbytes
        return fits


class Pictures:
    """The pictures of photographs that can be read; those not kept are read again each time.

    Args:
        images: Files that can be read.
        kept: Their pictures, as far as they are kept.
        shape: What becomes of a decoded photograph.
        hashes: sha256 of the files.
    """

    def __init__(
        self,
        images: Sequence[LabelledImage],
        kept: Sequence[Picture | None],
        shape: Shape,
        hashes: Sequence[bytes],
    ) -> None:
        self.images, self.hashes = tuple(images), tuple(hashes)
        self._kept, self._shape = list(kept), shape

    @property
    def digest(self) -> str:
        """sha256 over names, classes and contents of the photographs, in order."""
        total = hashlib.sha256()
        for image, content in zip(self.images, self.hashes, strict=True):
            name = image.name.encode("utf-8", "surrogateescape")
            total.update(name + b"\0%d\0" % image.label + content)
        return total.hexdigest()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def targets(self) -> list[int]:
        """Index of the class of each."""
        return [image.label for image in self.images]

    def picture(self, index: int) -> Picture:
        """`(h, w, 3)` uint8 RGB.

        Raises:
            ImageReadError: the file is gone, or has changed.
        """
        kept = self._kept[index]
        return kept if kept is not None else self._shape(_decoded(self.images[index].path)[0])


def read_pictures(
    images: Sequence[LabelledImage],
    shape: Shape,
    memory: Memory,
    workers: int,
    *,
    progressed: Callable[[], None] = lambda: None,
    skipped: Callable[[Skipped], None] = lambda _: None,
) -> Pictures:
    """Read all of them once; what cannot be decoded is told and left out.

    Args:
        images: Files.
        shape: What becomes of a decoded photograph.
        memory: For those that are kept.
        workers: Threads.
        progressed: Called after each.
        skipped: Called for each that is left out.
    """

    def read(image: LabelledImage) -> tuple[Picture, bytes] | str:
        try:
            decoded, digest = _decoded(image.path)
            return shape(decoded), digest
        except ImageReadError as e:
            return e.message

    hashes: list[bytes] = []
    usable: list[LabelledImage] = []
    kept: list[Picture | None] = []
    for image, found in zip(images, in_order(read, images, workers), strict=True):
        if isinstance(found, str):
            skipped(Skipped(image.name, found))
        else:
            picture, digest = found
            usable.append(image)
            kept.append(picture if memory.take(picture) else None)
            hashes.append(digest)
        progressed()
    return Pictures(usable, kept, shape, hashes)


def squash(height: int, width: int) -> Shape:
    """Squash a whole photograph to one size with PIL's antialiased bilinear resize, as in the contract."""

    def shape(image: Image.Image) -> Picture:
        from PIL import Image

        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))

    return shape


def stripped(height: int, width: int) -> Shape:
    """Squash what is inside grey letterbox bars."""
    whole = squash(height, width)

    def shape(image: Image.Image) -> Picture:
        from PIL import Image

        return whole(Image.fromarray(np.ascontiguousarray(strip_bars(np.asarray(image)))))

    return shape


def turned(picture: Callable[[int], Picture], size: tuple[int, int]) -> Callable[[int], Picture]:
    """Return every photograph at one of the four quarter turns, by its number.

    Args:
        picture: Of a number, of this size.
        size: Height and width; one that is not square is resized after the turn.
    """

    def turn(index: int) -> Picture:
        from PIL import Image

        view = np.ascontiguousarray(np.rot90(picture(index), index % 4))
        if view.shape[:2] == size:
            return view
        return np.asarray(Image.fromarray(view).resize((size[1], size[0]), Image.Resampling.BILINEAR))

    return turn


def within(side: int) -> Shape:
    """Shrink a photograph in its own proportions, its shorter edge at most `side` pixels, to crop later."""

    def shape(image: Image.Image) -> Picture:
        from PIL import Image

        factor = side / min(image.size)
        if factor < 1:
            size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
            image = image.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(image)

    return shape


def _decoded(path: Path) -> tuple[Image.Image, bytes]:
    """Return the photograph, and the sha256 of its file."""
    data = read_image_bytes(path)
    return decode_rgb(data, str(path)), hashlib.sha256(data).digest()


def _available() -> int:
    """Return the bytes of memory that are available; 4 GiB where the machine does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return 4 << 30
