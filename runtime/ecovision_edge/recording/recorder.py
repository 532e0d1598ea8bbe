"""Recorders: they take results from the loop at once, and write them in a thread of their own."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections import deque
from typing import TYPE_CHECKING

from ecovision_edge.base.threads import Worker
from ecovision_edge.errors import OptionError, RecordError
from ecovision_edge.recording.folder import FrameFolder, Outcome
from ecovision_edge.recording.options import RecordOptions, RecordStats

if TYPE_CHECKING:
    from ecovision_edge.loop import LoopResult

__all__ = ["HardRecorder", "Recorder"]

QUEUE = 8
"""Frames that wait for the disk at most."""

CLOSE_TIMEOUT = 5.0
"""Seconds that `close` waits for the disk."""

HARD = RecordOptions(max_frames=1000, max_bytes=256 * 2**20, format="jpeg", whenfull="stop")
"""How hard frames are kept by default."""

_log = logging.getLogger("ecovision_edge")


class Recorder:
    """Keeps every frame that it is given, with its result, in a folder with bounds.

    The folder is a source of frames: `open_source(folder)`, or `--source`, replays it, and `read_recording`
    reads what was said of each frame. After the constructor no error of the disk is raised: it is logged,
    once for each kind, and counted, and the next frame is tried.

        >>> import tempfile
        >>> from ecovision_edge import Classifier
        >>> from ecovision_edge.camera import FakeCamera
        >>> from ecovision_edge.loop import LoopOptions
        >>> from ecovision_edge.recording import Recorder, RecordOptions
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Recorder(folder, RecordOptions(min_free_bytes=0)) as recorder:
        ...         for result in Classifier.load().stream(FakeCamera(), LoopOptions(max_frames=3)):
        ...             _ = recorder.put(result, wait=True)
        ...     recorder.stats.kept
        3

    Args:
        folder: Where to; it is made if it is not there.
        options: Format and bounds.

    Raises:
        RecordError: as `FrameFolder`.
    """

    _described = False

    def __init__(self, folder: str | os.PathLike[str], options: RecordOptions | None = None) -> None:
        self._folder = FrameFolder(folder, options, described=self._described)
        self._changed = threading.Condition()
        self._queue: deque[LoopResult] = deque()
        self._closing = False
        self._kept = self._dropped = self._refused = self._failed = 0
        self._said: set[object] = set()
        self._worker = Worker(self._run, "ecovision-recorder")
        self._worker.start()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self._folder.path}: {self.stats.kept} kept>"

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def stats(self) -> RecordStats:
        """What became of the frames so far."""
        with self._changed:
            return RecordStats(
                kept=self._kept,
                dropped=self._dropped,
                refused=self._refused,
                failed=self._failed,
                removed=self._folder.removed,
                frames=self._folder.frames,
                bytes=self._folder.size,
            )

    def put(self, result: LoopResult, *, wait: bool = False) -> bool:
        """Hand over a frame with its result; whether it was taken. What becomes of it then is in `stats`.

        Args:
            result: Its frame is not copied: nobody changes it, as `CapturedFrame` says.
            wait: Wait while the queue is full, until `close`: for files, of which each frame counts. Without
                it the frame is dropped, and the call returns at once whatever the disk does.
        """
        with self._changed:
            while wait and len(self._queue) >= QUEUE and not self._closing:
                self._changed.wait()
            if self._closing or len(self._queue) >= QUEUE:
                self._dropped += 1
                return False
            self._queue.append(result)
            self._changed.notify_all()
            return True

    def close(self, timeout: float = CLOSE_TIMEOUT) -> bool:
        """Write what waits, for `timeout` seconds at most; whether all of it was. Idempotent.

        Frames that the time was too short for are dropped; a write that hangs is left to its thread.
        """
        with self._changed:
            first = not self._closing
            self._closing = True
            self._changed.notify_all()
        if first:
            self._worker.join(timeout)
        with self._changed:
            if first and self._worker.alive:
                _log.warning(
                    "%s: the disk did not take the last frames in %g s; they are left",
                    self._folder.path,
                    timeout,
                )
            self._dropped += len(self._queue)
            self._queue.clear()
        return not self._worker.alive

    # The writer's thread.

    def _run(self) -> None:
        try:
            while (result := self._take()) is not None:
                self._write(result)
        finally:
            self._folder.close()

    def _take(self) -> LoopResult | None:
        """Return the next frame to write; None at the end."""
        with self._changed:
            while not self._queue:
                if self._closing:
                    return None
                self._changed.wait()
            result = self._queue.popleft()
            self._changed.notify_all()
            return result

    def _write(self, result: LoopResult) -> None:
        try:
            outcome = self._folder.add(result)
        except RecordError as e:
            self._fail(_kind(e), e.message)
        except Exception as e:  # noqa: BLE001 - of a thread nobody hears: it is said, and recording goes on
            self._fail(type(e), f"{type(e).__name__}: {e}")
        else:
            with self._changed:
                if outcome is Outcome.KEPT:
                    self._kept += 1
                else:
                    self._refused += 1
            if outcome is not Outcome.KEPT:
                self._say(outcome, f"{outcome.value}; frames are not kept while that is so")

    def _fail(self, kind: object, problem: str) -> None:
        with self._changed:
            self._failed += 1
        self._say(kind, f"a frame was not kept: {problem}")

    def _say(self, kind: object, text: str) -> None:
        """Log it, the first time."""
        if kind not in self._said:
            self._said.add(kind)
            _log.warning("%s: %s (said once)", self._folder.path, text)


class HardRecorder(Recorder):
    """Keeps frames of which the network is unsure, for a person who gives them the right label.

    One that it was not asked about is none of them: an empty tray.

    Their names say when, what and how sure: `20261125T203011.123Z_paper_0.41_000000012.jpg`. When the folder
    is full it stops: the first are kept. Other pictures in the folder are left alone, and so is what a person
    moves, removes or writes there.

    Args:
        folder: Where to; it is made if it is not there.
        below: Frames with a score below this are kept, above 0 to 1.
        every: Least seconds between two, by their times of capture; 0 keeps all.
        options: Format and bounds; the default is JPEG, at most 1,000 frames and 256 MiB, then `stop`.

    Raises:
        OptionError: out of range.
        RecordError: as `FrameFolder`.
    """

    _described = True

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        below: float = 0.6,
        every: float = 2.0,
        options: RecordOptions | None = None,
    ) -> None:
        if not 0 < below <= 1:
            raise OptionError("below", expected="a score above 0, at most 1", found=repr(below))
        if not 0 <= every < math.inf:
            raise OptionError("every", expected="seconds, 0 or more", found=repr(every))
        self._below, self._every = below, every
        self._last = -math.inf
        super().__init__(folder, options or HARD)

    def put(self, result: LoopResult, *, wait: bool = False) -> bool:
        """Hand over a frame, if its score is below and the last one long enough ago; whether it was taken."""
        captured_at, said = result.frame.captured_at, result.prediction
        if said is None or said.score >= self._below or captured_at - self._last < self._every:
            return False
        taken = super().put(result, wait=wait)
        if taken:
            self._last = captured_at
        return taken


def _kind(error: RecordError) -> object:
    """Return what makes two errors the same for the log."""
    cause = error.__cause__
    return (type(cause), cause.errno) if isinstance(cause, OSError) else error.message
