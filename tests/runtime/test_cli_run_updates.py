"""Facts about `ecovision-edge run --update`, as somebody at a shell sees it."""

import importlib.util
import json
import shutil
import sys
import textwrap

import pytest
from tests.runtime.test_cli_run import run, running

from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.cli import main
from ecovision_edge.updates.process import UpdateProcess
from ecovision_edge.updates.store import BundleStore

SOURCE = ("--source", "demo:", "--max-frames", 3, "--output", "none")
URL = "https://updates.invalid/bins"


@pytest.fixture
def here(pristine, tmp_path):
    """The arguments of a run that follows a store of its own, and is not to ask within a test."""
    return (
        *SOURCE,
        *("--bundle", pristine, "--threads", 1),
        *("--update", URL, "--update-every", "9999h", "--store", tmp_path / "store"),
    )


@pytest.fixture
def installed(forge, pristine, tmp_path):
    """A bundle in that store, which is current and on probation; its id."""
    store = BundleStore(tmp_path / "store")
    folder = store.root / "incoming" / "new"
    shutil.copytree(pristine, folder)
    forge.edit(folder, lambda manifest: manifest.update(name="new"))
    new = store.install(folder)
    store.activate(new, probation=60.0)
    return store, new


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--store", "x"], "--store: expected --update URL beside it"),
        (["--update-every", "6h"], "--update-every: expected --update URL beside it"),
        (["--update", "updates.local"], "--update: expected an address"),
        (["--update", "https://me:secret@x"], "--update: expected an address without user, password"),
        (["--update", "ftp://me:secret@x"], "--update: expected an address such as"),
        (["--update", f"{URL}?x=1"], "--update: expected an address without"),
        (["--update", URL, "--channel", "No!"], "--channel: expected lower-case letters"),
        (["--update", URL, "--device-id", "\x1b[2J"], "--device-id: expected 1 to 4096 printable"),
        (["--update", URL, "--store", "two\nlines"], "--store: expected 1 to 4096 printable"),
        (["--update", URL, "--update-every", "0"], "--update-every: expected above 0"),
        (["--update", URL, "--update-every", "soon"], "--update-every: expected seconds"),
        (["--update", URL, "--probation", "soon"], "--probation: expected seconds"),
        (["--update", URL, "--min-agree", "200%"], "--min-agree: expected 0% to 100%"),
        (["--update", URL, "--max-rate", "fast"], "--max-rate: expected bytes"),
        (["--update", URL, "--bundle", "model.onnx"], "--bundle: expected a bundle's folder"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_loaded(capsys, given, told):
    status, _, err = run(capsys, *SOURCE, *given)
    assert status == 2
    assert told in err
    assert "secret" not in err


@pytest.mark.parametrize("command", ["run", "update"])
def test_the_bundle_to_go_back_to_is_none_of_the_store(capsys, installed, tmp_path, command):
    """With the last way back `current` would be gone, and nothing could run."""
    store, new = installed
    for base in (store.link, store.folder(new)):
        given = ("--bundle", base, "--store", store.root)
        if command == "run":
            status, _, err = run(capsys, *SOURCE, *given, "--update", URL)
        else:
            status = main(["update", "--from", URL, *map(str, given)])
            err = capsys.readouterr().err
        assert status == 2
        assert "--bundle: expected a bundle outside the store" in err


def test_without_the_extra_it_says_which_one(capsys, here, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tuf" else found(name))
    status, _, err = run(capsys, *here)
    assert status == 1
    assert "tuf is not installed" in err
    assert "[update]" in err


def test_the_base_runs_until_there_is_another_one(capsys, here, tmp_path):
    """And a store that nothing is in is not even made."""
    assert run(capsys, *here)[0] == 0
    assert not (tmp_path / "store").exists()


def test_what_is_current_runs_and_its_start_and_its_end_are_counted(capsys, here, installed):
    store, new = installed
    for count in (1, 2):
        assert run(capsys, *here)[0] == 0
        probation = store.state().probation
        assert (probation.bundle, probation.starts, probation.figures["orderly"]) == (new, count, count)


def test_a_check_counts_nothing(capsys, here, installed):
    store, _ = installed
    before = (store.root / "state.json").read_bytes()
    assert run(capsys, *here, "--check")[0] == 0
    assert (store.root / "state.json").read_bytes() == before
    status, _, err = run(capsys, *here, "--update-root", store.root / "no", "--check")
    assert status == 2
    assert "--update-root: expected the repository's root.json" in err


def test_what_is_wrong_with_the_arguments_is_no_fault_of_the_bundle(capsys, here, installed, tmp_path):
    """As of rules that do not know its labels."""
    store, new = installed
    (tmp_path / "rules.toml").write_text('schema = 1\nname = "n"\ndefault = "a"\n[bins]\na = ["nothing"]\n')
    for _ in range(5):
        assert run(capsys, *here, "--bin", tmp_path / "rules.toml")[0] == 2
    assert store.current() == new


def test_labels_that_do_not_fit_the_rules_are_the_fault_of_the_bundle_if_those_before_do(
    capsys, here, forge, pristine, tmp_path
):
    """The bin goes on with the one before; without it nothing would run until somebody comes."""
    store, labels = BundleStore(tmp_path / "store"), Bundle.open(pristine).contract.labels
    folder = forge.bundle(store.root / "incoming" / "other", forge.contract(labels=("x", "y", "z")))
    other = store.install(folder)
    store.activate(other, probation=60.0)
    (tmp_path / "rules.toml").write_text(
        f'schema = 1\nname = "n"\ndefault = "a"\n[bins]\na = {json.dumps(labels)}\n'
    )
    status, _, err = run(capsys, *here, "--bin", tmp_path / "rules.toml")
    assert status == 0
    assert f"bundle {other[:12]} cannot be loaded, another one runs" in err
    assert store.current() is None
    assert "labels of the model: x, y, z" in store.state().refusal(other).reason


def test_a_store_that_cannot_change_to_what_is_current_ends_for_another_start(
    capsys, here, installed, forge, tmp_path, monkeypatch
):
    """Status 75, by which the unit starts it again; then it runs."""
    store, _ = installed
    folder = forge.bundle(store.root / "incoming" / "other", forge.contract(labels=("a", "b", "c")))
    other = store.install(folder)

    class Update:
        def __init__(self, *_):
            store.activate(other)

        def poll(self):
            return None

        def close(self):
            pass

    monkeypatch.setattr("ecovision_edge.updates.process.UpdateProcess", Update)
    endless = [word for word in here if word not in ("--max-frames", 3, "9999h", "--update-every")]
    status, _, err = run(capsys, *endless, "--update-every", "1ms")
    assert status == 75
    assert f"it has other labels: starting again with bundle {other[:12]}" in err
    assert run(capsys, *here)[0] == 0


def test_the_update_is_asked_for_as_this_run_was(monkeypatch, capsys, here, tmp_path):
    """With the same engine, rules and device, so that the gates prove what will run."""
    asked = []

    class Update(UpdateProcess):
        def __init__(self, arguments, seconds):
            asked.append(arguments)
            super().__init__(arguments, seconds, program=[sys.executable, "-c", "pass"])

    monkeypatch.setattr("ecovision_edge.updates.process.UpdateProcess", Update)
    endless = [word for word in here if word not in ("--max-frames", 3, "9999h", "--update-every")]
    more = ("--update-every", "1ms", "--channel", "beta", "--device-id", "bin 7", "--probation", "2h")
    status, *_ = run(capsys, *endless, *more, "--duration", "1s")
    assert status == 0
    given = set(asked[0])
    assert {f"--from={URL}", f"--store={tmp_path / 'store'}", "--channel=beta"} < given
    assert {"--device-id=bin 7", "--probation=2h", "--threads=1", "--artifact=auto"} < given
    assert not any(word.startswith(("--max-slower", "--providers")) for word in given)


MEASURE = r"""
    import re, sys
    from pathlib import Path
    from ecovision_edge.cli import main
    status = main(sys.argv[1:])
    found = re.search(r"^Private_Dirty: +(\d+)", Path("/proc/self/smaps_rollup").read_text(), re.M)
    print(status, found[1], *sorted({"tuf", "securesystemslib", "urllib3", "requests"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_the_loop_s_process_loads_nothing_of_an_update_and_is_hardly_larger(here, python):
    """Though updates run beside it: 0.5 MB were measured; python-tuf alone would be 4."""
    plain, seconds, kilobytes = here[:-6], ("--duration", "3s", "--max-frames", 10**6), []
    for arguments in (plain, [*here, "--update-every", "1ms"]):
        done = python("-c", textwrap.dedent(MEASURE), "run", *arguments, *seconds)
        status, size, *loaded = done.stdout.decode().split()
        assert (status, loaded) == ("0", []), done.stderr.decode()
        kilobytes.append(int(size))
    assert kilobytes[1] - kilobytes[0] < 3072, kilobytes


@pytest.mark.slow
def test_a_bundle_whose_process_is_killed_three_times_in_a_row_goes_back(capsys, here, installed):
    """While it runs, by whatever kills it; nobody but the next start has to see it."""
    store, new = installed
    endless = [*here[2:], "--source", "demo:", "--output", "jsonl", "--max-frames", 10**6]
    for starts in (1, 2, 3):
        with running(*endless) as process:
            assert b"label" in process.stdout.readline()
            process.kill()
            process.wait()
        assert (store.current(), store.state().probation.starts) == (new, starts)
    status, _, err = run(capsys, *here)
    assert status == 0
    assert "died within 10 minutes of 3 starts in a row: going back" in err
    assert store.current() is None
    assert store.state().refusal(new) is not None
