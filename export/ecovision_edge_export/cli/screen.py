"""What the exporter shows on the terminal: its stages, and parity as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from ecovision_edge.cli.output import printable, text_console
from ecovision_edge_export.transcript import Reporter

if TYPE_CHECKING:
    from ecovision_edge_export.parity.figures import Parity

__all__ = ["ConsoleReporter", "parity_table", "show_parity", "text_table"]

MAX_FLIPS = 20  # that are printed; --json has all


class ConsoleReporter(Reporter):
    """Shows stages on the terminal: a line each, and a progress bar while one counts."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or text_console(stderr=True)
        self._progress: Progress | None = None
        self._task: Any = None

    def started(self, stage: str) -> None:
        """A bar that spins until the stage counts."""
        self._stop()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<10}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._progress.add_task(stage, total=None)
        self._progress.start()

    def progressed(self, stage: str, done: int, total: int) -> None:
        """Move the bar."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total)

    def finished(self, stage: str, figure: str) -> None:
        """A line with what was found."""
        self._stop()
        self.console.print(Text.assemble(("✓", "green"), f" {stage:<10}"), end="")
        self.console.print(figure, soft_wrap=True)

    def failed(self, stage: str) -> None:
        """A line that says where it stopped."""
        self._stop()
        self.console.print(Text.assemble(("✗", "red"), f" {stage}"))

    def shown(self, rows: Sequence[Sequence[str]], plot: Sequence[str]) -> None:
        """The table and the plot, as plain text."""
        self._stop()
        self.console.print(text_table(rows))
        for line in plot:
            self.console.print(Text(line), soft_wrap=True)

    def warned(self, message: str) -> None:
        """A line that stands out."""
        self._stop()
        self.console.print(Text("!", "yellow"), end=" ")
        self.console.print(message, soft_wrap=True)

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def show_parity(console: Console, result: Sequence[Parity]) -> None:
    """The table, the flips by name, and what is not within budget; nothing where nothing was compared."""
    if not result:
        return
    console.print(parity_table(result))
    for p in result:
        for flip in p.flips[:MAX_FLIPS]:
            truth = f" (is {flip.truth})" if flip.truth else ""
            console.print(
                f"  {p.artifact} {printable(flip.image)}: PyTorch {flip.torch_label} {flip.torch_score:.2f}, "
                f"here {flip.label} {flip.score:.2f}{truth}",
                soft_wrap=True,
            )
        if len(p.flips) > MAX_FLIPS:
            console.print(f"  {p.artifact} and {len(p.flips) - MAX_FLIPS} more flips; --json FILE has all")
        for failure in p.failures():
            console.print(Text.assemble(("✗", "red"), f" {p.artifact} "), end="")
            console.print(failure, soft_wrap=True)


def parity_table(result: Sequence[Parity]) -> Table:
    """Return the parity rows as a rich table."""
    from ecovision_edge_export.parity.tables import parity_rows

    first = result[0]
    noun = "photographs" if first.evidence == "photographs" else "synthetic frames (weak evidence)"
    return text_table(parity_rows(result), f"Parity with PyTorch on {first.images} {noun}")


def text_table(rows: Sequence[Sequence[str]], title: str | None = None) -> Table:
    """Return a head and rows as a rich table, the first column to the left."""
    head, *body = rows
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i == 0 else "right")
    for row in body:
        table.add_row(*row)
    return table
