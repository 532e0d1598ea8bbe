"""Read a TFLite model file, of which nothing is trusted: its metadata, and whether it is one whole file.

LiteRT's interpreter tells no metadata, and checks no offset before it follows it: a damaged file would end
the process. So this walks the flatbuffer itself (https://flatbuffers.dev/internals, field numbers of LiteRT's
schema.fbs) and checks that every table, vector and text that LiteRT reads stands inside the file. The options
of operators, of some hundred kinds, are checked to be tables, and no further. Scales and zero points that no
kernel can compute with end LiteRT's process too, and are refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.names import quoted
from ecovision_edge.errors import ModelError

__all__ = ["read_metadata"]

_IDENTIFIER = b"TFL3"
_MAX_STEPS = 500_000  # tables, texts and vectors; MobileNetV3-Small of int8 has about 3,100

# message -> {field number: kind}. A kind is the width of a scalar in bytes, a table, "text", "?" (a table of
# a kind that is not looked into), or one of these in brackets: a vector.
_TABLES: dict[str, dict[int, str]] = {
    "Model": {
        **{0: "4", 1: "[OperatorCode]", 2: "[SubGraph]", 3: "text", 4: "[Buffer]", 5: "[4]"},
        **{6: "[Metadata]", 7: "[SignatureDef]", 8: "[?]", 9: "[?]"},
    },
    "OperatorCode": {0: "1", 1: "text", 2: "4", 3: "4"},
    "SubGraph": {0: "[Tensor]", 1: "[4]", 2: "[4]", 3: "[Operator]", 4: "text", 5: "4"},
    "Tensor": {
        **{0: "[4]", 1: "1", 2: "4", 3: "text", 4: "Quantization", 5: "1", 6: "?", 7: "[4]", 8: "1"},
        **{9: "[?]", 10: "4"},
    },
    "Quantization": {0: "[4]", 1: "[4]", 2: "[4]", 3: "[8]", 4: "1", 5: "?", 6: "4"},
    "Operator": {
        **{0: "4", 1: "[4]", 2: "[4]", 3: "1", 4: "?", 5: "[1]", 6: "1", 7: "[1]", 8: "[4]", 9: "8"},
        **{10: "8", 11: "1", 12: "?", 13: "4"},
    },
    "Buffer": {0: "[1]", 1: "8", 2: "8"},
    "Metadata": {0: "text", 1: "4"},
    "SignatureDef": {0: "[TensorMap]", 1: "[TensorMap]", 2: "text", 4: "4"},
    "TensorMap": {0: "text", 1: "4"},
    "?": {},
}
_BUFFERS, _METADATA, _EXTERNAL = 4, 6, (8, 9)  # of Model
_DATA, _OFFSET, _SIZE = 0, 1, 2  # of Buffer
_SCALE, _ZERO_POINT = 2, 3  # of Quantization
_NAME, _BUFFER = 0, 1  # of Metadata
_TYPE, _QUANTIZATION, _EXTERNAL_BUFFER = 1, 4, 10  # of Tensor
_INTEGERS = {3: np.uint8, 7: np.int16, 9: np.int8}  # of TensorType


def read_metadata(model: bytes) -> dict[str, bytes]:
    """Check a model file, and give its metadata, name to content.

    Raises:
        ModelError: these are not the bytes of one whole TFLite model, or it keeps tensors in other files.
    """
    if model[4:8] != _IDENTIFIER:
        raise ModelError(
            "not a TFLite model",
            expected="a whole .tflite file, TFL3 at byte 4",
            found=f"{ascii(model[4:8])[1:]} in {len(model)} bytes",
        )
    try:
        return _File(model).metadata()
    except (struct.error, ValueError) as e:
        if isinstance(e, ModelError):
            raise
        raise ModelError(
            "not a TFLite model", expected="a whole .tflite file", found=str(e), fix="copy or export it again"
        ) from e


@dataclass(frozen=True, slots=True)
class _Table:
    """Where a table stands, how long it is, and where its vtable has the offset of each field."""

    at: int
    size: int
    vtable: int
    fields: int


class _File:
    """A flatbuffer. Whatever it is asked for is inside the file, or a ValueError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._steps = 0

    def metadata(self) -> dict[str, bytes]:
        """Check everything; name and content of each metadata entry."""
        root = self._follow(0)
        self._check(root, "Model")
        model = self._table(root)
        if any(self._count(model, number) for number in _EXTERNAL):
            raise _elsewhere("a list of external buffers")
        buffers = self._elements(model, _BUFFERS)
        found: dict[str, bytes] = {}
        for at in self._elements(model, _METADATA):
            entry = self._table(at)
            name = self._text(entry, _NAME)
            index = self._scalar(entry, _BUFFER, "<I")
            if index >= len(buffers):
                raise ValueError(f"metadata in buffer {index} of {len(buffers)}")
            if name in found:
                raise ValueError(f"metadata {quoted(name)} twice")
            found[name] = self._content(buffers[index])
        return found

    def _check(self, at: int, kind: str) -> None:
        """Check a table, and whatever hangs on it. The schema has no cycle, so this ends."""
        table = self._table(at)
        for number, what in _TABLES[kind].items():
            place = self._place(table, number, int(what) if what.isdecimal() else 4)
            if place is None or what.isdecimal():
                continue
            target = self._follow(place)
            if what == "text":
                self._vector(target, 1, ending=1)
            elif what.startswith("["):
                inner = what[1:-1]
                start, count = self._vector(target, int(inner) if inner.isdecimal() else 4)
                for i in () if inner.isdecimal() else range(count):
                    self._check(self._follow(start + 4 * i), inner)
            else:
                self._check(target, what)
        if kind == "Buffer":
            self._behind(table)
        elif kind == "Tensor":
            self._check_tensor(table)

    def _check_tensor(self, tensor: _Table) -> None:
        if self._scalar(tensor, _EXTERNAL_BUFFER, "<I"):
            raise _elsewhere("a tensor in an external buffer")
        place = self._place(tensor, _QUANTIZATION, 4)
        if place is None:
            return
        table = self._table(self._follow(place))
        scales, zeros = self._numbers(table, _SCALE, np.float32), self._numbers(table, _ZERO_POINT, np.int64)
        if not (np.isfinite(scales) & (scales >= 0)).all():
            raise ValueError("a scale that is negative, NaN or infinite")
        kind = _INTEGERS.get(self._scalar(tensor, _TYPE, "<B"), np.int32)
        if (zeros != zeros.astype(kind)).any():
            raise ValueError(f"a zero point that is no {kind.__name__}")

    def _numbers(
        self, table: _Table, number: int, dtype: type[np.float32 | np.int64]
    ) -> npt.NDArray[np.float32 | np.int64]:
        place, width = self._place(table, number, 4), np.dtype(dtype).itemsize
        start, count = (0, 0) if place is None else self._vector(self._follow(place), width)
        return np.frombuffer(self._data, np.dtype(dtype).newbyteorder("<"), count, start)

    def _behind(self, buffer: _Table) -> tuple[int, int]:
        """Return start and end of a buffer that stands behind the flatbuffer, as in large models."""
        start = self._scalar(buffer, _OFFSET, "<Q")
        end = start + self._scalar(buffer, _SIZE, "<Q")
        if end > len(self._data):
            raise _elsewhere(f"a buffer that ends at byte {end} of {len(self._data)}")
        return start, end

    def _content(self, at: int) -> bytes:
        buffer = self._table(at)
        place = self._place(buffer, _DATA, 4)
        if place is None:
            start, end = self._behind(buffer)
            return self._data[start:end]
        start, count = self._vector(self._follow(place), 1)
        return self._data[start : start + count]

    def _elements(self, table: _Table, number: int) -> list[int]:
        """Return where the tables of a vector stand."""
        place = self._place(table, number, 4)
        if place is None:
            return []
        start, count = self._vector(self._follow(place), 4)
        return [self._follow(start + 4 * i) for i in range(count)]

    def _count(self, table: _Table, number: int) -> int:
        place = self._place(table, number, 4)
        return 0 if place is None else self._vector(self._follow(place), 4)[1]

    def _text(self, table: _Table, number: int) -> str:
        place = self._place(table, number, 4)
        if place is None:
            return ""
        start, count = self._vector(self._follow(place), 1, ending=1)
        return self._data[start : start + count].decode("utf-8", "backslashreplace")

    def _scalar(self, table: _Table, number: int, form: str) -> int:
        place = self._place(table, number, struct.calcsize(form))
        return 0 if place is None else self._read(form, place)

    def _table(self, at: int) -> _Table:
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise ValueError(f"more than {_MAX_STEPS} tables and texts")
        vtable = at - self._read("<i", at)
        size_of_vtable, size = self._read("<H", vtable), self._read("<H", vtable + 2)
        if size_of_vtable < 4 or size_of_vtable % 2 or vtable + size_of_vtable > len(self._data):
            raise ValueError(f"a broken table at byte {at}")
        if size < 4 or at + size > len(self._data):
            raise ValueError(f"a table at byte {at} that leaves the file")
        return _Table(at, size, vtable, (size_of_vtable - 4) // 2)

    def _place(self, table: _Table, number: int, width: int) -> int | None:
        """Return where a field stands; None where it is left out."""
        if number >= table.fields:
            return None
        offset = self._read("<H", table.vtable + 4 + 2 * number)
        if offset == 0:
            return None
        if offset < 4 or offset + width > table.size or (table.at + offset) % width:
            raise ValueError(f"a broken field of the table at byte {table.at}")
        return table.at + offset

    def _follow(self, at: int) -> int:
        target = at + self._read("<I", at)
        if target == at or target % 4:
            raise ValueError(f"a broken offset at byte {at}")
        return target

    def _vector(self, at: int, width: int, ending: int = 0) -> tuple[int, int]:
        """Return the first element and count; of a text with the zero byte that ends it."""
        self._steps += 1
        count = self._read("<I", at)
        if at + 4 + count * width + ending > len(self._data) or (count and (at + 4) % width):
            raise ValueError(f"a vector at byte {at} that leaves the file")
        if ending and self._data[at + 4 + count]:
            raise ValueError(f"a text without an end at byte {at}")
        return at + 4, count

    def _read(self, form: str, at: int) -> int:
        if at < 0 or at % struct.calcsize(form):  # struct would count from the end
            raise ValueError(f"an offset to byte {at}")
        value: int = struct.unpack_from(form, self._data, at)[0]
        return value


def _elsewhere(found: str) -> ModelError:
    return ModelError(
        "the model keeps tensors in other files",
        expected="a model in one file",
        found=found,
        fix="export it with `ecovision-edge export`",
    )
