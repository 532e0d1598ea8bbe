"""A model in fp16 on the machine that exports it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.runtime.conftest import Forge

from ecovision_edge.backends.half import fp16_fault
from ecovision_edge.base.device import Cpu, read_cpu
from ecovision_edge.errors import InferenceError
from ecovision_edge_export.finished.made import Made
from ecovision_edge_export.options import ExportOptions
from ecovision_edge_export.parity import half
from ecovision_edge_export.parity.half import HalfBackend, how_in_fp16
from ecovision_edge_export.publish import gate
from ecovision_edge_export.transcript import Reporter, Transcript

pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install 'ecovision-edge[litert]'")


@pytest.mark.parametrize(
    ("arch", "features", "words"),
    [
        ("aarch64", "asimd asimddp asimdhp", "by this Arm CPU's own"),
        ("aarch64", "asimd", None),
        ("x86_64", "avx2 f16c fma", "by XNNPACK on x86"),
        ("x86_64", "avx2 fma", None),
        ("riscv64", "", None),
    ],
)
def test_it_is_measured_where_the_arithmetic_is(arch: str, features: str, words: str | None) -> None:
    found = how_in_fp16(Cpu(arch, "?", frozenset(features.split())))
    assert (found or "").startswith(words or "")
    assert (found is None) == (words is None)


@pytest.mark.slow
def test_a_process_of_its_own_answers_in_fp16() -> None:
    """Near what the model says in fp32; and one that ended says so."""
    if how_in_fp16(read_cpu()) is None:
        pytest.skip(f"needs F16C or asimdhp: {fp16_fault(read_cpu())}")
    forge = Forge()
    model, contract = forge.tflite(), forge.contract()
    made = Made("fp32", "tflite", model)
    frames = np.random.default_rng(0).integers(0, 256, contract.input.shape(3), dtype=np.uint8)
    backend = HalfBackend(model, contract)
    try:
        found, expected = backend.run(frames), made.backend().run(frames)
        assert found.shape == (3, 3)
        assert 0 < np.abs(found - expected).max() < 0.05
        assert backend.run(frames[:0]).shape == (0, 3)
    finally:
        backend.close()
    backend.close()


def test_a_process_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With how it ended; whether at its start or later."""
    forge = Forge()
    monkeypatch.setattr(half, "_RUNNER", "import os; os.kill(os.getpid(), 4)")
    with pytest.raises(InferenceError, match="its process ended: signal 4"):
        HalfBackend(b"model", forge.contract())
    monkeypatch.setattr(half, "_RUNNER", "import os; os.write(1, b'ready'); os._exit(3)")
    backend = HalfBackend(b"model", forge.contract())
    with pytest.raises(InferenceError, match="exit status 3"):
        backend.run(np.zeros((1, 8, 8, 3), np.uint8))
    backend.close()


def test_what_is_not_measured_here_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no target computes so, nothing is asked; where this machine cannot, a warning says so."""
    import contextlib

    monkeypatch.setattr(gate, "read_cpu", lambda: Cpu("x86_64", "an old PC", frozenset()))
    made = [Made("int8", "tflite", b"model"), Made("fp32", "onnx", b"model")]
    for target, warnings in (("arm64", 0), ("arm64-dotprod,arm64-fp16", 1)):
        script = Transcript(Reporter())
        with contextlib.ExitStack() as closing:
            assert gate._in_fp16(ExportOptions("x", target=target), made, script, closing) == {}
        told = script.to_json()["warnings"]
        assert isinstance(told, list)
        assert len(told) == warnings
        assert all(
            "int8-tflite is not measured in fp16 here" in str(w) and "an old PC" in str(w) for w in told
        )
