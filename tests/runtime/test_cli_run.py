"""Facts about `ecovision-edge run`, as somebody at a shell sees it."""

import contextlib
import inspect
import json
import logging
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest

from ecovision_edge.base.durations import parse_duration
from ecovision_edge.base.sizes import parse_size
from ecovision_edge.cli import main
from ecovision_edge.cli import running as running_signals
from ecovision_edge.cli.output import is_stdout
from ecovision_edge.errors import OptionError
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge.sinks import Sink, addresses
from ecovision_edge.smart_bin import SmartBin

PROMPT = 60.0  # seconds: a safety net, nowhere expected to pass
COMMAND = [sys.executable, "-m", "ecovision_edge", "run"]


def run(capsys, *arguments):
    """Exit status, lines of standard output, standard error."""
    status = main(["run", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of six synthetic frames."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(6):
        cv2.imwrite(str(folder / f"{seed}.png"), draw_frame(seed, 320, 240))
    return folder


@contextlib.contextmanager
def running(*arguments, **options):
    """The command in a process of its own, which is gone afterwards."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    # A process inherits that it is ignored, if `nohup` started the tests.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        process = subprocess.Popen([*COMMAND, *map(str, arguments)], **options)
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_json_lines_are_one_object_a_frame(capsys, pristine, photos):
    """In order, each with label and probabilities; the summary goes to standard error."""
    status, lines, err = run(capsys, "--source", photos, "--bundle", pristine, "--output", "jsonl")
    assert status == 0
    results = [json.loads(line) for line in lines]
    assert [r["sequence"] for r in results] == list(range(6))
    assert all(r["label"] in r["probabilities"] for r in results)
    assert "6 frames" in err
    assert "6 classified" in err


def test_lines_are_for_people(capsys, pristine, photos):
    """Where standard output is no terminal."""
    status, lines, _ = run(capsys, "--source", photos, "--bundle", pristine)
    assert status == 0
    assert len(lines) == 6
    assert re.match(r" +0  \w+ +\d\.\d{3} .* ms  age", lines[0])


def test_none_says_nothing_but_the_log(capsys, pristine, photos):
    """And the summary goes where it is wanted."""
    status, lines, _ = run(
        capsys, "--source", photos, "--bundle", pristine, "--output", "none", "--summary", "-"
    )
    assert status == 0
    summary = json.loads("\n".join(lines))
    assert (summary["frames"], summary["classified"], summary["dropped"]) == (6, 6, 0)
    assert summary["health"]["state"] == "ENDED"


def test_the_summary_is_a_file(capsys, pristine, photos, tmp_path):
    """`--summary FILE`."""
    target = tmp_path / "summary.json"
    assert run(capsys, "--source", photos, "--bundle", pristine, "--summary", target)[0] == 0
    assert json.loads(target.read_bytes())["classified"] == 6


def test_limits_end_it(capsys, pristine):
    """`--max-frames`, of a camera that would go on for ever."""
    status, lines, _ = run(
        capsys, "--source", "demo:", "--bundle", pristine, "--max-frames", 3, "--output", "jsonl"
    )
    assert status == 0
    assert len(lines) == 3


def test_the_demo_runs_with_the_embedded_model(capsys):
    """No camera, no bundle, no file."""
    status, lines, err = run(capsys, "--source", "demo:?fps=60", "--max-frames", 2)
    assert status == 0
    assert len(lines) == 2
    assert "RUNNING" in err


def test_a_tflite_artifact_runs_as_well(capsys, both, photos):
    """As an ONNX one."""
    found = [
        [json.loads(line)["label"] for line in lines]
        for artifact in ("int8-onnx", "int8-tflite")
        for _, lines, _ in [
            run(capsys, "-s", photos, "-b", both, "--artifact", artifact, "--output", "jsonl")
        ]
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--output", "xml"], "--output: expected auto, live, lines, jsonl, none, found xml"),
        (["--every", "0"], "--every: expected above 0, found 0"),
        (["--every", "often"], "--every: expected seconds, or like 200ms"),
        (["--below", "2", "--capture-hard", "x"], "--below: expected above 0, up to 1, found 2.0"),
        (["--max-frames", "0"], "max_frames: expected 1 or more"),
        (["--source", "teleport://here"], "teleport"),
        (["--source", "no such thing"], "no file or folder no such thing"),
        (["--summary", "missing/summary.json"], "no such folder"),
        (["--record", "x", "--record-bytes", "lots"], "--record-bytes: expected bytes, or like 500MB"),
        (["--http", "0.0.0.0:0"], "token"),
        (["--settle", "1s"], "--settle: expected --bin RULES beside it: a bin decides, found no --bin"),
        (["--settle", "6"], "--settle: expected seconds, 0 to 5, or like 300ms, found 6"),
        (["--decide-within", "0"], "--decide-within: expected seconds above 0, or like 300ms, found 0"),
        (["--error", "0.6"], "--error: expected a number above 0, at most 0.5, found 0.6"),
        (["--cooldown", "soon"], "--cooldown: expected seconds, 0 or more, or like 300ms, found soon"),
        (["--trigger", ""], "--trigger: expected picture, or an address of a trigger"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_misuse_is_one_line(capsys, monkeypatch, tmp_path, pristine, arguments, says):
    """Status 2, what was expected and found, nothing else said or done."""
    monkeypatch.chdir(tmp_path)
    given = [] if "--source" in arguments else ["--source", "demo:"]
    status, lines, err = run(capsys, "--bundle", pristine, *given, *arguments)
    assert status == 2
    assert lines == []
    assert err.startswith("ecovision-edge: ")
    assert err.count("\n") == 1
    assert says in err


def test_a_missing_file_is_one_line(capsys, pristine):
    """Status 1: it may be there the next time."""
    status, lines, err = run(capsys, "--bundle", pristine, "--source", "missing.mp4")
    assert (status, lines) == (1, [])
    assert err == "ecovision-edge: missing.mp4 cannot be opened: expected a video file, found no such file\n"


def test_without_windows_preview_says_what_to_install(capsys, pristine):
    """The headless OpenCV that this package depends on has none."""
    status, lines, err = run(capsys, "--source", "demo:", "--bundle", pristine, "--preview")
    assert status == 1
    assert "-m pip install opencv-python;" in err
    assert lines == []


def test_without_a_screen_preview_says_so(capsys, monkeypatch, pristine):
    """Before Qt ends the process over it."""
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:   QT5\n")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    status, _, err = run(capsys, "--source", "demo:", "--bundle", pristine, "--preview")
    assert status == 2
    assert "--preview: expected a screen, found no DISPLAY; use --http" in err


class Screen:
    """What a window would be: keys pressed after some frames."""

    def __init__(self, keys):
        self.keys, self.shown, self.destroyed = keys, [], 0

    def imshow(self, name, image):
        self.shown.append(image)

    def key(self, wait):
        return self.keys[len(self.shown) - 1]

    def visible(self, name, what):
        return 1.0

    def destroy(self):
        self.destroyed += 1


def test_q_in_the_preview_ends_it(capsys, monkeypatch, pristine):
    """The window shows frames with their label, and is gone at the end; the frame itself is not drawn on."""
    screen = Screen([-1, -1, ord("q"), -1, -1, -1])
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:   GTK3\n")
    monkeypatch.setattr(cv2, "imshow", screen.imshow)
    monkeypatch.setattr(cv2, "waitKey", screen.key)
    monkeypatch.setattr(cv2, "getWindowProperty", screen.visible)
    monkeypatch.setattr(cv2, "destroyAllWindows", screen.destroy)
    status, lines, _ = run(capsys, "--source", "demo:", "--bundle", pristine, "--preview")
    assert status == 0
    assert len(lines) == len(screen.shown) == 3
    assert screen.destroyed == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_ends_it_cleanly(pristine, number):
    """Status 0, with a summary."""
    with running("--source", "demo:", "--bundle", pristine, "--output", "jsonl") as process:
        assert process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=PROMPT)
    assert process.returncode == 0, err.decode()
    assert all(json.loads(line) for line in out.splitlines())
    assert b" classified" in err
    assert b"ENDED: stopped" in err
    assert b"Traceback" not in err


@pytest.mark.slow
def test_a_terminal_that_is_closed_ends_it_in_order(pristine, tmp_path):
    """Its screen and its log can be written no more; the summary can."""
    ours, theirs = pty.openpty()
    given = ("--source", "demo:", "--bundle", pristine, "--summary", tmp_path / "summary.json")
    with running(*given, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while b"RUNNING" not in seen:
            seen += os.read(ours, 65536)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait(PROMPT) == 0
    assert json.loads((tmp_path / "summary.json").read_bytes())["health"]["state"] == "ENDED"


def test_nohup_is_kept_to(monkeypatch):
    """SIGHUP stays ignored where it was, and is ignored again afterwards."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with running_signals.stopped_by_signals(threading.Event()):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_log_that_nobody_can_read_stops_nobody(monkeypatch, capfd):
    """A sink's thread logs, and must not die of it."""
    monkeypatch.setattr(sys, "stderr", open(os.devnull))  # noqa: SIM115, PTH123 - not writable
    with running_signals.log_to_stderr():
        logging.getLogger("ecovision_edge").warning("nobody hears this")
    sys.stderr.close()


@pytest.mark.slow
def test_a_signal_that_comes_twice_is_one(pristine):
    """From a terminal to all of its processes, and from `timeout` or a parent once more."""
    with running("--source", "demo:", "--bundle", pristine, "--output", "jsonl") as process:
        assert process.stdout.readline()
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
        _, err = process.communicate(timeout=PROMPT)
    assert process.returncode == 0, err.decode()
    assert b"ENDED: stopped" in err


@pytest.mark.slow
def test_a_signal_ends_it_in_order_where_a_sink_failed_from_the_start(pristine, rules, tmp_path):
    """No event waits for it: neither does the end."""
    given = ("--source", "demo:", "--bundle", pristine, "--bin", rules, "--sink", "mqtt://127.0.0.1:1/bin")
    with running(*given, env={**os.environ, "XDG_STATE_HOME": str(tmp_path)}) as process:
        said = b""
        while b"Connection refused" not in said or b"RUNNING" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        process.terminate()
        _, err = process.communicate(timeout=PROMPT)
    assert process.returncode == 0, err.decode()
    assert b" classified" in err


def test_a_dry_run_refuses_what_sinks_can_never_carry(capsys, pristine, rules):
    """A name beyond a sink's limits, and two sinks of one file; before any frame."""
    given = ("--source", "demo:?frames=1", "--bundle", pristine, "--bin", rules, "--dry-run")
    status, _, err = run(capsys, *given, "--sink", "stdout:", "--device-id", "bin\udcff")
    assert (status, err.count("\n")) == (2, 1)
    assert "name of a device: expected UTF-8" in err
    status, _, err = run(capsys, *given, "--sink", "file:x", "--sink", "file:./x")
    assert (status, err.count("\n")) == (2, 1)
    assert "expected one sink alone" in err


def test_a_process_is_not_ended_while_its_sinks_still_have_time():
    """For events that wait: `SmartBin.close` gives it to them, and a second beyond it."""
    given = inspect.signature(SmartBin.close).parameters["timeout"].default
    assert given + 1.0 < running_signals.PATIENCE


@pytest.mark.slow
def test_a_signal_ends_it_while_it_waits_to_reconnect(pristine):
    """From the middle of a backoff."""
    with running("--source", "/dev/video97", "--bundle", pristine) as process:
        for line in process.stderr:
            if b"RECONNECTING" in line:
                break
        process.terminate()
        _, err = process.communicate(timeout=PROMPT)
    assert process.returncode == 0
    assert b"0 classified" in err


STUCK = """
import os, signal, sys, threading
from ecovision_edge.cli import running

class Stuck:
    def stop(self):
        os.write(1, b"told to stop")

running.PATIENCE, running.AGAIN = map(float, sys.argv[2:4])
with running.stopped_by_signals(Stuck(), lambda: os.write(1, b", abandoned")):
    for _ in range(int(sys.argv[1])):
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait()
"""


@pytest.mark.parametrize(
    ("signals", "patience", "again", "says"),
    [
        (2, 1000, 0, b"interrupted again"),
        (1, 0.05, 1000, b"did not end within 0.05 s"),
        (3, 0.05, 1000, b"did not end within 0.05 s"),
    ],
    ids=["a second signal", "no end in time", "the same signal thrice"],
)
def test_a_loop_that_is_stuck_does_not_keep_the_process(python, signals, patience, again, says):
    """A second signal or some seconds end it the hard way; what must not be left is seen to first."""
    ran = python("-c", STUCK, str(signals), str(patience), str(again))
    assert ran.returncode == 130
    assert says in ran.stderr
    assert b"interrupted again" not in ran.stderr or again == 0
    assert b", abandoned" in ran.stdout  # the other thread may be told to stop at the same time


ELSEWHERE = """
import os, sys
from ecovision_edge.cli import running

class Driver:
    def stop(self):
        os.write(wake, b"\\n")

asleep, wake = os.pipe()
os.set_inheritable(asleep, True)
with running.stopped_by_signals(Driver()) as asked:
    os.system(f"kill -TERM $PPID; read line <&{asleep}")  # in C, where no handler of Python's runs
sys.exit(0 if asked() else 1)
"""


def test_a_signal_counts_although_the_main_thread_does_not_come_back_to_python(python):
    """It is in a driver, or it waits and the system gave the signal to another thread."""
    ran = python("-c", ELSEWHERE, timeout=PROMPT)
    assert (ran.returncode, ran.stderr) == (0, b"")


ENDING = """
import atexit, os, signal, threading
from ecovision_edge.cli import running

class Ends:
    def stop(self):
        stopped.set()

class Last:
    def __del__(self, kill=os.kill, own=os.getpid(), numbers=(signal.SIGINT, signal.SIGTERM)):
        for number in numbers:  # at the end nothing global is left
            kill(own, number)

again = Last.__del__
stopped, last, running.AGAIN = threading.Event(), Last(), 1000
atexit.register(again, None)
with running.stopped_by_signals(Ends()):
    os.kill(os.getpid(), signal.SIGTERM)
    stopped.wait()
again(None)
"""


def test_a_signal_that_comes_twice_is_one_while_the_process_ends_too(python):
    """After the loop, at the exit, and as the interpreter takes itself apart."""
    ran = python("-c", ENDING)
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_a_signal_that_comes_again_later_has_its_usual_effect(python):
    """For whatever hangs then."""
    ran = python("-c", ENDING.replace("1000", "0"))
    assert ran.returncode != 0


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_no_error(pristine):
    """`| head -1`."""
    with running("--source", "demo:", "--bundle", pristine, "--output", "jsonl") as process:
        assert process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(PROMPT) == 0, err.decode()
    assert b"Traceback" not in err
    assert b"Error" not in err


@pytest.mark.slow
def test_on_a_terminal_it_is_live(pristine):
    """Label, bars and health in place; at the end the summary, on a clean screen."""
    ours, theirs = pty.openpty()
    try:
        with running(
            *("--source", "demo:", "--bundle", pristine, "--max-frames", "10", "--max-age", "1h"),
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
        ) as process:
            seen = b""
            while process.poll() is None or select.select([ours], [], [], 0)[0]:
                if select.select([ours], [], [], 0.1)[0]:
                    seen += os.read(ours, 65536)
            assert process.returncode == 0, seen
    finally:
        os.close(ours)
        os.close(theirs)
    text = seen.decode()
    assert "RUNNING" in text
    assert "network" in text
    assert "█" in text
    assert " classified" in text.rpartition("\x1b[")[2]


def test_without_a_frame_in_its_time_it_failed(capsys, pristine):
    """Status 1: whoever started it would think that all is well."""
    status, lines, err = run(
        capsys, "--source", "/dev/video97", "--bundle", pristine, "--duration", "50ms", "--output", "none"
    )
    assert (status, lines) == (1, [])
    assert err.splitlines()[-1] == (
        "ecovision-edge: nothing was looked at within 0.05 s: /dev/video97 gave no frame"
    )


def test_the_page_s_address_is_said_once(capsys, pristine):
    """With and without a reader of the log."""
    given = ("--source", "demo:", "--bundle", pristine, "--max-frames", 1, "--output", "none")
    status, _, err = run(capsys, *given, "--http", "127.0.0.1:0")
    assert status == 0
    assert err.count("http://127.0.0.1:") == 1


@pytest.mark.slow
def test_the_page_is_served_while_it_runs(pristine):
    """At the address that standard error names; gone afterwards."""
    with running(
        "--source", "demo:", "--bundle", pristine, "--output", "none", "--http", "127.0.0.1:0"
    ) as process:
        url = None
        for line in process.stderr:
            if match := re.search(rb"http://\S+", line):
                url = match[0].decode().rstrip("/")
            if b"RUNNING" in line:
                break
        health = {}
        deadline = time.monotonic() + PROMPT
        while not health:
            with contextlib.suppress(urllib.error.HTTPError):  # no result yet
                health = json.loads(urllib.request.urlopen(f"{url}/healthz").read())
            assert time.monotonic() < deadline
        process.terminate()
        assert process.wait(PROMPT) == 0
    assert health["state"] == "RUNNING"


@pytest.mark.slow
def test_a_recording_replays_to_the_same_results(capsys, tmp_path):
    """`--record DIR`, then `--source DIR`: labels and probabilities bit for bit."""
    folder = tmp_path / "recording"
    status, lines, _ = run(
        capsys, "--source", "demo:?frames=12", "--record", folder, "--output", "jsonl", "--threads", 1
    )
    assert status == 0
    status, again, _ = run(capsys, "--source", folder, "--output", "jsonl", "--threads", 1)
    assert status == 0

    def told(lines):
        return [json.loads(line)["probabilities"] for line in lines]

    assert len(lines) == 12
    assert told(again) == told(lines)


def test_hard_frames_are_kept(capsys, tmp_path):
    """Those whose score is below `--below`."""
    folder = tmp_path / "hard"
    status, _, _ = run(
        capsys, "--source", "demo:?frames=3", "--capture-hard", folder, "--below", "1", "--output", "none"
    )
    assert status == 0
    [kept] = folder.glob("*.jpg")
    assert np.asarray(cv2.imread(str(kept))).shape == (480, 640, 3)


RULES = """
schema = 1
name = "two"
default = "residual"
[bins]
colours = ["blue", "green"]
residual = ["red"]
"""


@pytest.fixture
def rules(tmp_path):
    """For the tiny model's labels."""
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return path


@pytest.mark.slow
def test_as_a_bin_it_says_events(capsys, pristine, rules):
    """One per line, one per item; not each frame's result."""
    given = ("--source", "demo:?frames=210", "--bundle", pristine, "--bin", rules)
    status, lines, err = run(capsys, *given, "--output", "jsonl", "--device-id", "bin7")
    assert status == 0
    events = [json.loads(line) for line in lines]
    assert [e["item"] for e in events] == [0, 1]
    assert {e["device"] for e in events} == {"bin7"}
    assert {e["bin"] for e in events} <= {"colours", "residual"}
    found = re.search(r"(\d+) classified, (\d+) empty, (\d+) unknown \(", err)
    assert sum(map(int, found.groups())) == 210
    assert int(found[2]) > 15  # nothing lies there for a second and more
    status, lines, _ = run(capsys, *given)
    assert status == 0
    assert len(lines) == 2


def test_a_trigger_that_is_wrong_is_said_before_the_camera_is_asked(capsys, pristine, rules):
    """By its option, or by its key in the rules."""
    given = ("--source", "demo:", "--bundle", pristine, "--bin", rules, "--check")
    status, _, err = run(capsys, *given, "--trigger", "gpio:99")
    assert (status, err) == (
        *(2, "ecovision-edge: --trigger: pin of a trigger: expected 0 to 27, found 99\n"),
    )
    rules.write_text(f'{RULES}[decision]\ntrigger = "gpio:99"\n')
    status, _, err = run(capsys, *given)
    assert status == 2
    assert re.search(r"rules.toml: decision.trigger: pin of a trigger: expected 0 to 27", err)
    assert run(capsys, *given, "--trigger", "picture")[0] == 0


@pytest.mark.slow
def test_enter_is_a_trigger_and_the_rules_say_when_it_decides(pristine, rules):
    """Nothing is decided before; the command line comes before the rules."""
    rules.write_text(f'{RULES}[decision]\ntrigger = "picture"\nsettle = "50ms"\ncooldown = 0\n')
    with running(
        *("--source", "demo:", "--bundle", pristine, "--bin", rules, "--sink", "stdout:?states=1"),
        *("--trigger", "keyboard:", "--decide-within", "200ms", "--error", "0.4"),
        stdin=subprocess.PIPE,
    ) as process:
        for line in process.stdout:
            told = json.loads(line)
            if (told.get("state"), told.get("reason")) == ("empty", "nothing was triggered"):
                break
        process.stdin.write(b"\n")
        process.stdin.flush()
        seen = [told]
        while seen[-1]["type"] != "event":
            seen.append(json.loads(process.stdout.readline()))
        assert [one["state"] for one in seen[:-1]][:2] == ["empty", "settling"]
        assert seen[-1]["item"] == 0
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PROMPT)
        assert process.returncode == 0, err.decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("output", "on_stderr"), [("auto", 0), ("none", 0), ("lines", 2), ("jsonl", 2)], ids=str
)
def test_standard_output_is_the_sink_s_alone(capsys, pristine, rules, output, on_stderr):
    """Each event once; a screen that is asked for goes to standard error."""
    given = ("--source", "demo:?frames=210", "--bundle", pristine, "--bin", rules)
    status, lines, err = run(capsys, *given, "--sink", "stdout:", "--output", output)
    assert status == 0
    assert [e["item"] for e in map(json.loads, lines) if "item" in e] == [0, 1]
    assert len(re.findall(r"^ +\d  |^{.*\"item\"", err, re.MULTILINE)) == on_stderr


def test_a_summary_beside_the_sink_s_lines_is_refused(capsys, pristine, rules):
    """A reader of JSON lines would stumble over it."""
    given = ("--source", "demo:", "--bundle", pristine, "--bin", rules, "--sink", "stdout:")
    status, lines, err = run(capsys, *given, "--summary", "-")
    assert (status, lines) == (2, [])
    assert err == (
        "ecovision-edge: --summary -: expected a file: standard output is the sink's, found stdout:\n"
    )


def test_a_summary_in_the_place_of_events_is_refused(capsys, pristine, rules, tmp_path):
    """It would be written last, and whole: the events would be gone."""
    (tmp_path / "events.jsonl").write_text('{"old": 1}\n')
    (tmp_path / "link").symlink_to("events.jsonl")
    given = ("--source", "demo:", "--bundle", pristine, "--bin", rules, "--check")
    sink = f"file:{tmp_path / 'events.jsonl'}"
    status, lines, err = run(capsys, *given, "--sink", sink, "--summary", tmp_path / "link")
    assert (status, lines) == (2, [])
    assert "expected a file of its own, found that of file " in err
    assert (tmp_path / "events.jsonl").read_text() == '{"old": 1}\n'


def test_standard_output_is_known_by_any_name(tmp_path):
    """As the file that a shell's `>` leads to; a device disturbs nobody."""
    assert is_stdout(Path("-"))
    (tmp_path / "link").symlink_to("out")
    with (tmp_path / "out").open("wb") as out:
        assert is_stdout(tmp_path / "link", out.fileno())
        assert is_stdout(Path(f"/dev/fd/{out.fileno()}"), out.fileno())
        assert not is_stdout(tmp_path, out.fileno())
        assert not is_stdout(tmp_path / "none", out.fileno())
        assert not is_stdout(tmp_path / ("x" * 300), out.fileno())
    with open(os.devnull, "wb") as null:  # noqa: PTH123 - no path
        assert not is_stdout(Path(os.devnull), null.fileno())


def test_the_page_is_shown_the_bin(capsys, monkeypatch, pristine, rules):
    """And states are lines of the sink on standard output, where they were asked for."""
    pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'ecovision-edge[web]'")
    shown = []
    monkeypatch.setattr("ecovision_edge.web.Board.set_bin", lambda board, report: shown.append(report))
    given = ("--source", "demo:?frames=30", "--bundle", pristine, "--bin", rules, "--http", "127.0.0.1:0")
    status, lines, _ = run(capsys, *given, "--sink", "stdout:?states=1")
    assert status == 0
    states = [json.loads(line) for line in lines]
    assert {one["type"] for one in states} == {"state"}
    assert (states[-1]["state"], states[-1]["reason"]) == ("fault", "stopped")
    [report] = shown
    assert (report().reason, report().faults, report().sinks[0].name) == ("stopped", 0, "stdout")


class Drops(Sink):
    """A sink to which no event of some items can ever be delivered."""

    def __init__(self, name, *items):
        super().__init__(name)
        self.items = items

    def deliver(self, event):
        if event.item in self.items:
            raise OptionError("item", expected="another one", found=event.item)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sinks", "expected"),
    [([("a", 0, 1)], 1), ([("a", 0)], 0), ([("a", 0, 1), ("b",)], 0), ([("a", 0, 1), ("b", 0, 1)], 1)],
    ids=["all", "one", "one sink's", "both sinks'"],
)
def test_a_run_whose_every_event_was_dropped_failed(capsys, monkeypatch, pristine, rules, sinks, expected):
    """Status 1, who dropped them, and why; some that were delivered make it good."""
    made = iter([Drops(*sink) for sink in sinks])
    monkeypatch.setattr(addresses, "open_sink", lambda *_, **__: next(made))
    given = ("--source", "demo:?frames=210", "--bundle", pristine, "--bin", rules, "--output", "none")
    status, _, err = run(capsys, *given, *["--sink", "file:x"] * len(sinks))
    assert status == expected
    why = r"dropped 2 \(\S+-1 can never be delivered, and is lost: item: expected another one, found 1\)"
    said = f"every event was dropped: {', '.join(f'{name} {why}' for name, *_ in sinks)}\n"
    assert bool(re.search(said, err)) == bool(expected)


def test_rules_that_do_not_fit_the_model_are_refused(capsys, pristine, rules):
    """With the line, before a frame is read."""
    rules.write_text(RULES.replace('"green"', '"grean"'))
    status, lines, err = run(capsys, "--source", "demo:", "--bundle", pristine, "--bin", rules)
    assert (status, lines) == (2, [])
    assert "grean" in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_systemd_is_told_that_it_runs(pristine, tmp_path):
    """Ready with the first frame, alive while the loop goes on, stopping at the end."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(PROMPT)
        environment = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"}
        environment.pop("WATCHDOG_PID", None)
        given = ("--source", "demo:", "--bundle", pristine, "--output", "none")
        with running(*given, env=environment) as process:
            told = [listener.recv(1000) for _ in range(5)]
            process.terminate()
            assert process.wait(PROMPT) == 0
            while b"STOPPING=1" not in told:
                told.append(listener.recv(1000))
    assert told[:3] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]


def test_sinks_are_a_bin_s(capsys, pristine):
    """Without rules there are no events."""
    status, _, err = run(capsys, "--source", "demo:", "--bundle", pristine, "--sink", "stdout:")
    assert status == 2
    assert "--bin RULES" in err


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("500MB", 500_000_000), ("2gb", 2_000_000_000), ("1.5 KiB", 1536), ("1MiB", 2**20)],
)
def test_sizes_are_read(text, size):
    """Powers of ten, and of two with an i."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "1TB", "1e3"])
def test_odd_sizes_are_refused(text):
    """With what was expected and found."""
    with pytest.raises(OptionError, match=r"--x: expected bytes.*found"):
        parse_size(text, "--x")


@pytest.mark.parametrize(("text", "seconds"), [("200ms", 0.2), ("1.5", 1.5), ("0", 0), ("2 h", 7200)])
def test_durations_are_read(text, seconds):
    """Milliseconds to hours."""
    assert parse_duration(text) == pytest.approx(seconds)


def test_no_thread_is_left(capsys, pristine, photos):
    """Of a run in this very process."""
    before = set(threading.enumerate())
    assert run(capsys, "--source", photos, "--bundle", pristine)[0] == 0
    assert {t for t in threading.enumerate() if t not in before and t.name.startswith("ecovision")} == set()
