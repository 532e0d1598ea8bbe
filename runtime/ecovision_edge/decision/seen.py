"""What is in the things that `BinDecider.step` takes: a loop's result, a prediction, a frame, numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["image_in", "probabilities_in"]

Image = npt.NDArray[np.uint8]


def image_in(seen: object) -> Image | None:
    """The picture, `(height, width, 3) uint8 BGR`; None if there is none."""
    if isinstance(seen, np.ndarray):
        return seen
    image = getattr(getattr(seen, "frame", seen), "image", None)
    return image if isinstance(image, np.ndarray) else None


def probabilities_in(seen: object) -> Sequence[float] | None:
    """The probabilities of the classes; None if there is a picture at most."""
    found = getattr(seen, "prediction", seen)
    if (probabilities := getattr(found, "probabilities", None)) is not None:
        return tuple(probabilities)
    if seen is None or image_in(seen) is not None:
        return None
    return tuple(seen)  # type: ignore[arg-type]  # a sequence of numbers, as `step` says
