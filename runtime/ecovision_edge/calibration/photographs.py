"""The network's raw answers to photographs, which are all that calibration looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecovision_edge.classifier import Classifier
from ecovision_edge.errors import FrameError, ImageReadError
from ecovision_edge.images import read_image

__all__ = ["Outcome", "classify_photographs"]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of some photographs.

    Args:
        logits: `(n, classes) float64`, a row a photograph that could be read.
        rows: `(n,)`, which of the photographs it is.
        failures: Why the others could not be read, a line each.
    """

    logits: npt.NDArray[np.float64]
    rows: npt.NDArray[np.intp]
    failures: tuple[str, ...] = ()


def classify_photographs(
    classifier: Classifier,
    paths: Sequence[Path],
    *,
    progressed: Callable[[], None] = lambda: None,
    failed: Callable[[str], None] = lambda reason: None,
) -> Outcome:
    """Run the network on image files, holding one at a time; what cannot be read is told and left out.

    Args:
        classifier: Any artifact.
        paths: Image files.
        progressed: Called after each.
        failed: Called with the reason for each that could not be read.

    Raises:
        InferenceError: the engine failed.
    """
    logits = np.empty((len(paths), len(classifier.labels)), np.float64)
    rows: list[int] = []
    failures: list[str] = []
    for i, path in enumerate(paths):
        try:
            logits[len(rows)] = classifier.logits(read_image(path))
        except (ImageReadError, FrameError) as e:  # FrameError: too large a side, for instance
            failures.append(e.message if isinstance(e, ImageReadError) else f"{path}: {e.message}")
            failed(failures[-1])
        else:
            rows.append(i)
        progressed()
    return Outcome(logits[: len(rows)], np.array(rows, np.intp), tuple(failures))
