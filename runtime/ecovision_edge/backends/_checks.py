"""What every engine checks alike: what goes in, and what comes out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import InferenceError

__all__ = ["check_batch", "check_logits"]


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
