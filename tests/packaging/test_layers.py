"""Facts about which package may import which."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def lint_imports(folder):
    program = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("import-linter is not installed: pip install 'ecovision-edge[dev]'")
    command = [program, "--no-cache", "--config", str(folder / "pyproject.toml")]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)


def test_imports_point_one_way():
    """benchmarks -> export -> runtime, and the library knows nothing of its command line."""
    ran = lint_imports(REPOSITORY)
    assert ran.returncode == 0, ran.stdout.decode() + ran.stderr.decode()
    assert b"0 broken" in ran.stdout
