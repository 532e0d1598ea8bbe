"""Facts about a bin that follows its store of bundles while it runs."""

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.runtime.test_smart_bin import PROMPT, Tray

from ecovision_edge import Classifier
from ecovision_edge.camera import FakeCamera
from ecovision_edge.errors import (
    ArtifactNotFoundError,
    BundleReadError,
    DeadlyEngineError,
    InferenceError,
    MissingDependencyError,
    ModelError,
    OptionError,
    RulesError,
    StoreError,
)
from ecovision_edge.loop import CameraLoop
from ecovision_edge.smart_bin import SmartBin
from ecovision_edge.updates import memory, running
from ecovision_edge.updates.memory import shortage
from ecovision_edge.updates.process import Answer, UpdateProcess
from ecovision_edge.updates.questions import Questions
from ecovision_edge.updates.rates import Rates
from ecovision_edge.updates.running import Follower
from ecovision_edge.updates.store import BundleStore
from ecovision_edge.updates.timetable import Timetable
from ecovision_edge.updates.unknowns import Counts

DAY = 86_400.0
OK = Answer(0, {}, "")


class Process:
    """An update that does `work` and has ended when it is looked at."""

    def __init__(self, work):
        self._work, self.closed = work, False

    def poll(self):
        return self._work()

    def close(self):
        self.closed = True


class Machine:
    """A loop that changes when a test says so."""

    def __init__(self):
        self.asked, self.stopped = [], threading.Event()
        self.called = threading.Event()

    def exchange(self, classifier, done=None):
        self.asked.append((classifier, done))
        self.called.set()

    def stop(self):
        self.stopped.set()


@pytest.fixture
def add(forge, pristine, tmp_path):
    """Puts a bundle with a new id into a store; returns the id."""

    def put(store, name, contract=None):
        folder = store.root / "incoming" / name
        if contract is None:
            shutil.copytree(pristine, folder)
        else:
            forge.bundle(folder, contract)
        forge.edit(folder, lambda manifest: manifest.update(name=name))
        return store.install(folder)

    return put


@pytest.fixture
def store(tmp_path):
    return BundleStore(tmp_path / "store")


@pytest.fixture
def follow(pristine, store, monkeypatch):
    """Makes followers of the store, whose base is the pristine bundle."""
    monkeypatch.setattr(running, "_LOOK", 0.01)
    monkeypatch.setattr(running, "_LOOK_BUSY", 0.01)

    def make(work=lambda: OK, open_bundle=lambda folder: Classifier.load(folder, threads=1), fits=no_changes):
        questions = Questions(lambda: Process(work), Timetable(DAY, "bin", None), store)
        return Follower(store, pristine, open_bundle, questions, fits)

    return make


def no_changes(_):
    """For whoever is not asked."""


def fits_the_base(labels):
    """Rules that know nothing of a label c."""
    if "c" in labels:
        raise RulesError("the label c")


def wait_for(check):
    """Wait until something is so."""
    wake = threading.Event()
    for _ in range(int(PROMPT / 0.005)):
        if check():
            return
        wake.wait(0.005)
    pytest.fail("it did not become so")


class Held(Tray):
    """A tray of which no frame comes beyond a certain one, until it is let go."""

    def __init__(self, frames, held_at):
        super().__init__(frames)
        self.held_at, self.go = held_at, threading.Event()

    def read(self):
        if self.n == self.held_at:
            self.go.wait(PROMPT)
        return super().read()


def test_an_update_that_is_asked_for_is_running_when_the_tray_is_empty(follow, store, add):
    """Pressed while an item is looked at: each event is of one bundle, no frame is lost."""

    def update():
        new = add(store, "new")
        store.activate(new, probation=DAY)
        store.checked("updated to new 2")
        return Answer(0, {"bundle": new, "version": "2"}, "")

    follower, told, changes = follow(update), [], []
    base = follower.load()
    tray = Held(15 * 14, 60)
    smart_bin = SmartBin(base, tray, on_event=follower.event)
    with follower, smart_bin:
        follower.follow(smart_bin, told.append, changes.append)
        smart_bin.start()
        wait_for(lambda: tray.n == tray.held_at)
        follower.install()
        wait_for(lambda: follower.report.busy and smart_bin._other is not None)
        tray.go.set()
        smart_bin.wait(PROMPT)
        wait_for(lambda: not follower.report.busy)
        report = follower.report
    [new] = changes
    assert [event.bundle for event in smart_bin.events] == [base.identity.id, new.identity.id]
    assert smart_bin.loop.summary().looked_at == 15 * 14
    assert (report.name, report.installed, report.latest) == (
        "new",
        new.identity.version,
        new.identity.version,
    )
    assert report.outcome == "updated to new 2"
    assert report.probation.starts == 1
    assert report.probation.items == 1
    assert told[-1].installed == new.identity.version
    assert Rates(store.root).of(base.identity.id).items == 1
    assert json.loads(told[-1].payload())["installed_version"] == new.identity.version


def test_what_is_activated_by_hand_runs_too_and_back(follow, store, add):
    new = add(store, "new")
    camera, follower, changes = FakeCamera(interval=0.001), follow(), []
    loop = CameraLoop(follower.load(), camera)
    with follower, loop:
        follower.follow(loop, no_changes, changes.append)
        loop.start()
        store.activate(new)
        wait_for(lambda: len(changes) == 1)
        store.rollback("by hand")
        wait_for(lambda: len(changes) == 2)
    assert [c.identity.name for c in changes] == ["new", "tiny"]
    assert (camera.connections, follower.restart) == (1, None)


def test_a_change_that_is_not_wanted_any_more_is_not_made(follow, store, add):
    machine, follower = Machine(), follow()
    base = follower.load()
    with follower:
        follower.follow(machine, no_changes, no_changes)
        store.activate(add(store, "new"))
        wait_for(lambda: len(machine.asked) == 1)
        store.rollback("by hand")
        wait_for(lambda: len(machine.asked) == 2)
    assert machine.asked[1] == (base, None)


def test_other_labels_are_for_the_next_start(follow, forge, store, add):
    """Rules, sinks and Home Assistant know those of before."""
    machine, follower = Machine(), follow()
    follower.load()
    with follower:
        follower.follow(machine, no_changes, no_changes)
        store.activate(add(store, "new", forge.contract(labels=("a", "b", "c"))))
        assert machine.stopped.wait(PROMPT)
    assert follower.restart == f"it has other labels: starting again with bundle {store.current()[:12]}"
    assert not machine.asked


def test_other_labels_that_do_not_fit_the_rules_are_refused_and_the_old_bundle_runs_on(
    follow, forge, store, add
):
    machine, follower = Machine(), follow(fits=fits_the_base)
    follower.load()
    bad = add(store, "new", forge.contract(labels=("a", "b", "c")))
    with follower:
        follower.follow(machine, no_changes, no_changes)
        store.activate(bad, probation=DAY)
        wait_for(lambda: store.current() is None)
    assert follower.restart is None
    assert "the label c" in store.state().refusal(bad).reason


def starts(store):
    return store.state().probation.starts


def test_a_start_that_nobody_died_of_is_not_counted(follow, forge, store, add, monkeypatch):
    """The process ends in order before the new bundle decides anything: as often as it likes."""
    other, same = add(store, "other", forge.contract(labels=("a", "b", "c"))), add(store, "same")
    for bundle in (other, same):
        machine, follower = Machine(), follow()
        store.activate(bundle, probation=DAY)
        follower._running, follower._classifier = (
            None,
            follower._choice.open_bundle(follower._choice.folder(None)),
        )
        with follower:
            follower.follow(machine, no_changes, no_changes)
            wait_for(lambda machine=machine: machine.stopped.is_set() or machine.asked)
            if bundle == same:
                assert starts(store) == 1  # while it waits for an empty tray
        assert starts(store) == 0


def test_a_start_counts_that_ends_the_process(follow, store, add):
    new, counted = add(store, "new"), []

    def load(folder):
        if folder.name == new:
            counted.append(starts(store))
            raise MemoryError
        return Classifier.load(folder, threads=1)

    machine, follower = Machine(), follow(open_bundle=load)
    follower.load()
    with follower:
        follower.follow(machine, no_changes, no_changes)
        store.activate(new, probation=DAY)
        assert machine.stopped.wait(PROMPT)
    assert (counted, starts(store)) == ([1], 0)


def test_a_change_that_cannot_be_counted_is_not_made(follow, store, add, monkeypatch, caplog):
    machine, follower, new = Machine(), follow(), add(store, "new")
    follower.load()

    def full(*_):
        raise StoreError("cannot change", found="no space left")

    monkeypatch.setattr(store, "started", full)
    with follower:
        follower.follow(machine, no_changes, no_changes)
        store.activate(new, probation=DAY)
        wait_for(lambda: "no space left" in caplog.text)
    assert not machine.asked
    assert store.state().refusal(new) is None


def test_a_change_that_failed_is_tried_again(follow, store, add, monkeypatch):
    """Back to what the installation has, say, which the disk did not give the first time."""
    monkeypatch.setattr(running, "_AGAIN", 0.0)
    store.activate(add(store, "new"))
    failures = [BundleReadError("a bad sector"), ZeroDivisionError()]

    def load(folder):
        if folder.parent != store.root / "bundles" and failures:
            raise failures.pop()
        return Classifier.load(folder, threads=1)

    machine, follower = Machine(), follow(open_bundle=load)
    follower.load()
    with follower:
        follower.follow(machine, no_changes, no_changes)
        store.rollback("by hand")
        assert machine.called.wait(PROMPT)
    assert [classifier.identity.name for classifier, _ in machine.asked] == ["tiny"]
    assert not failures


def test_whoever_cannot_be_told_does_not_end_the_watch(follow, store, add, caplog):
    machine, follower = Machine(), follow()
    follower.load()

    def tell(report):
        raise ZeroDivisionError("a sink of somebody else")

    with follower:
        follower.follow(machine, tell, no_changes)
        wait_for(lambda: "a sink of somebody else" in caplog.text)
        store.activate(add(store, "new"))
        assert machine.called.wait(PROMPT)


def test_without_memory_for_both_it_starts_again(follow, store, add, monkeypatch):
    machine, follower = Machine(), follow()
    follower.load()
    monkeypatch.setattr(running, "shortage", lambda *_: "12 MB are free, and a second model takes 47 MB")
    with follower:
        follower.follow(machine, no_changes, no_changes)
        store.activate(add(store, "new"))
        assert machine.stopped.wait(PROMPT)
    assert follower.restart.startswith("12 MB are free")


@pytest.mark.parametrize("artifact", ["int8-onnx", "int8-tflite", None])
def test_memory_is_held_against_the_size_of_the_model(bundle, forge, tmp_path, artifact):
    """Of the artifact that runs now; where the other bundle has no such one, of its largest."""
    (tmp_path / "proc").mkdir()
    assert shortage(bundle, artifact, root=tmp_path) is None  # a kernel that does not tell
    forge.put(bundle, "model.fp32.onnx", b"x" * 10_000)
    size = (bundle / "model.int8.onnx").stat().st_size if artifact == "int8-onnx" else 10_000
    needed = memory.PER_BYTE * size + memory.ENGINE_BYTES
    for kilobytes, short in ((needed // 1024 + 1, False), (needed // 1024 - 1, True)):
        (tmp_path / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {kilobytes} kB\n")
        assert (shortage(bundle, artifact, root=tmp_path) is not None) is short


def test_a_bundle_that_cannot_be_loaded_is_refused_and_the_old_one_runs_on(follow, forge, store, add, caplog):
    machine, follower = Machine(), follow()
    follower.load()
    bad = add(store, "bad")
    (store.folder(bad) / "model.int8.onnx").write_bytes(b"x")
    with follower:
        follower.follow(machine, no_changes, no_changes)
        store.activate(bad, probation=DAY)
        wait_for(lambda: store.current() is None)
    assert "cannot be loaded" in store.state().refused[0].reason
    assert not machine.asked
    assert follower.restart is None


def test_a_bundle_that_calls_all_unknown_goes_back_by_itself(follow, store, add):
    """The old one's rate is known from its items; nobody has to do anything."""
    good = add(store, "good")
    store.activate(good)
    rates = Rates(store.root)
    for n in range(200):
        rates.add(good, unknown=n % 20 == 0)
    rates.keep()
    bad = add(store, "bad")
    store.activate(bad, probation=DAY)
    follower, machine, changes = follow(), Machine(), []
    assert follower.load().identity.id == bad
    with follower:
        follower.follow(machine, no_changes, changes.append)
        for _ in range(12):
            follower.event(SimpleNamespace(label=None, bundle=bad))
        wait_for(lambda: machine.asked)
        [(classifier, done)] = machine.asked
        done()
        assert changes == [classifier]
        wait_for(lambda: not follower.report.busy)
    assert classifier.identity.id == store.current() == good
    assert "unknown, 10 of 200 items before" in store.state().refused[0].reason
    assert Rates(store.root).of(bad) == Counts(12, 12)


def test_a_bundle_that_ran_its_time_has_proved_itself(follow, store, add, caplog):
    store.activate(add(store, "new"), probation=1e-6)
    machine, follower = Machine(), follow()
    follower.load()
    with follower:
        follower.follow(machine, no_changes, no_changes)
        wait_for(lambda: store.state().probation is None)
    assert store.current() is not None


# Starts.


def test_what_is_current_is_loaded_and_its_start_is_counted(follow, store, add):
    assert follow().load().identity.name == "tiny"  # of the installation
    new = add(store, "new")
    store.activate(new, probation=DAY)
    assert follow().load(count=False).identity.name == "new"
    assert store.state().probation.starts == 0
    follower = follow()
    assert follower.load().identity.id == new
    assert follower.report.probation.starts == 1


def test_a_bundle_that_dies_after_its_start_goes_back(follow, store, add):
    """Each start counts before it is loaded; the fourth one does not look at it."""
    good, bad = add(store, "good"), add(store, "bad")
    store.activate(good)
    store.activate(bad, probation=DAY)
    loaded = []

    def load(folder):
        loaded.append(folder.name)
        if folder.name == bad:
            raise KeyboardInterrupt  # as good as a signal that ends the process
        return Classifier.load(folder, threads=1)

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            follow(open_bundle=load).load()
    assert follow(open_bundle=load).load().identity.id == good
    assert loaded == [bad, bad, bad, good]
    assert store.state().refused[0].bundle == bad


def test_a_bundle_that_cannot_be_loaded_at_the_start_gives_way_at_once(follow, store, add):
    good, bad = add(store, "good"), add(store, "bad")
    store.activate(good)
    store.activate(bad, probation=DAY)
    (store.folder(bad) / "model.int8.onnx").write_bytes(b"x")
    assert follow().load().identity.id == good
    assert store.current() == good


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (ModelError("no"), True),
        (ArtifactNotFoundError("no"), True),
        (BundleReadError("a bad sector"), False),
        (OptionError("--threads"), False),
        (MissingDependencyError("no engine"), False),
        (DeadlyEngineError("an engine"), False),
    ],
)
def test_what_is_no_fault_of_a_bundle_refuses_nothing_for_ever(follow, store, add, error, refused):
    bad = add(store, "bad")
    store.activate(bad, probation=DAY)

    def load(folder):
        if folder.name == bad:
            raise error
        return Classifier.load(folder, threads=1)

    assert follow(open_bundle=load).load().identity.name == "tiny"
    assert (store.state().refusal(bad) is not None) is refused


@pytest.mark.parametrize("error", [ModelError("no"), ArtifactNotFoundError("--artifact int8-onxn")])
def test_where_nothing_can_be_loaded_it_is_an_error_and_nobody_is_refused(follow, store, add, error):
    """A mistyped option, which no bundle fits."""
    new = add(store, "new")
    store.activate(new, probation=DAY)

    def load(folder):
        raise error

    with pytest.raises(type(error)):
        follow(open_bundle=load).load()
    assert store.state().refused == ()
    assert follow().load().identity.id == new


@pytest.mark.parametrize(
    ("error", "deaths", "refused"),
    [
        (None, 0, False),
        (KeyboardInterrupt(), 0, False),
        (StoreError("no"), 0, False),
        (ZeroDivisionError(), 1, False),
        (InferenceError("the engine failed"), 1, True),
    ],
)
def test_how_it_ends_is_noted(follow, store, add, error, deaths, refused):
    new = add(store, "new")
    store.activate(new, probation=DAY)
    follower = follow()
    follower.load()
    with contextlib.nullcontext() if error is None else pytest.raises(type(error)), follower:
        follower.follow(Machine(), no_changes, no_changes)
        if error is not None:
            raise error
    assert (store.state().refusal(new) is not None) is refused
    if not refused:
        probation = store.state().probation
        assert probation.starts - probation.figures.get("orderly", 0) == deaths


def test_a_store_that_cannot_be_written_goes_back_all_the_same(follow, store, add, monkeypatch, caplog):
    good, bad = add(store, "good"), add(store, "bad")
    store.activate(good)
    store.activate(bad, probation=DAY)

    def load(folder):
        if folder.name == bad:
            raise ModelError("no")
        return Classifier.load(folder, threads=1)

    def full(*_, **__):
        raise StoreError("cannot change", found="no space left")

    monkeypatch.setattr(store, "refuse", full)
    assert follow(open_bundle=load).load().identity.id == good
    assert "is not refused for the next start" in caplog.text


def test_what_could_not_be_counted_is_not_changed_to_either(follow, store, add, monkeypatch):
    """What the last probation ended with runs, and not what has still to prove itself."""
    good, worse, bad = add(store, "good"), add(store, "worse"), add(store, "bad")
    store.activate(good)
    store.activate(worse, probation=DAY)
    store.activate(bad, probation=DAY)

    def full(*_, **__):
        raise StoreError("cannot change", found="no space left")

    monkeypatch.setattr(store, "started", full)
    follower = follow()
    assert follower.load().identity.id == good
    assert follower._choice.wanted() == good


# The process of an update.


def test_an_update_is_a_process_that_is_asked_whether_it_has_ended():
    code = "import sys; print('{\"bundle\": 1}'); print('no\\nlast', file=sys.stderr); sys.exit(75)"
    process = UpdateProcess([], 60.0, program=[sys.executable, "-c", code])
    answers = []
    wait_for(lambda: answers.append(process.poll()) or answers[-1])
    assert answers[-1] == Answer(75, {"bundle": 1}, "last")


def test_an_update_is_ended_with_its_children_when_its_time_is_up(tmp_path):
    code = "import os, sys, time; os.fork(); print(os.getpid(), file=open(sys.argv[1], 'a')); time.sleep(99)"
    noted = tmp_path / "pids"
    process = UpdateProcess([], 60.0, program=[sys.executable, "-c", code, str(noted)])
    wait_for(lambda: noted.exists() and len(noted.read_text().split()) == 2)
    assert os.getpriority(os.PRIO_PROCESS, int(noted.read_text().split()[0])) == 10
    process.close()
    for pid in map(int, noted.read_text().split()):
        wait_for(lambda pid=pid: not alive(pid))
    process = UpdateProcess([], 0.0, program=[sys.executable, "-c", "import time; time.sleep(99)"])
    assert process.poll().status == -signal.SIGKILL


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_an_update_refused_is_the_latest_that_is_known(store, add):
    bad = add(store, "bad")

    def work():
        store.refuse(bad, "gate latency: slow", name="bins", version="2.0")
        return Answer(1, {}, "ecovision-edge: gate latency: slow")

    questions = Questions(lambda: Process(work), Timetable(DAY, "bin", None), store)
    questions.hurry()
    assert not questions.turn()
    assert questions.busy
    assert questions.turn()
    assert questions.latest == (bad, "2.0")
    assert questions.left > DAY / 2
    questions.hurry()
    assert not questions.turn()
    questions.close()
    assert not questions.busy


def test_what_was_refused_long_ago_is_not_the_latest_where_nothing_is_to_be_trusted(store, add):
    store.refuse(add(store, "bad"), "gate latency: slow", name="bins", version="2.0")
    ended = Answer(1, {}, "ecovision-edge: it has expired, or the clock is wrong")
    questions = Questions(lambda: Process(lambda: ended), Timetable(DAY, "bin", None), store)
    questions.hurry()
    assert not questions.turn()
    assert questions.turn()
    assert questions.latest is None
