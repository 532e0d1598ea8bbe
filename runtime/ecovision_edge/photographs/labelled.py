"""Photographs with their truth: one folder per class, matched by name. Every command reads them here."""

from __future__ import annotations

import os
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ecovision_edge.base.files import is_folder, is_there
from ecovision_edge.base.names import SHOWN, closest, hinted, quoted, short
from ecovision_edge.errors import DatasetError, OptionError
from ecovision_edge.photographs.images import IMAGE_KINDS, find_images, found_instead, passed_over

__all__ = [
    "FolderImages",
    "LabelledImage",
    "LabelledImages",
    "check_known",
    "check_mapped",
    "check_no_splits",
    "class_folders",
    "find_labelled",
    "match_classes",
    "parse_map",
    "read_folder",
    "spread",
]

_T = TypeVar("_T")

MAP_SYNTAX = "FOLDER=LABEL,FOLDER=LABEL,...; FOLDER= skips one"
_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test"})


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image file; `name` is its path below the folder, `label` the index of its class."""

    path: Path
    name: str
    label: int


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """The images of a folder, in sorted order.

    Args:
        images: Images of all classes.
        skipped: The folders that were to be skipped, each with its count of images.
        notes: What is to be told: the files that were passed over, by suffix and count.
    """

    images: tuple[LabelledImage, ...]
    skipped: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FolderImages:
    """The image files of a folder, each list sorted.

    Args:
        loose: Images that lie in the folder itself.
        classes: Images below each direct subfolder, at any depth, by its name; also of one without any.
        passed: What else is there, as `find_images` counts it.
    """

    loose: tuple[Path, ...]
    classes: Mapping[str, tuple[Path, ...]]
    passed: Mapping[str, int]

    @property
    def found(self) -> str:
        """What is there instead of images, for messages."""
        return found_instead(self.passed)


def read_folder(folder: Path, option: str) -> FolderImages:
    """List the images of `folder` and of its subfolders, which may be links.

    Hidden files and folders are passed over. `option` is the one that named the folder, for messages.

    Raises:
        DatasetError: no such folder, or one that cannot be read.
    """
    if not is_folder(folder):
        found = "a file" if is_there(folder, link=True) else "no such folder"
        raise DatasetError(f"{option} {folder}", expected="a folder of photographs", found=found)
    try:
        names = _listed(folder)
    except OSError as e:
        raise DatasetError(f"{option} {folder}", expected="a folder to read", found=e.strerror) from e
    passed: Counter[str] = Counter()
    loose = tuple(find_images(folder, passed, deep=False))
    return FolderImages(loose, {name: tuple(find_images(folder / name, passed)) for name in names}, passed)


def match_classes(
    folder: Path,
    option: str,
    names: Sequence[str],
    labels: Sequence[str],
    mapping: Mapping[str, int | None],
) -> dict[str, int | None]:
    """Return the class of each subfolder: an index of `labels`, or None if it is to be skipped.

    `mapping` comes first, then the label of that very name, then the only one that differs from it in case or
    in how its accents are encoded.

    Raises:
        DatasetError: a name that is no class.
    """
    exact = {label: i for i, label in enumerate(labels)}
    alike = Counter(map(_folded, labels))
    folded = {_folded(label): i for i, label in enumerate(labels) if alike[_folded(label)] == 1}
    classes: dict[str, int | None] = {}
    unknown: list[str] = []
    for name in names:
        if name in mapping:
            classes[name] = mapping[name]
        elif name in exact or _folded(name) in folded:
            classes[name] = exact[name] if name in exact else folded[_folded(name)]
        else:
            unknown.append(name)
    check_known(folder, option, unknown, labels)
    return classes


def _folded(name: str) -> str:
    """Fold a name for comparison: file systems and people differ in case, and in how accents are encoded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


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
            raise OptionError("--map", expected=MAP_SYNTAX, found=quoted(part))
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
    folder: Path,
    labels: Sequence[str],
    mapping: Mapping[str, int | None] | None = None,
    option: str = "--data",
) -> LabelledImages:
    """List the images of the direct subfolders of `folder`, each of which is a class.

    A subfolder has the name of a label, as `match_classes` compares them, or stands in `mapping`, which comes
    first. Images are found at any depth below it. Hidden files and folders are passed over. `option` is the
    one that named the folder, for messages.

    Raises:
        DatasetError: no such folder, images beside the subfolders, subfolders that are no class, no image.
        OptionError: a folder of `mapping` that is not there.
    """
    mapping = mapping or {}
    there = read_folder(folder, option)
    if there.loose:
        first = there.loose[0].name
        raise DatasetError(
            f"{option} {folder}",
            expected="images in one folder per class only",
            found=f"{first} beside the folders" if there.classes else f"{first} and no folder",
            fix="put each image into the folder of its class, and others elsewhere",
        )
    check_mapped(mapping, {folder: list(there.classes)})
    with_images = [name for name, paths in there.classes.items() if paths]
    classes = match_classes(folder, option, with_images or list(there.classes), labels, mapping)
    images: list[LabelledImage] = []
    skipped: list[tuple[str, int]] = []
    for name, paths in there.classes.items():
        if (label := classes.get(name)) is not None:
            images += [LabelledImage(path, path.relative_to(folder).as_posix(), label) for path in paths]
        elif name in mapping:
            skipped.append((name, len(paths)))
    if not images:
        raise DatasetError(
            f"{option} {folder}", expected=f"one folder per class of {IMAGE_KINDS}", found=there.found
        )
    return LabelledImages(tuple(images), tuple(skipped), passed_over(f"{option} {folder}", there.passed))


def class_folders(folder: Path) -> list[str]:
    """Return the names of the direct subfolders, sorted; none where `folder` cannot be listed."""
    try:
        return _listed(folder)
    except (OSError, ValueError):
        return []


def check_mapped(mapping: Iterable[str], there: Mapping[Path, Sequence[str]]) -> None:
    """Check that each folder that `--map` names is in one of the folders; each is given with its subfolders.

    Raises:
        OptionError: one is not.
    """
    every = sorted({name for names in there.values() for name in names})
    absent = [name for name in mapping if name not in every]
    if absent:
        where = " or ".join(map(str, there))
        raise OptionError(
            "--map", expected=f"folders of {where}: {short(every)}", found=hinted(absent, every)
        )


def check_no_splits(folder: Path, option: str, names: Sequence[str]) -> None:
    """Refuse folders that are the parts of a data set, as `train` and `val`, where classes are expected.

    Raises:
        DatasetError: all of `names` are such; says to give one of them.
    """
    if names and all(name.lower() in _SPLITS for name in names):
        raise DatasetError(
            f"{option} {folder}",
            expected="one folder per class",
            found=short(names),
            fix=f"give one of them: {option} {shlex.quote(str(folder / names[0]))}",
        )


def check_known(folder: Path, option: str, unknown: Sequence[str], labels: Sequence[str]) -> None:
    """Refuse subfolders that are no class; says what to do about them.

    Raises:
        DatasetError: `unknown` is not empty.
    """
    check_no_splits(folder, option, unknown)
    if unknown:
        raise DatasetError(
            f"{option} {folder}",
            expected=f"folders named as the labels: {short(labels)}",
            found=hinted(unknown, labels),
            fix=_suggest(unknown, labels),
        )


def spread(images: Sequence[_T], count: int) -> tuple[_T, ...]:
    """Choose `count` images, evenly spread over all, and so over the classes; all if there are fewer."""
    total = len(images)
    return tuple(images) if count >= total else tuple(images[i * total // count] for i in range(count))


def _listed(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())


def _suggest(unknown: Sequence[str], labels: Sequence[str]) -> str:
    """Return what to do about unknown folders: a value of --map, to be completed where nothing is close."""
    if any("," in name or "=" in name for name in unknown):
        return f"rename them, or say what they are, --map {MAP_SYNTAX}"
    pairs = [f"{name}={closest(name, labels) or 'LABEL'}" for name in unknown[:SHOWN]]
    return f"say what they are: --map {shlex.quote(','.join(pairs))} ({MAP_SYNTAX})"
