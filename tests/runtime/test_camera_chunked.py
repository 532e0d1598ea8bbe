"""Facts about bodies of HTTP that come in chunks."""

import http.client

import pytest

from ecovision_edge.camera.chunked import Chunks

WHOLE = b"4\r\nWiki\r\n6;name=value\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nTrailer: 1\r\n\r\n"


@pytest.mark.parametrize("step", [1, 2, 5, 1000])
def test_the_content_comes_as_far_as_it_is_there(step):
    """However the bytes arrive, and nothing of what stands between."""
    chunks = Chunks()
    assert b"".join(chunks.feed(WHOLE[i : i + step]) for i in range(0, len(WHOLE), step)) == (
        b"Wikipedia in \r\n\r\nchunks."
    )
    assert chunks.ended


def test_a_chunk_need_not_be_whole():
    """Nor need the next one have begun."""
    chunks = Chunks()
    assert [chunks.feed(d) for d in (b"5\r\nab", b"cde", b"\r\n", b"1\n", b"f")] == [
        b"ab",
        b"cde",
        b"",
        b"",
        b"f",
    ]
    assert not chunks.ended


@pytest.mark.parametrize("data", [b"\xff\xd8\n", b"-5\r\n", b"\r\n", b"1" * 5000, b"1\r\na\r\n\r\n"])
def test_what_is_no_chunk_is_an_error_of_http(data):
    """Also a line without an end."""
    with pytest.raises(http.client.HTTPException):
        Chunks().feed(data)
