"""Facts about multipart streams, as the standard has them and as cameras send them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.camera_servers import bars, jpeg

from ecovision_edge.camera import multipart
from ecovision_edge.camera.multipart import Parts
from ecovision_edge.errors import CaptureError

PICTURES = [jpeg(bars(i)) for i in range(3)]


def part(body, length=None, boundary=b"--frame", headers=b"Content-Type: image/jpeg\r\n"):
    """One as most cameras send it; `length` is what is claimed, None is nothing."""
    claimed = b"" if length is None else b"Content-Length: %d\r\n" % length
    return boundary + b"\r\n" + headers + claimed + b"\r\n" + body + b"\r\n"


def honest(*bodies, **options):
    return b"".join(part(body, len(body), **options) for body in bodies)


def fed(data, boundary="frame", step=None):
    """What comes out of so many bytes at a time."""
    parts = Parts(boundary)
    step = step or len(data)
    return [body for i in range(0, len(data), step) for body in parts.feed(data[i : i + step])]


@pytest.mark.parametrize("step", [1, 7, 1000, None])
@pytest.mark.parametrize(
    "data",
    [
        honest(*PICTURES),
        b"".join(map(part, PICTURES)),
        honest(*PICTURES).replace(b"\r\n--frame", b"--frame"),
        honest(*PICTURES).replace(b"Content-Length", b"content-length"),
        honest(*PICTURES, headers=b"X-Timestamp: 1.5\r\n"),
        honest(*PICTURES, headers=b""),
        honest(*PICTURES, boundary=b"--another"),
        honest(PICTURES[0], boundary=b"--first") + honest(*PICTURES[1:]),
        honest(*PICTURES, boundary=b"frame"),
        b"\r\n" + b"".join(part(p, boundary=b"frame") for p in PICTURES),
        honest(*PICTURES, boundary=b"--frame  "),
        b"\r\n" + honest(*PICTURES),
        b"This is a multipart message.\r\n" + honest(*PICTURES),
        b"".join(part(p, 0) for p in PICTURES),
        b"".join(part(p, len(p) - 2) for p in PICTURES) + b"--frame",
        b"".join(part(p, len(p) // 2) for p in PICTURES) + b"--frame",
        b"".join(part(p, len(p) + 40) for p in PICTURES[:2]) + honest(PICTURES[2]),
    ],
    ids=[
        *("plain", "no lengths", "no line before a boundary", "small letters", "other headers"),
        *("no headers but the length", "another boundary than declared", "another boundary at first only"),
        *("a boundary without its dashes", "so without lengths", "spaces behind a boundary"),
        *("a line first", "a preamble"),
        *("lengths of 0", "lengths without the end marker", "lengths of half", "lengths too large"),
    ],
)
def test_each_picture_comes_whole(data, step):
    """However the bytes arrive."""
    assert fed(data, step=step) == PICTURES


def test_lines_may_end_without_a_return():
    """As some small servers have them."""
    data = b"".join(
        b"--frame\nContent-Type: image/jpeg\nContent-Length: %d\n\n%s\n" % (len(p), p) for p in PICTURES
    )
    assert fed(data) == PICTURES


@pytest.mark.parametrize("length", [len(PICTURES[0]), None])
def test_a_picture_comes_with_its_last_byte(length):
    """Not only with the next boundary, which a slow camera sends with the next picture."""
    data = part(PICTURES[0], length)[:-2]
    parts = Parts("frame")
    assert parts.feed(data[:-1]) == []
    assert parts.feed(data[-1:]) == [PICTURES[0]]


def test_a_length_that_never_comes_waits_for_no_more_than_the_boundary():
    """The largest that there is, for a camera that knows none."""
    data = b"".join(part(p, 2**31 - 1) for p in PICTURES)
    assert fed(data) == PICTURES[:2]


@pytest.mark.parametrize("known", [True, False])
def test_a_boundary_inside_a_picture_is_none(known):
    """In its comment, for one; where its length is told."""
    comment = b"by\n--frame\r\n\r\n"
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    pictures = [p[:2] + segment + p[2:] for p in PICTURES]
    found = fed(honest(*pictures) if known else b"".join(part(p, len(p) + 40) for p in pictures))
    assert found == (pictures if known else pictures[:2])


def test_a_damaged_part_is_a_part():
    """Empty, half, or no picture at all; those around it come whole."""
    first, second, third = PICTURES
    half, junk = second[: len(second) // 2], bytes(range(256)) * 9
    assert fed(honest(first, half, third)) == [first, half, third]
    assert fed(honest(first, junk, third)) == [first, junk, third]
    assert fed(honest(first, b"", third)) == [first, b"", third]
    assert fed(part(first) + part(half) + part(third)) == [first, half, third]


def test_a_boundary_that_is_nowhere_is_an_error():
    """Neither declared nor sent."""
    with pytest.raises(CaptureError, match="without a boundary"):
        fed(PICTURES[0], boundary=None)
    assert fed(honest(*PICTURES), boundary=None) == PICTURES


def test_neither_a_part_nor_what_is_between_grows_without_bounds(monkeypatch):
    """A stream that never has an end of it, or never a boundary."""
    monkeypatch.setattr(multipart, "MAX_PART_BYTES", 1000)
    with pytest.raises(CaptureError, match="no end of a part within"):
        fed(part(b"x" * 2000), step=100)
    with pytest.raises(CaptureError, match="no boundary of multipart within"):
        fed(b"x" * 2**18, step=2**15)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_are_parts_or_an_error(data, step):
    """Nothing else is raised, and what comes out went in."""
    try:
        found = fed(b"--frame\r\n" + data, step=step)
    except CaptureError:
        return
    assert all(body in data for body in found)
