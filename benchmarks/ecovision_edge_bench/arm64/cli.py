"""The six commands; see the package's docstring."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ecovision_edge.backends.half import fp16_fault
from ecovision_edge.base.device import Cpu
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.bundle.contract import Filter
from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.errors import EcovisionError, OptionError
from ecovision_edge_bench.arm64.boards import BOARDS, board_of
from ecovision_edge_bench.arm64.counting import (
    MOST_DIFFERENCE,
    NOTE,
    Model,
    Row,
    count,
    find_models,
    one_of_each,
    to_markdown,
)
from ecovision_edge_bench.arm64.making import make_root
from ecovision_edge_bench.arm64.matrix import examine, matrix_table
from ecovision_edge_bench.arm64.mix import named_mix
from ecovision_edge_bench.arm64.process import count_process
from ecovision_edge_bench.arm64.root import PiRoot
from ecovision_edge_bench.arm64.sources import checkout
from ecovision_edge_bench.arm64.steps import NETWORK, Kind, Step, parse_sizes
from ecovision_edge_bench.arm64.suite import Log, results_table, run_suite, start_pytest
from ecovision_edge_bench.arm64.systems import SYSTEMS
from ecovision_edge_bench.arm64.tools import EmulationError, install_tools

__all__ = ["main"]

INTERRUPTED = 130  # as a shell has it
MOST_NAMES = 15  # of the mix: the rest is little


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0, pytest's own, or what the error says."""
    words = list(sys.argv[1:] if argv is None else argv)
    passes_on = words[:1] in (["test"], ["process"])  # what follows -- is another program's
    at = words.index("--") if passes_on and "--" in words else len(words)
    options = _parser().parse_args(words[:at])
    try:
        if options.command == "root":
            return _root(options)
        if options.command == "test":
            return _test(options, words[at + 1 :])
        if options.command == "results":
            return _results(options.logs)
        if options.command == "table":
            return _table(options)
        if options.command == "process":
            return _process(options, words[at + 1 :])
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
    root = make_root(
        options.folder, options.wheel, lambda step: sys.stderr.write(f"{step}\n"), options.system
    )
    versions = ", ".join(f"{name} {version}" for name, version in root.stamp.versions.items())
    sys.stdout.write(f"{root.path}: {versions}\n")
    return 0


def _table(options: argparse.Namespace) -> int:
    cpus = [board_of(cpu).cpu for cpu in options.cpu.split(",")]
    roots = [PiRoot.open(folder) for folder in options.folders]
    lines = [line for cpu in cpus for root in roots for line in examine(root, cpu, *options.bundle)]
    sys.stdout.write(f"{matrix_table(lines)}\n")
    return 0


def _test(options: argparse.Namespace, pytest: Sequence[str]) -> int:
    sources = checkout()
    root = PiRoot.open(options.folder)
    root.refuse_other_sources()
    if options.log is not None:
        for result in run_suite(root, options.cpu, sources, options.log, pytest):
            left = result.ended or f"{result.passed} passed, {len(result.failed)} failed"
            sys.stderr.write(f"{result.file}: {left}\n")
        return _results([options.log])
    named = any(argument.startswith("tests/") for argument in pytest)
    return start_pytest(root, options.cpu, sources, [*([] if named else ["tests/runtime"]), *pytest])


def _results(files: Sequence[Path]) -> int:
    """Print the table of logs; the exit status: 1 if a test failed or a file did not end."""
    logs = [log for file in files if (log := Log.read(file)) is not None]
    if len(logs) < len(files):
        raise OptionError("log", expected="one that `test --log` wrote", found="an empty one, or none")
    sys.stdout.write(f"{results_table(logs)}\n")
    return int(any(result.failed or result.ended for log in logs for result in log.results))


def _process(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    cpu = board_of(options.cpu).cpu
    counted = count_process(PiRoot.open(options.folder), cpu, arguments, options.times)
    sys.stdout.write(f"{counted}\n" if not options.json else f"{json.dumps(counted.to_json(), indent=1)}\n")
    return 0


def _count(options: argparse.Namespace) -> int:
    cpus = dict.fromkeys(board_of(cpu).cpu for cpu in options.cpu.split(","))
    wanted = _wanted(options)
    if options.json and not options.json.absolute().parent.is_dir():
        raise OptionError("--json", expected="a file in a folder that is there", found=options.json)
    root = PiRoot.open(options.folder)
    rows: list[Row] = []
    failures: list[EcovisionError] = []
    for model, step in wanted:
        for cpu in cpus:
            if step.fp16 and fp16_fault(_as_read(cpu)) is not None:
                continue  # an illegal instruction would end it
            try:
                rows.append(count(root, model, cpu, mix=options.mix, step=step))
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
            f"{row.name} on {row.cpu} does not repeat",
            expected=f"two runs within {MOST_DIFFERENCE:.2%}",
            found=f"{row.difference:.4%}",
        )
        for row in rows
        if row.difference > MOST_DIFFERENCE
    ]
    sys.stderr.writelines(f"error: {error}\n" for error in failures)
    return max((error.exit_status for error in failures), default=0)


def _wanted(options: argparse.Namespace) -> list[tuple[Model, Step]]:
    """Return what to count: each model's network, or preparing and whole answers for each size of a frame."""
    jpeg, filter, native = options.jpeg, options.filter, options.native
    given: dict[Kind, str | None] = {"prepare": options.prepare, "whole": options.whole}
    asked = {kind: sizes for kind, sizes in given.items() if sizes is not None}
    steps = [
        Step(kind, *size, jpeg, filter, native=native)
        for kind, sizes in asked.items()
        for size in parse_sizes(f"--{kind}", sizes)
    ]
    if not steps:
        for option, value in (("--jpeg", jpeg), ("--filter", filter), ("--native", native)):
            if value:
                raise OptionError(option, expected="--prepare or --whole too", found="the network alone")
        half = [Step("network", fp16=True)] if options.fp16 else []
        return [
            (model, step)
            for model in dict.fromkeys(find_models(options.models))
            for step in (NETWORK, *(half if model.path.suffix == ".tflite" else ()))
        ]
    find = {"prepare": one_of_each, "whole": find_models}
    if options.fp16:
        steps += [dataclasses.replace(step, fp16=True) for step in steps if step.kind == "whole"]
    own = {kind: dict.fromkeys(find[kind](options.models)) for kind in asked}
    pairs = [(model, step) for step in steps for model in own[step.kind]]
    return [(model, step) for model, step in pairs if not step.fp16 or model.path.suffix == ".tflite"]


def _as_read(cpu: str) -> Cpu:
    """Return the CPU as the runtime reads it on its board."""
    board = board_of(cpu)
    return Cpu("aarch64", board.model, frozenset(board.features.split()))


def _mix(row: Row) -> str:
    names = named_mix(row.words).most_common(MOST_NAMES)
    shares = ", ".join(f"{name} {times / 1e6:.2f}" for name, times in names)
    return f"{row.name}, {row.engine}, {row.cpu}, millions: {shares}"


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
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="root|test|results|table|count|process"
    )
    cpus = ", ".join(f"{board.cpu} ({board.model})" for board in BOARDS.values())

    root = commands.add_parser("root", help="make the emulated root, or use the one that is there")
    root.add_argument("folder", type=Path, metavar="DIR", help="the root becomes DIR/root")
    root.add_argument("--wheel", type=Path, help="the project's wheel (default: built from this checkout)")
    root.add_argument(
        "--system", default="bookworm", help=f"{' or '.join(SYSTEMS)}, by Debian's name; default bookworm"
    )
    root.add_argument("--install", action="store_true", help="as root: install missing Debian packages")

    test = commands.add_parser(
        "test",
        help="run the runtime's tests in it",
        usage="%(prog)s [-h] [--cpu CPU] [--log FILE] DIR [-- PYTEST_ARGUMENTS]",
    )
    test.add_argument("folder", type=Path, metavar="DIR", help="as for root")
    test.add_argument("--cpu", default="cortex-a72", help=f"one of {cpus}; default cortex-a72")
    test.add_argument(
        "--log",
        type=Path,
        metavar="FILE",
        help="each file of tests in a process of its own, with its result kept here; run again, it goes on",
    )

    results = commands.add_parser("results", help="print what `test --log` kept, as a table")
    results.add_argument("logs", type=Path, nargs="+", metavar="FILE", help="one per board and system")

    counting = commands.add_parser("count", help="count the instructions of an inference")
    counting.add_argument("folder", type=Path, metavar="DIR", help="as for root")
    counting.add_argument(
        "models",
        type=Path,
        nargs="*",
        metavar="MODEL",
        help=".onnx, .tflite, or a bundle's folder (default: the bundle inside the package)",
    )
    counting.add_argument("--cpu", default="cortex-a72,cortex-a76", help="with commas (default: %(default)s)")
    counting.add_argument(
        "--prepare", metavar="SIZES", help="count preparing a frame instead, of each size: 640x480,1920x1080"
    )
    counting.add_argument(
        "--whole", metavar="SIZES", help="count from frame to prediction instead, for each size"
    )
    counting.add_argument(
        "--fp16", action="store_true", help="count .tflite models in fp16 too, on CPUs that have it"
    )
    counting.add_argument("--jpeg", action="store_true", help="these frames arrive as JPEG: decode them too")
    counting.add_argument("--filter", choices=get_args(Filter), help="in place of the contract's")
    counting.add_argument(
        "--native",
        type=Path,
        metavar="WHEEL",
        help="resize by this wheel of ecovision-edge-native",
    )
    counting.add_argument("--mix", action="store_true", help="also print which instructions they are")
    counting.add_argument("--markdown", action="store_true", help="print the table and its note alone")
    counting.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")

    table = commands.add_parser("table", help="which engine installs, imports and runs on which board")
    table.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="as for root; one per system")
    table.add_argument("--cpu", default=",".join(BOARDS), help="with commas (default: %(default)s)")
    table.add_argument(
        "--bundle",
        type=Path,
        nargs="+",
        default=[embedded_bundle_path()],
        help="run their artifacts (default: the bundle inside the package)",
    )

    process = commands.add_parser(
        "process",
        help="count the instructions of a whole program",
        usage="%(prog)s [-h] [--cpu CPU] [--times N] [--json] DIR -- PYTHON_ARGUMENTS",
    )
    process.add_argument("folder", type=Path, metavar="DIR", help="as for root")
    process.add_argument("--cpu", default="cortex-a76", help=f"one of {cpus}; default cortex-a76")
    process.add_argument(
        "--times",
        type=int,
        default=20,
        metavar="N",
        help="{n} in the arguments becomes N, then 2 N; default 20",
    )
    process.add_argument("--json", action="store_true", help="print every figure")
    return parser
