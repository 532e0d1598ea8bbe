"""Facts about verifying a bundle on a device."""

import dataclasses
import json

import numpy as np
import pytest

from ecovision_edge.backends import BackendOptions
from ecovision_edge.base.device import Cpu
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.bundle.golden import Golden
from ecovision_edge.errors import BundleNotFoundError, OptionError
from ecovision_edge.verify import SATURATING_FACTOR, compare_golden, golden_tolerance, verify_bundle

EXACT = Cpu("aarch64", "Cortex-A76", frozenset())
OLD = Cpu("x86_64", "Haswell", frozenset({"avx2", "fma"}))
UNKNOWN = Cpu("x86_64", "?", frozenset())


def checks(path, cpu=EXACT):
    return {c.name: c for c in verify_bundle(path, cpu=cpu).checks}


def test_a_good_bundle_verifies(bundle):
    """The manifest, the golden vectors, each file, and each artifact on the golden inputs."""
    report = verify_bundle(bundle, cpu=EXACT)
    assert report.ok
    assert [c.name for c in report.checks] == [
        *["manifest", "golden.npz", "model.fp32.onnx", "golden fp32-onnx"],
        *["model.int8.onnx", "golden int8-onnx"],
    ]
    assert "same bits" in report.checks[-1].detail


def test_the_report_is_json(bundle):
    """Nothing in it that JSON cannot say."""
    value = json.loads(json.dumps(verify_bundle(bundle, cpu=OLD).to_json()))
    assert value["ok"] is True
    assert value["cpu"] == {"arch": "x86_64", "model": "Haswell", "u8s8_saturates": True}
    assert set(value["checks"][0]) == {"name", "ok", "checked", "detail"}


def test_the_embedded_bundle_verifies_here():
    """On whatever CPU this test runs."""
    report = verify_bundle(embedded_bundle_path())
    assert report.ok, [c for c in report.checks if not c.ok]


def test_a_bundle_that_is_not_there_raises(tmp_path):
    """It is the one thing that a report cannot be made about."""
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(BundleNotFoundError):
            verify_bundle(path)


def test_a_name_too_long_is_not_found():
    """ENAMETOOLONG does not come through as a bare OSError."""
    with pytest.raises(BundleNotFoundError):
        verify_bundle("x" * 5000)


def test_an_option_out_of_range_raises(bundle):
    """A provider that is not installed is the caller's mistake, not the bundle's, as the docstring says."""
    with pytest.raises(OptionError):
        verify_bundle(bundle, BackendOptions(providers=("NoSuchProvider",)))


def test_a_broken_manifest_is_one_failed_check(bundle):
    """Nothing else can be checked then."""
    (bundle / "bundle.json").write_text("{}")
    report = verify_bundle(bundle)
    assert [(c.name, c.ok) for c in report.checks] == [("manifest", False)]
    assert not report.ok


@pytest.mark.parametrize("gone", [True, False])
def test_a_damaged_model_fails_alone(bundle, gone):
    """The rest is checked all the same."""
    path = bundle / "model.int8.onnx"
    if gone:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = checks(bundle)
    assert not found["model.int8.onnx"].ok
    assert "golden int8-onnx" not in found
    assert found["golden fp32-onnx"].ok


@pytest.mark.parametrize("gone", [True, False])
def test_damaged_golden_vectors_fail_alone(bundle, gone):
    """The models are opened, and not compared."""
    path = bundle / "golden.npz"
    if gone:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = checks(bundle)
    assert not found["golden.npz"].ok
    assert found["model.int8.onnx"].ok
    assert "golden int8-onnx" not in found


def with_golden(forge, bundle, change):
    """Replace the golden logits of the int8 artifact, digest and all."""
    golden = Bundle.open(bundle).golden()
    logits = {**golden.logits, "int8-onnx": change(golden.logits["int8-onnx"])}
    logits = {name: array for name, array in logits.items() if array is not None}
    return forge.put(bundle, "golden.npz", Golden(golden.inputs, logits).dumps())


def test_other_logits_than_the_golden_ones_fail(forge, bundle):
    """A model that answers otherwise here than at export is not verified, digests or no."""
    with_golden(forge, bundle, lambda logits: logits + np.float32(0.01))
    found = checks(bundle)
    assert not found["golden int8-onnx"].ok
    assert "0.01" in found["golden int8-onnx"].detail
    assert found["golden fp32-onnx"].ok


def test_logits_within_the_tolerance_pass(forge, bundle):
    """The last bits may differ; the detail says by how much, and how much is allowed."""
    with_golden(forge, bundle, lambda logits: logits + np.float32(0.0005))
    check = checks(bundle)["golden int8-onnx"]
    assert check.ok
    assert "allowed 0.001" in check.detail


def test_an_artifact_without_golden_logits_fails(forge, bundle):
    """Not compared is not verified."""
    with_golden(forge, bundle, lambda _: None)
    assert "no golden logits" in checks(bundle)["golden int8-onnx"].detail
    assert not verify_bundle(bundle).ok


def test_vectors_of_another_order_of_bytes_in_memory_verify(forge, bundle):
    """A Fortran-ordered archive means the same numbers."""
    golden = Bundle.open(bundle).golden()
    turned = Golden(np.asfortranarray(golden.inputs), golden.logits)
    forge.put(bundle, "golden.npz", turned.dumps())
    assert verify_bundle(bundle, cpu=EXACT).ok


def test_a_model_of_another_contract_is_a_failed_check(forge, bundle):
    """Whatever its digest."""
    forge.put(bundle, "model.int8.onnx", forge.model(forge.contract(temperature=3.0)))
    assert "not that of bundle.json" in checks(bundle)["model.int8.onnx"].detail


def test_only_int8_on_a_saturating_cpu_is_given_more_room(pristine):
    """The manifest's tolerance elsewhere."""
    fp32, int8 = Bundle.open(pristine).manifest.artifacts
    assert golden_tolerance(fp32, OLD) == golden_tolerance(fp32, EXACT) == fp32.golden_tolerance
    assert golden_tolerance(int8, EXACT) == int8.golden_tolerance
    for cpu in (OLD, UNKNOWN):
        assert golden_tolerance(int8, cpu) == SATURATING_FACTOR * int8.golden_tolerance


def test_a_saturating_cpu_is_told_of(bundle):
    """With what to do instead; only for int8."""
    found = checks(bundle, OLD)
    assert "this CPU has no VNNI" in found["golden int8-onnx"].detail
    assert "prefer" not in found["golden fp32-onnx"].detail
    assert "prefer" not in checks(bundle, EXACT)["golden int8-onnx"].detail


def compared(pristine, expected, found, tolerance):
    entry = Bundle.open(pristine).artifact("int8")
    arrays = [np.array(rows, np.float32) for rows in (expected, found)]
    return compare_golden("golden", *arrays, tolerance, entry, EXACT)


@pytest.mark.parametrize(
    ("expected", "found", "tolerance", "ok"),
    [
        ([[1, 2, 3]], [[1, 2, 3]], 0.0, True),
        ([[1, 2, 3]], [[1, 2, 3.5]], 0.5, True),
        ([[1, 2, 3]], [[1, 2, 3.75]], 0.5, False),
        ([[1, 2, 2.25]], [[1, 2.25, 2]], 0.25, True),  # a flip, of classes nearer than the tolerance
        ([[1, 2, 3], [3, 2, 1]], [[1, 2, 3], [3, 2, 2]], 0.5, False),  # one bad vector is enough
        ([[1, 2, 3]], [[1, 2, np.nan]], 1e6, False),
        ([[1, 2, 3]], [[1, 2, np.inf]], 1e6, False),
    ],
)
def test_the_worst_logit_decides(pristine, expected, found, tolerance, ok):
    """At most the tolerance, in every logit of every vector."""
    assert compared(pristine, expected, found, tolerance).ok is ok


def test_one_failed_check_fails_the_report(bundle):
    """`ok` is all of them."""
    report = verify_bundle(bundle)
    bad = dataclasses.replace(report.checks[2], ok=False)
    assert not dataclasses.replace(report, checks=(*report.checks, bad)).ok
