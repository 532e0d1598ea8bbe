"""What differs between two contracts: labels by name, and every other value at its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.bundle.contract import Contract

__all__ = ["ContractDifference", "LabelChanges", "contract_differences", "label_changes"]

_NONE = "none"


@dataclass(frozen=True, slots=True)
class LabelChanges:
    """How the labels of two models differ; answers are compared by name, so their order changes nothing.

    Args:
        removed: Labels that only the old one has: the new one is always wrong about these things.
        added: Labels that only the new one has.
        renamed: Pairs, old and new, of those that differ in case alone; rules and folders name one of them.
        reordered: Whether the labels that both have come in another order.
    """

    removed: tuple[str, ...]
    added: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    reordered: bool

    @property
    def same(self) -> bool:
        """Whether both have the same labels, in whatever order."""
        return not self.removed and not self.added


@dataclass(frozen=True, slots=True)
class ContractDifference:
    """One value that is another one, as text.

    Args:
        field: Its place, as `resize.mode` or `views.thresholds`.
        old: What the old model's contract says.
        new: What the new one's says.
        label: Of a threshold, the label that it is for; None of all else.
    """

    field: str
    old: str
    new: str
    label: str | None = None


def label_changes(old: Sequence[str], new: Sequence[str]) -> LabelChanges:
    """Compare the labels of two models."""
    removed = tuple(label for label in old if label not in new)
    added = tuple(label for label in new if label not in old)
    folded = {label.casefold(): label for label in added}
    renamed = tuple((label, folded[label.casefold()]) for label in removed if label.casefold() in folded)
    shared = [label for label in old if label in new]
    return LabelChanges(removed, added, renamed, shared != [label for label in new if label in old])


def contract_differences(old: Contract, new: Contract) -> tuple[ContractDifference, ...]:
    """List what differs but for the labels, in the order of the contract.

    Thresholds are compared label by label, those of labels that both have.
    """
    before, after = (dict(_values(contract)) for contract in (old, new))
    shared = {None, *(label for label in old.labels if label in new.labels)}
    return tuple(
        ContractDifference(field, before.get((field, label), _NONE), after.get((field, label), _NONE), label)
        for field, label in dict.fromkeys([*before, *after])
        if label in shared and before.get((field, label)) != after.get((field, label))
    )


_Place: TypeAlias = "tuple[str, str | None]"  # a field, and the label of a threshold


def _values(contract: Contract) -> Iterator[tuple[_Place, str]]:
    """Yield each value of a contract but its labels, with its place."""
    # Contracts of the first version leave out what is then false or none.
    whole = contract.to_json()
    whole = {**whole, "any_orientation": contract.any_orientation, "views": whole.get("views")}
    for key, value in whole.items():
        if key not in ("schema_version", "labels"):
            yield from _flat(key, value, contract.labels)


def _flat(field: str, value: JsonValue, labels: Sequence[str]) -> Iterator[tuple[_Place, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{field}.{key}", item, labels)
    elif isinstance(value, list) and field.rpartition(".")[2] == "thresholds":
        yield from (((field, label), _said(item)) for label, item in zip(labels, value, strict=True))
    elif value is not None:
        yield (field, None), _said(value)


def _said(value: JsonValue) -> str:
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
