"""How `tune` spends its budget: with workers that only a clock of our own moves."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecovision_edge.backends.survival import FP16, Finding, cpu_key, version_text
from ecovision_edge.base.device import Cpu
from ecovision_edge.base.installation import extra_fix
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.bundle.manifest import ArtifactEntry, FileEntry
from ecovision_edge.bundle.sizes import SizeEntry
from ecovision_edge.errors import OptionError
from ecovision_edge.photographs.images import read_image
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_bench.measure.agreement import Images
from ecovision_edge_bench.measure.frames import FrameSource
from ecovision_edge_bench.measure.processes import WorkerError
from ecovision_edge_bench.subjects import Spec
from ecovision_edge_bench.tune import plan as plan_module
from ecovision_edge_bench.tune.drawn import as_files
from ecovision_edge_bench.tune.plan import make_plan
from ecovision_edge_bench.tune.result import Request, Tuned
from ecovision_edge_bench.tune.run import run_tune
from ecovision_edge_bench.tune.text import align, headline, minds, table_rows, verdict_lines

ALL = ("int8-onnx", "fp32-onnx", "int8-tflite", "fp32-tflite")
CLASSES = 10
MIB = 2**20


class Device:
    """A made-up device: what each configuration takes, and what it answers.

    Args:
        ms: Milliseconds of a frame, by key.
        start_s: Seconds of a start.
        image_s: Seconds of an answer.
        wrong: Images of 16 that an artifact (`int8-tflite`, `int8-tflite fp16`) answers otherwise.
        broken: By key or artifact: why its start fails.
        not_golden: Artifacts whose golden vectors fail.
        dies_at: By key: in which turn its process dies.
        free: Bytes of memory; a worker takes 100 MiB.
    """

    def __init__(
        self,
        ms: Callable[[Spec], float] = lambda spec: 10.0,
        *,
        start_s: float = 0.2,
        image_s: float = 0.01,
        wrong: Mapping[str, int] | None = None,
        broken: Mapping[str, str] | None = None,
        not_golden: tuple[str, ...] = (),
        dies_at: Mapping[str, int] | None = None,
        free: int | None = 64 * 100 * MIB,
    ) -> None:
        self.now = 1000.0
        self.lock = threading.Lock()
        self.ms, self.start_s, self.image_s = ms, start_s, image_s
        self.wrong, self.broken, self.not_golden = wrong or {}, broken or {}, not_golden
        self.dies_at, self.free = dies_at or {}, free
        self.open: set[str] = set()
        self.most_open = 0
        self.starts: list[str] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.now += seconds

    def start(self, spec: Spec, seconds: float) -> FakeWorker:
        assert seconds > 0
        with self.lock:
            self.starts.append(spec.key)
        self.sleep(self.start_s)
        why = self.broken.get(spec.key) or self.broken.get(spec.artifact)
        if why:
            raise WorkerError(spec.key, found=why)
        with self.lock:
            assert spec.key not in self.open
            self.open.add(spec.key)
            self.most_open = max(self.most_open, len(self.open))
        return FakeWorker(self, spec)


class FakeWorker:
    def __init__(self, device: Device, spec: Spec) -> None:
        self.device, self.spec = device, spec
        self.ready: dict[str, Any] = {"peak_bytes": 100 * MIB}
        self.cpu_s = 0.0
        self.turns = 0

    def check_golden(self) -> tuple[bool, str]:
        return self.spec.artifact not in self.device.not_golden, "4 vectors"

    def classify(self, *, files: tuple[str, ...] = (), seeds: tuple[int, ...] = ()) -> list[list[float]]:
        self.device.sleep(self.device.image_s * len(files or seeds))
        rows = np.full((len(files or seeds), CLASSES), 0.05)
        for i, seed in enumerate(seeds):
            size = "" if self.spec.size is None else f" {self.spec.size}px"
            other = i < self.device.wrong.get(self.spec.artifact + size + " fp16" * self.spec.fp16, 0)
            rows[i, (seed + other) % CLASSES] = 0.55
        return rows.tolist()  # type: ignore[no-any-return]

    def turn(
        self, *, settle_s: float, seconds: float, fps: float | None, first: int
    ) -> dict[str, list[float]]:
        self.turns += 1
        if self.turns == self.device.dies_at.get(self.spec.key):
            raise WorkerError(self.spec.key, found="killed by signal 9")
        ms = self.device.ms(self.spec)
        n = max(1, round(seconds * 1e3 / ms))
        self.device.sleep(max(settle_s, ms / 1e3) + n * ms / 1e3)
        at = [self.device.now - (n - i) * ms / 1e3 for i in range(n)]
        return {"at_s": at, "prepare_ms": [0.0] * n, "infer_ms": [ms] * n, "post_ms": [0.0] * n}

    def close(self) -> None:
        self.device.open.discard(self.spec.key)


SIZES = {
    128: SizeEntry(128, 0.863, 3.4, 0.33, "0" * 64),
    160: SizeEntry(160, 0.89, 0.7, 0.51, "0" * 64),
    192: SizeEntry(192, 0.898, -0.1, 0.74, "0" * 64),
    224: SizeEntry(224, 0.897, 0.0, 1.0),
}


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """And both engines."""
    monkeypatch.setattr(plan_module, "default_threads", lambda: 4)
    monkeypatch.setattr(plan_module, "is_installed", lambda format: True)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)  # so many are started at a time


def request_of(
    *names: str,
    budget: float = 60.0,
    threads: tuple[int, ...] = (1, 2, 3, 4),
    findings: tuple[Finding, ...] = (),
    sides: tuple[int, ...] = (),
) -> Request:
    real = Bundle.open(embedded_bundle_path())
    entries = []
    for name in names or ALL:
        precision, _, format = name.partition("-")
        file = FileEntry(f"model.{precision}.{format}", "0" * 64, 1)
        entries.append(ArtifactEntry(file, format, precision, 1e-3))  # type: ignore[arg-type]
    sizes = tuple(SIZES[side] for side in sides)
    manifest = dataclasses.replace(real.manifest, artifacts=tuple(entries), sizes=sizes)
    bundle = dataclasses.replace(real, manifest=manifest)
    images = Images(seeds=tuple(range(64)))
    return Request(bundle, make_plan(bundle, threads, findings), images, FrameSource(640, 480), budget)


def run(device: Device, request: Request) -> Tuned:
    """A run, and what every run has to keep to."""
    tuned = run_tune(request, start=device.start, clock=device.clock, available=lambda: device.free)
    assert device.open == set()
    assert [c.spec for c in tuned.candidates] == [*request.plan.specs]
    for c in tuned.candidates:
        assert c.kept or c.fault is not None, c.key
    chosen = tuned.choice.candidate
    assert chosen is None or chosen.kept
    assert len({len(row) for row in table_rows(tuned)}) == 1
    lines = [headline(request, tuned), *align(table_rows(tuned)), *verdict_lines(tuned, None, dry=True)]
    assert all("\n" not in line for line in [*lines, *minds(request, tuned)])
    return tuned


def faults(tuned: Tuned) -> dict[str, str]:
    return {c.key: c.fault for c in tuned.candidates if c.fault is not None}


def test_the_fastest_of_all_is_found_and_confirmed() -> None:
    """Of 22 configurations of a device with four cores, all measured, in the budget."""
    fast = {"int8-tflite 3t": 4.0, "int8-onnx 2t": 5.0, "fp32-tflite 1t": 6.0, "fp32-onnx 1t": 7.0}
    device = Device(lambda spec: fast.get(spec.key, 10.0))
    request = request_of()
    tuned = run(device, request)
    assert len(tuned.candidates) == 22
    assert faults(tuned) == {}
    assert tuned.choice.decided
    assert tuned.choice.candidate is not None
    assert tuned.choice.candidate.key == "int8-tflite 3t"
    best = {"int8-tflite 3t", "int8-onnx 2t", "fp32-tflite 1t"}
    assert {c.key for c in tuned.candidates if c.final} == best
    assert tuned.reference == "fp32-onnx"
    assert tuned.images == 64
    assert tuned.seconds <= request.budget_s


def test_a_smaller_size_is_chosen_by_its_time_and_its_own_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers are not those of the bundle's own size, but int8 agrees with fp32 of that size."""
    monkeypatch.setattr(
        Bundle, "at_size", lambda self, side: dataclasses.replace(self, path=Path(f"sizes/{side}"))
    )
    request = request_of("fp32-onnx", "int8-onnx", threads=(1, 4), sides=(128, 160, 192, 224))
    assert request.plan.lossy == {160: 0.7, 128: 3.4}

    def ms(spec: Spec) -> float:
        return (8.0 if spec.precision == "int8" else 12.0) * (0.7 if spec.size == 192 else 1)

    differs = dict.fromkeys(("fp32-onnx 192px", "int8-onnx 192px"), 30)
    tuned = run(Device(ms, wrong=differs), request)
    assert tuned.choice.candidate is not None
    assert tuned.choice.candidate.key.startswith("int8-onnx 192px ")
    assert tuned.choice.candidate.spec.source == "sizes/192"
    assert tuned.base is not None
    assert tuned.base.spec.size is None
    assert faults(tuned) == {}
    assert any("size 160 is not tried: it loses 0.7 points" in line for line in minds(request, tuned))
    out = run(Device(ms, wrong={"int8-onnx 192px": 30}), request)
    assert out.choice.candidate is not None
    assert out.choice.candidate.spec.precision == "fp32" or out.choice.candidate.spec.size is None
    assert faults(out)
    assert all(key.startswith("int8-onnx 192px ") for key in faults(out))


def test_where_nothing_is_faster_the_default_stays() -> None:
    """That is a decision too, and it takes no final."""
    tuned = run(Device(lambda spec: 10.0 if spec.key == "int8-onnx 4t" else 11.0), request_of())
    assert tuned.choice.decided
    assert tuned.choice.candidate is tuned.base
    assert tuned.base is not None
    assert tuned.base.key == "int8-onnx 4t"
    assert not any(c.final for c in tuned.candidates)


def test_an_artifact_that_answers_otherwise_is_out_with_all_its_settings() -> None:
    """8 images of 64, though it is the fastest; it is not even measured."""
    device = Device(lambda spec: 1.0 if spec.artifact == "int8-tflite" else 10.0, wrong={"int8-tflite": 2})
    tuned = run(device, request_of())
    out = {c.key: c for c in tuned.candidates if c.spec.artifact == "int8-tflite"}
    assert {c.fault for c in out.values()} == {"agreement 56 of 64, expected 98 %"}
    assert len(out) == 4
    assert tuned.choice.candidate is tuned.base


def test_a_default_that_answers_otherwise_is_left() -> None:
    """Ratios are then against the next; the default of `Classifier.load` is named as out."""
    device = Device(wrong={"int8-onnx": 8})
    tuned = run(device, request_of())
    assert "int8-onnx 4t" in faults(tuned)
    assert tuned.base is not None
    assert tuned.base.spec.artifact == "int8-tflite"
    assert tuned.choice.candidate is not None


def test_golden_vectors_that_fail_put_an_artifact_out() -> None:
    """fp32 then is no reference either."""
    tuned = run(Device(not_golden=("fp32-onnx",)), request_of())
    assert faults(tuned)["fp32-onnx 1t"] == "golden vectors: 4 vectors"
    assert tuned.reference == "fp32-tflite"
    nothing = run(Device(not_golden=ALL), request_of())
    assert nothing.choice.candidate is None
    assert nothing.reference is None
    assert verdict_lines(nothing, None, dry=False) == [
        "nothing chosen: no configuration answers as it should"
    ]


def test_an_engine_that_breaks_is_out_and_the_others_go_on() -> None:
    """At its start, or in the middle of a turn."""
    device = Device(broken={"int8-tflite": "illegal instruction"}, dies_at={"int8-onnx 1t": 3})
    tuned = run(device, request_of())
    assert "illegal instruction" in faults(tuned)["int8-tflite 2t"]
    assert "killed by signal 9" in faults(tuned)["int8-onnx 1t"]
    assert tuned.choice.decided


def test_a_base_that_dies_leaves_nothing_to_compare_with() -> None:
    """No choice, and it says why."""
    tuned = run(Device(dies_at={"int8-onnx 4t": 3}), request_of())
    assert tuned.choice.candidate is None
    assert "killed by signal 9" in tuned.choice.why


@pytest.mark.parametrize("start_s", [0.1, 1.0, 3.0, 8.0, 20.0])
@pytest.mark.parametrize("budget", [5.0, 20.0, 60.0])
@pytest.mark.parametrize("ms", [2.0, 60.0])
def test_the_budget_is_kept_and_what_was_not_reached_is_named(
    start_s: float, budget: float, ms: float
) -> None:
    """One start may outlast it, where a start takes longer than the budget: a real worker's is then ended."""
    device = Device(lambda spec: ms * (0.5 if spec.key == "int8-onnx 3t" else 1), start_s=start_s)
    request = request_of(budget=budget)
    tuned = run(device, request)
    # Fake starts take their time one after the other, real ones side by side; so a group may be over it.
    assert tuned.seconds <= budget + 4 * start_s + 22 * 2 * ms / 1e3
    late = [c.key for c in tuned.candidates if c.out_of_time]
    if late:
        assert all(key in "\n".join(minds(request, tuned)) for key in late)
        assert f"--budget {budget:g}s" in "\n".join(minds(request, tuned))
    if not tuned.choice.decided:
        assert late or not any(c.final for c in tuned.candidates)


def test_a_budget_for_a_few_measures_the_likely_ones() -> None:
    """int8 before fp32, spinning before sleeping; and says that nothing is known of the rest."""
    request = request_of(budget=20.0)
    tuned = run(Device(start_s=0.7), request)
    measured = [c for c in tuned.candidates if c.kept]
    late = [c for c in tuned.candidates if c.out_of_time]
    assert measured
    assert late
    assert all(c.spec.precision == "int8" for c in measured)
    assert tuned.seconds <= 20.0 + 4 * 0.7


def test_starts_slower_than_thought_leave_time_for_a_few() -> None:
    """The time for all of them is over before any took a turn: a few are measured all the same."""
    heard: list[str] = []
    device, request = Device(start_s=3.0), request_of(budget=40.0)
    tuned = run_tune(
        request, heard.append, start=device.start, clock=device.clock, available=lambda: device.free
    )
    assert [line.split()[0] for line in heard[-2:]] == ["measure", "measure"]
    assert heard[-2].startswith("measure 22 configurations")
    assert tuned.base is not None
    assert tuned.base.kept
    assert [c.final for c in tuned.candidates if c.kept and c is not tuned.base] == [True] * 3
    assert tuned.choice.decided


def test_what_was_spent_before_is_of_the_budget() -> None:
    """Opening the bundle and drawing frames takes seconds on a small device."""
    request = dataclasses.replace(request_of(), spent_s=30.0)
    tuned = run(Device(), request)
    assert 30 < tuned.seconds <= 60
    assert run(Device(), dataclasses.replace(request, spent_s=59.0)).choice.candidate is None


def test_drawn_files_are_the_drawn_frames(tmp_path: Path) -> None:
    """To the last bit; photographs are left as they are."""
    drawn = as_files(Images(seeds=(3, 5)), tmp_path)
    for seed, file in zip((3, 5), drawn.files, strict=True):
        assert (read_image(file) == draw_frame(seed)).all()
    assert as_files(drawn, tmp_path) is drawn
    assert as_files(Images(seeds=(3,)), None) == Images(seeds=(3,))
    with pytest.raises(OptionError, match="space in TMPDIR"):
        as_files(Images(seeds=(3,)), tmp_path / "gone")


def test_slow_answers_are_cut_to_fewer_images() -> None:
    """Each artifact answers the same ones; one group at the least."""
    tuned = run(Device(image_s=0.2), request_of())
    assert tuned.images == 32
    assert {c.agreement.images for c in tuned.candidates if c.agreement} == {32}


def test_a_small_memory_is_kept_to() -> None:
    """300 MiB hold two more workers of 100 MiB beside the first; and the fastest is found all the same."""
    device = Device(lambda spec: 5.0 if spec.key == "fp32-tflite 2t" else 10.0, free=300 * MIB)
    tuned = run(device, request_of(budget=240.0))
    assert device.most_open <= 3
    assert tuned.choice.candidate is not None
    assert tuned.choice.candidate.key == "fp32-tflite 2t"


def test_a_lone_configuration_is_over_soon() -> None:
    """There is nobody to compare it with."""
    tuned = run(Device(), request_of("int8-tflite", threads=(4,)))
    assert tuned.choice.decided
    assert tuned.choice.candidate is tuned.base
    assert tuned.seconds < 10


def test_an_interrupt_ends_the_workers_and_chooses_nothing() -> None:
    """Ctrl-C during a turn."""
    device = Device()

    def ms(spec: Spec) -> float:
        raise KeyboardInterrupt

    device.ms = ms
    with pytest.raises(KeyboardInterrupt):
        run_tune(request_of(), start=device.start, clock=device.clock, available=lambda: None)
    assert device.open == set()


def test_the_words_say_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is not installed with its pip line; synthetic frames are weak evidence."""
    monkeypatch.setattr(plan_module, "is_installed", lambda format: format == "onnx")
    request = request_of()
    tuned = run(Device(), request)
    text = "\n".join(minds(request, tuned))
    assert f"int8-tflite is left out, its engine cannot run here; {extra_fix('litert')}" in text
    assert "weak evidence" in text
    assert {c.spec.artifact for c in tuned.candidates} == {"int8-onnx", "fp32-onnx"}


PI4 = Cpu("aarch64", "a Pi 4", frozenset({"asimd"}))
PI5 = Cpu("aarch64", "a Pi 5", frozenset({"asimd", "asimddp", "asimdhp"}))


def tried(cpu: Cpu, how: str | None = None) -> Finding:
    """What a probe of fp16 found there."""
    return Finding(FP16.name, version_text("tflite"), cpu_key(cpu), how)


def half_first(spec: Spec) -> float:
    return 10.0 if spec.format == "onnx" else 4.0 if spec.fp16 else 7.0


def test_fp16_is_measured_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a configuration like any other, of TFLite artifacts alone; here it is the fastest."""
    monkeypatch.setattr(plan_module, "read_cpu", lambda: PI5)
    tuned = run(Device(half_first), request_of(threads=(1,), findings=(tried(PI5),)))
    half = {c.key for c in tuned.candidates if c.spec.fp16}
    assert half == {"int8-tflite fp16 1t", "fp32-tflite fp16 1t"}
    assert tuned.choice.candidate is not None
    assert tuned.choice.candidate.spec.fp16


def test_fp16_that_answers_otherwise_is_out_and_its_artifact_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate is the same for every configuration; answers in fp16 are judged apart."""
    monkeypatch.setattr(plan_module, "read_cpu", lambda: PI5)
    device = Device(half_first, wrong={"fp32-tflite fp16": 8, "int8-tflite fp16": 8})
    tuned = run(device, request_of(threads=(1,), findings=(tried(PI5),)))
    assert set(faults(tuned)) == {"int8-tflite fp16 1t", "fp32-tflite fp16 1t"}
    assert all("agreement" in fault for fault in faults(tuned).values())
    assert tuned.choice.candidate is not None
    assert tuned.choice.candidate.spec.artifact.endswith("tflite")


@pytest.mark.parametrize(
    ("cpu", "findings", "words"),
    [
        (PI4, (tried(PI4),), "fp16 was not tried: a Pi 4 without asimdhp"),
        (PI5, (tried(PI5, "SIGILL"),), "fp16 was not tried: it ended a process of its own by SIGILL"),
        (PI5, (), "fp16 was not tried: it could not be tried in a process of its own"),
    ],
    ids=["cpu", "died", "unknown"],
)
def test_why_fp16_was_not_tried_is_told(
    monkeypatch: pytest.MonkeyPatch, cpu: Cpu, findings: tuple[Finding, ...], words: str
) -> None:
    """In one line; without a TFLite artifact there is nothing to tell."""
    monkeypatch.setattr(plan_module, "read_cpu", lambda: cpu)
    request = request_of(threads=(1,), findings=findings)
    tuned = run(Device(), request)
    assert not any(c.spec.fp16 for c in tuned.candidates)
    assert words in minds(request, tuned)
    assert request_of("int8-onnx", findings=findings).plan.fp16 is None


def test_throttling_is_told() -> None:
    """The profile may not be what a cool device would get."""
    request = request_of("int8-onnx", threads=(1,))
    tuned = run(Device(), request)
    from ecovision_edge.base.device import Throttling

    tuned.states[-1] = dataclasses.replace(tuned.states[-1], throttling=Throttling("x", now=("throttled",)))
    assert "in doubt: the processor reports: throttled" in "\n".join(minds(request, tuned))
