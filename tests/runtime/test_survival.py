"""Facts about engines that would end the process on a CPU: they are tried elsewhere, and never imported."""

import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ecovision_edge import Classifier, EcovisionError
from ecovision_edge.backends import probing, survival
from ecovision_edge.backends.probing import IMPORTED, probe_bundle, probe_engine
from ecovision_edge.backends.survival import FILE_NAME, Finding, cpu_key, keep_findings, read_findings
from ecovision_edge.base.device import Cpu
from ecovision_edge.base.homes import PROFILE_DIR_VARIABLE
from ecovision_edge.bundle import engines
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.errors import DeadlyEngineError, MissingDependencyError
from ecovision_edge.verify import verify_bundle
from ecovision_edge_bench.tune.plan import make_plan

PI4 = Cpu("aarch64", "Raspberry Pi 4 Model B Rev 1.4", frozenset({"fp", "asimd", "crc32"}))
PI5 = Cpu("aarch64", "Raspberry Pi 5 Model B Rev 1.0", frozenset({"fp", "asimd", "asimddp", "atomics"}))
PC = Cpu("x86_64", "a PC", frozenset({"sse4_2"}))
VERSION = "1.99.0"


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Of profiles; and no engine is loaded yet."""
    monkeypatch.setenv(PROFILE_DIR_VARIABLE, str(tmp_path / "profiles"))
    for engine in engines.ENGINES.values():
        monkeypatch.delitem(sys.modules, engine.module, raising=False)
    return tmp_path / "profiles"


@pytest.fixture
def on(monkeypatch):
    """Let this be such a CPU, with such a version of onnxruntime."""

    def be(cpu, version=VERSION):
        monkeypatch.setattr("ecovision_edge.base.device.read_cpu", lambda: cpu)
        monkeypatch.setattr(probing, "read_cpu", lambda: cpu)
        monkeypatch.setattr(survival.platform, "machine", lambda: cpu.arch)
        versions = {"onnx": {"onnxruntime": version} if version else {}, "tflite": {}}
        monkeypatch.setattr(survival, "installed_versions", versions.__getitem__)
        written = version and version.partition("+")[0]
        monkeypatch.setattr(survival, "written_version", {"onnx": written, "tflite": None}.__getitem__)

    return be


def ended(status, said=f"{IMPORTED}\n"):
    """A process that ended so."""
    return lambda command: subprocess.CompletedProcess(command, status, said, "")


@pytest.mark.parametrize("version", ["1.21.0", "1.21.0+dfsg"])
def test_onnxruntime_1_21_0_is_refused_on_arm_without_dot_products(on, version):
    """It dies of an illegal instruction at its import; the error says what to install."""
    on(PI4, version)
    with pytest.raises(DeadlyEngineError) as raised:
        Classifier.load()
    message = str(raised.value)
    assert f"onnxruntime {version} would end this process on this CPU, {PI4.model}" in message
    assert "onnxruntime!=1.21.0" in message
    assert isinstance(raised.value, MissingDependencyError)


@pytest.mark.parametrize(("cpu", "version"), [(PI5, "1.21.0"), (PC, "1.21.0"), (PI4, "1.22.0"), (PI4, None)])
def test_where_nothing_is_known_of_it_an_engine_is_loaded(on, cpu, version):
    """Another CPU, another version, no version at all."""
    on(cpu, version)
    survival.refuse_deadly("onnx")


def test_an_engine_that_is_loaded_lives(on, monkeypatch):
    """Whatever is known of it."""
    on(PI4, "1.21.0")
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    survival.refuse_deadly("onnx")


def test_a_cpu_of_which_nothing_is_known_is_not_looked_at(on, monkeypatch):
    """So the start of an x86 does not pay for it."""
    on(PC)
    monkeypatch.setattr("ecovision_edge.base.device.read_cpu", lambda: pytest.fail("the CPU was read"))
    survival.refuse_deadly("onnx")


@pytest.mark.parametrize(
    ("cpu", "version", "kept"),
    [
        (PI5, "1.21.0", []),
        (PI4, "1.22.0", []),
        (PC, VERSION, [Finding("onnxruntime", VERSION, cpu_key(PC), None)]),
        (PC, VERSION, [Finding("ai-edge-litert", VERSION, cpu_key(PC), "SIGILL")]),
    ],
)
def test_a_start_that_nothing_known_may_concern_reads_no_metadata(on, monkeypatch, cpu, version, kept):
    """Not where an engine was found to live, nor where another one dies: it costs more than all else."""
    on(cpu, version)
    if kept:
        keep_findings(kept)
    monkeypatch.setattr(survival, "installed_versions", lambda format: pytest.fail("the metadata was read"))
    survival.refuse_deadly("onnx")


@pytest.mark.parametrize(
    ("status", "said", "found"),
    [
        (0, f"{IMPORTED}\n", None),
        (-signal.SIGILL, "", "SIGILL"),
        (-signal.SIGSEGV, "", "SIGSEGV"),
        (-signal.SIGILL, f"{IMPORTED}\n", "SIGILL"),
        (-signal.SIGABRT, "", "SIGABRT"),
    ],
)
def test_how_the_process_ends_is_what_is_found(on, tmp_path, status, said, found):
    """By a fault before the import is done, or by an illegal instruction at any time."""
    on(PI4)
    finding = probe_engine("onnx", tmp_path / "model.onnx", PI4, ended(status, said))
    assert finding == Finding("onnxruntime", VERSION, cpu_key(PI4), found)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (1, f"{IMPORTED}\n"),
        (1, ""),
        (0, ""),
        (-signal.SIGSEGV, f"{IMPORTED}\n"),
        (-signal.SIGKILL, ""),
        (-signal.SIGTERM, ""),
        (-63, ""),
    ],
)
def test_what_the_cpu_is_not_to_blame_for_is_no_finding(on, tmp_path, status, said):
    """An error, a model that ends a sound engine, or whoever sent a signal: the kernel, short of memory."""
    on(PI4)
    assert probe_engine("onnx", tmp_path / "model.onnx", PI4, ended(status, said)) is None


@pytest.mark.parametrize("error", [OSError(8, "Exec format error"), subprocess.TimeoutExpired("x", 1)])
def test_a_process_that_cannot_be_had_finds_nothing(on, tmp_path, error):
    """Nor does one without an end."""
    on(PI4)

    def fail(command):
        raise error

    assert probe_engine("onnx", tmp_path / "model.onnx", PI4, fail) is None


def test_what_was_found_is_kept_and_read_where_the_engine_would_be_loaded(on, own_folder):
    """For this version on this CPU alone; and a second probe is not made."""
    on(PC)
    bundle = Bundle.open(embedded_bundle_path())
    (finding,) = probe_bundle(bundle, attempt=ended(-signal.SIGILL, ""))
    assert read_findings() == (finding,)
    assert probe_bundle(bundle, attempt=lambda command: pytest.fail("tried again")) == (finding,)
    with pytest.raises(DeadlyEngineError, match=r"onnxruntime 1\.99\.0 would end this process .*SIGILL"):
        Classifier.load()
    on(PC, "2.0")
    survival.refuse_deadly("onnx")
    on(PI5)
    survival.refuse_deadly("onnx")
    (again,) = probe_bundle(bundle, attempt=ended(0))
    assert again.ended is None
    assert read_findings() == (again,)


def test_what_is_not_to_be_kept_is_not(on, own_folder):
    """As of a dry run."""
    on(PC)
    (finding,) = probe_bundle(Bundle.open(embedded_bundle_path()), keep=False, attempt=ended(0))
    assert finding.ended is None
    assert not own_folder.exists()


def test_a_bundle_is_not_verified_with_an_engine_that_died(on, monkeypatch):
    """A failed check, with the fix; also where it cannot be kept."""
    on(PC)
    monkeypatch.setattr(probing, "_run", ended(-signal.SIGILL, ""))
    monkeypatch.setattr(probing, "keep_findings", lambda findings: None)
    report = verify_bundle(embedded_bundle_path(), probe=True)
    assert not report.ok
    assert "would end this process" in report.checks[-1].detail
    assert report.checks[-1].checked


def test_tune_leaves_out_an_engine_that_died(on):
    """And says what to do."""
    on(PC)
    bundle = Bundle.open(embedded_bundle_path())
    with pytest.raises(MissingDependencyError, match=r"would end this process .*onnxruntime!=1\.99\.0"):
        make_plan(bundle, (1,), probe_bundle(bundle, attempt=ended(-signal.SIGILL, "")))


def test_what_cannot_be_written_is_told_where_it_matters(on, own_folder, caplog):
    """What was found holds for this run; that an engine lives is found again."""
    on(PC)
    own_folder.write_text("a file")
    (finding,) = probe_bundle(Bundle.open(embedded_bundle_path()), attempt=ended(0))
    assert (finding.ended, caplog.text) == (None, "")
    (finding,) = probe_bundle(Bundle.open(embedded_bundle_path()), attempt=ended(-signal.SIGILL, ""))
    assert finding.ended == "SIGILL"
    assert "cannot write" in caplog.text


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema": "another"}', '{"schema": "ecovision-edge/engines"}']
)
def test_a_damaged_file_says_nothing(on, own_folder, text):
    """It is found again."""
    on(PC)
    keep_findings([Finding("onnxruntime", VERSION, cpu_key(PC), "SIGILL")])
    assert len(read_findings()) == 1
    (own_folder / FILE_NAME).write_text(text)
    assert read_findings() == ()


@pytest.mark.slow
def test_the_engine_here_lives_in_a_process_of_its_own():
    """For real: the installed onnxruntime runs the embedded model."""
    (finding,) = probe_bundle(Bundle.open(embedded_bundle_path()))
    assert (finding.package, finding.ended) == ("onnxruntime", None)


def test_a_version_is_read_without_an_import(monkeypatch, tmp_path):
    """From the metadata; of a build without, from its first file."""
    assert engines.installed_versions("onnx")["onnxruntime"].count(".") >= 2
    (tmp_path / "handmade.py").write_text('__version__ = "1.21.0"\nraise SystemExit("imported")\n')
    monkeypatch.syspath_prepend(tmp_path)
    for module, found in (("handmade", {"no-such-package": "1.21.0"}), ("no_such_module", {})):
        engine = engines.Engine("no-such-package", module)
        monkeypatch.setitem(engines.ENGINES, "onnx", engine)
        assert engines.installed_versions("onnx") == found


def test_it_is_one_of_the_errors_of_this_package():
    """So `except EcovisionError` and `except ImportError` both take it."""
    assert issubclass(DeadlyEngineError, (EcovisionError, ImportError))
