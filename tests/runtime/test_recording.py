"""Facts about recording a loop, and replaying what was recorded."""

import dataclasses
import errno
import json
import logging
import os
import re
import shutil
import threading
import time

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.recording_results import noise, options, result

from ecovision_edge import Classifier, read_image
from ecovision_edge.bundle.views import RegionView
from ecovision_edge.camera import open_source
from ecovision_edge.errors import OptionError, RecordError
from ecovision_edge.loop import LoopOptions
from ecovision_edge.observation import Look, View
from ecovision_edge.preprocess.region import Region, TurnedBox
from ecovision_edge.recording import (
    HardRecorder,
    Recorder,
    RecordStats,
    compare,
    read_recording,
)
from ecovision_edge.recording import disk as disk_module
from ecovision_edge.recording.recorder import QUEUE
from ecovision_edge.recording.sidecar import parse_sidecar, sidecar_bytes
from ecovision_edge.simulation.synthetic import draw_frame

PROMPT = 20.0  # seconds: a safety net, nowhere expected to pass


class Disk:
    """Stands before writing a file: it can hang, and fail."""

    def __init__(self, patch):
        self.real = disk_module.write_file
        self.hangs = threading.Event()
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.error = None
        patch.setattr(disk_module, "write_file", self.write_file)

    def write_file(self, path, data, *, fsync):
        if not self.goes_on.is_set():
            self.hangs.set()
            assert self.goes_on.wait(PROMPT)
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error), str(path))
        self.real(path, data, fsync=fsync)

    def hang(self):
        self.goes_on.clear()


@pytest.fixture
def disk(monkeypatch):
    """A disk that works until it is told otherwise."""
    disk = Disk(monkeypatch)
    yield disk
    disk.goes_on.set()


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No writer is alive after a test."""
    yield
    deadline = time.monotonic() + PROMPT
    while left := [t for t in threading.enumerate() if t.name == "ecovision-recorder"]:
        assert time.monotonic() < deadline
        left[0].join(0.1)


@pytest.fixture(scope="module")
def reference():
    """The bundle of the package."""
    return Classifier.load(threads=1, profile=False)


@pytest.fixture(scope="module")
def recorded(reference, tmp_path_factory):
    """A recording of six synthetic frames with the reference bundle, which nobody changes."""
    root = tmp_path_factory.mktemp("recorded")
    (root / "frames").mkdir()
    for i in range(6):
        cv2.imwrite(str(root / f"frames/{i}.bmp"), draw_frame(i, 320, 240))
    with Recorder(root / "recording", options()) as recorder:
        for said in reference.stream(open_source(str(root / "frames"))):
            assert recorder.put(said, wait=True)
    assert recorder.stats.kept == 6
    return root / "recording"


def wait_for(recorder, condition):
    """Until the writer has come so far."""
    deadline = time.monotonic() + PROMPT
    while not condition(recorder.stats):
        assert time.monotonic() < deadline, recorder.stats
        threading.Event().wait(0.001)


def indexes(folder):
    """Which results are in it."""
    return [f.result.index for f in read_recording(folder)]


# Replay.


def test_a_recording_holds_the_frames_bit_for_bit(recorded):
    """In the order of capture, with the result as the loop gave it."""
    frames = list(read_recording(recorded))
    assert [f.result.sequence for f in frames] == list(range(6))
    for i, frame in enumerate(frames):
        assert np.array_equal(read_image(frame.path), draw_frame(i, 320, 240))


def test_a_replay_says_exactly_the_same(reference, recorded):
    """Labels and probabilities, with no tolerance."""
    report = compare(read_recording(recorded), reference.stream(open_source(str(recorded))))
    assert report.ok
    assert (report.compared, report.largest, report.differences) == (6, 0.0, ())
    for frame in read_recording(recorded):
        prediction = reference.classify(read_image(frame.path))
        assert frame.result.label == prediction.label
        assert tuple(frame.result.probabilities.values()) == prediction.probabilities


def test_a_recording_of_a_replay_is_the_same_recording(reference, recorded, tmp_path):
    """Of two recordings each can be compared with the other."""
    with Recorder(tmp_path, options()) as recorder:
        for said in reference.stream(open_source(str(recorded))):
            recorder.put(said, wait=True)
    assert compare(read_recording(recorded), read_recording(tmp_path)).ok
    for path in recorded.glob("*.png"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_the_result_comes_back_as_it_was(tmp_path):
    """Every field, every bit of every number."""
    said = result(3, score=0.1 + 0.2, label="Grün & \u2028 \"x\"")  # fmt: skip
    with Recorder(tmp_path, options()) as recorder:
        recorder.put(said)
    [frame] = read_recording(tmp_path)
    back, prediction = frame.result, said.prediction
    assert (back.index, back.sequence, back.captured_at) == (3, 3, said.frame.captured_at)
    assert back.time.timestamp() == pytest.approx(said.time, abs=0.001)
    assert (back.label, back.score, back.margin) == (prediction.label, prediction.score, prediction.margin)
    assert tuple(back.probabilities) == said.labels
    assert tuple(back.probabilities.values()) == prediction.probabilities
    assert (back.age_ms, back.dropped, back.timings) == (said.age_ms, said.dropped, prediction.timings)


def test_bad_frames_are_in_a_recording_where_there_were_any(tmp_path):
    """A recording without one is what it was before they were counted."""
    with Recorder(tmp_path, options()) as recorder:
        recorder.put(result(0))
        recorder.put(dataclasses.replace(result(1), bad_frames=7))
    assert [frame.result.bad_frames for frame in read_recording(tmp_path)] == [0, 7]
    assert "bad_frames" not in json.loads((tmp_path / "000000000.json").read_text())


def unclassified(said):
    """The same of an empty tray."""
    return dataclasses.replace(said, prediction=None, look=Look(View.EMPTY, 0.0, False, "the tray is empty"))


def test_a_frame_that_was_not_classified_comes_back_as_that(tmp_path):
    """With what its gate saw; what was classified is as earlier versions read it."""
    said = [result(0), unclassified(result(1))]
    with Recorder(tmp_path, options()) as recorder:
        for one in said:
            recorder.put(one)
    frames = list(read_recording(tmp_path))
    back = frames[1].result
    assert (back.label, back.score, back.margin, back.timings, back.tray) == (None, None, None, None, "empty")
    assert back.probabilities == {}
    versions = [json.loads(path.read_text())["schema_version"] for path in sorted(tmp_path.glob("*.json"))]
    assert versions == [1, 2]
    report = compare(frames, said)
    assert (report.ok, report.compared) == (True, 2)


@pytest.mark.parametrize("first", [0, 1])
def test_a_frame_is_not_compared_with_one_that_was_not_classified(tmp_path, first):
    """A loop without the bin's gate asks the network about each."""
    both = [result(0), unclassified(result(0))]
    with Recorder(tmp_path, options()) as recorder:
        recorder.put(both[first])
    with pytest.raises(RecordError, match=r"not: empty|was not.*the bin that recorded it"):
        compare(read_recording(tmp_path), [both[1 - first]])


def test_a_frame_that_was_not_classified_has_nothing_of_the_network(tmp_path):
    """A sidecar that says both is malformed."""
    with Recorder(tmp_path, options()) as recorder:
        recorder.put(unclassified(result(0)))
    sidecar = tmp_path / "000000000.json"
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "label": "paper"}, indent=2) + "\n")
    with pytest.raises(RecordError, match="null, for the frame was not classified"):
        list(read_recording(tmp_path))


def test_an_empty_tray_is_no_hard_frame(tmp_path):
    """The network was not unsure: it was not asked."""
    with HardRecorder(tmp_path, below=1.0, every=0) as recorder:
        assert not recorder.put(unclassified(result(0)))
        assert recorder.put(result(1))


def test_the_part_of_the_frame_that_was_classified_comes_back(tmp_path):
    """One that was classified otherwise is no replay of it, and is refused."""
    whole = result(0)
    said = dataclasses.replace(whole, region=Region(2, 1, 9, 8))
    with Recorder(tmp_path, options()) as recorder:
        recorder.put(said)
    frames = list(read_recording(tmp_path))
    assert frames[0].result.region == Region(2, 1, 9, 8)
    assert compare(frames, [said]).ok
    turned = dataclasses.replace(whole, region=Region(2, 1, 9, 8, RegionView(1, mirrored=True, scale=0.85)))
    with Recorder(tmp_path / "turned", options()) as recorder:
        recorder.put(turned)
    frames_turned = list(read_recording(tmp_path / "turned"))
    assert frames_turned[0].result.region == turned.region
    assert compare(frames_turned, [turned]).ok
    lying = Region(2, 1, 9, 8, RegionView(2), TurnedBox(5.5, 4.25, 6.0, 3.1, -31.25))
    aslant = dataclasses.replace(whole, region=lying)
    with Recorder(tmp_path / "aslant", options()) as recorder:
        recorder.put(aslant)
    frames_aslant = list(read_recording(tmp_path / "aslant"))
    assert frames_aslant[0].result.region == lying
    assert compare(frames_aslant, [aslant]).ok
    sidecar = tmp_path / "aslant" / "000000000.json"
    for wrong in ([5.5, 4.25, 6.0, 3.1], [5.5, 4.25, 0, 3.1, 9], [5.5, 4.25, 6.0, 3.1, 90]):
        said = json.loads((tmp_path / "aslant" / "000000000.json").read_text()) | {"turned": wrong}
        (tmp_path / "wrong").mkdir(exist_ok=True)
        shutil.copytree(tmp_path / "aslant", tmp_path / "wrong", dirs_exist_ok=True)
        (tmp_path / "wrong" / sidecar.name).write_text(json.dumps(said, indent=2) + "\n")
        with pytest.raises(RecordError, match="turned"):
            list(read_recording(tmp_path / "wrong"))
    for other in (whole, turned, dataclasses.replace(whole, region=Region(2, 1, 9, 9))):
        with pytest.raises(RecordError, match=r"cannot be compared: expected only .*top=1.*found.*region"):
            compare(frames, [other])


def altered(said, **changes):
    """The same with another prediction."""
    return dataclasses.replace(said, prediction=dataclasses.replace(said.prediction, **changes))


@pytest.fixture
def two(tmp_path):
    """Two results, and the recording of them."""
    said = [result(0), result(1)]
    with Recorder(tmp_path / "two", options()) as recorder:
        for one in said:
            recorder.put(one)
    return said, list(read_recording(tmp_path / "two"))


def test_a_replay_within_the_tolerance_is_the_same(two):
    """The tolerance is of a probability, and included."""
    (first, second), frames = two
    near = altered(second, probabilities=(0.0625, 0.75 - 0.125, 0.1875 + 0.125))
    assert compare(frames, [first, near], tolerance=0.125).ok
    report = compare(frames, [first, near], tolerance=0.124)
    assert not report.ok
    assert report.largest == 0.125
    [difference] = report.differences
    assert difference.name == "000000001.png"
    assert json.loads(json.dumps(report.to_json()))["differences"][0]["probability"] == 0.125


def test_another_label_is_a_difference_whatever_the_tolerance(two):
    """Of a tie the label says which."""
    (first, second), frames = two
    report = compare(frames, [altered(first, label="glass"), second], tolerance=1)
    assert not report.ok
    assert report.labels_changed == 1
    assert (report.differences[0].recorded, report.differences[0].replayed) == ("paper", "glass")


def test_a_probability_that_is_none_is_a_difference(two):
    """A NaN is not within any tolerance, wherever it stands."""
    (first, second), frames = two
    for probabilities in ((float("nan"), 0.75, 0.1875), (0.0625, 0.75, float("nan"))):
        assert not compare(frames, [first, altered(second, probabilities=probabilities)], tolerance=1).ok


def test_frames_too_few_and_too_many_are_told(two):
    """And no frame at all is no replay."""
    said, frames = two
    assert compare(frames, said[:1]).missing == 1
    assert compare(frames[:1], said).extra == 1
    assert not compare(frames, said[:1]).ok
    assert not compare(frames[:1], said).ok
    assert not compare([], []).ok


def test_the_classes_are_compared_by_name(two):
    """Another order is the same; other classes are refused, and the message has both."""
    said, frames = two
    turned = [
        dataclasses.replace(
            altered(one, probabilities=one.prediction.probabilities[::-1]), labels=one.labels[::-1]
        )
        for one in said
    ]
    assert compare(frames, turned).ok
    other = [dataclasses.replace(one, labels=("glass", "paper", "trash")) for one in said]
    with pytest.raises(
        RecordError, match=r"glass, paper, shoes.*trash.*the bundle that it was recorded with"
    ):
        compare(frames, other)


def test_a_report_names_only_the_first_differences(two):
    """A long replay with another network does not fill the memory."""
    (first, _), frames = two
    report = compare(frames[:1] * 50, [altered(first, label="glass")] * 50)
    assert report.labels_changed == 50
    assert len(report.differences) == 20


@pytest.mark.parametrize("tolerance", [-0.1, 1.1, float("nan")])
def test_a_tolerance_out_of_range_is_refused(tolerance):
    """It is a difference of probabilities."""
    with pytest.raises(OptionError, match="tolerance"):
        compare([], [], tolerance=tolerance)


# Reading.


def test_what_is_no_recording_is_refused(tmp_path):
    """No folder, a folder with nothing, a picture without a sidecar."""
    for path, found in ((tmp_path / "none", "no such folder"), (tmp_path, "no picture")):
        with pytest.raises(RecordError, match=found):
            read_recording(path)
    (tmp_path / "photo.png").touch()
    with pytest.raises(RecordError, match=r"photo\.png is no frame of a recording"):
        list(read_recording(tmp_path))


def test_frames_before_a_malformed_one_are_read(tmp_path):
    """The error comes where it is."""
    with Recorder(tmp_path, options()) as recorder:
        for i in range(3):
            recorder.put(result(i))
    (tmp_path / "000000001.json").write_text("{}")
    frames = read_recording(tmp_path)
    assert next(frames).result.index == 0
    with pytest.raises(RecordError, match=r"000000001\.json"):
        next(frames)


def test_a_sidecar_that_cannot_be_read_is_an_error(tmp_path):
    """A folder in its place."""
    with Recorder(tmp_path, options()) as recorder:
        recorder.put(result())
    (tmp_path / "000000000.json").unlink()
    (tmp_path / "000000000.json").mkdir()
    with pytest.raises(RecordError, match=r"cannot read .*000000000\.json"):
        list(read_recording(tmp_path))


GOOD = sidecar_bytes(result(), "000000000.png")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("schema", "other"), ("schema_version", 3), ("schema_version", "1"), ("image", "000000001.png")],
        *[("index", -1), ("index", 1.5), ("sequence", None), ("time", "yesterday"), ("captured_at", "1")],
        *[("time", "2026-11-25T20:30:11.123"), ("label", "trash"), ("score", 0.74), ("score", 2)],
        *[
            ("margin", -1),
            ("probabilities", {}),
            ("probabilities", [0.5]),
            ("age_ms", True),
            ("dropped", "x"),
        ],
        *[("probabilities", {"paper": 0.75, "glass": "0.25"}), ("timings_ms", {"prepare": 1}), ("more", 1)],
        *[("box", {}), ("box", [1, 2, 3]), ("box", [1, 2, 1, 3]), ("box", [1, 2, 3.5, 4]), ("box", "all")],
        *[("timings_ms", {"prepare": 1, "infer": 1, "post": 1, "more": 1}), ("bad_frames", -1)],
    ],
)
def test_a_sidecar_with_a_wrong_value_is_refused(key, value):
    """With the name of the file; a missing key too."""
    data = json.loads(GOOD)
    with pytest.raises(RecordError, match=r"here\.json"):
        parse_sidecar(json.dumps({**data, key: value}).encode(), "here.json", "000000000.png")
    if data.pop(key, None) is not None:
        with pytest.raises(RecordError, match=r"here\.json"):
            parse_sidecar(json.dumps(data).encode(), "here.json", "000000000.png")


def test_a_sidecar_beyond_a_sane_size_is_refused():
    """It is not parsed at all."""
    with pytest.raises(RecordError, match="too large"):
        parse_sidecar(GOOD + b" " * 2**20, "here.json", "000000000.png")


@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    st.floats(0, 1),
)
def test_damaged_sidecars_are_read_or_refused(changes, kept):
    """Altered and cut ones give a result or a RecordError, nothing else."""
    data = bytearray(GOOD)
    for where, value in changes:
        data[int(where * len(data))] = value
    try:
        parse_sidecar(bytes(data[: int(kept * len(data))]), "here.json", "000000000.png")
    except RecordError as e:
        assert "here.json" in e.message  # noqa: PT017 - it may also be read


# The recorder.


def test_everything_handed_over_is_written_at_the_close(tmp_path):
    """Up to a whole queue; closing is idempotent."""
    recorder = Recorder(tmp_path, options())
    assert all(recorder.put(result(i)) for i in range(QUEUE))
    assert recorder.close()
    assert recorder.close()
    size = sum(p.stat().st_size for p in tmp_path.iterdir())
    assert recorder.stats == RecordStats(kept=QUEUE, frames=QUEUE, bytes=size)
    assert recorder.stats.to_json()["kept"] == QUEUE
    assert indexes(tmp_path) == list(range(QUEUE))


def test_after_the_close_another_may_record_there(tmp_path):
    """And goes on with the numbers."""
    for i in range(2):
        with Recorder(tmp_path, options()) as recorder:
            recorder.put(result(i))
        assert recorder.stats.frames == i + 1
    assert indexes(tmp_path) == [0, 1]


def test_put_never_waits_for_the_disk(tmp_path, disk):
    """While a write hangs the queue fills, then frames are dropped and counted; the others are kept."""
    recorder = Recorder(tmp_path, options())
    disk.hang()
    assert recorder.put(result(0))
    assert disk.hangs.wait(PROMPT)
    assert [recorder.put(result(i)) for i in range(1, 30)] == [True] * QUEUE + [False] * (29 - QUEUE)
    assert recorder.stats.dropped == 29 - QUEUE
    disk.goes_on.set()
    assert recorder.close()
    assert recorder.stats.kept == QUEUE + 1
    assert indexes(tmp_path) == list(range(QUEUE + 1))


def test_of_files_no_frame_is_dropped(tmp_path, disk):
    """`wait` waits for the disk."""
    recorder = Recorder(tmp_path, options())
    disk.hang()
    recorder.put(result(0))
    assert disk.hangs.wait(PROMPT)

    def feed():
        taken.extend(recorder.put(result(i), wait=True) for i in range(1, 40))

    taken = []
    feeder = threading.Thread(target=feed)
    feeder.start()
    disk.goes_on.set()
    feeder.join(PROMPT)
    assert taken == [True] * 39
    recorder.close()
    assert recorder.stats.dropped == 0
    assert indexes(tmp_path) == list(range(40))


def test_a_close_ends_the_waiting(tmp_path, disk):
    """Of a `put` that waits for a disk that hangs; its frame is dropped."""
    recorder = Recorder(tmp_path, options())
    disk.hang()
    for i in range(QUEUE + 1):
        recorder.put(result(i), wait=True)
        if i == 0:
            assert disk.hangs.wait(PROMPT)
    taken = []
    waiter = threading.Thread(target=lambda: taken.append(recorder.put(result(99), wait=True)))
    waiter.start()
    assert not recorder.close(timeout=0.01)
    waiter.join(PROMPT)
    assert taken == [False]
    assert recorder.stats.dropped == QUEUE + 1


def test_a_close_is_bounded_when_the_disk_hangs(tmp_path, disk, caplog):
    """It says so, drops what waits, and leaves the write to its thread, which then ends."""
    recorder = Recorder(tmp_path, options())
    disk.hang()
    recorder.put(result(0))
    assert disk.hangs.wait(PROMPT)
    recorder.put(result(1))
    assert not recorder.close(timeout=0.01)
    assert not recorder.close(timeout=PROMPT)  # idempotent: it does not wait again
    assert "did not take the last frames" in caplog.text
    assert (recorder.stats.kept, recorder.stats.dropped) == (0, 1)
    with pytest.raises(RecordError, match="another recorder"):  # it still writes there
        Recorder(tmp_path, options())
    disk.goes_on.set()
    wait_for(recorder, lambda stats: stats.kept == 1)


def test_after_the_close_frames_are_dropped(tmp_path):
    """No error is raised into a loop that has one frame more."""
    recorder = Recorder(tmp_path, options())
    recorder.close()
    assert not recorder.put(result())
    assert not recorder.put(result(), wait=True)
    assert recorder.stats.dropped == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_errors_of_the_disk_are_counted_and_said_once(tmp_path, disk, caplog, number):
    """The loop does not notice, and recording goes on when it can."""
    recorder = Recorder(tmp_path, options())
    disk.error = number
    for i in range(5):
        assert recorder.put(result(i), wait=True)
    wait_for(recorder, lambda stats: stats.failed == 5)
    disk.error = errno.EDQUOT
    recorder.put(result(5))
    wait_for(recorder, lambda stats: stats.failed == 6)
    disk.error = None
    recorder.put(result(6))
    recorder.close()
    assert (recorder.stats.kept, recorder.stats.failed) == (1, 6)
    assert [r.levelno for r in caplog.records] == [logging.WARNING] * 2
    assert os.strerror(number) in caplog.messages[0]
    assert os.strerror(errno.EDQUOT) in caplog.messages[1]
    assert indexes(tmp_path) == [6]


def test_what_nobody_foresaw_does_not_end_the_recording(tmp_path, monkeypatch, caplog):
    """A defect of ours is said with its type, and the next frame is tried."""
    recorder = Recorder(tmp_path, options())
    recorder.put(dataclasses.replace(result(0), frame=None))
    recorder.put(dataclasses.replace(result(1), time=1e30))
    recorder.put(result(2))
    recorder.close()
    assert (recorder.stats.kept, recorder.stats.failed) == (1, 2)
    assert "AttributeError" in caplog.messages[0]


def test_a_folder_removed_under_it_is_made_anew(tmp_path):
    """The loop does not notice."""
    folder = tmp_path / "recording"
    with Recorder(folder, options()) as recorder:
        recorder.put(result(0))
        wait_for(recorder, lambda stats: stats.kept == 1)
        shutil.rmtree(folder)
        recorder.put(result(1))
    assert recorder.stats.failed == 0
    assert indexes(folder) == [1]


def test_a_disk_nearly_full_is_said_once(tmp_path, caplog, monkeypatch):
    """Frames are refused and counted; with room again they are kept."""
    usage = shutil.disk_usage(tmp_path)
    space = [0]
    monkeypatch.setattr(
        "ecovision_edge.recording.folder.shutil.disk_usage", lambda path: usage._replace(free=space[0])
    )
    recorder = Recorder(tmp_path, options(min_free_bytes=10**6))
    for i in range(3):
        recorder.put(result(i))
    wait_for(recorder, lambda stats: stats.refused == 3)
    space[0] = 10**9
    recorder.put(result(3))
    recorder.close()
    assert (recorder.stats.kept, recorder.stats.refused) == (1, 3)
    [message] = caplog.messages
    assert "too little free space" in message


def test_what_is_removed_is_counted(tmp_path):
    """`stats` says what is there, and what no longer is."""
    with Recorder(tmp_path, options(max_frames=2)) as recorder:
        for i in range(5):
            recorder.put(result(i), wait=True)
    stats = recorder.stats
    assert (stats.kept, stats.removed, stats.frames) == (5, 3, 2)
    assert stats.bytes == sum(p.stat().st_size for p in tmp_path.iterdir())


def test_a_recorder_that_cannot_start_raises(tmp_path):
    """And leaves no thread."""
    (tmp_path / "file").touch()
    with pytest.raises(RecordError):
        Recorder(tmp_path / "file")


def test_a_recorder_takes_what_a_loop_gives(reference, tmp_path):
    """As `on_result`, from the loop's own thread."""
    from ecovision_edge.camera import FakeCamera
    from ecovision_edge.loop import CameraLoop

    with Recorder(tmp_path, options()) as recorder:
        loop = CameraLoop(
            reference,
            FakeCamera(),
            LoopOptions(max_frames=5),
            on_result=lambda said: recorder.put(said, wait=True) and None,
        )
        loop.run()
    assert indexes(tmp_path) == [0, 1, 2, 3, 4]


# Hard frames.


def test_hard_frames_are_those_below_the_score(tmp_path):
    """One that has the score is not below it."""
    scores = [0.9, 0.6, 0.599, 0.3, 1.0]
    with HardRecorder(tmp_path, every=0, options=options()) as recorder:
        taken = [recorder.put(result(i, score=score)) for i, score in enumerate(scores)]
    assert taken == [False, False, True, True, False]
    assert sorted(indexes(tmp_path)) == [2, 3]
    assert recorder.stats.dropped == 0


def test_hard_frames_are_not_many_of_the_same_scene(tmp_path):
    """At most one in `every` seconds of the frames' own times."""
    times = [10.0, 11.9, 12.0, 12.1, 13.99, 14.0, 100.0]
    with HardRecorder(tmp_path, options=options()) as recorder:
        taken = [recorder.put(result(i, score=0.5, captured_at=t)) for i, t in enumerate(times)]
    assert taken == [True, False, True, False, False, True, True]


def test_a_frame_that_was_dropped_does_not_hold_back_the_next(tmp_path, disk):
    """The time counts from the last that was taken."""
    recorder = HardRecorder(tmp_path, options=options())
    disk.hang()
    recorder.put(result(0, score=0.5, captured_at=0))
    assert disk.hangs.wait(PROMPT)
    for i in range(1, QUEUE + 1):
        assert recorder.put(result(i, score=0.5, captured_at=10 * i))
    assert not recorder.put(result(50, score=0.5, captured_at=1000))
    disk.goes_on.set()
    wait_for(recorder, lambda stats: stats.kept == QUEUE + 1)
    assert recorder.put(result(51, score=0.5, captured_at=1000.1))
    recorder.close()


def test_hard_frames_are_jpeg_with_telling_names_and_stop_when_full(tmp_path, monkeypatch, caplog):
    """By default; the first are kept, and it says once that it stopped."""
    monkeypatch.setattr(
        "ecovision_edge.recording.recorder.HARD", options(format="jpeg", max_frames=2, whenfull="stop")
    )
    with HardRecorder(tmp_path, every=0) as recorder:
        for i in range(5):
            recorder.put(result(i, image=noise(i, 64, 48), score=0.41))
    names = sorted(p.name for p in tmp_path.glob("*.jpg"))
    assert names == [f"20261125T203011.123Z_paper_0.41_{i:09d}.jpg" for i in (0, 1)]
    assert (recorder.stats.kept, recorder.stats.refused, recorder.stats.removed) == (2, 3, 0)
    [message] = caplog.messages
    assert "full" in message
    assert [f.result.probabilities["paper"] for f in read_recording(tmp_path)] == [0.41, 0.41]


def test_the_defaults_of_hard_frames_are_bounded():
    """A thousand frames, 256 MiB, JPEG of quality 95, then no more."""
    from ecovision_edge.recording.recorder import HARD

    assert (HARD.max_frames, HARD.max_bytes) == (1000, 256 * 2**20)
    assert (HARD.format, HARD.quality, HARD.whenfull) == ("jpeg", 95, "stop")
    assert HARD.min_free_bytes == 512 * 2**20


@pytest.mark.parametrize("wrong", [{"below": 0}, {"below": 1.1}, {"below": float("nan")}, {"every": -1}])
def test_an_option_of_hard_frames_out_of_range_is_refused(tmp_path, wrong):
    """Before anything is made."""
    with pytest.raises(OptionError, match=re.escape(next(iter(wrong)))):
        HardRecorder(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()
