"""`FakeCamera`: a camera that misbehaves on order, for tests of whatever embeds the camera loop.

    >>> from ecovision_edge.camera import FakeCamera
    >>> from ecovision_edge.camera.fake import Frames, Raise, Unplug
    >>> camera = FakeCamera(Frames(2), Raise(OSError("loose cable")), Unplug(opens=3))
    >>> stream = camera.connect()
    >>> stream.read().shape
    (48, 64, 3)
    >>> camera.number_in(stream.read())
    1

The script goes on over reconnects, as a real camera's misfortunes do.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

import numpy as np

from ecovision_edge.camera.source import Image
from ecovision_edge.errors import BadFrameError, CaptureError, OptionError, SourceOpenError

__all__ = [
    "Bad",
    "Block",
    "BlockOpen",
    "End",
    "FailOpen",
    "FakeCamera",
    "FakeStream",
    "Frames",
    "Freeze",
    "Junk",
    "Nothing",
    "Raise",
    "RaiseOpen",
    "Resize",
    "Slow",
    "Step",
    "Unplug",
]


@dataclass(frozen=True, slots=True)
class Frames:
    """`count` good frames, each another picture."""

    count: int = 1


@dataclass(frozen=True, slots=True)
class Slow:
    """`count` good frames, each of which takes `seconds`."""

    seconds: float
    count: int = 1


@dataclass(frozen=True, slots=True)
class Block:
    """A read that does not return until `FakeCamera.release`; the camera then says that it failed."""


@dataclass(frozen=True, slots=True)
class BlockOpen:
    """The next connection does not come about until `FakeCamera.release`; it then fails."""


@dataclass(frozen=True, slots=True)
class Raise:
    """A read that raises `error`, whatever it is."""

    error: Exception


@dataclass(frozen=True, slots=True)
class RaiseOpen:
    """The next connection raises `error`."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Nothing:
    """A read that gives no frame, as `cv2.VideoCapture.read` returns `(False, None)`."""


@dataclass(frozen=True, slots=True)
class Bad:
    """`count` reads that each give a frame which cannot be decoded; the connection stays."""

    count: int = 1


@dataclass(frozen=True, slots=True)
class Freeze:
    """The last picture again, `count` times; None is for ever, over reconnects too, until `release`."""

    count: int | None = None


@dataclass(frozen=True, slots=True)
class Resize:
    """The frames after it have another size."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Junk:
    """A read that returns `value`, which is no frame."""

    value: object


@dataclass(frozen=True, slots=True)
class Unplug:
    """The read fails, and the next `opens` connections too; then the camera is back."""

    opens: int = 1


@dataclass(frozen=True, slots=True)
class FailOpen:
    """The next `times` connections fail. As the first steps of a script: the camera is not there yet."""

    times: int = 1


@dataclass(frozen=True, slots=True)
class End:
    """The stream says that it is at its end, which of a live camera is a fault."""


Step: TypeAlias = (
    Frames
    | Slow
    | Block
    | BlockOpen
    | Bad
    | Raise
    | RaiseOpen
    | Nothing
    | Freeze
    | Resize
    | Junk
    | Unplug
    | FailOpen
    | End
)

_AtOpen = (FailOpen, BlockOpen, RaiseOpen)


class FakeCamera:
    """A `FrameSource` that plays a script.

    Each frame holds its own number, so that a test can tell which one it has (`number_in`).

    Args:
        script: What happens, in order; nothing is only good frames.
        then: After the script good frames `"for ever"`, or the `"end"`.
        width, height: Size of the frames in pixels, at least 2 x 1.
        interval: Seconds between frames; None gives them as fast as they are read.
        live: Whether it is a camera, or a file of which each frame counts.
        name: What messages call it.
    """

    def __init__(
        self,
        *script: Step,
        then: Literal["for ever", "end"] = "for ever",
        width: int = 64,
        height: int = 48,
        interval: float | None = None,
        live: bool = True,
        name: str = "fake camera",
    ) -> None:
        if width < 2 or height < 1:
            raise OptionError("size of a fake camera", expected="at least 2 x 1", found=f"{width} x {height}")
        self._name, self._live, self._interval = name, live, interval
        self._size = width, height
        self._then = then
        self._steps = self._unrolled(script)
        self._next: Step | None = next(self._steps, None)
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._last: Image | None = None
        self.frames_given = 0
        """Good frames given so far."""
        self.connections = 0
        """Connections that came about."""
        self.open_now = 0
        """Connections that are not closed yet."""
        self.hanging = threading.Event()
        """Set once a read or a connection blocks."""

    @property
    def name(self) -> str:
        """The argument of the constructor."""
        return self._name

    @property
    def live(self) -> bool:
        """The argument of the constructor."""
        return self._live

    @property
    def interval(self) -> float | None:
        """The argument of the constructor."""
        return self._interval

    def __repr__(self) -> str:
        return f"<FakeCamera {self._name}: {self.frames_given} frames, {self.connections} connections>"

    @property
    def script_over(self) -> bool:
        """Whether every step of the script was played."""
        return self._next is None

    def release(self) -> None:
        """Let whatever blocks, or is frozen, go on; from then on nothing blocks any more."""
        self._released.set()

    @staticmethod
    def number_in(image: Image) -> int:
        """Return the number that a frame was given, from 0."""
        low, middle, high = image[0, 0].tolist()
        return int(low) | int(middle) << 8 | int(high) << 16

    def connect(self) -> FakeStream:
        """Connect, if the script lets it.

        Raises:
            SourceOpenError: it does not.
        """
        with self._lock:
            step = self._next if isinstance(self._next, _AtOpen) else None
            if step is not None:
                self._advance()
        if isinstance(step, FailOpen):
            raise SourceOpenError(f"{self._name} cannot be opened", found="no such device")
        if isinstance(step, BlockOpen):
            self._hang()
            raise SourceOpenError(f"{self._name} cannot be opened", found="no answer")
        if isinstance(step, RaiseOpen):
            raise step.error
        with self._lock:
            self.connections += 1
            self.open_now += 1
        return FakeStream(self)

    def read_step(self) -> Image | None:
        """Return what a read of the current connection gives; for `FakeStream`."""
        with self._lock:
            step = self._next
            if isinstance(step, _AtOpen):
                raise CaptureError(f"{self._name} gave no frame", found="it is gone")
            if not (isinstance(step, Freeze) and step.count is None and not self._released.is_set()):
                self._advance()
        if step is None:
            return self._frame() if self._then == "for ever" else None
        return self._play(step)

    def closed(self) -> None:
        """Note that a connection was closed; for `FakeStream`."""
        with self._lock:
            self.open_now -= 1

    def _play(self, step: Step) -> Image | None:
        if isinstance(step, Slow):
            self._released.wait(step.seconds)
        elif isinstance(step, Block):
            self._hang()
            raise CaptureError(f"{self._name} gave no frame", found="it had hung")
        elif isinstance(step, Raise):
            raise step.error
        elif isinstance(step, Bad):
            raise BadFrameError(f"{self._name} gave a frame that cannot be decoded")
        elif isinstance(step, (Nothing, Unplug)):
            raise CaptureError(f"{self._name} gave no frame", found="(False, None)")
        elif isinstance(step, End):
            return None
        elif isinstance(step, Junk):
            return cast("Image", step.value)  # a lie, which is what this step is for
        elif isinstance(step, Freeze) and self._last is not None:
            return self._last.copy()
        return self._frame()

    def _hang(self) -> None:
        self.hanging.set()
        self._released.wait()

    def _frame(self) -> Image:
        with self._lock:
            number, (width, height) = self.frames_given, self._size
            self.frames_given += 1
        image = np.full((height, width, 3), 64 + number % 128, np.uint8)
        image[0, 0] = number & 255, number >> 8 & 255, number >> 16 & 255
        self._last = image
        return image

    def _advance(self) -> None:
        """Go to the next step that is one; sizes take effect at once. With the lock held."""
        self._next = next(self._steps, None)

    def _unrolled(self, script: tuple[Step, ...]) -> Iterator[Step]:
        """Yield the script, one step for each read or connection."""
        for step in script:
            if isinstance(step, Resize):
                self._size = step.width, step.height
            elif isinstance(step, Frames):
                yield from (Frames() for _ in range(step.count))
            elif isinstance(step, Bad):
                yield from (Bad() for _ in range(step.count))
            elif isinstance(step, Slow):
                yield from (Slow(step.seconds) for _ in range(step.count))
            elif isinstance(step, Freeze) and step.count is not None:
                yield from (Freeze(1) for _ in range(step.count))
            elif isinstance(step, FailOpen):
                yield from (FailOpen() for _ in range(step.times))
            elif isinstance(step, Unplug):
                yield step
                yield from (FailOpen() for _ in range(step.opens))
            else:
                yield step


class FakeStream:
    """One connection to a `FakeCamera`."""

    def __init__(self, camera: FakeCamera) -> None:
        """Made by `FakeCamera.connect`."""
        self._camera = camera
        self._open = True

    def read(self) -> Image | None:
        """Do what the script says: give a frame or the end, or raise CaptureError or its own error."""
        if not self._open:
            raise CaptureError("a closed stream gives no frames")
        return self._camera.read_step()

    def close(self) -> None:
        """Count it out. Idempotent."""
        if self._open:
            self._open = False
            self._camera.closed()
