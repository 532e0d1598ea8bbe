"""The root command, its lazily loaded subcommands, and the mapping of errors to exit statuses."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from ecovision_edge.base.ending import end_though_a_thread_hangs
from ecovision_edge.base.installation import missing_library
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.base.version import __version__
from ecovision_edge.cli.output import silence, tell
from ecovision_edge.errors import EcovisionError, OptionError

__all__ = ["COMMANDS", "main"]


class Command(NamedTuple):
    """Where a command's function is, and the line that `--help` shows for it without loading it."""

    module: str
    function: str
    help: str


COMMANDS: dict[str, Command] = {
    "classify": Command("ecovision_edge.cli.classify", "classify", "Classify images."),
    "run": Command("ecovision_edge.cli.run", "run", "Classify a camera's newest frame, again and again."),
    "demo": Command("ecovision_edge.cli.demo", "demo", "Try a bundle in a browser, on this machine. [demo]"),
    "install-service": Command(
        "ecovision_edge.cli.install_service", "install_service", "Run it as a systemd service, confined."
    ),
    "calibrate": Command(
        "ecovision_edge.cli.calibrate", "calibrate", "Fit temperature and thresholds to photographs."
    ),
    "inspect": Command(
        "ecovision_edge.cli.inspect", "inspect", "Show what a bundle or a model file says of itself."
    ),
    "compare": Command(
        "ecovision_edge.cli.compare", "compare", "Compare two models on photographs and frames."
    ),
    "quant-report": Command(
        "ecovision_edge.cli.quant_report", "quant_report", "Show how an int8 model was made, layer by layer."
    ),
    "update": Command(
        "ecovision_edge.cli.update", "update", "Take the newest release that proves itself here. [update]"
    ),
    "bundles": Command(
        "ecovision_edge.cli.bundles", "bundles", "List the bundles of updates; activate one, or go back."
    ),
    "wheels": Command(
        "ecovision_edge.cli.wheels", "wheels", "Collect what a board installs without a network."
    ),
    "release": Command(
        "ecovision_edge.cli.release", "release", "Publish bundles to a fleet, signed. [update]"
    ),
    "verify": Command("ecovision_edge.cli.verify", "verify", "Verify a bundle on this device."),
    "doctor": Command(
        "ecovision_edge.cli.doctor", "doctor", "Look the device over: what is wrong, and what to do."
    ),
    "train": Command(
        "ecovision_edge_export.train.cli", "train", "Train or fine-tune on your own photographs. [export]"
    ),
    "export": Command(
        "ecovision_edge_export.cli.exporting",
        "export",
        "Export a trained checkpoint to a verified bundle. [export]",
    ),
    "parity": Command(
        "ecovision_edge_export.cli.comparing",
        "parity",
        "Compare a bundle with PyTorch, image by image. [export]",
    ),
    "bench": Command("ecovision_edge_bench.cli", "bench", "Measure latency, and parity beside it. [bench]"),
    "tune": Command(
        "ecovision_edge_bench.tune.cli", "tune", "Find the fastest way to run a bundle on this device."
    ),
    "score": Command("ecovision_edge_bench.score.cli", "score", "Score a recorded bin: one item, one event."),
    "eval": Command(
        "ecovision_edge_bench.evaluate.cli", "evaluate", "Measure accuracy on labelled photographs."
    ),
}
"""Every command; those of other packages are named by import path and loaded when they are called."""


_MOST_OF_USAGE = 120  # characters of the parser's message about arguments that it does not expect


class _ReaderGoneError(Exception):
    """Whoever read our standard output, `head` for instance, has seen enough."""


class _OutputError(EcovisionError):
    """Standard output is full, or closed."""


@contextlib.contextmanager
def _output_errors() -> Iterator[None]:
    """Tell errors of standard output in our own words; Typer ends the process over a reader that is gone."""
    try:
        yield
    except BrokenPipeError as e:
        raise _ReaderGoneError from e
    except OSError as e:
        if isinstance(e, EcovisionError):
            raise
        if _hung_up(e):
            raise _ReaderGoneError from e
        if e.filename is not None:  # a file's error, of which standard output has none
            raise OptionError(f"cannot use {e.filename}", found=reason_of(e)) from e
        raise _OutputError("cannot write the output", found=reason_of(e)) from e


def _hung_up(error: OSError) -> bool:
    """Check whether standard output is a closed terminal; a disk that fails gives the same number."""
    if error.errno != errno.EIO or error.filename is not None or sys.stdout is None:
        return False
    try:
        return stat.S_ISCHR(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return False


class _LazyGroup(TyperGroup):
    """Loads a command's module only when it is called, or asked for its own help."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = COMMANDS.get(cmd_name)
        if command is None:
            return super().get_command(ctx, cmd_name)
        function = getattr(importlib.import_module(command.module), command.function)
        return _as_command(cmd_name, function)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _output_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _output_errors():
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()  # while what it says can still be told
            return result

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])


def _as_command(name: str, function: Callable[..., object] | typer.Typer) -> Any:
    """Return a command of one function, or of a whole Typer where it has commands of its own."""
    if isinstance(function, typer.Typer):
        single = function
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name)(function)
    command = typer.main.get_command(single)
    command.name = name
    return command


app = typer.Typer(
    cls=_LazyGroup,
    name="ecovision-edge",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        print(f"ecovision-edge {__version__}", flush=True)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """A garbage classifier on a small computer, and trust in it there.

    Exit status: 0 good, 1 a check failed, 2 misuse, 75 try again later.

    Examples:

      ecovision-edge classify photo.jpg

      ecovision-edge verify build/reference

      ecovision-edge COMMAND --help
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Args:
        argv: Its arguments. None is the program itself: the arguments of the process, which then ends with
            this status although a thread hangs in a driver.
    """
    if argv is not None:
        return _main(argv)
    return end_though_a_thread_hangs(lambda: _main(sys.argv[1:]))


def _main(argv: Sequence[str]) -> int:
    arguments = list(argv)
    debug = "--debug" in arguments[:1]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that are not UTF-8
    try:
        result = typer.main.get_command(app).main(
            args=arguments, prog_name="ecovision-edge", standalone_mode=False
        )
    except EcovisionError as e:
        if isinstance(e, _OutputError):
            silence(sys.stdout)
        if debug:
            raise
        return _fail(e.message, e.exit_status)
    except typer.Abort:
        return _fail("interrupted", 130)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except _ReaderGoneError:
        silence(sys.stdout)
        return 0
    except ImportError as e:
        missing = missing_library(e)
        if missing is None or debug:
            raise
        return _fail(missing.message, missing.exit_status)
    except Exception as e:
        if type(e).__name__ == "NoArgsIsHelpError":  # Typer's, of no public name
            sys.stderr.write(f"{e}\n")
            return 2
        usage = _usage_message(e)
        if usage is None:
            raise
        return _fail(usage, 2)
    return result if isinstance(result, int) else 0


def _usage_message(error: Exception) -> str | None:
    """Return one line for the argument parser's own errors; None for any other, which is a bug of ours."""
    format_message = getattr(error, "format_message", None)
    if format_message is None:
        return None
    context = getattr(error, "ctx", None)
    hint = f"; see {context.command_path} --help" if context is not None else ""
    message = str(format_message()).rstrip(".")
    if message.startswith("Got unexpected extra arg") and len(message) > _MOST_OF_USAGE:
        message = f"{message[:_MOST_OF_USAGE]}...; of a pattern: quote it, or name its folder"
    return f"{message}{hint}"


def _fail(message: str, status: int) -> int:
    tell(f"ecovision-edge: {message}\n")
    return status
