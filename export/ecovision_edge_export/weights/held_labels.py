"""The labels that travel with weights: in the dicts around them, or in metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ecovision_edge.bundle.contract import check_labels
from ecovision_edge.errors import CheckpointError, ContractError
from ecovision_edge_export.weights.harmless import plain

__all__ = ["HeldLabels", "find_labels"]

_LISTED = re.compile(
    r"(class|label|target|category|cat|cls)?(names?|labels?|classes|list)|categor(y|ies)|labels?(map|dict)|"
    r"class(map|dict)"
)
_INDEX, _CLASS = r"(ids?|idx|index|indices|int|num|number)", r"(labels?|class|classes|cls|name|cat|category)"
_BY_NUMBER = re.compile(rf"{_INDEX}(2|to){_CLASS}")
_BY_LABEL = re.compile(rf"{_CLASS}((2|to){_INDEX}|indices|ids|index)")
"""Keys in small letters and without `_`: of labels, of dicts from the number, and of dicts from the label;
in others which is which is told by what is a text."""

_VAGUE = re.compile(r"names?|categor(y|ies)|list|targetnames|.*(map|dict|list)")
"""Keys that may name something else: labels only where they are as many as classes."""

HOLDERS = (
    *(
        "hyper_parameters",
        "datamodule_hyper_parameters",
        "hyperparameters",
        "hparams",
        "args",
        "opt",
        "config",
    ),
    *("cfg", "model_config", "model_args", "meta", "dataset_meta", "metadata", "data"),
)
"""Dicts and namespaces beside the weights that are looked into too."""

_FIX = "give --labels FILE, one label per line, in the order the model was trained on"


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
    """Return the labels of the outermost place that names them: a list, or a dict numbered from 0 or from 1.

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
        named = _letters(key.rpartition(".")[2])
        labels, first = _labels(named, plain(value))
        vague = _VAGUE.fullmatch(named) is not None
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
    """Return the labels, where all places name the same, and they can be those of the network."""
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
            expected=f"{num_classes} labels, one per class",
            found=len(labels),
            fix=_FIX,
        )
    return labels


def _places(holders: Sequence[Mapping[object, object]]) -> Iterator[tuple[str, object]]:
    """Yield what may be labels, with its key, outermost first."""
    for holder in holders:
        yield from _named(holder)
    for holder in holders:
        yield from _within(holder, "", 2)


def _within(holder: Mapping[object, object], path: str, depth: int) -> Iterator[tuple[str, object]]:
    """Likewise, of the dicts and namespaces in a holder, and of those in them."""
    for within in HOLDERS:
        inner = plain(holder.get(within))
        if isinstance(inner, Mapping):
            yield from ((f"{path}{within}.{key}", value) for key, value in _named(inner))
            if depth > 1:
                yield from _within(inner, f"{path}{within}.", depth - 1)


def _named(holder: Mapping[object, object]) -> list[tuple[str, object]]:
    """Return the items whose keys name labels; dicts from the label last."""
    texts = [(key, _letters(key), value) for key, value in holder.items() if isinstance(key, str)]
    found = [(k, v) for k, named, v in texts if _LISTED.fullmatch(named) or _BY_NUMBER.fullmatch(named)]
    return found + [(k, v) for k, named, v in texts if _BY_LABEL.fullmatch(named)]


def _letters(key: str) -> str:
    """Return a key as it is compared: trainings differ in case and in `_`."""
    return key.lower().replace("_", "").replace("-", "") if len(key) <= 40 else ""


def _labels(key: str, value: object) -> tuple[tuple[str, ...] | None, int]:
    """Labels in order, or None where the value is something else of that name; and their first number."""
    if isinstance(value, (list, tuple)):
        items = [plain(item) for item in value]
        if items and all(isinstance(item, Mapping) for item in items):
            return _described([item for item in items if isinstance(item, Mapping)])
        return tuple(str(item) for item in items) if items and all(map(_is_text, items)) else None, 0
    if not isinstance(value, Mapping) or not value:
        return None, 0
    pairs = [(plain(k), plain(v)) for k, v in value.items()]
    numbered = _numbered(pairs) if not _BY_LABEL.fullmatch(key) else None
    return _ordered(numbered or _numbered([(v, k) for k, v in pairs]), len(pairs))


def _described(items: Sequence[Mapping[object, object]]) -> tuple[tuple[str, ...] | None, int]:
    """Likewise of dicts with `id` and `name`, as in annotations of COCO."""
    return _ordered(_numbered([(plain(i.get("id")), plain(i.get("name"))) for i in items]), len(items))


def _ordered(numbered: Mapping[int, str] | None, count: int) -> tuple[tuple[str, ...] | None, int]:
    """Return the labels by their numbers, if these are `count` in a row from 0 or 1; and the first number."""
    if numbered is None:
        return None, 0
    first = min(numbered)
    labels = tuple(numbered[first + i] for i in range(count) if first + i in numbered)
    return labels if len(labels) == count and first in {0, 1} else None, first


def _numbered(pairs: Sequence[tuple[object, object]]) -> dict[int, str] | None:
    """Labels by their numbers; None where these are not numbers and texts."""
    numbers = [_number(number) for number, _ in pairs]
    found = {n: str(text) for n, (_, text) in zip(numbers, pairs, strict=True) if n is not None}
    return found if len(found) == len(pairs) and all(_is_text(text) for _, text in pairs) else None


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 4:
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 10_000:
        return int(value)  # as JSON and tables make of integers
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_text(value: object) -> bool:
    return isinstance(value, str)
