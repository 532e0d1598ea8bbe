"""Facts about LiteRT in fp16: only where the CPU has it, only what fits, and only after a try elsewhere."""

import signal
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from ecovision_edge import Classifier
from ecovision_edge.backends import BackendOptions, half, probing, survival
from ecovision_edge.backends.half import HalfNetwork, fp16_fault, refuse_fp16
from ecovision_edge.backends.probing import IMPORTED, probe_bundle
from ecovision_edge.backends.survival import FP16, Finding, cpu_key, keep_findings, read_findings
from ecovision_edge.base.device import Cpu, read_cpu
from ecovision_edge.base.homes import PROFILE_DIR_VARIABLE
from ecovision_edge.bundle import engines
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.errors import DeadlyEngineError, InferenceError, ModelError, OptionError
from ecovision_edge.profile import DeviceProfile, save_profile
from ecovision_edge.verify import FP16_TOLERANCE, golden_tolerance, verify_bundle

PI4 = Cpu("aarch64", "Raspberry Pi 4", frozenset({"fp", "asimd", "crc32"}))
PI5 = Cpu("aarch64", "Raspberry Pi 5", frozenset({"fp", "asimd", "asimddp", "asimdhp"}))
PC = Cpu("x86_64", "a PC", frozenset({"avx2", "f16c", "avx512_fp16"}))
VERSION = "2.3.0"


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Of profiles, and of what was found."""
    monkeypatch.setenv(PROFILE_DIR_VARIABLE, str(tmp_path / "profiles"))


@pytest.fixture
def on(monkeypatch):
    """Let this be such a CPU, with LiteRT."""

    def be(cpu):
        for module in (half, probing):
            monkeypatch.setattr(module, "read_cpu", lambda: cpu)
        monkeypatch.setattr(survival, "installed_versions", lambda format: {"ai-edge-litert": VERSION})
        monkeypatch.setattr(probing, "is_installed", lambda format: True)

    return be


class FakeBuffer:
    def __init__(self, dtype, shape):
        self.details, self.written = {"dtype": dtype, "shape": list(shape)}, []

    def get_tensor_details(self):
        return self.details

    def write(self, array):
        self.written.append(array)

    def read(self, count, dtype):
        return np.arange(count, dtype=dtype)


class FakeModel:
    """A `CompiledModel` of one input and one output."""

    def __init__(self, taken=("uint8", (1, 8, 8, 3)), given=("float32", (1, 3))):
        self.inputs, self.outputs = [FakeBuffer(*taken)], [FakeBuffer(*given)]

    def create_input_buffers(self, signature):
        return self.inputs

    def create_output_buffers(self, signature):
        return self.outputs

    def run_by_index(self, signature, inputs, outputs):
        assert (inputs, outputs) == (self.inputs, self.outputs)


@pytest.fixture
def contract(forge):
    return forge.contract()


@pytest.mark.parametrize(
    ("cpu", "words"),
    [(PI5, None), (PI4, "Raspberry Pi 4 without asimdhp"), (PC, "x86_64, where fp16 is slower")],
)
def test_the_cpu_is_asked_before_anything_is_opened(on, monkeypatch, cpu, words):
    """A Pi 5 has it; a Pi 4 would die of it, and x86 be slower."""
    on(cpu)
    if words is None:
        assert fp16_fault(cpu) is None
        refuse_fp16()
        return
    assert words in fp16_fault(cpu)
    with pytest.raises(OptionError, match=rf"fp16: expected .*Cortex-A76.*found {words}.*leave fp16 out"):
        refuse_fp16()


def test_what_died_of_it_is_not_tried_here(on):
    """With this version on this CPU; a newer version is another matter."""
    on(PI5)
    keep_findings([Finding(FP16.name, VERSION, cpu_key(PI5), "SIGILL")])
    with pytest.raises(DeadlyEngineError, match="in fp16 would end this process on this CPU, Raspberry Pi 5"):
        refuse_fp16()
    keep_findings([Finding(FP16.name, "2.2.0", cpu_key(PI5), "SIGILL")])
    refuse_fp16()


def test_a_frame_is_answered(monkeypatch, contract):
    """It is written, run and read; the answer has a row."""
    model = FakeModel()
    monkeypatch.setattr(half, "_open", lambda data, threads: model)
    frame = np.zeros((1, 8, 8, 3), np.uint8)
    logits = HalfNetwork(b"", 1, contract).run(frame)
    assert logits.tolist() == [[0, 1, 2]]
    assert model.inputs[0].written == [frame]


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (np.zeros((1, 8, 8, 3), np.float32), "float32"),
        (np.zeros((1, 8, 8, 3), np.int8), "int8"),
        (np.zeros((1, 4, 8, 3), np.uint8), "uint8 \\(1, 4, 8, 3\\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), "uint8 \\(2, 8, 8, 3\\)"),
        (np.zeros((8, 8, 3), np.uint8), "uint8 \\(8, 8, 3\\)"),
        (np.zeros(192, np.uint8), "uint8 \\(192,\\)"),
    ],
)
def test_what_litert_would_read_as_something_else_is_never_written(monkeypatch, contract, frame, found):
    """LiteRT takes any bytes: of another type, or fewer of them, beside what is left of the frame before."""
    model = FakeModel()
    monkeypatch.setattr(half, "_open", lambda data, threads: model)
    with pytest.raises(InferenceError, match=rf"expected uint8 \(1, 8, 8, 3\), found {found}"):
        HalfNetwork(b"", 1, contract).run(frame)
    assert model.inputs[0].written == []


@pytest.mark.parametrize(
    "model",
    [
        FakeModel(taken=("float32", (1, 8, 8, 3))),
        FakeModel(taken=("uint8", (1, 4, 8, 3))),
        FakeModel(given=("int8", (1, 3))),
        FakeModel(given=("float32", (1, 4))),
    ],
    ids=["input type", "input size", "integer output", "labels"],
)
def test_a_model_that_does_not_fit_its_contract_is_refused(monkeypatch, contract, model):
    """As in fp32; an integer output, whose scale is not told here, is refused too."""
    monkeypatch.setattr(half, "_open", lambda data, threads: model)
    with pytest.raises(ModelError, match="does not fit its contract in fp16"):
        HalfNetwork(b"", 1, contract)


def test_litert_runs_a_model_so(forge, on):
    """For real, where LiteRT is: its own words for what is no model, and an answer within fp16's error."""
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install 'ecovision-edge[litert]'")
    from ecovision_edge.backends.litert import LiteRtBackend

    here = read_cpu()
    if here.arch == "aarch64" and fp16_fault(here) is not None:
        pytest.skip("needs half precision, which is on a Cortex-A76 and newer; this CPU would die of it")
    on(PI5)  # x86 runs it too, slowly
    batch = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    backend = LiteRtBackend(forge.tflite(), BackendOptions(threads=1, fp16=True))
    assert backend.engine.endswith(" in fp16")
    expected = LiteRtBackend(forge.tflite(), BackendOptions(threads=1)).run(batch)
    assert np.allclose(backend.run(batch), expected, atol=0.05)
    with pytest.raises(InferenceError, match="wrong input"):
        backend.run(batch.astype(np.float32))
    with pytest.raises(ModelError, match="cannot open the model in fp16"):
        half._open(b"not a model", 1)


def test_it_is_for_tflite_models_alone(forge, on):
    """Not for ONNX, nor beside a delegate."""
    from ecovision_edge.backends.onnx import OnnxBackend

    with pytest.raises(OptionError, match="fp16: expected a TFLite model, found an ONNX model"):
        OnnxBackend(forge.model(), BackendOptions(fp16=True))
    with pytest.raises(OptionError, match=r"fp16: expected no delegate with it, found x\.so"):
        BackendOptions(delegate="x.so", fp16=True)
    with pytest.raises(OptionError, match="fp16: expected none, for there is no tflite artifact"):
        verify_bundle(embedded_bundle_path(), BackendOptions(fp16=True))


def with_tflite():
    """The embedded bundle, as if it had a TFLite artifact."""
    real = Bundle.open(embedded_bundle_path())
    (entry,) = real.manifest.artifacts
    return SimpleNamespace(
        path=real.path,
        manifest=SimpleNamespace(
            artifacts=[SimpleNamespace(file=entry.file, format="tflite", precision="int8")]
        ),
    )


def ended(*statuses):
    """Processes that end so, one after the other; the commands of all of them."""
    commands, left = [], list(statuses)

    def attempt(command):
        commands.append(command)
        return subprocess.CompletedProcess(command, left.pop(0), f"{IMPORTED}\n", "")

    return attempt, commands


@pytest.mark.parametrize(
    ("cpu", "statuses", "found"),
    [
        (PI5, (0, 0), {"ai-edge-litert": None, FP16.name: None}),
        (PI5, (0, -signal.SIGILL), {"ai-edge-litert": None, FP16.name: "SIGILL"}),
        (PI5, (0, 1), {"ai-edge-litert": None}),
        (PI5, (-signal.SIGILL,), {"ai-edge-litert": "SIGILL"}),
        (PI4, (0,), {"ai-edge-litert": None}),
        (PC, (0,), {"ai-edge-litert": None}),
    ],
    ids=["lives", "dies", "error", "engine dies", "no fp16", "x86"],
)
def test_it_is_tried_in_a_process_of_its_own(on, cpu, statuses, found):
    """Where the CPU has it and the engine itself lives; what was found is kept, and not tried again."""
    on(cpu)
    attempt, commands = ended(*statuses)
    findings = probe_bundle(with_tflite(), fp16=True, attempt=attempt)
    assert {f.package: f.ended for f in findings} == found
    assert [command[-1] for command in commands[1:]] == ["fp16"] * (len(statuses) - 1)
    assert read_findings() == findings
    if 1 not in statuses:
        again = probe_bundle(with_tflite(), fp16=True, attempt=lambda command: pytest.fail("tried again"))
        assert again == findings


def test_an_older_version_that_died_says_nothing_of_this_one(on):
    """It is tried, as long as the installed one lives."""
    on(PI5)
    keep_findings([Finding("ai-edge-litert", "1.0.0", cpu_key(PI5), "SIGILL")])
    attempt, _ = ended(0, -signal.SIGILL)
    findings = probe_bundle(with_tflite(), fp16=True, attempt=attempt)
    assert {f.package: f.ended for f in findings} == {"ai-edge-litert": None, FP16.name: "SIGILL"}


def test_verify_runs_nothing_that_died_though_it_could_not_be_kept(on, forge, tmp_path, monkeypatch):
    """On a read-only disk, say: what was found holds for this very check."""
    on(PI5)
    dead = Finding(FP16.name, VERSION, cpu_key(PI5), "SIGILL")
    monkeypatch.setattr("ecovision_edge.verify.probe_bundle", lambda *_, **__: (dead,))
    bundle = forge.bundle(tmp_path / "bundle", precisions=("fp32-tflite",))
    report = verify_bundle(bundle, BackendOptions(fp16=True), cpu=PI5, probe=True)
    assert not report.ok
    assert "in fp16 would end this process" in report.checks[-1].detail


def test_a_profile_keeps_it_and_loading_follows(on, monkeypatch):
    """A profile of before there was a choice is native."""
    bundle = Bundle.open(embedded_bundle_path())
    profile = DeviceProfile.of(bundle, artifact="int8-onnx", threads=1, spinning=True, fp16=True)
    assert DeviceProfile.loads(profile.dumps(), "here") == profile
    before = profile.dumps().replace(b'"precision": "fp16"', b'"precision": null')
    assert before != profile.dumps()
    assert not DeviceProfile.loads(before, "here").fp16
    save_profile(profile)
    with pytest.raises(OptionError, match="fp16: expected a TFLite model"):  # the embedded one is ONNX
        Classifier.load()
    assert Classifier.load(profile=False).artifact == "int8-onnx"


def test_its_golden_vectors_have_a_tolerance_of_their_own():
    """What the manifest allows the artifact, and what half the digits take."""
    (entry,) = Bundle.open(embedded_bundle_path()).manifest.artifacts
    assert golden_tolerance(entry, PI5, fp16=True) == golden_tolerance(entry, PI5) + FP16_TOLERANCE


def test_the_engine_of_the_mode_is_one_that_there_is():
    """Its version is the engine's."""
    assert FP16.format in engines.ENGINES
