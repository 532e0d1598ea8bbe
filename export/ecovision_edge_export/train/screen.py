"""A training on the terminal: notes, progress bars, and the table as it grows."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ecovision_edge.cli.output import printable, text_console
from ecovision_edge_export.train.core.terms import EpochRow
from ecovision_edge_export.train.report.facts import class_rows
from ecovision_edge_export.train.report.reporter import Reporter

if TYPE_CHECKING:
    from ecovision_edge_export.train.run import TrainResult

__all__ = ["ConsoleReporter"]

_HEAD = ("epoch", "train loss", "train accuracy", "val loss", "val accuracy", "time")


class ConsoleReporter(Reporter):
    """Shows a training on standard error; bars on a terminal alone. A context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or text_console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._what = ""
        self._head_shown = False

    def __enter__(self) -> ConsoleReporter:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def counting(self, what: str, total: int) -> None:
        """A new bar."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._what = what
        self._task = self._progress.add_task(what, total=total)

    def counted(self, done: int) -> None:
        """Move the bar on."""
        if self._task is not None:
            self._progress.advance(self._task, done)

    def started(self, what: str, epoch: int, steps: int) -> None:
        """A bar for the epoch."""
        self.counting(f"epoch {epoch}, {what}", steps)

    def stepped(self, done: int, loss: float | None) -> None:
        """Move the bar; the loss stands beside it."""
        if self._task is not None:
            what = self._what if loss is None else f"{self._what}, loss {loss:.4f}"
            self._progress.update(self._task, completed=done, description=what)

    def ended(self, row: EpochRow, *, best: bool) -> None:
        """The epoch's row of the table."""
        if not self._head_shown:
            self._line("  ".join(f"{name:>14}" for name in _HEAD))
            self._head_shown = True
        cells = (
            str(row.epoch),
            f"{row.train_loss:.4f}",
            f"{100 * row.train_accuracy:.2f} %",
            f"{row.val_loss:.4f}",
            f"{100 * row.val_accuracy:.2f} %",
            f"{row.seconds:.0f} s",
        )
        self._line("  ".join(f"{cell:>14}" for cell in cells) + ("  best" if best else ""))

    def noted(self, message: str) -> None:
        """A line."""
        self._line(message)

    def warned(self, message: str) -> None:
        """A line that stands out."""
        self._console.print(Text("!", "yellow"), end=" ")
        self._line(message)

    def finished(self, result: TrainResult, data: Path, val: Path | None) -> None:
        """The best epoch, accuracy by class, and what to do next with the photographs in these folders."""
        best = result.best
        table = Table()
        for i, name in enumerate(("class", "correct", "incorrect", "accuracy")):
            table.add_column(name, justify="left" if i == 0 else "right")
        for row in class_rows(result.labels, best):
            accuracy = row["accuracy"]
            share = f"{100 * accuracy:.2f} %" if isinstance(accuracy, float) else "-"
            table.add_row(printable(str(row["label"])), str(row["correct"]), str(row["incorrect"]), share)
        self._progress.stop()
        self._line(
            f"Epoch {best.row.epoch} is kept: {100 * best.row.val_accuracy:.2f} % of {sum(best.images)} "
            "validation photographs"
        )
        self._console.print(table)
        self._line(f"  {shlex.join(_export(result, data, val))}")

    def _line(self, text: str) -> None:
        self._console.print(printable(text), soft_wrap=True)


def _export(result: TrainResult, data: Path, val: Path | None) -> list[str]:
    """Return the command that exports it: the photographs that judge are those that it was not trained on."""
    words = ["ecovision-edge", "export", "--weights", str(result.path)]
    words += ["--calib", str(data), "--val", str(val or data)]
    of = result.facts["data"]
    if isinstance(of, dict) and isinstance(of["map"], str):
        words += ["--map", of["map"]]
    return [*words, "--out", "BUNDLE"]
