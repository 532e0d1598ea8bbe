"""Ask two classifiers the same pictures, one picture in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.reasons import reason_of
from ecovision_edge.base.stats import wilson_interval
from ecovision_edge.comparison.outcomes import Failure, LabelledComparison, Outcome, count_outcomes
from ecovision_edge.errors import EcovisionError, FrameError, ImageReadError, RecordError
from ecovision_edge.photographs.images import Reduce, read_image
from ecovision_edge.photographs.labelled import LabelledImage
from ecovision_edge.photographs.letterbox import read_boxed
from ecovision_edge.prediction import Prediction
from ecovision_edge.preprocess.region import Region
from ecovision_edge.recording.disk import read_sidecar, sidecar_of
from ecovision_edge.recording.sidecar import parse_sidecar

__all__ = [
    "Compared",
    "Disagreement",
    "FrameComparison",
    "compare_frames",
    "compare_labelled",
    "every_label",
    "needs_of_both",
]


class Compared(Protocol):
    """A classifier that can be compared: `ecovision_edge.Classifier`, or what stands in for one."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        ...

    def classify(self, frame: npt.NDArray[np.generic]) -> Prediction:
        """Return what it says of a frame `(height, width, 3)` uint8 BGR."""
        ...

    def reduction(self, height: int, width: int) -> int:
        """Return how many times smaller a JPEG of that size may be decoded: 1, 2, 4 or 8."""
        ...


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A frame that both call something else.

    Args:
        path: Its picture.
        old: What the old one says.
        new: What the new one says.
        old_score: Probability of `old`, 0 to 1, as the old one says.
        new_score: Probability of `new`, 0 to 1, as the new one says.
        region: What of the frame was looked at; None is all of it.
    """

    path: Path
    old: str
    new: str
    old_score: float
    new_score: float
    region: Region | None = None

    @property
    def sureness(self) -> float:
        """The lesser of both scores: high where both are sure, and one of them is surely wrong."""
        return min(self.old_score, self.new_score)


@dataclass(frozen=True, slots=True)
class FrameComparison:
    """Both on frames of which nobody knows what they show.

    Args:
        compared: Frames that both looked at.
        disagreements: Those that they call something else, in order.
        skipped: Frames of a recording that no network had looked at: an empty tray, for instance.
        failures: Pictures that could not be looked at; they count nowhere else.
    """

    compared: int
    disagreements: tuple[Disagreement, ...]
    skipped: int = 0
    failures: tuple[Failure, ...] = ()

    @property
    def agreed(self) -> int:
        """How many frames both call the same."""
        return self.compared - len(self.disagreements)

    @property
    def agreement(self) -> float:
        """Their share, 0 to 1; 0 without frames, which prove nothing."""
        return self.agreed / self.compared if self.compared else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `agreement`, as if frames were independent: those of one item are not."""
        return wilson_interval(self.agreed, self.compared)


def every_label(old: Compared, new: Compared) -> tuple[str, ...]:
    """Return the labels of the old one, then those that only the new one has: what folders may be called."""
    return old.labels + tuple(label for label in new.labels if label not in old.labels)


def needs_of_both(old: Compared, new: Compared) -> Reduce:
    """Return how small a JPEG may be decoded for both: as large as the one that needs more."""
    return lambda height, width: min(old.reduction(height, width), new.reduction(height, width))


def compare_labelled(
    old: Compared,
    new: Compared,
    images: Sequence[LabelledImage],
    labels: Sequence[str] | None = None,
    *,
    thresholds: tuple[Sequence[float] | None, Sequence[float] | None] = (None, None),
    progressed: Callable[[], None] = lambda: None,
) -> LabelledComparison:
    """Classify labelled photographs with both; answers are compared by the names of the classes.

    What cannot be read is left out, and told in `failures`.

    Args:
        old: The classifier in use.
        new: The one that may take its place; its labels may be others, or in another order.
        images: The photographs (`photographs.labelled.find_labelled`), each decoded once for both.
        labels: What the numbers in `images` stand for; None is `every_label(old, new)`.
        thresholds: Of old and new, the least score of each label, 0 to 1, for which it is decided
            (`contract.thresholds`); None: all is.
        progressed: Called after each photograph.

    Raises:
        InferenceError: an engine failed.
    """
    names = every_label(old, new) if labels is None else tuple(labels)
    reduce = needs_of_both(old, new)
    outcomes: list[Outcome] = []
    failures: list[Failure] = []
    for image in images:
        try:
            frame = read_boxed(image.path, reduce)
            said, says = old.classify(frame), new.classify(frame)
        except (
            ImageReadError,
            FrameError,
        ) as e:  # FrameError: too large a side, for instance
            failures.append(Failure(image.name, e.message))
        else:
            sure = [_sure(one, of) for one, of in zip((said, says), thresholds, strict=True)]
            outcomes.append(Outcome(image.name, names[image.label], said.label, says.label, *sure))
        progressed()
    return count_outcomes(outcomes, old.labels, failures)


def compare_frames(
    old: Compared,
    new: Compared,
    pictures: Iterable[Path],
    *,
    progressed: Callable[[], None] = lambda: None,
) -> FrameComparison:
    """Classify frames with both, as they were looked at when they were recorded.

    Of a recording (`recording.FrameFolder`) the part that was classified is, and a frame that was not
    classified is skipped. A picture without a sidecar is looked at whole.

    Args:
        old: The classifier in use.
        new: The one that may take its place.
        pictures: Files.
        progressed: Called after each picture.

    Raises:
        InferenceError: an engine failed.
    """
    compared = skipped = 0
    disagreements: list[Disagreement] = []
    failures: list[Failure] = []
    for path in pictures:
        try:
            region, looked_at = _recorded(path)
            if looked_at:
                frame = read_image(path, None if region else needs_of_both(old, new))
                part = frame if region is None else region.cut(frame)
                said, says = old.classify(part), new.classify(part)
                compared += 1
                if said.label != says.label:
                    disagreements.append(
                        Disagreement(path, said.label, says.label, said.score, says.score, region)
                    )
            else:
                skipped += 1
        except (ImageReadError, FrameError, RecordError) as e:
            failures.append(Failure(path.name, e.message))
        progressed()
    return FrameComparison(compared, tuple(disagreements), skipped, tuple(failures))


def _sure(said: Prediction, thresholds: Sequence[float] | None) -> bool:
    return thresholds is None or said.score >= thresholds[said.index]


def _recorded(picture: Path) -> tuple[Region | None, bool]:
    """Return what of a picture was looked at, None for all of it, and whether it was at all.

    Raises:
        RecordError: what a recording says of it cannot be read.
    """
    try:
        data = read_sidecar(picture)
    except OSError as e:
        if isinstance(e, EcovisionError):
            raise
        raise RecordError(f"cannot read {sidecar_of(picture)}", found=reason_of(e)) from e
    if data is None:
        return None, True
    result = parse_sidecar(data, str(sidecar_of(picture)), picture.name)
    return result.region, result.tray is None
