"""Facts about videos, folders and globs as sources."""

import re
import shutil

import cv2
import numpy as np
import pytest
from tests.runtime.camera_servers import count_in, make_turned_video, make_video

from ecovision_edge.camera import LatestFrame
from ecovision_edge.camera.open import open_source
from ecovision_edge.camera.upright import set_upright
from ecovision_edge.errors import BadFrameError, CaptureError, SourceOpenError
from ecovision_edge.simulation.synthetic import draw_frame


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A Motion JPEG file of 20 frames."""
    return make_video(tmp_path_factory.mktemp("video") / "clip.avi")


@pytest.fixture
def photos(tmp_path):
    """A folder of three images, one of them below."""
    folder = tmp_path / "photos"
    for i, name in enumerate(("a.png", "b.png", "sub/c.png")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), draw_frame(i, 32, 24))
    return folder


def read_all(stream):
    frames = []
    while (frame := stream.read()) is not None:
        frames.append(frame)
    stream.close()
    return frames


def test_a_video_is_read_whole_and_in_order(video):
    """Each frame once, then None."""
    stream = open_source(str(video)).connect()
    assert [count_in(stream.read()) for _ in range(20)] == list(range(20))
    assert stream.read() is None
    assert stream.read() is None


def test_a_video_that_loops_begins_again(video):
    """For ever."""
    stream = open_source(f"{video}?loop=1").connect()
    assert [count_in(stream.read()) for _ in range(45)] == [*range(20), *range(20), *range(5)]
    stream.close()


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_video_is_upright(turn, tmp_path):
    """As its file says; with OpenCV 4.6 too, which turns portrait video upside down."""
    for frame in read_all(open_source(str(make_turned_video(tmp_path / "phone.mp4", turn))).connect()):
        assert frame.shape == ((64, 48, 3) if turn % 180 else (48, 64, 3))
        above, below = frame[4, 20], frame[-4, 20]
        assert above[2] > 200 > above[0]
        assert below[0] > 200 > below[2]


@pytest.mark.parametrize(
    ("version", "auto", "angle", "turned"),
    [
        ("4.6.0", 1.0, 90.0, True),
        ("4.6.0", 1.0, 270.0, True),
        ("4.6.0", 1.0, 180.0, False),
        ("4.6.0", 1.0, 0.0, False),
        ("4.6.0", 0.0, 90.0, False),
        ("4.5.5", 1.0, 90.0, False),
        ("4.7.0", 1.0, 270.0, False),
    ],
)
def test_only_opencv_4_6_is_corrected(version, auto, angle, turned, monkeypatch):
    """And of it only what it turned by a quarter."""

    class Capture:
        def get(self, key):
            return {cv2.CAP_PROP_ORIENTATION_AUTO: auto, cv2.CAP_PROP_ORIENTATION_META: angle}[key]

    monkeypatch.setattr(cv2, "__version__", version)
    frame = draw_frame(1, 32, 24)
    assert np.array_equal(set_upright(Capture())(frame), frame[::-1, ::-1] if turned else frame)


def test_a_frame_that_cannot_be_decoded_is_no_end_of_a_video(video, tmp_path):
    """It is a bad frame; those after it come."""
    data = bytearray(video.read_bytes())
    starts = [match.start() for match in re.finditer(b"\xff\xd8\xff", data)]
    data[starts[9] : starts[10] - 8] = bytes(starts[10] - 8 - starts[9])
    (tmp_path / "damaged.avi").write_bytes(data)
    with LatestFrame(open_source(str(tmp_path / "damaged.avi"))) as frames:
        counts = [count_in(frame.image) for frame in iter(lambda: frames.read(20), None)]
        assert frames.bad_frames == 1
    assert counts == [*range(9), *range(10, 20)]


def test_a_video_may_have_any_name(video, tmp_path, monkeypatch):
    """One that FFmpeg would take for a protocol or a pattern included."""
    monkeypatch.chdir(tmp_path)
    for name in ("http:x.avi", "a%03d.avi", "what?.avi", "0.avi", "-.avi"):
        shutil.copy(video, name)
        assert len(read_all(open_source(f"file:{name}?fps=5").connect())) == 20
    (tmp_path / "0").mkdir()
    shutil.copy(video, "0/clip.avi")
    assert len(read_all(open_source("file:0/clip.avi").connect())) == 20


def test_a_video_that_was_cut_off_is_read_as_far_as_it_goes(video, tmp_path, caplog):
    """And a warning says how far that is."""
    cut = tmp_path / "cut.avi"
    cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    frames = read_all(open_source(str(cut)).connect())
    assert 5 < len(frames) < 15
    if caplog.records:  # where FFmpeg knows how many there should be
        assert "ended after" in caplog.text


@pytest.mark.parametrize("content", [b"", b"no video", b"RIFF\xff\xff\xff\xffAVI LIST"])
def test_what_is_no_video_cannot_be_opened(tmp_path, content):
    """With the name that was given."""
    path = tmp_path / "x.avi"
    path.write_bytes(content)
    with pytest.raises(SourceOpenError, match=r"x\.avi cannot be opened: .* FFmpeg cannot decode"):
        open_source(str(path)).connect()


def test_a_video_that_is_not_there_cannot_be_opened(tmp_path):
    """A folder of that name is a folder of images."""
    with pytest.raises(SourceOpenError, match="no such file"):
        open_source("nothing.mp4").connect()
    (tmp_path / "x.mp4").mkdir()
    with pytest.raises(SourceOpenError, match="expected images"):
        open_source(str(tmp_path / "x.mp4")).connect()


def test_a_video_that_goes_away_while_it_loops_is_a_capture_error(video, tmp_path):
    """The frames it had are read first."""
    path = shutil.copy(video, tmp_path / "x.avi")
    stream = open_source(f"{path}?loop=1").connect()
    for _ in range(20):
        stream.read()
    path.unlink()
    with pytest.raises(CaptureError, match="cannot be read again"):
        stream.read()


def test_a_folder_is_read_in_the_order_of_find_images(photos):
    """Those below included."""
    frames = read_all(open_source(str(photos)).connect())
    assert [f.tobytes() for f in frames] == [draw_frame(i, 32, 24).tobytes() for i in range(3)]


def test_a_recordings_folder_is_a_folder(tmp_path):
    """Numbered images in `frames`, beside what else a recording has."""
    (tmp_path / "frames").mkdir()
    (tmp_path / "recording.json").write_text("{}")
    for i in (0, 2, 11):
        cv2.imwrite(str(tmp_path / "frames" / f"{i:09}.png"), draw_frame(i, 32, 24))
    frames = read_all(open_source(str(tmp_path)).connect())
    assert [f.tobytes() for f in frames] == [draw_frame(i, 32, 24).tobytes() for i in (0, 2, 11)]


def test_what_is_passed_over_in_a_folder_is_logged_once(photos, caplog):
    """Not in each round of a loop."""
    (photos / "x.heic").touch()
    stream = open_source(f"{photos}?loop=1").connect()
    for _ in range(20):
        stream.read()
    stream.close()
    assert [r.message for r in caplog.records if "passed over" in r.message] == [
        f"{photos}: passed over 1 .heic: no JPEG, PNG, BMP, WebP or TIFF images by their names"
    ]


def test_a_glob_is_read_in_sorted_order(photos, monkeypatch):
    """Images only; `**` is any folders."""
    (photos / "notes.txt").write_text("no image")
    (photos / "d.png").mkdir()
    monkeypatch.chdir(photos.parent)
    assert len(read_all(open_source("photos/*").connect())) == 2
    assert len(read_all(open_source("photos/?.png?loop=0").connect())) == 2
    assert len(read_all(open_source("photos/**/*.png?fps=3").connect())) == 3


def test_one_image_is_a_source_too(photos):
    """Of one frame, or of the same for ever."""
    assert len(read_all(open_source(str(photos / "a.png")).connect())) == 1
    stream = open_source(f"{photos / 'a.png'}?loop=1&mirror=1").connect()
    assert np.array_equal(stream.read(), stream.read())
    stream.close()


def test_images_that_loop_are_listed_anew_each_time(photos):
    """What was added comes too."""
    stream = open_source(f"{photos}?loop=1").connect()
    for _ in range(3):
        stream.read()
    cv2.imwrite(str(photos / "0.png"), draw_frame(9, 32, 24))
    assert np.array_equal(stream.read(), draw_frame(9, 32, 24))


def test_an_image_that_cannot_be_read_is_a_bad_frame(photos):
    """Broken, or gone since the folder was listed; the next one comes."""
    (photos / "a.png").write_bytes(b"broken")
    stream = open_source(str(photos)).connect()
    (photos / "b.png").unlink()
    for why in ("cannot decode", "cannot read"):
        with pytest.raises(BadFrameError, match=why):
            stream.read()
    assert np.array_equal(stream.read(), draw_frame(2, 32, 24))
    assert stream.read() is None


def test_an_image_that_cannot_be_read_is_logged_counted_and_passed_over(photos, caplog):
    """Each by its name."""
    (photos / "a.png").write_bytes(b"broken")
    (photos / "b.png").write_bytes(b"")
    with LatestFrame(open_source(str(photos))) as frames:
        assert np.array_equal(frames.read(20).image, draw_frame(2, 32, 24))
        assert frames.read(20) is None
        assert frames.bad_frames == frames.health.bad_frames == 2
    assert [r.name for r in caplog.records] == ["ecovision_edge"] * 2
    assert "passed over: cannot decode" in caplog.records[0].getMessage()
    assert "b.png" in caplog.records[1].getMessage()


@pytest.mark.parametrize("options", ["", "?loop=1"])
def test_images_none_of_which_can_be_read_are_a_capture_error(photos, options):
    """Also in a later round; it does not search for ever."""
    for path in photos.rglob("*.png"):
        path.write_bytes(b"broken")
    with (
        LatestFrame(open_source(f"{photos}{options}")) as frames,
        pytest.raises(CaptureError, match="holds no frame that can be read"),
    ):
        frames.read(20)


def test_images_that_become_unreadable_end_a_loop(photos):
    """With an error, since a loop has no end of its own."""
    stream = open_source(f"{photos}?loop=1").connect()
    for _ in range(3):
        stream.read()
    for path in photos.rglob("*.png"):
        path.write_bytes(b"broken")
    for _ in range(3):
        with pytest.raises(BadFrameError):
            stream.read()
    with pytest.raises(CaptureError, match="holds no frame"):
        stream.read()


def test_no_images_cannot_be_opened(tmp_path):
    """An empty folder, a glob of nothing, an image that is not there; names of any length."""
    for text in (tmp_path, tmp_path / "*.jpg", tmp_path / "x.png", tmp_path / ("x" * 300 + ".png")):
        with pytest.raises(SourceOpenError, match="expected images"):
            open_source(str(text)).connect()
    with pytest.raises(SourceOpenError, match="no such file"):
        open_source("x" * 300 + ".mp4").connect()
