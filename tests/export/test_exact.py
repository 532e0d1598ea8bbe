"""The twin of an int8 model whose sums no CPU clips."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from ecovision_edge.base.device import Cpu, read_cpu
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.preprocess import Preprocessor
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export.int8.exact import as_devices_compute, exact_sums
from ecovision_edge_export.int8.sessions import onnx_session

VNNI = Cpu("x86_64", "with", frozenset({"avx512_vnni"}))
HASWELL = Cpu("x86_64", "without", frozenset({"avx2", "fma"}))
UNKNOWN = Cpu("x86_64", "unknown", frozenset())


@pytest.fixture(scope="module")
def shipped() -> onnx.ModelProto:
    """The int8 model inside the package."""
    return onnx.load(embedded_bundle_path() / "model.int8.onnx")


@pytest.mark.slow
def test_real_weights_and_every_other_tensor_stay(shipped: onnx.ModelProto) -> None:
    """uint8 less 128 is the int8 weight; the model given is not touched."""
    before = shipped.SerializeToString(deterministic=True)
    twin = exact_sums(shipped)
    assert shipped.SerializeToString(deterministic=True) == before
    changed = 0
    for old, new in zip(shipped.graph.initializer, twin.graph.initializer, strict=True):
        a, b = onnx.numpy_helper.to_array(old), onnx.numpy_helper.to_array(new)
        if a.dtype == np.int8:
            changed += 1
            assert b.dtype == np.uint8
            assert np.array_equal(a.astype(int), b.astype(int) - 128)
        else:
            assert old == new
    assert changed > 50
    onnx.checker.check_model(twin, full_check=True)


def test_the_twin_gives_the_same_bits_where_sums_are_exact(shipped: onnx.ModelProto) -> None:
    """On this CPU, where it clips nothing; where it clips, the two differ, which is what the twin is for."""
    frame = network_inputs()
    (a,), (b,) = (onnx_session(m).run(None, {"frame": frame}) for m in (shipped, exact_sums(shipped)))
    assert np.array_equal(a, b) is (read_cpu().u8s8_saturates is False)
    assert np.abs(a - b).max() < 1


@pytest.mark.parametrize(("cpu", "same"), [(VNNI, True), (HASWELL, False), (UNKNOWN, False)])
def test_a_cpu_that_may_clip_gets_the_twin(shipped: onnx.ModelProto, cpu: Cpu, same: bool) -> None:
    """Exact CPUs are judged by the very artifact."""
    assert (as_devices_compute(shipped, cpu) is shipped) is same


def network_inputs() -> np.ndarray:
    """Eight synthetic frames as network inputs."""
    preprocessor = Preprocessor(Bundle.open(embedded_bundle_path()).contract)
    return np.concatenate([preprocessor.prepare(draw_frame(seed)) for seed in range(8)])
