"""Facts about cameras over HTTP: streams with bad pictures, stills, credentials and redirects."""

import contextlib
import http.client
import logging

import pytest
from tests.runtime.camera_servers import PROMPT, count_in, make_video, mjpeg_server, read_until_error

from ecovision_edge.camera import LatestFrame, WatchOptions
from ecovision_edge.camera import http as http_camera
from ecovision_edge.camera.open import open_source
from ecovision_edge.errors import BadFrameError, CaptureError, SourceOpenError
from ecovision_edge.photographs.jpeg_picture import JpegPicture

QUICK = "ecovision.open_timeout=0.2&ecovision.read_timeout=0.2"


@pytest.fixture(scope="module")
def server():
    """An HTTP server."""
    with mjpeg_server() as running:
        yield running


@pytest.fixture
def soon(monkeypatch):
    """Stills are asked for without a pause."""
    monkeypatch.setattr(http_camera, "STILL_FPS", 1000.0)


def test_bad_pictures_are_passed_over_and_the_stream_goes_on(server):
    """Empty, half, and no picture at all; on one connection."""
    before = server.requests.count("/damaged")
    stream = open_source(server.url("damaged")).connect()
    good, bad = [], 0
    while len(good) < 4:
        try:
            good.append(count_in(stream.read()))
        except BadFrameError:
            bad += 1
    stream.close()
    assert all(count % 4 == 0 for count in good)
    assert bad >= 3
    assert server.requests.count("/damaged") == before + 1


def test_pictures_are_handed_over_as_they_came(server):
    """Nothing is decoded before somebody asks; half a picture is a bad one all the same."""
    stream = open_source(server.url("damaged")).connect()
    picture = None
    while picture is None:
        with contextlib.suppress(BadFrameError):
            picture = stream.read_picture()
    stream.close()
    assert isinstance(picture, JpegPicture)
    assert not picture.decoded
    assert count_in(picture.whole()) % 4 == 0


def test_bad_pictures_are_counted_by_the_loop(server):
    """And none of them costs a reconnect."""
    source = open_source(server.url("damaged"))
    with LatestFrame(source, WatchOptions(max_reconnects=0)) as frames:
        counts = [count_in(frames.read(PROMPT).image) for _ in range(3)]
        assert frames.bad_frames >= 3
        assert frames.health.reconnects == 0
    assert all(count % 4 == 0 for count in counts)


def test_video_of_another_kind_is_left_to_ffmpeg(server, tmp_path):
    """Whatever the server calls it; its end is an end."""
    server.video = make_video(tmp_path / "clip.avi", frames=5).read_bytes()
    stream = open_source(server.url("video")).connect()
    assert count_in(stream.read()) in range(5)  # those that wait are passed over
    assert "gave no frame" in read_until_error(stream)[1]


def test_the_time_for_the_first_frame_is_both_time_outs(server):
    """So long the watchdog waits at least."""
    source = open_source(f"{server.url()}?ecovision.open_timeout=60&ecovision.read_timeout=30")
    assert source.first_within == 90


def test_a_still_is_asked_for_again_and_again(server, soon, caplog):
    """Each time the picture of now; what it is is told."""
    caplog.set_level(logging.INFO, "ecovision_edge")
    stream = open_source(server.url("still")).connect()
    counts = [count_in(stream.read()) for _ in range(3)]
    stream.close()
    assert counts == [counts[0], counts[0] + 1, counts[0] + 2]
    assert "is a still picture; it is asked for" in caplog.text
    with pytest.raises(CaptureError, match="closed"):
        stream.read()


def test_a_body_may_close_its_connection_with_its_last_byte(server, soon, monkeypatch):
    """As Python 3.13's does, where the length is known, and 3.12.1's does not."""
    read1 = http.client.HTTPResponse.read1

    def read_and_close(self, most=-1):
        data = read1(self, most)
        if self.length == 0 and not self.isclosed():
            self._close_conn()
        return data

    monkeypatch.setattr(http.client.HTTPResponse, "read1", read_and_close)
    stream = open_source(server.url("still")).connect()
    counts = [count_in(stream.read()) for _ in range(3)]
    stream.close()
    assert counts == [counts[0], counts[0] + 1, counts[0] + 2]


def test_a_stream_in_chunks_gives_each_picture_as_it_comes(server):
    """Though one ends where the next has not begun: what waits then is no picture, and is not waited for."""
    stream = open_source(f"{server.url('chunked')}?ecovision.read_timeout=5").connect()
    counts = [count_in(stream.read()) for _ in range(5)]
    stream.close()
    assert counts == sorted(set(counts))


def test_a_still_that_does_not_say_so_is_one(server, soon):
    """Some servers call every file a stream of octets; what is no picture is left to FFmpeg."""
    stream = open_source(server.url("untold")).connect()
    counts = [count_in(stream.read()) for _ in range(3)]
    stream.close()
    assert counts == [counts[0], counts[0] + 1, counts[0] + 2]


def test_a_still_has_the_pace_that_is_asked_for(server):
    """Kept by the reader, so that a slow one is no stall."""
    source = open_source(f"{server.url('still')}?ecovision.fps=1000")
    assert source.interval == 0.001
    with LatestFrame(source, WatchOptions(max_reconnects=0)) as frames:
        counts = [count_in(frames.read(PROMPT).image) for _ in range(3)]
    assert counts == sorted(set(counts))


@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_credentials_are_given_when_they_are_asked_for(server, soon, scheme):
    """Digest in preference: then no password goes over the line."""
    stream = open_source(server.url(scheme, "me:p/ss#w@rd")).connect()
    stream.read()
    stream.read()
    stream.close()
    given = [a for a in server.authorizations if a]
    assert given[-1].startswith(scheme.capitalize())
    assert server.authorizations[-2] == ""
    if scheme == "digest":
        assert 'username="me"' in given[-1]
        assert "p/ss" not in given[-1]


def test_a_redirect_is_followed(server, soon):
    """On the same server, with the credentials there."""
    stream = open_source(server.url("moved", "me:s3cret")).connect()
    assert stream.read().shape == (240, 320, 3)
    stream.close()


def test_a_redirect_elsewhere_gets_no_credentials(server):
    """And one that goes round ends."""
    with pytest.raises(SourceOpenError, match="connection refused"):
        open_source(server.url("away", "me:s3cret")).connect()
    with pytest.raises(SourceOpenError, match=r"no sound answer \(ValueError\)"):
        open_source(f"{server.url('round', 'me:s3cret')}?{QUICK}").connect()


def test_what_is_too_slow_says_which_option_to_raise(server):
    """For the first answer, and for a picture."""
    with pytest.raises(SourceOpenError, match=r"no video within 0\.2 s; .*ecovision\.open_timeout="):
        open_source(f"{server.url('silent')}?{QUICK}").connect()
    with mjpeg_server() as paused:
        stream = open_source(f"{paused.url()}?{QUICK}").connect()
        stream.read()
        paused.pause.set()
        assert "ecovision.read_timeout= (and, of `run`, --stall-after)" in read_until_error(stream)[1]


def test_a_stream_that_ends_says_so(server):
    """In the middle of its fourth picture."""
    stream = open_source(server.url("short")).connect()
    frames, error = read_until_error(stream)
    assert error.endswith("gave no frame: it ended")
    assert {count_in(frame) for frame in frames} <= {0, 1, 2}
