"""Make the network's input of a camera's frame, as the contract says; numpy and OpenCV alone.

Two filters do the resize. `pil` equals PIL's and torchvision's antialiased bilinear resize, with which
the network was trained: to the bit where the native library is installed (`native.py`), else to one level in
255 (`antialias.py`). `fast` is the same for frames little larger
than the network's input, and for larger ones comes close to it at a fraction of its cost, with OpenCV calls
alone (`fast.py`); `python -m ecovision_edge_bench.filters` measures how close.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from ecovision_edge.bundle.contract import Contract, Filter, Normalization, ResizeSpec
from ecovision_edge.errors import FrameTypeError, FrameValueError, OptionError
from ecovision_edge.preprocess.antialias import antialiased_resize
from ecovision_edge.preprocess.frames import MAX_FRAME_SIDE, Bgr, Frame, as_bgr
from ecovision_edge.preprocess.geometry import Geometry
from ecovision_edge.preprocess.native import find_native
from ecovision_edge.preprocess.reduction import reduction

__all__ = ["MAX_FRAME_SIDE", "Bgr", "Frame", "Preprocessor", "as_bgr", "resize"]

NetworkInput: TypeAlias = npt.NDArray[np.uint8 | np.float32]


class Preprocessor:
    """Frames to network input, as the contract says.

    One object may be used by several threads at once. No array that it returned is written to again, and
    no frame that it was given is changed or kept.

    Args:
        contract: The model's contract.
        filter: `pil` or `fast` in place of the contract's, for measuring; None: the contract's.

    Raises:
        OptionError: `filter` is neither.
    """

    def __init__(self, contract: Contract, *, filter: Filter | None = None) -> None:
        self._input = contract.input
        self._resize = contract.resize
        self._filter = _checked_filter(contract.resize.filter if filter is None else filter)
        self._tables = None if contract.input.dtype == "uint8" else _level_tables(contract.normalization)

    def __repr__(self) -> str:
        i = self._input
        form = f"{i.layout} {i.dtype} {i.color} {i.height}x{i.width}"
        return f"<{type(self).__name__} {form}, {self._resize.mode}, filter {self._filter}>"

    @property
    def filter(self) -> Filter:
        """The filter in use."""
        return self._filter

    @property
    def kernel(self) -> str:
        """What computes the filter `pil` here: `numpy`, or the instructions of the native library."""
        native = find_native()
        return "numpy" if native is None else native.kernel

    def reduction(self, height: int, width: int) -> int:
        """Return how many times smaller a JPEG of that size may be decoded to be prepared: 1, 2, 4 or 8."""
        return reduction(self._resize, height, width, self._input.height, self._input.width)

    def prepare(self, frame: Frame) -> NetworkInput:
        """Prepare one frame as a batch of one.

        Args:
            frame: What `as_bgr` takes; ordinarily `(height, width, 3) uint8 BGR`, of any size.

        Returns:
            A new C-contiguous array of the shape `contract.input.shape(1)`: `(1, height, width, 3)
            uint8 BGR`, or `(1, 3, height, width) float32 RGB`, normalized.

        Raises:
            FrameTypeError: Not a numpy array, or of a dtype with no unambiguous meaning.
            FrameValueError: Empty, of a wrong shape, or with values out of range.
        """
        return self.prepare_bgr(as_bgr(frame))

    def prepare_bgr(self, image: Bgr) -> NetworkInput:
        """Prepare a frame that is checked already, as `prepare` describes."""
        batch = self._new_batch(1)
        self._fill(image, batch[0])
        return batch

    def prepare_batch(self, frames: Sequence[Frame] | npt.NDArray[np.uint8]) -> NetworkInput:
        """Prepare frames, which may differ in size, as one batch.

        Args:
            frames: A list or tuple of frames, or one array `(count, height, width, 3)`; at least one frame.

        Returns:
            A new C-contiguous array of the shape `contract.input.shape(len(frames))`, as `prepare` describes.

        Raises:
            FrameTypeError: `frames` is no such thing, or one of them is not a frame; says which.
            FrameValueError: No frames at all, or one of them is not right; says which.
        """
        if isinstance(frames, np.ndarray):
            if frames.ndim != 4:
                raise FrameValueError(
                    "a batch of frames",
                    expected="a list of frames, or one array (count, height, width, 3)",
                    found=f"one array of shape {frames.shape}",
                    fix="give a single frame to prepare (or to classify), or put it into a list",
                )
        elif not isinstance(frames, (list, tuple)):
            raise FrameTypeError(
                "a batch of frames", expected="a list or tuple of frames", found=type(frames).__name__
            )
        if len(frames) == 0:
            raise FrameValueError("a batch of frames", expected="at least one frame", found="none")
        checked = [as_bgr(frame, name=f"frame {i} of the batch") for i, frame in enumerate(frames)]
        batch = self._new_batch(len(checked))
        for image, out in zip(checked, batch, strict=True):
            self._fill(image, out)
        return batch

    def _new_batch(self, count: int) -> NetworkInput:
        return np.empty(self._input.shape(count), np.uint8 if self._tables is None else np.float32)

    def _fill(self, image: Bgr, out: NetworkInput) -> None:
        """Write one network input: `out` is one element of the batch."""
        if self._tables is None:
            _resize_into(image, self._resize, self._filter, out)  # type: ignore[arg-type]
            return
        small = np.empty((self._input.height, self._input.width, 3), np.uint8)
        _resize_into(image, self._resize, self._filter, small)
        for channel, table in enumerate(self._tables):
            np.take(table, small[:, :, 2 - channel], out=out[channel], mode="clip")


def resize(
    image: npt.NDArray[np.uint8],
    resize: ResizeSpec,
    height: int,
    width: int,
    filter: Filter | None = None,
) -> npt.NDArray[np.uint8]:
    """Resize a frame to `(height, width, 3) uint8`, as `resize` says.

    Args:
        image: What `as_bgr` takes. The order of the colours does not matter and stays.
        resize: Squash, or shortest edge then centre crop, with torchvision's own rounding.
        height: Rows of the result, at least 1.
        width: Columns of the result, at least 1.
        filter: `pil` or `fast` in place of the one that `resize` names.

    Returns:
        A new array; never the caller's own.

    Raises:
        FrameTypeError: `image` is not an array of pixels.
        FrameValueError: `image` is of a wrong shape or size.
        OptionError: A size below 1, more than `resize.shortest`, or an unknown filter.
    """
    chosen = _checked_filter(resize.filter if filter is None else filter)
    most = MAX_FRAME_SIDE if resize.shortest is None else resize.shortest
    if not (1 <= height <= most and 1 <= width <= most):
        raise OptionError("size to resize to", expected=f"sides from 1 to {most}", found=f"{height}x{width}")
    out = np.empty((height, width, 3), np.uint8)
    _resize_into(as_bgr(image), resize, chosen, out)
    return out


def _resize_into(image: Bgr, spec: ResizeSpec, filter: Filter, out: npt.NDArray[np.uint8]) -> None:
    geometry = Geometry.of(spec, image.shape[0], image.shape[1], out.shape[0], out.shape[1])
    if geometry.is_crop:
        rows = slice(geometry.top, geometry.top + geometry.height)
        columns = slice(geometry.left, geometry.left + geometry.width)
        out[...] = image[rows, columns]
        return
    if filter == "fast":
        from ecovision_edge.preprocess.fast import fast_resize, make_plan  # here: few contracts name it

        if (plan := make_plan(geometry)) is not None:
            fast_resize(image, plan, geometry, out)
            return
    if (native := find_native()) is not None:
        native.resize(image, geometry, out)
    else:
        antialiased_resize(image, geometry, out)


def _checked_filter(filter: Filter) -> Filter:
    if filter not in get_args(Filter):
        raise OptionError("filter", expected=" or ".join(get_args(Filter)), found=filter)
    return filter


def _level_tables(normalization: Normalization) -> list[npt.NDArray[np.float32]]:
    """Return for R, G and B the normalized value of each of the 256 levels, `(256,) float32`.

    A table look-up costs less than the arithmetic, and in float32 and in torchvision's order of operations
    (`ToTensor` divides by 255, `Normalize` subtracts, then divides) it gives the same bits.
    """
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    return [
        (levels - np.float32(mean)) / np.float32(std)
        for mean, std in zip(normalization.mean, normalization.std, strict=True)
    ]
