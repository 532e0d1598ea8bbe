"""Facts about what commands write to a terminal."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console
from tests.runtime.bin_reports import COVERED, bin_report, sink_report

from ecovision_edge.camera.health import Health, HealthState
from ecovision_edge.cli.output import progress_bar, silence, tell, text_console
from ecovision_edge.cli.screens import LiveScreen
from ecovision_edge.events import BinState

NAME = "[red]cam[/red] :smile: [/]"
"""Of a file or a label, and no markup: the last tag closes nothing, which rich would raise over."""


def test_a_console_takes_names_as_text(capsys):
    """On both of its streams, in lines and in tables."""
    from rich.table import Table

    for stderr in (False, True):
        table = Table(title=NAME)
        table.add_column(NAME)
        table.add_row(NAME)
        console = text_console(stderr=stderr, width=200)
        console.print(NAME)
        console.print(table)
        written = capsys.readouterr()
        assert (written.err if stderr else written.out).count(NAME) == 4


@pytest.mark.parametrize("state", [HealthState.RUNNING, HealthState.STALLED])
def test_a_source_s_name_is_text_on_the_live_screen(state):
    """With a result, and without."""
    loop = SimpleNamespace(health=Health(state, 0.0, NAME))
    screen = LiveScreen(loop, NAME, (NAME,))
    timings = SimpleNamespace(prepare_ms=1.0, infer_ms=1.0)
    prediction = SimpleNamespace(label=NAME, score=0.5, probabilities=[0.5], timings=timings)
    screen.result(SimpleNamespace(prediction=prediction, age_ms=1.0, dropped=0, bad_frames=0))
    stream = io.StringIO()
    Console(file=stream, width=200).print(screen._render())
    assert stream.getvalue().count(NAME) == (4 if state is HealthState.RUNNING else 2)


@pytest.mark.parametrize("state", [HealthState.RUNNING, HealthState.STALLED])
def test_a_bin_in_fault_is_red_on_the_live_screen(state):
    """With a camera that runs and without; the answer, which counts for nothing, is dim."""
    report = bin_report(BinState.FAULT, COVERED, sinks=(sink_report("hook", "it is gone"),))
    loop = SimpleNamespace(health=Health(state, 0.0, ""))
    screen = LiveScreen(loop, "cam", ("glass",), SimpleNamespace(report=report))
    timings = SimpleNamespace(prepare_ms=1.0, infer_ms=1.0)
    prediction = SimpleNamespace(label="glass", score=0.5, probabilities=[0.5], timings=timings)
    screen.result(SimpleNamespace(prediction=prediction, age_ms=1.0, dropped=0, bad_frames=0))
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system="standard")
    console.print(screen._render())
    text = console.file.getvalue()
    assert f"\x1b[1;31mfault: {COVERED}" in text
    assert "\x1b[31msink hook: it is gone" in text
    assert ("\x1b[2mglass" in text) is (state is HealthState.RUNNING)


def test_what_a_bar_is_for_is_text():
    """Also where a name is in it."""
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    with progress_bar(console, NAME, 1) as step:
        step()
    assert NAME in console.file.getvalue()


def test_a_stream_that_nobody_reads_is_let_go(monkeypatch):
    """Closed, gone, or not there at all."""

    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(5, "Input/output error")

    for stream in (Gone(), None):
        monkeypatch.setattr("sys.stderr", stream)
        tell("nobody hears this")
        silence(stream)
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stderr", closed)
    tell("nobody hears this")
