"""Walk the fields of a protobuf message, and write one: the wire format alone, without any schema.

See https://protobuf.dev/programming-guides/encoding. The runtime has no `onnx` package.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Field", "fields", "length_delimited"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10  # bytes: 64 bits, 7 in each


class Field(NamedTuple):
    """One field of a message.

    `value` is that of a varint, else 0. `content` is what a length-delimited field holds, else None.
    `message[start:end]` is the whole field with its key.
    """

    number: int
    value: int
    content: memoryview | None
    start: int
    end: int


def fields(message: memoryview) -> Iterator[Field]:
    """Yield each field in its order, without a look at what a nested message holds.

    Raises:
        ValueError: this is no protobuf message, or it is cut off.
    """
    at, size = 0, len(message)
    while at < size:
        start, value, content = at, 0, None
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
        elif wire == _BYTES:
            length, at = _varint(message, at)
            content = message[at : at + length]
            at += length
        elif wire in {_FIXED64, _FIXED32}:
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at > size:
            raise ValueError("truncated")
        yield Field(number, value, content, start, at)


def length_delimited(number: int, content: bytes) -> bytes:
    """Write a field that holds bytes, a text or a message."""
    return _as_varint(number << 3 | _BYTES) + _as_varint(len(content)) + content


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read the number that begins at `at`; return it, and where what follows it begins."""
    value = 0
    for i in range(_LONGEST_VARINT):
        if at + i >= len(message):
            raise ValueError("truncated")
        byte = message[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError("a number of more than 64 bits")


def _as_varint(value: int) -> bytes:
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)
