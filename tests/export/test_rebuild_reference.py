"""The bundle inside the package is what the exporter makes today."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from tests.export.graphs import shorten

from ecovision_edge import Bundle, Classifier, verify_bundle
from ecovision_edge.backends import BackendOptions
from ecovision_edge.backends.onnx import OnnxBackend
from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.bundle.views import ANY_ORIENTATION
from ecovision_edge.calibration import Outcome, Showing
from ecovision_edge.modelfile.rewrite import with_contract
from ecovision_edge_export.finished.onnx_file import finish
from ecovision_edge_export.int8.exact import exact_sums
from ecovision_edge_export.parity.baseline import TorchBaseline
from ecovision_edge_export.parity.figures import budget_for
from ecovision_edge_export.parity.measure import measure_parity
from ecovision_edge_export.photographs.dataset import list_photographs
from ecovision_edge_export.pipeline import ExportResult
from ecovision_edge_export.rebuild_reference import (
    REFERENCE_OPTIONS,
    REFERENCE_VERSION,
    calibrate_reference,
    export_reference,
)
from ecovision_edge_export.weights.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    """The bundle inside the package."""
    return Bundle.open(embedded_bundle_path())


@pytest.fixture(scope="module")
def today(simplified: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """The same, exported today."""
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch, simplified, frames=8)
        return export_reference(tmp_path_factory.mktemp("today") / "reference")


def test_it_is_what_the_exporter_makes_today(shipped: Bundle, today: ExportResult) -> None:
    """Same contract, but for what was fitted to photographs since; same graph; weights within a rounding."""
    exported = replace(shipped.contract, temperature=1.0, thresholds=None, views=None)
    assert exported == today.manifest.contract
    assert today.manifest.version == REFERENCE_VERSION
    old, new = (onnx.load(b / "model.int8.onnx") for b in (shipped.path, today.path))
    for a, b in zip(old.graph.node, new.graph.node, strict=True):
        assert (a.op_type, a.name, a.input, a.output) == (b.op_type, b.name, b.input, b.output)
    for a, b in zip(old.graph.initializer, new.graph.initializer, strict=True):
        x, y = onnx.numpy_helper.to_array(a), onnx.numpy_helper.to_array(b)
        assert a.name == b.name
        if x.dtype == np.float32:
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-9, err_msg=a.name)
        else:  # quantized: a last bit of a folded weight can move a rounding
            assert np.abs(x.astype(np.int64) - y.astype(np.int64)).max() <= 1, a.name


def test_with_the_same_libraries_it_is_the_same_bytes(shipped: Bundle, today: ExportResult) -> None:
    """Where versions and CPU are those of the manifest, so are the hashes of model and golden vectors."""
    provenance = shipped.manifest.provenance
    versions = provenance["versions"]
    assert isinstance(versions, dict)
    here = today.manifest.provenance
    if all(here[key] == provenance[key] for key in ("versions", "machine", "cpu_features")):
        model = (shipped.path / "model.int8.onnx").read_bytes()
        exported = with_contract(model, "onnx", today.manifest.contract)
        assert exported == (today.path / "model.int8.onnx").read_bytes()
        assert (shipped.path / "golden.npz").read_bytes() == (today.path / "golden.npz").read_bytes()
    else:  # another toolchain: the graph test above holds, and the golden vectors do
        assert verify_bundle(shipped.path).ok


def test_its_parity_was_measured_on_photographs(shipped: Bundle) -> None:
    """The manifest has the figures, within budget, and nothing was waived."""
    (entry,) = shipped.manifest.artifacts
    assert entry.name == "int8-onnx"
    assert entry.parity["ok"] is True
    assert entry.parity["evidence"] == "photographs"
    assert shipped.manifest.provenance["parity_waived"] is False


def test_its_parity_is_still_what_it_says(shipped: Bundle, photographs: Path) -> None:
    """Measured again on all validation photographs, with exact sums on any CPU."""
    (entry,) = shipped.manifest.artifacts
    recorded = shipped.manifest.provenance["validation"]
    assert isinstance(recorded, dict)
    val = list_photographs(photographs / "val", shipped.contract.labels, "--val")
    # As it was exported: the figures are older than the temperature, which sharpens probabilities.
    contract = replace(shipped.contract, temperature=1.0, thresholds=None, views=None)
    model = finish(exact_sums(onnx.load(shipped.path / "model.int8.onnx")), contract)
    classifier = Classifier(OnnxBackend(model, BackendOptions(threads=1)), artifact=entry.name)
    baseline = TorchBaseline(load_checkpoint("reference"), contract)
    (parity,) = measure_parity(baseline, {entry.name: (classifier, budget_for("int8"))}, val)
    assert parity.ok
    if recorded["digest"] == val.digest():  # else other photographs, on which the budget is what counts
        found = parity.summary()
        assert (found["images"], found["judged"]) == (entry.parity["images"], entry.parity["judged"])
        # A last bit of fp32 on another CPU may move a photograph or two across a border.
        assert abs(parity.agreed - entry.parity["agreed"]) <= 3  # type: ignore[operator]
        assert parity.max_dp == pytest.approx(entry.parity["max_dp"], abs=0.05)


def test_it_is_calibrated_as_things_lie_in_a_bin(
    shipped: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In views, each photograph at one of four turns and without bars; the model is the same but for that."""
    labels, rng, shown = shipped.contract.labels, np.random.default_rng(0), []
    for label in labels:
        (tmp_path / "val" / label).mkdir(parents=True)
        for n in range(8):
            picture = rng.integers(0, 256, (24, 24, 3), np.uint8)
            assert cv2.imwrite(str(tmp_path / "val" / label / f"{n}.png"), picture)

    def classified(
        classifier: Classifier, paths: list[Path], showing: Showing, *, whole: bool = False
    ) -> Outcome:
        assert whole  # as the weights were judged
        shown.append(showing)
        shape = (len(paths), len(showing.views), len(labels))
        logits = rng.normal(size=shape) + 5 * np.eye(len(labels))[np.arange(len(paths)) // 8][:, None]
        return Outcome(logits, np.arange(len(paths)))

    monkeypatch.setattr("ecovision_edge_export.rebuild_reference.classify_photographs", classified)
    found = calibrate_reference(shipped, tmp_path / "val", tmp_path / "out")
    new = Bundle.open(tmp_path / "out")
    assert shown == [Showing(ANY_ORIENTATION, 4, True)]  # the reference is for any
    assert found.views is not None
    assert new.contract.views == found.views.plan
    assert new.contract.thresholds is not None
    assert new.manifest.version == REFERENCE_OPTIONS.version == REFERENCE_VERSION  # on any day
    assert verify_bundle(new.path).ok
    models = [b.read(b.artifact("int8-onnx")) for b in (new, shipped)]
    assert with_contract(models[0], "onnx", shipped.contract) == models[1]
