"""Facts about writing a calibration into a bundle, and about `ecovision-edge calibrate`."""

import dataclasses
import json
import re
import shutil

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from ecovision_edge.backends import BackendOptions
from ecovision_edge.backends.engines import open_model
from ecovision_edge.bundle.contract import METADATA_KEY
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.bundle.manifest import Manifest
from ecovision_edge.bundle.views import PLAIN, UPRIGHT, RegionView, ViewPlan
from ecovision_edge.calibration import Showing, calibrate, calibrated_bundle, rewrite, write_calibrated
from ecovision_edge.calibration.photographs import classify_photographs, in_view
from ecovision_edge.classifier import Classifier
from ecovision_edge.cli import app
from ecovision_edge.errors import (
    BundleWriteError,
    ContractError,
    EcovisionError,
    MissingContractError,
    ModelError,
)
from ecovision_edge.modelfile.rewrite import with_contract
from ecovision_edge.modelfile.tflite import read_metadata
from ecovision_edge.verify import Check, VerifyReport, verify_bundle

EASY = ("--max-error", "0.2", "--confidence", "0.8")
FITTED = {
    **{"temperature": 1.25, "thresholds": (0.123456789, 0.5, 0.987654321)},
    "views": ViewPlan((PLAIN, RegionView(mirrored=True)), (1.0, 0.5), (0.1, 0.2, 0.3)),
}


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run the command line; gives exit status, standard output and standard error."""
    command = app.Command("ecovision_edge.cli.calibrate", "calibrate", "Fit to photographs.")
    monkeypatch.setitem(app.COMMANDS, "calibrate", command)

    def run(*arguments):
        status = app.main([str(a) for a in arguments])
        return (status, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """20 small images a class, which the tiny network mostly gets right, in noise."""
    root, rng = tmp_path_factory.mktemp("photos") / "photos", np.random.default_rng(2)
    for channel, label in enumerate(("blue", "green", "red")):
        (root / label).mkdir(parents=True)
        for i in range(20):
            mean = rng.uniform(90, 130, 3)
            mean[channel] += rng.uniform(-10, 60)
            frame = np.full((8, 8, 3), mean).clip(0, 255).astype(np.uint8)
            assert cv2.imwrite(str(root / label / f"{i:02}.png"), frame)
    return root


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """Six images of no class."""
    root = tmp_path_factory.mktemp("grey")
    for i in range(6):
        cv2.imwrite(str(root / f"{i}.png"), np.full((8, 8, 3), 60 + 20 * i, np.uint8))
    return root


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def calibration():
    """Of made-up logits."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(300, 3)) * 4
    truth = np.where(rng.random(300) < 0.9, logits.argmax(1), 0)
    return calibrate(("blue", "green", "red"), logits, truth)


def with_temperature(path, temperature, out):
    """A copy of the reference, not calibrated or otherwise; what was fitted to it is no part of the fact."""
    opened = Bundle.open(path)
    logits = np.random.default_rng(0).normal(size=(300, len(opened.contract.labels))) * 4
    made_up = calibrate(opened.contract.labels, logits, logits.argmax(1))
    fitted = dataclasses.replace(made_up, temperature=temperature)
    write_calibrated(out, opened, calibrated_bundle(opened, fitted))
    return out


@pytest.mark.parametrize(
    ("showing", "expected"),
    [
        (Showing(), [cv2.IMREAD_REDUCED_COLOR_8]),
        (Showing((PLAIN, RegionView(scale=0.5))), [cv2.IMREAD_REDUCED_COLOR_4]),
        (Showing(strip_bars=True), [cv2.IMREAD_REDUCED_COLOR_8, cv2.IMREAD_COLOR]),
    ],
)
def test_a_photograph_is_decoded_as_small_as_its_views_allow(
    pristine, tmp_path, monkeypatch, showing, expected
):
    """A closer one needs more; where bars are taken off little may be left. Or whole, if it is asked for."""
    classifier = Classifier.load(pristine, threads=1)
    side = 10 * classifier.contract.input.height
    boxed = np.full((side, side, 3), 114, np.uint8)
    boxed[side // 4 : -side // 4] = 20
    cv2.imwrite(str(tmp_path / "x.jpg"), boxed)
    decoded, decode = [], cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: decoded.append(flags) or decode(data, flags))
    classify_photographs(classifier, [tmp_path / "x.jpg"], showing)
    assert decoded == expected
    decoded.clear()
    classify_photographs(classifier, [tmp_path / "x.jpg"], showing, whole=True)
    assert decoded == [cv2.IMREAD_COLOR]


def test_an_onnx_model_takes_another_contract_and_is_else_the_same(forge):
    """As the onnx package sees it; other metadata and their order too."""
    contract = forge.contract()
    metadata = {"a": "1", METADATA_KEY: contract.dumps(), "z": "é" * 200}
    model = forge.model(contract, metadata=metadata)
    new = dataclasses.replace(contract, **FITTED)
    found = onnx.load_from_string(with_contract(model, "onnx", new))
    onnx.checker.check_model(found)
    assert [p.key for p in found.metadata_props] == list(metadata)
    assert {p.key: p.value for p in found.metadata_props} == {**metadata, METADATA_KEY: new.dumps()}
    before = onnx.load_from_string(model)
    helper.set_model_props(found, metadata)
    assert found == before


def test_the_bytes_come_back_when_the_contract_does(forge):
    """There and back again is the same file, of ONNX to the byte."""
    contract = forge.contract()
    model = forge.model(contract)
    there = with_contract(model, "onnx", dataclasses.replace(contract, **FITTED))
    assert there != model
    assert with_contract(there, "onnx", contract) == model == with_contract(model, "onnx", contract)


def test_a_contract_that_stands_twice_is_then_there_once(forge):
    """protobuf lets a key stand twice; engines then differ in which they read."""
    contract = forge.contract()
    proto = forge.proto(contract)
    proto.metadata_props.add(key=METADATA_KEY, value="old")
    found = onnx.load_from_string(with_contract(proto.SerializeToString(), "onnx", contract))
    assert [(p.key, p.value) for p in found.metadata_props] == [(METADATA_KEY, contract.dumps())]


@pytest.mark.parametrize("longer", [True, False])
def test_a_tflite_model_takes_another_contract(forge, longer):
    """At the end of the file where it is longer, else in its place; what it computes is the same."""
    short, long = forge.contract(), forge.contract(**FITTED)
    old, new = (short, long) if longer else (long, short)
    model = forge.tflite(old)
    changed = with_contract(model, "tflite", new)
    assert (len(changed) > len(model)) == longer
    assert read_metadata(changed) == {METADATA_KEY: new.dumps().encode()}
    inputs = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), np.uint8)
    before, after = (open_model(m, "tflite", BackendOptions(1)) for m in (model, changed))
    assert after.contract == new
    assert np.array_equal(before.run(inputs), after.run(inputs))


def test_a_tflite_model_with_its_buffers_behind_takes_one_too(forge):
    """As the exporter writes them: offset and size instead of a vector."""
    flatbuffer = pytest.importorskip(
        "ecovision_edge_export.tflite.flatbuffer", reason="needs the whole checkout"
    )
    old, new = forge.contract(), forge.contract(**FITTED)
    model = flatbuffer.write_model(forge.tflite_object(old))
    assert read_metadata(model)[METADATA_KEY] == old.dumps().encode()
    for contract in (new, old, new):
        model = with_contract(model, "tflite", contract)
        assert open_model(model, "tflite", BackendOptions(1)).contract == contract


def test_a_model_without_a_contract_takes_none(forge):
    """It is no model of ours."""
    with pytest.raises(MissingContractError):
        with_contract(forge.model(metadata={"a": "b"}), "onnx", forge.contract())
    with pytest.raises(MissingContractError):
        with_contract(forge.tflite(metadata={"a": "b"}), "tflite", forge.contract())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), format=st.sampled_from(["onnx", "tflite"]))
def test_damaged_models_are_rewritten_or_refused(forge, data, format):
    """Nothing but our own errors."""
    model = bytearray(MODELS.setdefault(format, getattr(forge, "model" if format == "onnx" else "tflite")()))
    for _ in range(data.draw(st.integers(0, 4))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(model)))
    damaged = bytes(model[:cut] if data.draw(st.booleans()) else model)
    try:
        assert with_contract(damaged, format, forge.contract(**FITTED))
    except (ModelError, ContractError):
        return


MODELS = {}


def test_a_calibrated_bundle_verifies_and_says_what_was_fitted(forge, both, tmp_path):
    """All four models carry the new contract; golden vectors are the same bits; provenance tells."""
    opened, result = Bundle.open(both), calibration()
    ranges = {"evidence": "photographs", "images": 512}
    manifest = dataclasses.replace(
        opened.manifest, provenance={**opened.manifest.provenance, "calibration": ranges}
    )
    opened, out = dataclasses.replace(opened, manifest=manifest), tmp_path / "out"
    write_calibrated(out, opened, calibrated_bundle(opened, result, {"data": "d"}))
    new = Bundle.open(out)
    assert verify_bundle(out).ok
    assert (new.contract.temperature, new.contract.thresholds) == (result.temperature, result.thresholds)
    assert dataclasses.replace(new.contract, temperature=1.0, thresholds=None) == opened.contract
    assert (out / "golden.npz").read_bytes() == (both / "golden.npz").read_bytes()
    assert new.manifest.provenance == {**manifest.provenance, "fitted": {"data": "d"}}
    assert new.manifest.provenance["calibration"] == ranges  # of int8's ranges: not overwritten
    assert new.manifest.version is None  # the old one had none
    for entry in new.manifest.artifacts:
        old = opened.artifact(entry.name)
        assert Classifier.from_bundle(new, entry.name).contract == new.contract
        assert dataclasses.replace(entry, file=old.file) == old


def test_a_calibrated_bundle_has_a_version_of_its_own(both):
    """The old one's with another ending, the same each time; or the one that was given."""
    opened = Bundle.open(both)
    opened = dataclasses.replace(
        opened, manifest=dataclasses.replace(opened.manifest, version="2.1+00000000")
    )
    made = [
        calibrated_bundle(opened, calibration(), {"data": "d"}, v)["bundle.json"] for v in (None, None, "3")
    ]
    versions = [Manifest.loads(data).version for data in made]
    assert re.fullmatch(r"2\.1\+[0-9a-f]{8}", versions[0])
    assert versions[0] != "2.1+00000000"
    assert versions[1:] == [versions[0], "3"]


def test_the_model_card_names_the_new_files(tmp_path):
    """Its table of hashes is of the files beside it; other files come along."""
    folder = tmp_path / "reference"
    shutil.copytree(embedded_bundle_path(), folder)
    (folder / "NOTES").write_text("mine")
    (folder / "sub").mkdir()
    opened = Bundle.open(folder)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(300, 10)) * 4
    result = calibrate(opened.contract.labels, logits, logits.argmax(1))
    files = calibrated_bundle(opened, result)
    assert set(files) == {p.name for p in folder.iterdir()} - {"sub"}
    write_calibrated(tmp_path / "out", opened, files)
    new = Bundle.open(tmp_path / "out")
    card = (tmp_path / "out/MODEL_CARD.md").read_text()
    for entry in new.manifest.artifacts:
        assert entry.file.sha256 in card
        assert opened.artifact(entry.name).file.sha256 not in card
    assert (tmp_path / "out/NOTES").read_text() == "mine"


def test_in_its_place_a_bundle_is_replaced_whole_or_not_at_all(bundle, monkeypatch):
    """Where the new one does not verify the old one stays, and nothing is left beside it."""
    opened, before = Bundle.open(bundle), contents(bundle)
    files = calibrated_bundle(opened, calibration())
    failed = VerifyReport((Check("golden x", False, "other bits"),), cpu=None)
    monkeypatch.setattr(rewrite, "verify_bundle", lambda folder: failed)
    with pytest.raises(BundleWriteError, match="expected golden x to pass, found other bits"):
        write_calibrated(bundle, opened, files)
    assert contents(bundle) == before
    assert list(bundle.parent.iterdir()) == [bundle]
    monkeypatch.undo()
    write_calibrated(bundle, opened, files)
    assert contents(bundle) == files
    assert list(bundle.parent.iterdir()) == [bundle]


def test_a_bundle_inside_the_package_is_never_changed(cli, photos, tmp_path):
    """`--out` is needed, and may not lead there either."""
    before = contents(embedded_bundle_path())
    inside = embedded_bundle_path().parent / "mine"
    for arguments in ([], ["--out", embedded_bundle_path()], ["--out", inside]):
        status, out, err = cli("calibrate", "--data", photos, *arguments)
        assert (status, out) == (2, "")
        assert "outside the installed package" in err
        assert "give --out a folder of your own" in err
    assert contents(embedded_bundle_path()) == before
    assert not inside.exists()


def test_a_bundle_with_folders_in_it_is_not_replaced(cli, bundle, photos):
    """They would be lost; another place is asked for."""
    (bundle / "sub").mkdir()
    status, _, err = cli("calibrate", bundle, "--data", photos)
    assert status == 2
    assert "expected a bundle of plain files, found sub; give --out another folder" in err


@pytest.mark.slow
def test_the_command_calibrates_a_bundle_in_its_place(cli, bundle, photos):
    """Figures on standard output; the bundle verifies; a second time finds what it has."""
    status, out, err = cli("calibrate", bundle, "--data", photos, *EASY)
    assert (status, err) == (0, "")
    assert "temperature 1 -> " in out
    assert f"wrote {bundle}, verified" in out
    assert "Fitted to int8-onnx; fp32-onnx took over the same." in out
    new = Bundle.open(bundle).contract
    assert new.temperature != 1
    assert len(new.thresholds) == 3
    assert cli("verify", bundle)[0] == 0
    status, out, _ = cli("calibrate", bundle, "--data", photos, *EASY)
    assert f"temperature {new.temperature:g} -> {new.temperature:g} (fitted)" in out
    assert Bundle.open(bundle).contract == new


def test_a_dry_run_writes_nothing(cli, bundle, photos, grey):
    """Not even of the embedded bundle; --json - is all of standard output."""
    before = contents(bundle)
    arguments = ("--data", photos, "--unknown", grey, "--dry-run", "--json", "-", *EASY)
    status, out, err = cli("calibrate", bundle, *arguments)
    assert (status, err) == (0, "")
    value = json.loads(out)
    assert value["written"] is False
    assert (value["photographs"], value["unknown"]) == (60, 6)
    assert (value["data"], value["unknown_data"]) == (photos.name, grey.name)
    assert [r["score"] for r in value["rejection"]] == ["probability", "margin", "energy"]
    assert [c["label"] for c in value["classes"]] == ["blue", "green", "red"]
    assert contents(bundle) == before
    assert "nothing was written" in cli("calibrate", bundle, "--data", photos, "--dry-run", *EASY)[1]


def test_the_artifact_and_the_risks_are_chosen(cli, bundle, photos, tmp_path):
    """`--artifact fp32`, `--coverage-risk` more than once, `--json FILE`."""
    file = tmp_path / "c.json"
    status, out, _ = cli(
        *("calibrate", bundle, "--data", photos, "--out", tmp_path / "new", "--artifact", "fp32", *EASY),
        *("--coverage-risk", 0.01, "--coverage-risk", 0.1, "--json", file),
    )
    assert status == 0
    assert "tiny fp32-onnx on onnxruntime" in out
    assert "coverage at 1.0% risk" in out
    assert "coverage at 10.0% risk" in out
    assert [c["asked"] for c in json.loads(file.read_bytes())["coverage_at_risk"]] == [0.01, 0.1]
    assert Bundle.open(tmp_path / "new").manifest.provenance["fitted"]["artifact"] == "fp32-onnx"


@pytest.mark.slow
def test_views_are_calibrated_and_written_into_every_model(cli, bundle, photos):
    """As the option names them; `none` is a contract as it always was."""
    status, out, err = cli("calibrate", bundle, "--data", photos, "--views", "plain,mirrored,180", *EASY)
    assert (status, err) == (0, "")
    new = Bundle.open(bundle)
    plan = new.contract.views
    assert plan.views == (PLAIN, RegionView(mirrored=True), RegionView(2))
    assert len(plan.thresholds) == 3
    # What the tiny network looks at, the mean colour, is the same whichever way it lies.
    assert plan.correlation == pytest.approx((1.0, 1.0, 1.0), abs=0.02)
    assert "By all 3 views" in out
    assert cli("verify", bundle)[0] == 0
    assert Classifier.load(bundle).contract == new.contract
    value = new.manifest.provenance["fitted"]
    assert (value["turns"], value["bars_stripped"]) == (1, False)
    assert value["views"]["plan"] == plan.to_json()
    assert cli("calibrate", bundle, "--data", photos, *EASY)[0] == 0
    assert Bundle.open(bundle).contract.views.views == UPRIGHT
    assert cli("calibrate", bundle, "--data", photos, "--views", "none", *EASY)[0] == 0
    assert Bundle.open(bundle).contract.views is None
    status, _, err = cli("calibrate", bundle, "--data", photos, "--views", "mirrored", *EASY)
    assert status != 0
    assert "plain first" in err


def test_photographs_are_shown_as_things_lie_in_a_bin():
    """Without their bars, photograph n turned by n quarters of 4, in each view."""
    rng = np.random.default_rng(0)
    inside = rng.integers(0, 90, (40, 60, 3), np.uint8)
    barred = np.full((60, 60, 3), 114, np.uint8)
    barred[10:50] = inside
    showing = Showing((PLAIN, RegionView(mirrored=True)), turns=4, strip_bars=True)
    for number in range(5):
        first, mirrored = showing.views_of(barred, number)
        expected = np.rot90(barred[12:48], number)
        assert np.array_equal(first, expected)
        assert np.array_equal(mirrored, expected[:, ::-1])
    assert np.array_equal(Showing().views_of(barred, 3)[0], barred)


def test_around_a_photograph_there_is_its_mirror_image():
    """So a wider view is larger; a tighter one is its middle, as of a frame's region."""
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    wide = in_view(picture, RegionView(scale=1.5))
    assert wide.shape == (60, 90, 3)
    assert np.array_equal(wide[10:50, 15:75], picture)
    assert np.array_equal(wide[9], wide[11])
    assert np.array_equal(in_view(picture, RegionView(scale=0.5)), picture[10:30, 15:45])
    assert in_view(picture[:1, :1], RegionView(1, mirrored=True, scale=2.0)).shape == (1, 1, 3)


def test_folders_of_other_names_are_mapped(cli, bundle, photos, tmp_path):
    """As `eval` does it; an unknown folder is refused with what to write."""
    other = tmp_path / "photos"
    shutil.copytree(photos, other)
    (other / "blue").rename(other / "bleu")
    status, _, err = cli("calibrate", bundle, "--data", other, *EASY)
    assert status == 2
    assert "say what they are: --map bleu=blue" in err
    assert cli("calibrate", bundle, "--data", other, "--map", "bleu=blue", *EASY)[0] == 0
    status, _, err = cli("calibrate", bundle, "--data", other, "--map", "bleu=blu", *EASY)
    assert status == 2
    assert "close to blue" in err


def test_a_file_that_cannot_be_read_is_told_and_left_out(cli, bundle, photos, tmp_path):
    """Exit status 1; the rest is calibrated and written."""
    other = tmp_path / "photos"
    shutil.copytree(photos, other)
    (other / "blue/00.png").write_bytes(b"no image")
    status, out, err = cli("calibrate", bundle, "--data", other, *EASY)
    assert status == 1
    assert err.startswith("ecovision-edge: cannot decode ")
    assert "of 59" in out
    assert Bundle.open(bundle).contract.thresholds is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-error", "2"], "max_error: expected above 0 and below 1, found 2.0"),
        (["--folds", "1"], "folds: expected 2 to 20"),
        (["--unknown", "none"], "expected a folder of JPEG"),
        (["--artifact", "int4"], "no artifact"),
        (["--json", "none/x.json"], "no such folder"),
        ([], "expected at least 74 photographs"),
    ],
)
def test_misuse_is_told_before_anything_is_written(cli, bundle, photos, arguments, message):
    """One line, and the bundle as it was."""
    before = contents(bundle)
    status, out, err = cli("calibrate", bundle, "--data", photos, *arguments)
    assert status in (1, 2)
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
    assert contents(bundle) == before


def test_a_lone_model_file_is_no_bundle(cli, bundle, photos):
    """Its contract is that of a bundle."""
    status, _, err = cli("calibrate", bundle / "model.int8.onnx", "--data", photos)
    assert status != 0
    assert "no bundle" in err


@pytest.mark.slow
def test_the_reference_is_better_calibrated_on_photographs(cli, photographs, tmp_path):
    """Of real photographs, 8 a class: held-out likelihood falls, and the written bundle verifies."""
    data = tmp_path / "data"
    for photo in photographs:
        (data / photo.parent.name).mkdir(parents=True)
        for other in sorted(photo.parent.iterdir())[:8]:
            (data / photo.parent.name / other.name).symlink_to(other)
    out, figures = tmp_path / "out", tmp_path / "c.json"
    bare = with_temperature(embedded_bundle_path(), 1.0, tmp_path / "bare")
    arguments = ("--data", data, "--out", out, "--json", figures, "--no-profile")
    status, text, err = cli("calibrate", bare, *arguments)
    assert status == 0, err
    value = json.loads(figures.read_bytes())
    assert value["photographs"] == 80
    assert 0.5 < value["temperature"] < 1
    assert value["held_out"]["nll"] < value["before"]["nll"]
    assert verify_bundle(out).ok
    assert "plastic" in text
    with pytest.raises(EcovisionError):
        Bundle.open(tmp_path / "none")
