"""Facts about the store of a device's bundles: which one runs, whenever the power goes."""

import errno
import json
import logging
import os
import shutil
import textwrap
from pathlib import Path

import pytest

from ecovision_edge.base import files
from ecovision_edge.errors import ContractError, OptionError, StoreError, TryLaterError
from ecovision_edge.updates.state import Activation, Refusal, State
from ecovision_edge.updates.store import BundleStore


class Clock:
    """Unix seconds that pass when a test says so."""

    now = 1_800_000_000.0

    def __call__(self):
        self.now += 1
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def add(forge, pristine):
    """Puts a bundle with a new id into a store; returns the id."""

    def put(store, name):
        folder = store.root / "incoming" / name
        shutil.copytree(pristine, folder)
        forge.edit(folder, lambda manifest: manifest.update(name=name))
        return store.install(folder)

    return put


@pytest.fixture
def store(tmp_path, clock):
    return BundleStore(tmp_path / "store", clock=clock)


@pytest.fixture
def three(store, add):
    """A store with three bundles, activated in this order."""
    made = [add(store, name) for name in ("one", "two", "three")]
    for bundle in made:
        store.activate(bundle)
    return made


def link(store):
    return str(store.link.readlink()) if store.link.is_symlink() else None


def test_a_new_store_has_nothing_and_writes_nothing(store):
    assert (store.current(), store.previous(), store.entries()) == (None, None, ())
    assert store.repair() is None
    assert not store.root.exists()


def test_an_installed_bundle_is_not_the_current_one(store, add):
    one = add(store, "one")
    assert store.installed() == (one,)
    assert store.current() is None
    assert [(entry.name, entry.current, entry.refused) for entry in store.entries()] == [("one", False, None)]


def test_activation_moves_the_link_and_remembers_what_was_before(store, three):
    _, two, three_ = three
    assert (store.current(), store.previous()) == (three_, two)
    assert link(store) == f"bundles/{three_}"
    assert (store.link / "bundle.json").is_file()
    assert [e.name for e in store.entries()] == ["three", "two", "one"]
    assert [(e.current, e.previous) for e in store.entries()] == [
        (True, False),
        (False, True),
        (False, False),
    ]


def test_going_back_refuses_the_bundle_and_does_not_end_at_it_again(store, three):
    one, two, three_ = three
    assert store.rollback("the lamp exploded") == two
    assert (store.current(), store.previous(), link(store)) == (two, one, f"bundles/{two}")
    assert store.entries()[1].refused == "the lamp exploded"
    with pytest.raises(OptionError, match="the lamp exploded"):
        store.activate(three_)
    assert store.rollback("again") == one
    assert store.rollback("and again") is None
    assert (store.current(), link(store)) == (None, None)
    with pytest.raises(OptionError, match="nothing to go back from"):
        store.rollback("once more")
    store.activate(three_, anyway=True)
    assert store.current() == three_
    assert store.state().refusal(three_) is None


def test_the_same_fault_told_twice_goes_back_once(store, three):
    """The loop and the page may both notice it."""
    one, two, three_ = three
    store.refuse(three_, "dead")
    store.refuse(three_, "dead")
    assert (store.current(), store.previous()) == (two, one)


def test_a_bundle_can_be_refused_before_it_is_here(store, three):
    store.refuse("f" * 64, "too\nslow \x1b[2J", name="four", version="4")
    last = store.entries()[-1]
    assert (last.bundle, last.name, last.version, last.path) == ("f" * 64, "four", "4", None)
    assert last.refused == "too slow \\x1b[2J"
    assert store.current() == three[2]


def test_a_lock_that_somebody_else_made_is_a_lock_too(store, add, monkeypatch):
    """Root at a shell, before the service did."""
    one = add(store, "one")
    open_file = Path.open

    def refuse(path, mode="r", *more, **options):
        if mode == "ab" and "lock" in path.name and path.exists():
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_file(path, mode, *more, **options)

    with store.alone("update"):
        pass
    monkeypatch.setattr(Path, "open", refuse)
    store.activate(one)
    with store.alone("update"), pytest.raises(TryLaterError), store.alone("update"):
        pass


def test_probation_counts_starts_and_ends(store, add, clock):
    one, two = add(store, "one"), add(store, "two")
    store.activate(one)
    assert store.started() is None
    store.activate(two, probation=60.0)
    assert store.started().starts == 1
    assert store.started().starts == 2
    store.watch(two, {"unknown": 3, "items": 40})
    probation = store.state().probation
    assert (probation.bundle, probation.until - probation.since) == (two, 60.0)
    assert probation.figures == {"unknown": 3, "items": 40}
    assert store.entries()[0].probation == probation.until
    assert store.entries()[1].probation is None
    store.proved(one)
    assert store.state().probation is not None
    clock.now += 60
    assert store.entries()[0].probation == probation.until  # at the earliest: it may not have run
    store.proved(two)
    assert store.state().probation is None
    store.rollback("late")
    assert (store.current(), store.state().probation) == (one, None)


def test_a_pin_holds_until_another_bundle_is_activated(store, three):
    one, two, _ = three
    store.pin(one)
    assert (store.current(), store.state().pinned) == (one, one)
    store.unpin()
    assert (store.current(), store.state().pinned) == (one, None)
    store.pin(one)
    store.activate(two)
    assert (store.current(), store.state().pinned) == (two, None)


def test_pruning_keeps_the_current_the_previous_and_the_pinned(store, three, add):
    one, two, three_ = three
    never = add(store, "never")
    assert set(store.prune(keep=0)) == {one, never}
    assert set(store.installed()) == {two, three_}
    assert store.prune(keep=0) == ()
    store.discard(three_)
    assert store.current() == three_
    assert not list(store.root.glob("bundles/.*"))


def test_pruning_keeps_the_last_bundle_that_proved_itself(store, add):
    """The one before may fail its probation, too: the way back must not end at the installation's."""
    one, two, three = (add(store, name) for name in ("one", "two", "three"))
    store.activate(one)
    store.activate(two, probation=100)
    store.activate(three, probation=100)
    assert store.prune(2) == ()
    store.discard(one)
    assert store.rollback("dead") == two
    assert store.rollback("dead") == one


def test_pruning_keeps_as_many_as_asked(store, three):
    assert store.prune(keep=3) == ()
    assert store.prune(keep=2) == (three[0],)


def test_installing_what_is_here_changes_nothing(store, three, add):
    before = (store.folder(three[0]) / "bundle.json").stat().st_ino
    assert add(store, "one") == three[0]
    assert (store.folder(three[0]) / "bundle.json").stat().st_ino == before
    assert not list((store.root / "incoming").iterdir())


def test_what_is_no_bundle_is_not_installed(store, tmp_path):
    (store.root / "incoming" / "x").mkdir(parents=True)
    (store.root / "incoming" / "x" / "bundle.json").write_text("{}")
    with pytest.raises(ContractError):
        store.install(store.root / "incoming" / "x")
    assert store.installed() == ()


@pytest.mark.parametrize("name", ["../../etc", "", "abc", "A" * 64, "f" * 63 + "/"])
def test_only_an_id_names_a_bundle(store, name):
    with pytest.raises(OptionError, match="64 hexadecimal digits"):
        store.folder(name)
    assert not store.has(name)


def test_the_first_digits_are_enough(store, three):
    assert store.find(three[1][:10].upper()) == three[1]
    for text in ("", three[1][:3], "0" * 64):
        with pytest.raises(OptionError, match="the first digits of one id"):
            store.find(text)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema": "x"}', b"\0" * 4096, b"[1]", None])
def test_a_damaged_state_is_told_once_and_the_link_decides(store, three, caplog, damage):
    path = store.root / "state.json"
    if damage is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(damage)
    with caplog.at_level(logging.WARNING, "ecovision_edge"):
        assert store.current() == three[2]
        assert store.current() == three[2]
    assert len(caplog.records) == 1
    assert f"going on with bundle {three[2][:12]}" in caplog.text
    if damage is not None:
        store.activate(three[0])
        assert (store.current(), store.previous()) == (three[0], three[2])


def test_a_state_of_a_newer_program_is_not_misread(store, three, caplog):
    path = store.root / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 2}))
    assert store.current() == three[2]
    assert len(caplog.records) == 1


def test_where_the_current_folder_is_gone_the_one_before_runs(store, three):
    shutil.rmtree(store.folder(three[2]))
    assert store.current() == three[1]
    assert store.repair() == three[1]
    assert link(store) == f"bundles/{three[1]}"


def test_what_gave_way_unproved_has_to_prove_itself_after_the_way_back(store, three, add):
    """Else a bundle that dies would run for good, because the next release was bad, too."""
    four, five = add(store, "four"), add(store, "five")
    store.activate(four, probation=60.0)
    store.activate(five, probation=90.0)
    assert store.state().unproved == {four: 60.0}
    assert store.rollback("bad") == four
    probation = store.state().probation
    assert (probation.bundle, probation.starts) == (four, 0)
    assert probation.until - probation.since == 60.0
    assert store.rollback("bad as well") == three[2]
    assert (store.state().probation, store.state().unproved) == (None, {})


def test_what_takes_the_place_of_a_folder_that_is_gone_has_to_prove_itself(store, three, add):
    four, five = add(store, "four"), add(store, "five")
    store.activate(four, probation=60.0)
    store.activate(five, probation=90.0)
    shutil.rmtree(store.folder(five))
    assert store.repair() == four
    probation = store.state().probation
    assert (probation.bundle, probation.until - probation.since) == (four, 60.0)
    assert store.state().unproved == {}
    assert store.started().starts == 1


def test_what_is_activated_by_hand_has_nothing_to_prove(store, three, add):
    four = add(store, "four")
    store.activate(four, probation=60.0)
    store.activate(three[0])
    store.activate(four)
    store.activate(three[1])
    assert store.rollback("bad") == four
    assert store.state().probation is None


@pytest.mark.parametrize("active", [True, False])
def test_a_store_whose_links_were_copied_as_folders_has_a_link_again(store, three, active):
    """By `scp -r`, or from a backup: else `current` would be the old bundle for good."""
    bundle = three[2] if active else None
    store.link.unlink()
    shutil.copytree(store.folder(three[0]), store.link)
    if not active:
        for one in three:
            store.refuse(one, "no")
    assert store.repair() == bundle
    assert link(store) == (f"bundles/{bundle}" if active else None)
    assert not list(store.root.glob(".removed-*"))


def test_a_probation_ends_with_the_folder_of_its_bundle(store, three, add):
    """Starts of the bundle that takes its place are not counted against it."""
    four = add(store, "four")
    store.activate(four, probation=60.0)
    shutil.rmtree(store.folder(four))
    assert store.repair() == three[2]
    assert store.started() is None
    assert store.state().probation is None


def test_a_changed_manifest_is_another_bundle(store, three):
    (store.folder(three[2]) / "bundle.json").write_text("{}")
    assert store.current() == three[1]
    assert three[2] not in store.installed()


def test_the_state_comes_back_as_it_was_written(store, three):
    store.refuse("e" * 64, "no", name="n")
    store.activate(three[0], probation=9)
    store.watch(three[0], {"a": [1, {"b": None}]})
    store.checked("nothing new", seen=1.9e9)
    store.pin(three[1])
    state = store.state()
    assert State.loads(state.dumps()) == state
    assert state.seen == 1.9e9
    assert state.checked.outcome == "nothing new"


@pytest.mark.parametrize(
    "date", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2026-11-30T00:00:00", "soon"]
)
def test_a_date_that_nothing_can_show_is_damage(date):
    """It would end whoever writes it to a page."""
    text = State(seen=1.8e9).dumps().decode().replace("2027-01-15T08:00:00+00:00", date)
    assert date in text
    with pytest.raises(ContractError, match="a date and a time"):
        State.loads(text.encode())


def test_a_clock_beyond_all_bounds_is_written_as_a_date(store, add, clock):
    clock.now = 1e18
    store.activate(add(store, "one"), probation=1e30)
    assert store.state().probation.until == 253402300799.0
    store.checked("yes", seen=-5.0)


def test_history_and_refusals_stay_bounded():
    """The oldest go."""
    state = State(
        history=tuple(Activation(f"{i:064x}", i) for i in range(50)),
        refused=tuple(Refusal(f"{i:064x}", "no", i) for i in range(300)),
    )
    read = State.loads(state.dumps())
    assert (read.history, read.refused) == (state.history[-32:], state.refused[-256:])


DISK = [
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left"),
    (OSError(errno.EROFS, "Read-only"), "Read"),
    (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), "denied"),
]


@pytest.mark.parametrize(("error", "words"), DISK)
def test_a_disk_that_refuses_is_one_error_and_the_old_bundle_stays(store, three, monkeypatch, error, words):
    def refuse(*_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", refuse)
        with pytest.raises(StoreError, match=words) as raised:
            store.activate(three[0])
        assert raised.value.exit_status == 75
        assert store.current() == store.repair() == three[2]  # which write nothing
    assert (store.current(), link(store)) == (three[2], f"bundles/{three[2]}")
    assert not list(store.root.glob(".*"))


def test_without_symbolic_links_it_says_so_before_anything_changes(store, add, monkeypatch):
    """As on a memory card with vfat."""
    one = add(store, "one")

    def refuse(self, target, target_is_directory=False):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(self))

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(StoreError, match="a file system with symbolic links"):
        store.activate(one)
    assert store.current() is None


def test_a_lock_that_is_held_is_waited_for_and_then_told(store, three, monkeypatch):
    pauses = []
    monkeypatch.setattr("ecovision_edge.updates.folder.time.sleep", pauses.append)
    with (store.root / "lock").open("ab") as held:
        assert files.try_lock(held.fileno())
        with pytest.raises(StoreError, match="another process changes it"):
            store.unpin()
        assert store.current() == three[2]
    assert sum(pauses) == pytest.approx(9.9)
    store.unpin()


STEPS = """
    import json, os, shutil, sys
    from pathlib import Path
    from ecovision_edge.updates.store import BundleStore

    prepared, work, one, two, three = sys.argv[1:]
    new = lambda store: store.root / "incoming/four"
    OPERATIONS = {
        "activate": lambda store: store.activate(one, probation=60),
        "rollback": lambda store: store.rollback("why"),
        "refuse": lambda store: store.refuse(three, "why"),
        "pin": lambda store: store.pin(two),
        "prune": lambda store: store.prune(keep=0),
        "install": lambda store: new(store).exists() and store.install(new(store)),
        "twice": lambda store: [store.refuse(three, "why"), store.refuse(two, "why")],
    }
    CHANGES = "os.rename os.remove os.rmdir os.mkdir os.symlink os.link os.chmod os.truncate".split()
    WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def die_before(step, operation, root):
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        left = step
        def count():
            nonlocal left
            left -= 1
            if left < 0:
                os._exit(9)
        def hook(event, arguments):
            if event in CHANGES or (event == "open" and (arguments[2] or 0) & WRITES):
                count()
        fsync = os.fsync
        os.fsync = lambda descriptor: (count(), fsync(descriptor))
        sys.addaudithook(hook)
        status = 1
        try:
            operation(BundleStore(root, clock=lambda: 1.8e9))
            status = 0
        finally:
            os._exit(status)

    def seen(root):
        store = BundleStore(root)
        state = json.loads((root / "state.json").read_bytes())
        return [store.current(), store.previous(), store.installed(), os.readlink(store.link), state]

    def fresh():
        root = Path(work)
        if root.exists():
            shutil.rmtree(root)
        shutil.copytree(prepared, root, symlinks=True)
        return root

    for name, operation in OPERATIONS.items():
        root = fresh()
        old = os.readlink(root / "current")
        operation(BundleStore(root, clock=lambda: 1.8e9))
        end, step, status = seen(root), 0, 9
        while status == 9:
            root = fresh()
            status = die_before(step, operation, root)
            assert (root / "current/bundle.json").is_file(), (name, step)
            assert BundleStore(root).has(BundleStore(root).current()), (name, step)
            for bundle in os.listdir(root / "bundles"):
                assert bundle.startswith(".") or BundleStore(root).has(bundle), (name, step, bundle)
            now = BundleStore(root).repair()
            assert os.readlink(root / "current") == "bundles/" + now, (name, step)
            assert not [p for p in (*root.glob(".*"), *root.glob("bundles/.*"))], (name, step)
            operation(BundleStore(root, clock=lambda: 1.8e9)) if name != "rollback" or now == three else None
            assert seen(root) == end, (name, step, seen(root), end)
            step += 1
        assert status == 0 and step > 3, (name, step, status)
        print(name, step)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_at_any_step_leaves_a_whole_bundle_and_the_same_end(
    store, three, pristine, forge, python, tmp_path
):
    """Before each system call that changes the disk, in turn; a killed process cleans nothing up."""
    folder = store.root / "incoming" / "four"
    shutil.copytree(pristine, folder)
    forge.edit(folder, lambda manifest: manifest.update(name="four"))
    done = python("-c", textwrap.dedent(STEPS), store.root, tmp_path / "work", *three)
    assert done.returncode == 0, done.stderr.decode()
    steps = dict(line.split() for line in done.stdout.decode().splitlines())
    assert len(steps) == 7
    assert min(map(int, steps.values())) > 6


def test_each_change_is_on_the_disk_before_the_next_one_begins(store, three, monkeypatch):
    """What a power cut, unlike a kill, needs: the data before its name, and the name before the link."""
    told = []

    def name(descriptor):
        return Path(f"/proc/self/fd/{descriptor}").readlink().name

    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(files.os, "fsync", lambda d: (told.append(f"sync {name(d)[:4]}"), fsync(d))[1])
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (told.append(f"rename {Path(to).name}"), replace(self, to))[1]
    )
    store.activate(three[0])
    assert told == ["sync .eco", "rename state.json", "sync stor", "rename current", "sync stor"]
