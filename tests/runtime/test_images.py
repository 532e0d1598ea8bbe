"""Facts about reading image files."""

import os
import struct
import threading
from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.errors import ImageReadError
from ecovision_edge.photographs import images
from ecovision_edge.photographs.image_size import image_size
from ecovision_edge.photographs.images import (
    IMAGE_SUFFIXES,
    decode_image,
    find_images,
    found_instead,
    passed_over,
    read_image,
)
from ecovision_edge.simulation.synthetic import draw_frame

FRAME = draw_frame(1, 40, 30)
JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp")


def encoded(suffix, frame=FRAME):
    ok, data = cv2.imencode(".jpg" if suffix in JPEG_SUFFIXES else suffix, frame)
    assert ok
    return data.tobytes()


def with_orientation(jpeg, orientation):
    """The JPEG with an EXIF block that says how it is turned."""
    tiff = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + b"\0\0\0\0"
    payload = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff"])
def test_a_lossless_image_comes_back_as_it_was(tmp_path, suffix):
    """BGR, exact."""
    path = tmp_path / f"x{suffix}"
    path.write_bytes(encoded(suffix))
    assert np.array_equal(read_image(path), FRAME)
    assert np.array_equal(read_image(str(path)), FRAME)


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_that_is_looked_for_can_be_decoded(suffix):
    """`find_images` finds nothing that `read_image` must refuse."""
    frame = decode_image(encoded(suffix), "x")
    assert frame.shape == FRAME.shape
    assert frame.dtype == np.uint8
    assert np.abs(frame.astype(int) - FRAME).mean() < 12


def test_grey_and_alpha_become_bgr():
    """Three channels, whatever the file holds."""
    grey = decode_image(encoded(".png", FRAME[:, :, 0].copy()), "x")
    assert np.array_equal(grey, np.repeat(FRAME[:, :, :1], 3, 2))
    alpha = np.dstack([FRAME, np.zeros(FRAME.shape[:2], np.uint8)])
    assert np.array_equal(decode_image(encoded(".png", alpha), "x"), FRAME)


def test_sixteen_bits_become_eight():
    """A 16-bit PNG gives its high bytes."""
    deep = FRAME.astype(np.uint16) * 257
    assert np.array_equal(decode_image(encoded(".png", deep), "x"), FRAME)


def test_a_turned_photograph_is_read_upright():
    """EXIF orientation 6 is turned a quarter clockwise."""
    jpeg = encoded(".jpg")
    straight = decode_image(jpeg, "x")
    assert np.array_equal(decode_image(with_orientation(jpeg, 1), "x"), straight)
    assert np.array_equal(decode_image(with_orientation(jpeg, 6), "x"), np.rot90(straight, -1))


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_what_is_no_image_is_refused(tmp_path, data):
    """With the file's name in the message."""
    path = tmp_path / "x.png"
    path.write_bytes(data)
    with pytest.raises(ImageReadError, match=r"cannot decode .*x\.png"):
        read_image(path)


def claimed(suffix, width, height):
    """A small image, in a file that says another size."""
    data, size = bytearray(encoded(suffix)), struct.pack
    if suffix == ".png":
        data[16:24] = size(">II", width, height)
    elif suffix == ".bmp":
        data[18:26] = size("<ii", width, -height)
    elif suffix == ".jpg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = size(">HH", height, width)
    elif suffix == ".webp":
        at = data.index(b"VP8L") + 9
        data[at : at + 4] = size("<I", width - 1 | height - 1 << 14)
    elif suffix == ".gif":
        data[6:10] = size("<HH", width, height)
    elif suffix == ".ppm":
        data[:9] = b"P6 # it\n%d\t%d " % (width, height)
    else:
        data = bytearray(tiff([(256, 4, width), (257, 4, height)]))
    return bytes(data)


def tiff(entries, order="<", big=False):
    """The head of a TIFF, of whole numbers alone."""
    mark = {"<": b"II", ">": b"MM"}[order]
    if big:
        head = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, 16)
        return (
            head
            + struct.pack(f"{order}Q", len(entries))
            + b"".join(struct.pack(f"{order}HHQQ", tag, 16, 1, value) for tag, _, value in entries)
        )
    body = struct.pack(f"{order}H", len(entries))
    for tag, kind, value in entries:
        form = {3: "HH", 4: "I"}[kind]
        body += struct.pack(f"{order}HHI{form}", tag, kind, 1, *([value, 0][: len(form)]))
    return mark + struct.pack(f"{order}HI", 42, 8) + body


SIZED = (".png", ".bmp", ".jpg", ".webp", ".tif", ".gif", ".ppm")


@pytest.mark.parametrize("suffix", SIZED)
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(suffix, monkeypatch):
    """By what its own decoder would read: 100 kB of PNG took 5 GB."""
    monkeypatch.setattr(images.cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(
        ImageReadError, match="x is too large: expected at most 120 megapixels, found 16000 x 8000"
    ):
        decode_image(claimed(suffix, 16_000, 8_000), "x")


@pytest.mark.parametrize("suffix", [*SIZED, ".avif"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (53, 37), (300, 2)])
def test_the_size_of_an_image_is_that_of_its_pixels(suffix, width, height):
    """As OpenCV decodes it, for each kind that this OpenCV writes."""
    if not cv2.haveImageWriter(suffix):
        pytest.skip(f"this OpenCV writes no {suffix}")
    data = encoded(suffix, draw_frame(1, 300, 60)[:height, :width].copy())
    assert image_size(data) == (width, height)
    assert decode_image(data, "x").shape == (height, width, 3)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_the_larger_of_a_tiffs_picture_and_its_tile_counts(order, big):
    """Its decoder makes room for a whole tile, however small the picture is."""
    entries = [(256, 3, 8), (257, 3, 6), (322, 4, 32_768), (323, 4, 16_384)]
    assert image_size(tiff(entries, order, big)) == (32_768, 16_384)
    assert image_size(tiff(entries[:2], order, big)) == (8, 6)
    assert image_size(tiff([*entries[:2], (256, 4, 70_000)], order, big)) == (70_000, 6)
    assert image_size(tiff([(256, 3, 8)], order, big)) is None


def test_a_jpegs_frame_is_found_behind_its_thumbnail_and_what_is_none():
    """As libjpeg goes from marker to marker."""
    jpeg, small = encoded(".jpg"), encoded(".jpg", FRAME[:8, :8].copy())
    app = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small
    for between in (app, app + b"\0 any \xff\x01", b"\xff" * 9 + b"\xd0" + app):
        assert image_size(jpeg[:2] + app[:0] + between + jpeg[2:]) in {(40, 30), None}
    assert image_size(jpeg[:2] + app + jpeg[2:]) == (40, 30)
    assert image_size(jpeg[:2] + app + b"\xff\xff\xff" + jpeg[2:]) == (40, 30)


@pytest.mark.parametrize(
    "data", [b"", b"BM", b"\xff\xd8\xff", b"\xff\xd8\xff\xda", b"RIFF    WEBPxxxx", b"P6 1"]
)
def test_a_head_that_ends_too_early_has_no_size(data):
    """Nor is it decoded."""
    assert image_size(data) is None


def test_the_boxes_of_an_avif_have_an_end():
    """However many there are, and however deep."""
    box = b"\0\0\0\x08free"
    ispe = b"\0\0\0\x14ispe" + struct.pack(">III", 0, 40, 30)
    nested = ispe
    for _ in range(2000):
        nested = struct.pack(">I", len(nested) + 8) + b"trak" + nested
    head = b"\0\0\0\x0cftypavif"
    assert image_size(head + nested) == (40, 30)
    assert image_size(head + b"\0\0\0\0ipco" + ispe) == (40, 30)
    assert image_size(head + box * 50_000 + nested) is None
    assert image_size(head + b"\0\0\0\x01free") is None


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    """Missing, a folder, an impossible name: one error, which is an OSError."""
    for path in (tmp_path / "none.png", tmp_path, tmp_path / ("x" * 300), "a\0b.png"):
        with pytest.raises(ImageReadError, match="cannot read") as caught:
            read_image(path)
        assert isinstance(caught.value, OSError)


def test_a_file_beyond_the_limit_is_refused(tmp_path, monkeypatch):
    """The limit is what is read at most."""
    path = tmp_path / "x.png"
    path.write_bytes(encoded(".png"))
    monkeypatch.setattr(images, "MAX_IMAGE_BYTES", path.stat().st_size)
    assert read_image(path).shape == FRAME.shape
    monkeypatch.setattr(images, "MAX_IMAGE_BYTES", path.stat().st_size - 1)
    with pytest.raises(ImageReadError, match="too large"):
        read_image(path)


def test_a_fifo_is_refused_and_not_waited_for(tmp_path):
    """A folder of photographs with a fifo in it does not hang the command."""
    path = tmp_path / "x.png"
    os.mkfifo(path)
    said = []

    def read():
        with pytest.raises(ImageReadError) as caught:
            read_image(path)
        said.append(str(caught.value))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(60)  # a safety net: it waits for nobody
    assert len(said) == 1
    assert "empty file" not in said[0]


@given(
    st.sampled_from([".jpg", ".png", ".bmp", ".webp", ".tif"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    st.floats(0, 1),
)
def test_damaged_images_decode_or_are_refused(suffix, changes, kept):
    """Truncated and altered files give a frame of the size that was told, or an ImageReadError."""
    data = bytearray(encoded(suffix))
    for where, value in changes:
        data[int(where * len(data))] = value
    try:
        data = bytes(data[: int(kept * len(data))])
        frame = decode_image(data, "x")
    except ImageReadError:
        return
    assert frame.ndim == 3
    assert frame.shape[2] == 3
    width, height = image_size(data)
    assert width * height >= frame.shape[0] * frame.shape[1]


def test_images_are_found_below_in_sorted_order(tmp_path):
    """By suffix in any case; hidden files and folders are passed over, links to where they are too."""
    for name in ("b.png", "a.JPG", "sub/c.webp", ".hidden.png", ".git/d.png", "notes.txt", "png", "a/z.bmp"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = [str(p.relative_to(tmp_path)) for p in find_images(tmp_path)]
    assert found == ["a.JPG", "b.png", "a/z.bmp", "sub/c.webp"]


def test_links_to_folders_are_followed_each_folder_once(tmp_path):
    """However they lead round and round; and files that are no images are counted."""
    for name in ("all/x/1.jpg", "all/x/deep/2.jfif", "other/3.JPE"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    top = tmp_path / "all"
    (top / "x" / "up").symlink_to(top, target_is_directory=True)
    (top / "x" / "self").symlink_to(".", target_is_directory=True)
    (top / "x" / "root").symlink_to("/", target_is_directory=True)
    (top / "y").symlink_to(tmp_path / "other", target_is_directory=True)
    (top / "z").symlink_to(tmp_path / "other", target_is_directory=True)
    (tmp_path / "other" / "back").symlink_to(top / "x", target_is_directory=True)
    (tmp_path / "link").symlink_to(top, target_is_directory=True)
    for start in (top, tmp_path / "link"):
        found = [str(p.relative_to(start)) for p in find_images(start)]
        assert found == ["x/1.jpg", "x/deep/2.jfif", "y/3.JPE"]
    # A folder in which all these meet: as many links as folders.
    for i in range(40):
        (tmp_path / "many" / str(i)).mkdir(parents=True)
        for j in range(40):
            (tmp_path / "many" / str(i) / f"to{j}").symlink_to(f"../{j}", target_is_directory=True)
    (tmp_path / "many" / "7" / "a.png").touch()
    assert len(list(find_images(tmp_path / "many"))) == 1


def test_a_sidecar_of_an_image_is_not_passed_over(tmp_path):
    """What a recording says of a picture belongs to it; another `.json` is told."""
    for name in ("0.json", "0.png", "1.jpg", "1.json", "2.json", "deep/1.json", "deep/3.webp"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    passed = Counter()
    assert len(list(find_images(tmp_path, passed))) == 3
    assert passed == {".json": 2}


def test_what_is_passed_over_is_counted(tmp_path, monkeypatch):
    """By suffix, if one can be shown; a link that leads nowhere and a folder that cannot be read, too."""
    for name in ("a.jpg", "b.HEIC", "c.heic", "d.gif", "noext", "e.\x1b[2J", "f.averylongsuffix", ".h.heic"):
        (tmp_path / name).touch()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    passed = Counter()
    assert [p.name for p in find_images(tmp_path, passed)] == ["a.jpg"]
    assert passed == {
        ".heic": 2, ".gif": 1, "other": 3, "broken link": 1, "folder that cannot be read": 1
    }  # fmt: skip
    assert passed_over("x", passed) == (
        "x: passed over 3 other, 2 .heic, 1 .gif, 1 broken link, 1 folder that cannot be read: no JPEG, PNG, "
        "BMP, WebP or TIFF images by their names",
    )
    assert passed_over("x", {}) == ()
    assert found_instead({f".{i}": 1 for i in range(20)}).endswith(", 8 more")
    assert found_instead({}) == "none"


def test_an_empty_folder_has_no_images(tmp_path):
    """Nor has one that is not there."""
    assert list(find_images(tmp_path)) == []
    assert list(find_images(tmp_path / "none")) == []


def test_a_photograph_is_read(photographs):
    """Real JPEGs: three channels, more than one colour."""
    for path in photographs:
        frame = read_image(path)
        assert frame.ndim == 3
        assert frame.std() > 1
