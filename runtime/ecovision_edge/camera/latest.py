"""`LatestFrame`: always the newest frame of a source, which may hang, freeze, fail, and come back."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from ecovision_edge.camera.connection import Connection
from ecovision_edge.camera.health import NEXT_TRY, Health, HealthState
from ecovision_edge.camera.health_log import HealthLog
from ecovision_edge.camera.source import CapturedFrame, FrameSource, Picture, SlowStart
from ecovision_edge.camera.watch import Watchdog, WatchOptions
from ecovision_edge.errors import (
    CameraLostError,
    CaptureError,
    EcovisionError,
    ImageReadError,
    MissingDependencyError,
    OptionError,
    SourceError,
)
from ecovision_edge.observation import pixels_of
from ecovision_edge.photographs.images import Reduce
from ecovision_edge.photographs.jpeg_picture import JpegPicture, as_small_as_can_be

__all__ = ["LatestFrame"]

GRACE = 1.0
"""Seconds that a connection's thread is waited for; after that it is left to end by itself."""

MAX_HANGING = 3
"""Connections left hanging before no new one is made: each holds a thread, and perhaps a device."""

_log = logging.getLogger("ecovision_edge")


class LatestFrame:
    """Reads a source in a thread of its own and holds the newest frame; a watchdog beside it reconnects.

    Of a live source older frames are dropped; of files each frame is held until it is taken, so nothing is
    dropped and a replay is the same every time. One consumer calls `read`. What came as JPEG is decoded when
    it is read: those that are dropped never are.

        >>> from ecovision_edge.camera import FakeCamera, LatestFrame
        >>> with LatestFrame(FakeCamera()) as frames:
        ...     frames.read(timeout=10).image.shape
        (48, 64, 3)

    Args:
        source: Where the frames come from.
        options: The limits of the watchdog.
        on_health: Called with each new state, in order, in the watchdog's thread. What it raises ends the
            reading, and `read` raises it.
        reduce: How small JPEG pictures may be decoded for whoever reads (`Classifier.reduction`), asked in
            `read`; None: whole. All their pixels can still be had (`CapturedFrame.image`).
    """

    def __init__(
        self,
        source: FrameSource,
        options: WatchOptions | None = None,
        *,
        on_health: Callable[[Health], None] | None = None,
        reduce: Reduce | None = None,
    ) -> None:
        self._source, self._reduce = source, reduce
        self._on_health = on_health
        self._log = HealthLog(source.name)
        self._lock = threading.RLock()
        self._fresh = threading.Condition(self._lock)  # for the consumer: a frame, or the end
        self._taken = threading.Condition(self._lock)  # for the connection: the frame was taken, or give up
        self._event = threading.Condition(self._lock)  # for the watchdog: something happened
        self._watch = Watchdog(_patient(options or WatchOptions(), source), live=source.live)
        self._slot: CapturedFrame | None = None
        self._frames = self._dropped = self._reconnects = self._sequence = 0
        self._doubted = True  # until one picture of a connection was decoded, and after one that could not be
        self._health = Health(HealthState.STARTING, time.monotonic())
        self._untold: deque[Health] = deque([self._health])
        self._connection: Connection | None = None
        self._lost: EcovisionError | None = None  # why the current connection is of no more use
        self._source_ended = False
        self._hanging: list[Connection] = []
        self._failure: BaseException | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<LatestFrame of {self._source.name}: {self.health.state}>"

    def __enter__(self) -> LatestFrame:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def health(self) -> Health:
        """How the source is doing now."""
        with self._lock:
            return self._health

    @property
    def over(self) -> bool:
        """Whether there will be no more frames: the files are at their end, or it was stopped."""
        with self._lock:
            return self._stopping or self._health.state is HealthState.ENDED

    @property
    def frames(self) -> int:
        """Frames that came so far."""
        with self._lock:
            return self._frames

    @property
    def dropped(self) -> int:
        """Frames that nobody took, since a newer one came or they had grown too old."""
        with self._lock:
            return self._dropped

    @property
    def bad_frames(self) -> int:
        """Frames that came and were of no use: empty, cut off, or not to be decoded."""
        with self._lock:
            return self._health.bad_frames

    @property
    def hanging(self) -> int:
        """Connections that were given up and whose thread has not returned yet."""
        with self._lock:
            self._hanging = [c for c in self._hanging if c.alive]
            return len(self._hanging)

    def start(self) -> None:
        """Begin to read; returns at once. Idempotent.

        Raises:
            OptionError: it was closed before.
        """
        with self._lock:
            if self._stopping:
                raise OptionError("a LatestFrame that was closed does not start again", fix="make a new one")
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._supervise, name="ecovision-watchdog", daemon=True
                )
                self._thread.start()

    def read(self, timeout: float | None = None, *, max_age: float | None = None) -> CapturedFrame | None:
        """Return the newest frame that was not given yet; wait for one.

        A frame is never given after the source was found to have failed, so what comes is never old.

        Args:
            timeout: Seconds to wait at most; None waits until there is a frame, or an end.
            max_age: Drop a frame of a live source that is older, in seconds, and wait for a newer one.

        Returns:
            The frame; None if the time is over, the files are at their end (`health.state` is then ENDED), or
            it was stopped.

        Raises:
            CameraLostError: given up, after as many tries as allowed.
            EcovisionError: what made going on pointless: an option, a missing library, a broken file.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            frame = self._next(until, max_age)
            if frame is None or self._decodes(frame):
                return frame

    def _next(self, until: float | None, max_age: float | None) -> CapturedFrame | None:
        """Return the newest frame as it came; as `read`, until a time of `time.monotonic()`."""
        with self._lock:
            while True:
                if (frame := self._slot) is not None:
                    self._slot = None
                    self._taken.notify_all()
                    if max_age is None or not self._source.live:
                        return frame
                    if time.monotonic() - frame.captured_at <= max_age:
                        return frame
                    self._dropped += 1
                    continue
                if self._failure is not None:
                    raise self._failure
                if self.over:
                    return None
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._fresh.wait(left)

    def _decodes(self, frame: CapturedFrame) -> bool:
        """Decode what came as JPEG, if nobody has; False if it cannot be, and then is a bad frame."""
        try:
            pixels_of(frame.picture, self._reduce)
        except ImageReadError as e:
            with self._lock:
                self._frames -= 1
                self._doubted = True
                if self._connection is not None:
                    self.pass_over(self._connection, e)
            return False
        return True

    def stop(self) -> None:
        """Ask it to end; returns at once, and wakes whoever reads. May be called from any thread."""
        with self._lock:
            self._stopping = True
            for condition in (self._fresh, self._taken, self._event):
                condition.notify_all()

    def close(self) -> None:
        """Stop, and wait for the threads, two seconds at most. Idempotent.

        A thread that hangs in the source's own code cannot be ended: it is left, and closes its connection
        itself when it returns.
        """
        self.stop()
        thread = self._thread
        if thread is None:
            with self._lock:
                self._set(HealthState.ENDED, "stopped")
        elif thread is not threading.current_thread():
            thread.join(2 * GRACE)

    # What the connection's thread says.

    def check(self, picture: JpegPicture) -> None:
        """Decode a camera's picture, as small as can be, where it has to be known that it can be decoded.

        That is the first one, and those after a bad one: a camera that gives nothing else is to be connected
        again. And of a part of the picture it has to be seen whether it is frozen.

        Raises:
            ImageReadError: it cannot be decoded.
        """
        if self._source.live and (self._doubted or picture.cut):
            picture.reduced(as_small_as_can_be)
            self._doubted = False

    def deliver(self, connection: Connection, picture: Picture, now: float) -> None:
        """Take a frame; of a source that is not live, wait until it is consumed."""
        with self._lock:
            if connection is not self._connection or self._lost is not None:
                return
            if not self._watch.frame(picture, now):
                self._event.notify_all()  # frozen
                return
            frame = CapturedFrame(picture, self._sequence, now)
            self._sequence += 1
            self._frames += 1
            if self._slot is not None:
                self._dropped += 1
            self._slot = frame
            if not self._health.ok:
                self._set(HealthState.RUNNING, "")
            self._fresh.notify_all()
            if not self._source.live:
                self._watch.pause()
                while self._slot is frame and not connection.given_up.is_set() and not self._stopping:
                    self._taken.wait()

    def pass_over(self, connection: Connection, error: EcovisionError) -> None:
        """Count a frame that is of no use; the source has until the watchdog's deadline for a good one."""
        with self._lock:
            if connection is not self._connection or self._lost is not None:
                return
            self._watch.bad_frame(error.message)
            count = self._health.bad_frames + 1
            self._health = replace(self._health, bad_frames=count)
        # Of files each has its name in the log; of a camera the 1st, 10th, 100th, ... tell enough.
        if not self._source.live:
            _log.warning("%s: passed over: %s", self._source.name, error.message)
        elif count in _LOGGED:
            _log.warning("%s: bad frames so far: %d; the last: %s", self._source.name, count, error.message)

    def resume(self, connection: Connection) -> None:
        """Hear that the connection asks its source for a frame."""
        with self._lock:
            if connection is self._connection and self._watch.resume(time.monotonic()):
                self._event.notify_all()

    def pause(self, connection: Connection, until: float) -> None:
        """Hear that the connection leaves its source alone until then, to keep to a pace."""
        with self._lock:
            if connection is self._connection:
                self._watch.pause(until)

    def lost(self, connection: Connection, error: EcovisionError | None) -> None:
        """Hear that the connection ended, by an error or, None, as the files did."""
        with self._lock:
            if connection is self._connection and self._lost is None and not connection.given_up.is_set():
                self._lost, self._source_ended = error, error is None
                self._event.notify_all()

    # The watchdog's thread.

    def _supervise(self) -> None:
        try:
            while not self._stopping:
                self._connect()
                try:
                    self._watch_over()
                finally:
                    self._give_up_connection()
                if self._stopping or self._over() or not self._wait_to_reconnect():
                    break
            self._end()
            self._tell()
        except Exception as e:  # noqa: BLE001 - of on_health: raised again where the consumer is
            with self._lock:
                self._failure = e
                self._set(HealthState.FAILED, f"{type(e).__name__}: {e}")
                self._end()

    def _connect(self) -> None:
        with self._lock:
            self._lost, self._source_ended, self._doubted = None, False, True
            self._watch.connecting(time.monotonic())
            self._connection = Connection(self, self._source, self._reconnects)
        self._connection.start()

    def _watch_over(self) -> None:
        """Watch until the connection is lost, at its end, or of no more use; tell each new state."""
        while True:
            self._tell()
            with self._lock:
                if self._untold:
                    continue
                if self._stopping or self._lost is not None or self._source_ended:
                    return
                now = time.monotonic()
                if (error := self._watch.overdue(now)) is None:
                    deadline = self._watch.deadline
                    self._event.wait(None if deadline is None else max(0.0, deadline - now))
                elif self._source.live:
                    self._lost = error
                    self._set(HealthState.STALLED, error.message)
                elif self._health.state is HealthState.STALLED:
                    self._event.wait()
                else:  # a slow disk: there is nothing else to read from
                    self._set(HealthState.STALLED, error.message)

    def _give_up_connection(self) -> None:
        connection = self._connection
        assert connection is not None
        with self._lock:
            if self._lost is not None and self._source.live and self._slot is not None:
                self._slot = None  # of a source that is gone: nobody shall see it as new
                self._dropped += 1
            connection.given_up.set()
            self._taken.notify_all()
        connection.join(GRACE)
        with self._lock:
            if connection.alive:
                self._hanging.append(connection)
                _log.warning("%s: its connection does not return; it is left", self._source.name)

    def _over(self) -> bool:
        """Return whether it ends here: the files' end, or an error that another try does not help."""
        with self._lock:
            if self._source_ended:
                return True
            error = self._lost
            if not self._source.live or isinstance(error, (SourceError, MissingDependencyError, OptionError)):
                self._failure = error
                self._set(HealthState.FAILED, str(error))
                return True
        return False

    def _wait_to_reconnect(self) -> bool:
        """Wait as long as the watchdog says; False if it gives up, or is told to stop."""
        error = self._lost
        assert error is not None
        while True:
            with self._lock:
                delay = self._watch.failed()
                if delay is None:
                    self._failure = CameraLostError(
                        f"{self._source.name}: given up after {self._watch.tries} reconnects",
                        found=error.message.removeprefix(f"{self._source.name} "),
                    )
                    self._failure.__cause__ = error
                    self._set(HealthState.FAILED, self._failure.message)
                    return False
                self._set(HealthState.RECONNECTING, f"{error.message}{NEXT_TRY}{delay:.1f} s")
            self._tell()
            with self._lock:
                self._event.wait_for(lambda: self._stopping, delay)
                if self._stopping:
                    return False
                if (hanging := self.hanging) < MAX_HANGING:
                    self._reconnects += 1
                    return True
            error = CaptureError(f"{hanging} connections hang and hold the source")

    def _end(self) -> None:
        with self._lock:
            self._stopping = True
            if self._health.state is not HealthState.FAILED:
                self._set(HealthState.ENDED, "the source is at its end" if self._source_ended else "stopped")
            self._fresh.notify_all()
            self._taken.notify_all()

    # Health.

    def _set(self, state: HealthState, reason: str) -> None:
        """Set a new state; with the lock held."""
        self._health = Health(state, time.monotonic(), reason, self._reconnects, self._health.bad_frames)
        self._untold.append(self._health)
        self._event.notify_all()

    def _tell(self) -> None:
        """Log and hand on the states that are new; without the lock, for a callback may take its time."""
        while True:
            with self._lock:
                if not self._untold:
                    return
                health = self._untold.popleft()
            self._log.tell(health)
            if self._on_health is not None:
                self._on_health(health)


def _patient(options: WatchOptions, source: FrameSource) -> WatchOptions:
    """Allow for the first frame the time that the source itself was given, where that is longer."""
    if not isinstance(source, SlowStart):
        return options
    return replace(options, open_timeout=max(options.open_timeout, source.first_within))


_LOGGED = frozenset(10**power for power in range(12))
