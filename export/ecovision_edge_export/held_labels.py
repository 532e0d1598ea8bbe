"""The labels that travel with weights: in the dicts around them, or in metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ecovision_edge.contract import check_labels
from ecovision_edge.errors import CheckpointError, ContractError
from ecovision_edge_export.harmless import plain

__all__ = ["HeldLabels", "find_labels"]

LABEL_KEYS = (
    *("labels", "classes", "class_names", "names", "label_names", "class_labels", "categories", "idx2label"),
    *("id2label", "idx_to_class", "id_to_class", "idx2class", "index_to_class", "int_to_label"),
)
NUMBER_KEYS = ("class_to_idx", "label2id", "class_to_id", "class2idx", "class_to_index", "label_to_idx")
"""Dicts from the label to its number; else either way round is told by what is a text."""

VAGUE_KEYS = ("names", "categories")  # may name something else: labels only where they are as many
HOLDERS = ("hyper_parameters", "hparams", "args", "config", "cfg", "meta", "dataset_meta", "metadata")
"""Dicts and namespaces beside the weights that are looked into too."""

_FIX = "give --labels FILE, one label a line, in the order the model was trained on"


@dataclass(frozen=True, slots=True)
class HeldLabels:
    """Labels in the order of the output, None where there are none, and what a reader should know."""

    labels: tuple[str, ...] | None
    notes: tuple[str, ...] = ()


def find_labels(
    around: Sequence[Mapping[object, object]],
    metadata: Mapping[object, object],
    num_classes: int,
    name: str,
) -> HeldLabels:
    """The labels of the outermost place that names them: a list, or a dict numbered from 0 or from 1.

    Args:
        around: The dicts around the weights, outermost first.
        metadata: JSON values of a .safetensors file.
        num_classes: Outputs of the network.
        name: Of the file, for messages.

    Raises:
        CheckpointError: two places disagree, or they are not as many as classes, or not labels.
    """
    places: dict[str, tuple[str, ...]] = {}
    notes: list[str] = []
    unread: list[str] = []
    for key, value in _places([*around, metadata]):
        labels, first = _labels(key.rpartition(".")[2], plain(value))
        vague = key.rpartition(".")[2] in VAGUE_KEYS
        if labels is not None and (len(labels) == num_classes or not vague):
            places.setdefault(key, labels)
            if first:
                notes.append(f"`{key}` counts from 1: the first output is taken as {labels[0]}")
        elif labels is None and isinstance(plain(value), (list, tuple, Mapping)):
            unread.append(key)
    if not places:
        return HeldLabels(None, tuple(f"`{key}` in {name} is not read as labels" for key in unread))
    return HeldLabels(_agreed(places, num_classes, name), tuple(notes))


def _agreed(places: Mapping[str, tuple[str, ...]], num_classes: int, name: str) -> tuple[str, ...]:
    """The labels, where all places name the same, and they can be those of the network."""
    key, labels = next(iter(places.items()))
    for other, those in places.items():
        if those != labels:
            raise CheckpointError(f"{name}: its `{key}` and its `{other}` name different labels", fix=_FIX)
    try:
        check_labels(labels, f"{name}: {key}")
    except ContractError as e:
        raise CheckpointError(e.message, fix=_FIX) from e
    if len(labels) != num_classes:
        raise CheckpointError(
            f"{name}: {key}",
            expected=f"{num_classes} labels, one a class",
            found=len(labels),
            fix=_FIX,
        )
    return labels


def _places(holders: Sequence[Mapping[object, object]]) -> Iterator[tuple[str, object]]:
    """What may be labels, with its key, outermost first."""
    for holder in holders:
        for key in (*LABEL_KEYS, *NUMBER_KEYS):
            if key in holder:
                yield key, holder[key]
    for holder in holders:
        for within in HOLDERS:
            inner = plain(holder.get(within))
            if isinstance(inner, Mapping):
                for key in (*LABEL_KEYS, *NUMBER_KEYS):
                    if key in inner:
                        yield f"{within}.{key}", inner[key]


def _labels(key: str, value: object) -> tuple[tuple[str, ...] | None, int]:
    """Labels in order, or None where the value is something else of that name; and their first number."""
    if isinstance(value, (list, tuple)):
        items = [plain(item) for item in value]
        return tuple(str(item) for item in items) if items and all(map(_is_text, items)) else None, 0
    if not isinstance(value, Mapping) or not value:
        return None, 0
    pairs = [(plain(k), plain(v)) for k, v in value.items()]
    numbered = _numbered(pairs) if key not in NUMBER_KEYS else None
    numbered = numbered or _numbered([(v, k) for k, v in pairs])
    if numbered is None:
        return None, 0
    first = min(numbered)
    ordered = [numbered.get(first + i) for i in range(len(value))]
    labels = tuple(label for label in ordered if label is not None)
    return labels if len(labels) == len(value) and first in {0, 1} else None, first


def _numbered(pairs: Sequence[tuple[object, object]]) -> dict[int, str] | None:
    """Labels by their numbers; None where these are not numbers and texts."""
    numbers = [_number(number) for number, _ in pairs]
    found = {n: str(text) for n, (_, text) in zip(numbers, pairs, strict=True) if n is not None}
    return found if len(found) == len(pairs) and all(_is_text(text) for _, text in pairs) else None


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 4:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_text(value: object) -> bool:
    return isinstance(value, str)
