"""What the demo page asks: the artifacts of a bundle that this machine can run, one picture at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecovision_edge.backends import BackendOptions
from ecovision_edge.base.names import quoted
from ecovision_edge.base.providers import option_pairs
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.classifier import Classifier
from ecovision_edge.demo.occlusion import Occlusion, occlude
from ecovision_edge.demo.pictures import overlay, seen
from ecovision_edge.errors import ArtifactNotFoundError, EcovisionError, InferenceError
from ecovision_edge.prediction import Prediction

__all__ = ["Choice", "DemoSession", "Look", "Where"]

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Choice:
    """An artifact of the bundle, and whether this machine can run it.

    Args:
        name: `int8-onnx`, or the name of a lone model file.
        classifier: Loaded, and run once; None where it cannot be.
        reason: Why it cannot; empty where it can.
    """

    name: str
    classifier: Classifier | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """The answer to one picture.

    Args:
        artifact: Which one answered.
        engine: Name and version of its engine.
        threads: Threads of one inference.
        labels: All classes.
        prediction: What it said.
        threshold: The least probability of the predicted label, 0 to 1, below which a decision is no
            decision; None where the contract has none.
        size: Width and height of the picture as it came, pixels.
        seen: What the network saw, `(height, width, 3) uint8 BGR`.
    """

    artifact: str
    engine: str
    threads: int
    labels: tuple[str, ...]
    prediction: Prediction
    threshold: float | None
    size: tuple[int, int]
    seen: Picture

    @property
    def unknown(self) -> bool:
        """Whether the score is below the label's threshold."""
        return self.threshold is not None and self.prediction.score < self.threshold


@dataclass(frozen=True, slots=True)
class Where:
    """Where the network looked when it gave its label.

    Args:
        artifact: Which one was asked.
        label: Its most probable label.
        occlusion: The map, and how it was made.
        picture: The map over what the network saw, `(height, width, 3) uint8 BGR`.
    """

    artifact: str
    label: str
    occlusion: Occlusion
    picture: Picture


class DemoSession:
    """The artifacts of a bundle, for several threads at once.

    One thread at a time has the network, whichever artifact it asks: an engine need not bear several, and the
    times that are shown would be those of a crowd. A map gives way between its runs.
    """

    def __init__(self, choices: tuple[Choice, ...], default: str) -> None:
        """`DemoSession.load` is the usual way; `default` is the name of a choice that can be run."""
        self._choices = choices
        self._running = {c.name: c.classifier for c in choices if c.classifier is not None}
        self._default = default
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self.classifier(default)

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | None = None,
        *,
        artifact: str = "auto",
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        provider_options: Mapping[str, str | int] | None = None,
        profile: bool = True,
    ) -> DemoSession:
        """Load a bundle's artifacts, or a lone model file; each is run once.

        Args:
            source: Bundle or model, as for `Classifier.load`.
            artifact: The one to begin with; it has to run. Of the others those that cannot are listed with
                the reason.
            threads: Threads for one inference; None is as `Classifier.load` says.
            providers: Execution providers of ONNX models, as `Classifier.load` takes them.
            provider_options: Their options.
            profile: Whether the device profile chooses artifact and threads to begin with.

        Raises:
            EcovisionError: as `Classifier.load`.
        """
        options = BackendOptions(
            threads,
            None if providers is None else tuple(providers),
            provider_options=option_pairs(provider_options),
        )
        first = Classifier.load(
            source,
            artifact=artifact,
            threads=threads,
            providers=providers,
            provider_options=provider_options,
            profile=profile,
        )
        _run_once(first)
        bundle = first.bundle
        if bundle is None:
            return cls((Choice(first.artifact, first),), first.artifact)
        choices = []
        for entry in bundle.manifest.artifacts:
            if entry.name == first.artifact:
                choices.append(Choice(entry.name, first))
                continue
            try:
                other = Classifier.from_bundle(bundle, entry.name, options.fitting(entry.format))
                _run_once(other)
            except EcovisionError as e:
                choices.append(Choice(entry.name, None, e.message))
            else:
                choices.append(Choice(entry.name, other))
        return cls(tuple(choices), first.artifact)

    @property
    def choices(self) -> tuple[Choice, ...]:
        """All artifacts, in the bundle's order."""
        return self._choices

    @property
    def default(self) -> str:
        """The artifact to begin with."""
        return self._default

    @property
    def contract(self) -> Contract:
        """The contract of all artifacts: a bundle has one."""
        return self.classifier(self._default).contract

    @property
    def name(self) -> str:
        """The name of the bundle, or of the lone model file."""
        bundle = self.classifier(self._default).bundle
        return self._default if bundle is None else bundle.manifest.name

    def classifier(self, artifact: str) -> Classifier:
        """Return a classifier that can be run.

        Raises:
            ArtifactNotFoundError: there is none of that name.
        """
        found = self._running.get(artifact)
        if found is None:
            raise ArtifactNotFoundError(
                f"no artifact {quoted(artifact)} to run here",
                expected=f"one of {', '.join(self._running)}",
            )
        return found

    def look(self, frame: Picture, artifact: str) -> Look:
        """Classify one picture.

        Args:
            frame: `(height, width, 3) uint8 BGR`.
            artifact: Name of a choice that can be run.

        Raises:
            ArtifactNotFoundError: there is none of that name.
            FrameError, InferenceError: as `Classifier.classify`; or the session is closed.
        """
        classifier = self.classifier(artifact)
        with self._network():
            prediction = classifier.classify(frame)
        thresholds = classifier.contract.thresholds
        return Look(
            artifact=artifact,
            engine=classifier.backend.engine,
            threads=classifier.backend.threads,
            labels=classifier.labels,
            prediction=prediction,
            threshold=None if thresholds is None else thresholds[prediction.index],
            size=(frame.shape[1], frame.shape[0]),
            seen=seen(classifier.prepare(frame), classifier.contract),
        )

    def where(self, frame: Picture, artifact: str) -> Where:
        """Map where the network looked for its most probable label; raises as `look`.

        It takes as long as `occlude` says.
        """
        classifier = self.classifier(artifact)
        batch = classifier.prepare(frame)

        def run(network_input: npt.NDArray[np.uint8 | np.float32]) -> npt.NDArray[np.float32]:
            with self._network():
                return classifier.run(network_input)

        found = occlude(run, batch, classifier.contract)
        picture, _ = overlay(seen(batch, classifier.contract), found.drop)
        return Where(artifact, classifier.labels[found.index], found, picture)

    def close(self) -> None:
        """Raise InferenceError for whoever asks from now on, or in the middle of a map. Idempotent."""
        self._closed.set()

    @contextmanager
    def _network(self) -> Iterator[None]:
        with self._lock:
            if self._closed.is_set():
                raise InferenceError("the page is closed")
            yield


def _run_once(classifier: Classifier) -> None:
    """Run once to set up an engine's memory, untimed; it shows whether the engine runs."""
    spec = classifier.contract.input
    classifier.run(np.zeros(spec.shape(1), spec.dtype))
