"""Subjects in processes of their own, for real."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from ecovision_edge import Classifier, verify_bundle
from ecovision_edge.backends import BackendOptions
from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.errors import OptionError
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_bench.measure.frames import FrameSource, parse_frame_size, to_camera_size
from ecovision_edge_bench.measure.processes import Worker, WorkerError
from ecovision_edge_bench.measure.sources import ROUNDS, SOURCES, measure_sources
from ecovision_edge_bench.measure.worker import run_turn
from ecovision_edge_bench.subjects import Frame, Spec

SPEC = Spec("classifier", "int8-onnx", "int8", str(embedded_bundle_path()), artifact="int8-onnx")
SOURCE = FrameSource(160, 120)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """The embedded int8 in a process."""
    with Worker(SPEC, SOURCE) as running:
        yield running


@pytest.mark.slow
def test_it_says_what_it_runs_and_what_its_start_took(worker: Worker) -> None:
    """Facts of the model, times above zero, memory that it grew by."""
    ready = worker.ready
    assert ready["facts"]["sha256"] == Classifier.load().bundle.artifact("int8-onnx").file.sha256
    assert "onnxruntime" in ready["facts"]["engine"]
    assert ready["facts"]["threads"] == 1
    assert min(ready["create_ms"], ready["first_ms"]) > 0
    if sys.platform == "linux":
        assert ready["peak_bytes"] > ready["before_bytes"] > 2**20


@pytest.mark.slow
def test_a_turn_gives_all_stages_of_each_frame(worker: Worker) -> None:
    """Columns of one length, starts in order, no time below zero; and CPU was taken."""
    before = worker.cpu_s
    samples = worker.turn(settle_s=0.01, seconds=0.1, fps=None, first=3)
    assert len({len(column) for column in samples.values()}) == 1
    assert samples["at_s"] == sorted(samples["at_s"])
    assert min(samples["infer_ms"]) > 0
    assert min(samples["prepare_ms"]) > 0
    assert worker.cpu_s > before


@pytest.mark.slow
def test_a_paced_turn_has_frames_all_the_same(worker: Worker) -> None:
    """Of the real clock, at 50 a second."""
    assert len(worker.turn(settle_s=0.0, seconds=0.1, fps=50, first=0)["at_s"]) >= 1


@pytest.mark.slow
def test_it_answers_as_the_classifier_does(worker: Worker, tmp_path: Path) -> None:
    """Files and synthetic frames, to the last bit: same engine, one thread."""
    file = tmp_path / "a.png"
    cv2.imwrite(str(file), draw_frame(5))
    here = Classifier.load(threads=1)
    expected = [here.classify(draw_frame(seed)).probabilities for seed in (4, 5)]
    assert worker.classify(seeds=[4, 5]) == [list(row) for row in expected]
    assert worker.classify(files=[str(file)]) == [list(expected[1])]


@pytest.mark.slow
def test_it_tells_what_preparing_costs_by_source(worker: Worker) -> None:
    """Of pixels, and of JPEG decoded whole and reduced."""
    found = worker.prepare_by_source()
    assert {source: len(times) for source, times in found.items()} == dict.fromkeys(SOURCES, ROUNDS)


def test_each_source_is_prepared_in_turn_and_times_are_its_own() -> None:
    """Whole frames, then as small ones as the subject is content with; the first round is not counted."""

    class Subject:
        shapes: ClassVar[list[tuple[int, ...]]] = []

        def prepare(self, frame: Frame) -> object:
            self.shapes.append(frame.shape)
            return frame

        def reduction(self, height: int, width: int) -> int:
            return 4

    ticks = itertools.count()
    frames = [draw_frame(seed, 160, 120) for seed in range(2)]
    found = measure_sources(Subject(), frames, 3, clock=lambda: next(ticks) * 1e-3)
    assert found == {source: pytest.approx([1.0] * 3) for source in SOURCES}
    assert Counter(Subject.shapes) == {(120, 160, 3): 8, (30, 40, 3): 4}


@pytest.mark.slow
def test_it_checks_golden_vectors_as_verify_does(worker: Worker) -> None:
    """The same words, of the same engine with the same threads."""
    report = verify_bundle(embedded_bundle_path(), BackendOptions(threads=1))
    (check,) = [c for c in report.checks if c.name == "golden int8-onnx"]
    assert worker.check_golden() == (check.ok, check.detail)
    assert check.ok


@pytest.mark.slow
def test_an_error_of_ours_is_told_and_the_worker_goes_on(worker: Worker) -> None:
    """A file that is not there, then a synthetic frame."""
    with pytest.raises(WorkerError, match=r"int8-onnx 1t.*no/such"):
        worker.classify(files=["no/such.png"])
    assert len(worker.classify(seeds=[0])[0]) == 10


def test_a_subject_that_cannot_be_loaded_says_why() -> None:
    """The engine's own error in one line; the process is gone."""
    spec = Spec("classifier", "x", "int8", str(embedded_bundle_path()), artifact="no-such")
    with pytest.raises(WorkerError, match="no-such"):
        Worker(spec, SOURCE)


def test_a_start_that_takes_too_long_is_ended() -> None:
    """A hundredth of a second is none for Python."""
    with pytest.raises(WorkerError, match=r"expected an answer within 0.01 s, found none; it was ended"):
        Worker(SPEC, SOURCE, start_limit_s=0.01)


def test_a_process_that_dies_is_an_error_of_its_own() -> None:
    """Killed, as by the kernel when memory ends; closing it afterwards does no harm."""
    with Worker(SPEC, SOURCE) as doomed:
        os.kill(doomed._process.pid, signal.SIGKILL)
        doomed._process.wait()
        with pytest.raises(WorkerError, match=r"its process died.*killed by signal 9"):
            doomed.turn(settle_s=0, seconds=0.1, fps=None, first=0)
    doomed.close()


@pytest.mark.slow
def test_a_worker_without_a_parent_ends() -> None:
    """End of input ends it: nothing is left running when the parent is killed."""
    worker = Worker(SPEC, SOURCE)
    assert worker._process.stdin is not None
    worker._process.stdin.close()
    assert worker._process.wait(20) == 0
    worker.close()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux: cores cannot be pinned here")
def test_an_isolated_worker_stays_on_its_cores() -> None:
    """As the kernel sees it."""
    core = max(os.sched_getaffinity(0))
    with Worker(SPEC, SOURCE, cores=[core]) as pinned:
        assert os.sched_getaffinity(pinned._process.pid) == {core}


class Step:
    """A subject that notes which frames it saw."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def prepare(self, frame: np.ndarray) -> int:
        self.seen.append(int(frame.flat[0]))
        return 0

    def infer(self, prepared: object) -> object:
        return prepared

    def post(self, output: object) -> np.ndarray:
        return np.ones(2) / 2


def test_a_turn_takes_frames_in_turn_and_leaves_out_the_first() -> None:
    """Recorded frames are one fewer than those that ran, at the least."""
    subject = Step()
    frames = [np.full((4, 4, 3), i, np.uint8) for i in range(3)]
    samples = run_turn(subject, frames, settle_s=0.0, seconds=0.001, fps=None, first=2)  # type: ignore[arg-type]
    assert subject.seen[:4] == [2, 0, 1, 2]
    assert len(samples["at_s"]) == len(subject.seen) - 1


class Clock:
    """A clock that sleeping and working move; the work of frame `slow` takes a second."""

    def __init__(self, slow: int) -> None:
        self.now, self.frame, self.slow = 50.0, -1, slow

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds

    def prepare(self, frame: np.ndarray) -> int:
        self.frame += 1
        self.now += 1.0 if self.frame == self.slow else 0.01
        return 0

    def infer(self, prepared: object) -> object:
        return prepared

    def post(self, output: object) -> np.ndarray:
        return np.ones(2) / 2


@pytest.mark.slow
def test_paced_frames_start_when_they_are_due_and_late_ones_are_not_made_up_for() -> None:
    """At 10 a second: every 100 ms; after a frame of a second at once, and then every 100 ms again."""
    clock = Clock(slow=4)
    samples = run_turn(
        clock,  # type: ignore[arg-type]
        [np.zeros((4, 4, 3), np.uint8)],
        settle_s=0.0,
        seconds=1.8,
        fps=10,
        first=0,
        clock=clock,
        sleep=clock.sleep,
    )
    gaps = np.diff(samples["at_s"])
    assert gaps == pytest.approx([0.1, 0.1, 0.1, 1.0, *[0.1] * (len(gaps) - 4)])
    assert len(gaps) > 6


def test_photographs_cover_the_frame() -> None:
    """Neither stretched nor barred: the middle of the scaled image."""
    image = np.zeros((100, 400, 3), np.uint8)
    image[:, 150:250] = 255
    frame = to_camera_size(image, 64, 64)
    assert frame.shape == (64, 64, 3)
    assert frame.min() == 255
    assert to_camera_size(frame, 64, 64) is frame


@pytest.mark.parametrize("text", ["640", "640x", "0x480", "640x99999", "10x10", "a x b"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    """With the range."""
    with pytest.raises(OptionError, match="sides from 32 to 8192"):
        parse_frame_size(text)
    assert parse_frame_size("1280x720") == (1280, 720)
