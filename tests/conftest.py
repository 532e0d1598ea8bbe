"""What all tests share: where photographs are, and no skip that could have been avoided."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same cases on every run: a check of a change must not fail over what the change did not touch.
# HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("explore", derandomize=False, deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

# What `tune` once found on this machine must not change what tests see; and no test may write into the home
# of whoever runs it. No folder can be here: no profile is found, and saving one is an error.
os.environ["ECOVISION_EDGE_PROFILE_DIR"] = os.devnull

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def photographs() -> Path:
    """Folder with train/CLASS and val/CLASS: $ECOVISION_DATA, or ../shared/data/garbage-v2."""
    folder = Path(os.environ.get("ECOVISION_DATA", SHARED / "data" / "garbage-v2"))
    if not (folder / "val").is_dir():
        pytest.skip("needs photographs: set ECOVISION_DATA to a folder with train/CLASS and val/CLASS")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """With ECOVISION_NO_SKIP=1 a skip is a failure: everything that tests need is there."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("ECOVISION_NO_SKIP") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be skipped: {report.longrepr}"
    return report
