"""Facts about an update as a whole, and about its commands: what changes, and what is told."""

import errno
import json
import shutil
import signal
from datetime import timedelta

import pytest
from tests.runtime.release_repositories import make_repository, serve_folder

from ecovision_edge.base.shares import parse_share
from ecovision_edge.cli import main
from ecovision_edge.errors import (
    EcovisionError,
    FetchError,
    GateError,
    OptionError,
    StoreError,
    TryLaterError,
    UntrustedError,
    UpdateError,
)
from ecovision_edge.updates import fetching, trial
from ecovision_edge.updates.asking import WITHDRAWN, Limits, Question
from ecovision_edge.updates.children import Ended
from ecovision_edge.updates.gates import GATES, Loading, Trial
from ecovision_edge.updates.store import BundleStore
from ecovision_edge.updates.updating import Settings, update


def in_this_process(module, request, seconds):
    """The work of the processes without the processes."""
    said = []
    try:
        if module == "ecovision_edge.updates.fetching":
            said.append(fetching.fetch(Question.of(request), sleep=lambda _: None).to_json())
        else:
            assert module == "ecovision_edge.updates.trial"
            trial.run_gates(Trial.of(request), lambda result: said.append(result.to_json()))
    except EcovisionError as e:
        said.append({"error": type(e).__name__, "message": e.message})
        return Ended(tuple(said), e.exit_status, True, "")
    return Ended(tuple(said), 0, True, "")


@pytest.fixture(scope="session")
def versions(forge, pristine, tmp_path_factory):
    """Folders of good bundles, and of one whose golden vectors are another model's."""
    folder = tmp_path_factory.mktemp("versions")
    for name in ("one", "two", "three", "bad"):
        shutil.copytree(pristine, folder / name)
        forge.edit(folder / name, lambda manifest, name=name: manifest.update(name=name))
    wrong = forge.bundle(folder / "wrong", forge.contract(labels=("x", "y", "z")))
    forge.put(folder / "bad", "model.int8.onnx", (wrong / "model.int8.onnx").read_bytes())
    return folder


class Fleet:
    """A repository with a server, and one device."""

    def __init__(self, tmp_path, versions, server):
        self.versions, self.server = versions, server
        self.repository = make_repository(tmp_path / "repository")
        self.store = BundleStore(tmp_path / "store")
        self.base = str(versions / "one")

    def release(self, name, **how):
        release = self.repository.add(self.versions / name, version=name, **how)
        self.repository.publish()
        return release.bundle

    def withdraw(self, bundle, withdrawn=True):
        self.repository.change(bundle, withdrawn=withdrawn)
        self.repository.publish()

    def update(self, *, child=in_this_process, **changes):
        settings = {
            "url": self.server.url,
            "device": "bin-1",
            "root": str(self.repository.root_file),
            "base": self.base,
            "max_slower": 1000.0,
            "loading": Loading(threads=1),
            "limits": Limits(stall=5.0, seconds=60.0),
            **changes,
        }
        return update(self.store, Settings(**settings), child=child)


@pytest.fixture
def fleet(tmp_path, versions, monkeypatch):
    monkeypatch.setattr("ecovision_edge.updates.trial._ROUNDS", 6)
    (tmp_path / "repository").mkdir()
    with serve_folder(tmp_path / "repository") as server:
        (tmp_path / "repository").rmdir()
        yield Fleet(tmp_path, versions, server)


def test_a_release_that_proves_itself_is_active_and_on_probation(fleet):
    two = fleet.release("two")
    done = fleet.update(probation=60.0)
    assert (done.outcome, done.bundle, done.words) == ("updated", two, f"updated to two two ({two[:12]})")
    assert [gate.gate for gate in done.gates] == list(GATES)
    assert fleet.store.current() == two
    state = fleet.store.state()
    assert state.probation.bundle == two
    assert state.checked.outcome == done.words
    assert state.seen > 0
    again = fleet.update()
    assert (again.outcome, again.fetched < 4000, again.gates) == ("current", True, ())


def test_nothing_is_released_yet(fleet):
    fleet.release("two", rollout=0.0)
    assert fleet.update().words == "no release is for this device"
    assert fleet.store.installed() == ()


def test_what_was_installed_with_the_program_is_up_to_date(fleet):
    one = fleet.release("one")
    assert fleet.update().outcome == "current"
    assert fleet.store.installed() == ()
    assert fleet.update().bundle == one


def test_a_bundle_that_does_not_pass_is_refused_and_never_tried_again(fleet, caplog):
    two = fleet.release("two")
    fleet.update()
    bad = fleet.release("bad")
    with pytest.raises(GateError, match="gate engine: the contract") as raised:
        fleet.update()
    assert fleet.store.current() == two
    entry = next(entry for entry in fleet.store.entries() if entry.bundle == bad)
    assert (entry.name, entry.refused) == ("bad", raised.value.message)
    assert fleet.store.state().checked.outcome == raised.value.message
    assert caplog.records == []  # whoever asked tells it, once
    fleet.server.asked.clear()
    assert fleet.update().outcome == "current"
    assert not [path for path in fleet.server.asked if "/files/" in path]
    three = fleet.release("three")
    assert fleet.update().bundle == fleet.store.current() == three
    assert fleet.store.previous() == two
    assert set(fleet.store.installed()) == {two, three}


def test_a_bundle_that_went_back_is_not_taken_again(fleet):
    """As after its probation."""
    two, three = fleet.release("two"), fleet.release("three")
    fleet.withdraw(three)
    fleet.update()
    fleet.withdraw(three, False)
    fleet.update()
    fleet.store.refuse(three, "it called all unknown")
    assert fleet.store.current() == two
    assert fleet.update().outcome == "current"
    assert fleet.store.current() == two


def test_a_withdrawn_release_is_left_for_the_one_before(fleet):
    """It need not be as good as what was withdrawn; and it may come back."""
    two, three = fleet.release("two"), fleet.release("three")
    assert fleet.update().bundle == three
    fleet.withdraw(three)
    done = fleet.update()
    assert (done.outcome, done.bundle) == ("updated", two)
    assert next(gate for gate in done.gates if gate.gate == "latency").skipped
    assert fleet.store.state().refusal(three).reason == WITHDRAWN
    assert fleet.store.previous() is None
    fleet.withdraw(three, False)
    assert fleet.update().bundle == three


def test_where_nothing_else_is_released_a_withdrawn_one_goes_back(fleet):
    two = fleet.release("two")
    fleet.update()
    fleet.withdraw(two)
    done = fleet.update()
    assert (done.outcome, done.words) == (
        "back",
        "what ran was withdrawn: back to the bundle of the installation",
    )
    assert fleet.store.current() is None
    assert fleet.update().outcome == "none"


def test_a_withdrawn_bundle_is_not_one_to_go_back_to(fleet):
    two, three = fleet.release("two"), None
    fleet.update()
    three = fleet.release("three")
    fleet.update()
    assert fleet.store.previous() == two
    fleet.withdraw(two)
    assert fleet.update().outcome == "current"
    assert (fleet.store.current(), fleet.store.previous()) == (three, None)


def test_whoever_has_a_release_keeps_it_when_its_rollout_is_lowered(fleet):
    fleet.release("two")
    three = fleet.release("three")
    fleet.update()
    fleet.repository.change(three, rollout=0.0)
    fleet.repository.publish()
    assert fleet.update().words == f"up to date: three three ({three[:12]})"


def test_a_pinned_bundle_stays(fleet):
    two = fleet.release("two")
    fleet.update()
    fleet.store.pin(two)
    three = fleet.release("three")
    assert fleet.update().words == f"a bundle is pinned; released is three three ({three[:12]})"
    fleet.withdraw(two)
    assert fleet.update().outcome == "pinned"
    assert fleet.store.current() == two
    fleet.store.unpin()
    assert fleet.update().bundle == three


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda store, two, three: store.pin(two), "was changed during the update"),
        (lambda store, two, three: store.rollback("by hand"), "was changed during the update"),
        (lambda store, two, three: store.refuse(three, "by hand"), "was changed during the update"),
        (lambda store, two, three: store.prune(0), "gate files"),
    ],
)
def test_what_somebody_does_during_an_update_holds(fleet, change, words):
    """A pin above all; and what was pruned is fetched the next time, not refused for good."""
    two = fleet.release("two")
    fleet.update()
    three = fleet.release("three")
    decided = []

    def meanwhile(module, request, seconds):
        if module.endswith("trial"):
            change(fleet.store, two, three)
            decided.append(fleet.store.state())
        return in_this_process(module, request, seconds)

    with pytest.raises(TryLaterError, match=words):
        fleet.update(child=meanwhile)
    state, (before,) = fleet.store.state(), decided
    assert (state.active, state.pinned, state.refused) == (before.active, before.pinned, before.refused)


def test_a_disk_that_does_not_give_a_file_is_no_fault_of_the_release(fleet, monkeypatch):
    three = fleet.release("three")

    def fails(path, most, **_):
        raise OSError(errno.EIO, "Input/output error")

    def meanwhile(module, request, seconds):
        with monkeypatch.context() as patch:
            if module.endswith("trial"):
                patch.setattr("ecovision_edge.bundle.folder.read_regular_file", fails)
            return in_this_process(module, request, seconds)

    with pytest.raises(TryLaterError, match=r"gate files: .*Input/output error"):
        fleet.update(child=meanwhile)
    assert fleet.store.state().refused == ()
    assert fleet.update().bundle == three


def test_what_is_not_to_be_trusted_changes_nothing(fleet):
    two = fleet.release("two")
    fleet.update()
    fleet.repository.expires["timestamp"] = timedelta(days=-1)
    fleet.release("three")
    with pytest.raises(UntrustedError, match="expired"):
        fleet.update()
    assert (fleet.store.current(), fleet.store.installed()) == (two, (two,))
    assert "expired" in fleet.store.state().checked.outcome


def test_one_update_at_a_time(fleet):
    fleet.release("two")
    with fleet.store.alone("update"), pytest.raises(TryLaterError, match="another process is at it: update"):
        fleet.update()
    with fleet.store.alone("fetch"), pytest.raises(TryLaterError, match="another process is at it: fetch"):
        fleet.update()
    assert fleet.update().outcome == "updated"


def dies(status, *, words="", in_time=True):
    return lambda module, request, seconds: Ended((), status, in_time, words)


@pytest.mark.parametrize(
    ("child", "error", "words"),
    [
        (dies(-signal.SIGKILL), FetchError, "fetching was stopped: it died of SIGKILL"),
        (dies(-signal.SIGKILL, in_time=False), FetchError, "it did not end in time"),
        (dies(1, words="ImportError: x"), UpdateError, "nothing could be fetched: .*ImportError: x"),
    ],
)
def test_a_fetch_that_ends_otherwise_is_told(fleet, child, error, words):
    with pytest.raises(UpdateError, match=words) as raised:
        fleet.update(child=child)
    assert type(raised.value) is error


def test_a_disk_that_is_full_at_the_end_leaves_the_old_bundle(fleet, monkeypatch):
    """And the next time nothing is fetched again."""
    two = fleet.release("two")
    fleet.update()
    fleet.release("three")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("ecovision_edge.updates.folder.replace_file", full)
        with pytest.raises(StoreError, match="No space left on device"):
            fleet.update()
    assert fleet.store.current() == two
    fleet.server.asked.clear()
    assert fleet.update().name == "three"
    assert not [path for path in fleet.server.asked if "/files/" in path]


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_commands_of_the_store(fleet, capsys):
    two = fleet.release("two")
    fleet.update()
    three = fleet.release("three")
    fleet.update(probation=0)
    at = ("--store", fleet.store.root)
    status, out, _ = run(capsys, "bundles", "list", *at)
    lines = out.splitlines()
    assert status == 0
    assert lines[0].startswith(f"* {three[:12]}  three ")
    assert lines[0].endswith(" MB  current")
    assert lines[1].endswith(" MB  the one before")
    assert lines[2].startswith("last check: 20")
    assert run(capsys, "bundles", "rollback", *at, "--reason", "smells")[1].startswith(f"* {two[:12]}")
    assert "refused: smells" in run(capsys, "bundles", "list", *at)[1]
    status, _, err = run(capsys, "bundles", "activate", three[:6], *at)
    assert (status, err) == (
        2,
        f"ecovision-edge: bundle {three[:12]}: expected one not refused, found smells;"
        f" take it all the same: ecovision-edge bundles activate {three[:12]} --anyway\n",
    )
    assert run(capsys, "bundles", "activate", three[:6], *at, "--anyway")[0] == 0
    assert run(capsys, "bundles", "pin", two[:6], *at)[1].endswith("current, pinned\n")
    assert run(capsys, "bundles", "unpin", *at)[1].endswith("current\n")
    assert run(capsys, "bundles", "prune", *at)[1] == "removed 0\n"
    status, out, _ = run(capsys, "bundles", "list", *at, "--json", "-")
    told = json.loads(out)
    assert told["current"] == two
    assert [bundle["name"] for bundle in told["bundles"]] == ["two", "three"]


def test_an_empty_store_is_no_error_to_look_at(tmp_path, capsys):
    at = ("--store", tmp_path / "store")
    assert run(capsys, "bundles", "list", *at) == (0, "the bundle of the installation runs\n", "")
    status, _, err = run(capsys, "bundles", "rollback", *at)
    assert status == 2
    assert "nothing to go back from" in err
    assert run(capsys, "bundles", "activate", "12", *at)[0] == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--from", "ftp://x"),
        ("--max-slower", "fast"),
        ("--min-agree", "110%"),
        ("--max-rate", "-1"),
        ("--max-size", "much"),
        ("--time-limit", "soon"),
        ("--probation", "1d"),
        ("--probation", "9" * 400),
        ("--max-size", "9" * 400),
        ("--time-limit", "0"),
        ("--channel", "\x1b[31m"),
        ("--device-id", "a\x1bb"),
        ("--device-id", "\udcff"),
        ("--store", "two\nlines"),
        ("--labelled", "two\nlines"),
    ],
)
def test_an_option_that_is_none_is_misuse(tmp_path, capsys, option, value):
    arguments = ["update", "--from", "http://127.0.0.1:1/", "--store", tmp_path / "store", option, value]
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert err.startswith(f"ecovision-edge: {option}")


def test_a_file_that_cannot_be_written_is_found_before_anything_is_asked(tmp_path, capsys):
    """Else it would be updated, and the exit status says that nothing changed."""
    arguments = ["update", "--from", "http://127.0.0.1:1/", "--store", tmp_path / "store"]
    status, _, err = run(capsys, *arguments, "--json", tmp_path / "no" / "x.json")
    assert (status, "no such folder" in err) == (2, True)
    assert not (tmp_path / "store").exists()


def test_what_went_wrong_is_json_too(tmp_path, capsys):
    arguments = ["update", "--from", "http://127.0.0.1:1/", "--store", tmp_path / "store"]
    status, out, err = run(capsys, *arguments, "--json", "-")
    said = json.loads(out)
    assert (status, said["outcome"], said["exit_status"]) == (1, "failed", 1)
    assert said["error"] in err


def test_the_address_has_to_be_given(capsys):
    status, _, err = run(capsys, "update")
    assert status == 2
    assert "--from" in err


@pytest.mark.parametrize(
    ("text", "share"), [("25%", 0.25), ("0.25", 0.25), ("0", 0.0), ("100%", 1.0), (" 5 % ", 0.05)]
)
def test_a_share_is_read(text, share):
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["", "%", "101%", "-1", "1.1", "nan", "1e-3", "5%%"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(OptionError, match="0% to 100%, or 0 to 1"):
        parse_share(text, "--x")
    assert parse_share("300%", most=100.0) == 3.0


@pytest.mark.slow
def test_the_command_updates_by_real_processes(fleet, capsys):
    """Once up to date, once refused, once out of reach; the first root is needed once."""
    two = fleet.release("two")
    command = ["update", "--from", fleet.server.url, "--store", fleet.store.root, "--bundle", fleet.base]
    command += ["--max-slower", "10000%", "--threads", "1"]
    status, out, err = run(capsys, *command, "--root", fleet.repository.root_file)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"updated to two two ({two[:12]})"
    assert out.startswith("ok     files: ")
    fleet.release("bad")
    status, out, err = run(capsys, *command)
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("ecovision-edge: gate engine: ")
    status, out, _ = run(capsys, *command, "--json", "-")
    assert (status, json.loads(out)["outcome"]) == (0, "current")
    status, _, err = run(capsys, *command, "--from", "http://127.0.0.1:1/", "--time-limit", "1ms")
    assert status == 75
    assert "fetching takes too long" in err
    assert fleet.store.current() == two
