"""What `tune` takes, on figures that were never measured."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from ecovision_edge.base.installation import extra_fix
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.bundle.manifest import ArtifactEntry, FileEntry
from ecovision_edge.bundle.sizes import SizeEntry
from ecovision_edge.errors import MissingDependencyError, OptionError
from ecovision_edge_bench.measure.agreement import Agreement, Images
from ecovision_edge_bench.measure.ratios import MIN_ROUNDS, Ratio
from ecovision_edge_bench.measure.schedule import Samples
from ecovision_edge_bench.subjects import Spec
from ecovision_edge_bench.tune import plan as plan_module
from ecovision_edge_bench.tune.choice import (
    FINALISTS,
    Candidate,
    agreement_fault,
    choose,
    finalists,
    set_ratio,
    unless_busy,
)
from ecovision_edge_bench.tune.plan import (
    agreement_budget,
    check_max_loss,
    image_parts,
    join_images,
    make_plan,
    most_at_once,
    parse_budget,
    phase_settings,
    usable_thread_counts,
)


def samples(ms: float | Sequence[float], rounds: int = 10) -> Samples:
    """One frame a round; `ms` of each round, or of all."""
    values = list(ms) if isinstance(ms, Sequence) else [ms] * rounds
    n = len(values)
    return Samples([0.0] * n, list(range(n)), [0.0] * n, values, [0.0] * n, measured_s=1.0)


def candidate(name: str, ms: float | None = None, ratio: Ratio | None = None, **changes: object) -> Candidate:
    """A candidate of the final, unless `changes` say otherwise."""
    made = Candidate(Spec("classifier", name, "int8", "b", artifact=name), ratio=ratio, final=True)
    if ms is not None:
        made.samples = samples(ms)
    for key, value in changes.items():
        setattr(made, key, value)
    return made


BASE = "base"
SURE, MAYBE, SLOW = Ratio(0.8, 0.7, 0.9), Ratio(0.9, 0.8, 1.01), Ratio(1.2, 1.1, 1.3)


def test_the_fastest_of_the_sure_ones_is_taken() -> None:
    """By median; not the one that is faster still and not sure."""
    base = candidate(BASE, 10)
    a, b = candidate("a", 8, SURE), candidate("b", 7, Ratio(0.7, 0.6, 0.8))
    c = candidate("c", 6, MAYBE)
    choice = choose([base, a, b, c], base)
    assert choice.candidate is b
    assert choice.decided
    assert "0.700 [0.600, 0.800]" in choice.why


@pytest.mark.parametrize("ratio", [MAYBE, SLOW, Ratio(0.9, 0.8, 1.0), Ratio(0.5, None, None)])
def test_noise_replaces_nothing(ratio: Ratio) -> None:
    """An interval that reaches 1, or none at all."""
    base = candidate(BASE, 10)
    choice = choose([base, candidate("a", 5, ratio)], base)
    assert choice.candidate is base
    assert choice.decided == (ratio.high is not None)


def test_what_is_faulty_is_never_taken() -> None:
    """However fast."""
    base = candidate(BASE, 10)
    choice = choose([base, candidate("a", 1, SURE, fault="golden vectors: off")], base)
    assert choice.candidate is base


def test_a_lone_default_is_taken() -> None:
    """Nothing else is kept: that is an answer. Nothing else was reached in time: that is no answer."""
    base = candidate(BASE, 10)
    assert choose([base], base).decided
    assert choose([base, candidate("a", fault="out")], base).decided
    assert not choose([base, candidate("a", fault="late", out_of_time=True)], base).decided


def test_without_a_base_nothing_is_taken() -> None:
    """None answers as it should; or it could not be measured."""
    assert choose([candidate("a", 1, fault="wrong")], None).candidate is None
    for base in (candidate(BASE), candidate(BASE, 10, fault="its process died")):
        choice = choose([base, candidate("a", 1, SURE)], base)
        assert choice.candidate is None
        assert not choice.decided


def test_what_only_looked_faster_is_not_taken() -> None:
    """Without a final, the fastest of many may be so by chance; then nothing is decided."""
    base = candidate(BASE, 10, final=False)
    choice = choose([base, candidate("a", 5, SURE, final=False)], base)
    assert choice.candidate is base
    assert not choice.decided
    slow = choose([base, candidate("a", 12, SLOW, final=False)], base)
    assert slow.candidate is base
    assert slow.decided


def test_a_busy_device_decides_nothing() -> None:
    """Where the kernel says so; what was not decided stays as it was."""
    base = candidate(BASE, 10)
    choice = choose([base, candidate("a", 5, SURE)], base)
    assert unless_busy(choice, 0.5) == unless_busy(choice, None) == choice
    busy = unless_busy(choice, 0.51)
    assert not busy.decided
    assert busy.candidate is choice.candidate
    assert "a 1t was best, but other programs kept 0.51 cores" in busy.why
    assert busy.fix == "stop them, or give --anyway"
    undecided = choose([base, candidate("a", 5, Ratio(0.5, None, None))], base)
    assert unless_busy(undecided, 2.0) == undecided


def test_finalists_are_the_fastest_few() -> None:
    """Of those that looked faster than the base."""
    base = candidate(BASE, 10)
    others = [candidate(f"c{i}", 5 + i, Ratio(0.5 + 0.1 * i, None, None)) for i in range(7)]
    others[0].fault = "wrong"
    found = finalists([base, *reversed(others)], base)
    assert found == others[1 : 1 + FINALISTS]
    assert finalists([base, candidate("slow", 12, SLOW), candidate("none", 9)], base) == []


def test_a_ratio_is_of_rounds_that_both_have() -> None:
    """The machine slowed down by half in the middle: the ratio did not."""
    one = candidate("a")
    one.samples = samples([4.0] * 10 + [8.0] * 10)
    set_ratio(one, samples([5.0] * 10 + [10.0] * 10), seed=0)
    assert one.ratio is not None
    assert (one.ratio.value, one.ratio.low, one.ratio.high) == pytest.approx((0.8, 0.8, 0.8))
    few = candidate("b")
    few.samples = samples([4.0] * (MIN_ROUNDS - 1))
    set_ratio(few, samples(5.0), seed=0)
    assert few.ratio == Ratio(pytest.approx(0.8), None, None)
    none = candidate("c")
    set_ratio(none, samples(5.0), seed=0)
    assert none.ratio is None


def agreement(agreed: int, judged: int, budget: float = 0.98) -> Agreement:
    return Agreement(judged, judged, agreed, 0.0, 0, 0, budget)


def test_another_artifact_has_to_reach_the_budget() -> None:
    """49 of 50 are 98 %."""
    assert agreement_fault(agreement(49, 50), default=False) is None
    fault = agreement_fault(agreement(48, 50), default=False)
    assert fault == "agreement 48 of 50, expected 98 %"
    assert agreement_fault(agreement(0, 0), default=False) is not None


def test_the_default_is_left_only_for_sure() -> None:
    """One image of twenty is no proof against it; half of them are."""
    assert agreement_fault(agreement(19, 20), default=True) is None
    assert agreement_fault(agreement(10, 20), default=True) is not None
    assert agreement_fault(agreement(0, 0), default=True) is None


def entry(name: str, **changes: object) -> ArtifactEntry:
    precision, _, format = name.partition("-")
    file = FileEntry(f"model.{precision}.{format}", "0" * 64, 1)
    return ArtifactEntry(file, format, precision, 1e-3, **changes)  # type: ignore[arg-type]


def bundle_of(*names: str) -> Bundle:
    """The embedded bundle, with other artifacts in its manifest; there are no files of them."""
    real = Bundle.open(embedded_bundle_path())
    return dataclasses.replace(
        real, manifest=dataclasses.replace(real.manifest, artifacts=tuple(map(entry, names)))
    )


ALL = ("fp32-onnx", "int8-onnx", "fp32-tflite", "int8-tflite")


def installed(monkeypatch: pytest.MonkeyPatch, *formats: str) -> None:
    monkeypatch.setattr(plan_module, "is_installed", lambda format: format in formats)


def test_every_combination_is_planned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleeping threads only where there are several, and an engine that has the choice."""
    installed(monkeypatch, "onnx", "tflite")
    plan = make_plan(bundle_of(*ALL), (1, 2))
    keys = [s.key for s in plan.specs]
    assert len(set(keys)) == len(keys)
    settings = {"fp32-onnx 1t", "fp32-onnx 2t", "fp32-onnx 2t no-spin", "fp32-tflite 1t", "fp32-tflite 2t"}
    expected = settings | {k.replace("fp32", "int8") for k in settings}
    assert {k for k in keys if k != plan.default.key} == expected - {plan.default.key}
    assert plan.skipped == ()


def test_the_default_comes_first_whatever_threads_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ratios are against it."""
    installed(monkeypatch, "onnx", "tflite")
    monkeypatch.setattr(plan_module, "default_threads", lambda: 3)
    plan = make_plan(bundle_of(*ALL), (1,))
    assert plan.specs[0] == plan.default
    assert plan.default.key == "int8-onnx 3t"
    assert usable_thread_counts() == (1, 2, 3)
    assert [s.precision for s in plan.specs] == ["int8"] * 3 + ["fp32"] * 2


def test_smaller_sizes_are_planned_if_they_lose_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cheapest first, after the default; larger ones cost more and are not tried."""
    installed(monkeypatch, "onnx")
    monkeypatch.setattr(
        Bundle, "at_size", lambda self, side: dataclasses.replace(self, path=Path(f"sizes/{side}"))
    )
    flat = bundle_of("fp32-onnx", "int8-onnx")
    sizes = (
        SizeEntry(160, 0.89, 0.7, 0.51, "0" * 64),
        SizeEntry(192, 0.898, -0.1, 0.74, "0" * 64),
        SizeEntry(224, 0.897, 0.0, 1.0),
        SizeEntry(256, 0.9, -0.3, 1.3, "0" * 64),
    )
    bundle = dataclasses.replace(flat, manifest=dataclasses.replace(flat.manifest, sizes=sizes))
    plan = make_plan(bundle, (1,))
    assert plan.lossy == {160: 0.7}
    assert {s.size for s in plan.specs} == {None, 192}
    assert plan.specs[1].key == "int8-onnx 192px 1t"
    wide = make_plan(bundle, (1,), max_loss=1)
    assert [s.size for s in wide.specs if s.precision == "int8"] == [None, 160, 192, None]
    assert (wide.lossy, wide.specs[0]) == ({}, wide.default)
    check_max_loss(None, flat)
    check_max_loss(1.0, bundle)
    for loss, given, words in ((1.0, flat, "several sizes"), (-1.0, bundle, "0 to"), (101.0, bundle, "0 to")):
        with pytest.raises(OptionError, match=f"--max-loss.*{words}"):
            check_max_loss(loss, given)


@pytest.mark.parametrize(
    ("artifact", "source", "format"),
    [
        ("int8-tflite@arm64-fp16", "b", "tflite"),
        ("int8-onnx@arm64", "b.tflite", "onnx"),
        ("", "x/model.int8.TFLITE", "tflite"),
        ("", "model.onnx", "onnx"),
    ],
)
def test_the_format_is_told_by_the_name(artifact: str, source: str, format: str) -> None:
    """Of an artifact for some CPUs too."""
    assert Spec("classifier", "x", "int8", source, artifact=artifact).format == format


def test_an_engine_that_is_missing_is_named_with_its_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its artifacts are left out; without any engine there is nothing to tune."""
    installed(monkeypatch, "onnx")
    plan = make_plan(bundle_of(*ALL), (1,))
    line = extra_fix("litert")
    assert plan.skipped == (("fp32-tflite", line), ("int8-tflite", line))
    assert {s.artifact for s in plan.specs} == {"fp32-onnx", "int8-onnx"}
    installed(monkeypatch, "tflite")
    plan = make_plan(bundle_of(*ALL), (1,))
    assert plan.default.artifact.endswith("-tflite")
    installed(monkeypatch)
    with pytest.raises(
        MissingDependencyError, match=rf"pip install onnxruntime.* or {re.escape(extra_fix('litert'))}"
    ):
        make_plan(bundle_of(*ALL), (1,))


@pytest.mark.parametrize(
    ("parity", "budget"),
    [
        ({"budget": {"agreement": 0.95}}, 0.95),
        ({"budget": {"agreement": 1}}, 1.0),
        ({}, 0.98),
        ({"budget": {}}, 0.98),
        ({"budget": [1]}, 0.98),
        ({"budget": {"agreement": "0.9"}}, 0.98),
        ({"budget": {"agreement": True}}, 0.98),
        ({"budget": {"agreement": 7}}, 0.98),
    ],
)
def test_the_budget_is_the_manifests_own(parity: dict[str, object], budget: float) -> None:
    """Where it records one; else 98 %."""
    assert agreement_budget(entry("int8-onnx", parity=parity)) == budget


@pytest.mark.parametrize("count", [1, 15, 16, 17, 100])
def test_images_are_parted_evenly_and_completely(count: int) -> None:
    """Each part is spread over all of them; together they are all."""
    for images in (
        Images(seeds=tuple(range(count))),
        Images(tuple(map(str, range(count))), tuple(range(count))),
    ):
        parts = image_parts(images)
        assert all(1 <= len(p) <= 16 for p in parts)
        joined = join_images(parts)
        assert sorted(joined.seeds) == sorted(images.seeds)
        pairs = zip(joined.files, joined.labels, strict=True)
        assert sorted(pairs) == sorted(zip(images.files, images.labels, strict=True))


@pytest.mark.parametrize("subjects", [2, 4, 22])
@pytest.mark.parametrize("seconds", [3.0, 12.0, 60.0, 600.0])
def test_a_phase_fits_into_its_seconds(subjects: int, seconds: float) -> None:
    """Warm-up, rounds, and the round that is under way at the end."""
    settings = phase_settings(seconds, subjects, 8, 0)
    if settings is None:
        assert seconds < 1 + 4 * subjects * 0.16
        return
    assert settings.sustained_secs is not None
    a_round = subjects * (settings.turn_secs + settings.settle_secs)
    warm_up = subjects * settings.warmup_secs
    assert warm_up + settings.sustained_secs + a_round <= seconds + 1e-9
    if subjects <= most_at_once(seconds) // 2:
        assert settings.sustained_secs / a_round >= MIN_ROUNDS


def test_a_phase_too_short_is_none() -> None:
    """Better said than measured badly."""
    assert phase_settings(0.5, 2, 8, 0) is None
    assert phase_settings(-3, 2, 8, 0) is None


def test_budgets_are_read() -> None:
    """As durations, from 5 seconds on."""
    assert (parse_budget("60s"), parse_budget("2m"), parse_budget("5")) == (60, 120, 5)
    for text in ("4s", "0", "soon", "25h"):
        with pytest.raises(OptionError, match=r"expected .* found"):
            parse_budget(text)
