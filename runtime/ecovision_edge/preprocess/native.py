"""The filter `pil` by a C library, where the distribution `ecovision-edge-native` is installed.

It is Pillow's arithmetic in SIMD (`runtime/native/src/resize.c`): the same bytes as Pillow's on every
processor, in a fraction of what numpy takes. (Across, then down, always. Pillow 13 goes down first where a
frame grows across and shrinks down, older versions where one is over 100 times as high as wide: so pixels may
be a level off.)
It is optional: where it is not installed, or is not for this processor, numpy does the same to one level in
255 (`antialias.py`). A library that gives any other byte than the definition is not used; that is tried once
in each process, when the filter is first wanted.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.records import dataclass
from ecovision_edge.preprocess.buffers import Buffers
from ecovision_edge.preprocess.coefficients import coefficients, weighted_levels
from ecovision_edge.preprocess.geometry import Geometry

__all__ = ["NativeFilter", "find_native", "open_native"]

ABI = 1
"""Version of the library's functions and structures; as in `resize.c`."""

KERNELS = {1: "avx2", 2: "neon", 3: "dotprod", 4: "avx-vnni", 5: "avx512-vnni"}
"""What `ecovision_kernel` names; 0: none for this processor."""

_ACROSS, _DOWN = 0, 1
"""The axes, as the library numbers them."""

DISTRIBUTION = "ecovision-edge-native"

TRIED = ((37, 53, 16, 24), (5, 4, 9, 11), (40, 3, 7, 3))
"""Height and width of the frames that are tried, and of their results: smaller, larger, both."""


class _Axis(ctypes.Structure):
    """`Axis` of `resize.c`."""

    _fields_ = (
        ("outputs", ctypes.c_int32),
        ("taps", ctypes.c_int32),
        ("first", ctypes.c_void_p),
        ("count", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
    )


@dataclass(frozen=True, slots=True)
class _Packed:
    """An axis as the library takes it, and the arrays that it points to."""

    axis: _Axis
    first: npt.NDArray[np.int32]
    count: npt.NDArray[np.int32]
    weights: npt.NDArray[np.uint32]


class NativeFilter:
    """A library that was opened, with one of its kernels. Several threads may use it at once.

    Args:
        library: What `open_native` opened.
        kernel: A key of `KERNELS` that this processor runs.
    """

    def __init__(self, library: ctypes.CDLL, kernel: int) -> None:
        self._library, self._kernel = library, kernel
        self._buffers = Buffers()
        # An item's region has another size in each frame, but a camera's frame the same: some of each.
        self._axis = functools.lru_cache(maxsize=64)(self._make_axis)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.kernel}>"

    @property
    def kernel(self) -> str:
        """The instructions that it uses, one of `KERNELS`."""
        return KERNELS[self._kernel]

    def resize(self, image: npt.NDArray[np.uint8], geometry: Geometry, out: npt.NDArray[np.uint8]) -> None:
        """Resize and crop as `geometry` says, as `antialiased_resize` does.

        Args:
            image: `(source_height, source_width, 3) uint8`; rows contiguous.
            geometry: Sizes and crop.
            out: `(height, width, 3) uint8`, C-contiguous, written to.
        """
        image, stride = _rows_of(image)
        g = geometry
        across = self._axis(_ACROSS, g.source_width, g.full_width, g.left, g.left + g.width)
        down = self._axis(_DOWN, g.source_height, g.full_height, g.top, g.top + g.height)
        size: int = self._library.ecovision_scratch(across.axis, down.axis)
        scratch = self._buffers.get("scratch", np.uint8, size)
        self._library.ecovision_resize(
            self._kernel,
            image.ctypes.data,
            stride,
            *image.shape[:2],
            across.axis,
            down.axis,
            out.ctypes.data,
            scratch.ctypes.data,
        )

    def _make_axis(self, axis: int, source: int, full: int, start: int, stop: int) -> _Packed:
        found = coefficients(source, full, start, stop)
        weights = np.empty_like(found.weights)
        self._library.ecovision_pack(
            self._kernel, axis, found.weights.ctypes.data, weights.size, weights.ctypes.data
        )
        packed = _Axis(*weights.shape, found.first.ctypes.data, found.count.ctypes.data, weights.ctypes.data)
        return _Packed(packed, found.first, found.count, weights)


@functools.cache
def find_native() -> NativeFilter | None:
    """Return the installed library with its best kernel for this processor; None: numpy has to do it."""
    try:
        import ecovision_edge_native
    except ImportError:
        return None
    return open_native(ecovision_edge_native.LIBRARY)


def open_native(path: Path, kernel: int | None = None) -> NativeFilter | None:
    """Open a library and try it.

    Args:
        path: The shared library.
        kernel: A key of `KERNELS` that this processor runs; None: the best.

    Returns:
        The filter; None where there is no kernel for this processor, and where the library is of no use here,
        which a warning of the logger `ecovision_edge` tells.
    """
    try:
        library = ctypes.CDLL(str(path))
        abi = library.ecovision_abi()
    except (OSError, AttributeError) as error:  # of another processor; no such function
        _warn("%s cannot be used, so numpy resizes: %s", DISTRIBUTION, error)
        return None
    if abi != ABI:
        _warn(
            "%s is of another version, so numpy resizes: expected interface %d, found %d; "
            "install the one that comes with this ecovision-edge",
            DISTRIBUTION,
            ABI,
            abi,
        )
        return None
    _declare(library)
    chosen: int = library.ecovision_kernel() if kernel is None else kernel
    if chosen not in KERNELS:
        return None
    native = NativeFilter(library, chosen)
    if not all(_is_exact(native, *sizes) for sizes in TRIED):
        _warn("%s gives wrong pixels on this processor, so numpy resizes", DISTRIBUTION)
        return None
    return native


def _warn(text: str, *values: object) -> None:
    import logging  # here, since every start would pay for it

    logging.getLogger("ecovision_edge").warning(text, *values)


def _rows_of(image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], int]:
    """Return the pixels with rows that are contiguous and follow each other, and the bytes from row to row.

    A frame that was checked is so already; but by a wrong stride the library would read other memory, so this
    makes sure. The stride of an axis of one pixel may be anything.
    """
    rows, columns = image.shape[:2]
    row = columns * 3
    stride = image.strides[0] if rows > 1 else row
    pixels = image.strides[2] == 1 and (columns == 1 or image.strides[1] == 3)
    return (image, stride) if pixels and stride >= row else (np.array(image, order="C"), row)


def _declare(library: ctypes.CDLL) -> None:
    """Declare the functions, as `resize.c` has them."""
    pointer, axis, i32, i64 = ctypes.c_void_p, ctypes.POINTER(_Axis), ctypes.c_int32, ctypes.c_int64
    library.ecovision_scratch.argtypes = [axis, axis]
    library.ecovision_scratch.restype = i64
    library.ecovision_pack.argtypes = [i32, i32, pointer, i64, pointer]
    library.ecovision_pack.restype = None
    library.ecovision_resize.argtypes = [i32, pointer, i64, i32, i32, axis, axis, pointer, pointer]


def _is_exact(native: NativeFilter, rows: int, columns: int, height: int, width: int) -> bool:
    """Compare one resize with the definition, byte by byte."""
    # Bytes without a pattern; numpy.random would take 10 ms to import, as long as all the rest.
    mixed = np.arange(1, rows * columns * 3 + 1, dtype=np.uint32) * np.uint32(2654435761)
    image = (mixed >> np.uint32(24)).astype(np.uint8).reshape(rows, columns, 3)
    across, down = coefficients(columns, width, 0, width), coefficients(rows, height, 0, height)
    narrow = weighted_levels(image.transpose(1, 0, 2).reshape(columns, -1), across)
    turned = narrow.reshape(width, rows, 3).transpose(1, 0, 2).reshape(rows, -1)
    expected = weighted_levels(turned, down).reshape(height, width, 3)
    found = np.empty_like(expected)
    native.resize(image, Geometry(rows, columns, height, width, 0, 0, height, width), found)
    return bool((found == expected).all())
