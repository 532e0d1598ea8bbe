"""What every engine checks alike: the contract in a model's metadata, what goes in, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ecovision_edge.bundle.contract import METADATA_KEY, Contract
from ecovision_edge.errors import InferenceError, MissingContractError

__all__ = ["check_batch", "check_logits", "contract_entry"]

Entry = TypeVar("Entry", str, bytes)


def contract_entry(metadata: Mapping[str, Entry]) -> Entry:
    """The contract among a model's metadata, not yet read.

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


def check_batch(batch: npt.NDArray[np.uint8 | np.float32], contract: Contract) -> None:
    """Check what is to be run.

    Raises:
        InferenceError: it is not `contract.input.shape(n)` of the contract's dtype.
    """
    spec = contract.input
    if batch.shape[1:] != spec.shape(1)[1:] or batch.ndim != 4 or batch.dtype != np.dtype(spec.dtype):
        raise InferenceError(
            "wrong input",
            expected=f"(n, {', '.join(map(str, spec.shape(1)[1:]))}) {spec.dtype}",
            found=f"{batch.shape} {batch.dtype}",
        )


def check_logits(logits: npt.NDArray[np.float32], count: int, contract: Contract) -> None:
    """Check what came out.

    Raises:
        InferenceError: it is not `(count, classes)`, or not finite.
    """
    shape = (count, len(contract.labels))
    if logits.shape != shape or not np.isfinite(logits).all():
        raise InferenceError(
            "wrong output",
            expected=f"{shape} finite numbers",
            found=f"{logits.shape}, {int(np.isfinite(logits).sum())} finite",
        )
