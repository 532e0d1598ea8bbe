"""From logits to probabilities: apart from what they are worth (`probability`), for every start needs it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["softmax"]


def softmax(logits: npt.ArrayLike, temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Compute softmax of `logits / temperature` over the last axis, in float64."""
    scaled = np.asarray(logits, np.float64) / temperature
    exp = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    result: npt.NDArray[np.float64] = exp / exp.sum(axis=-1, keepdims=True)
    return result
