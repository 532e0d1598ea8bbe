"""Tries a new bundle gate by gate, in the process that may die of it (`updates.gates` starts it)."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ecovision_edge.backends import BackendOptions
from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.files import is_folder
from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.classifier import Classifier
from ecovision_edge.comparison.answers import compare_frames, compare_labelled, every_label
from ecovision_edge.comparison.latency import compare_latency
from ecovision_edge.errors import (
    ArtifactNotFoundError,
    BundleError,
    BundleNotFoundError,
    BundleReadError,
    ContractError,
    ImageReadError,
    InferenceError,
    ModelError,
    OptionError,
    RulesError,
    SchemaVersionError,
    TryLaterError,
)
from ecovision_edge.photographs.images import find_images, read_image
from ecovision_edge.photographs.labelled import find_labelled, read_folder, spread
from ecovision_edge.rules.sorting import Rules
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge.updates.children import answer, work
from ecovision_edge.updates.gates import GATES, Gate, GateResult, Trial
from ecovision_edge.verify import verify_bundle

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["CONFIDENCE", "FEWEST_RECORDED", "MOST_FRAMES", "run_gates"]

CONFIDENCE = 0.95
"""How sure it has to be that a bundle is worse on labelled frames before it is refused."""
MOST_FRAMES = 500
"""How many labelled frames are looked at, and how many recorded ones: of these the last ones. A slow device
looks at fewer."""
FEWEST_RECORDED = 20
"""With fewer frames a share says nothing."""

_ROUNDS = 60  # of the comparison of latency
_PICTURES = 8  # of the device's own, that it is timed with


class _Passing:
    """A bundle on its way through the gates; what one loads, the next ones use."""

    def __init__(self, trial: Trial, clock: Callable[[], float]) -> None:
        self._trial, self._clock = trial, clock
        self._candidate, self._current = Path(trial.candidate), Path(trial.current)
        self._new: Classifier | None = None
        self._old: Classifier | None = None
        self._why_alone = ""
        self._frame_s = 0.0  # what both take for one

    def files(self) -> GateResult:
        bundle = Bundle.open(self._candidate)
        entries = bundle.manifest.artifacts
        for entry in entries:
            bundle.read(entry)
        golden = bundle.golden()
        return GateResult("files", True, f"{len(entries)} models, {len(golden.inputs)} golden vectors")

    def contract(self) -> GateResult:
        bundle, name = Bundle.open(self._candidate), self._trial.loading.artifact
        try:
            entry = bundle.artifact(name)
        except ArtifactNotFoundError as e:
            if name == "auto" or self._runs_with(name):
                raise
            raise OptionError("--artifact", found=f"{e.message}; the one that runs has none either") from e
        return GateResult("contract", True, f"{entry.name}, {len(bundle.contract.labels)} labels")

    def _runs_with(self, artifact: str) -> bool:
        """Return whether the bundle that runs has such an artifact: else it is a mistake, and no fault."""
        try:
            Bundle.open(self._current).artifact(artifact)
        except (BundleError, ContractError):
            return False
        return True

    def rules(self) -> GateResult:
        if self._trial.rules is None:
            return GateResult("rules", True, "no rules", skipped=True)
        rules = Rules.load(self._trial.rules)
        try:
            rules.check(Bundle.open(self._candidate).contract.labels)
        except RulesError as e:
            return GateResult("rules", False, e.message)
        return GateResult("rules", True, f"{rules.name}: a bin for each label")

    def engine(self) -> GateResult:
        self._new = self._load(self._candidate)
        said = self._new.classify(draw_frame(0))
        return GateResult("engine", True, f"{self._new.backend.engine} opens it, and says {said.label}")

    def golden(self) -> GateResult:
        loading = self._trial.loading
        options = BackendOptions(
            threads=loading.threads,
            providers=loading.providers,
            delegate=loading.delegate,
            fp16=loading.fp16,
            provider_options=loading.provider_options if loading.providers is not None else (),
        )
        report = verify_bundle(self._candidate, options)
        wrong = [check for check in report.checks if check.checked and not check.ok]
        if wrong:
            return GateResult("golden", False, "; ".join(f"{check.name}: {check.detail}" for check in wrong))
        done = [check.name for check in report.checks if check.ok and check.name.startswith("golden ")]
        return GateResult("golden", True, f"right: {', '.join(name[7:] for name in done)}")

    def latency(self) -> GateResult:
        if (old := self._before()) is None:
            return self._alone("latency")
        found = compare_latency(old, self._now(), list(self._frames()), _ROUNDS, clock=self._clock)
        self._frame_s = (found.old_ms + found.new_ms) / 1000
        detail = (
            f"{found.new_ms:.2f} ms, {found.old_ms:.2f} ms before: {found.ratio:.2f} times as long"
            f" ({found.low:.2f} to {found.high:.2f})"
        )
        allowed = 1 + self._trial.max_slower
        if found.low > allowed:
            return GateResult("latency", False, f"{detail}, and {allowed:.2f} is allowed")
        return GateResult("latency", True, detail)

    def labelled(self) -> GateResult:
        folder = self._trial.labelled
        if folder is None or not _has_pictures(Path(folder)):
            return GateResult("labelled", True, "no labelled frames", skipped=True)
        if (old := self._before()) is None:
            return self._alone("labelled")
        new = self._now()
        images = find_labelled(Path(folder), every_label(old, new), option="--labelled").images
        total = compare_labelled(old, new, spread(images, self._most_frames())).total
        detail = (
            f"{total.new_right} of {total.photographs} right, {total.old_right} before;"
            f" {total.worse} got worse, {total.better} better (McNemar p {total.p_worse:.3g})"
        )
        return GateResult("labelled", total.p_worse > 1 - CONFIDENCE, detail)

    def recorded(self) -> GateResult:
        folder = self._trial.recorded
        if folder is None:
            return GateResult("recorded", True, "no recorded frames", skipped=True)
        if (old := self._before()) is None:
            return self._alone("recorded")
        found = compare_frames(old, self._now(), list(find_images(folder))[-self._most_frames() :])
        if found.compared < FEWEST_RECORDED:
            few = f"{found.compared} recorded frames, which say nothing: {FEWEST_RECORDED} would"
            return GateResult("recorded", True, few, skipped=True)
        allowed = self._trial.min_agree
        detail = f"as before on {found.agreed} of {found.compared} frames, {allowed:.0%} needed"
        return GateResult("recorded", found.agreement >= allowed, detail)

    def _most_frames(self) -> int:
        """Return how many frames can be looked at in a quarter of the time, decoding included."""
        return max(
            FEWEST_RECORDED, min(MOST_FRAMES, int(self._trial.seconds / 4 / (self._frame_s * 1.5 + 0.2)))
        )

    def _now(self) -> Classifier:
        assert self._new is not None, "the gate `engine` comes first"
        return self._new

    def _before(self) -> Classifier | None:
        """Return the one that runs; None if it is not to be compared with, or cannot be loaded any more."""
        if self._old is None and self._trial.compared and not self._why_alone:
            try:
                self._old = self._load(self._current)
            except (BundleError, ContractError, ModelError) as e:
                self._why_alone = f"the bundle that runs cannot be loaded: {e.message}"
        return self._old

    def _alone(self, gate: Gate) -> GateResult:
        why = self._why_alone or "the bundle that runs was withdrawn"
        return GateResult(gate, True, f"not compared: {why}", skipped=True)

    def _load(self, folder: Path) -> Classifier:
        loading = self._trial.loading
        return Classifier.load(
            folder,
            artifact=loading.artifact,
            threads=loading.threads,
            providers=loading.providers,
            provider_options=dict(loading.provider_options) or None,
            delegate=loading.delegate,
            fp16=loading.fp16,
            spinning=False,  # one's threads must not take the cores while the other is timed
            profile=False,  # which the new one cannot have yet
        )

    def _frames(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield the device's own pictures that it is timed with; synthetic ones where none can be read."""
        recorded, read = self._trial.recorded, 0
        for path in [] if recorded is None else list(find_images(recorded))[-_PICTURES:]:
            with contextlib.suppress(ImageReadError):  # cut off by a power cut, say
                yield read_image(path)
                read += 1
        if not read:
            yield from map(draw_frame, range(_PICTURES))


def run_gates(
    trial: Trial, say: Callable[[GateResult], None], *, clock: Callable[[], float] = time.perf_counter
) -> None:
    """Let a bundle pass the gates, and say what came of each; the first that it does not pass is the last.

    Raises:
        TryLaterError: the disk does not give a file, or somebody has removed it meanwhile.
        EcovisionError: what was asked cannot be done, whatever the bundle.
    """
    passing = _Passing(trial, clock)
    for gate in GATES:
        attempt: Callable[[], GateResult] = getattr(passing, gate)
        try:
            result = attempt()
        except SchemaVersionError:  # a newer program would take it
            raise
        except (BundleError, ContractError, ModelError, InferenceError) as e:
            if _is_of_the_disk(e):
                raise TryLaterError(f"gate {gate}", found=e.message) from e
            result = GateResult(gate, False, e.message)
        say(result)
        if not result.ok:
            return


def _is_of_the_disk(error: Exception) -> bool:
    """Return whether a file is gone, which somebody has pruned, or the system does not give it."""
    of_system = isinstance(error, BundleReadError) and isinstance(error.__cause__, OSError)
    return of_system or isinstance(error, BundleNotFoundError)


def _has_pictures(folder: Path) -> bool:
    if not is_folder(folder):
        return False
    there = read_folder(folder, "--labelled")
    return bool(there.loose) or any(there.classes.values())


def _try(request: Mapping[str, JsonValue]) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a death may come: no dump of it
    run_gates(Trial.of(dict(request)), lambda result: answer(result.to_json()))


if __name__ == "__main__":
    sys.exit(work(_try))
