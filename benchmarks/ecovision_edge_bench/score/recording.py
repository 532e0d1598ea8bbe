"""Composed sequences as recordings, as `run --bin --record` writes them, with their truth beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ecovision_edge.base.files import replace_file
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.camera.source import CapturedFrame
from ecovision_edge.classifier import Classifier
from ecovision_edge.errors import RecordError
from ecovision_edge.loop import LoopResult
from ecovision_edge.preprocess import as_bgr
from ecovision_edge.recording import FrameFolder, Outcome, RecordOptions
from ecovision_edge.simulation.composed import Composed
from ecovision_edge.simulation.script_file import dump_script
from ecovision_edge_bench.score.run import default_rules, make_decider

__all__ = ["SCRIPT_NAME", "TRUTH_NAME", "write_recording"]

TRUTH_NAME = "truth.json"
SCRIPT_NAME = "script.json"

BEGIN = 1_767_225_600.0  # 2026-01-01T00:00:00Z: of the wall clock, which a made-up recording has not
_UNBOUNDED = RecordOptions(max_frames=10**9, max_bytes=2**60)


def write_recording(
    folder: Path, composed: Composed, classifier: Classifier, progressed: Callable[[], None] = lambda: None
) -> None:
    """Write all frames with what the classifier says of them, then the script, and the truth as the last.

    Args:
        folder: New or empty; it is made if it is not there.
        composed: The frames.
        classifier: For the sidecars, asked about the part of each frame that a bin asks about.
        progressed: Called after each frame.

    Raises:
        RecordError: there are frames in it already, or the disk is full or says no.
    """
    decider = make_decider(classifier, default_rules(classifier.labels))
    frames = FrameFolder(folder, _UNBOUNDED)
    try:
        if frames.frames or (folder / TRUTH_NAME).exists():
            raise RecordError(
                f"cannot write to {folder}", expected="a new folder, or an empty one", found="a recording",
                fix="delete it, also where it was begun only, or choose another",
            )  # fmt: skip
        for n, frame in enumerate(composed):
            captured = CapturedFrame(as_bgr(frame.image), n, frame.at_s)
            seen = decider.observe_bgr(captured.image, frame.at_s)
            prediction = classifier.classify_bgr(seen.part()) if seen.wanted else None
            result = LoopResult(
                index=n,
                frame=captured,
                prediction=prediction,
                labels=classifier.labels,
                age_ms=0.0 if prediction is None else prediction.timings.total_ms,
                dropped=0,
                time=BEGIN + frame.at_s,
                region=seen.region,
                look=seen.look,
            )
            decider.step(result.observation, frame.at_s)
            outcome = frames.add(result)
            if outcome is not Outcome.KEPT:
                raise RecordError(f"cannot write to {folder}", found=outcome.value)
            progressed()
        _write(folder / SCRIPT_NAME, dump_script(composed.script))
        _write(folder / TRUTH_NAME, composed.truth.dumps())
    finally:
        frames.close()


def _write(path: Path, data: bytes) -> None:
    """Whole, or not at all."""
    try:
        replace_file(path, [data])
    except OSError as e:
        raise RecordError(f"cannot write {path}", found=reason_of(e)) from e
