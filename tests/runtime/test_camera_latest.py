"""Facts about `LatestFrame`: what a consumer sees of a source that behaves, and of one that does not."""

import threading
import time

import numpy as np
import pytest

from ecovision_edge.camera import FakeCamera, HealthState, LatestFrame, WatchOptions
from ecovision_edge.camera.fake import Bad, Block, BlockOpen, Frames, Freeze, Raise, Slow
from ecovision_edge.errors import CameraLostError, CaptureError, OptionError

PROMPT = 20.0  # seconds: a safety net, nowhere expected to pass
QUICK = WatchOptions(open_timeout=1.0, stall_after=0.3, frozen_after=None, first_delay=0.01, most_delay=0.02)


class Heard:
    """Collects what `on_health` says, and lets a test wait for it."""

    def __init__(self):
        self.states = []
        self._changed = threading.Condition()

    def __call__(self, health):
        with self._changed:
            self.states.append(health)
            self._changed.notify_all()

    def wait_for(self, state, times=1):
        def there():
            return sum(h.state is state for h in self.states) >= times

        with self._changed:
            assert self._changed.wait_for(there, PROMPT), [str(h.state) for h in self.states]

    @property
    def names(self):
        return [str(h.state) for h in self.states]


def read_all(frames):
    """Every frame up to the end."""
    while (frame := frames.read(PROMPT)) is not None:
        yield frame


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch):
    """No thread of ours is alive after a test; and what hangs is given up soon, to save time."""
    monkeypatch.setattr("ecovision_edge.camera.latest.GRACE", 0.2)
    yield
    deadline = time.monotonic() + PROMPT
    while left := [t for t in threading.enumerate() if t.name.startswith("ecovision-")]:
        assert time.monotonic() < deadline, left
        left[0].join(0.1)


def test_of_a_camera_the_newest_frame_is_given():
    """A consumer that comes late gets the last one; the others are counted as dropped."""
    camera = FakeCamera(Frames(50), Block())
    with LatestFrame(camera, WatchOptions()) as frames:
        assert camera.hanging.wait(PROMPT)
        frame = frames.read(PROMPT)
        assert camera.number_in(frame.image) == frame.sequence == 49
        assert frames.dropped == 49
        assert frames.frames == 50
        assert frames.read(0.01) is None  # never the same one again
        camera.release()


def test_of_files_every_frame_is_given_in_order():
    """None is dropped, however slow the consumer is."""
    files = FakeCamera(Frames(300), then="end", live=False)
    with LatestFrame(files) as frames:
        found = [(f.sequence, files.number_in(f.image)) for f in read_all(frames)]
    assert found == [(n, n) for n in range(300)]
    assert frames.dropped == 0
    assert frames.health.state is HealthState.ENDED
    assert frames.health.reason == "the source is at its end"
    assert files.open_now == 0


def test_capture_times_grow_and_are_past():
    """Seconds of the monotonic clock."""
    with LatestFrame(FakeCamera(Frames(9), then="end", live=False)) as frames:
        times = [f.captured_at for f in read_all(frames)]
    assert times == sorted(times)
    assert times[-1] <= time.monotonic()


def test_an_old_frame_is_passed_over():
    """`max_age`: what has waited for longer is dropped, and the next one taken."""
    camera = FakeCamera(Frames(1), Slow(0.2, 1), Block())
    with LatestFrame(camera, WatchOptions()) as frames:
        assert camera.hanging.wait(PROMPT)  # two frames came, and nobody looked
        assert frames.read(0.01, max_age=1e-9) is None
        assert frames.dropped == 2
        camera.release()


@pytest.mark.slow
def test_states_of_a_read_that_never_returns():
    """STALLED, then RECONNECTING, then RUNNING by a new connection, while the old one still hangs."""
    camera, heard = FakeCamera(Frames(1), Block()), Heard()
    with LatestFrame(camera, QUICK, on_health=heard) as frames:
        assert frames.read(PROMPT).sequence == 0
        heard.wait_for(HealthState.RUNNING, 2)
        assert heard.names == ["STARTING", "RUNNING", "STALLED", "RECONNECTING", "RUNNING"]
        assert "no frame for" in heard.states[2].reason
        assert "next try in" in heard.states[3].reason
        assert frames.health.reconnects == 1
        assert frames.read(PROMPT).sequence > 0
        assert frames.hanging == 1
        camera.release()
    assert heard.names[-1] == "ENDED"
    assert heard.states[-1].reason == "stopped"


@pytest.mark.slow
def test_a_frame_of_a_lost_connection_is_not_given_as_new():
    """What was in hand when the source stalled is dropped."""
    camera, heard = FakeCamera(Frames(3), Block(), BlockOpen()), Heard()
    with LatestFrame(camera, QUICK, on_health=heard) as frames:
        heard.wait_for(HealthState.RECONNECTING)
        assert frames.read(0.01) is None
        assert frames.dropped == 3
        camera.release()


def test_a_source_that_may_start_slowly_is_given_its_time():
    """The time-outs of an address are the user's: the watchdog's own limit does not defeat them."""

    class Slow(FakeCamera):
        first_within = PROMPT

    camera, heard = Slow(BlockOpen()), Heard()
    with LatestFrame(camera, WatchOptions(open_timeout=0.01), on_health=heard) as frames:
        assert camera.hanging.wait(PROMPT)
        assert frames.read(0.1) is None
        assert heard.names == ["STARTING"]
        camera.release()


def test_bad_frames_are_passed_over_and_counted(caplog):
    """On the same connection; the log has the first of them, the tenth, and so on."""
    camera, heard = FakeCamera(Bad(), Frames(1), *[Bad(), Frames(1)] * 11, then="end", live=True), Heard()
    options = WatchOptions(max_reconnects=0)
    with LatestFrame(camera, options, on_health=heard) as frames, pytest.raises(CameraLostError):
        list(read_all(frames))
    assert (frames.frames, frames.bad_frames, camera.connections) == (12, 12, 1)
    assert heard.names == ["STARTING", "RUNNING", "FAILED"]
    assert heard.states[-1].bad_frames == 12
    told = [r.getMessage() for r in caplog.records if "bad frames so far" in r.getMessage()]
    assert [message.partition("so far: ")[2].partition(";")[0] for message in told] == ["1", "10"]
    assert "cannot be decoded" in told[0]


def test_only_bad_frames_are_a_stall():
    """Within `stall_after` as before, with what was wrong with them."""
    camera, heard = FakeCamera(Frames(1), Bad(10_000)), Heard()
    options = WatchOptions(stall_after=0.1, first_delay=0.01, most_delay=0.02, max_reconnects=0)
    with LatestFrame(camera, options, on_health=heard) as frames:
        with pytest.raises(CameraLostError, match="of no use, the last: fake camera gave"):
            list(read_all(frames))
        assert "STALLED" in heard.names


@pytest.mark.slow
def test_a_connection_that_never_comes_about_is_tried_again():
    """`open_timeout`."""
    options = WatchOptions(open_timeout=0.05, first_delay=0.01, most_delay=0.02)
    camera = FakeCamera(BlockOpen(), BlockOpen())
    with LatestFrame(camera, options) as frames:
        assert frames.read(PROMPT) is not None
        assert frames.health.reconnects == 2
        assert frames.hanging == 2
        camera.release()


@pytest.mark.slow
def test_not_ever_more_connections_hang():
    """After three that hang no further one is made until one returns."""
    options = WatchOptions(open_timeout=0.05, first_delay=0.01, most_delay=0.02)
    camera, heard = FakeCamera(*[BlockOpen()] * 9), Heard()
    with LatestFrame(camera, options, on_health=heard) as frames:
        heard.wait_for(HealthState.RECONNECTING, 5)
        assert frames.hanging == 3
        assert "3 connections hang" in frames.health.reason
        camera.release()
        assert frames.read(PROMPT) is not None


@pytest.mark.slow
def test_hanging_connections_count_as_tries():
    """With `max_reconnects` it gives up although no connection returns."""
    options = WatchOptions(open_timeout=0.05, first_delay=0.01, most_delay=0.02, max_reconnects=6)
    camera = FakeCamera(*[BlockOpen()] * 20)
    with LatestFrame(camera, options) as frames:
        with pytest.raises(CameraLostError, match=r"after 6 reconnects.*3 connections hang"):
            frames.read(PROMPT)
        camera.release()


def test_giving_up_has_the_last_reason():
    """FAILED; each later read raises the same."""
    options = WatchOptions(first_delay=0.01, most_delay=0.02, max_reconnects=0)
    with LatestFrame(FakeCamera(Frames(1), Raise(OSError("cable")), then="end"), options) as frames:
        with pytest.raises(CameraLostError, match="OSError: cable"):
            list(read_all(frames))
        with pytest.raises(CameraLostError):
            frames.read(PROMPT)
        assert frames.health.state is HealthState.FAILED


def test_the_error_of_files_is_the_error():
    """No reconnect: that would give the first frames again."""
    files = FakeCamera(Frames(2), Raise(CaptureError("a broken file")), live=False)
    with LatestFrame(files) as frames:
        assert [frames.read(PROMPT).sequence for _ in range(2)] == [0, 1]
        with pytest.raises(CaptureError, match="a broken file"):
            frames.read(PROMPT)
    assert files.connections == 1


def test_slow_files_stall_and_go_on():
    """STALLED is told; the frame that comes at last is given, and none is lost."""
    files, heard = FakeCamera(Frames(1), Slow(0.5), Frames(1), then="end", live=False), Heard()
    with LatestFrame(files, QUICK, on_health=heard) as frames:
        assert [f.sequence for f in read_all(frames)] == [0, 1, 2]
    assert heard.names == ["STARTING", "RUNNING", "STALLED", "RUNNING", "ENDED"]


@pytest.mark.slow
def test_a_pace_is_no_stall():
    """A source that is to be read seldom is well in between."""
    files, heard = FakeCamera(Frames(3), then="end", live=False, interval=0.5), Heard()
    with LatestFrame(files, QUICK, on_health=heard) as frames:
        times = [f.captured_at for f in read_all(frames)]
    assert heard.names == ["STARTING", "RUNNING", "ENDED"]
    assert min(np.diff(times)) > 0.4


def test_a_paced_camera_that_hangs_is_noticed():
    """The pause does not keep the watchdog from the read after it."""
    camera, heard = FakeCamera(Frames(2), Block(), interval=0.01), Heard()
    with LatestFrame(camera, QUICK, on_health=heard) as frames:
        heard.wait_for(HealthState.STALLED)
        camera.release()
        assert frames.read(PROMPT) is not None


def test_a_frozen_picture_reconnects():
    """After `frozen_after` of the same picture; it is given no more, and a living one is."""
    options = WatchOptions(frozen_after=0.2, first_delay=0.01, most_delay=0.02)
    camera, heard = FakeCamera(Frames(1), Freeze(), interval=0.005), Heard()
    with LatestFrame(camera, options, on_health=heard) as frames:
        heard.wait_for(HealthState.RECONNECTING)
        assert "frozen" in heard.states[-1].reason
        assert frames.read(0.05) is None
        camera.release()
        heard.wait_for(HealthState.RUNNING, 2)
        assert frames.read(PROMPT).sequence > 0


def test_what_on_health_raises_ends_the_reading():
    """The consumer gets that very error."""

    def unhappy(health):
        if health.ok:
            raise KeyError("mine")

    camera = FakeCamera(Frames(1), Block())
    with LatestFrame(camera, on_health=unhappy) as frames:
        assert camera.hanging.wait(PROMPT)
        with pytest.raises(KeyError, match="mine"):
            list(read_all(frames))
        camera.release()
    assert frames.health.state is HealthState.FAILED


@pytest.mark.slow
@pytest.mark.parametrize("step", [Block(), BlockOpen()], ids=["reading", "connecting"])
def test_close_does_not_wait_for_what_hangs(step):
    """The hanging thread is left, and closes its connection itself when it returns."""
    camera = FakeCamera(step)
    frames = LatestFrame(camera, WatchOptions())
    frames.start()
    assert camera.hanging.wait(PROMPT)
    frames.close()
    assert frames.read() is None
    assert frames.hanging == 1
    camera.release()
    deadline = time.monotonic() + PROMPT
    while frames.hanging:
        assert time.monotonic() < deadline
    assert camera.open_now == 0


def test_a_reader_that_waits_is_woken_by_stop():
    """From another thread, without a timeout."""
    camera = FakeCamera(Block())
    frames = LatestFrame(camera)
    frames.start()
    assert camera.hanging.wait(PROMPT)
    threading.Timer(0.05, frames.stop).start()
    assert frames.read() is None
    frames.close()
    camera.release()


def test_it_runs_once():
    """Closing is idempotent; starting again is refused."""
    frames = LatestFrame(FakeCamera())
    with frames:
        frames.start()
        assert frames.read(PROMPT) is not None
    frames.close()
    with pytest.raises(OptionError, match="make a new one"):
        frames.start()
    assert "ENDED" in repr(frames)


def test_one_that_never_started_can_be_closed():
    """And read from, which gives nothing."""
    frames = LatestFrame(FakeCamera())
    frames.close()
    assert frames.read() is None
    assert frames.health.state is HealthState.ENDED
