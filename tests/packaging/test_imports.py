"""Facts about what an import brings in, each told by a process of its own."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from ecovision_edge.base.installation import Installation, extra_fix, pip_fix

pytestmark = pytest.mark.slow

HEAVY = [
    *[
        "torch",
        "torchvision",
        "typer",
        "click",
        "rich",
        "onnx",
        "onnxscript",
        "onnxsim",
        "PIL",
        "safetensors",
    ],
    *["huggingface_hub", "onnxruntime", "ai_edge_litert", "ecovision_edge_export", "ecovision_edge_bench"],
    *["pydantic", "aiohttp", "prometheus_client", "paho", "serial", "gpiozero"],
    *["gradio", "fastapi", "starlette", "uvicorn", "pandas", "matplotlib"],
]
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


def python(*arguments, **options):
    options = {"capture_output": True, "timeout": 120, "env": ENVIRONMENT, **options}
    return subprocess.run([sys.executable, *arguments], check=False, **options)


TELL = """
import json, sys
sys.stderr.write(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))
"""


def loaded(code):
    """Top-level names of the modules that are loaded after `code`."""
    ending = (
        "\nimport json, sys; sys.stderr.write(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    ran = python("-W", "error", "-c", textwrap.dedent(code) + ending)
    assert ran.returncode == 0, ran.stderr.decode()
    return set(json.loads(ran.stderr.splitlines()[-1]))


def test_importing_the_runtime_is_light():
    """numpy and OpenCV; no torch, no command-line library, no engine, none of the other packages."""
    assert loaded("import ecovision_edge") & {"numpy", "cv2", *HEAVY} == set()
    names = loaded("from ecovision_edge import Classifier")
    assert {"numpy", "cv2"} <= names
    assert names & set(HEAVY) == set()


def test_importtime_names_nothing_heavy():
    """`python -X importtime`, as a person would look."""
    ran = python("-X", "importtime", "-c", "from ecovision_edge import Classifier")
    found = {line.rpartition("|")[2].strip().partition(".")[0] for line in ran.stderr.decode().splitlines()}
    assert "ecovision_edge" in found
    assert found & set(HEAVY) == set()


def test_loading_a_model_brings_in_the_engine_alone():
    """onnxruntime, and still nothing else."""
    names = loaded("from ecovision_edge import Classifier; Classifier.load()")
    assert names & set(HEAVY) == {"onnxruntime"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["verify", "--help"]])
def test_asking_for_help_loads_no_engine(arguments):
    """Quick on a Raspberry Pi: the parser, and neither torch nor onnxruntime."""
    names = loaded(f"from ecovision_edge.cli import main; assert main({arguments!r}) == 0")
    assert names & {"torch", "torchvision", "onnxruntime", "onnx", "ecovision_edge_export"} == set()


def test_classifying_loads_no_torch():
    """Nor does anything else that the device runs."""
    code = """
        from ecovision_edge.cli import main
        assert main(['classify', 'demo:']) == 0
        assert main(['verify']) == 0
    """
    assert loaded(code) & {"torch", "torchvision", "onnx", "ecovision_edge_export", "PIL"} == set()


def test_whoever_updates_loads_neither_python_tuf_nor_an_engine():
    """Both have processes of their own: a program that runs a camera may ask for an update."""
    names = loaded("from ecovision_edge.updates.updating import update")
    assert names & {"tuf", "securesystemslib", "urllib3", "numpy", "cv2", *HEAVY} == set()


def test_importing_the_exporter_brings_no_torch():
    """Its help has to work where the extra is not installed."""
    names = loaded("from ecovision_edge_export.cli import comparing, exporting")
    assert names & {"torch", "torchvision", "onnx", "onnxsim", "onnxscript", "safetensors", "PIL"} == set()


def test_onnxruntime_is_told_not_to_report_usage():
    """Before its import, as its privacy notice wants; a user who has decided otherwise is left to it."""
    code = "from ecovision_edge import Classifier\nClassifier.load()\nimport os\nprint(os.environ['{}'])"
    for given, expected in (({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")):
        environment = {k: v for k, v in ENVIRONMENT.items() if k != "ORT_DISABLE_TELEMETRY"}
        ran = python("-c", code.format("ORT_DISABLE_TELEMETRY"), env={**environment, **given})
        assert ran.stdout.decode().strip() == expected, ran.stderr.decode()


BLOCKER = """
    import sys

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in NAMES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture
def without(tmp_path):
    """Run Python where some modules cannot be imported."""

    def run(modules, *arguments):
        code = textwrap.dedent(BLOCKER).replace("NAMES", repr(modules))
        (tmp_path / "sitecustomize.py").write_text(code)
        env = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path)}
        check = python("-c", f"import {min(modules)}", env=env)
        assert b"ModuleNotFoundError" in check.stderr, "the blocker does not block"
        return python(*arguments, env=env, cwd=tmp_path)

    return run


@pytest.fixture
def without_torch(without):
    """Run the command where torch cannot be imported."""
    return lambda *arguments: without({"torch", "torchvision"}, "-m", "ecovision_edge", *arguments)


BASE = [("numpy", "numpy"), ("cv2", "opencv-python-headless"), ("typer", "typer")]


@pytest.mark.parametrize(("module", "library"), BASE)
def test_a_base_library_that_is_missing_is_one_line(without, module, library):
    """Which one, and the pip line with the version that is needed; status 1, as of any missing library."""
    requirement = Installation.here().requirement_of(module)
    assert requirement.startswith(f"{library}>=")
    ran = without({module}, "-m", "ecovision_edge", "classify", "demo:")
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert ran.stderr.decode() == f"ecovision-edge: {module} is not installed; {pip_fix(requirement)}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["verify", "--help"]])
def test_help_needs_neither_numpy_nor_opencv(without, arguments):
    """It is where one looks when an installation does not work."""
    ran = without({"numpy", "cv2"}, "-m", "ecovision_edge", *arguments)
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_in_python_a_missing_base_library_is_a_typed_error(without):
    """Raised by the first name that needs it."""
    code = "from ecovision_edge import EcovisionError\ntry:\n import ecovision_edge as e; e.Classifier\n"
    ran = without({"numpy"}, "-c", f"{code}except EcovisionError as e: print(type(e).__name__, e)")
    assert ran.stdout.decode().startswith("MissingDependencyError numpy is not installed; run: ")


@pytest.mark.parametrize("arguments", [["export", "--out", "x"], ["parity", "x"]])
def test_a_command_whose_extra_is_missing_gives_the_pip_line(without_torch, arguments, tmp_path):
    """One line, status 1, nothing written."""
    ran = without_torch(*arguments)
    assert ran.returncode == 1
    assert ran.stdout == b""
    assert ran.stderr.decode() == (f"ecovision-edge: torch is not installed; {extra_fix('export')}\n")
    assert not (tmp_path / "x").exists()


def test_an_update_without_its_extra_gives_the_pip_line(without, tmp_path):
    """One line, from the process that would have needed it; `bundles` needs no extra."""
    update = ("update", "--from", "http://127.0.0.1:1/", "--store", str(tmp_path / "store"))
    ran = without({"tuf"}, "-m", "ecovision_edge", *update)
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert ran.stderr.decode() == f"ecovision-edge: tuf is not installed; {extra_fix('update')}\n"
    ran = without(
        {"tuf", "urllib3"}, "-m", "ecovision_edge", "bundles", "list", "--store", str(tmp_path / "store")
    )
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.parametrize("module", ["tuf", "cryptography"])
def test_publishing_without_its_extra_gives_the_pip_line(without, module):
    """One line, as of every other; its help needs neither."""
    ran = without({module}, "-m", "ecovision_edge", "release", "status")
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert ran.stderr.decode() == f"ecovision-edge: {module} is not installed; {extra_fix('update')}\n"
    assert without({module}, "-m", "ecovision_edge", "release", "add", "--help").returncode == 0


@pytest.mark.parametrize("arguments", [["--help"], ["export", "--help"], ["verify"], ["classify", "demo:"]])
def test_what_needs_no_torch_works_without(without_torch, arguments):
    """The device's commands, and the help of all."""
    ran = without_torch(*arguments)
    assert (ran.returncode, ran.stderr) == (0, b"")
