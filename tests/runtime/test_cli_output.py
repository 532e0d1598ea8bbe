"""Facts about what commands write to a terminal."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from ecovision_edge.camera.health import Health, HealthState
from ecovision_edge.cli.output import progress_bar, silence, tell, text_console
from ecovision_edge.cli.screens import LiveScreen

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
    screen.result(SimpleNamespace(prediction=prediction, age_ms=1.0, dropped=0))
    stream = io.StringIO()
    Console(file=stream, width=200).print(screen._render())
    assert stream.getvalue().count(NAME) == (4 if state is HealthState.RUNNING else 2)


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
