"""Facts about the loop over real sources: servers that are killed, that hang, and that come back."""

import contextlib

import pytest
from tests.runtime.camera_servers import age_of, free_port, mjpeg_server, rtsp_server

from ecovision_edge import Classifier
from ecovision_edge.camera import HealthState, WatchOptions, open_source
from ecovision_edge.loop import CameraLoop, LoopOptions

SHORT = "ecovision.open_timeout=2&ecovision.read_timeout=1"
WATCH = WatchOptions(stall_after=2, first_delay=0.1, most_delay=0.3)
LIMIT = 120.0  # seconds: a safety net, nowhere expected to pass


@pytest.fixture(scope="module")
def classifier(pristine):
    """Of the tiny network: a run of it is microseconds."""
    return Classifier.load(pristine, threads=1)


@pytest.mark.slow
def test_an_rtsp_server_killed_and_restarted_under_the_loop(classifier):
    """Thrice: each time the loop says so, connects again, and goes on with frames of now."""
    port, states = free_port(), []
    source = open_source(f"rtsp://127.0.0.1:{port}/cam?{SHORT}")
    options = LoopOptions(watch=WATCH, duration=LIMIT)
    loop = CameraLoop(classifier, source, options, on_health=states.append)
    with loop, contextlib.ExitStack() as stack:
        results = iter(loop)
        for kill in range(3):
            server = stack.enter_context(rtsp_server(port))
            ages = [age_of(next(results).frame.image) for _ in range(20)]
            assert max(ages) <= 1.0, "an old frame was shown as new"
            assert loop.health.reconnects >= kill
            server.kill()
    told = [h.state for h in states]
    assert told.count(HealthState.RUNNING) == 3
    assert told.count(HealthState.RECONNECTING) >= 2
    assert all(h.reason for h in states if h.state is HealthState.RECONNECTING)


@pytest.mark.slow
def test_a_server_that_falls_silent_and_speaks_again(classifier):
    """It accepts, and sends nothing for a while: it is reconnected, and frames come again."""
    with mjpeg_server() as server:

        def mend(health):
            if health.state is HealthState.RECONNECTING:
                server.pause.clear()

        source = open_source(f"{server.url()}?{SHORT}")
        options = LoopOptions(watch=WATCH, duration=LIMIT)
        with CameraLoop(classifier, source, options, on_health=mend) as loop:
            results = iter(loop)
            next(results)
            server.pause.set()
            while loop.health.reconnects == 0:
                assert next(results, None) is not None, "it ended"
