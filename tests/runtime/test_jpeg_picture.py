"""Facts about pictures that stay JPEG until somebody asks for their pixels."""

import struct

import cv2
import numpy as np
import pytest

from ecovision_edge.bundle.contract import ResizeSpec
from ecovision_edge.camera.transform import Transform
from ecovision_edge.errors import ImageReadError
from ecovision_edge.photographs.images import decode_image, read_image
from ecovision_edge.photographs.jpeg_picture import JpegPicture
from ecovision_edge.preprocess.reduction import reduction
from ecovision_edge.simulation.synthetic import draw_frame

FRAME = draw_frame(3, 200, 160)


def jpeg(frame=FRAME, *options):
    return cv2.imencode(".jpg", frame, options)[1].tobytes()


def oriented(data, orientation):
    """The JPEG with an EXIF block that says how it is turned."""
    tiff = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + b"\0\0\0\0"
    block = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


def by(times):
    return lambda height, width: times


def refused(data):
    """The JPEG with a precision that no decoder takes: its head is sound."""
    at = data.index(b"\xff\xc0") + 4
    return data[:at] + b"\x0d" + data[at + 1 :]


def test_it_is_decoded_when_somebody_asks_and_again_only_for_more(decodings):
    """Whoever is content with less gets what is there."""
    picture = JpegPicture(jpeg(), "x")
    assert picture.size == (160, 200)
    assert not decodings
    assert picture.reduced(by(4)).shape == (40, 50, 3)
    assert picture.reduced(by(8)).shape == (40, 50, 3)
    assert picture.reduced(by(2)).shape == (80, 100, 3)
    assert np.array_equal(picture.whole(), decode_image(jpeg(), "x"))
    assert picture.reduced(by(2)) is picture.whole()
    assert decodings == [4, 2, 1]


@pytest.mark.parametrize(
    "options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)]
)
@pytest.mark.parametrize("times", [2, 4, 8])
def test_reduced_it_shows_the_same(times, options):
    """Blocks of the whole picture, each become one pixel."""
    data = jpeg(FRAME, *options)
    small = decode_image(data, "x", by(times))
    assert small.shape == (160 // times, 200 // times, 3)
    area = cv2.resize(decode_image(data, "x"), small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - area).mean() < 5


@pytest.mark.parametrize("finish", [None, Transform(rotate=90), Transform(roi=(0.25, 0, 0.5, 1))])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_its_size_is_that_of_the_picture_upright_and_finished(orientation, finish):
    """Known by what the decoder gave, whatever is asked first; a part of it is reduced likewise."""
    data = oriented(jpeg(), orientation)
    whole = decode_image(data, "x") if finish is None else finish.apply(decode_image(data, "x"))
    picture = JpegPicture(data, "x", finish)
    assert picture.size == whole.shape[:2]
    small = picture.reduced(by(4))
    assert np.allclose(small.shape[:2], np.array(whole.shape[:2]) / 4, atol=1)
    assert picture.size == whole.shape[:2]
    assert np.array_equal(picture.whole(), whole)


def test_odd_sides_are_what_the_decoder_makes_of_them():
    """It rounds up."""
    picture = JpegPicture(jpeg(draw_frame(1, 201, 163)), "x")
    assert picture.reduced(by(8)).shape == (21, 26, 3)
    assert picture.size == (163, 201)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("times", [1, 2, 8])
def test_half_a_picture_is_refused_at_any_size(share, times):
    """As a whole one is; and before anything is decoded."""
    half = jpeg()[: int(len(jpeg()) * share)]
    with pytest.raises(ImageReadError, match="its end is missing"):
        decode_image(half, "x", by(times))
    with pytest.raises(ImageReadError, match="its end is missing"):
        JpegPicture(half, "x")


def test_what_is_no_jpeg_or_too_long_is_refused_at_once():
    """A frame has at most 32767 pixels a side."""
    with pytest.raises(ImageReadError, match="of something else"):
        JpegPicture(b"\xff\xd8rubbish\xff\xd9", "x")
    with pytest.raises(ImageReadError, match="found 32768 x 1 pixels"):
        JpegPicture(jpeg(np.zeros((1, 32768, 3), np.uint8)), "x")


def test_what_cannot_be_decoded_is_an_error_of_whoever_asks():
    """Its head is sound."""
    picture = JpegPicture(refused(jpeg()), "x")
    for times in (1, 8):
        with pytest.raises(ImageReadError, match="cannot decode x"):
            picture.reduced(by(times))


def test_the_bytes_are_given_on_only_where_they_show_the_same():
    """Not where the picture is turned, nor without the tables that a viewer needs."""
    data = jpeg()
    assert JpegPicture(data, "x").jpeg == data
    assert JpegPicture(data, "x", Transform()).jpeg == data
    assert JpegPicture(data, "x", Transform(mirror=True)).jpeg is None
    bare = data
    while (at := bare.find(b"\xff\xc4")) >= 0:
        bare = bare[:at] + bare[at + 2 + int.from_bytes(bare[at + 2 : at + 4], "big") :]
    assert JpegPicture(bare, "x").jpeg is None
    assert np.array_equal(JpegPicture(bare, "x").whole(), decode_image(data, "x"))


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1920, 1080, 4),
        (1080, 1920, 4),
        (1280, 720, 2),
        (640, 480, 1),
        (4056, 3040, 8),
        (256, 256, 1),
        (1, 1, 1),
    ],
)
def test_the_rest_is_left_to_the_exact_filter(width, height, expected):
    """A shrink of 1.2 of the shorter side at least."""
    assert reduction(ResizeSpec(), height, width, 224, 224) == expected


def test_a_file_is_read_smaller_only_where_it_is_a_jpeg(tmp_path):
    """Of other formats the decoder would shrink the pixels, by another filter than the contract's."""
    for name, shape in (("x.jpg", (80, 100, 3)), ("x.png", (160, 200, 3)), ("x.webp", (160, 200, 3))):
        cv2.imwrite(str(tmp_path / name), FRAME)
        assert read_image(tmp_path / name, by(2)).shape == shape
        assert read_image(tmp_path / name).shape == (160, 200, 3)
