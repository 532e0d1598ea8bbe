"""Facts about the doctor: no check ends or hangs another, and what its command prints."""

import itertools
import json
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest
from tests.runtime.machine_trees import system_of

from ecovision_edge import doctor
from ecovision_edge.base.installation import Installation
from ecovision_edge.cli import main
from ecovision_edge.doctor import (
    Check,
    Commands,
    Output,
    Subject,
    System,
    Wishes,
    checkup,
    libraries,
    subjects_of,
)
from ecovision_edge.doctor.bundle import check_bundle, check_engines, check_profile, check_verified
from ecovision_edge.doctor.libraries import check_extras, check_libraries, version_fault
from ecovision_edge.doctor.store import check_store, latest_certain_time
from ecovision_edge.errors import MissingDependencyError
from ecovision_edge.updates.asking import WITHDRAWN
from ecovision_edge.updates.store import BundleStore

GOOD = Check("board", "ok", "Raspberry Pi 5 Model B Rev 1.0, aarch64, 4 cores")
LONG = "run: sudo du --one-file-system --human-readable / | sort --reverse --human-numeric-sort | head"
BAD = Check("disk /", "fail", "0.0 of 29.0 GB free: full", f"make room; {LONG}")
ODD = Check("camera /dev/video0", "warn", "\x1b[31mHD Webcam: no format", "it may be no camera")


def look(*found, error=None):
    """A subject that finds something, then raises."""

    def looked():
        yield from found
        if error is not None:
            raise error

    return looked


def test_findings_come_in_the_order_of_the_subjects():
    """Although all are looked at at once."""
    later = threading.Event()

    def first():
        assert later.wait(20)
        yield GOOD

    def second():
        later.set()
        yield BAD

    assert list(checkup([Subject("a", 60, first), Subject("b", 60, second)])) == [GOOD, BAD]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("out of luck"), "could not be looked at: out of luck"),
        (TimeoutError("rpicam-vid did not end within 15 s"), "did not end within 15 s"),
        (MissingDependencyError("numpy is gone", found="nothing", fix="run: pip install numpy"),
         Check("x", "fail", "numpy is gone: nothing", "run: pip install numpy")),
        (ModuleNotFoundError("No module named 'numpy'", name="numpy"), "numpy is not installed"),
        (ImportError("a library of nobody's"), "a library of nobody's"),
    ],
)  # fmt: skip
def test_a_check_that_fails_itself_is_one_line(error, line):
    """After what it had found; the others go on."""
    subjects = [Subject("x", 60, look(GOOD, error=error)), Subject("y", 60, look(BAD))]
    first, second, last = checkup(subjects)
    assert (first, last) == (GOOD, BAD)
    assert second == line or line in second.found
    assert second.state == (
        "warn" if not isinstance(error, ImportError) or "nobody" in str(error) else "fail"
    )


def test_a_check_that_hangs_is_one_line():
    """Once its time is over, by a clock that says so at once."""
    ends, found = threading.Event(), threading.Event()

    def hangs():
        yield GOOD
        found.set()
        ends.wait(60)

    def waited():
        assert found.wait(20)
        yield BAD

    ticks = iter([0.0, 0.0, 100.0])
    checks = list(checkup([Subject("b", 60, waited), Subject("a", 5, hangs)], clock=lambda: next(ticks)))
    ends.set()
    assert [c.state for c in checks] == ["fail", "ok", "warn"]
    assert checks[-1].found == "no answer within 5 s"


def test_a_command_is_run_to_its_end_or_killed():
    """With all that it has started; one that is not there is None."""
    with Commands() as commands:
        output = commands.run([sys.executable, "-c", "print('out'); import sys; sys.exit('err')"], 60)
        assert output == Output(1, "out\n", "err\n")
        assert commands.run(["/nonesuch/program"], 60) is None
        with pytest.raises(TimeoutError, match="sh did not end within"):
            commands.run(["/bin/sh", "-c", "sleep 60 & sleep 60"], 0.05)


def test_no_command_outlives_the_doctor(tmp_path):
    """One that runs at the end is killed, and no other is started."""
    commands, outputs = Commands(), []
    fifo = tmp_path / "started"
    os.mkfifo(fifo)
    script = f"echo > {fifo}; sleep 60"
    thread = threading.Thread(target=lambda: outputs.append(commands.run(["/bin/sh", "-c", script], 60)))
    thread.start()
    fifo.read_bytes()
    commands.close()
    thread.join()
    assert outputs == [Output(-signal.SIGKILL, "")]
    assert commands.run(["/bin/true"], 60) is None


def test_every_subject_has_a_limit_and_a_name():
    """And what was asked for is among them."""
    wishes = Wishes(None, ("stdout:", "mqtt://broker/x"), "https://host/fleet")
    subjects = subjects_of(wishes, System(run=lambda *_: None))
    names = [subject.name for subject in subjects]
    assert names[:3] == ["board", "disk", "wear"]
    assert names[-4:] == ["store", "sink stdout:", "sink mqtt:", "update"]
    assert all(0 < subject.limit <= 600 for subject in subjects)


@pytest.fixture
def found(monkeypatch):
    """What is found, in place of this machine's own."""

    def use(*checks):
        monkeypatch.setattr(doctor, "subjects_of", lambda *_: [Subject("x", 60, look(*checks))])

    return use


def test_the_screen_fits_80_columns_and_commands_stand_whole(found, capsys, monkeypatch):
    """Foreign text cannot colour a terminal, and without one there are no colours."""
    monkeypatch.setenv("COLUMNS", "80")
    found(GOOD, BAD, ODD)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "ok   board        Raspberry Pi 5 Model B Rev 1.0, aarch64, 4 cores"
    assert lines[1].startswith("fail disk         /: 0.0 of 29.0 GB free: full")
    assert [line for line in lines if len(line) > 80] == [line for line in lines if "-> run: " in line]
    assert LONG in out
    assert "\x1b" not in out
    assert lines[-1] == "1 ok, 1 warn, 1 fail"


def test_the_screen_has_colours_on_a_terminal(found, capsys, monkeypatch):
    """Unless NO_COLOR asks for none."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    found(GOOD)
    assert main(["doctor"]) == 0
    assert "\x1b[32mok" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["doctor"]) == 0
    assert "\x1b[32m" not in capsys.readouterr().out


def test_the_findings_as_json(found, capsys, tmp_path):
    """On standard output alone, or in a file beside the screen; the keys are documented."""
    found(GOOD, ODD)
    assert main(["doctor", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert (report["schema"], report["schema_version"]) == ("ecovision-edge/doctor", 1)
    assert report["checks"][0] == {"name": "board", "state": "ok", "found": GOOD.found, "advice": ""}
    found(BAD)
    assert main(["doctor", "--json", str(tmp_path / "found.json")]) == 1
    assert json.loads((tmp_path / "found.json").read_bytes())["ok"] is False
    assert main(["doctor", "--json", "/nonesuch/found.json"]) == 2


def test_an_old_cpu_is_told_among_the_rest(found, monkeypatch, capsys):
    """Other commands are refused there."""

    def refuse():
        raise MissingDependencyError("numpy does not run on this CPU", fix="use the system's own")

    monkeypatch.setattr("ecovision_edge.cli.refuse_old_x86", lambda: pytest.fail("refused"))
    monkeypatch.setattr(libraries, "refuse_old_x86", refuse)
    [check] = checkup([Subject("libraries", 60, lambda: [check_libraries()])])
    assert (check.state, check.advice) == ("fail", "use the system's own")
    found(GOOD)
    assert main(["--debug", "doctor"]) == 0


def test_libraries_are_told_with_their_versions(monkeypatch):
    """One that is too old for this project, or missing, with the line that mends it."""
    assert check_libraries().state == "ok"
    monkeypatch.setattr(Installation, "requirement_of", lambda self, module: f"{module}>=99")
    check = check_libraries()
    assert (check.state, "needs 99 or newer" in check.found, "numpy>=99" in check.advice) == (
        "fail",
        True,
        True,
    )
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert check_libraries().found.startswith("numpy")


@pytest.mark.parametrize(
    ("requirement", "version", "fault"),
    [
        ("paho-mqtt>=2", "1.6.1", "needs 2 or newer"),
        ("paho-mqtt>=2", "2.1.0", None),
        ("onnxruntime>=1.20,!=1.21.0", "1.21.0+cu12", "which is known not to work (not 1.21.0)"),
        ("onnxruntime>=1.20,!=1.21.0", "1.21.1", None),
        ("securesystemslib[crypto]>=1.3", "1.2", "needs 1.3 or newer"),
    ],
)
def test_a_version_that_does_not_do(requirement, version, fault):
    """As a requirement says it."""
    assert version_fault(requirement, version) == fault


def test_extras_are_whole_in_parts_too_old_or_absent(monkeypatch):
    """One line for those that are whole, one for each that is not."""
    asked = {
        None: ("pytest>=7",),
        "mqtt": ("pytest>=7",),
        "web": ("pytest>=7", "nonesuch>=1"),
        "serial": ("pytest>=99",),
    }
    asked["gpio"] = ("nonesuch>=1",)
    asked["litert"] = ("pytest>=7", "elsewhere>=1; platform_machine == 'riscv64'")
    monkeypatch.setattr(Installation, "requirements", lambda self, extra=None: asked.get(extra, ()))
    checks = {check.name: check for check in check_extras()}
    assert [(name, check.state) for name, check in checks.items()] == [
        ("extra web", "warn"),
        ("extra serial", "fail"),
        ("extras", "ok"),
    ]
    assert "without nonesuch" in checks["extra web"].found
    assert "mqtt (pytest" in checks["extras"].found
    assert "without gpio, update" in checks["extras"].found
    monkeypatch.setattr(Installation, "requirements", lambda self, extra=None: ())
    [check] = check_extras()
    assert check.found.startswith("not known")


def report(*checks):
    """What `verify --json -` prints."""
    keys = ("name", "ok", "checked", "detail")
    which = {"name": "mine", "version": "7", "id": "a" * 64}
    return json.dumps(
        {"ok": True, "bundle": which, "cpu": {}, "checks": [dict(zip(keys, c, strict=True)) for c in checks]}
    )


@pytest.mark.parametrize(
    ("output", "state", "words"),
    [
        (Output(0, report(("manifest", True, True, "x"), ("golden int8", True, True, "same bits"))),
         "ok", "mine 7 (aaaaaaaaaaaa), verified; golden int8: same bits"),
        (Output(0, report(("golden int8", True, True, "x"), ("golden lite", False, False, "y"))),
         "ok", "1 not checked"),
        (Output(1, report(("model.onnx", False, True, "sha256 differs"))), "fail", "sha256 differs"),
        (Output(1, "", "ecovision-edge: no bundle at x\n"), "fail", "no bundle at x"),
        (Output(-signal.SIGSEGV, "half a rep"), "fail", "ended by SIGSEGV"),
        (None, "warn", "cannot be started"),
    ],
)  # fmt: skip
def test_what_verify_says_is_read(output, state, words):
    """Whatever became of its process."""
    check = check_verified(Path("build/mine"), output)
    assert check.state == state
    assert words in check.found


def test_a_bundle_is_verified_in_a_process_of_its_own(tmp_path, bundle):
    """Then engines and profile are looked at."""
    commands = []

    def run(command, limit):
        commands.append(command)
        return Output(0, report(("golden int8", True, True, "same bits")))

    checks = list(check_bundle(system_of(tmp_path, run=run), bundle))
    assert commands == [[sys.executable, "-m", "ecovision_edge", "verify", str(bundle), "--json", "-"]]
    assert [check.name for check in checks][-2:] == ["bundle", "profile"]
    assert any(check.name == "engine onnxruntime" for check in checks)


def test_an_engine_that_dies_here_one_too_old_and_none(monkeypatch):
    """Each with the line that mends it."""
    from ecovision_edge.backends import survival
    from ecovision_edge.doctor import bundle

    monkeypatch.setattr(survival, "deadly_reason", lambda format, *_: "SIGILL" if format == "onnx" else None)
    monkeypatch.setattr(bundle, "is_installed", lambda format: True)
    monkeypatch.setattr(Installation, "requirements", lambda self, extra: ("ai-edge-litert>=99",))
    monkeypatch.setattr(bundle, "installed_versions", lambda format: {"ai-edge-litert": "2.3.0"})
    dies, old = check_engines()
    assert (dies.state, old.state) == ("fail", "fail")
    assert "onnxruntime!=" in dies.advice
    assert "ai-edge-litert>=99" in old.advice
    monkeypatch.setattr(bundle, "is_installed", lambda format: False)
    [none] = check_engines()
    assert (none.state, none.found) == ("fail", "none is installed")


def test_a_profile_that_fits_one_that_does_not_and_none(tmp_path, bundle, monkeypatch):
    """As `run` would take it."""
    from ecovision_edge.bundle.folder import Bundle
    from ecovision_edge.profile import DeviceProfile, save_profile

    monkeypatch.setenv("ECOVISION_EDGE_PROFILE_DIR", str(tmp_path / "profiles"))
    assert check_profile(bundle).found.startswith("none")
    artifact = Bundle.open(bundle).manifest.artifacts[0].name
    path = save_profile(DeviceProfile.of(Bundle.open(bundle), artifact=artifact, threads=2, spinning=False))
    assert check_profile(bundle).found.startswith(f"{artifact}, 2 threads, of 2")
    path.write_bytes(b"{}")
    check = check_profile(bundle)
    assert check.state == "warn"
    assert "tune" in check.advice
    assert check_profile(tmp_path / "nonesuch").state == "warn"


@pytest.fixture
def store(tmp_path, forge, pristine):
    """A store of updates with two bundles, the second of which is active; its clock gives 1, 2, 3, ..."""
    store = BundleStore(tmp_path / "store", clock=itertools.count(1_900_000_000).__next__)
    for name in ("one", "two"):
        folder = store.root / "incoming" / name
        shutil.copytree(pristine, folder)
        forge.edit(folder, lambda manifest, name=name: manifest.update(name=name))
        store.activate(store.install(folder))
    return store


def test_the_store_of_updates_says_what_runs(tmp_path, store):
    """Without one there is nothing to say."""
    assert list(check_store(tmp_path / "nonesuch", 0.0)) == []
    assert latest_certain_time(tmp_path / "nonesuch") == 0.0
    [check] = check_store(store.root, 1_900_000_000.0)
    assert (check.state, check.found[:9]) == ("ok", "runs two ")
    assert latest_certain_time(store.root) == store.state().seen


def test_the_store_of_updates_says_what_was_refused_and_what_is_missing(store):
    """Until another bundle is activated."""
    store.refuse("f" * 64, "golden int8-onnx: 3 flips", name="three", version="7")
    [check] = check_store(store.root, 1_900_000_000.0)
    assert check.state == "warn"
    assert "refused three 7 (ffffffffffff): golden int8-onnx: 3 flips" in check.found
    store.rollback("calls all glass metal")
    [check] = check_store(store.root, 1_900_000_000.0)
    assert check.state == "warn"
    assert "runs one" in check.found
    assert ": calls all glass metal" in check.found
    active = store.current()
    store.activate(store.current())
    shutil.rmtree(store.folder(active))
    [check] = check_store(store.root, 1_900_000_000.0)
    assert check.state == "warn"
    assert "is not there" in check.found


def test_a_release_that_was_withdrawn_is_nobodys_fault(store):
    store.refuse(store.current(), WITHDRAWN)
    [check] = check_store(store.root, 1_900_000_000.0)
    assert (check.state, check.found[:9]) == ("ok", "runs one ")


def test_a_store_that_nobody_asks_for_any_more(store):
    """Two weeks after the last question."""
    store.checked("it is up to date")
    [check] = check_store(store.root, 1_900_000_000.0 + 15 * 86_400)
    assert (check.state, "up to date" in check.found) == ("warn", True)


@pytest.mark.slow
def test_this_very_machine_is_looked_over(capsys, tmp_path, monkeypatch):
    """Whatever it is, each line has words, and each trouble an advice."""
    monkeypatch.setenv("ECOVISION_EDGE_PROFILE_DIR", str(tmp_path))
    status = main(["doctor", "--json", "-"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    names = {check["name"] for check in checks}
    assert {"board", "system", "python", "memory", "clock", "libraries", "bundle"} <= names
    assert all(c["found"] and bool(c["advice"]) == (c["state"] != "ok") for c in checks)
    assert status == any(c["state"] == "fail" for c in checks)
