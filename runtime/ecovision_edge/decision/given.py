"""What `BinDecider.step` takes besides an `Observation`, for callers with a loop of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from ecovision_edge.errors import FrameTypeError
from ecovision_edge.observation import Observation
from ecovision_edge.prediction import Prediction
from ecovision_edge.preprocess.frames import Bgr

__all__ = ["Given", "Observed", "observation_of"]


@runtime_checkable
class Observed(Protocol):
    """Something that tells its own observation: a `LoopResult`, a `CapturedFrame`."""

    @property
    def observation(self) -> Observation:
        """What is known of its frame."""
        ...


Given: TypeAlias = Observation | Observed | Prediction | npt.NDArray[np.uint8] | Sequence[float]
"""An observation, or what one is made of: a loop's result, a frame, a prediction, or probabilities."""


def observation_of(given: Given) -> Observation:
    """Make an observation of what a caller has.

    Raises:
        FrameTypeError: it is something that `Given` does not name.
    """
    if isinstance(given, Observation):
        return given
    if isinstance(given, np.ndarray):
        return Observation(Bgr(given))  # checked where a gate or a classifier is given it
    if isinstance(given, Observed):
        return given.observation
    if isinstance(given, Prediction):
        return Observation().classified(given)
    if isinstance(given, Iterable) and not isinstance(given, (str, bytes)):
        return Observation(probabilities=tuple(given))
    raise FrameTypeError(
        "what step was given",
        expected="an observation, a loop's result, a frame, a prediction, or probabilities",
        found=type(given).__name__,
    )
