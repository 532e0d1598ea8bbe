"""Facts about sinks of JSON lines: standard output, files that are put aside, and what survives a kill."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from tests.runtime.test_sink_base import event, hurried

from ecovision_edge.errors import OptionError
from ecovision_edge.events import BinState
from ecovision_edge.sinks.lines import FileSink, StdoutSink

PROMPT = 20.0  # seconds: a safety net, nowhere expected to pass


def write(path, numbers, **options):
    """Deliver events of these numbers."""
    with FileSink(path, **options) as sink:
        for n in numbers:
            sink.put(event(n))
        assert sink.flush(PROMPT), sink.stats
    return sink


def numbers(path):
    """Of the events in a file, each line of which is whole."""
    return [json.loads(line)["sequence"] for line in path.read_bytes().splitlines(keepends=True)]


def until(condition):
    """Wait until something is so, as another thread makes it."""
    end = time.monotonic() + PROMPT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_events_are_appended(tmp_path):
    """To what was there, in a folder that is made."""
    path = tmp_path / "new" / "events.jsonl"
    write(path, range(3))
    write(path, range(3, 5), fsync=True)
    assert numbers(path) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("states", [True, False])
def test_states_are_lines_if_that_was_asked_for(tmp_path, capsys, states):
    """On standard output and in a file, before the event that follows; by default each line is an event."""
    path = tmp_path / "events.jsonl"
    for sink in FileSink(path, states=states, device="bin7"), StdoutSink(states=states, device="bin7"):
        sink.show(BinState.FAULT, "camera STALLED")
        sink.put(event(3))
        with sink:
            assert sink.flush(PROMPT)
    out = capsys.readouterr().out
    for text in out, path.read_text():
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["type"] for line in lines] == ["state", "event"][not states :]
        if states:
            found = {key: lines[0][key] for key in ("state", "reason", "device")}
            assert found == {"state": "fault", "reason": "camera STALLED", "device": "bin7"}


def test_a_full_file_is_put_aside(tmp_path):
    """None is larger than it may be, the newest events are all there, and older files go."""
    path = tmp_path / "events.jsonl"
    write(path, range(40), max_bytes=1500, keep=2)
    files = sorted(tmp_path.iterdir())
    assert [f.name for f in files] == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    assert all(f.stat().st_size <= 1500 for f in files)
    kept = [n for f in reversed(files) for n in numbers(f)]
    assert kept == list(range(40))[-len(kept) :]


def test_keep_0_keeps_the_newest_alone(tmp_path):
    """No file beside it."""
    path = tmp_path / "events.jsonl"
    write(path, range(40), max_bytes=1500, keep=0)
    assert list(tmp_path.iterdir()) == [path]
    assert numbers(path)[-1] == 39


def test_a_line_that_a_power_cut_left_is_cut_off(tmp_path):
    """And what was whole stays."""
    path = tmp_path / "events.jsonl"
    write(path, range(3))
    whole = path.read_bytes()
    for torn in (whole[:1], whole[:20], whole[:200], b"\0" * 300_000):
        path.write_bytes(whole + torn)
        write(path, [7])
        assert numbers(path) == [0, 1, 2, 7]


@pytest.mark.parametrize(
    "foreign",
    [
        b'{"a": 1}',
        b"\x89PNG\r\n\x1a\n\0\1binary",
        b"{",
        b"one\n{",
        b"\0" * 5000,
        b"one\n\0\0",
        b"x" * 2**20 + b"{",
        b'{"schema_version": 1, "half',
        b'{"schema_version":2,"half',
        b'{"schema_version":1,"half',
    ],
    ids=[
        *("JSON", "PNG", "brace", "brace after text", "zeros", "zeros after text", "long"),
        *("spaced", "another version", "another schema"),
    ],
)
def test_what_others_left_stays(tmp_path, foreign):
    """An end without a newline is cut off only if it begins as an event of ours; a line begins a line."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(foreign)
    write(path, [7])
    data = path.read_bytes()
    assert data.startswith(foreign + b"\n")
    assert json.loads(data[len(foreign) :])["sequence"] == 7


def test_an_event_without_its_newline_stays(tmp_path):
    """Some editors take the last one away."""
    path = tmp_path / "events.jsonl"
    write(path, range(2))
    path.write_bytes(path.read_bytes()[:-1])
    write(path, [2])
    assert numbers(path) == [0, 1, 2]


def test_a_check_cuts_nothing_off(tmp_path):
    """It is for a dry run, too, while another process may write."""
    path = tmp_path / "events.jsonl"
    write(path, [0])
    torn = path.read_bytes()[:50]
    path.write_bytes(torn)
    FileSink(path).check()
    assert path.read_bytes() == torn


@pytest.mark.parametrize("how", ["renamed", "removed", "replaced", "compressed", "folder removed", "emptied"])
def test_a_file_that_others_take_away_is_begun_again(tmp_path, how):
    """Before the next event, as logrotate and people do it; none is lost."""
    path, old = tmp_path / "folder" / "events.jsonl", tmp_path / "old"
    with FileSink(path) as sink:
        for n in range(4):
            if n == 2:
                old.write_bytes(path.read_bytes())
                if how == "renamed":
                    path.rename(path.with_suffix(".1"))
                elif how == "replaced":
                    (tmp_path / "new").write_bytes(b"")
                    (tmp_path / "new").replace(path)
                elif how == "compressed":  # renamed, read, and removed
                    path.rename(path.with_suffix(".1"))
                    path.with_suffix(".1").unlink()
                elif how == "emptied":  # copytruncate
                    os.truncate(path, 0)
                else:
                    path.unlink()
                    if how == "folder removed":
                        path.parent.rmdir()
            sink.put(event(n))
            assert sink.flush(PROMPT)
        assert sink.stats.retries == 0
    assert numbers(old) == [0, 1]
    assert numbers(path) == [2, 3]


def test_a_file_that_is_removed_while_an_event_is_written_is_begun_again(tmp_path, monkeypatch):
    """The event went where nobody can read it, so it is written once more."""
    path, real = tmp_path / "events.jsonl", os.write

    def unlucky(descriptor, data):
        if b"run-1" in data and len(numbers(path)) == 1:
            path.unlink()
        return real(descriptor, data)

    with hurried(FileSink(path)) as sink:
        sink.put(event(0))
        assert sink.flush(PROMPT)
        monkeypatch.setattr("ecovision_edge.sinks._line_file.os.write", unlucky)
        sink.put(event(1))
        assert sink.flush(PROMPT)
    assert numbers(path) == [1]
    assert sink.stats.retries == 1


def test_one_sink_at_a_time_writes_to_a_file(tmp_path):
    """A second one says so, and goes on when the first has ended."""
    path = tmp_path / "events.jsonl"
    with hurried(FileSink(path)) as second:
        with FileSink(path) as first:
            first.put(event(0))
            assert first.flush(PROMPT)
            second.put(event(1))
            until(lambda: "another sink, writes to it" in second.stats.error)
            with pytest.raises(OptionError, match="another process, or another sink, writes to it"):
                FileSink(path).check()
            assert numbers(path) == [0]
        assert second.flush(PROMPT)
    assert numbers(path) == [0, 1]


def test_the_file_behind_a_link_is_put_aside(tmp_path):
    """And the link stays."""
    (tmp_path / "disk").mkdir()
    path = tmp_path / "events.jsonl"
    path.symlink_to("disk/events")
    write(path, range(20), max_bytes=1500, keep=1)
    assert path.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", "events.jsonl"]
    assert sorted(p.name for p in (tmp_path / "disk").iterdir()) == ["events", "events.1"]


def test_a_pipe_is_appended_to(tmp_path):
    """It has no size, no lock and no line to mend."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write(path, range(3), max_bytes=1000)
    lines = os.read(reader, 10_000).splitlines()
    os.close(reader)
    assert [json.loads(line)["sequence"] for line in lines] == [0, 1, 2]
    assert list(tmp_path.iterdir()) == [path]


def test_events_wait_for_a_reader_of_a_pipe(tmp_path):
    """What nobody reads is not delivered; a reader may come late, go, and come again."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    FileSink(path).check()
    with FileSink(path) as sink:
        hurried(sink)
        for number in range(2):
            sink.put(event(number))
            assert not sink.flush(0.05)
            assert "nobody reads this pipe" in sink.stats.error or "Broken pipe" in sink.stats.error
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            assert sink.flush(PROMPT)
            assert json.loads(os.read(reader, 10_000))["sequence"] == number
            os.close(reader)
    assert sink.stats.dropped == 0


def test_a_disk_that_says_no_is_tried_again(tmp_path, monkeypatch):
    """No half line, and no event lost."""
    path, real, calls = tmp_path / "events.jsonl", os.write, []

    def full(descriptor, data):
        if data.startswith(b'{"schema_version"') and len(calls) < 2:
            calls.append(data)
            return real(descriptor, data[:10])
        return real(descriptor, data)

    monkeypatch.setattr("ecovision_edge.sinks._line_file.os.write", full)
    with FileSink(path) as sink:
        hurried(sink)
        sink.put(event(0))
        sink.put(event(1))
        assert sink.flush(PROMPT)
    assert numbers(path) == [0, 1]
    assert sink.stats.retries == 2


def test_a_disk_that_fails_to_sync_doubles_no_line(tmp_path, monkeypatch):
    """What was written but may not be on the disk is cut off, and written again."""
    path, real, calls = tmp_path / "events.jsonl", os.fsync, []

    def failing(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:  # of the first line; the folder came before
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr("ecovision_edge.sinks._line_file.os.fsync", failing)
    with FileSink(path, fsync=True) as sink:
        hurried(sink)
        sink.put(event(0))
        assert sink.flush(PROMPT)
    assert numbers(path) == [0]
    assert sink.stats.retries == 1


def test_a_folder_in_its_place_is_told(tmp_path):
    """And tried again, for it may be mended."""
    with FileSink(tmp_path) as sink:
        sink.put(event(0))
        assert not sink.flush(0.2)
        assert "Is a directory" in sink.stats.error
        sink.close(timeout=0.01)
    assert sink.stats.dropped == 1


@pytest.mark.parametrize(
    ("place", "found"),
    [("", "Is a directory"), ("file/events.jsonl", "Not a directory|File exists")],
    ids=["a folder", "in a file"],
)
def test_a_file_that_cannot_be_written_can_be_told_at_once(tmp_path, place, found):
    """Before the start, for whoever mistyped it; where it can be written nothing of it changes."""
    (tmp_path / "file").write_bytes(b"{}\n")
    with pytest.raises(OptionError, match=f"expected a file to write to, found ({found})"):
        FileSink(tmp_path / place).check()
    FileSink(tmp_path / "file").check()
    assert (tmp_path / "file").read_bytes() == b"{}\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "a file to write to, found Is a directory"),
        ("x" * 256, "a file to write to, found File name too long"),
        ("x" * 254, r"a file that can be put aside as \.5, found File name too long"),
        ("taken", r"a file that can be put aside as \.5, found Is a directory"),
    ],
    ids=["folder", "long", "long aside", "folder aside"],
)
def test_a_path_that_can_never_be_one_is_told_without_opening_it(tmp_path, name, expected):
    """As in a dry run; so is one that could not be put aside when it is full."""
    (tmp_path / "taken.5").mkdir()
    with pytest.raises(OptionError, match=f"expected {expected}"):
        FileSink(tmp_path / name).check_event(event(0))
    FileSink(tmp_path / ("x" * 253)).check_event(event(0))
    FileSink(tmp_path / ("x" * 254), keep=0).check_event(event(0))
    assert [path.name for path in tmp_path.iterdir()] == ["taken.5"]


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
from ecovision_edge.sinks.lines import FileSink
from tests.runtime.test_sink_base import event
with FileSink(sys.argv[1], max_bytes=20_000, keep=999, fsync=True) as sink:
    for n in range(10**9):
        sink.put(event(n))
        sink.flush(60)
        print(n, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_kill_loses_no_event_that_was_delivered(tmp_path, seed):
    """At a random moment; the last line may be torn, and is cut off by the next start."""
    path, root = tmp_path / "events.jsonl", os.path.dirname(os.path.dirname(os.path.dirname(__file__)))  # noqa: PTH120
    with subprocess.Popen([sys.executable, "-c", KILLED, path, root], stdout=subprocess.PIPE) as process:
        for _ in range(random.Random(seed).randint(1, 120)):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        told = [int(line) for line in process.stdout.read().split()]
    last = max([last, *told])
    write(path, [10**6])
    files = sorted(tmp_path.iterdir(), key=lambda f: -int(f.suffix[1:]) if f.suffix[1:].isdigit() else 1)
    found = [n for f in files for n in numbers(f)]
    assert found[:-1] == list(range(len(found) - 1))
    assert found[-2] >= last
    assert found[-1] == 10**6


def test_standard_output_has_a_line_an_event(capsys):
    """Flushed."""
    with StdoutSink() as sink:
        sink.put(event(3))
        assert sink.flush(PROMPT)
    assert json.loads(capsys.readouterr().out)["sequence"] == 3


def test_standard_output_without_a_letter_escapes_it(monkeypatch):
    """Each event would be tried for ever where the locale is C."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    with StdoutSink() as sink:
        sink.put(replace(event(3), bin="Papier, Größe"))
        assert sink.flush(PROMPT)
    assert json.loads(out.buffer.getvalue())["bin"] == "Papier, Größe"


@pytest.mark.parametrize("options", [{"max_bytes": 10}, {"keep": -1}, {"keep": 1000}], ids=str)
def test_options_out_of_range_are_named(tmp_path, options):
    """What is right, and what was found."""
    with pytest.raises(OptionError, match=r"expected.*found"):
        FileSink(tmp_path / "x", **options)


def test_a_full_disk_is_told_by_its_name():
    """What failed first is told, not what failed while that was undone."""
    with FileSink("/dev/full") as sink:
        sink.put(event(0))
        for _ in range(int(20 / 0.005)):
            if sink.stats.error:
                break
            threading.Event().wait(0.005)
        assert "No space left on device" in sink.stats.error
        sink.close(timeout=0.01)
