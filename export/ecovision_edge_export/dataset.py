"""Photographs for calibration and validation: listed, chosen and digested; never held all in memory."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge._names import short
from ecovision_edge.errors import DatasetError
from ecovision_edge.images import find_images
from ecovision_edge.labelled import check_known

__all__ = ["Photograph", "PhotographSet", "choose", "list_photographs"]


@dataclass(frozen=True, slots=True)
class Photograph:
    """One image file; `name` is its path below the folder; `label` an index into the labels, if known."""

    path: Path
    name: str
    label: int | None = None

    @property
    def top(self) -> str:
        """The first folder of the name; empty for an image that lies in the folder itself."""
        return self.name.partition("/")[0] if "/" in self.name else ""


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


def list_photographs(
    folder: Path,
    labels: Sequence[str] | None,
    option: str,
    mapping: Mapping[str, int | None] | None = None,
) -> PhotographSet:
    """List the images below `folder`.

    With `labels`, images in subfolders are labelled by the subfolder's name, which has to be one of them
    (case does not matter) or stand in `mapping`, which comes first; images that lie in `folder` itself have
    no label. Without, none has. Folders that `mapping` gives None are passed over.

    Args:
        folder: To look in.
        labels: Of the classes, or None.
        option: The option that named the folder, for messages.
        mapping: As `parse_map` reads it; may name folders that are not there.

    Raises:
        DatasetError: no such folder, no image in it, a subfolder that is no label, or a mixture of both.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises over names that are too long
        found = "a file" if os.path.lexists(folder) else "no such folder"
        raise DatasetError(f"{option} {folder}", expected="a folder of photographs", found=found)
    mapping = mapping or {}
    every = [Photograph(path, path.relative_to(folder).as_posix()) for path in find_images(folder)]
    photographs = [p for p in every if mapping.get(p.top, 0) is not None]
    if not photographs:
        raise DatasetError(f"{option} {folder}", expected="JPEG, PNG, BMP, WebP or TIFF images", found="none")
    nested = [p for p in photographs if p.top]
    if labels is None or not nested:
        return PhotographSet(tuple(photographs))
    if len(nested) != len(photographs):
        raise DatasetError(
            f"{option} {folder}",
            expected="a folder a class, or images alone",
            found=f"{len(photographs) - len(nested)} images beside {len(nested)} in subfolders",
            fix="put each image into the folder of its class, and others elsewhere",
        )
    index = {label.casefold(): i for i, label in enumerate(labels)}
    if len(index) != len(labels):
        raise DatasetError(
            f"{option} {folder}", expected="labels that differ in more than case", found=short(labels)
        )
    tops = sorted({p.top for p in nested})
    check_known(folder, option, [t for t in tops if t not in mapping and t.casefold() not in index], labels)
    classes = {top: index.get(top.casefold()) for top in tops} | dict(mapping)
    return PhotographSet(tuple(Photograph(p.path, p.name, classes[p.top]) for p in nested))


def choose(
    photographs: PhotographSet,
    count: int,
    seed: int,
    readable: Callable[[Photograph], bool] = lambda photograph: True,
) -> tuple[PhotographSet, PhotographSet]:
    """Draw `count` photographs without replacement, and as many others; each in the order drawn.

    The second set is for choosing among recipes on photographs that set no range; it is empty where there
    are no others. The same folder and seed give the same sets. What is not `readable` is passed over.
    """
    order = list(photographs.photographs)
    random.Random(seed).shuffle(order)  # noqa: S311 - a sample, no secret
    drawn = list(itertools.islice(filter(readable, order), 2 * count))
    return PhotographSet(tuple(drawn[:count])), PhotographSet(tuple(drawn[count:]))
