"""Put another contract into a model file, and leave every other byte of the model as it was.

No `onnx` and no `flatbuffers` package is needed: of either format only what leads to the metadata is
followed.
"""

from __future__ import annotations

import struct

from ecovision_edge.bundle.contract import METADATA_KEY, Contract
from ecovision_edge.bundle.manifest import MAX_FILE_BYTES, Format
from ecovision_edge.errors import ModelError
from ecovision_edge.modelfile.metadata import contract_entry
from ecovision_edge.modelfile.onnx import refuse_external_data
from ecovision_edge.modelfile.protobuf import Field, fields, length_delimited
from ecovision_edge.modelfile.tflite import _File, read_metadata

__all__ = ["with_contract"]

_METADATA_PROPS = 14  # of ModelProto, a StringStringEntryProto each
_KEY, _VALUE = 1, 2

_MODEL_BUFFERS, _MODEL_METADATA = 4, 6
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = 0, 1, 2
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_ALIGNMENT = 16  # of a buffer's content, as the schema demands


def with_contract(model: bytes, format: Format, contract: Contract) -> bytes:
    """Return the model file with `contract` in the place of the one it carries.

    Raises:
        ModelError: these are not the bytes of such a model, or the new file would be too large.
        MissingContractError: it carries no contract.
    """
    text = contract.dumps().encode()
    result = _onnx(model, text) if format == "onnx" else _tflite(model, text)
    if len(result) > MAX_FILE_BYTES:
        raise ModelError("the model is too large", expected=f"{MAX_FILE_BYTES} bytes", found=len(result))
    return result


def _onnx(model: bytes, text: bytes) -> bytes:
    """Replace the entry of `metadata_props` where it stands; the other fields are copied as they are."""
    refuse_external_data(model)  # is it an ONNX model at all?
    entry = length_delimited(_KEY, METADATA_KEY.encode()) + length_delimited(_VALUE, text)
    own = length_delimited(_METADATA_PROPS, entry)
    parts: list[bytes] = []
    names: dict[str, str] = {}
    for field in fields(memoryview(model)):
        name = _entry_key(field)
        if name == METADATA_KEY:
            parts += [] if name in names else [own]
        else:
            parts.append(model[field.start : field.end])
        if name is not None:
            names[name] = ""
    contract_entry(names)
    return b"".join(parts)


def _entry_key(field: Field) -> str | None:
    """Return the key of a metadata entry, of several the last, as protobuf has it; None for other fields."""
    if field.number != _METADATA_PROPS or field.content is None:
        return None
    try:
        keys = [part.content or b"" for part in fields(field.content) if part.number == _KEY]
    except ValueError as e:
        raise ModelError("not an ONNX model", expected="a whole .onnx file", found=str(e)) from e
    return bytes(keys[-1]).decode("utf-8", "backslashreplace") if keys else ""


def _tflite(model: bytes, text: bytes) -> bytes:
    """Write the text over the old one where it fits, else at the end of the file, and lead there.

    A longer text leaves the old one in the file, where nothing leads to it any more: to take it out would
    move what stands behind it.
    """
    contract_entry(read_metadata(model))  # checks the whole file too
    try:
        return _Editor(model).replaced(text)
    except (struct.error, ValueError) as e:
        if isinstance(e, ModelError):
            raise
        raise ModelError("not a TFLite model", expected="a whole .tflite file", found=str(e)) from e


class _Editor(_File):
    """A flatbuffer whose contract can be replaced."""

    def replaced(self, text: bytes) -> bytes:
        """Return the file with another contract."""
        buffer = self._table(self._contract_buffer())
        data = bytearray(self._data)
        place = self._place(buffer, _BUFFER_DATA, 4)
        if place is not None:
            start, count = self._vector(self._follow(place), 1)
            if len(text) > count:
                start = len(data) + 4 + -(len(data) + 4) % _ALIGNMENT
                data += bytes(start - len(data)) + text
                struct.pack_into("<I", data, place, start - 4 - place)
            struct.pack_into("<I", data, start - 4, len(text))
            data[start : start + len(text)] = text
            return bytes(data)
        start, end = self._behind(buffer)
        offset, size = self._place(buffer, _BUFFER_OFFSET, 8), self._place(buffer, _BUFFER_SIZE, 8)
        if offset is None or size is None:
            raise ValueError("a contract of no bytes")
        if len(text) > end - start:
            start = len(data) + -len(data) % _ALIGNMENT
            data += bytes(start - len(data)) + text
        struct.pack_into("<Q", data, offset, start)
        struct.pack_into("<Q", data, size, len(text))
        data[start : start + len(text)] = text
        return bytes(data)

    def _contract_buffer(self) -> int:
        """Return where the table of the buffer stands that holds the contract."""
        model = self._table(self._follow(0))
        buffers = self._elements(model, _MODEL_BUFFERS)
        for at in self._elements(model, _MODEL_METADATA):
            entry = self._table(at)
            if self._text(entry, _METADATA_NAME) == METADATA_KEY:
                return buffers[self._scalar(entry, _METADATA_BUFFER, "<I")]
        raise ValueError("no contract")
