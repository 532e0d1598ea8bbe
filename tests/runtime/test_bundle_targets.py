"""Facts about bundles whose int8 is made for several kinds of CPU."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from ecovision_edge import Bundle, Classifier, verify_bundle
from ecovision_edge.backends import BackendOptions
from ecovision_edge.base.device import Cpu
from ecovision_edge.bundle import manifest
from ecovision_edge.bundle.golden import Golden
from ecovision_edge.bundle.manifest import ArtifactEntry, FileEntry, Manifest
from ecovision_edge.bundle.targets import TARGETS, Target, suited
from ecovision_edge.cli import main
from ecovision_edge.errors import ArtifactNotFoundError, ContractError, SchemaVersionError

SHA = "ab" * 32
ARM, VNNI = "int8-onnx@arm64", "int8-onnx@x86-vnni"


def entry(*targets: Target) -> ArtifactEntry:
    return ArtifactEntry(FileEntry(f"{'+'.join(targets)}.onnx", SHA, 1), "onnx", "int8", 0.1, targets=targets)


@pytest.fixture
def two(forge, tmp_path) -> Path:
    """A bundle with one fp32 model, and int8 for Arm and for x86 with VNNI; only fp32 is for all."""
    folder = forge.bundle(tmp_path / "two")
    (folder / "model.int8.arm64.onnx").write_bytes((folder / "model.int8.onnx").read_bytes())
    opened = Bundle.open(folder)
    vectors, (fp32, int8) = opened.golden(), opened.manifest.artifacts
    logits = {fp32.name: vectors.logits[fp32.name], **dict.fromkeys((ARM, VNNI), vectors.logits[int8.name])}
    golden = Golden(vectors.inputs, logits).dumps()
    (folder / "golden.npz").write_bytes(golden)
    other = forge.entry("model.int8.arm64.onnx", (folder / "model.int8.onnx").read_bytes())
    made = (
        fp32,
        dataclasses.replace(int8, targets=("x86-vnni",)),
        dataclasses.replace(int8, file=other, targets=("arm64",)),
    )
    changed = dataclasses.replace(opened.manifest, artifacts=made, golden=forge.entry("golden.npz", golden))
    (folder / "bundle.json").write_bytes(changed.dumps())
    return folder


@pytest.mark.parametrize(
    ("arch", "features", "name"),
    [
        ("aarch64", "asimd", ARM),
        ("aarch64", "asimd asimddp asimdhp", ARM),
        ("x86_64", "avx2 avx_vnni", VNNI),
        ("x86_64", "sse4_2", VNNI),
        ("riscv64", "", VNNI),
    ],
)
def test_the_artifact_is_that_of_this_cpu(two, monkeypatch, arch, features, name):
    """By `auto`, by precision, and by the name without a target; the whole name is that one anywhere."""
    cpu = Cpu(arch, "?", frozenset(features.split()))
    monkeypatch.setattr("ecovision_edge.base.device.read_cpu", lambda: cpu)
    bundle = Bundle.open(two)
    assert {bundle.artifact(asked).name for asked in ("auto", "int8", "int8-onnx")} == {name}
    assert {bundle.artifact(asked).name for asked in (ARM, VNNI)} == {ARM, VNNI}
    assert Classifier.load(two).artifact == name
    assert Classifier.load(two, artifact=ARM).artifact == ARM
    with pytest.raises(ArtifactNotFoundError, match=re.escape(ARM)):
        bundle.artifact("int8-onnx@arm64-fp16")


def test_what_was_made_for_fp16_is_taken_for_fp16_alone():
    """Without fp16 it is slow; and no CPU but one that was asked for fp16 is of that kind."""
    entries = [entry("arm64-fp16"), entry("arm64"), entry("x86", "x86-vnni")]
    assert suited(entries, "arm64-dotprod").targets == ("arm64",)
    assert suited(entries, "arm64-fp16").targets == ("arm64-fp16",)
    assert suited(entries, "x86-vnni").targets == ("x86", "x86-vnni")
    for target in TARGETS:  # whatever there is, there is one for each
        assert suited([entry(target)], "arm64").targets == (target,)


def test_fp16_asks_for_its_own_artifact(two, monkeypatch):
    """A classifier in fp16 takes the artifact that was made for it."""
    asked = []
    monkeypatch.setattr(Bundle, "artifact", lambda self, name, target=None: asked.append(target))
    for half in (False, True):
        with pytest.raises(AttributeError):
            Classifier.from_bundle(Bundle.open(two), "auto", BackendOptions(fp16=half))
    assert asked == [None, "arm64-fp16"]


def test_every_artifact_is_verified_and_shown(two, capsys):
    """On this CPU all of them run."""
    report = verify_bundle(two)
    assert report.ok
    assert {c.name for c in report.checks} >= {f"golden {name}" for name in ("fp32-onnx", ARM, VNNI)}
    assert main(["inspect", str(two)]) == 0
    shown = capsys.readouterr().out
    assert "targets: x86-vnni" in shown
    assert re.search(r"^default_here: int8-onnx@", shown, re.MULTILINE)


def test_an_older_runtime_refuses_it_and_reads_the_others(two, pristine, monkeypatch):
    """Typed, with what to do; what needs nothing new is written as the older version."""
    written = [json.loads((folder / "bundle.json").read_bytes()) for folder in (two, pristine)]
    assert [data["schema_version"] for data in written] == [2, 1]
    monkeypatch.setattr(manifest, "SCHEMA_VERSION", 1)
    assert Bundle.open(pristine).manifest.artifacts
    with pytest.raises(SchemaVersionError, match="expected 1 or older, found 2"):
        Bundle.open(two)


@pytest.mark.parametrize(
    "targets",
    [((), ("arm64",)), (("arm64",), ("arm64", "x86")), (("x86", "arm64"), ("x86",))],
)
def test_artifacts_alike_are_for_different_cpus(pristine, targets):
    """Else nobody could tell which to take."""
    whole = Bundle.open(pristine).manifest
    files = [FileEntry(f"{i}.onnx", SHA, 1) for i in range(2)]
    alike = tuple(
        ArtifactEntry(file, "onnx", "int8", 0.1, targets=t) for file, t in zip(files, targets, strict=True)
    )
    with pytest.raises(ContractError, match=r"for each int8-onnx its targets|each name"):
        Manifest("x", whole.contract, alike, whole.golden)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(schema_version=1),
        lambda d: d["artifacts"][1].update(targets=["z80"]),
        lambda d: d["artifacts"][1].update(targets=[3]),
        lambda d: d["artifacts"][1].update(targets="arm64"),
        lambda d: d["artifacts"][1].update(name="int8-onnx"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(forge, two, change):
    """A version too old to say it, unknown targets, and a name without them."""
    forge.edit(two, change)
    with pytest.raises(ContractError):
        Bundle.open(two)
