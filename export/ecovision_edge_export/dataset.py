"""Photographs for calibration and validation: listed, chosen and digested; never held all in memory."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.errors import DatasetError
from ecovision_edge.images import find_images

__all__ = ["Photograph", "PhotographSet", "choose", "list_photographs"]


@dataclass(frozen=True, slots=True)
class Photograph:
    """One image file; `name` is its path below the folder; `label` an index into the labels, if known."""

    path: Path
    name: str
    label: int | None = None


@dataclass(frozen=True, slots=True)
class PhotographSet:
    """The photographs of a folder, in sorted order."""

    photographs: tuple[Photograph, ...]

    @property
    def labelled(self) -> bool:
        """Whether every photograph has a label."""
        return all(p.label is not None for p in self.photographs)

    def digest(self) -> str:
        """sha256 over the files' names and contents, in order."""
        total = hashlib.sha256()
        for photograph in self.photographs:
            total.update(photograph.name.encode("utf-8", "surrogateescape") + b"\0")
            total.update(hashlib.sha256(photograph.path.read_bytes()).digest())
        return total.hexdigest()

    def __len__(self) -> int:
        return len(self.photographs)


def list_photographs(folder: Path, labels: Sequence[str] | None, option: str) -> PhotographSet:
    """List the images below `folder`.

    With `labels`, images in subfolders are labelled by the subfolder's name, which has to be one of them
    (case does not matter); images that lie in `folder` itself have no label. Without, none has.

    Raises:
        DatasetError: no such folder, no image in it, a subfolder that is no label, or a mixture of both.
            `option` is the option that named the folder, for the message.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises over names that are too long
        raise DatasetError(f"{option} {folder}", expected="a folder of photographs", found="no such folder")
    found = [Photograph(path, path.relative_to(folder).as_posix()) for path in find_images(folder)]
    if not found:
        raise DatasetError(f"{option} {folder}", expected="JPEG, PNG, BMP, WebP or TIFF images", found="none")
    nested = [p for p in found if "/" in p.name]
    if labels is None or not nested:
        return PhotographSet(tuple(found))
    if len(nested) != len(found):
        raise DatasetError(
            f"{option} {folder}",
            expected="a folder a class, or images alone",
            found=f"{len(found) - len(nested)} images beside {len(nested)} in subfolders",
        )
    index = {label.casefold(): i for i, label in enumerate(labels)}
    if len(index) != len(labels):
        raise DatasetError(
            f"{option} {folder}", expected="labels that differ in more than case", found=_short(labels)
        )
    unknown = sorted({p.name.split("/")[0] for p in nested if p.name.split("/")[0].casefold() not in index})
    if unknown:
        raise DatasetError(
            f"{option} {folder}",
            expected=f"folders named as the labels: {_short(labels)}",
            found=_short(unknown),
        )
    return PhotographSet(
        tuple(Photograph(p.path, p.name, index[p.name.split("/")[0].casefold()]) for p in nested)
    )


def choose(photographs: PhotographSet, count: int, seed: int) -> tuple[PhotographSet, PhotographSet]:
    """Draw `count` photographs without replacement, and as many others; each in the order drawn.

    The second set is for choosing among recipes on photographs that set no range; it is empty where there
    are no others. The same folder and seed give the same sets.
    """
    order = list(photographs.photographs)
    random.Random(seed).shuffle(order)  # noqa: S311 - a sample, no secret
    return PhotographSet(tuple(order[:count])), PhotographSet(tuple(order[count : 2 * count]))


def _short(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
