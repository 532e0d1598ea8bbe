"""Facts about the device profile: when it holds, when it is ignored, and how it is written."""

import dataclasses
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge import Bundle, Classifier
from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.cli import main
from ecovision_edge.errors import ContractError, ProfileWriteError, SchemaVersionError
from ecovision_edge.profile import (
    PROFILE_DIR_VARIABLE,
    DeviceProfile,
    check_profile_folder,
    current_key,
    load_profile,
    look_up_profile,
    profile_folder,
    save_profile,
)
from ecovision_edge.profile import key as key_module


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of profiles, of this test alone."""
    monkeypatch.setenv(PROFILE_DIR_VARIABLE, str(tmp_path / "profiles"))
    return tmp_path / "profiles"


@pytest.fixture
def bundle(forge, tmp_path):
    """A bundle of two tiny artifacts."""
    return Bundle.open(forge.bundle(tmp_path / "bundle"))


def profile_of(bundle, **changes):
    made = DeviceProfile.of(bundle, artifact="int8-onnx", threads=2, spinning=False, measured={"ms": 1.5})
    return dataclasses.replace(made, **changes)


def test_a_saved_profile_is_loaded_again(folder, bundle):
    """Equal in every field; one file, named for the bundle."""
    profile = profile_of(bundle)
    path = save_profile(profile)
    assert path == folder / f"{profile.key.bundle_sha256}.json"
    assert [*folder.iterdir()] == [path]
    assert load_profile(bundle) == profile
    assert look_up_profile(bundle).ignored is None


def test_without_a_profile_there_is_none_and_no_notice(folder, bundle, caplog):
    """Nor is the folder made."""
    assert load_profile(bundle) is None
    assert look_up_profile(bundle).ignored is None
    assert not folder.exists()
    assert caplog.records == []


KEY_CHANGES = {
    "arch": ("riscv64", "architecture"),
    "cpu": ("Another CPU", "CPU"),
    "cpu_features": (("sve",), "CPU features"),
    "board": ("Another Board", "board"),
    "cores": (4097, "cores"),
    "usable_cores": (4097, "usable cores"),
    "bundle_sha256": ("0" * 64, "bundle.json"),
}


def test_every_part_of_the_key_is_tried_below():
    """Or a new one could be forgotten."""
    assert {f.name for f in dataclasses.fields(current_key_of_embedded())} == {*KEY_CHANGES, "versions"}


def current_key_of_embedded():
    return current_key(Bundle.open(embedded_bundle_path()))


@pytest.mark.parametrize("name", KEY_CHANGES)
def test_a_change_of_the_machine_is_named(name, folder, bundle, caplog):
    """A warning of the logger `ecovision_edge`, with what changed and what to do; and no profile."""
    value, word = KEY_CHANGES[name]
    profile = profile_of(bundle)
    path = save_profile(profile)
    other = dataclasses.replace(profile, key=dataclasses.replace(profile.key, **{name: value}))
    path.write_bytes(other.dumps())
    with caplog.at_level(logging.WARNING, "ecovision_edge"):
        assert load_profile(bundle) is None
    (record,) = caplog.records
    assert record.name == "ecovision_edge"
    message = record.getMessage()
    assert f"({word} was " in message
    assert message.count(" was ") == 1
    assert f"run `ecovision-edge tune {bundle.path}` again" in message


@pytest.mark.parametrize("name", ["ecovision-edge", "onnxruntime", "ai-edge-litert", "opencv", "numpy"])
@pytest.mark.parametrize("other", ["0.0.1", None])
def test_a_change_of_a_version_is_named(name, other, folder, bundle):
    """A newer one, or one that was not installed then."""
    profile = profile_of(bundle)
    assert name in profile.key.versions
    was = {**profile.key.versions, name: other}
    if was == profile.key.versions:
        pytest.skip(f"{name} is not installed here: there is nothing that could have changed")
    save_profile(dataclasses.replace(profile, key=dataclasses.replace(profile.key, versions=was)))
    ignored = look_up_profile(bundle).ignored
    assert f"({name} was {other or 'none'}, is {profile.key.versions[name]})" in ignored


def test_several_changes_are_all_named(bundle):
    """In one line."""
    now = current_key(bundle)
    was = dataclasses.replace(now, cores=99, versions={**now.versions, "numpy": "1", "gone": "2"})
    assert [c.partition(" was ")[0] for c in was.changes(now)] == ["cores", "numpy", "gone"]
    assert now.changes(now) == ()


def test_another_build_of_the_engine_is_another_version(bundle, monkeypatch):
    """`onnxruntime-gpu` of the same number is not the `onnxruntime` that was measured."""
    import importlib.metadata

    real = importlib.metadata.version

    def version(name):
        if name == "onnxruntime":
            raise importlib.metadata.PackageNotFoundError
        return "1.2.3" if name == "onnxruntime-gpu" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert key_module.current_key(bundle).versions["onnxruntime"] == "onnxruntime-gpu 1.2.3"


def test_a_bundle_that_was_changed_in_its_place_is_noticed(folder, bundle, forge):
    """Its profile is under another hash, but of the same folder; a bundle elsewhere says nothing."""
    save_profile(profile_of(bundle))
    forge.edit(bundle.path, lambda d: d.update(name="renamed"))
    changed = Bundle.open(bundle.path)
    assert "bundle.json has changed" in look_up_profile(changed).ignored
    elsewhere = bundle.path.with_name("elsewhere")
    bundle.path.rename(elsewhere)
    assert look_up_profile(Bundle.open(elsewhere)).ignored is None


def test_a_bundle_that_was_moved_keeps_its_profile(folder, bundle):
    """The hash is what counts."""
    save_profile(profile_of(bundle))
    moved = bundle.path.with_name("moved")
    bundle.path.rename(moved)
    assert load_profile(Bundle.open(moved)) is not None


def test_an_artifact_that_the_bundle_has_not_is_refused(folder, bundle):
    """Somebody wrote it by hand."""
    save_profile(profile_of(bundle, artifact="int4-onnx"))
    assert "no artifact 'int4-onnx'" in look_up_profile(bundle).ignored


MALFORMED = {
    "empty": b"",
    "binary": b"\x89PNG\xff",
    "cut off": b'{"schema": "ecovision-edge/device-prof',
    "a list": b"[]",
    "another schema": b'{"schema": "ecovision-edge/bench"}',
    "too large": b" " * (2**20 + 1),
    "nested": b"[" * 100_000,
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_a_file_that_is_no_profile_is_ignored_with_a_notice(data, folder, bundle):
    """Loading goes on."""
    path = save_profile(profile_of(bundle))
    path.write_bytes(data)
    found = look_up_profile(bundle)
    assert found.profile is None
    assert str(path) in found.ignored
    assert found.ignored.count("run `ecovision-edge tune") == 1


WRONG = {
    "threads of 0": lambda d: d["choice"].update(threads=0),
    "threads as text": lambda d: d["choice"].update(threads="2"),
    "spinning as a number": lambda d: d["choice"].update(spinning=1),
    "no artifact": lambda d: d["choice"].pop("artifact"),
    "an unknown key": lambda d: d["choice"].update(delegate="x"),
    "versions as numbers": lambda d: d["holds_for"]["versions"].update(numpy=2),
    "features as a text": lambda d: d["holds_for"].update(cpu_features="avx2"),
    "features as numbers": lambda d: d["holds_for"].update(cpu_features=[1]),
    "no key": lambda d: d.pop("holds_for"),
    "measured as a list": lambda d: d.update(measured=[]),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_ignored_with_a_notice(change, folder, bundle):
    """Every value is checked."""
    path = save_profile(profile_of(bundle))
    data = json.loads(path.read_bytes())
    change(data)
    path.write_text(json.dumps(data))
    found = look_up_profile(bundle)
    assert found.profile is None
    assert "is ignored" in found.ignored


def test_a_newer_profile_is_a_type_of_its_own(folder, bundle):
    """Written by a newer ecovision-edge."""
    path = save_profile(profile_of(bundle))
    data = {**json.loads(path.read_bytes()), "schema_version": 2}
    path.write_text(json.dumps(data))
    with pytest.raises(SchemaVersionError, match="schema_version: expected 1 or older, found 2"):
        DeviceProfile.loads(path.read_bytes(), "p.json")
    assert "schema_version" in look_up_profile(bundle).ignored


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_bytes_of_any_kind_are_a_contract_error(data):
    """And nothing else."""
    with pytest.raises(ContractError):
        DeviceProfile.loads(data, "p.json")


def test_what_is_no_regular_file_is_ignored(folder, bundle):
    """A folder, or a pipe for which one would wait for ever."""
    path = save_profile(profile_of(bundle))
    path.unlink()
    path.mkdir()
    assert "cannot be read" in look_up_profile(bundle).ignored
    path.rmdir()
    os.mkfifo(path)
    assert "cannot be read" in look_up_profile(bundle).ignored


def test_a_folder_that_is_a_file_breaks_nothing(tmp_path, bundle, monkeypatch):
    """No profile, no notice; but saving says so in one line."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(PROFILE_DIR_VARIABLE, str(tmp_path / "file"))
    assert look_up_profile(bundle) == look_up_profile(bundle)
    assert load_profile(bundle) is None
    for save in (check_profile_folder, lambda: save_profile(profile_of(bundle))):
        with pytest.raises(ProfileWriteError, match=f"expected a folder to write to.*{PROFILE_DIR_VARIABLE}"):
            save()


def test_a_profile_is_of_the_bundle_that_was_opened(folder, bundle):
    """Whatever its folder has become since: the model in memory is that one's."""
    save_profile(profile_of(bundle))
    key = current_key(bundle)
    (bundle.path / "bundle.json").write_text("{}")
    assert load_profile(bundle) is not None
    assert current_key(bundle) == key


def test_a_failed_write_leaves_the_old_profile_and_no_rubbish(folder, bundle, monkeypatch):
    """A disk that is full."""
    path = save_profile(profile_of(bundle))
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ProfileWriteError, match="No space left"):
        save_profile(profile_of(bundle, threads=4))
    assert path.read_bytes() == before
    assert [*folder.iterdir()] == [path]


def test_writers_at_once_leave_a_whole_file(folder, bundle):
    """Some thread's own, read whole at any time; nothing else is left."""
    profiles = [profile_of(bundle, threads=n + 1, measured={"fill": "x" * 20_000}) for n in range(8)]
    path = save_profile(profiles[0])
    bad = []

    def write(profile):
        for _ in range(10):
            save_profile(profile)
            try:
                DeviceProfile.loads(path.read_bytes(), "p.json")
            except ContractError as e:
                bad.append(e)

    threads = [threading.Thread(target=write, args=(p,)) for p in profiles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bad == []
    assert [*folder.iterdir()] == [path]
    assert load_profile(bundle) in profiles


def test_another_user_may_read_it(folder, bundle):
    """A service may run as one."""
    assert save_profile(profile_of(bundle)).stat().st_mode & 0o777 == 0o644


def test_a_path_that_is_no_text_can_be_saved(folder, bundle):
    """A folder whose name is not UTF-8."""
    odd = bundle.path.with_name(os.fsdecode(b"b\xff\n"))
    bundle.path.rename(odd)
    opened = Bundle.open(odd)
    save_profile(profile_of(opened))
    assert load_profile(opened) is not None


def test_the_folder_is_in_the_users_state(monkeypatch, tmp_path):
    """As XDG says; an empty variable is none."""
    monkeypatch.setenv(PROFILE_DIR_VARIABLE, "")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert profile_folder() == tmp_path / "ecovision-edge" / "profiles"
    assert profile_folder().is_absolute()


def test_looking_for_a_profile_loads_no_engine(folder, bundle):
    """In a process of its own, with a profile that holds; and importing the runtime loads none of it."""
    save_profile(profile_of(bundle))
    code = (
        "import sys, ecovision_edge\n"
        "ecovision_edge.Classifier, ecovision_edge.verify_bundle\n"
        "assert not {'platformdirs', 'ecovision_edge.profile'} & set(sys.modules)\n"
        "from ecovision_edge.profile import load_profile\n"
        f"assert load_profile(ecovision_edge.Bundle.open({str(bundle.path)!r})).threads == 2\n"
        "assert not {'onnxruntime', 'ai_edge_litert', 'ecovision_edge_bench'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_notice_reaches_standard_error_of_a_plain_program(folder, bundle):
    """Which has set up no logging: a controller's journal has it."""
    path = save_profile(profile_of(bundle))
    Path(path).write_text("{}")
    code = (
        "from ecovision_edge import Bundle\nfrom ecovision_edge.profile import load_profile\n"
        f"assert load_profile(Bundle.open({str(bundle.path)!r})) is None\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert line.startswith("the device profile ")


def test_loading_uses_it_where_nothing_is_asked_for(folder, bundle):
    """Artifact and threads at once, unless the caller has a wish; spinning as the caller says, if at all."""
    save_profile(profile_of(bundle, artifact="fp32-onnx", threads=1, spinning=False))
    tuned = Classifier.load(bundle.path)
    assert (tuned.artifact, tuned.backend.threads) == ("fp32-onnx", 1)
    for option in (
        {"profile": False},
        {"threads": 2},
        {"artifact": "int8"},
        {"providers": ["CPUExecutionProvider"]},
    ):
        assert Classifier.load(bundle.path, **option).artifact == "int8-onnx", option
    assert Classifier.load(bundle.path, spinning=True).artifact == "fp32-onnx"
    assert Classifier.load(bundle.path, filter="fast").artifact == "fp32-onnx"
    assert Classifier.from_bundle(bundle).artifact == "int8-onnx"


def test_a_profile_that_does_not_fit_is_passed_over_when_loading(folder, bundle, caplog):
    """With a notice; the classifier is there."""
    found = profile_of(bundle, artifact="fp32-onnx")
    save_profile(dataclasses.replace(found, key=dataclasses.replace(found.key, cpu="another")))
    assert Classifier.load(bundle.path).artifact == "int8-onnx"
    assert "ecovision-edge tune" in caplog.text


@pytest.mark.slow
def test_the_commands_can_be_told_not_to(folder, bundle, capsys):
    """`--no-profile`."""
    save_profile(profile_of(bundle, artifact="fp32-onnx"))
    for options, artifact in (([], "fp32-onnx"), (["--no-profile"], "int8-onnx")):
        assert main(["classify", "demo:", "-b", str(bundle.path), "--json", "-", *options]) == 0
        assert json.loads(capsys.readouterr().out)["artifact"] == artifact
