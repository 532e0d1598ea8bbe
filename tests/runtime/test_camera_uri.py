"""Facts about what `open_source` takes, and about what it refuses."""

import re
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.base.addresses import Options, split_foreign, split_options
from ecovision_edge.camera.files import ImagesSource, VideoSource
from ecovision_edge.camera.http import HttpSource
from ecovision_edge.camera.network import NetworkSource
from ecovision_edge.camera.open import open_source
from ecovision_edge.camera.scene import DemoSource
from ecovision_edge.camera.transform import Transform
from ecovision_edge.camera.uri import network_address
from ecovision_edge.camera.v4l2 import V4L2Source
from ecovision_edge.errors import CaptureError, SourceError
from ecovision_edge.simulation.synthetic import draw_frame

SECRETS = ("s3cret", "hunter2")


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("0", V4L2Source, "camera 0"),
        ("1?width=640", V4L2Source, "camera 1"),
        ("/dev/video7", V4L2Source, "/dev/video7"),
        ("/dev/v4l/by-id/usb-cam-video-index0", V4L2Source, "/dev/v4l/by-id/usb-cam-video-index0"),
        ("rtsp://host:8554/cam", NetworkSource, "rtsp://host:8554/cam"),
        ("RTSP://host/cam", NetworkSource, "rtsp://host/cam"),
        ("rtsps://host/", NetworkSource, "rtsps://host/"),
        ("http://[::1]:8080", HttpSource, "http://[::1]:8080"),
        ("https://host/cam?a=1#b", HttpSource, "https://host/cam"),
        ("clip.mp4?loop=1", VideoSource, "clip.mp4"),
        ("file:clip.MKV", VideoSource, "clip.MKV"),
        ("file:///no/such%20clip.avi?fps=5", VideoSource, "/no/such clip.avi"),
        ("photos/*.jpg?loop=1&fps=5", ImagesSource, "photos/*.jpg"),
        ("photo?.png", ImagesSource, "photo?.png"),
        ("photos/", ImagesSource, "photos/"),
        ("file:3.png", ImagesSource, "3.png"),
        ("demo:", DemoSource, "demo"),
        ("demo:?fps=5&seed=3", DemoSource, "demo"),
    ],
)
def test_each_kind_of_source_is_told_by_its_uri(text, kind, name):
    """And named shortly."""
    source = open_source(text)
    assert isinstance(source, kind)
    assert source.name == name
    assert source.live == (kind not in (VideoSource, ImagesSource))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found nothing"),
        ("a\0b", "NUL"),
        ("nothing/there", "no file or folder nothing/there"),
        ("rstp://host/cam", r"did you mean rtsp://\?"),
        ("rtsp:host", r"did you mean rtsp://\?"),
        ("demo:7", "expected a camera"),
        ("x" * 5000, "no file or folder"),
        ("/dev/null", "expected a folder, or a file with one of"),
        ("file://elsewhere/clip.mp4", "expected file:///path"),
        ("0?wdith=640", r"unknown option of 0: expected one of .*, found wdith; did you mean width\?"),
        ("0?width=wide", "option width of 0: expected a whole number from 1 to 16384, found wide"),
        ("0?width=0", "from 1 to 16384, found 0"),
        ("0?fps=0", "option fps of 0: expected a number above 0, at most 1000, found 0"),
        ("0?fps=nan", "above 0"),
        ("0?fps=", "found nothing"),
        ("0?fourcc=MJPEG", "four characters"),
        ("0?width=1&width=2", "option width: expected once, found twice"),
        ("demo:?frames=0", "option frames of demo"),
        ("demo:?loop=1", "unknown option of demo"),
        ("demo:?width=8", "from 16 to 4096"),
        ("demo:?rotate=45", "option rotate of demo: expected 0 or 90 or 180 or 270, found 45"),
        ("demo:?mirror=yes", "expected 0 or 1, found yes"),
        ("clip.mp4?loop=2", "option loop of clip.mp4"),
        ("photos/?fps=fast", "option fps of photos/"),
        ("rtsp://h/c?ecovision.rotat=90", r"unknown option .* did you mean ecovision.rotate\?"),
        (
            "rtsp://h/c?ecovision.transport=quic",
            "option ecovision.transport of rtsp://h/c: expected tcp or udp",
        ),
        ("rtsps://h/c?ecovision.transport=udp", "unknown option of rtsps://h/c"),
        ("http://h/c?ecovision.read_timeout=-1", "above 0, at most 600"),
        ("http://", "host or host:port"),
        ("http://h:0/", "port 1 to 65535"),
        ("http://h:99999/", "port 1 to 65535"),
        ("picamera2://front", "expected a number, or nothing for 0, found front"),
        ("picamera2://?stream=raw", "main or lores"),
        ("picamera2://?stream=lores&width=321", "even numbers"),
        ("csi://x", "camera of csi://"),
        ("csi://0?flip-method=8", "from 0 to 7"),
        ("gst: ", "elements of GStreamer"),
    ],
)
def test_what_it_does_not_take_it_refuses_and_says_what_it_would(text, message):
    """SourceError, with the option's name and its range."""
    with pytest.raises(SourceError, match=message):
        open_source(text)


@pytest.mark.parametrize(
    "roi", ["", "1,2,3", "a,b,c,d", "0,0,0,1", "-0.1,0,1,1", "0.5,0,0.6,1", "nan,0,1,1", "0,0,2,1"]
)
def test_a_region_outside_the_picture_is_refused(roi):
    """With the range in the message."""
    with pytest.raises(SourceError, match=r"option roi of demo: expected x,y,w,h as fractions .* at most 1"):
        open_source(f"demo:?roi={roi}")


def test_an_existing_path_is_taken_as_it_is(tmp_path, monkeypatch):
    """`?`, `*`, a colon and all, before options are looked for."""
    monkeypatch.chdir(tmp_path)
    for name in ("a?loop=1", "b*", "c:d", "e[1]"):
        (tmp_path / name).mkdir()
        assert open_source(name) == ImagesSource(name, name)
    assert open_source("a?loop=1?fps=2") == ImagesSource("a?loop=1", "a?loop=1", 0.5)
    (tmp_path / "f%20g").mkdir()
    assert open_source(f"file://{tmp_path}/f%20g").path == f"{tmp_path}/f%20g"


def test_files_have_the_pace_that_is_asked_for():
    """None without `fps=`."""
    assert open_source("clip.mp4").interval is None
    assert open_source("clip.mp4?fps=4&loop=1") == VideoSource("clip.mp4", "clip.mp4", 0.25, True)


def test_a_demo_is_live_until_its_frames_are_counted():
    """Then it is as a file, and its pace is that of `fps=`, if given."""
    assert (open_source("demo:").live, open_source("demo:").interval) == (True, 1 / 15)
    assert (open_source("demo:?frames=9").live, open_source("demo:?frames=9").interval) == (False, None)
    assert open_source("demo:?frames=9&fps=10").interval == 0.1


@pytest.mark.parametrize(
    ("text", "path", "pairs"),
    [
        ("a?b=1&c=2", "a", {"b": "1", "c": "2"}),
        ("a?b=x%20y", "a", {"b": "x y"}),
        ("what?.png", "what?.png", {}),
        ("a?b", "a?b", {}),
        ("a?b=1/c", "a?b=1/c", {}),
        ("a?b=1?c=2", "a?b=1", {"c": "2"}),
        ("a?b=", "a", {"b": ""}),
        ("?b=1", "", {"b": "1"}),
    ],
)
def test_options_are_pairs_at_the_end(text, path, pairs):
    """Any other `?` belongs to the path."""
    assert split_options(text) == (path, pairs)


@pytest.mark.parametrize(
    ("text", "rest", "pairs"),
    [
        ("http://h/c?a=1&ecovision.rotate=90&b=2", "http://h/c?a=1&b=2", {"rotate": "90"}),
        ("http://h/c?ecovision.rotate=90", "http://h/c", {"rotate": "90"}),
        ("http://h/c?rotate=90&&b", "http://h/c?rotate=90&&b", {}),
        ("filesrc location=a?b ! x?ecovision.mirror=1", "filesrc location=a?b ! x", {"mirror": "1"}),
        ("http://h/c?a=%41&ecovision.x=%41", "http://h/c?a=%41", {"x": "A"}),
    ],
)
def test_only_options_with_our_prefix_are_taken_out_of_an_address(text, rest, pairs):
    """The server's own query stays as it was, byte for byte."""
    assert split_foreign(text) == (rest, pairs)


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://user:s3cret@host:554/cam?x=1",
        "rtsp://s3cret@host/",
        "http://user:s3cret@host",
        "http://host/user=admin&password=s3cret&channel=1",
        "http://host/cam?token=s3cret",
        "http://host/pass/s3cret/cam",
    ],
)
def test_credentials_are_in_the_address_alone(address):
    """Not in name, text or repr, of the source or of anything it holds."""
    source = open_source(f"{address}{'&' if '?' in address else '?'}ecovision.mirror=1")
    assert source.address.url() == address
    for text in (source.name, repr(source), str(source), repr(source.address)):
        assert not re.search(r"s3|cret", text)


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://user:123/hunter2@host/cam",
        "rtsp://user:123?hunter2@host/cam",
        "http://user:123#hunter2@host/cam",
        "http://user:s3cret@hunter2/s3cret@host/cam",
        "http://user:s3cret@hunter2?s3cret@host",
        "rtsp://s3cret/hunter2@host/cam",
        "rtsp://user:s3cret/hunter2@",
        "rtsp://user:s3cret@host:hunter2/",
        "rtsp://user:s3cret@host/?ecovision.x=1",
        "rtsp://user:s3cret@host/?ecovision.rotate=1",
        "rtsp://user:s3cret@/",
        "rtsp://user:${S3CRET}hunter2@host/",
        "rtsp://user:${-}hunter2@host/",
        "rtps://user:s3cret@host/",
        "rtsp:user:s3cret@host/",
        "rtsp//user:s3cret@host/cam",
        "user:s3cret@host/cam",
        "cam:user:s3cret@host/cam",
    ],
)
def test_no_refusal_shows_a_password(address):
    """Not even of an address with a slip in it, or of none at all."""
    with pytest.raises(SourceError) as caught:
        open_source(address)
    assert not any(secret in str(caught.value) for secret in SECRETS)
    if address.startswith("user"):
        for end in (".mp4", ".jpg", "/", "*"):
            assert not any(secret in repr(open_source(address + end)) for secret in SECRETS)


def test_credentials_can_come_from_the_environment(monkeypatch):
    """Percent-encoded there, so that they may hold anything; elsewhere they are put in as they are."""
    monkeypatch.setenv("CAM_USER", "me")
    monkeypatch.setenv("CAM_PASSWORD", "a@b/c:${d}?")
    monkeypatch.setenv("CAM_HOST", "10.0.0.9:8554")
    source = open_source("rtsp://${CAM_USER}:${CAM_PASSWORD}@${CAM_HOST}/cam")
    assert source.address.url() == "rtsp://me:a%40b%2Fc%3A%24%7Bd%7D%3F@10.0.0.9:8554/cam"
    assert source.name == "rtsp://10.0.0.9:8554/cam"
    with pytest.raises(SourceError, match=r"\$\{NOT_THERE\} in a rtsp:// address: expected a variable"):
        open_source("rtsp://${NOT_THERE}@host/")


@pytest.mark.parametrize(
    "password", ["p@ss", "a/b", "a#b", "a?b", "a:b", "@", "/@/", "50%", "50%zz", "#é ?", "[x]"]
)
@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_password_may_be_written_as_it_is(scheme, password):
    """What it holds is percent-encoded for whoever reads the address next; nothing of it is shown."""
    address = network_address(f"{scheme}://me:{password}@10.0.0.9:8554/cam?x=1", {})
    assert (address.host, address.port, address.target()) == ("10.0.0.9", 8554, "/cam?x=1")
    assert address.credentials() == ("me", password)
    assert address.shown == f"{scheme}://10.0.0.9:8554/cam"
    encoded = quote(password, safe=":")
    assert address.url() == f"{scheme}://me:{encoded}@10.0.0.9:8554/cam?x=1"
    assert address.page() == f"{scheme}://10.0.0.9:8554/cam?x=1"


def test_a_password_that_is_encoded_already_stays_so():
    """Both ways of writing mean the same."""
    address = network_address("rtsp://me:p%40s%25s@h/", {})
    assert address.url() == "rtsp://me:p%40s%25s@h/"
    assert address.credentials() == ("me", "p@s%s")


@pytest.mark.parametrize(
    "address",
    [
        "http://[::1]/a?mail=me@there",
        "http://h/a?mail=me@there",
        "http://h?@",
        "rtsp://u:p@h/a?mail=me%40there",
    ],
)
def test_an_at_sign_that_can_only_be_the_servers_is_the_servers(address):
    """Where nothing before it looks like user and password, or it is encoded."""
    assert open_source(address).address.host in ("h", "::1")


def test_only_addresses_are_expanded(monkeypatch):
    """A path with `${X}` is a path."""
    monkeypatch.setenv("X", "y")
    assert open_source("${X}.mp4").path == "${X}.mp4"


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("rtsp://h/c", "h", 554),
        ("rtsps://h", "h", 322),
        ("http://h:8080/", "h", 8080),
        ("https://u:p@[fe80::1]/", "fe80::1", 443),
    ],
)
def test_an_address_has_a_host_and_a_port(address, host, port):
    """The scheme's own where none is given."""
    found = network_address(address, {})
    assert (found.host, found.port) == (host, port)


@given(st.text(), st.sampled_from(["", "rtsp://", "http://u:p@", "demo:", "file:", "gst:", "0?"]))
def test_whatever_is_written_is_a_source_or_a_source_error(text, before):
    """Nothing else is raised."""
    try:
        source = open_source(before + text.replace("\0", ""))
    except (SourceError, ImportError):
        return
    assert source.name


def test_options_know_what_was_not_asked_for():
    """Numbers, choices and flags are taken out one by one."""
    options = Options("x", {"a": "1", "b": "0.5", "c": "on", "d": "1"})
    assert options.integer("a", 0, 9) == 1
    assert options.number("b", 0, 1) == 0.5
    assert options.choice("c", ("on", "off")) == "on"
    assert options.integer("e", 0, 9) is None
    assert not options.flag("f")
    with pytest.raises(SourceError, match="unknown option of x: expected one of a, b, c, e, f, found d"):
        options.done()
    assert options.flag("d")
    options.done()


FRAME = draw_frame(2, 40, 30)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (Transform(), FRAME),
        (Transform(90), np.rot90(FRAME, -1)),
        (Transform(180), FRAME[::-1, ::-1]),
        (Transform(270), np.rot90(FRAME)),
        (Transform(mirror=True), FRAME[:, ::-1]),
        (Transform(90, True), np.rot90(FRAME, -1)[:, ::-1]),
        (Transform(roi=(0.25, 0.5, 0.5, 0.5)), FRAME[15:30, 10:30]),
        (Transform(90, True, (0, 0, 0.5, 0.25)), np.rot90(FRAME, -1)[:, ::-1][:10, :15]),
        (Transform(roi=(0.999, 0.999, 0.001, 0.001)), FRAME[29:, 39:]),
        (Transform(roi=(0.1, 0.1, 0.9, 0.9)), FRAME[3:, 4:]),
    ],
)
def test_frames_are_turned_then_mirrored_then_cut(transform, expected):
    """Clockwise; the region is of the turned and mirrored picture, one pixel at least."""
    before = FRAME.copy()
    image = transform.apply(FRAME)
    assert np.array_equal(image, expected)
    assert image.flags.c_contiguous
    assert np.array_equal(before, FRAME)


def test_an_address_of_http_has_a_pace_if_it_is_asked_for():
    """Else each frame of a stream; of a still see `STILL_FPS`."""
    assert open_source("http://h/c?fps=5").interval is None  # the server's own
    assert open_source("http://h/c?fps=5&ecovision.fps=4").interval == 0.25
    with pytest.raises(SourceError, match=r"option ecovision\.fps of http://h/c"):
        open_source("http://h/c?ecovision.fps=0")


def test_transforms_are_options_of_every_source():
    """With our prefix in an address."""
    expected = Transform(270, True, (0, 0.25, 1, 0.5))
    plain = "rotate=270&mirror=1&roi=0,0.25,1,0.5"
    foreign = "&".join(f"ecovision.{part}" for part in plain.split("&"))
    for text in ("0", "demo:", "clip.avi", "photos/"):
        assert open_source(f"{text}?{plain}").transform == expected
    for text in ("rtsp://h/c?a=1&", "http://h?"):
        assert open_source(text + foreign).transform == expected


def test_what_is_no_frame_is_a_capture_error():
    """With the source's name; grey becomes BGR."""
    with pytest.raises(CaptureError, match="cam gave what is no frame: shape of frame"):
        Transform().finish(np.zeros((2, 2, 7), np.uint8), "cam")
    grey = Transform(90).finish(FRAME[:, :, 0].copy(), "cam")
    assert grey.shape == (40, 30, 3)
