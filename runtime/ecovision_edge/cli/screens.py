"""What `run` shows: numbers that move on a terminal, lines, JSON lines, or a window with the frames."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from ecovision_edge.cli.output import printable, tell, text_console
from ecovision_edge.errors import MissingDependencyError, OptionError
from ecovision_edge.events import BinState

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
    from rich.text import Text

    from ecovision_edge.camera import Health
    from ecovision_edge.events import BinEvent
    from ecovision_edge.loop import CameraLoop, LoopResult
    from ecovision_edge.sinks.bin_report import BinReport
    from ecovision_edge.smart_bin import SmartBin

__all__ = ["SCREENS", "JsonLines", "Lines", "LiveScreen", "Preview", "Screen", "make_screen"]

SCREENS = ("auto", "live", "lines", "jsonl", "none")
_WINDOW = "ecovision-edge"
_RATE_SECONDS = 3.0
_UNUSED = (BinState.STARTING, BinState.EMPTY, BinState.FAULT)  # what the network says counts for nothing


class Screen(Protocol):
    """Something that shows results, from its entering to its leaving."""

    def __enter__(self) -> Screen: ...

    def __exit__(self, *_: object) -> None: ...

    def result(self, result: LoopResult) -> None:
        """Show a result; on the loop's thread."""

    def health(self, health: Health) -> None:
        """Show a state of the source; on the watchdog's thread."""

    def event(self, event: BinEvent) -> None:
        """Show an event of a bin; on the loop's thread."""


def make_screen(
    kind: str,
    loop: CameraLoop,
    source: str,
    labels: tuple[str, ...],
    smart_bin: SmartBin | None = None,
    *,
    events_alone: bool = False,
) -> Screen:
    """Return the screen of that name, of `SCREENS`; `auto` is live on a terminal, else lines.

    Of a bin, lines are its events, not each frame's result.

    Args:
        kind: Its name.
        loop: Whose results are shown.
        source: What its source is called.
        labels: What its model knows.
        smart_bin: The bin whose loop it is, if it is one's.
        events_alone: Standard output is a sink's: `auto` then shows nothing, others go to standard error.
    """
    if kind == "auto":
        kind = "none" if events_alone else "live" if sys.stdout.isatty() else "lines"
    if kind == "live":
        return LiveScreen(loop, source, labels, smart_bin, on_stderr=events_alone)
    if kind == "none":
        return _Silent()
    events = smart_bin is not None
    lines = JsonLines if kind == "jsonl" else Lines
    return lines(events, on_stderr=events_alone)


class _Silent:
    """Shows nothing."""

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def result(self, result: LoopResult) -> None:
        """Show nothing."""

    def health(self, health: Health) -> None:
        """Show nothing: the log has it."""

    def event(self, event: BinEvent) -> None:
        """Show nothing."""


class Lines(_Silent):
    """One line per result, or per event of a bin."""

    def __init__(self, events: bool = False, *, on_stderr: bool = False) -> None:
        """Show results, or events."""
        self._events, self._on_stderr = events, on_stderr

    def result(self, result: LoopResult) -> None:
        """Print sequence number, label, score, times; what a gate saw where nothing was classified."""
        if self._events:
            return
        said, said_so = result.prediction, f"{result.tray or '':12}"
        if said is not None:
            said_so = f"{said.label:12} {said.score:.3f}  {said.timings.total_ms:6.1f} ms"
        self._say(f"{result.frame.sequence:8}  {said_so}  age {result.age_ms:6.1f} ms")

    def event(self, event: BinEvent) -> None:
        """Print number of the item, label, bin, time, reason."""
        if self._events:
            label = event.label or "unknown"
            self._say(f"{event.item:5}  {label:12} to {event.bin:12} {event.seconds:5.2f} s  {event.reason}")

    def _say(self, line: str) -> None:
        if self._on_stderr:
            tell(f"{line}\n")
            return
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


class JsonLines(Lines):
    """One JSON object a line, as `LoopResult.to_json` or `BinEvent.to_json` says."""

    def result(self, result: LoopResult) -> None:
        """Print the line, at once: whoever reads it acts on it."""
        if not self._events:
            self._say(json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False))

    def event(self, event: BinEvent) -> None:
        """Print the line, at once."""
        if self._events:
            self._say(event.dumps())


class LiveScreen(_Silent):
    """Label, bars of all scores, times and health, redrawn a few times a second by rich's own thread."""

    def __init__(
        self,
        loop: CameraLoop,
        source: str,
        labels: tuple[str, ...],
        smart_bin: SmartBin | None = None,
        *,
        on_stderr: bool = False,
    ) -> None:
        """Show a loop over `source`, whose model knows `labels`, and the bin that it belongs to, if any."""
        self._loop, self._source, self._labels, self._bin = loop, source, labels, smart_bin
        self._on_stderr = on_stderr
        self._result: LoopResult | None = None
        self._times: deque[float] = deque(maxlen=600)
        self._live: Live | None = None

    def __enter__(self) -> Screen:
        from rich.live import Live

        self._live = Live(
            get_renderable=self._render,
            console=text_console(stderr=self._on_stderr),
            refresh_per_second=8,
            transient=True,
            redirect_stdout=not self._on_stderr,
        )
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def result(self, result: LoopResult) -> None:
        """Keep the result, to be drawn when the time has come."""
        self._result = result
        self._times.append(time.monotonic())

    def _rate(self) -> float:
        since = time.monotonic() - _RATE_SECONDS
        return sum(t >= since for t in tuple(self._times)) / _RATE_SECONDS

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.panel import Panel
        from rich.text import Text

        health, result = self._loop.health, self._result
        report = None if self._bin is None else self._bin.report
        bin_lines = [] if report is None else _lines_of(report)
        state = Text(str(health.state), style="bold green" if health.ok else "bold yellow")
        if health.reason:
            state.append(f"  {health.reason}", style="dim")
        if result is None or not health.ok:  # never an old answer as if it were a new one
            return Panel(Group(state, *bin_lines), title=self._title(), title_align="left")
        unused = report is not None and report.state in _UNUSED
        times = (
            f"age {result.age_ms:.0f} ms  {self._rate():.1f} a second  dropped {result.dropped}"
            f"  bad {result.bad_frames}  reconnects {health.reconnects}"
        )
        answer, took = self._answer(result, unused=unused)
        lines = Group(state, *bin_lines, *answer, Text(took + times, style="dim"))
        return Panel(lines, title=self._title(), title_align="left")

    def _answer(self, result: LoopResult, *, unused: bool) -> tuple[list[RenderableType], str]:
        """Draw what the network says, or why it was not asked; and what it took."""
        from rich.table import Table
        from rich.text import Text

        said = result.prediction
        if said is None:
            return [Text(str(result.tray), style="dim")], ""
        head = Text(said.label, style="dim" if unused else "bold")
        head.append(f"  {said.score:.0%}", style="dim" if unused else "bold cyan")
        bars = Table.grid(padding=(0, 1))
        for label, p in zip(self._labels, said.probabilities, strict=True):
            style = "cyan" if label == said.label else "dim"
            bars.add_row(*(Text(t, style=style) for t in (label, "█" * round(p * 30), f"{p:.3f}")))
        took = f"prepare {said.timings.prepare_ms:.1f} ms  network {said.timings.infer_ms:.1f} ms  "
        return [head, bars], took

    def _title(self) -> Text:
        from rich.text import Text

        return Text(printable(self._source))  # a plain string would be read as markup


def _lines_of(report: BinReport) -> list[Text]:
    """Return what a bin does, its last event, and which sinks fail."""
    from rich.text import Text

    style = "bold red" if report.state is BinState.FAULT else "bold magenta"
    lines = [Text(f"{report.state}: {report.reason}", style=style)]
    if report.last:
        last = report.last[-1]
        lines.append(Text(f"item {last.item}: {last.label or 'unknown'} to {last.bin}", style="magenta"))
    lines += [Text(f"sink {s.name}: {s.problem}", style="red") for s in report.sinks if s.problem]
    return lines


class Preview(_Silent):
    """A window with the frames; q, Escape, or closing it ends the loop."""

    def __init__(self, loop: CameraLoop) -> None:
        """Show a loop that is to end with the window.

        Raises:
            MissingDependencyError: this OpenCV has no windows.
            OptionError: there is no screen; Qt would end the whole process over it.
        """
        import cv2

        gui = next((line for line in cv2.getBuildInformation().splitlines() if "GUI:" in line), "")
        if "NONE" in gui or not gui:
            from ecovision_edge.base.installation import Installation

            here = Installation.here()
            remove = here.pip_line("opencv-python-headless", command="uninstall")
            raise MissingDependencyError(
                "this OpenCV has no windows",
                fix=f"run: {remove}; then: {here.pip_line('opencv-python')}; or use --http",
            )
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise OptionError("--preview", expected="a screen", found="no DISPLAY", fix="use --http")
        self._loop = loop

    def __exit__(self, *_: object) -> None:
        import cv2

        cv2.destroyAllWindows()

    def result(self, result: LoopResult) -> None:
        """Show the frame with its label."""
        import cv2

        image = result.frame.image.copy()
        said = result.prediction
        text = str(result.tray) if said is None else f"{said.label} {said.score:.2f}"
        for x, y, colour in (12, 32, (0, 0, 0)), (10, 30, (255, 255, 255)):  # with a shadow
            cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.9, colour, 2, cv2.LINE_AA)
        try:
            cv2.imshow(_WINDOW, image)
            key = cv2.waitKey(1) & 0xFF
            gone = cv2.getWindowProperty(_WINDOW, cv2.WND_PROP_VISIBLE) < 1
        except cv2.error as e:
            raise MissingDependencyError(
                "no window can be shown", found=str(e), fix="is there a screen? use --http"
            ) from e
        if gone or key in (27, ord("q")):
            self._loop.stop()
