"""The contract among a model file's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ecovision_edge.bundle.contract import METADATA_KEY
from ecovision_edge.errors import MissingContractError

__all__ = ["contract_entry"]

Entry = TypeVar("Entry", str, bytes)


def contract_entry(metadata: Mapping[str, Entry]) -> Entry:
    """Return the contract among a model's metadata, not yet read.

    Raises:
        MissingContractError: there is none.
    """
    entry = metadata.get(METADATA_KEY)
    if entry is None:
        raise MissingContractError(
            "the model carries no contract",
            expected=f"metadata {METADATA_KEY}",
            found=f"{', '.join(sorted(metadata)) or 'no metadata'}"[:200],
            fix="export it with `ecovision-edge export`",
        )
    return entry
