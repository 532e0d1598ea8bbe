"""The wheel on an emulated Raspberry Pi: Debian 12 arm64 under qemu, Cortex-A72 (Pi 4) and A76 (Pi 5)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from ecovision_edge import Classifier
from ecovision_edge.bundle import embedded_bundle_path
from ecovision_edge.device import read_cpu
from ecovision_edge.drawn import draw_frame

SHARED = Path(__file__).resolve().parents[3] / "shared"
FRAMES = 4

pytestmark = pytest.mark.packaging


class Pi:
    """The emulated root, with the wheel and its base dependencies installed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def python(self, cpu: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the guest's Python on `cpu`."""
        command = ["qemu-aarch64-static", "-cpu", cpu, "-L", str(self.root)]
        command += [str(self.root / "usr/bin/python3"), *arguments]
        # The guest's packages stand in its own dist-packages; nothing of this environment is meant for it.
        packages = self.root / "usr/local/lib/python3.11/dist-packages"
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(packages), "HOME": "/tmp"}
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd="/", timeout=300, check=False
        )


@pytest.fixture(scope="module")
def pi(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Pi:
    """Build the emulated root with ../shared/arm64/setup.sh (about half a minute)."""
    if not (SHARED / "arm64" / "setup.sh").is_file():
        pytest.skip("needs ../shared/arm64, the recipe of the emulated Raspberry Pi")
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("needs root on Debian, to build the emulated root")
    folder = tmp_path_factory.mktemp("pi")
    tools = folder / "tools"
    shutil.copytree(SHARED / "arm64", tools)
    done = subprocess.run(
        ["bash", str(tools / "setup.sh"), str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PKGS": str(wheel)},
        check=False,
    )
    root = folder / "root"
    installed = root / "usr/local/lib/python3.11/dist-packages/ecovision_edge"
    assert installed.is_dir(), f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return Pi(root)


@pytest.mark.parametrize("cpu", ["cortex-a72", "cortex-a76"])
def test_golden_vectors_pass_on_a_pi(pi: Pi, cpu: str) -> None:
    """`verify` of the embedded bundle: hashes, contract, and logits within the manifest's tolerance."""
    done = pi.python(cpu, "-m", "ecovision_edge", "verify", "--json", "-")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert report["cpu"]["arch"] == "aarch64"


def test_a_pi_classifies_an_image_as_this_machine_does(pi: Pi, tmp_path: Path) -> None:
    """The same labels, and probabilities within a level or two of the quantized logits."""
    frames = [draw_frame(seed) for seed in range(FRAMES)]
    files = [str(tmp_path / f"{i}.png") for i in range(FRAMES)]
    for file, frame in zip(files, frames, strict=True):
        cv2.imwrite(file, frame)
    done = pi.python("cortex-a72", "-m", "ecovision_edge", "classify", *files, "--json", "-")
    assert done.returncode == 0, done.stderr
    classifier = Classifier.load()
    for row, frame in zip(json.loads(done.stdout)["images"], frames, strict=True):
        here = classifier.classify(frame)
        there = [row["probabilities"][label] for label in classifier.labels]
        assert np.abs(np.array(there) - here.probabilities).max() < 0.06
        assert row["label"] == here.label or here.margin < 0.06


@pytest.mark.parametrize("cpu", ["cortex-a72", "cortex-a76"])
def test_the_integer_part_gives_the_same_bits(pi: Pi, cpu: str, tmp_path: Path) -> None:
    """On drawn frames, from the first quantized tensor on, Arm and x86 with VNNI agree in every bit."""
    if read_cpu().u8s8_saturates:
        pytest.skip("cannot here: this x86 CPU has no VNNI, its own integer sums are clipped")
    model, tensors = integer_part()
    onnx.save(model, tmp_path / "integer.onnx")
    np.savez(tmp_path / "inputs.npz", **tensors)
    here = run_integer_part(tmp_path)
    code = textwrap.dedent("""
        import sys
        import numpy as np, onnxruntime as ort
        folder = sys.argv[1]
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        session = ort.InferenceSession(folder + "/integer.onnx", options, providers=["CPUExecutionProvider"])
        tensors = dict(np.load(folder + "/inputs.npz"))
        np.save(folder + "/logits.npy", session.run(None, tensors)[0])
    """)
    done = pi.python(cpu, "-c", code, str(tmp_path))
    assert done.returncode == 0, done.stderr
    there = np.load(tmp_path / "logits.npy")
    assert there.shape == here.shape == (FRAMES, 10)
    assert np.array_equal(here, there)


def test_golden_vectors_pass_on_x86_without_vnni() -> None:
    """An emulated Haswell clips sums; the wider tolerance holds, and the report says why it is wider."""
    qemu = shutil.which("qemu-x86_64")
    if qemu is None or read_cpu().arch != "x86_64":
        pytest.skip("needs an x86-64 machine with qemu-user")
    code = textwrap.dedent("""
        from ecovision_edge import verify_bundle
        from ecovision_edge.bundle import embedded_bundle_path
        from ecovision_edge.device import Cpu
        # /proc/cpuinfo is the host's, so the emulated CPU is named here.
        report = verify_bundle(embedded_bundle_path(), cpu=Cpu("x86_64", "Haswell", frozenset({"avx2"})))
        print(report.checks[-1].detail)
        raise SystemExit(not report.ok)
    """)
    interpreter = str(Path(sys.executable).resolve())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [qemu, "-cpu", "Haswell", interpreter, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-1000:]
    assert "this CPU has no VNNI" in done.stdout


def integer_part() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """The embedded int8 model from its first quantized tensors on, and those tensors for some frames."""
    model = onnx.shape_inference.infer_shapes(onnx.load(embedded_bundle_path() / "model.int8.onnx"))
    constants = {i.name for i in model.graph.initializer}
    integer: set[str] = set()  # tensors that depend on a quantized one
    cuts: list[str] = []
    for node in model.graph.node:
        data = [i for i in node.input if i not in constants]
        if (node.op_type == "DequantizeLinear" and data) or any(i in integer for i in data):
            integer.update(node.output)
        elif node.op_type == "QuantizeLinear" and data:
            cuts.append(node.output[0])
    assert cuts
    part = onnx.utils.Extractor(model).extract_model(cuts, ["logits"])
    known = {v.name: v for v in model.graph.value_info}
    model.graph.output.extend(known[c] for c in cuts)
    classifier = Classifier.load()
    batch = np.concatenate([classifier.prepare(draw_frame(seed)) for seed in range(FRAMES)])
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return part, dict(zip(cuts, session.run(cuts, {"frame": batch}), strict=True))


def run_integer_part(folder: Path) -> np.ndarray:
    """Its logits on this machine."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(folder / "integer.onnx", options, providers=["CPUExecutionProvider"])
    logits: np.ndarray = session.run(None, dict(np.load(folder / "inputs.npz")))[0]
    return logits
