"""What all tests share: where photographs are, and no skip that could have been avoided."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How many cases a property gets. They are the same on every run: a check of a change must not fail over what
# the change did not touch. HYPOTHESIS_PROFILE=explore looks for new ones; `-m "not slow"` takes `quick`.
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=25)
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=100)
settings.register_profile("explore", derandomize=False, deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# What `tune` once found on this machine must not change what tests see; and no test may write into the home
# of whoever runs it. No folder can be here: no profile is found, and saving one is an error.
os.environ["ECOVISION_EDGE_PROFILE_DIR"] = os.devnull

# No test drives the pins of the board that it runs on.
os.environ["GPIOZERO_PIN_FACTORY"] = "mock"

# Of the formats that jsonschema can check one compiles a grammar when it is imported, over a second in each
# worker: that of IRIs, which none of our schemas has.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
ALL_SLOW = re.compile(r"^pytestmark = .*\bpytest\.mark\.slow\b", re.MULTILINE)
SLOW, LISTED = 1.0, 10  # seconds of a test that is listed, and how many are


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that finds tests which are not quick, and are not marked so."""
    parser.addoption(
        "--quick-limit",
        type=float,
        metavar="SECONDS",
        help="fail if a test without the mark `slow` takes longer; only for a machine that does nothing else",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The quick tier has the quick profile, unless another is asked for."""
    if is_quick(config) and "HYPOTHESIS_PROFILE" not in os.environ:
        settings.load_profile("quick")


def is_quick(config: pytest.Config) -> bool:
    """Whether slow tests are left out."""
    return "not slow" in config.option.markexpr


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported now stays until the end, and the garbage collector need not look through it again.

    With PyTorch it is a million objects, half a second for each full collection.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The quick tier does not even import the modules that are slow as a whole, nor what they import."""
    if collection_path.suffix != ".py" or not is_quick(config):
        return None
    return True if ALL_SLOW.search(collection_path.read_text("utf-8")) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers take the files that take longest first, so that none has one left at the end."""
    if not hasattr(config, "workerinput"):
        return
    weights: Counter[Path] = Counter()
    for item in items:
        weights[item.path] += 100 * ("packaging" in item.keywords) + ("slow" in item.keywords)
    items.sort(key=lambda item: -weights[item.path])  # stable: each file stays in order


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The longest of the tests that are in the quick tier: whoever reads this may want to mark them."""
    reports = [r for key in ("passed", "failed") for r in terminalreporter.getreports(key)]
    taken = [(r.duration, r.nodeid) for r in reports if r.when == "call" and "slow" not in r.keywords]
    longest = [row for row in sorted(taken, reverse=True)[:LISTED] if row[0] > SLOW]
    if longest:
        terminalreporter.section("longest tests without the mark `slow`")
        for seconds, name in longest:
            terminalreporter.write_line(f"{seconds:.2f}s {name}")


@pytest.fixture(scope="session")
def photographs() -> Path:
    """Folder with train/CLASS and val/CLASS: $ECOVISION_DATA, or ../shared/data/garbage-v2."""
    folder = Path(os.environ.get("ECOVISION_DATA", SHARED / "data" / "garbage-v2"))
    if not (folder / "val").is_dir():
        pytest.skip("needs photographs: set ECOVISION_DATA to a folder with train/CLASS and val/CLASS")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """With ECOVISION_NO_SKIP=1 a skip is a failure: everything that tests need is there.

    With --quick-limit so is a test that takes longer and is not marked `slow`.
    """
    report = yield
    limit = item.config.option.quick_limit
    if limit is not None and report.passed and call.duration > limit and "slow" not in item.keywords:
        report.outcome = "failed"
        report.longrepr = (
            f"{call.when} took {call.duration:.2f} s, over {limit:g} s: make it quick or mark it slow"
        )
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("ECOVISION_NO_SKIP") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be skipped: {report.longrepr}"
    return report
