"""The three commands; see the package's docstring."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import EcovisionError, OptionError
from ecovision_edge_bench.arm64.boards import BOARDS, board_of
from ecovision_edge_bench.arm64.counting import MOST_DIFFERENCE, NOTE, Row, count, find_models, to_markdown
from ecovision_edge_bench.arm64.making import make_root
from ecovision_edge_bench.arm64.mix import named_mix
from ecovision_edge_bench.arm64.root import PiRoot
from ecovision_edge_bench.arm64.sources import checkout
from ecovision_edge_bench.arm64.tools import EmulationError, install_tools

__all__ = ["main"]

INTERRUPTED = 130  # as a shell has it
MOST_NAMES = 15  # of the mix: the rest is little


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0, pytest's own, or what the error says."""
    words = list(sys.argv[1:] if argv is None else argv)
    at = words.index("--") if words[:1] == ["test"] and "--" in words else len(words)
    options = _parser().parse_args(words[:at])
    try:
        if options.command == "root":
            return _root(options)
        if options.command == "test":
            return _test(options, words[at + 1 :])
        return _count(options)
    except EcovisionError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    except OSError as error:  # a file that cannot be read, a program that cannot be started
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _root(options: argparse.Namespace) -> int:
    if options.install:
        install_tools()
    root = make_root(options.folder, options.wheel, lambda step: sys.stderr.write(f"{step}\n"))
    versions = ", ".join(f"{name} {version}" for name, version in root.stamp.versions.items())
    sys.stdout.write(f"{root.path}: {versions}\n")
    return 0


def _test(options: argparse.Namespace, pytest: Sequence[str]) -> int:
    sources = checkout()
    root = PiRoot.open(options.folder)
    root.refuse_other_sources()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment.pop("ECOVISION_NO_SKIP", None)  # torch and mypy are not in the root
    environment.update(
        root.environment(options.cpu),
        PYTHONDONTWRITEBYTECODE="1",  # into the checkout
        HYPOTHESIS_STORAGE_DIRECTORY=str(root.path.with_name("hypothesis")),
    )
    command = [str(root.executable), "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(sources)]
    command += ["-c", str(sources / "pyproject.toml")]
    if not any(argument.startswith("tests/") for argument in pytest):
        command.append("tests/runtime")
    return subprocess.run([*command, *pytest], env=environment, cwd=sources, check=False).returncode


def _count(options: argparse.Namespace) -> int:
    cpus = dict.fromkeys(board_of(cpu).cpu for cpu in options.cpu.split(","))
    models = dict.fromkeys(find_models(options.models))
    if options.json and not options.json.absolute().parent.is_dir():
        raise OptionError("--json", expected="a file in a folder that is there", found=options.json)
    root = PiRoot.open(options.folder)
    rows: list[Row] = []
    failures: list[EcovisionError] = []
    for model in models:
        for cpu in cpus:
            try:
                rows.append(count(root, model, cpu, mix=options.mix))
            except EcovisionError as error:  # the other models are still counted
                failures.append(error)
    if rows:
        if not options.markdown:
            facts = ", ".join(f"{name} {version}" for name, version in root.stamp.versions.items())
            sys.stdout.write(f"one thread, in an emulated Debian 12 with {facts}\n\n")
        sys.stdout.write(f"{to_markdown(rows)}\n\n{NOTE}\n")
        if options.mix:
            sys.stdout.writelines(f"\n{_mix(row)}\n" for row in rows)
        sys.stdout.flush()
    if options.json:
        _write_json(options.json, root, rows, with_mix=options.mix)
    failures += [
        EmulationError(
            f"{row.model.name} on {row.cpu} does not repeat",
            expected=f"two runs within {MOST_DIFFERENCE:.2%}",
            found=f"{row.difference:.4%}",
        )
        for row in rows
        if row.difference > MOST_DIFFERENCE
    ]
    sys.stderr.writelines(f"error: {error}\n" for error in failures)
    return max((error.exit_status for error in failures), default=0)


def _mix(row: Row) -> str:
    names = named_mix(row.words).most_common(MOST_NAMES)
    shares = ", ".join(f"{name} {times / 1e6:.2f}" for name, times in names)
    return f"{row.model.name}, {row.engine}, {row.cpu}, millions: {shares}"


def _write_json(file: Path, root: PiRoot, rows: Sequence[Row], *, with_mix: bool) -> None:
    values = [{**row.to_json(), **({"mix": named_mix(row.words)} if with_mix else {})} for row in rows]
    document = {"note": NOTE, "versions": dict(root.stamp.versions), "rows": values}
    try:
        file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OptionError("--json", expected="a file that can be written", found=reason_of(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ecovision_edge_bench.arm64",
        description="An emulated Raspberry Pi, to test in and to count instructions in.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="root|test|count")
    cpus = ", ".join(f"{board.cpu} ({board.model})" for board in BOARDS.values())

    root = commands.add_parser("root", help="make the emulated root, or use the one that is there")
    root.add_argument("folder", type=Path, metavar="DIR", help="the root becomes DIR/root")
    root.add_argument("--wheel", type=Path, help="the project's wheel (default: built from this checkout)")
    root.add_argument("--install", action="store_true", help="as root: install missing Debian packages")

    test = commands.add_parser(
        "test",
        help="run the runtime's tests in it",
        usage="%(prog)s [-h] [--cpu CPU] DIR [-- PYTEST_ARGUMENTS]",
    )
    test.add_argument("folder", type=Path, metavar="DIR", help="as for root")
    test.add_argument("--cpu", default="cortex-a72", help=f"one of {cpus}; default cortex-a72")

    counting = commands.add_parser("count", help="count the instructions of an inference")
    counting.add_argument("folder", type=Path, metavar="DIR", help="as for root")
    counting.add_argument(
        "models",
        type=Path,
        nargs="*",
        metavar="MODEL",
        help=".onnx, .tflite, or a bundle's folder (default: the bundle inside the package)",
    )
    counting.add_argument("--cpu", default=",".join(BOARDS), help="with commas (default: %(default)s)")
    counting.add_argument("--mix", action="store_true", help="also print which instructions they are")
    counting.add_argument("--markdown", action="store_true", help="print the table and its note alone")
    counting.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser
