"""Run it: `python -m ecovision_edge_bench.power_cut`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ecovision_edge.errors import EcovisionError
from ecovision_edge_bench.power_cut.cuts import CutReport, cut_power
from ecovision_edge_bench.power_cut.forgetting import ForgetReport, forget
from ecovision_edge_bench.power_cut.restarts import RestartReport, restart_broker

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ecovision_edge_bench.power_cut",
        description="Kill a bin, or its broker, at random moments, and count what became of each event.",
    )
    parser.add_argument(
        "--kills", type=int, default=200, metavar="N", help="how often to kill the bin (default 200)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the moments (default 0)")
    commands = parser.add_subparsers(dest="command")
    mqtt = commands.add_parser("mqtt", help="end the broker in the middle of a stream of events")
    mqtt.add_argument("--events", type=int, default=10_000, metavar="N", help="default 10000")
    mqtt.add_argument(
        "--restarts", type=int, default=19, metavar="N", help="how often to restart the broker (default 19)"
    )
    mqtt.add_argument("--signal", choices=("TERM", "KILL"), default="TERM", help="default TERM")
    forgets = commands.add_parser("forget", help="kill a broker that has acknowledged all, by its settings")
    forgets.add_argument("--events", type=int, default=21, metavar="N", help="default 21")
    return parser


def _progress(of: int) -> Callable[[int], None]:
    """On a terminal alone, on one line."""

    def show(done: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done} of {of}" + ("\n" if done == of else ""))
            sys.stderr.flush()

    return show


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the three; the exit status: 0 if all held, 1 if not, or what the error says."""
    options = _parser().parse_args(argv)
    began = time.monotonic()
    report: CutReport | RestartReport | ForgetReport
    try:
        with tempfile.TemporaryDirectory(prefix="ecovision-cut-") as folder:
            if options.command == "mqtt":
                report = restart_broker(
                    Path(folder),
                    options.events,
                    options.restarts,
                    options.signal,
                    progress=_progress(options.events),
                )
            elif options.command == "forget":
                report = forget(Path(folder), options.events)
            else:
                report = cut_power(
                    Path(folder), options.kills, seed=options.seed, progress=_progress(options.kills)
                )
    except EcovisionError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    problems = report.problems()
    for line in (*report.lines(), *problems, f"{time.monotonic() - began:.0f} s"):
        sys.stdout.write(line + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
