"""`ecovision-edge doctor`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecovision_edge.cli.options import StoreFolder
from ecovision_edge.cli.output import check_target, printable, text_console, write_json

if TYPE_CHECKING:
    from rich.console import Console

    from ecovision_edge.doctor import Check

__all__ = ["doctor"]

_MOST_WIDTH = 100
_NAME_WIDTH = 12
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle's folder; default: the embedded reference.")
    ] = None,
    sink: Annotated[
        list[str] | None,
        typer.Option(help="An address as `run --sink` takes it: is its server there? Again for more."),
    ] = None,
    update: Annotated[
        str | None, typer.Option(help="Address of the repository of updates: is it there and signed?")
    ] = None,
    store: StoreFolder = None,
    json: Annotated[Path | None, typer.Option(help="Write the findings here; - is stdout.")] = None,
) -> int:
    """Look the device over: what is there, what is wrong, what to do. Exit status 1 if a check fails.

    Board, system, memory, disk and its wear, heat, clock, service, cameras, libraries, engines, the bundle,
    its profile, the store of updates, and where events go. Nothing is changed but what `verify` keeps, and no
    event is sent. Each check has a limit of time.

    Examples:

      ecovision-edge doctor

      ecovision-edge doctor build/mine --sink mqtt://broker.local/kitchen --json -
    """
    from ecovision_edge.doctor import Commands, System, Wishes, checkup, subjects_of
    from ecovision_edge.doctor.check import checks_to_json

    if json is not None:
        check_target(json, "--json")
    console = None if str(json) == "-" else text_console(soft_wrap=True)
    checks, wishes = [], Wishes(bundle, tuple(sink or ()), update, store)
    with Commands() as commands:
        for check in checkup(subjects_of(wishes, System(run=commands.run))):
            checks.append(check)
            if console is not None:
                _show(console, check)
    if console is not None:
        _sum_up(console, checks)
    if json is not None:
        write_json(checks_to_json(checks), json)
    return 1 if any(check.state == "fail" for check in checks) else 0


def _show(console: Console, check: Check) -> None:
    """Print a finding: its state, its name, what was found, and below it what to do."""
    from rich.text import Text

    lines = list(_lines(check, min(console.width, _MOST_WIDTH)))
    console.print(Text.assemble((f"{check.state:<4}", _STYLES[check.state]), lines[0][4:]))
    for line in lines[1:]:
        console.print(line)


def _lines(check: Check, width: int) -> Iterator[str]:
    """Write a finding in lines of `width` characters; a command stands whole, to be copied."""
    subject, _, own = printable(check.name).partition(" ")
    begin = f"{check.state:<4} {subject:<{_NAME_WIDTH}} "
    indent = " " * len(begin)
    colon = "" if own.endswith((":", "://")) else ":"  # of an address that is nothing but its scheme
    yield from _wrapped(f"{own}{colon} " * bool(own) + printable(check.found), begin, indent, width)
    advice, run, command = printable(check.advice).partition("run: ")
    if advice.strip("; "):
        yield from _wrapped(advice.strip("; "), f"{indent}-> ", f"{indent}   ", width)
    if run:
        yield f"{indent}-> {run}{command}"


def _wrapped(text: str, first: str, later: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def _sum_up(console: Console, checks: list[Check]) -> None:
    count = {state: sum(check.state == state for check in checks) for state in ("ok", "warn", "fail")}
    words = [f"{count['ok']} ok"]
    words += [f"{count[state]} {state}" for state in ("warn", "fail") if count[state]]
    console.print(f"\n{', '.join(words)}")
