"""Facts about the pip lines of errors: each for this very installation."""

import json
import os
import shlex
import subprocess
import sys
from importlib import metadata

import pytest

from ecovision_edge.base import installation
from ecovision_edge.base.installation import Installation, extra_fix, missing_library, pip_fix, upgrade_fix

PYTHON = "/home/pi/my venv/bin/python"
REQUIRES = [
    "numpy>=1.23.5",
    "tomli>=2; python_version < '3.11'",
    "aiohttp>=3.10; extra == 'web'",
    "lgpio>=0.2; (platform_machine == 'aarch64') and extra == 'gpio'",
    'gpiozero>=2; extra == "gpio"',
]


@pytest.fixture
def installed(tmp_path):
    """An installation with this `direct_url.json`, these requirements, and no sources around it."""

    def make(url=None, requires=REQUIRES, installer="pip", root=None):
        folder = tmp_path / "ecovision_edge-0.1.0.dist-info"
        folder.mkdir(exist_ok=True)
        lines = ["Metadata-Version: 2.4", "Name: ecovision-edge", *(f"Requires-Dist: {r}" for r in requires)]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        (folder / "INSTALLER").write_text(f"{installer}\n")
        (folder / "direct_url.json").unlink(missing_ok=True)
        if url is not None:
            (folder / "direct_url.json").write_text(url if isinstance(url, str) else json.dumps(url))
        return Installation(metadata.PathDistribution(folder), PYTHON, root or tmp_path / "site-packages")

    return make


@pytest.fixture
def source(tmp_path):
    """A copy of the sources, and one built wheel of them."""
    folder = tmp_path / "a copy"
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    (folder / "x-0.1.0-py3-none-any.whl").touch()
    return folder


def words(line):
    """What a shell makes of the line, after the interpreter's own `pip install`."""
    python, *rest = shlex.split(line)
    assert (python, *rest[:3]) == (PYTHON, "-m", "pip", "install")
    return rest[3:]


def test_an_extra_comes_from_where_the_installation_came(installed, source):
    """Editable, a folder, a wheel, a server, a repository: as PEP 610 has them."""
    url = source.as_uri()
    assert "%20" in url
    editable = installed({"url": url, "dir_info": {"editable": True}})
    assert words(editable.extra_line("web")) == ["--editable", f"{source}[web]"]
    assert words(installed({"url": url, "dir_info": {}}).extra_line("web")) == [f"{source}[web]"]
    wheel = source / "x-0.1.0-py3-none-any.whl"
    assert words(installed({"url": wheel.as_uri(), "archive_info": {}}).extra_line("web")) == [
        f"{wheel}[web]"
    ]
    far = installed({"url": "https://host/x.whl", "archive_info": {}})
    assert words(far.extra_line("web")) == ["ecovision-edge[web] @ https://host/x.whl"]
    vcs = {"vcs": "git", "requested_revision": "main", "commit_id": "ab12"}
    cloned = installed({"url": "https://host/eco.git", "vcs_info": vcs, "subdirectory": "edge"})
    assert words(cloned.extra_line("web")) == [
        "ecovision-edge[web] @ git+https://host/eco.git@ab12#subdirectory=edge"
    ]


def test_what_it_came_from_may_be_gone(installed, source):
    """Then the extra's libraries are installed by their own names, which the index has."""
    gone = (source / "gone").as_uri()
    for url in (
        {"url": gone, "dir_info": {}},
        {"url": gone, "archive_info": {}},
        None,
        "{",
        "[]",
        '{"url": 7}',
    ):
        lost = installed(url)
        assert words(lost.extra_line("web")) == ["aiohttp>=3.10"]
        assert words(lost.extra_line("gpio")) == [
            "lgpio>=0.2; (platform_machine == 'aarch64')",
            "gpiozero>=2",
        ]


def test_a_device_with_its_own_opencv_gets_no_second_one(installed, source):
    """Installed with --no-deps: the origin's base requirements would bring what was left out on purpose."""
    alone = installed({"url": source.as_uri(), "dir_info": {}}, requires=["no-such-opencv>=4", *REQUIRES])
    assert words(alone.extra_line("web")) == ["aiohttp>=3.10"]


def test_a_copy_of_the_sources_that_was_never_installed_names_itself(source, tmp_path):
    """And what is neither installed nor in such a copy says where the line is for."""
    assert words(Installation(None, PYTHON, source).extra_line("web")) == ["--editable", f"{source}[web]"]
    assert words(Installation(None, PYTHON, tmp_path).extra_line("web")) == [".[web]"]


def test_without_pip_it_is_uv_if_that_is_there(installed, monkeypatch):
    """Environments of uv have no pip."""
    monkeypatch.setattr(installation, "has_pip", lambda: False)
    monkeypatch.setattr(installation.shutil, "which", lambda name: None)
    line = shlex.split(installed(installer="uv").pip_line("x"))
    assert line == ["uv", "pip", "install", "--python", PYTHON, "x"]
    assert words(installed().pip_line("x")) == ["x"]


def test_an_upgrade_comes_from_there_too(installed, source):
    """The name is not on the index."""
    said = installed({"url": source.as_uri(), "dir_info": {}}).upgrade_words()
    line = f"{shlex.quote(PYTHON)} -m pip install --upgrade '{source}'"
    assert said == f"renew {source}, then: {line}"
    vcs = {"vcs": "git", "requested_revision": "main", "commit_id": "ab12"}
    cloned = installed({"url": "https://host/eco.git", "vcs_info": vcs})
    assert "git+https://host/eco.git@main'" in cloned.upgrade_words()
    assert "in a newer copy of its source" in installed().upgrade_words()


def test_advice_names_this_interpreter():
    """Whatever `pip` the path has first."""
    for fix in (extra_fix("web"), pip_fix("onnxruntime")):
        assert fix.startswith(f"run: {shlex.quote(sys.executable)} -m pip install ")
    assert shlex.quote(sys.executable) in upgrade_fix()


def test_every_extra_that_is_advised_exists():
    """A line with a slip in it would install nothing, with a warning that scrolls by."""
    extras = {e.replace("_", "-") for e in metadata.metadata("ecovision-edge").get_all("Provides-Extra")}
    assert {"bench", "demo", "export", "gpio", "litert", "mqtt", "serial", "web"} <= extras


def test_asking_for_pip_leaves_setuptools_distutils_alone():
    """setuptools takes find_spec("pip") for the start of pip, and steps aside for the whole process."""
    code = (
        "import sys\nfrom ecovision_edge.base.installation import pip_fix\npip_fix('x')\n"
        "import distutils\nprint(distutils.__file__)"
    )
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert "setuptools" in found.stdout, found.stderr


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'numpy'", name="numpy"), "numpy is not installed; run: "),
        (
            ImportError("libz.so.1: cannot open shared object file", name="cv2"),
            "cv2 cannot be loaded: libz.so.1: cannot open shared object file; run: ",
        ),
        (
            ModuleNotFoundError("No module named 'cv2.gapi'", name="cv2.gapi"),
            "cv2 cannot be loaded: No module",
        ),
    ],
)
def test_a_library_of_the_base_that_fails_is_named_with_its_pip_line(error, message):
    """Not installed, or there without what it needs itself."""
    found = missing_library(error)
    assert found is not None
    assert found.message.startswith(message)
    assert found.message.split("; run: ")[1] in {
        pip_fix(requirement).removeprefix("run: ")
        for requirement in (Installation.here().requirement_of(name) for name in ("numpy", "cv2"))
    }


def test_another_module_that_fails_is_no_business_of_the_base():
    """A bug of ours, or an extra: whoever imports it says so."""
    assert missing_library(ModuleNotFoundError("No module named 'torch'", name="torch")) is None
    assert missing_library(ImportError("cannot import name 'x'")) is None


def test_without_metadata_numpy_and_opencv_are_still_named():
    """A copy of the sources on the path."""
    nothing = Installation(None)
    assert nothing.requirement_of("numpy") == "numpy"
    assert nothing.requirement_of("cv2") == "opencv-python-headless"
    assert nothing.requirement_of("yaml") is None


@pytest.mark.parametrize(
    ("written", "extras"),
    [
        ('{ name = "ecovision-edge", extras = ["mqtt", "web"], path = "/x.whl" }', "mqtt,serial,web"),
        ('{ name = "ecovision-edge", path = "/x.whl" }, { name = "rich", extras = ["x"] }', "serial"),
        ("", "serial"),
    ],
)
def test_a_tool_of_uv_is_installed_again_with_all_its_extras(installed, source, tmp_path, written, extras):
    """`uv tool upgrade` takes away what was added to its environment."""
    wheel = source / "x-0.1.0-py3-none-any.whl"
    made = installed({"url": wheel.as_uri(), "archive_info": {}}, [], installer="uv")
    tool = tmp_path / "tools/ecovision-edge"
    tool.mkdir(parents=True)
    made = Installation(made._distribution, str(tool / "bin/python"), tmp_path)
    assert "uv tool" not in made.extra_line("serial")
    (tool / "uv-receipt.toml").write_text(f"[tool]\nrequirements = [{written}]\n")
    (tool / "bin").mkdir()
    (tool / "bin/python").symlink_to("/usr/bin/true")  # stands for the Python that it was made of
    begin = ["uv", "tool", "install", "--force", "--python", os.path.realpath("/usr/bin/true")]
    assert shlex.split(made.extra_line("serial")) == [*begin, f"{wheel}[{extras}]"]


@pytest.fixture
def piped(installed, source, tmp_path):
    """An installation that pipx has made, from a wheel, with this record; and the wheel."""
    wheel = source / "x-0.1.0-py3-none-any.whl"

    def make(record, requires=(), name="ecovision-edge"):
        made = installed({"url": wheel.as_uri(), "archive_info": {}}, requires)
        venv = tmp_path / "venvs" / name
        venv.mkdir(parents=True)
        (venv / "pipx_metadata.json").write_text(record)
        return Installation(made._distribution, str(venv / "bin/python"), tmp_path), wheel

    return make


def record_of(spec):
    """What pipx 1.18 writes down, and 1.7 too, as far as it is read."""
    return json.dumps({"main_package": {"package": "ecovision-edge", "package_or_url": spec, "suffix": ""}})


@pytest.mark.parametrize(
    ("record", "extras"),
    [
        (record_of("/x/a.whl[mqtt,web]"), "mqtt,serial,web"),
        (record_of("ecovision-edge[ mqtt ]@ file:///x/a.whl"), "mqtt,serial"),
        (record_of("/x/a.whl"), "serial"),
        (record_of(None), "serial"),
        ("{", "serial"),
        ('{"main_package": 7}', "serial"),
    ],
)
def test_pipx_installs_again_with_all_its_extras(piped, record, extras):
    """What its pip adds, `pipx reinstall` takes away; `pipx inject` of an extra forgets the others."""
    made, wheel = piped(record)
    assert shlex.split(made.extra_line("serial")) == ["pipx", "install", "--force", f"{wheel}[{extras}]"]


def test_an_environment_of_pipx_with_a_suffix_stays_that(piped):
    """`pipx install --suffix=-2` has a venv and a command of that name."""
    made, wheel = piped(record_of("/x/a.whl"), name="ecovision-edge-2")
    words = ["pipx", "install", "--force", "--suffix=-2", f"{wheel}[web]"]
    assert shlex.split(made.extra_line("web")) == words


def test_pipx_keeps_libraries_where_the_wheel_is_gone(piped):
    """By their own names, in its record."""
    made, wheel = piped(record_of("/x/a.whl"), REQUIRES)
    wheel.unlink()
    assert shlex.split(made.extra_line("web")) == ["pipx", "inject", "ecovision-edge", "aiohttp>=3.10"]


def test_an_upgrade_of_a_tool_keeps_its_extras(piped):
    """pip's would be of no record, as above."""
    made, wheel = piped(record_of("/x/a.whl[web]"))
    line = shlex.join(["pipx", "install", "--force", f"{wheel}[web]"])
    assert made.upgrade_words() == f"renew {wheel}, then: {line}"
