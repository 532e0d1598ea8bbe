"""Recordings as frames with their own times, as fast as they can be read; and events that were kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.base.fields import Fields, parse_json
from ecovision_edge.camera.files import VIDEO_SUFFIXES, VideoSource
from ecovision_edge.camera.source import CapturedFrame
from ecovision_edge.errors import BadFrameError, ContractError, OptionError, RecordError
from ecovision_edge.events import EVENT_SCHEMA_VERSION
from ecovision_edge.loop import LoopResult
from ecovision_edge.photographs.images import find_images, read_image
from ecovision_edge.prediction import Prediction
from ecovision_edge.preprocess import as_bgr
from ecovision_edge.recording import RecordedFrame, read_recording
from ecovision_edge.recording.disk import sidecar_of
from ecovision_edge.simulation.truth import Truth, TruthError, read_document
from ecovision_edge_bench.score.match import Decision
from ecovision_edge_bench.score.run import Seen

__all__ = ["Replay", "as_long_as", "open_replay", "read_events"]


@dataclass(frozen=True, slots=True)
class Replay:
    """What there is to replay.

    Args:
        path: A folder, or a video.
        count: Frames; of a video not known.
        zero: When the first frame was captured, seconds of the recorder's clock; 0 where none was kept.
        fps: Of frames without times; None where they have their own.
    """

    path: Path
    count: int | None
    zero: float
    fps: float | None

    def frames(self, as_recorded: Sequence[str] | None = None) -> Iterator[Seen]:
        """Return the frames with their times, from 0.

        Args:
            as_recorded: The labels of the model: each frame comes with the probabilities that were recorded,
                in this order. None is frames alone.

        Raises:
            OptionError: `as_recorded` of frames without sidecars.
            RecordError: a frame without its sidecar, of other classes, or of another run.
            ImageReadError: a picture that cannot be read.
            SourceOpenError, CaptureError: a video that cannot be read.
        """
        if self.fps is None:
            return _recorded(self, as_recorded)
        if as_recorded is not None:
            raise OptionError(
                "--as-recorded", expected="a recording with sidecars", found=f"{self.path}, which has none"
            )
        return _counted(self, self.fps)


def open_replay(path: Path, fps: float | None) -> Replay:
    """Look what is there: a recording, or images or a video, for which `fps` is needed.

    Raises:
        OptionError: `fps` is missing, out of range, or given for a recording, which has its own times.
        RecordError: nothing to replay, or the first sidecar cannot be read.
    """
    if fps is not None and not 0 < fps <= 1000:
        raise OptionError("--fps", expected="above 0, at most 1000", found=f"{fps:g}")
    is_video = path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES
    first = None if is_video else next(find_images(path), None)
    if first is not None and sidecar_of(first).exists():
        if fps is not None:
            raise OptionError("--fps", expected="none: a recording has its own times", found=f"{fps:g}")
        zero = next(read_recording(path)).result.captured_at
        return Replay(path, sum(1 for _ in find_images(path)), zero, None)
    if not is_video and first is None:
        raise RecordError(
            f"nothing to replay in {path}",
            expected="a recording, a folder of images, or a video",
            found="none of them" if path.exists() else "no such file or folder",
        )
    if fps is None:
        raise OptionError(
            f"--recording {path}", expected="--fps beside it, for its frames have no times", found="none"
        )
    return Replay(path, None if is_video else sum(1 for _ in find_images(path)), 0.0, fps)


def _recorded(replay: Replay, labels: Sequence[str] | None) -> Iterator[Seen]:
    last = 0.0
    for frame in read_recording(replay.path):
        at = frame.result.captured_at - replay.zero
        if at < last:
            raise RecordError(
                f"{frame.path} was captured before the frame before it",
                expected="a recording of one run",
                found="several, or pictures of several in one folder",
            )
        last = at
        image = read_image(frame.path)
        if labels is None:
            yield image, at
        else:
            said = CapturedFrame(as_bgr(image), frame.result.sequence, at)
            yield _as_said(frame, said, tuple(labels)), at


def _as_said(frame: RecordedFrame, captured: CapturedFrame, labels: tuple[str, ...]) -> LoopResult:
    result = frame.result
    return LoopResult(
        index=result.index,
        frame=captured,
        prediction=_prediction(frame, labels),
        labels=labels,
        age_ms=result.age_ms,
        dropped=result.dropped,
        bad_frames=result.bad_frames,
        time=result.time.timestamp(),
        region=result.region,
    )


def _prediction(frame: RecordedFrame, labels: tuple[str, ...]) -> Prediction | None:
    """Return what was said of a frame; None if it was not classified."""
    said = frame.result
    if said.label is None or said.score is None or said.margin is None or said.timings is None:
        return None
    if set(said.probabilities) != set(labels):
        raise RecordError(
            f"{frame.path} cannot be scored as recorded",
            expected=f"the classes {', '.join(labels)}",
            found=", ".join(said.probabilities),
            fix="give the bundle that it was recorded with, or leave --as-recorded out",
        )
    probabilities = tuple(said.probabilities[label] for label in labels)
    return Prediction(
        said.label, labels.index(said.label), said.score, said.margin, probabilities, said.timings
    )


def _counted(replay: Replay, fps: float) -> Iterator[Seen]:
    """Frames without times: each is one period after the one before, so none may be passed over."""
    if replay.path.is_file() and replay.path.suffix.lower() in VIDEO_SUFFIXES:
        stream = VideoSource(str(replay.path), str(replay.path)).connect()
        try:
            for n in itertools.count():
                try:
                    frame = stream.read()
                except BadFrameError:
                    continue  # it has its time, as on the device
                if frame is None:
                    return
                yield frame, n / fps
        finally:
            stream.close()
    else:
        for n, path in enumerate(find_images(replay.path)):
            yield read_image(path), n / fps


def as_long_as(truth: Truth, frames: Iterable[Seen]) -> Iterator[Seen]:
    """Yield the frames, and at their end a look whether the truth is about them.

    Raises:
        TruthError: an item arrives after the last frame, which nobody could have found.
    """
    last = 0.0
    for seen, at_s in frames:
        last = at_s
        yield seen, at_s
    late = next((item for item in truth.items if item.arrives_s > last), None)
    if late is not None:
        raise TruthError(
            f"item {late.id} of the truth arrives at {late.arrives_s:g} s",
            expected=f"to arrive while there are frames, up to {last:g} s",
            fix="give the truth of this recording",
        )


def read_events(path: Path, zero: float) -> list[Decision]:
    """Read the events of a file of JSON lines, as the sink `file:` writes it, without states.

    Args:
        path: The file.
        zero: `monotonic` of the first frame; the times of the events are from there.

    Raises:
        TruthError: it cannot be read, or is malformed; the message has the line.
    """
    lines = read_document(path, "events").splitlines()
    try:
        every = (
            parse_json(line, f"{path}:{n}", fix="mend the file")
            for n, line in enumerate(lines, 1)
            if line.strip()
        )
        return [_event(f, zero) for f in every if not _is_state(f)]
    except ContractError as e:
        raise TruthError(e.message) from e


def _is_state(f: Fields) -> bool:
    """Return whether a line is a state of the bin, which `states=1` has the sink write too."""
    return f.has("type") and f.value("type") == "state"


def _event(f: Fields, zero: float) -> Decision:
    f.schema_version(EVENT_SCHEMA_VERSION)
    return Decision(
        f.number("monotonic", -1e15, 1e15) - zero,
        None if f.value("label") is None else f.text("label"),
        f.text("bin"),
        f.text("reason", most=10_000) if f.has("reason") else "",
    )
