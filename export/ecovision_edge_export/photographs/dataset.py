"""Photographs for calibration and validation: listed, chosen and digested; never held all in memory."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.errors import DatasetError
from ecovision_edge.photographs.images import IMAGE_KINDS, passed_over
from ecovision_edge.photographs.labelled import match_classes, read_folder

__all__ = ["Photograph", "PhotographSet", "choose", "list_photographs"]


@dataclass(frozen=True, slots=True)
class Photograph:
    """One image file; `name` is its path below the folder; `label` an index into the labels, if known."""

    path: Path
    name: str
    label: int | None = None


@dataclass(frozen=True, slots=True)
class PhotographSet:
    """The photographs of a folder, in sorted order; `notes` is what is to be told of other files."""

    photographs: tuple[Photograph, ...]
    notes: tuple[str, ...] = ()

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

    With `labels`, images in subfolders are labelled by the subfolder's name, which has to be one of them, as
    `match_classes` compares them, or stand in `mapping`, which comes first; images that lie in `folder`
    itself have no label. Without, none has. Folders that `mapping` gives None are passed over.

    Args:
        folder: To look in.
        labels: Of the classes, or None.
        option: The option that named the folder, for messages.
        mapping: As `parse_map` reads it; may name folders that are not there.

    Raises:
        DatasetError: no such folder, no image in it, a subfolder that is no label, or a mixture of both.
    """
    there = read_folder(folder, option)
    mapping = mapping or {}
    wanted = {
        name: paths for name, paths in there.classes.items() if paths and mapping.get(name, 0) is not None
    }
    loose = [Photograph(path, path.name) for path in there.loose]
    if not loose and not wanted:
        raise DatasetError(f"{option} {folder}", expected=IMAGE_KINDS, found=there.found)
    notes = passed_over(f"{option} {folder}", there.passed)
    classes: Mapping[str, int | None] = dict.fromkeys(wanted)
    if labels is not None and wanted:
        if loose:
            raise DatasetError(
                f"{option} {folder}",
                expected="one folder per class, or images alone",
                found=f"{len(loose)} images beside {sum(map(len, wanted.values()))} in subfolders",
                fix="put each image into the folder of its class, and others elsewhere",
            )
        classes = match_classes(folder, option, list(wanted), labels, mapping)
    nested = [
        Photograph(path, path.relative_to(folder).as_posix(), classes[name])
        for name, paths in wanted.items()
        for path in paths
    ]
    return PhotographSet((*loose, *nested), notes)


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
