"""What commands print, to a file or to standard output."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ecovision_edge.base.fields import JsonValue, canonical_json
from ecovision_edge.base.files import is_folder, replace_file
from ecovision_edge.base.names import printable
from ecovision_edge.errors import OptionError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "check_target",
    "check_targets",
    "is_stdout",
    "printable",
    "progress_bar",
    "silence",
    "tell",
    "text_console",
    "write_file",
    "write_json",
]


def tell(text: str) -> None:
    """Write lines to standard error; they are lost if nobody can read it any more: a terminal was closed."""
    stream = sys.stderr
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):  # ValueError: closed
        silence(stream)


def silence(stream: TextIO | None) -> None:
    """Let what a broken stream still holds go nowhere, or the interpreter complains as it ends."""
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):  # no real file: a test's, or an embedder's
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def check_target(target: Path, option: str) -> None:
    """Refuse a file that cannot be written, before the work whose result it is to hold; `-` is no file.

    Raises:
        OptionError: a folder, or in a folder that is not there; `option` is the one that named it.
    """
    if str(target) == "-":
        return
    if not is_folder(target.absolute().parent):
        raise OptionError(
            f"{option} {target}", expected="a file in a folder that is there", found="no such folder"
        )
    if is_folder(target):
        raise OptionError(f"{option} {target}", expected="a file to write to", found="a folder")


def check_targets(json: Path | None, html: Path | None) -> None:
    """Refuse what `--json` and `--html` name, before the work whose results they are to hold.

    Raises:
        OptionError: as `check_target`; a page for standard output; or one file for both.
    """
    if json is not None:
        check_target(json, "--json")
    if html is not None:
        if str(html) == "-":
            raise OptionError("--html -", expected="a file to write to", found="standard output")
        check_target(html, "--html")
        if json is not None and json.absolute() == html.absolute():
            raise OptionError("--json and --html", expected="two files", found=f"{html} for both")


def is_stdout(target: Path, descriptor: int = 1) -> bool:
    """Check whether writing to a file is standard output: `-`, `/dev/stdout`, where `>` leads to.

    A terminal or `/dev/null` is not meant: nothing that reads it is disturbed.
    """
    if str(target) == "-":
        return True
    try:
        there, ours = target.stat(), os.fstat(descriptor)
    except (OSError, ValueError):
        return False
    return os.path.samestat(there, ours) and not stat.S_ISCHR(ours.st_mode)


def write_json(value: JsonValue, target: Path) -> None:
    """Write JSON to the file `target` of `--json`; as `write_file`."""
    write_file([canonical_json(value)], target, "--json")


def write_file(chunks: Iterable[bytes], target: Path, option: str) -> None:
    """Write the file `target`, whole or not at all, as `replace_file`; `-` is standard output.

    Raises:
        OptionError: the file cannot be written; `option` is the one that named it.
    """
    if str(target) == "-":
        sys.stdout.flush()
        sys.stdout.buffer.writelines(chunks)  # UTF-8, whatever the terminal is
        sys.stdout.buffer.flush()
        return
    try:
        replace_file(target, chunks)
    except OSError as e:
        raise OptionError(f"{option} {target}", expected="a file to write to", found=e.strerror) from e


def text_console(*, stderr: bool = False, width: int | None = None, soft_wrap: bool = False) -> Console:
    """Make a console to which strings are text: no markup, no emoji codes, no colours for numbers.

    Names of files, sources and labels may hold `[red]` or `:smile:`. What is to be coloured is a rich `Text`.
    A `Panel` reads the string of its title as markup all the same: give it a `Text`.

    Args:
        stderr: Standard error, in place of standard output.
        width: Characters a line; None as wide as the terminal.
        soft_wrap: Leave long lines to the terminal.
    """
    from rich.console import Console

    return Console(
        stderr=stderr, width=width, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False
    )


@contextlib.contextmanager
def progress_bar(console: Console, what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar of `total` steps, on a terminal alone; give what moves it by one."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
