"""The empty tray, kept on disk from one run to the next."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import cast

import numpy as np

from ecovision_edge.decision._grid import COLUMNS, ROWS, Grid
from ecovision_edge.errors import RecordError

__all__ = ["KeptTray"]

_MAGIC = b"ecovision-edge tray 1\n"
_TYPE = np.dtype("<f2")  # an eighth of a level at 255, a thousandth at 1
_SHAPE = 2, ROWS, COLUMNS, 3
_BYTES = _TYPE.itemsize * 2 * ROWS * COLUMNS * 3


@dataclass(frozen=True, slots=True, eq=False)
class KeptTray:
    """What a `PresenceGate` knows of the empty tray.

    Args:
        mean: Each cell's colour, `(60, 80, 3) float32 BGR`, 0 to 255.
        spread: Its standard deviation, levels.
    """

    mean: Grid
    spread: Grid

    def dumps(self) -> bytes:
        """Return the bytes of a file: about 58 kB, with a CRC-32."""
        data = np.stack([self.mean, self.spread]).astype(_TYPE).tobytes()
        return _MAGIC + zlib.crc32(data).to_bytes(4, "little") + data

    @classmethod
    def loads(cls, data: bytes) -> KeptTray:
        """From the bytes of a file.

        Raises:
            RecordError: it is not one, or it is damaged.
        """
        start = len(_MAGIC) + 4
        body = data[start:]
        if not data.startswith(_MAGIC) or len(body) != _BYTES:
            raise RecordError(
                "not a kept tray", expected=f"{start + _BYTES} bytes of one", found=f"{len(data)} bytes"
            )
        if zlib.crc32(body) != int.from_bytes(data[len(_MAGIC) : start], "little"):
            raise RecordError("a kept tray is damaged", expected="the checksum it has", found="another")
        both = np.frombuffer(body, _TYPE).reshape(_SHAPE).astype(np.float32)
        if not np.isfinite(both).all() or both.min() < 0 or both.max() > 256:
            raise RecordError("a kept tray has impossible levels", expected="0 to 255", found="others")
        return cls(cast("Grid", both[0]), cast("Grid", both[1]))
