"""Facts about the other engines: each made once from the reference weights, with synthetic frames."""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ecovision_edge.backends import default_threads
from ecovision_edge.base.installation import extra_fix
from ecovision_edge.base.probability import softmax
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import (
    DatasetError,
    ExportError,
    InferenceError,
    MissingDependencyError,
    ModelError,
)
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_bench.measure.choose import peer_folder
from ecovision_edge_bench.subjects import KINDS, Spec, Subject, load
from ecovision_edge_bench.subjects._engine import first_line
from ecovision_edge_bench.subjects._making import make_model
from ecovision_edge_bench.subjects._tutorial import TutorialPreprocessing
from ecovision_edge_bench.subjects.openvino import precision_hint
from ecovision_edge_bench.subjects.peers import PEERS, Workbench, make_peer
from ecovision_edge_export.options import ExportOptions, make_contract
from ecovision_edge_export.parity.baseline import TorchBaseline
from ecovision_edge_export.weights.checkpoint import Checkpoint, load_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:(open|read)_text is deprecated:DeprecationWarning"),  # executorch 1.5
    pytest.mark.filterwarnings("ignore:This API is experimental:Warning"),  # its runtime too
]

DISTRIBUTIONS = {
    "torch": "torch",
    "onnxruntime": "onnxruntime",
    "litert": "ai-edge-litert",
    "openvino": "openvino",
    "ncnn": "ncnn",
    "mnn": "MNN",
    "executorch": "executorch",
}
# An extra that is not in `all` is tried where it is installed.
TRIED = [name for name, peer in PEERS.items() if peer.extra != "bench-executorch" or not peer.missing()]
INT8 = [name for name in TRIED if PEERS[name].precision == "int8"]
WITH_FILES = [name for name in TRIED if PEERS[name].kind != "torch"]
THREADS = min(2, default_threads())  # OpenVINO says how many it really takes


def need(name: str) -> None:
    """Skip where a library of this peer is not installed."""
    missing = PEERS[name].missing()
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install 'ecovision-edge[{PEERS[name].extra}]'")


@pytest.fixture(scope="module", autouse=True)
def _signals_on_the_ordinary_stack() -> Iterator[None]:
    """OpenVINO asks for AMX, whose registers do not fit on the small stack that signals are handled on.

    Without this, the next signal to this process, in whatever test, is a segmentation fault.
    """
    yield

    class Stack(ctypes.Structure):
        _fields_ = (("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))

    disable = 2  # SS_DISABLE of <signal.h>
    assert ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(None, disable, 0)), None) == 0


@pytest.fixture(scope="module")
def reference() -> Checkpoint:
    """The embedded reference checkpoint."""
    return load_checkpoint("reference")


@pytest.fixture(scope="module")
def contract(reference: Checkpoint) -> Contract:
    """Its contract with every default."""
    return make_contract(ExportOptions(weights="reference"), reference)


@pytest.fixture(scope="module")
def bench(reference: Checkpoint, contract: Contract, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A folder in which each model is made once, with twelve synthetic frames."""
    frames = [draw_frame(seed) for seed in range(12)]
    return Workbench(reference, "reference", contract, frames, tmp_path_factory.mktemp("peers") / "models")


@pytest.fixture(scope="module")
def spec(bench: Workbench) -> Callable[[str], Spec]:
    """Makes a peer, or skips."""

    def make(name: str) -> Spec:
        need(name)
        return make_peer(PEERS[name], bench, threads=THREADS)

    return make


@pytest.fixture(scope="module")
def subject(spec: Callable[[str], Spec]) -> Callable[[str], Subject]:
    """Loads a peer, each once."""
    loaded: dict[str, Subject] = {}

    def get(name: str) -> Subject:
        if name not in loaded:
            loaded[name] = load(spec(name))
        return loaded[name]

    return get


@pytest.fixture(scope="module")
def expected(reference: Checkpoint, contract: Contract) -> list[np.ndarray]:
    """PyTorch's probabilities of frames that no preprocessing resizes."""
    baseline = TorchBaseline(reference, contract)
    return [softmax(baseline.logits(baseline.prepare_frame(f)[None])[0], 1.0) for f in small_frames()]


def small_frames() -> list[np.ndarray]:
    """Of the network's own size."""
    return [draw_frame(seed, 224, 224) for seed in range(3)]


def answers(subject: Subject) -> list[np.ndarray]:
    return [subject.post(subject.infer(subject.prepare(frame))) for frame in small_frames()]


def copied(spec: Spec, folder: Path) -> Spec:
    """The same subject with a copy of its files."""
    source = Path(spec.source)
    for path in files_of(source):
        (folder / path.name).write_bytes(path.read_bytes())
    return dataclasses.replace(spec, source=str(folder / source.name))


def files_of(source: Path) -> list[Path]:
    """Those that a subject opens, in the order of their names."""
    return sorted({source, *([b] if (b := source.with_suffix(".bin")).is_file() else [])})


@pytest.mark.parametrize("name", TRIED)
def test_the_facts_of_a_peer_are_true(name: str, subject, spec, reference: Checkpoint) -> None:
    """Engine, threads, digest and size are those of what was loaded, read by other means."""
    facts, made = subject(name).facts, spec(name)
    distribution = DISTRIBUTIONS[PEERS[name].kind]
    assert facts.engine == f"{distribution} {importlib.metadata.version(distribution)}"
    assert facts.threads == THREADS
    if PEERS[name].kind == "torch":
        assert facts.sha256 == reference.source.sha256
    else:
        data = b"".join(path.read_bytes() for path in files_of(Path(made.source)))
        assert (facts.sha256, facts.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        assert Path(made.source).name.split("-")[-2 - (name in INT8)] == reference.source.sha256[:12]
    assert facts.preprocessing
    assert made.made
    assert "\n" not in facts.preprocessing + made.made


@pytest.mark.parametrize("name", TRIED)
def test_the_precision_is_what_really_runs(name: str, subject) -> None:
    """bf16 is fp32 where the CPU has none; ncnn takes fp16 where it can; all else is as asked."""
    found = subject(name).facts.precision
    if name == "openvino-bf16":
        import openvino

        capable = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        assert found == ("bf16" if capable else "fp32")
    elif name == "ncnn-fp32":
        assert found in {"fp16", "fp32/fp16", "fp32"}
    else:
        assert found == PEERS[name].precision


@pytest.mark.parametrize("name", [n for n in TRIED if n not in INT8])
def test_without_a_resize_fp32_answers_are_pytorchs(name: str, subject, expected) -> None:
    """To 1e-3 of a probability; to 3e-2 where the engine computes in 16 bits."""
    peer = subject(name)
    budget = 1e-3 if peer.facts.precision.startswith("fp32") else 3e-2
    for found, wanted in zip(answers(peer), expected, strict=True):
        assert np.abs(found - wanted).max() <= budget


@pytest.mark.parametrize("name", INT8)
def test_int8_answers_are_probabilities(name: str, subject, contract: Contract) -> None:
    """As many as classes, from 0 to 1, which add up to 1, and not the same for each frame."""
    found = answers(subject(name))
    for probabilities in found:
        assert probabilities.shape == (len(contract.labels),)
        assert (probabilities >= 0).all()
        assert probabilities.sum() == pytest.approx(1)
    assert not np.allclose(found[0], found[1])


@pytest.mark.parametrize("name", TRIED)
def test_frames_of_any_size_give_the_networks_input(name: str, subject) -> None:
    """Camera frames, portrait ones, and views into larger frames."""
    peer = subject(name)
    for frame in (draw_frame(1, 640, 480), draw_frame(1, 100, 300), draw_frame(1, 640, 480)[40:, ::2]):
        assert peer.post(peer.infer(peer.prepare(frame))).sum() == pytest.approx(1)


@pytest.mark.parametrize("name", TRIED)
def test_what_an_engine_raises_while_running_is_an_inference_error(name: str, subject) -> None:
    """Its own exception is the cause."""
    with pytest.raises(InferenceError, match=r"failed to run the model"):
        subject(name).infer("no input")


@pytest.mark.parametrize("name", WITH_FILES)
def test_an_output_that_is_no_logits_is_an_inference_error(name: str, subject, contract: Contract) -> None:
    """Not finite, or of another number of classes."""
    classes = len(contract.labels)
    for output in (np.full((1, classes), np.nan, np.float32), np.zeros((1, classes + 1), np.float32)):
        with pytest.raises(InferenceError, match=r"wrong output"):
            subject(name).post(output)


@pytest.mark.parametrize("name", WITH_FILES)
def test_a_damaged_model_is_a_model_error(name: str, spec, tmp_path: Path) -> None:
    """Each of its files cut short, no file at all, and one that is something else."""
    for number, path in enumerate(files_of(Path(spec(name).source))):
        folder = tmp_path / str(number)
        folder.mkdir()
        damaged = copied(spec(name), folder)
        data = path.read_bytes()
        for content in (data[: len(data) // 2], b"something else\n" * 100):
            (folder / path.name).write_bytes(content)
            with pytest.raises(ModelError):
                load(damaged)
        (folder / path.name).unlink()
        with pytest.raises(ModelError, match=r"cannot read"):
            load(damaged)


@pytest.mark.parametrize("name", TRIED)
def test_a_missing_engine_is_named_with_the_line_that_installs_it(
    name: str, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both where it is made and where it is loaded."""
    peer = PEERS[name]
    found = Spec(peer.kind, name, peer.precision, "nowhere", contract=bench.contract.dumps())
    monkeypatch.setitem(sys.modules, peer.runs_with[0], None)
    with pytest.raises(MissingDependencyError, match=re.escape(extra_fix(peer.extra))):
        make_peer(peer, bench)
    with pytest.raises(MissingDependencyError, match=r"pip install .*\["):
        load(found)


@pytest.mark.parametrize("name", [n for n in PEERS if PEERS[n].made_with])
def test_a_missing_converter_is_named_with_the_line_that_installs_it(
    name: str, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making needs more than running."""
    monkeypatch.setitem(sys.modules, PEERS[name].made_with[-1], None)
    with pytest.raises(MissingDependencyError, match=rf"{PEERS[name].made_with[-1]}.*pip install"):
        make_peer(PEERS[name], bench)


def test_torch_compile_without_a_compiler_says_so(
    bench: Workbench, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is compiled."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    peer = PEERS["torch-compile"]
    with pytest.raises(MissingDependencyError, match=r"C\+\+ compiler.*no-such-compiler"):
        make_peer(peer, bench)
    with pytest.raises(MissingDependencyError, match=r"C\+\+ compiler.*no-such-compiler"):
        load(Spec("torch", peer.name, "fp32", "reference", contract=contract.dumps()))


def test_torch_takes_its_threads_whatever_another_took(subject) -> None:
    """The number is one of the process, so it is set again where it was changed."""
    import torch

    before = torch.get_num_threads()
    peer = subject("torch")
    try:
        torch.set_num_threads(THREADS + 1)
        peer.infer(peer.prepare(draw_frame(0)))
        assert torch.get_num_threads() == THREADS == peer.facts.threads
    finally:
        torch.set_num_threads(before)


def test_the_checkpoint_of_torch_means_the_same_file_elsewhere(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A relative path becomes an absolute one; words that are no paths stay."""
    monkeypatch.chdir(tmp_path)
    for weights, source in (
        ("runs/best.pth", str(tmp_path / "runs" / "best.pth")),
        ("reference", "reference"),
        ("hf://owner/name/file.pth", "hf://owner/name/file.pth"),
    ):
        made = make_peer(PEERS["torch"], dataclasses.replace(bench, weights=weights))
        assert made.source == source


@pytest.mark.parametrize("name", WITH_FILES)
def test_a_model_that_is_there_is_not_made_again(
    name: str, spec, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are its files touched."""
    before = spec(name)
    monkeypatch.setattr(subprocess, "run", None)
    assert make_peer(PEERS[name], bench, threads=THREADS) == before


@pytest.mark.parametrize("name", INT8)
def test_other_calibration_frames_are_another_model(name: str, spec, bench: Workbench, monkeypatch) -> None:
    """So is another mean; what the models are made of is in their names."""
    spec(name)
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, b"no converter here\n")

    monkeypatch.setattr(subprocess, "run", run)
    frames = [*bench.calibration[:-1], 255 - bench.calibration[-1]]
    normalization = dataclasses.replace(bench.contract.normalization, mean=(0.5, 0.5, 0.5))
    other_mean = dataclasses.replace(bench.contract, normalization=normalization)
    for change in ({"calibration": frames}, {"contract": other_mean}):
        with pytest.raises(ExportError, match=r"exit status 1; it said: no converter here"):
            make_peer(PEERS[name], dataclasses.replace(bench, **change))
    assert [command[3] for command in asked] == [name, name]  # and not the fp32 model that it is made of


@pytest.mark.parametrize("name", INT8)
def test_int8_without_calibration_frames_is_refused(name: str, bench: Workbench) -> None:
    """Before a converter starts."""
    need(name)
    with pytest.raises(DatasetError, match=r"calibration.*at least one frame"):
        make_peer(PEERS[name], dataclasses.replace(bench, calibration=[]))


def test_a_converter_that_works_prints_nothing(
    spec, bench: Workbench, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Though MNN's says a lot; and it leaves its model in the folder, and the line on how it was made."""
    spec("mnn-fp32")
    onnx = [path for path in bench.folder.iterdir() if path.name.startswith("onnx-")]
    for path in onnx:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    capfd.readouterr()
    made = make_model(dataclasses.replace(bench, folder=tmp_path), "mnn")
    assert capfd.readouterr() == ("", "")
    left = {path.name for path in tmp_path.iterdir()} - {path.name for path in onnx}
    assert left == {made.path.name, made.path.with_suffix(".txt").name}
    assert made.how.endswith(f"mnnconvert, MNN {importlib.metadata.version('MNN')}")


@pytest.mark.parametrize("name", ["openvino", "mnn", "onnxruntime-int8"])
def test_a_converter_that_fails_has_the_last_word(
    name: str, spec, bench: Workbench, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the message alone; the folder is as it was."""
    spec("onnxruntime-fp32")
    for path in bench.folder.iterdir():
        if path.name.startswith("onnx-"):
            (tmp_path / path.name).write_bytes(b"no model " * 50)
    before = sorted(tmp_path.iterdir())
    capfd.readouterr()
    with pytest.raises(ExportError, match=rf"making {name} failed.*it said: .*\w"):
        make_model(dataclasses.replace(bench, folder=tmp_path), name)
    assert capfd.readouterr() == ("", "")
    assert sorted(tmp_path.iterdir()) == before


def test_a_converter_that_crashes_is_an_export_error(bench: Workbench, monkeypatch, tmp_path: Path) -> None:
    """It takes the process of its own with it, not this one."""
    real = subprocess.run

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        crash = "import os, signal; print('halfway', flush=True); os.kill(os.getpid(), signal.SIGSEGV)"
        return real([sys.executable, "-c", crash], **options)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ExportError, match=r"signal 11; it said: halfway"):
        make_model(dataclasses.replace(bench, folder=tmp_path), "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_export_error(bench: Workbench, tmp_path: Path) -> None:
    """One line, not a traceback."""
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match=r"cannot write onnx"):
        make_model(dataclasses.replace(bench, folder=tmp_path / "file"), "onnx")


def test_crop_geometry_is_torchvisions(reference: Checkpoint, contract: Contract) -> None:
    """Shown on frames whose shorter edge is right already, so that nothing is resized."""
    shortest = make_contract(ExportOptions(weights="reference", resize="shortest:256"), reference)
    baseline, tutorial = TorchBaseline(reference, shortest), TutorialPreprocessing(shortest)
    for width, height in ((256, 331), (342, 256), (256, 256)):
        frame = draw_frame(2, width, height)
        expected = baseline.prepare_frame(frame).numpy()[np.newaxis]
        assert np.abs(tutorial.prepare(frame) - expected).max() < 1e-5
        if importlib.util.find_spec("ncnn"):
            assert np.abs(ncnn_input(shortest, frame) - expected[0]).max() < 1e-4


def ncnn_input(contract: Contract, frame: np.ndarray) -> np.ndarray:
    """What the ncnn subject prepares, without a model."""
    from ecovision_edge_bench.subjects.ncnn import Pixels

    return np.array(Pixels(contract).prepare(frame))


def test_the_contracts_temperature_divides_the_logits() -> None:
    """Hotter is flatter."""
    logits = np.array([2.0, 0.0], np.float32)
    assert softmax(logits, 2.0) == pytest.approx(softmax(logits / 2, 1.0))


def test_openvino_is_imported_without_telemetry(tmp_path: Path) -> None:
    """Else an import alone leaves files in the home folder, and tells of itself over the network."""
    need("openvino-fp32")
    code = "import ecovision_edge_bench.subjects.openvino, openvino"
    home = {**os.environ, "HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=home, capture_output=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()
    assert list(tmp_path.iterdir()) == []


def test_openvino_computes_what_int8_leaves_in_floats_in_fp32_on_arm() -> None:
    """Its own choice there is fp16; on x86 it stays its own."""
    assert [precision_hint(p, "aarch64") for p in ("fp32", "bf16", "int8")] == ["f32", "bf16", "f32"]
    assert [precision_hint(p, "x86_64") for p in ("fp32", "bf16", "int8")] == ["f32", "bf16", None]


def test_adapters_import_no_engine() -> None:
    """A model is made by a process that runs none of them; engines come with `load`."""
    engines = sorted({p.runs_with[0] for p in PEERS.values()})
    modules = [KINDS[p.kind] for p in PEERS.values()]
    code = f"import sys, {', '.join(modules)}; print([m for m in {engines!r} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=True)
    assert ran.stdout.decode().strip() == "[]"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one\ntwo", "one"),
        ("\n---\n  what happened\n", "what happened"),
        ("backend='x' raised:\nValueError: no", "backend='x' raised: ValueError: no"),
        ("", "RuntimeError"),
        ("***", "RuntimeError"),
    ],
)
def test_what_an_engine_says_is_cut_to_what_tells(text: str, line: str) -> None:
    """One line; of an announcement the next line too."""
    assert first_line(RuntimeError(text)) == line


def test_models_of_peers_are_kept_in_the_users_cache(tmp_path: Path, monkeypatch) -> None:
    """As XDG says; an empty variable is none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert peer_folder() == tmp_path / "ecovision-edge" / "peers"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert peer_folder() == tmp_path / ".cache" / "ecovision-edge" / "peers"
