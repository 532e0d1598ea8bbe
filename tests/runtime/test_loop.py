"""Facts about the camera loop: its results, its limits, how it ends."""

import itertools
import json
import logging
import random
import statistics
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge import Classifier
from ecovision_edge.camera import FakeCamera, HealthState, WatchOptions
from ecovision_edge.camera.fake import Bad, Block, FailOpen, Frames, Nothing, Raise
from ecovision_edge.errors import CameraLostError, CaptureError, InferenceError, LoopStuckError, OptionError
from ecovision_edge.loop import CameraLoop, LoopOptions
from ecovision_edge.loop.percentiles import Percentiles
from ecovision_edge.observation import Look, Observation, View
from ecovision_edge.preprocess.region import Region

PROMPT = 20.0  # seconds: a safety net, nowhere expected to pass


@pytest.fixture(scope="module")
def classifier(pristine):
    """Of the tiny network: a run of it is microseconds."""
    return Classifier.load(pristine, threads=1)


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch):
    """No thread of ours is alive after a test."""
    monkeypatch.setattr("ecovision_edge.camera.latest.GRACE", 0.2)
    yield
    deadline = time.monotonic() + PROMPT
    while left := [t for t in threading.enumerate() if t.name.startswith("ecovision-")]:
        assert time.monotonic() < deadline, left
        left[0].join(0.1)


def files(count):
    """A finite source."""
    return FakeCamera(Frames(count), then="end", live=False, name="files")


def test_files_are_classified_in_full_and_in_order(classifier):
    """One result a frame, then the end."""
    source = files(100)
    results = list(CameraLoop(classifier, source))
    assert [r.index for r in results] == list(range(100))
    assert [source.number_in(r.frame.image) for r in results] == list(range(100))
    assert {r.dropped for r in results} == {0}


def test_only_the_region_of_a_frame_is_classified(classifier):
    """Asked for each frame on the loop's thread; the result says which, and its JSON too."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30, 0] = image[:, 30:, 2] = 255  # blue to the left, red to the right
    regions = iter([Region(30, 0, 60, 40), Region(0, 10, 20, 30), None])
    asked = []

    class Pictures:
        name, live, interval = "pictures", False, None

        def connect(self):
            self.left = 3
            return self

        def read(self):
            self.left -= 1
            return image.copy() if self.left >= 0 else None

        def close(self):
            pass

    def region(frame):
        asked.append((threading.current_thread(), frame.sequence))
        return next(regions)

    results = list(CameraLoop(classifier, Pictures(), region=region))
    assert [r.prediction.label for r in results[:2]] == ["red", "blue"]
    assert results[2].prediction.score < 0.6  # both
    assert [r.region for r in results] == [Region(30, 0, 60, 40), Region(0, 10, 20, 30), None]
    assert [r.to_json().get("box") for r in results] == [[30, 0, 60, 40], [0, 10, 20, 30], None]
    assert "box" not in results[2].to_json()
    assert asked == [(threading.current_thread(), n) for n in range(3)]


def test_what_is_observed_of_a_frame_comes_back_with_its_result(classifier):
    """The very look, and its region; `region` is the same for who knows no more, and not beside it."""
    looks = []

    def observe(frame):
        looks.append(Look(View.ITEM, 0.5, False, f"frame {frame.sequence}"))
        return Observation(frame.image, looks[-1], Region(0, 0, 8, 8))

    results = list(CameraLoop(classifier, files(3), observe=observe))
    assert [r.look for r in results] == looks
    assert {r.region for r in results} == {Region(0, 0, 8, 8)}
    observation = results[0].observation
    assert (observation.look, observation.place) == (looks[0], Region(0, 0, 8, 8))
    assert observation.probabilities == results[0].prediction.probabilities
    assert (observation.time, observation.age_ms) == (results[0].time, results[0].age_ms)
    with pytest.raises(OptionError, match="observe and region: expected one of them"):
        CameraLoop(classifier, files(3), observe=observe, region=lambda frame: None)


def test_a_replay_gives_the_same_results(classifier):
    """Of the same files: bit for bit, whatever the clock says."""

    def run():
        return [(r.prediction.label, r.prediction.probabilities) for r in CameraLoop(classifier, files(50))]

    assert run() == run()


def test_stream_is_the_loop(classifier):
    """`Classifier.stream`, with the options of the loop."""
    results = list(classifier.stream(files(9), LoopOptions(max_frames=4)))
    assert [r.frame.sequence for r in results] == [0, 1, 2, 3]


def test_a_result_as_json(classifier):
    """One line: what is said of the frame, without the picture."""
    [result] = CameraLoop(classifier, files(1))
    data = json.loads(json.dumps(result.to_json()))
    assert data["label"] == result.prediction.label
    assert set(data["probabilities"]) == set(classifier.labels)
    assert data["sequence"] == data["index"] == 0
    assert data["time"].endswith("+00:00")
    assert abs(result.time - time.time()) < PROMPT
    assert "image" not in data


def test_bad_frames_are_in_results_and_summary(classifier):
    """As many as came so far."""
    loop = CameraLoop(classifier, FakeCamera(Bad(2), Frames(1), Bad(), Frames(1), then="end", live=False))
    counts = [r.to_json()["bad_frames"] for r in loop]
    assert counts[0] >= 2  # the source is read ahead
    assert counts[1] == 3
    summary = loop.summary()
    assert summary.to_json()["bad_frames"] == summary.health.to_json()["bad_frames"] == 3
    assert "3 bad, 0 reconnects" in summary.lines()[0]


def test_the_summary_adds_up(classifier):
    """Every frame that came was classified or dropped, but for one in hand."""
    camera = FakeCamera()
    loop = CameraLoop(classifier, camera, LoopOptions(max_frames=200))
    summary = loop.run()
    assert summary.classified == sum(summary.labels.values()) == 200
    assert 0 <= summary.frames - summary.classified - summary.dropped <= 1
    assert set(summary.stages) == {"prepare", "infer", "post", "age"}
    assert summary.stages["infer"].p50 <= summary.stages["infer"].p90 <= summary.stages["infer"].most
    assert summary.stages["infer"].p99 is None  # of 200: not to be claimed
    text = "\n".join(summary.lines())
    assert "200 classified" in text
    assert "0 bad, 0 reconnects" in text
    assert json.loads(json.dumps(summary.to_json()))["classified"] == 200


@pytest.mark.parametrize("count", [1, 7])
def test_max_frames(classifier, count):
    """So many results, no more."""
    assert len(list(CameraLoop(classifier, FakeCamera(), LoopOptions(max_frames=count)))) == count


def test_duration_ends_a_loop_that_gets_no_frame(classifier):
    """Also while a read hangs."""
    camera = FakeCamera(Block())
    summary = CameraLoop(classifier, camera, LoopOptions(duration=0.2)).run()
    camera.release()
    assert summary.classified == 0
    assert summary.seconds >= 0.2


def test_every_is_the_least_time_between(classifier):
    """A pace, from when one is due to when the next is."""
    began = time.monotonic()
    results = list(CameraLoop(classifier, files(6), LoopOptions(every=0.05)))
    assert len(results) == 6
    assert time.monotonic() - began >= 0.25


def test_with_a_pace_the_newest_frame_is_taken(classifier):
    """Not the next one: the others are dropped."""
    loop = CameraLoop(classifier, FakeCamera(interval=0.005), LoopOptions(every=0.1, max_frames=4))
    sequences = [r.frame.sequence for r in loop]
    assert min(b - a for a, b in itertools.pairwise(sequences)) > 1
    assert loop.summary().dropped > 0


def test_what_the_consumer_raises_ends_the_loop(classifier):
    """The `for` body's exception goes through, and the source is closed."""
    camera = FakeCamera()
    with pytest.raises(KeyError, match="mine"):  # noqa: PT012 - the loop is the statement
        for _ in CameraLoop(classifier, camera):
            raise KeyError("mine")
    assert camera.open_now == 0


def test_leaving_the_for_closes_the_source(classifier):
    """`break`."""
    camera = FakeCamera()
    for _ in CameraLoop(classifier, camera):
        break
    assert camera.open_now == 0


def test_what_on_result_raises_is_raised_by_wait(classifier):
    """And the thread has ended."""

    def unhappy(result):
        raise ZeroDivisionError("mine")

    loop = CameraLoop(classifier, FakeCamera(), on_result=unhappy)
    loop.start()
    with pytest.raises(ZeroDivisionError, match="mine"):
        loop.wait(PROMPT)
    loop.close()  # raised once


def test_what_on_result_raises_is_raised_by_close(classifier):
    """Of a loop that nobody waited for."""
    raised = threading.Event()

    def unhappy(result):
        raised.set()
        raise ZeroDivisionError("mine")

    loop = CameraLoop(classifier, FakeCamera(), on_result=unhappy)
    loop.start()
    assert raised.wait(PROMPT)
    with pytest.raises(ZeroDivisionError, match="mine"):
        loop.close()


def test_what_on_health_raises_ends_the_loop(classifier):
    """Likewise."""

    def unhappy(health):
        if health.ok:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        CameraLoop(classifier, FakeCamera(), on_health=unhappy).run()


def test_a_failing_engine_ends_the_loop(classifier, monkeypatch):
    """With its error, and the source is closed."""

    def fail(frame):
        raise InferenceError("no memory")

    camera = FakeCamera()
    monkeypatch.setattr(classifier, "classify", fail)
    with pytest.raises(InferenceError, match="no memory"):
        CameraLoop(classifier, camera).run()
    assert camera.open_now == 0


def test_a_lost_camera_ends_the_loop(classifier):
    """As often as `max_reconnects` allows."""
    watch = WatchOptions(max_reconnects=2, first_delay=0.01, most_delay=0.02)
    with pytest.raises(CameraLostError, match="after 2 reconnects"):
        CameraLoop(classifier, FakeCamera(FailOpen(9)), LoopOptions(watch=watch)).run()


def test_a_broken_file_ends_the_loop_after_what_was_good(classifier):
    """The frames before it are classified."""
    source = FakeCamera(Frames(3), Raise(CaptureError("broken")), live=False)
    seen = []
    with pytest.raises(CaptureError, match="broken"):
        CameraLoop(classifier, source, on_result=seen.append).run()
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ([], HealthState.RUNNING),
        ([Block()], HealthState.STARTING),
        ([FailOpen(10**6)], HealthState.RECONNECTING),
        ([Frames(1), Nothing(), FailOpen(10**6)], HealthState.RECONNECTING),
    ],
    ids=["running", "connecting", "reconnecting at first", "reconnecting"],
)
def test_it_stops_from_any_state(classifier, script, state):
    """Also in the middle of a backoff of half a minute."""
    reached = threading.Event()
    watch = WatchOptions(first_delay=30, most_delay=30, open_timeout=60)
    camera = FakeCamera(*script)
    loop = CameraLoop(
        classifier,
        camera,
        LoopOptions(watch=watch),
        on_health=lambda health: reached.set() if health.state is state else None,
    )
    loop.start()
    assert reached.wait(PROMPT)
    loop.close(timeout=PROMPT)
    camera.release()
    assert loop.health.state is HealthState.ENDED


def test_a_consumer_that_hangs_does_not_hang_close(classifier):
    """It says so, in the time it was given."""
    hang, inside = threading.Event(), threading.Event()

    def forever(result):
        inside.set()
        hang.wait()

    loop = CameraLoop(classifier, FakeCamera(), on_result=forever)
    loop.start()
    assert inside.wait(PROMPT)
    with pytest.raises(LoopStuckError, match="does not return"):
        loop.close(timeout=0.05)
    hang.set()
    loop.close()


def test_on_result_may_stop_and_close_the_loop(classifier):
    """From within: it ends after that frame."""
    loop = CameraLoop(classifier, FakeCamera(), on_result=lambda result: loop.close())
    loop.start()
    assert loop.wait(PROMPT)
    assert loop.summary().classified == 1


def test_a_loop_runs_once(classifier):
    """A second time is refused, whichever way."""
    loop = CameraLoop(classifier, files(1))
    loop.run()
    with pytest.raises(OptionError, match="make a new"):
        loop.start()
    with pytest.raises(OptionError, match="make a new"):
        iter(loop)


def test_a_loop_that_never_ran_can_be_closed(classifier):
    """And sums up to nothing."""
    with CameraLoop(classifier, files(1)) as loop:
        pass
    assert loop.summary().classified == 0
    assert "0 classified" in loop.summary().lines()[0]


def test_the_error_inside_a_with_is_not_hidden(classifier):
    """By one that closing brings."""

    def unhappy(result):
        raise ZeroDivisionError("theirs")

    loop = CameraLoop(classifier, FakeCamera(), on_result=unhappy)
    with pytest.raises(KeyError, match="mine"), loop:  # noqa: PT012 - what is inside is the point
        loop.start()
        raise KeyError("mine")


def test_on_wait_is_called_while_no_frame_comes(classifier, monkeypatch):
    """On the loop's thread; and frames come through as ever."""
    monkeypatch.setattr("ecovision_edge.loop.camera_loop.WAIT_SECONDS", 0.01)
    camera, calls = FakeCamera(Frames(3), Block()), []

    def waiting():
        calls.append(threading.current_thread())
        if len(calls) == 5:
            camera.release()

    loop = CameraLoop(classifier, camera, LoopOptions(max_frames=6), on_wait=waiting)
    assert loop.run().classified == 6
    assert set(calls) == {threading.current_thread()}


def test_on_wait_does_not_outlive_the_files(classifier):
    """Their end is the end."""
    seen = []
    CameraLoop(classifier, files(4), on_result=seen.append, on_wait=lambda: None).run()
    assert len(seen) == 4


def test_health_is_logged(classifier, caplog):
    """What is well at INFO, what is not at WARNING, with the reason."""
    watch = WatchOptions(first_delay=0.01, most_delay=0.02)
    with caplog.at_level(logging.INFO, "ecovision_edge"):
        CameraLoop(classifier, FakeCamera(Frames(1), Nothing()), LoopOptions(watch=watch, max_frames=3)).run()
    said = [(r.levelname, r.message.partition(";")[0]) for r in caplog.records]
    assert said[:2] == [
        ("INFO", "fake camera: RUNNING"),
        ("WARNING", "fake camera: RECONNECTING: gave no frame: (False, None)"),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("every", 0), ("duration", -1), ("max_age", 0), ("max_frames", 0), ("max_frames", 1.5)],
)
def test_options_out_of_range_are_named(name, value):
    """The error says which option, what is right, and what was found."""
    with pytest.raises(OptionError, match=rf"{name}.*expected.*found"):
        LoopOptions(**{name: value})


@given(times=st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=2000), percent=st.sampled_from([50, 90, 99]))
def test_percentiles_are_right_to_one_per_cent(times, percent):
    """Beside those of sorted times; None where MLPerf's rule asks for more."""
    counted = Percentiles()
    for seconds in times:
        counted.add(seconds)
    found = counted.percentile(percent)
    if len(times) < {50: 1, 90: 64, 99: 662}[percent]:
        assert found is None
    else:
        exact = sorted(times)[-(-len(times) * percent // 100) - 1]
        assert found == pytest.approx(exact, rel=0.0101)
    assert counted.most == max(times)
    assert len(counted) == len(times)


def test_percentiles_of_many_are_close_to_the_library_s():
    """Ten thousand times as a network's might be."""
    rng = random.Random(7)
    times = [rng.lognormvariate(-5, 0.4) for _ in range(10_000)]
    counted = Percentiles()
    for seconds in times:
        counted.add(seconds)
    cuts = statistics.quantiles(times, n=100)
    for percent in (50, 90, 99):
        assert counted.percentile(percent) == pytest.approx(cuts[percent - 1], rel=0.02)


def test_odd_times_are_counted():
    """Zero, negative by a clock's whim, and longer than a day."""
    counted = Percentiles()
    for seconds in (0.0, -1.0, 1e9):
        counted.add(seconds)
    assert counted.percentile(50) <= 2e-6
    assert counted.most == 1e9
