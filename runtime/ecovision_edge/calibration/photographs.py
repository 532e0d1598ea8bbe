"""The network's raw answers to photographs, which are all that calibration looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.bundle.views import PLAIN, RegionView
from ecovision_edge.classifier import Classifier
from ecovision_edge.errors import FrameError, ImageReadError
from ecovision_edge.photographs.images import Reduce, leaving, read_image
from ecovision_edge.photographs.letterbox import read_boxed, strip_bars
from ecovision_edge.photographs.turns import turned
from ecovision_edge.preprocess.region import Region

__all__ = ["Outcome", "Showing", "classify_photographs", "in_view"]

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Showing:
    """How photographs are shown to the network.

    Args:
        views: Each photograph in each of them.
        turns: Photograph n is first turned by n of so many even parts of a circle, at least 1: things lie as
            they fell, photographs are mostly upright.
        strip_bars: Its grey letterbox bars, if it has some, are taken off before.
    """

    views: tuple[RegionView, ...] = (PLAIN,)
    turns: int = 1
    strip_bars: bool = False

    def reduction(self, classifier: Classifier) -> Reduce:
        """Return how small a JPEG may be decoded to be shown so: the closest view still has all it needs."""
        return leaving(classifier.reduction, min(1.0, *(view.scale for view in self.views)))

    def read(self, path: Path, reduce: Reduce | None) -> Picture:
        """Read a photograph to be shown; raises ImageReadError."""
        return read_boxed(path, reduce) if self.strip_bars else read_image(path, reduce)

    def views_of(self, picture: Picture, number: int) -> list[Picture]:
        """Return the photograph with that number in each view."""
        if self.strip_bars:
            picture = strip_bars(picture)
        picture = turned(picture, number % self.turns, self.turns)
        return [in_view(picture, view) for view in self.views]


def in_view(picture: Picture, view: RegionView) -> Picture:
    """Return a photograph of one thing as `Region.cut` gives the part of a frame with that thing.

    Around a photograph there is nothing: a wider cut shows the photograph mirrored at its edges.

    Args:
        picture: `(height, width, 3) uint8`.
        view: How it is looked at.
    """
    height, width = picture.shape[:2]
    around = max(0.0, view.scale - 1) / 2
    rows, columns = min(round(height * around), height - 1), min(round(width * around), width - 1)
    if rows > 0 or columns > 0:
        picture = cv2.copyMakeBorder(  # type: ignore[assignment]  # OpenCV names no dtype
            picture, rows, rows, columns, columns, cv2.BORDER_REFLECT_101
        )
    return Region(columns, rows, columns + width, rows + height, view).cut(picture)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of some photographs.

    Args:
        logits: `(n, views, classes) float64`, one row per photograph that could be read.
        rows: `(n,)`, which of the photographs it is.
        failures: Why the others could not be read, a line each.
    """

    logits: npt.NDArray[np.float64]
    rows: npt.NDArray[np.intp]
    failures: tuple[str, ...] = ()


def classify_photographs(
    classifier: Classifier,
    paths: Sequence[Path],
    showing: Showing | None = None,
    *,
    whole: bool = False,
    progressed: Callable[[], None] = lambda: None,
    failed: Callable[[str], None] = lambda reason: None,
) -> Outcome:
    """Run the network on image files, holding one at a time; what cannot be read is told and left out.

    Args:
        classifier: Any artifact.
        paths: Image files.
        showing: How they are shown; None: as they are.
        whole: Whether JPEG is decoded whole, equal to PIL; else as small as will do, which changes logits by
            no more than a level of noise does.
        progressed: Called after each.
        failed: Called with the reason for each that could not be read.

    Raises:
        InferenceError: the engine failed.
    """
    showing = showing or Showing()
    reduce = None if whole else showing.reduction(classifier)
    logits = np.empty((len(paths), len(showing.views), len(classifier.labels)), np.float64)
    rows: list[int] = []
    failures: list[str] = []
    for i, path in enumerate(paths):
        try:
            views = showing.views_of(showing.read(path, reduce), i)
            logits[len(rows)] = [classifier.logits(view) for view in views]
        except (ImageReadError, FrameError) as e:  # FrameError: too large a side, for instance
            failures.append(e.message if isinstance(e, ImageReadError) else f"{path}: {e.message}")
            failed(failures[-1])
        else:
            rows.append(i)
        progressed()
    return Outcome(logits[: len(rows)], np.array(rows, np.intp), tuple(failures))
