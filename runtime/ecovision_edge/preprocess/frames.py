"""What is a frame, and what is not: `as_bgr` takes what can be meant in one way only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Concatenate, NewType, ParamSpec, TypeAlias, TypeVar, cast

import cv2
import numpy as np
import numpy.typing as npt

from ecovision_edge.errors import FrameTypeError, FrameValueError

__all__ = ["MAX_FRAME_SIDE", "Bgr", "Frame", "as_bgr", "checks_for", "for_checked"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Any = TypeVar("_Any")
_Self = TypeVar("_Self")

Frame: TypeAlias = npt.NDArray[np.generic]
"""Ordinarily `(height, width, 3) uint8 BGR`; `as_bgr` says what else is taken.

The type is any array, as OpenCV's own annotations name no dtype; what does not fit is refused when it comes.
"""

Bgr = NewType("Bgr", npt.NDArray[np.uint8])
"""A frame that `as_bgr` has checked, or a part of one: `(height, width, 3) uint8 BGR`, not empty.

What takes any frame checks it and goes on with this; functions named `..._bgr` take it and check nothing.
"""

MAX_FRAME_SIDE = 32767
"""Longest side of a frame in pixels: several of OpenCV's functions index with 16 bits."""

EXPECTED = "(height, width, 3) uint8 BGR"

# dtype -> what to do about it, where there is something better to say than "convert it".
DTYPE_ADVICE = {
    "uint16": "scale it to 8 bits as the camera's bit depth demands, e.g. (frame >> 8).astype(np.uint8)",
    "bool": "a mask is not a picture; for black and white use mask.astype(np.uint8) * 255",
    "object": "rows of unlike length, perhaps",
}


def as_bgr(frame: object, *, name: str = "frame") -> Bgr:
    """Check a frame and return it as `(height, width, 3) uint8 BGR`.

    Taken are, from 1 to `MAX_FRAME_SIDE` pixels a side, views of any strides included:

    - `(height, width, 3)`: blue, green, red, as OpenCV gives them;
    - `(height, width)` and `(height, width, 1)`: grey;
    - `(height, width, 4)`: blue, green, red and alpha; alpha is dropped, not blended.

    The dtype is uint8, or float32 or float64 with every value from 0 to 1, which is multiplied by 255 and
    rounded. Floats with any other value are refused, for nobody can tell their scale. (A float frame of 0 to
    255 passes only if nothing in it is brighter than 1, so a wrong scale shows at the first lit frame.)

    Args:
        frame: The frame; never changed.
        name: How errors call it.

    Returns:
        The pixels, with the strides of a C-contiguous array but perhaps gaps between the rows. No copy where
        none is needed, so it may be, or share memory with, the caller's own array.

    Raises:
        FrameTypeError: Not a numpy array, or of another dtype (bool, uint16, int64, complex, ...).
        FrameValueError: Empty, of another shape (a batch, channels first), too large, or floats out of range.
    """
    if not isinstance(frame, np.ndarray):
        raise FrameTypeError(
            name, expected=f"a numpy array {EXPECTED}", found=_kind(frame), fix=_advice(frame)
        )
    if _is_plain(frame):
        return cast("Bgr", frame)
    if frame.dtype not in (np.uint8, np.float32, np.float64):
        raise FrameTypeError(
            f"dtype of {name}",
            expected=f"{EXPECTED}, or float32 or float64 from 0 to 1",
            found=f"{frame.dtype} of shape {frame.shape}",
            fix=DTYPE_ADVICE.get(frame.dtype.name),
        )
    _check_shape(frame, name)
    pixels = _packed(_levels(np.asarray(frame), name))
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return cast("Bgr", cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR))
    if pixels.shape[2] == 4:
        return cast("Bgr", cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR))
    return Bgr(pixels)


def checks_for(
    inner: Callable[Concatenate[_Self, Bgr, _P], _R],
) -> Callable[[Callable[Concatenate[_Self, _Any, _P], _R]], Callable[Concatenate[_Self, _Any, _P], _R]]:
    """Mark a method that checks the frame it is given, and hands it on to `inner` of the same object."""

    def mark(door: Callable[Concatenate[_Self, _Any, _P], _R]) -> Callable[Concatenate[_Self, _Any, _P], _R]:
        door.inner = door, inner.__name__  # type: ignore[attr-defined]
        return door

    return mark


def for_checked(door: Callable[Concatenate[Bgr, _P], _R]) -> Callable[Concatenate[Bgr, _P], _R]:
    """Return what to call in place of an object's method with frames that are checked already.

    That is the method itself, unless `checks_for` marked it: one that was overridden or wrapped is called as
    it is.
    """
    marked, inner = getattr(door, "inner", (None, ""))
    if marked is None or marked is not getattr(door, "__func__", None):  # `functools.wraps` copies the mark
        return door
    owner = door.__self__  # type: ignore[attr-defined]
    return cast("Callable[Concatenate[Bgr, _P], _R]", getattr(owner, inner))


def _is_plain(frame: npt.NDArray[np.generic]) -> bool:
    """Check in a microsecond whether it is what cameras give, `(height, width, 3) uint8` without gaps."""
    return (
        type(frame) is np.ndarray
        and frame.dtype.char == "B"
        and frame.ndim == 3
        and frame.shape[2] == 3
        and frame.flags.c_contiguous
        and 0 < frame.shape[0] <= MAX_FRAME_SIDE
        and 0 < frame.shape[1] <= MAX_FRAME_SIDE
    )


def _check_shape(frame: npt.NDArray[np.generic], name: str) -> None:
    shape, fix = frame.shape, None
    if frame.ndim == 4:
        fix = "this looks like a batch: use classify_batch or prepare_batch, or give one frame of it"
    elif frame.ndim == 3 and shape[2] not in (1, 3, 4) and shape[0] in (1, 3, 4):
        fix = "the channels seem to come first: frame.transpose(1, 2, 0), and mind that OpenCV's order is BGR"
    elif frame.size == 0:
        fix = "it has no pixels"
    elif frame.ndim in (2, 3) and max(shape[:2]) > MAX_FRAME_SIDE:
        fix = f"at most {MAX_FRAME_SIDE} pixels a side: shrink or cut it first"
    elif frame.ndim == 2 or (frame.ndim == 3 and shape[2] in (1, 3, 4)):
        return
    raise FrameValueError(f"shape of {name}", expected=EXPECTED, found=f"{shape} {frame.dtype}", fix=fix)


def _levels(frame: npt.NDArray[np.generic], name: str) -> npt.NDArray[np.uint8]:
    """Turn floats from 0 to 1 into levels of 255; uint8 stays as it is."""
    if frame.dtype == np.uint8:
        return cast("npt.NDArray[np.uint8]", frame)
    values = cast("npt.NDArray[np.float64]", frame)
    low, high = float(values.min()), float(values.max())  # NaN if there is one anywhere
    if not (low >= 0 and high <= 1):
        fix = "floats are taken from 0 to 1 only, for their scale cannot be guessed; give uint8"
        if not (np.isfinite(low) and np.isfinite(high)):
            fix = "some values are not finite"
        raise FrameValueError(
            f"values of {name}",
            expected=f"{EXPECTED}, or {frame.dtype} from 0 to 1",
            found=f"{frame.dtype} from {low:.6g} to {high:.6g} of shape {frame.shape}",
            fix=fix,
        )
    return np.rint(values * 255).astype(np.uint8)


def _packed(frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Copy the frame unless each row is contiguous and they follow each other; gaps between rows may stay.

    So a crop of a larger frame costs nothing, while flipped and strided views, of which OpenCV takes some and
    refuses others, become plain arrays.
    """
    row = frame.strides[0]
    length = int(np.prod(frame.shape[1:]))
    if row >= length and frame[0].flags.c_contiguous:
        return frame
    return np.ascontiguousarray(frame)


def _kind(frame: object) -> str:
    kind = type(frame)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _advice(frame: object) -> str | None:
    """Return what to do about something that is not an array."""
    module = type(frame).__module__.partition(".")[0]
    if frame is None:
        return "the camera gave no frame, or cv2.imread could not read the file"
    if isinstance(frame, (str, bytes, PurePath)):
        return "to classify a file, read it first: use cv2.imread(path)"
    if module == "PIL":
        return "a PIL image: use np.asarray(image.convert('RGB'))[:, :, ::-1]"
    if module == "torch":
        return "a torch tensor: use tensor.cpu().numpy(), with the channels last and in BGR order"
    if isinstance(frame, cv2.UMat):
        return "use frame.get()"
    if isinstance(frame, tuple) and len(frame) == 2 and isinstance(frame[0], bool):
        return "capture.read() returns (ok, frame): give the frame alone"
    if isinstance(frame, (list, tuple)):
        return (
            "several frames go to classify_batch; one frame of nested lists needs np.asarray(..., np.uint8)"
        )
    return None
