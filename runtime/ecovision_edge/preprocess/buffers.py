"""Scratch memory that a thread keeps between frames: fresh pages cost as much as a pass over them does."""

from __future__ import annotations

import math
import threading
from typing import TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["KEPT_BYTES", "Buffers"]

Pixel = TypeVar("Pixel", np.uint8, np.float32)

# Scratch memory beyond this is not kept: a frame of 6,000 rows needs as much.
KEPT_BYTES = 4 << 20


class Buffers(threading.local):
    """One thread's arrays, by name."""

    def __init__(self) -> None:
        self._kept: dict[str, npt.NDArray[np.uint8]] = {}

    def get(self, name: str, dtype: type[Pixel], *shape: int) -> npt.NDArray[Pixel]:
        """Return a C-contiguous array of any content, valid until the next `get` of that name."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size > KEPT_BYTES:
            return np.empty(shape, dtype)
        memory = self._kept.get(name)
        if memory is None or memory.size < size:
            memory = self._kept[name] = np.empty(size, np.uint8)
        return np.ndarray(shape, dtype, memory)
