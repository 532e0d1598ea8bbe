"""Facts about the sources of frames with the oldest OpenCV that the package takes."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
# Files and folders, MJPEG and stills over HTTP; then, of servers, MJPEG and RTSP through OpenCV's FFmpeg.
FILES = "jpeg", "camera_files", "camera_http", "camera_multipart", "camera_opencv", "camera_servers"
CONTRACT = "not camera_servers or every_source or over_either_transport or in_order"


@pytest.fixture(scope="module")
def oldest(tmp_path_factory):
    """Python with that OpenCV, and no more than these tests need."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    [version] = re.findall(r'"opencv-python-headless>=([\d.]+)"', text)
    folder = tmp_path_factory.mktemp("oldest") / "venv"
    venv.create(folder)
    python = folder / "bin" / "python"
    # numpy 1, which that OpenCV was built for.
    packages = f"opencv-python-headless=={version}.*", "numpy<2", "pytest", "hypothesis"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, "--disable-pip-version-check", *packages], check=True, timeout=600)
    return python


def test_the_sources_work_with_the_oldest_opencv(oldest, tmp_path):
    """Their own tests, run by it; what needs more than OpenCV and numpy is not among them."""
    tests = [str(REPOSITORY / "tests" / "runtime" / f"test_{name}.py") for name in FILES]
    options = ["--noconftest", "-c", os.devnull, "--import-mode=importlib", "-p", "no:cacheprovider", "-q"]
    path = os.pathsep.join([str(REPOSITORY / "runtime"), str(REPOSITORY)])
    done = subprocess.run(
        [str(oldest), "-m", "pytest", *options, f"--rootdir={REPOSITORY}", "-k", CONTRACT, *tests],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d{3} passed", done.stdout), done.stdout
