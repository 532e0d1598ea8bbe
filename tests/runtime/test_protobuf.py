"""Facts about reading and writing the fields of a protobuf message."""

import pytest

from ecovision_edge.modelfile.protobuf import fields, length_delimited


def test_each_kind_of_field_is_read_with_its_place():
    """A varint, eight bytes, bytes, four bytes; what the fields span is the whole message."""
    message = b"\x08\xac\x02" + b"\x11" + bytes(8) + length_delimited(300, b"abc") + b"\x1d" + bytes(4)
    found = list(fields(memoryview(message)))
    assert [(f.number, f.value) for f in found] == [(1, 300), (2, 0), (300, 0), (3, 0)]
    assert [None if f.content is None else bytes(f.content) for f in found] == [None, None, b"abc", None]
    assert b"".join(message[f.start : f.end] for f in found) == message


def test_a_long_content_is_read_back():
    """Its length takes several bytes."""
    content = bytes(range(256)) * 100
    (field,) = fields(memoryview(length_delimited(7, content)))
    assert field.content == content


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"\x08", "truncated"),
        (b"\x08\x80", "truncated"),
        (b"\x0a\x05abc", "truncated"),
        (b"\x0d\x00\x00", "truncated"),
        (b"\x0b", "wire type 3"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "more than 64 bits"),
    ],
)
def test_what_is_no_message_is_a_value_error(message, problem):
    """Cut off in a key, a number or a content; a group; a number without an end."""
    with pytest.raises(ValueError, match=problem):
        list(fields(memoryview(message)))
