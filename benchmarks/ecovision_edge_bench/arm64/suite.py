"""The runtime's tests on the emulated CPU: all at once, or file by file with a log that outlives a kill."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ecovision_edge.base.files import replace_file
from ecovision_edge.base.markdown import plain, table
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import OptionError
from ecovision_edge_bench.arm64.boards import BOARDS, board_of
from ecovision_edge_bench.arm64.root import PiRoot
from ecovision_edge_bench.arm64.systems import SYSTEMS
from ecovision_edge_bench.arm64.tools import EmulationError

__all__ = ["FileResult", "Header", "Log", "results_table", "run_suite", "start_pytest"]

TESTS = Path("tests/runtime")
LIMIT_S = 3600.0
"""For one file of tests; on an idle machine none takes three minutes."""

HEADS = ("board", "system", "commit", "files", "passed", "failed", "skipped", "did not end")


@dataclass(frozen=True, slots=True)
class Header:
    """What all results of a log are of.

    Args:
        cpu: QEMU's name of the board's CPU.
        system: Debian's name of the system.
        wheel: sha256 of the project's wheel in the root.
        commit: Of the checkout, as `git describe --always --dirty` has it; empty outside of a repository.
    """

    cpu: str
    system: str
    wheel: str
    commit: str


@dataclass(frozen=True, slots=True)
class FileResult:
    """What one file of tests gave.

    Args:
        file: Its name.
        passed: Number of tests.
        failed: Those that failed, or whose fixture did, each with what it said: `NAME: MESSAGE`.
        skipped: Number of tests by reason.
        ended: Why pytest gave no results; empty if it did.
    """

    file: str
    passed: int = 0
    failed: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    ended: str = ""


@dataclass(frozen=True, slots=True)
class Log:
    """A log of results, as one JSON object in a file."""

    header: Header
    results: tuple[FileResult, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Log | None:
        """Return what is there; None if there is no file.

        Raises:
            EmulationError: it is no log of this tool, or cannot be read.
        """
        try:
            value = json.loads(path.read_bytes())
            results = (FileResult(**{**v, "failed": tuple(v["failed"])}) for v in value["results"])
            return cls(Header(**value["header"]), tuple(results))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EmulationError(f"cannot read {path}", found=reason_of(error)) from error
        except (ValueError, LookupError, TypeError) as error:
            raise EmulationError(f"{path} is no log of tests", fix="choose another file") from error

    def write(self, path: Path) -> None:
        """Write it whole or not at all.

        Raises:
            EmulationError: the file cannot be written.
        """
        try:
            replace_file(path, [f"{json.dumps(asdict(self), indent=1)}\n".encode()])
        except OSError as error:
            raise EmulationError(f"cannot write {path}", found=reason_of(error)) from error


def start_pytest(
    root: PiRoot, cpu: str, sources: Path, arguments: Sequence[str], timeout: float | None = None
) -> int:
    """Run pytest there on the checkout `sources`; the exit status is pytest's.

    Raises:
        OptionError: no board has that CPU.
        subprocess.TimeoutExpired: it did not end within `timeout` seconds.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment.pop("ECOVISION_NO_SKIP", None)  # torch and mypy are not in the root
    environment.update(
        root.environment(cpu),
        PYTHONDONTWRITEBYTECODE="1",  # into the checkout
        HYPOTHESIS_STORAGE_DIRECTORY=str(root.path.with_name("hypothesis")),
    )
    command = [str(root.executable), "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(sources)]
    command += ["-c", str(sources / "pyproject.toml"), *arguments]
    return subprocess.run(command, env=environment, cwd=sources, timeout=timeout, check=False).returncode


def run_suite(
    root: PiRoot, cpu: str, sources: Path, file: Path, arguments: Sequence[str] = ()
) -> Iterator[FileResult]:
    """Run each file of the runtime's tests in a process of its own, but those that a log has already.

    Args:
        root: With the wheel of `sources`.
        cpu: QEMU's name of it.
        sources: The checkout.
        file: The log, written when a file of tests is done; a run that was interrupted goes on from there.
        arguments: More of them for pytest, `-k contract`; the log does not tell runs with others apart.

    Raises:
        OptionError: no board has that CPU, or the log is of another CPU, system or wheel.
        EmulationError: the log cannot be read or written.
    """
    header = Header(board_of(cpu).cpu, root.stamp.system, root.stamp.wheel, _commit(sources))
    log = Log.read(file) or Log(header)
    if replace(log.header, commit=header.commit) != header:
        raise OptionError(
            "--log", expected="a new file, or the log of this CPU, system and wheel", found=file.name
        )
    log.write(file)  # before the hours
    done = {result.file for result in log.results}
    for tests in sorted((sources / TESTS).glob("test_*.py")):
        if tests.name not in done:
            result = _run_file(root, cpu, sources, tests, arguments)
            log = replace(log, results=(*log.results, result))
            log.write(file)
            yield result


def results_table(logs: Sequence[Log]) -> str:
    """Return a table with a row per log, what failed, and why tests were skipped; in Markdown."""
    lines = [*table([HEADS, *map(_cells, logs)]), ""]
    for log in logs:
        place = f"{BOARDS[log.header.cpu].short}, {SYSTEMS[log.header.system].title}"
        for result in log.results:
            for text in (*result.failed, *filter(None, [result.ended])):
                lines.append(f"- {place}, `{result.file}`: {plain(text)}")
    reasons: Counter[str] = Counter()
    for result in (result for log in logs for result in log.results):
        reasons.update(result.skipped)
    if reasons:
        told = [(plain(reason), str(number)) for reason, number in reasons.most_common()]
        lines += ["", *table([("skipped for", "tests"), *told])]
    return "\n".join(lines).rstrip()


def _cells(log: Log) -> tuple[str, ...]:
    system = SYSTEMS[log.header.system]
    results = log.results
    return (
        f"{BOARDS[log.header.cpu].short}, {log.header.cpu}",
        f"{system.title}, Python {system.python}",
        log.header.commit or "-",
        str(len(results)),
        str(sum(r.passed for r in results)),
        str(sum(len(r.failed) for r in results)),
        str(sum(sum(r.skipped.values()) for r in results)),
        str(sum(bool(r.ended) for r in results)),
    )


def _run_file(root: PiRoot, cpu: str, sources: Path, file: Path, arguments: Sequence[str]) -> FileResult:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = [str(file.relative_to(sources)), f"--junitxml={report}", *arguments]
        try:
            status = start_pytest(root, cpu, sources, words, LIMIT_S)
        except subprocess.TimeoutExpired:
            return FileResult(file.name, ended=f"no end within {LIMIT_S:.0f} s")
        try:
            return _read_report(file.name, report)
        except (OSError, ET.ParseError):
            return FileResult(file.name, ended=f"exit status {status}, and no report")


def _read_report(name: str, report: Path) -> FileResult:
    """Read what pytest wrote with `--junitxml`."""
    passed, failed, skipped = 0, [], Counter[str]()
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest's own
        bad = next((e for e in case if e.tag in {"failure", "error"}), None)
        left = case.find("skipped")
        if bad is not None:
            message = " ".join(bad.get("message", "").split())
            failed.append(f"{case.get('name')}: {message}"[:300])
        elif left is not None:
            skipped[" ".join(left.get("message", "").split())[:200]] += 1
        else:
            passed += 1
    return FileResult(name, passed, tuple(failed), dict(skipped))


def _commit(sources: Path) -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607 - whichever git is in the path
        cwd=sources,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()
