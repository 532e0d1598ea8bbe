"""Facts about the end of a JPEG picture."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.errors import ImageReadError
from ecovision_edge.photographs.images import decode_image
from ecovision_edge.photographs.jpeg import is_cut_off, jpeg_end
from ecovision_edge.simulation.synthetic import draw_frame

FRAME = draw_frame(3, 64, 48)


def jpeg(*options):
    return cv2.imencode(".jpg", FRAME, options)[1].tobytes()


PLAIN = jpeg()
SMALL = cv2.imencode(".jpg", cv2.resize(FRAME, (16, 12)))[1].tobytes()
KINDS = {
    "baseline": PLAIN,
    "progressive": jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restart markers": jpeg(cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
    "a thumbnail in it": PLAIN[:2] + b"\xff\xe1" + (len(SMALL) + 2).to_bytes(2, "big") + SMALL + PLAIN[2:],
    "fill bytes before its end": PLAIN[:-2] + b"\xff\xff\xff\xd9",
}


@pytest.mark.parametrize("data", KINDS.values(), ids=KINDS)
def test_a_whole_picture_ends_where_it_ends(data):
    """Whatever follows: padding, or another picture."""
    assert jpeg_end(data) == len(data)
    assert jpeg_end(data + b"\r\n\0" + PLAIN) == len(data)
    assert jpeg_end(b"before" + data, len(b"before")) == len(b"before") + len(data)
    assert not is_cut_off(data)
    assert decode_image(data, "x").shape == FRAME.shape


@pytest.mark.parametrize("data", KINDS.values(), ids=KINDS)
def test_a_picture_that_is_cut_off_anywhere_is_not_whole(data):
    """Also in the middle of a marker, and with another one behind it."""
    for end in range(2, len(data)):
        assert jpeg_end(data[:end]) is None, end
    assert jpeg_end(data[:-10] + PLAIN) is None


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.999])
def test_half_a_jpeg_is_no_image(share):
    """On any OpenCV: before 4.12 it gave the missing rows as grey."""
    with pytest.raises(ImageReadError, match=r"cannot decode x: expected a whole JPEG.*its end is missing"):
        decode_image(PLAIN[: int(len(PLAIN) * share)], "x")


def test_other_formats_are_left_to_the_decoder():
    """A PNG has no such marker."""
    png = cv2.imencode(".png", FRAME)[1].tobytes()
    assert not is_cut_off(png)
    assert np.array_equal(decode_image(png, "x"), FRAME)


@given(st.binary(max_size=200))
def test_any_bytes_have_an_answer(data):
    """Within them, and of the end marker."""
    end = jpeg_end(b"\xff\xd8" + data)
    assert end is None or (b"\xff\xd8" + data)[end - 2 : end] == b"\xff\xd9"
