"""What a loop has its frames classified by."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ecovision_edge.prediction import Prediction

__all__ = ["Classifies"]


class Classifies(Protocol):
    """Looks at a frame: `ecovision_edge.Classifier`, or what stands in for one."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        ...

    def classify(self, frame: npt.NDArray[np.generic]) -> Prediction:
        """Return what it says of a frame `(height, width, 3)` uint8 BGR."""
        ...
