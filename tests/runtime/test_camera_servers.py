"""Facts about sources that are really opened: one contract for all, and what servers may do to them."""

import itertools
import os
import signal
import socket
import textwrap
import threading

import cv2
import numpy as np
import pytest
from tests.runtime.camera_servers import (
    PROMPT,
    age_of,
    count_in,
    free_port,
    make_video,
    mjpeg_server,
    read_until_error,
    rtsp_server,
    silent_server,
)

from ecovision_edge.camera import LatestFrame, WatchOptions
from ecovision_edge.camera.open import open_source
from ecovision_edge.errors import CaptureError, SourceOpenError
from ecovision_edge.simulation.synthetic import draw_frame

USER = "viewer:s3cret"
QUICK = "ecovision.open_timeout=1&ecovision.read_timeout=1"


@pytest.fixture(scope="module")
def rtsp():
    """An RTSP server that wants a password."""
    user, _, password = USER.partition(":")
    with rtsp_server(user=user, password=password) as server:
        yield server


@pytest.fixture(scope="module")
def mjpeg():
    """An HTTP server."""
    with mjpeg_server() as server:
        yield server


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder `photos` of images, and `clip.avi`."""
    folder = tmp_path_factory.mktemp("files")
    make_video(folder / "clip.avi")
    (folder / "photos").mkdir()
    for i in range(6):
        cv2.imwrite(str(folder / "photos" / f"{i}.png"), draw_frame(i, 320, 240))
    return folder


@pytest.fixture(params=["demo", "folder", "glob", "video", "mjpeg", "rtsp"])
def source(request):
    """A source of each kind that can be opened here; all give 320 x 240."""

    names = {"folder": "photos", "glob": "photos/*.png", "video": "clip.avi"}
    if request.param == "demo":
        return open_source("demo:?width=320&height=240")
    if request.param in names:
        return open_source(f"{request.getfixturevalue('files')}/{names[request.param]}")
    return open_source(request.getfixturevalue(request.param).url(user=USER))


@pytest.mark.slow
def test_every_source_keeps_the_contract(source):
    """Frames, two connections, closing: as `FrameSource` and `FrameStream` say."""
    assert source.name
    assert "s3cret" not in source.name + repr(source) + str(source)
    assert isinstance(source.live, bool)
    assert source.interval is None or source.interval > 0

    one = source.connect()
    frames = [one.read() for _ in range(3)]
    for frame in frames:
        assert isinstance(frame, np.ndarray)
        assert frame.shape == (240, 320, 3)
        assert frame.dtype == np.uint8
        assert frame.flags.c_contiguous
    # No read wrote into what was given before, and nothing that is done with a frame comes back.
    kept = [frame.copy() for frame in frames]
    frames[0][:] = 0
    two = source.connect()
    assert two.read() is not None
    assert one.read() is not None
    assert np.array_equal(frames[1], kept[1])
    assert np.array_equal(frames[2], kept[2])
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(frames, 2))

    one.close()
    one.close()
    with pytest.raises(CaptureError, match="closed"):
        one.read()
    frame = two.read()  # the other connection goes on
    assert frame is not None
    assert frame.any()
    two.close()
    again = source.connect()
    assert again.read() is not None
    again.close()


@pytest.mark.slow
def test_every_source_feeds_the_loop(source):
    """Through `LatestFrame`, in order."""
    with LatestFrame(source, WatchOptions(max_reconnects=0)) as frames:
        numbers = [frames.read(PROMPT).sequence for _ in range(3)]
    assert numbers == sorted(set(numbers))


@pytest.mark.slow
def test_every_source_is_turned_as_asked(request, mjpeg, rtsp, files):
    """A quarter turn, and half of it cut off."""
    plain = "rotate=90&roi=0,0,1,0.5"
    foreign = "ecovision.rotate=90&ecovision.roi=0,0,1,0.5"
    for uri in (
        f"demo:?width=320&height=240&{plain}",
        f"{files}/photos?{plain}",
        f"{files}/clip.avi?{plain}",
        f"{mjpeg.url()}?{foreign}",
        f"{rtsp.url(user=USER)}?{foreign}",
    ):
        stream = open_source(uri).connect()
        frame = stream.read()
        stream.close()
        assert frame.shape == (160, 240, 3)
        assert frame.flags.c_contiguous


@pytest.mark.slow
def test_rtsp_gives_the_picture_of_now(rtsp):
    """The first frame too, though FFmpeg looked at a second of them first; and it moves."""
    stream = open_source(rtsp.url(user=USER)).connect()
    ages, counts = zip(*((age_of(f), count_in(f)) for f in (stream.read() for _ in range(15))), strict=True)
    stream.close()
    assert max(ages) < 10  # of 6554: the bars are read right; how old exactly is a matter of the machine
    assert len(set(counts)) > 2
    assert list(counts) == sorted(counts)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_rtsp_goes_over_either_transport(rtsp, transport):
    """And the server's own query is left alone."""
    stream = open_source(f"{rtsp.url(user=USER)}?ecovision.transport={transport}").connect()
    assert age_of(stream.read()) < 10
    stream.close()


@pytest.mark.slow
def test_a_killed_rtsp_server_ends_the_stream_and_a_new_one_is_connected_to():
    """CaptureError, then SourceOpenError while it is gone, then frames."""
    port = free_port()
    with rtsp_server(port) as server:
        source = open_source(f"{server.url()}?{QUICK}")
        stream = source.connect()
        stream.read()
        server.kill()
        assert f"rtsp://127.0.0.1:{port}/cam gave no frame" in read_until_error(stream)[1]
        with pytest.raises(SourceOpenError, match="connection refused; nothing listens at that port"):
            source.connect()
    with rtsp_server(port):
        stream = source.connect()
        assert age_of(stream.read()) < 10
        stream.close()


@pytest.mark.slow
def test_an_rtsp_server_that_falls_silent_ends_the_stream_too():
    """After the read timeout; its connection is still there."""
    with rtsp_server() as server:
        stream = open_source(f"{server.url()}?{QUICK}").connect()
        stream.read()
        os.kill(server.process.pid, signal.SIGSTOP)
        assert "silent too long" in read_until_error(stream)[1]


@pytest.mark.parametrize(
    ("path", "user", "message"),
    [
        ("cam", "", "RTSP 401 Unauthorized; give user:password@"),
        ("cam", "viewer:wr0ng", "RTSP 401 Unauthorized; check user and password"),
    ],
)
def test_why_rtsp_cannot_be_opened_is_said(rtsp, path, user, message):
    """Though OpenCV does not say it."""
    with pytest.raises(SourceOpenError, match=message) as caught:
        open_source(rtsp.url(path, user)).connect()
    assert "wr0ng" not in str(caught.value)


def test_an_rtsp_path_that_is_not_there_is_said():
    """404, and where to look."""
    with rtsp_server() as server, pytest.raises(SourceOpenError, match=r"RTSP 404 Not Found; check the path"):
        open_source(server.url("nothing")).connect()


def test_mjpeg_frames_come_in_order_and_the_query_is_the_servers(mjpeg):
    """Ours are taken out of it."""
    stream = open_source(f"{mjpeg.url()}?a=1&ecovision.mirror=0&b=%20").connect()
    counts = [count_in(stream.read()) for _ in range(8)]
    stream.close()
    assert counts == sorted(set(counts))
    assert "/cam?a=1&b=%20" in mjpeg.requests
    assert not any("ecovision" in line for line in mjpeg.requests)


@pytest.mark.slow
def test_frames_that_came_while_nobody_read_are_passed_over():
    """They wait in the socket; the newest is wanted."""
    with mjpeg_server() as server:
        stream = open_source(server.url()).connect()
        before = count_in(stream.read())
        server.wait_for(before + 60)
        assert count_in(stream.read()) > before + 10
        stream.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "user", "message"),
    [
        ("text", "", "HTTP 200 OK with text/html, but no video"),
        ("nothing", "", "HTTP 404 Not Found; check the path"),
        ("private", "", "HTTP 401 Unauthorized; give user:password@ before the host"),
        ("private", USER, "HTTP 401 Unauthorized; check user and password"),
        ("silent", "", "no video within 1 s"),
    ],
)
def test_why_http_cannot_be_opened_is_said(mjpeg, path, user, message):
    """Though OpenCV does not say it."""
    with pytest.raises(SourceOpenError, match=message) as caught:
        open_source(f"{mjpeg.url(path, user)}?{QUICK}").connect()
    assert "s3cret" not in str(caught.value)


def test_a_stream_that_breaks_off_is_a_capture_error(mjpeg):
    """In the middle of its fourth frame, of which no half is given."""
    stream = open_source(mjpeg.url("short")).connect()
    frames, error = read_until_error(stream)
    assert "gave no frame" in error
    assert {count_in(frame) for frame in frames} <= {0, 1, 2}


@pytest.mark.slow
def test_a_stream_that_falls_silent_is_a_capture_error():
    """After the read timeout; the socket is open still."""
    with mjpeg_server() as server:
        stream = open_source(f"{server.url()}?{QUICK}").connect()
        stream.read()
        server.pause.set()
        assert "silent too long" in read_until_error(stream)[1]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["rtsp", "http", "https", "rtsps"])
def test_a_server_that_says_nothing_is_waited_for_as_long_as_allowed(scheme):
    """It accepts the connection, and that is all."""
    with silent_server() as port, pytest.raises(SourceOpenError, match=r"no video within 0\.5 s"):
        open_source(f"{scheme}://u:s3cret@127.0.0.1:{port}/cam?ecovision.open_timeout=0.5").connect()


@pytest.mark.parametrize("scheme", ["rtsp", "http", "https", "rtsps"])
def test_where_nothing_listens_the_connection_is_refused(scheme):
    """And the message says so."""
    with pytest.raises(SourceOpenError, match="connection refused"):
        open_source(f"{scheme}://127.0.0.1:{free_port()}/cam").connect()


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_host_that_is_not_there_is_told(scheme):
    """RFC 2606: no host's name ends in .invalid."""
    with pytest.raises(SourceOpenError, match="no host of that name"):
        open_source(f"{scheme}://camera.invalid/cam").connect()


@pytest.mark.parametrize(
    "answer",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"\r\n\r\n", b"\x00\xff" * 50, b"RTSP/1.0\r\n", b"HTTP/1.1 a b\r\n\r\n"],
)
@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_server_of_another_kind_is_a_source_open_error(scheme, answer):
    """Whatever it says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(SourceOpenError, match="cannot be opened: "):
            open_source(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/?{QUICK}").connect()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(PROMPT)


@pytest.mark.slow
@pytest.mark.parametrize("loud", [False, True])
def test_no_output_of_the_process_shows_a_password(python, rtsp, mjpeg, loud):
    """Neither OpenCV's log nor FFmpeg's, with OpenCV at its loudest too; nor our log, nor a traceback."""
    urls = [
        rtsp.url(user=USER),
        rtsp.url("nothing", USER),
        rtsp.url(user="viewer:s3cret2"),
        mjpeg.url(user=USER),
        mjpeg.url("short", USER),
        mjpeg.url("private", USER),
        f"rtsp://{USER}@127.0.0.1:{free_port()}/cam",
        f"http://{USER}@127.0.0.1:{free_port()}/cam?password=s3cret",
        f"http://{USER}@camera.invalid/cam",
    ]
    program = """
        import logging, sys, traceback
        from ecovision_edge.camera.open import open_source
        logging.basicConfig(level=logging.DEBUG)
        for url in sys.argv[1:]:
            try:
                stream = open_source(url).connect()
                for _ in range(5):
                    stream.read()
                print("it plays", stream)
            except OSError:
                traceback.print_exc()
    """
    environment = {"OPENCV_LOG_LEVEL": "VERBOSE", "OPENCV_VIDEOIO_DEBUG": "1"} if loud else {}
    done = python("-c", textwrap.dedent(program), *urls, env={**os.environ, **environment})
    output = (done.stdout + done.stderr).decode()
    assert done.returncode == 0
    assert output.count("it plays") == 2, output
    assert output.count("Error: ") == len(urls) - 2, output
    assert "s3cret" not in output
    assert "viewer" not in output
    assert "[rtsp @" not in output
    assert "[tcp @" not in output
