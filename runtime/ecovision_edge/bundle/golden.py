"""Golden vectors: a few network inputs with the logits that every artifact gave at export.

They let a device test itself: the same bytes in, the same answer out? The file is a plain `.npz`
(uncompressed) with `inputs`, `(n, *input shape)` in the contract's dtype, and one `logits/ARTIFACT` array,
`(n, classes)` float32, for each artifact.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.names import quoted
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import ContractError

__all__ = ["MAX_GOLDEN_BYTES", "Golden"]

MAX_GOLDEN_BYTES = 64 * 2**20
_PREFIX = "logits/"
_MAX_ARRAYS = 33  # the inputs, and the logits of as many artifacts as a manifest may have


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Inputs, `contract.input.shape(n)`, and for each artifact's name its logits, `(n, classes)` float32."""

    inputs: npt.NDArray[np.uint8 | np.float32]
    logits: Mapping[str, npt.NDArray[np.float32]]

    def dumps(self) -> bytes:
        """Return the vectors as `.npz` bytes, the same for the same vectors."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            _put(archive, "inputs", self.inputs)
            for name in sorted(self.logits):
                _put(archive, _PREFIX + name, self.logits[name])
        return buffer.getvalue()

    @classmethod
    def loads(cls, data: bytes, contract: Contract) -> Golden:
        """Read what `dumps` wrote; nothing in `data` is trusted, and nothing is unpickled.

        Raises:
            ContractError: not such a file, or not of this contract's shapes.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                arrays = {
                    info.filename.removesuffix(".npy"): _get(archive, info) for info in _entries(archive)
                }
        except ContractError:
            raise
        except Exception as e:  # zipfile, zlib and numpy raise a dozen types over hostile bytes
            raise ContractError(
                "golden vectors cannot be read", found=f"{type(e).__name__}: {str(e)[:100]!a}"
            ) from e
        inputs = arrays.pop("inputs", None)
        if inputs is None or inputs.ndim != 4 or inputs.shape[0] == 0:
            raise ContractError("golden vectors", expected="an array `inputs` of 4 dimensions", found="none")
        count = inputs.shape[0]
        _check(inputs, "inputs", contract.input.shape(count), contract.input.dtype)
        logits = {}
        for key, array in arrays.items():
            if not key.startswith(_PREFIX):
                raise ContractError("golden vectors", expected=f"names {_PREFIX}ARTIFACT", found=quoted(key))
            _check(array, key, (count, len(contract.labels)), "float32")
            if not np.isfinite(array).all():
                raise ContractError(
                    f"golden vectors {key}", expected="finite numbers", found="NaN or infinity"
                )
            logits[key.removeprefix(_PREFIX)] = array.astype(np.float32, copy=False)
        return cls(inputs, logits)


def _put(archive: zipfile.ZipFile, name: str, array: npt.NDArray[np.uint8 | np.float32]) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    # A ZipInfo made by name has the date 1980-01-01: no clock in the bytes.
    archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue())


def _entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    entries = archive.infolist()
    if len({e.filename for e in entries}) != len(entries) or len(entries) > _MAX_ARRAYS:
        raise ContractError(
            "golden vectors", expected=f"at most {_MAX_ARRAYS} arrays, each once", found=len(entries)
        )
    return entries


def _get(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[np.uint8 | np.float32]:
    """Return one array; its header is checked against the bytes there are before anything is allocated."""
    if info.file_size > MAX_GOLDEN_BYTES or info.compress_type != zipfile.ZIP_STORED:
        raise ContractError(
            "golden vectors",
            expected=f"uncompressed arrays of at most {MAX_GOLDEN_BYTES} bytes",
            found=f"{info.file_size} bytes, compression {info.compress_type}",
        )
    data = archive.read(info)
    stream = io.BytesIO(data)
    np.lib.format.read_magic(stream)
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise ContractError("golden vectors", expected="plain arrays as long as they say", found=str(dtype))
    stream.seek(0)
    array: npt.NDArray[np.uint8 | np.float32] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _check(array: npt.NDArray[np.uint8 | np.float32], name: str, shape: tuple[int, ...], dtype: str) -> None:
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise ContractError(
            f"golden vectors {quoted(name)}",
            expected=f"{shape} {dtype}",
            found=f"{array.shape} {array.dtype}",
        )
