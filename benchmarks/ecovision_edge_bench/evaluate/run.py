"""Classify labelled photographs one by one, and keep of each no more than its figures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.device import Cpu, read_cpu
from ecovision_edge.classifier import Classifier
from ecovision_edge.cli.output import printable
from ecovision_edge.errors import DatasetError, FrameError, ImageReadError
from ecovision_edge.photographs.labelled import LabelledImage
from ecovision_edge.photographs.letterbox import read_boxed
from ecovision_edge.photographs.turns import TurnCounter, TurnReport
from ecovision_edge_bench.evaluate.metrics import Metrics, measure

__all__ = ["Answers", "Data", "Evaluation", "Failure", "Model", "answer", "evaluate_images"]


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that could not be classified, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Model:
    """What was evaluated, on what.

    Args:
        bundle: Name of the bundle; None for a lone model file.
        artifact: Of the bundle, or the file's name.
        precision: `fp32` or `int8`; None for a lone model file, which does not say.
        sha256: Of the model file.
        engine: Name and version.
        threads: For one inference.
        temperature: Divides the logits before softmax; from the contract.
        labels: In the order of the probabilities.
        cpu: This machine's.
    """

    bundle: str | None
    artifact: str
    precision: str | None
    sha256: str
    engine: str
    threads: int
    temperature: float
    labels: tuple[str, ...]
    cpu: Cpu

    @classmethod
    def of(cls, classifier: Classifier, source: Path | None) -> Model:
        """Describe a classifier that was loaded from `source`; None: from the embedded bundle."""
        bundle = classifier.bundle
        if bundle is not None:
            entry = bundle.artifact(classifier.artifact)
            name, precision, digest = bundle.manifest.name, entry.precision, entry.file.sha256
        else:
            assert source is not None
            name, precision, digest = None, None, hashlib.sha256(source.read_bytes()).hexdigest()
        return cls(
            name,
            classifier.artifact,
            precision,
            digest,
            classifier.backend.engine,
            classifier.backend.threads,
            classifier.contract.temperature,
            classifier.labels,
            read_cpu(),
        )

    @property
    def name(self) -> str:
        """Bundle and artifact, as they are shown."""
        return self.artifact if self.bundle is None else f"{self.bundle} {self.artifact}"


@dataclass(frozen=True, slots=True)
class Data:
    """Which photographs.

    Args:
        folder: As the user gave it.
        found: Images in folders that are a class.
        limit: How many of these were chosen; None: all.
        mapping: Folder to label, or to None where it was skipped, as the user gave it.
        skipped: Folders that were skipped, with their count of images.
        whole: Whether JPEG is decoded whole, equal to PIL; else as small as the classifier can do with, but
            for photographs with letterbox bars.
    """

    folder: Path
    found: int
    limit: int | None = None
    mapping: Mapping[str, str | None] | None = None
    skipped: tuple[tuple[str, int], ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What the classifier said; row i of each is of `images[i]`.

    Args:
        images: Those that were classified.
        truth: `(n,)`, indices of labels.
        predicted: `(n,)`, likewise.
        probabilities: `(n, classes) float32`.
        failures: Images that were not.
    """

    images: tuple[LabelledImage, ...]
    truth: npt.NDArray[np.intp]
    predicted: npt.NDArray[np.intp]
    probabilities: npt.NDArray[np.float32]
    failures: tuple[Failure, ...] = ()

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """`(n,)`, the probability of the predicted class."""
        scores: npt.NDArray[np.float32] = self.probabilities[np.arange(len(self.images)), self.predicted]
        return scores

    def surest(self, label: int, *, correct: bool) -> int | None:
        """Row of the photograph of class `label` with the highest score among the right, or wrong, answers.

        The first of several; None where there is none.
        """
        rows = np.flatnonzero((self.truth == label) & ((self.predicted == label) == correct))
        return int(rows[self.scores[rows].argmax()]) if len(rows) else None


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Everything that is reported.

    Args:
        model: What was evaluated.
        data: On which photographs.
        answers: To these as they are.
        metrics: Of the answers.
        turns: The same photographs turned, with their letterbox bars and without; of one turn, only whether
            bars matter.
    """

    model: Model
    data: Data
    answers: Answers
    metrics: Metrics
    turns: TurnReport | None = None


def answer(
    classifier: Classifier,
    images: Sequence[LabelledImage],
    *,
    counter: TurnCounter | None = None,
    whole: bool = False,
    progressed: Callable[[int], None] = lambda done: None,
    failed: Callable[[Failure], None] = lambda failure: None,
) -> Answers:
    """Classify images in order, holding one at a time; what cannot be read is told to `failed` and left out.

    Args:
        classifier: Any artifact.
        images: With labels of this classifier.
        counter: Gets each photograph that was classified, and the answer.
        whole: As of `Data`.
        progressed: Called after each image with the count so far.
        failed: Called for each image that could not be classified.

    Raises:
        InferenceError: the engine failed.
    """
    rows = np.empty((len(images), len(classifier.labels)), np.float32)
    reduce = None if whole else classifier.reduction
    predicted: list[int] = []
    good: list[LabelledImage] = []
    failures: list[Failure] = []
    for done, image in enumerate(images, 1):
        try:
            frame = read_boxed(image.path, reduce)
            prediction = classifier.classify(frame)
        except (ImageReadError, FrameError) as e:  # FrameError: too large a side, for instance
            named = "" if isinstance(e, ImageReadError) else f"{printable(str(image.path))}: "
            failures.append(Failure(image.name, f"{named}{e.message}"))
            failed(failures[-1])
        else:
            rows[len(good)] = prediction.probabilities
            predicted.append(prediction.index)
            good.append(image)
            if counter is not None:
                counter.add(frame, image.label, prediction.index)
        progressed(done)
    truth = np.array([image.label for image in good], np.intp)
    return Answers(tuple(good), truth, np.array(predicted, np.intp), rows[: len(good)], tuple(failures))


def evaluate_images(
    classifier: Classifier,
    model: Model,
    data: Data,
    images: Sequence[LabelledImage],
    *,
    turns: int = 1,
    progressed: Callable[[int], None] = lambda done: None,
    failed: Callable[[Failure], None] = lambda failure: None,
) -> Evaluation:
    """Classify images and compute the figures; otherwise as `answer`.

    Args:
        classifier: Any artifact.
        model: What it is.
        data: What the images are.
        images: With labels of this classifier.
        turns: At how many even turns; all figures but those of `Evaluation.turns` are of upright ones.
        progressed: As of `answer`.
        failed: As of `answer`.

    Raises:
        OptionError: no such number of turns.
        DatasetError: not one image could be classified.
        InferenceError: the engine failed.
    """
    counter = TurnCounter(turns, lambda frames: [classifier.classify(frame).index for frame in frames])
    answers = answer(
        classifier, images, counter=counter, whole=data.whole, progressed=progressed, failed=failed
    )
    if not answers.images:
        raise DatasetError(
            f"--data {data.folder}", expected="images that can be decoded", found=f"{len(images)} that cannot"
        )
    metrics = measure(model.labels, answers.truth, answers.predicted, answers.probabilities)
    return Evaluation(model, data, answers, metrics, counter.report())
