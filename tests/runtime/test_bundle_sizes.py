"""Facts about bundles that hold several sizes of the network's input."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ecovision_edge import Bundle, Classifier, verify_bundle
from ecovision_edge.bundle import manifest
from ecovision_edge.bundle.sizes import SizeEntry
from ecovision_edge.bundle.writing import TargetError, write_folder
from ecovision_edge.calibration.rewrite import check_place
from ecovision_edge.cli import main
from ecovision_edge.doctor.bundle import check_profile
from ecovision_edge.errors import (
    ArtifactNotFoundError,
    BundleNotFoundError,
    ContractError,
    EcovisionError,
    IntegrityError,
    SchemaVersionError,
    UnsafePathError,
)
from ecovision_edge.profile import DeviceProfile, look_up_profile, save_profile


def at_side(forge, side, **changes):
    """The tiny network's contract at another size."""
    base = forge.contract(**changes)
    return dataclasses.replace(base, input=dataclasses.replace(base.input, height=side, width=side))


def name_sizes(folder: Path, *others: int) -> Path:
    """Let the manifest name the bundles that lie in `sizes`."""
    opened = Bundle.open(folder)
    sizes = [
        SizeEntry(
            side,
            0.9,
            0.1,
            0.25,
            hashlib.sha256((folder / "sizes" / str(side) / "bundle.json").read_bytes()).hexdigest(),
        )
        for side in others
    ]
    changed = dataclasses.replace(opened.manifest, sizes=(*sizes, SizeEntry(8, 0.901, 0.0, 1.0)))
    (folder / "bundle.json").write_bytes(changed.dumps())
    return folder


@pytest.fixture
def sized(forge, bundle) -> Path:
    """A bundle of 8 pixels, and of 4."""
    forge.bundle(bundle / "sizes" / "4", contract=at_side(forge, 4))
    return name_sizes(bundle, 4)


def test_each_size_is_a_bundle_by_itself(sized):
    """Its own is the bundle; another is opened by the outer one, or by its folder."""
    opened = Bundle.open(sized)
    assert opened.at_size(8) is opened
    inner, alone = opened.at_size(4), Bundle.open(sized / "sizes" / "4")
    assert (inner.path, inner.manifest) == (alone.path, alone.manifest)
    assert inner.identity == opened.identity != alone.identity
    assert Classifier.load(sized / "sizes" / "4").contract.input.shape(1) == (1, 4, 4, 3)
    assert manifest.Manifest.loads(opened.manifest.dumps()) == opened.manifest
    with pytest.raises(ArtifactNotFoundError, match="no size 6 in this bundle: expected 4, 8"):
        opened.at_size(6)


def test_every_size_is_verified_and_shown(sized, capsys):
    """Each with its files and golden vectors; a damaged one fails, and says where."""
    report = verify_bundle(sized)
    assert report.ok
    names = {check.name for check in report.checks}
    assert {"golden int8-onnx", "sizes/4 golden int8-onnx", "sizes/4 manifest"} <= names
    assert main(["inspect", str(sized)]) == 0
    assert "  4\n    size: 4\n    accuracy: 0.9\n" in capsys.readouterr().out
    (sized / "sizes" / "4" / "model.int8.onnx").write_bytes(b"x")
    failed = [check.name for check in verify_bundle(sized).checks if not check.ok]
    assert failed == ["sizes/4 model.int8.onnx"]
    shutil.rmtree(sized / "sizes")
    assert [check.name for check in verify_bundle(sized).checks if not check.ok] == ["sizes/4"]


def test_another_manifest_in_the_place_of_a_size_is_refused(sized):
    """A bundle that verifies by itself is not the one that was exported."""
    path = sized / "sizes" / "4" / "bundle.json"
    data = json.loads(path.read_bytes())
    path.write_text(json.dumps({**data, "name": "another"}))
    with pytest.raises(IntegrityError, match=r"sizes/4/bundle.json is not the file"):
        Bundle.open(sized).at_size(4)


@pytest.mark.parametrize("change", [{"labels": ("a", "b", "c")}, {"temperature": 2.0}])
def test_a_size_with_another_contract_is_refused(forge, bundle, change):
    """What differs is the size, and the resize that follows from it."""
    forge.bundle(bundle / "sizes" / "4", contract=at_side(forge, 4, **change))
    with pytest.raises(ContractError, match="at 4 pixels"):
        Bundle.open(name_sizes(bundle, 4)).at_size(4)


def test_a_size_of_another_size_is_refused(forge, bundle):
    forge.bundle(bundle / "sizes" / "4", contract=at_side(forge, 6))
    with pytest.raises(ContractError, match="at 4 pixels"):
        Bundle.open(name_sizes(bundle, 4)).at_size(4)


def test_a_link_out_of_the_bundle_is_refused(sized, tmp_path):
    (sized / "sizes" / "4").rename(tmp_path / "outside")
    (sized / "sizes" / "4").symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafePathError, match="leaves the bundle"):
        Bundle.open(sized).at_size(4)


def test_a_size_that_is_missing_is_not_found(sized):
    shutil.rmtree(sized / "sizes")
    with pytest.raises(BundleNotFoundError, match=r"sizes/4/bundle.json is missing"):
        Bundle.open(sized).at_size(4)


@pytest.mark.parametrize(
    "sizes",
    [
        (SizeEntry(4, 0.9, 0.0, 1.0, "ab" * 32),),
        (SizeEntry(4, 0.9, 0.0, 1.0),),
        (SizeEntry(8, 0.9, 0.0, 1.0), SizeEntry(8, 0.9, 0.0, 1.0, "ab" * 32)),
        (SizeEntry(8, 0.9, 0.0, 1.0), SizeEntry(4, 0.9, 0.0, 1.0)),
    ],
)
def test_sizes_name_the_bundles_own_and_each_once(pristine, sizes):
    with pytest.raises(ContractError, match="each size once, and of them 8 alone without a sha256"):
        dataclasses.replace(Bundle.open(pristine).manifest, sizes=sizes)


def test_an_older_runtime_refuses_it(sized, monkeypatch):
    """Its sizes are bundles that every runtime reads."""
    monkeypatch.setattr(manifest, "SCHEMA_VERSION", 1)
    with pytest.raises(SchemaVersionError):
        Bundle.open(sized)
    assert Bundle.open(sized / "sizes" / "4").contract.input.height == 4


def profile_of(folder: Path, **changes: object) -> DeviceProfile:
    chosen = {"artifact": "fp32-onnx", "threads": 1, "spinning": True, "size": 4, **changes}
    return DeviceProfile.of(Bundle.open(folder), **chosen)  # type: ignore[arg-type]


def test_the_profile_says_which_size_is_taken(sized, tmp_path, monkeypatch):
    """With its artifact; what is asked for, and `profile=False`, is the bundle's own size."""
    monkeypatch.setenv("ECOVISION_EDGE_PROFILE_DIR", str(tmp_path / "profiles"))
    assert Classifier.load(sized).contract.input.height == 8
    profile = profile_of(sized)
    assert DeviceProfile.loads(profile.dumps(), "x") == profile
    save_profile(profile)
    chosen = Classifier.load(sized)
    assert (chosen.contract.input.height, chosen.artifact) == (4, "fp32-onnx")
    assert chosen.bundle is not None
    assert chosen.bundle.path == sized / "sizes" / "4"
    assert chosen.logits(np.zeros((9, 9, 3), np.uint8)).shape == (3,)
    for asked in ({"artifact": "fp32"}, {"threads": 1}, {"profile": False}):
        assert Classifier.load(sized, **asked).contract.input.height == 8
    assert check_profile(sized).found.startswith("fp32-onnx at 4 pixels, 1 thread, of 2")
    save_profile(profile_of(sized, size=None))
    assert Classifier.load(sized).contract.input.height == 8


@pytest.mark.parametrize("size", [6, 4])
def test_a_profile_of_a_size_that_cannot_be_opened_is_passed_over(sized, tmp_path, monkeypatch, size):
    """With the reason; the bundle's own size is taken."""
    monkeypatch.setenv("ECOVISION_EDGE_PROFILE_DIR", str(tmp_path / "profiles"))
    save_profile(profile_of(sized, size=size))
    shutil.rmtree(sized / "sizes")
    found = look_up_profile(Bundle.open(sized))
    assert found.profile is None
    assert found.ignored is not None
    assert ("no size 6" if size == 6 else "sizes/4/bundle.json is missing") in found.ignored
    assert Classifier.load(sized).contract.input.height == 8


def test_one_size_is_not_calibrated_in_its_place(sized, tmp_path):
    """The outer manifest names it by its hash; elsewhere it is a bundle of its own."""
    inner = Bundle.open(sized / "sizes" / "4")
    with pytest.raises(TargetError, match="one size of bundle, whose manifest names it as it is"):
        check_place(inner, inner.path)
    check_place(inner, tmp_path / "elsewhere")


def test_a_folder_is_written_with_what_is_below_it(tmp_path):
    """Whole or not at all."""
    files = {"bundle.json": b"1", "sizes/4/bundle.json": b"2", "sizes/6/model": b"3"}

    def refuse(folder: Path) -> None:
        raise EcovisionError("no")

    with pytest.raises(EcovisionError):
        write_folder(tmp_path / "b", files, refuse)
    assert list(tmp_path.iterdir()) == []
    write_folder(tmp_path / "b", files, lambda folder: None)
    found = {
        str(p.relative_to(tmp_path / "b")): p.read_bytes() for p in (tmp_path / "b").rglob("*") if p.is_file()
    }
    assert found == files
