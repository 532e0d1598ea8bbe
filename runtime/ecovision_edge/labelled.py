"""Photographs with their truth: a folder a class, matched by name."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge._names import SHOWN, closest, hinted, short
from ecovision_edge.errors import DatasetError, OptionError
from ecovision_edge.images import find_images

__all__ = ["LabelledImage", "LabelledImages", "find_labelled", "parse_map", "spread"]

MAP_SYNTAX = "FOLDER=LABEL,FOLDER=LABEL,...; FOLDER= skips one"


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image file; `name` is its path below the folder, `label` the index of its class."""

    path: Path
    name: str
    label: int


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """The images of a folder, in sorted order, and the skipped folders, each with its count of images."""

    images: tuple[LabelledImage, ...]
    skipped: tuple[tuple[str, int], ...] = ()


def parse_map(text: str, labels: Sequence[str]) -> dict[str, int | None]:
    """Read `FOLDER=LABEL,FOLDER=LABEL,...`: folder names to indices of `labels`; None skips the folder.

    `FOLDER=` and `FOLDER=-` skip. Spaces around names do not count. A folder whose name has a comma or an
    equals sign cannot be mapped.

    Raises:
        OptionError: not of that form, a folder twice, or a label that the model does not have.
    """
    mapping: dict[str, int | None] = {}
    for part in text.split(","):
        folder, equals, target = (piece.strip() for piece in part.partition("="))
        if not equals or not folder:
            raise OptionError("--map", expected=MAP_SYNTAX, found=ascii(part)[:60])
        if folder in mapping:
            raise OptionError("--map", expected="each folder once", found=f"{folder} twice")
        if target in labels:
            mapping[folder] = labels.index(target)
        elif target in ("", "-"):
            mapping[folder] = None
        else:
            close = closest(target, labels)
            raise OptionError(
                f"--map {folder}={target}",
                expected=f"a label of the model: {short(labels)}",
                found=f"{target} (close to {close})" if close else target,
            )
    return mapping


def find_labelled(
    folder: Path, labels: Sequence[str], mapping: Mapping[str, int | None] | None = None
) -> LabelledImages:
    """List the images of the direct subfolders of `folder`, each of which is a class.

    A subfolder has the name of a label, letter for letter, or stands in `mapping`, which comes first. Images
    are found at any depth below it. Hidden files and folders are passed over.

    Raises:
        DatasetError: no such folder, images beside the subfolders, subfolders that are no class, no image.
        OptionError: a folder of `mapping` that is not there.
    """
    mapping = mapping or {}
    subfolders = _subfolders(folder)
    absent = [name for name in mapping if name not in subfolders]
    if absent:
        raise OptionError(
            "--map", expected=f"folders of {folder}: {short(subfolders)}", found=hinted(absent, subfolders)
        )
    classes = {label: i for i, label in enumerate(labels)} | dict(mapping)
    unknown = [name for name in subfolders if name not in classes]
    if unknown:
        raise DatasetError(
            f"--data {folder}",
            expected=f"folders named as the labels: {short(labels)}",
            found=hinted(unknown, labels),
            fix=_suggest(unknown, labels),
        )
    images: list[LabelledImage] = []
    skipped: list[tuple[str, int]] = []
    for name in subfolders:
        label = classes[name]
        found = find_images(folder / name)
        if label is None:
            skipped.append((name, sum(1 for _ in found)))
        else:
            images += [LabelledImage(path, path.relative_to(folder).as_posix(), label) for path in found]
    if not images:
        raise DatasetError(
            f"--data {folder}",
            expected="a folder a class of JPEG, PNG, BMP, WebP or TIFF images",
            found="none",
        )
    return LabelledImages(tuple(images), tuple(skipped))


def spread(images: Sequence[LabelledImage], count: int) -> tuple[LabelledImage, ...]:
    """`count` of the images, evenly spread over them, so over the classes too; all where there are fewer."""
    total = len(images)
    return tuple(images) if count >= total else tuple(images[i * total // count] for i in range(count))


def _subfolders(folder: Path) -> list[str]:
    """Names of the direct subfolders, sorted; images beside them would have no class."""
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises over names that are too long
        raise DatasetError(
            f"--data {folder}", expected="a folder with a folder a class", found="no such folder"
        )
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError as e:
        raise DatasetError(f"--data {folder}", expected="a folder to read", found=e.strerror) from e
    first = next(find_images(folder), None)  # those of the folder itself come before those of its subfolders
    if first is not None and first.parent == Path(folder):
        raise DatasetError(
            f"--data {folder}",
            expected="images in a folder a class only",
            found=f"{first.name} beside the folders" if names else f"{first.name} and no folder",
            fix="an image without a class can be classified, not evaluated: ecovision-edge classify",
        )
    return names


def _suggest(unknown: Sequence[str], labels: Sequence[str]) -> str:
    """What to do about unknown folders: a value of --map, to be completed where nothing is close."""
    if any("," in name or "=" in name for name in unknown):
        return f"rename them, or say what they are, --map {MAP_SYNTAX}"
    pairs = [f"{name}={closest(name, labels) or 'LABEL'}" for name in unknown[:SHOWN]]
    return f"say what they are: --map {shlex.quote(','.join(pairs))} ({MAP_SYNTAX})"
