"""Which photographs there are, of which classes, and which of them validate."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.bundle.contract import check_labels
from ecovision_edge.errors import ContractError, DatasetError
from ecovision_edge.photographs.labelled import (
    LabelledImage,
    check_mapped,
    check_no_splits,
    class_folders,
    find_labelled,
    parse_map,
)

__all__ = ["Listing", "list_training"]

VAL_SHARE = 0.2  # of each class, where no --val is given


@dataclass(frozen=True, slots=True)
class Listing:
    """The image files to train and to validate on, by class.

    Args:
        labels: Sorted; the indices of `train` and `val` are into these.
        train: Never empty in a class.
        val: Likewise where it was split off; a folder of its own may lack classes.
        split: How `val` came about, in words.
        notes: What is to be told of other files.
    """

    labels: tuple[str, ...]
    train: tuple[LabelledImage, ...]
    val: tuple[LabelledImage, ...]
    split: str
    notes: tuple[str, ...] = ()

    def counts(self, images: Sequence[LabelledImage]) -> list[int]:
        """Images of each class."""
        counts = [0] * len(self.labels)
        for image in images:
            counts[image.label] += 1
        return counts


def list_training(data: Path, val: Path | None, map_text: str | None, seed: int) -> Listing:
    """List one folder per class; the classes are those that are found, by their folders' names or `map_text`.

    Args:
        data: Photographs to train on.
        val: Those to validate on; None takes a fifth of each class of `data`.
        map_text: `--map`, as `parse_map` reads it; any label may be named.
        seed: Of the split.

    Raises:
        DatasetError: no such folder, fewer than two classes, a class without an image, or with a single one
            where some are to be split off.
        OptionError: `map_text` is malformed, or names a folder that is in neither.
    """
    folders = class_folders(data)
    labels, mapping = _classes(folders, map_text)
    check_no_splits(data, "--data", folders)
    there = {data: folders} if val is None else {data: folders, val: class_folders(val)}
    if all(there.values()):
        check_mapped(mapping, there)
    of = {at: {name: i for name, i in mapping.items() if name in names} for at, names in there.items()}
    listed = find_labelled(data, labels, of[data])
    found = listed.images
    _check(data, labels, found, least=1 if val is not None else 2)
    if val is None:
        train, held = _split(labels, found, seed)
        split = f"{100 * VAL_SHARE:.0f} % of each class, drawn with seed {seed}"
        return Listing(labels, train, held, split, listed.notes)
    apart = find_labelled(val, labels, of[val], "--val")
    return Listing(labels, found, apart.images, "a folder of its own", listed.notes + apart.notes)


def _classes(
    folders: Sequence[str], map_text: str | None
) -> tuple[tuple[str, ...], Mapping[str, int | None]]:
    """Labels, sorted, and what `--map` says in their indices."""
    if map_text is None:
        return tuple(folders), {}
    pairs = [tuple(piece.strip() for piece in part.split("=", 1)) for part in map_text.split(",")]
    mapped = {pair[0] for pair in pairs}
    targets = {pair[1] for pair in pairs if len(pair) == 2} - {"", "-"}
    labels = tuple(sorted(targets | {name for name in folders if name not in mapped}))
    return labels, parse_map(map_text, labels)


def _check(data: Path, labels: tuple[str, ...], images: Sequence[LabelledImage], *, least: int) -> None:
    if len(labels) < 2:
        raise DatasetError(
            f"--data {data}", expected="two classes or more, a folder each", found=f"{labels[0]} alone"
        )
    try:
        check_labels(labels, f"--data {data}")
    except ContractError as e:
        raise DatasetError(e.message, fix="rename the folders, or use --map") from e
    for i, label in enumerate(labels):
        count = sum(image.label == i for image in images)
        if count == 0:
            raise DatasetError(
                f"--data {data}",
                expected="an image of each class",
                found=f"none of {label}",
                fix=f"leave it out with --map {label}=",
            )
        if count < least:
            raise DatasetError(
                f"--data {data}",
                expected="two images of each class or more, to train on and to validate on",
                found=f"{count} of {label}",
                fix=f"give more, or --val, or leave it out with --map {label}=",
            )


def _split(
    labels: Sequence[str], images: Sequence[LabelledImage], seed: int
) -> tuple[tuple[LabelledImage, ...], tuple[LabelledImage, ...]]:
    """Split each class apart: what is drawn in one does not depend on the others."""
    held: set[str] = set()
    for i, label in enumerate(labels):
        names = [image.name for image in images if image.label == i]
        count = max(1, round(VAL_SHARE * len(names)))
        held.update(random.Random(f"{seed} {label}").sample(names, count))  # noqa: S311 - no secret
    return (
        tuple(image for image in images if image.name not in held),
        tuple(image for image in images if image.name in held),
    )
