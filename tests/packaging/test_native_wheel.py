"""Facts about the wheel of the native filter: one for each architecture, for every Python and glibc."""

import platform
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.slow]

OLDEST_GLIBC = (2, 17)


@pytest.fixture(params=["here", "arm64"])
def made(request):
    """The wheel, and the architecture that it is for."""
    name = "native_wheel" if request.param == "here" else "native_wheel_arm64"
    architecture = platform.machine() if request.param == "here" else "aarch64"
    return request.getfixturevalue(name), architecture


def test_the_wheel_is_named_for_its_architecture_and_for_every_python(made):
    """As pip chooses by it."""
    wheel, architecture = made
    assert wheel.name == f"ecovision_edge_native-0.1.0-py3-none-manylinux_2_17_{architecture}.whl"


def test_the_wheel_holds_the_library_and_nothing_stray(made):
    """No source, no compiler's leavings."""
    wheel, _ = made
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
        assert any(n.endswith("LICENSE") for n in archive.namelist())
    assert names == {f"ecovision_edge_native/{n}" for n in ("__init__.py", "py.typed", "resize.so")}


def test_the_library_needs_the_oldest_glibc_and_no_other_library(made, tmp_path):
    """What its name promises: nothing newer than glibc 2.17, whatever it was built on."""
    wheel, _ = made
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("needs readelf: sudo apt-get install binutils")
    with zipfile.ZipFile(wheel) as archive:
        library = archive.extract("ecovision_edge_native/resize.so", tmp_path)
    told = subprocess.run(
        [readelf, "--wide", "--dynamic", "--dyn-syms", library], capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"NEEDED.*\[(.+)\]", told)) <= {"libc.so.6", "ld-linux-aarch64.so.1"}
    versions = [tuple(map(int, found)) for found in re.findall(r"@GLIBC_(\d+)\.(\d+)", told)]
    assert versions
    assert max(versions) <= OLDEST_GLIBC
    exported = {"abi", "kernel", "pack", "resize", "scratch"}
    assert set(re.findall(r"(?:FUNC|OBJECT) +GLOBAL +DEFAULT +\d+ +(\S+)", told)) == {
        f"ecovision_{name}" for name in exported
    }


def test_an_installed_wheel_is_used_and_verify_says_so(native_wheel, tmp_path):
    """Unpacked beside the libraries of this environment."""
    with zipfile.ZipFile(native_wheel) as archive:
        archive.extractall(tmp_path)
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import ecovision_edge.cli as c"
    command = [sys.executable, "-c", f"{code}; sys.exit(c.main())", "verify"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"; frames are resized by (avx2|avx-vnni|avx512-vnni|neon|dotprod)$", ran.stdout.strip())
