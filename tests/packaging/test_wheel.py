"""Facts about the wheel: what is in it, and that it works where nothing else of this project is."""

import os
import re
import shlex
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath

import cv2
import pytest

from ecovision_edge import __version__
from ecovision_edge.simulation.synthetic import draw_frame

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = [pytest.mark.packaging, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("ecovision_edge", "ecovision_edge_export", "ecovision_edge_bench")
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


def run(*command, **options):
    options = {"capture_output": True, "timeout": 600, "env": ENVIRONMENT, **options}
    ran = subprocess.run([str(c) for c in command], check=False, **options)
    assert ran.returncode == 0, ran.stdout.decode() + ran.stderr.decode()
    return ran.stdout.decode()


def wheel_settings():
    """The table of `pyproject.toml` that says what a wheel holds."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    return settings["tool"]["hatch"]["build"]["targets"]["wheel"]


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_is_named_for_any_platform(wheel):
    """Pure Python, of this version."""
    assert wheel.name == f"ecovision_edge-{__version__}-py3-none-any.whl"


def test_the_top_level_names_are_the_three_packages(names):
    """And their metadata; nothing else lands in site-packages."""
    assert {n.partition("/")[0] for n in names} == {*PACKAGES, f"ecovision_edge-{__version__}.dist-info"}


def test_the_wheel_is_under_16_mb(wheel):
    """16,000,000 bytes."""
    assert wheel.stat().st_size < 16_000_000


def test_every_file_of_the_packages_is_there_and_no_other(names):
    """As the sources have them, caches left out: the embedded bundle and the weights are whole."""
    expected = set()
    for root, package in zip(("runtime", "export", "benchmarks"), PACKAGES, strict=True):
        for path in (REPOSITORY / root / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                expected.add(path.relative_to(REPOSITORY / root).as_posix())
    assert {n for n in names if ".dist-info/" not in n} == expected


def test_data_types_and_licence_are_in_the_wheel(names):
    """By name: what would be missed first."""
    data = "ecovision_edge/data/reference"
    assert {f"{data}/bundle.json", f"{data}/golden.npz", f"{data}/model.int8.onnx"} <= set(names)
    assert any(n.endswith("/reference.safetensors") for n in names)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert any(re.search(r"\.dist-info/(licenses/)?LICENSE$", n) for n in names)


def test_nothing_stray_is_in_the_wheel(names):
    """No tests, no caches, no hidden files, no links to elsewhere."""
    stray = re.compile(r"(^|/)(tests?|conftest\.py|__pycache__|\.[^/]+|.*\.pyc|.*~|.*\.orig)(/|$)")
    assert [n for n in names if stray.search(n)] == []
    assert [n for n in names if n.startswith("/") or ".." in n.split("/")] == []


def test_the_embedded_bundle_is_the_sources_own(wheel):
    """Byte for byte: its digests would not hold otherwise."""
    source = REPOSITORY / "runtime" / "ecovision_edge" / "data" / "reference"
    with zipfile.ZipFile(wheel) as archive:
        for path in source.iterdir():
            assert archive.read(f"ecovision_edge/data/reference/{path.name}") == path.read_bytes()


def test_the_wheel_for_devices_leaves_out_what_pyproject_names_and_no_more(wheel, device_wheel, names):
    """Each pattern still matches something: a file that was moved would come back unnoticed."""
    with zipfile.ZipFile(device_wheel) as archive:
        kept = {n for n in archive.namelist() if ".dist-info/" not in n}
    left_out = {n for n in names if ".dist-info/" not in n} - kept
    assert kept < set(names)
    patterns = [p.partition("/")[2] for p in wheel_settings()["exclude"]]
    matched = {p: {n for n in left_out if PurePosixPath(n).match(p.replace("/**", "/*"))} for p in patterns}
    assert all(matched.values()), matched
    assert set().union(*matched.values()) == left_out


def test_the_wheel_for_devices_is_less_than_half_of_the_other_and_says_what_it_is(wheel, device_wheel):
    """Under 6,000,000 bytes; another version, so that pip never takes one for the other."""
    assert device_wheel.name == f"ecovision_edge-{__version__}+device-py3-none-any.whl"
    assert device_wheel.stat().st_size < min(6_000_000, 0.45 * wheel.stat().st_size)


def test_the_wheel_for_devices_works_and_says_what_is_not_in_it(device_wheel, tmp_path):
    """Unpacked beside the libraries of this environment: `verify` works; the weights are named as missing."""
    with zipfile.ZipFile(device_wheel) as archive:
        archive.extractall(tmp_path)
    environment = {**ENVIRONMENT, "PYTHONPATH": str(tmp_path)}
    run(sys.executable, "-m", "ecovision_edge", "verify", cwd=tmp_path, env=environment)
    command = [sys.executable, "-m", "ecovision_edge", "export", "--weights", "reference", "--out", "bundle"]
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 2
    assert "the reference weights are not in this installation" in ran.stderr
    assert "which the wheel for devices leaves out" in ran.stderr
    assert not (tmp_path / "bundle").exists()


def test_the_device_needs_few_libraries(wheel):
    """torch only with the extra `export`."""
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"ecovision_edge-{__version__}.dist-info/METADATA").decode()
    required = Parser().parsestr(text).get_all("Requires-Dist")
    base = {re.match(r"[\w-]+", r)[0] for r in required if "extra ==" not in r}
    engine = {"numpy", "opencv-python-headless", "onnxruntime"}
    assert base == {*engine, "platformdirs", "rich", "typer", "tomli"}
    assert any(re.match(r"tomli\b.*python_version < .3.11", r) for r in required)
    assert any(re.match(r"torch\b.*extra == .export.", r) for r in required)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel alone in a new environment: the folder of its programs."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=True)
    # What is imported is compiled then; all that the libraries hold takes longer.
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--no-compile", wheel)
    return folder / "bin"


@pytest.fixture
def elsewhere(tmp_path):
    cv2.imwrite(str(tmp_path / "photo.png"), draw_frame(1))
    return tmp_path


def test_the_installed_wheel_stands_alone(installed, elsewhere):
    """It is imported from the new environment, not from these sources, and torch is not there."""
    code = "import ecovision_edge, importlib.util as u; print(ecovision_edge.__file__, u.find_spec('torch'))"
    file, torch = run(installed / "python", "-c", code, cwd=elsewhere).split()
    assert Path(file).is_relative_to(installed.parent)
    assert torch == "None"
    listed = run(installed / "python", "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check")
    assert f"ecovision-edge=={__version__}" in listed.replace("_", "-")
    assert not re.search(r"^(torch|torchvision|onnx|pillow)==", listed, re.MULTILINE | re.IGNORECASE)


def test_the_installed_wheel_classifies(installed, elsewhere):
    """An image, with the embedded bundle."""
    out = run(installed / "ecovision-edge", "classify", "photo.png", cwd=elsewhere)
    assert out.startswith("photo.png  ")


def test_the_installed_wheel_verifies_itself(installed, elsewhere):
    """Its own bundle, on this device."""
    out = run(installed / "ecovision-edge", "verify", cwd=elsewhere)
    assert out.splitlines()[-1].startswith("verified on ")


def advice(installed, elsewhere, *arguments):
    """The command that an error advises, status 1."""
    ran = subprocess.run(
        [installed / "ecovision-edge", *arguments],
        cwd=elsewhere,
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 1
    problem, run_, command = ran.stderr.decode().rstrip().partition("; run: ")
    assert problem.startswith("ecovision-edge: ")
    assert problem.endswith(" is not installed")
    assert run_
    return command


def test_the_installed_wheel_gives_the_pip_line_for_the_exporter(installed, elsewhere, wheel):
    """Where the extra is really not installed: this interpreter's pip, and this wheel."""
    command = advice(installed, elsewhere, "export", "--out", "x")
    assert shlex.split(command) == [str(installed / "python"), "-m", "pip", "install", f"{wheel}[export]"]


def test_the_pip_line_does_what_it_says(installed, elsewhere):
    """As it stands, in a shell with another Python first on its path; then the extra is there."""
    rules = REPOSITORY / "runtime" / "ecovision_edge" / "data" / "rules" / "de-household.toml"
    arguments = ["--source", "demo:?frames=1", "--bin", rules, "--sink", "serial:///dev/no-such"]
    command = advice(installed, elsewhere, "run", *arguments)
    run("sh", "-ec", f"PIP_DISABLE_PIP_VERSION_CHECK=1 {command}", cwd=elsewhere)
    run(installed / "python", "-c", "import serial", cwd=elsewhere)
