"""Facts about the graph that onnxruntime has rewritten, kept from one start to the next."""

import dataclasses
import errno
import os
import shutil
import stat
import time

import numpy as np
import onnxruntime as ort
import pytest

from ecovision_edge import Bundle, Classifier
from ecovision_edge.backends import _session, session_cache
from ecovision_edge.backends._session import Opener
from ecovision_edge.base.files import is_ours, read_regular_file
from ecovision_edge.cli import main
from ecovision_edge.errors import BundleNotFoundError, IntegrityError, ModelError, UnsafePathError
from ecovision_edge.profile import PROFILE_DIR_VARIABLE, session_folder

FRAME = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Where they are kept; nothing is there yet."""
    monkeypatch.setenv(PROFILE_DIR_VARIABLE, str(tmp_path / "profiles"))
    return tmp_path / "profiles" / "sessions"


@pytest.fixture
def rewritten(monkeypatch):
    """How often a kept graph was opened, by its bytes."""
    opened = []
    was = Opener._open_rewritten

    def see(self, graph):
        opened.append(graph)
        return was(self, graph)

    monkeypatch.setattr(Opener, "_open_rewritten", see)
    return opened


def load(bundle, **options):
    """What a program does; one thread, so that nothing spins."""
    return Classifier.load(bundle, **{"threads": 1, **options})


def graph_in(folder):
    """The one graph that is kept."""
    [graph] = folder.glob("*.onnx")
    return graph


def test_the_second_start_takes_the_graph_and_answers_the_same_bits(folder, bundle, rewritten):
    """The first has kept it; without it the answer is the same again."""
    first = load(bundle).logits(FRAME)
    assert len(rewritten) == 1  # to prove it
    second = load(bundle)
    assert rewritten[1] == graph_in(folder).read_bytes()
    assert second.logits(FRAME).tobytes() == first.tobytes()
    assert second.contract == Bundle.open(bundle).contract
    assert load(bundle, profile=False).logits(FRAME).tobytes() == first.tobytes()
    assert len(rewritten) == 2


def test_the_reference_answers_the_same_bits(folder, rewritten):
    """The model that ships, on noise."""
    first, second = (load(None) for _ in range(2))
    assert len(rewritten) == 2
    assert first.logits(FRAME).tobytes() == second.logits(FRAME).tobytes()


def test_everyone_may_read_it_and_nobody_else_write_it(folder, bundle):
    """A service may run as another user."""
    load(bundle)
    modes = {path.name[-5:]: stat.S_IMODE(path.stat().st_mode) for path in [*folder.iterdir(), folder]}
    assert set(modes.values()) == {0o644, 0o755}
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("what", ["graph", "text", "folder"])
@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_what_others_can_write_is_not_loaded(folder, bundle, rewritten, what, mode):
    """Neither the graph, nor what tells of it, nor anything in such a folder."""
    load(bundle)
    graph = graph_in(folder)
    {"graph": graph, "text": graph.with_suffix(".txt"), "folder": folder}[what].chmod(mode | 0o111)
    del rewritten[:]
    before = graph.read_bytes()
    assert load(bundle).labels
    assert before not in rewritten[:-1] or what != "folder"
    assert len(rewritten) == (0 if what == "folder" else 1)  # at most to prove what is kept in its place


@pytest.mark.parametrize(
    ("owner", "mode", "ours"),
    [(0, 0o644, True), (1000, 0o600, True), (1001, 0o600, False), (1000, 0o620, False), (0, 0o602, False)],
)
def test_ours_is_what_only_this_user_and_root_can_write(monkeypatch, owner, mode, ours):
    """Whoever may read it."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert is_ours(os.stat_result((stat.S_IFREG | mode, 1, 1, 1, owner, 1, 1, 1, 1, 1))) is ours


def test_a_file_that_others_can_write_is_refused_as_it_is_read(tmp_path):
    """By its descriptor: nobody can put another in its place meanwhile."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    path.chmod(0o666)
    assert read_regular_file(path, 9) == b"x"
    with pytest.raises(OSError, match="others can write it"):
        read_regular_file(path, 9, ours=True)


@pytest.mark.parametrize("damage", ["byte", "cut", "longer", "empty", "text", "no text", "no graph"])
def test_what_is_damaged_is_not_loaded_and_kept_again(folder, bundle, rewritten, damage):
    """As a disk or a power cut leaves it."""
    expected = load(bundle).logits(FRAME)
    graph = graph_in(folder)
    text, data = graph.with_suffix(".txt"), graph.read_bytes()
    changed = bytes([data[0], data[1] ^ 1, *data[2:]])
    for file, content in {
        "byte": [(graph, changed)],
        "cut": [(graph, data[:-1])],
        "longer": [(graph, data + b"\0")],
        "empty": [(graph, b""), (text, b"")],
        "text": [(text, b"no numbers")],
        "no text": [(text, None)],
        "no graph": [(graph, None)],
    }[damage]:
        file.unlink() if content is None else file.write_bytes(content)
    del rewritten[:]
    assert load(bundle).logits(FRAME).tobytes() == expected.tobytes()
    assert rewritten == [data]  # of the model itself, to prove it
    assert graph_in(folder).read_bytes() == data


def test_a_graph_that_cannot_be_opened_makes_way(folder, bundle, rewritten):
    """Though it is the one that was written: the model is opened, and another graph is kept."""
    load(bundle)
    graph = graph_in(folder)
    data = graph.read_bytes()
    graph.write_bytes(b"no model")
    graph.with_suffix(".txt").write_bytes(session_cache._text(graph.stem, b"no model"))
    del rewritten[:]
    assert load(bundle).labels
    assert rewritten == [b"no model", data]
    assert graph_in(folder).read_bytes() == data


@pytest.mark.parametrize(
    "change", ["version", "build", "threads", "spinning", "features", "processor", "model"]
)
def test_it_holds_for_nothing_else(folder, bundle, forge, tmp_path, monkeypatch, rewritten, change):
    """Each change is another graph; what was there before stays for when it is as before."""
    load(bundle)
    options = {}
    if change == "version":
        monkeypatch.setattr(ort, "__version__", "1.0")
    elif change == "build":
        monkeypatch.setattr(ort, "get_build_info", lambda: "another")
    elif change in ("threads", "spinning"):
        options[change] = {"threads": 2, "spinning": False}[change]
    elif change == "features":
        monkeypatch.setattr(session_cache.cv2, "getCPUFeaturesLine", lambda: "SSE")
    elif change == "processor":
        cpuinfo = tmp_path / "cpuinfo"
        cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu vme\n")
        monkeypatch.setattr(session_cache, "_CPUINFO", cpuinfo)
    else:
        bundle = forge.bundle(tmp_path / "other", forge.contract(temperature=2.0))
    del rewritten[:]
    load(bundle, **options)
    assert len(rewritten) == 1  # only to prove it
    assert len(list(folder.glob("*.onnx"))) == 2


def test_where_the_processor_is_not_told_nothing_is_kept(folder, bundle, monkeypatch, tmp_path):
    """A system without that file."""
    monkeypatch.setattr(session_cache, "_CPUINFO", tmp_path / "none")
    assert load(bundle).labels
    assert not folder.exists()


def test_the_clock_of_the_processor_does_not_matter(monkeypatch, tmp_path):
    """It changes from one reading to the next; the number of cores may."""
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(session_cache, "_CPUINFO", cpuinfo)
    cpuinfo.write_text("processor : 0\nflags : a b\ncpu MHz : 2400.1\n\nprocessor : 1\nflags : a b\n")
    before = session_cache._processor()
    cpuinfo.write_text("processor : 0\nflags : a b\ncpu MHz : 800.0\n")
    assert session_cache._processor() == before is not None


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("place", ["file", "replace", "graph"])
def test_where_nothing_can_be_kept_the_model_is_loaded_all_the_same(
    folder, bundle, monkeypatch, capfd, place
):
    """A file in place of the folder, a full disk at each step: no word, no half of a file."""
    if place == "file":
        folder.parent.mkdir()
        folder.write_bytes(b"")
    elif place == "replace":
        monkeypatch.setattr(session_cache, "replace_file", full)
    else:
        monkeypatch.setattr(_session, "read_regular_file", full)
    assert load(bundle).logits(FRAME).shape == (3,)
    assert capfd.readouterr() == ("", "")
    assert place == "file" or list(folder.iterdir()) == []


def test_a_graph_that_answers_other_bits_is_not_kept(folder, bundle, monkeypatch):
    """It is proved before: an answer of the one is compared with one of the other."""
    answers = iter("ab")
    monkeypatch.setattr(_session, "_answer", lambda session: next(answers))
    assert load(bundle).labels
    assert list(folder.iterdir()) == []


def test_only_the_newest_are_kept(folder, bundle, monkeypatch):
    """A device that is updated for years does not fill its disk."""
    for n in range(session_cache._KEPT + 2):
        monkeypatch.setattr(ort, "__version__", str(n))
        load(bundle)
        os.utime(graph_in(folder) if n == 0 else max(folder.glob("*.onnx"), key=os.path.getctime), (n, n))
    assert len(list(folder.glob("*.onnx"))) == len(list(folder.glob("*.txt"))) == session_cache._KEPT


def test_what_a_killed_process_left_is_removed(folder, bundle):
    """Once it is an hour old; until then another process may be writing it."""
    folder.mkdir(parents=True)
    for name, age in (("old", 3700), ("new", 60)):
        part, file = folder / f".part-{name}", folder / f".ecovision-{name}.tmp"
        part.mkdir()
        (part / "model.onnx").write_bytes(b"half")
        file.write_bytes(b"half")
        for path in (part, file):
            os.utime(path, (time.time() - age,) * 2)
    load(bundle)
    assert sorted(path.name for path in folder.glob(".*")) == [".ecovision-new.tmp", ".part-new"]


def test_external_data_is_refused_with_a_cache_too(folder, forge):
    """Before anything is opened or kept."""
    model = forge.proto()
    model.graph.initializer[0].external_data.add(key="location", value="/etc/hostname")
    cache = session_cache.SessionCache(folder, "0" * 64)
    with pytest.raises(ModelError, match="tensors in other files"):
        Opener(1, True, {"CPUExecutionProvider": {}}).open(model.SerializeToString(), cache)
    assert not folder.exists()


def test_the_cpu_alone_keeps_graphs(folder, bundle, monkeypatch):
    """What another provider makes of a graph may not be written at all."""
    both = ["AzureExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: both)
    asked = []
    monkeypatch.setattr(Opener, "open", lambda self, model, cache: asked.append(cache) or self._open(model))
    monkeypatch.setattr(Opener, "_open", lambda self, model: ort.InferenceSession(model()))
    for providers in (both, both[1:], None):
        load(bundle, providers=providers)
    assert [cache is None for cache in asked] == [True, False, False]


def test_verify_makes_the_next_start_fast(folder, bundle, rewritten, capsys):
    """Once all is as it should be; a bundle that is not gets none."""
    assert main(["verify", str(bundle), "--threads", "1"]) == 0
    assert graph_in(folder)
    del rewritten[:]
    load(bundle)
    assert len(rewritten) == 1
    (bundle / "golden.npz").write_bytes(b"")
    for path in folder.iterdir():
        path.unlink()
    assert main(["verify", str(bundle)]) == 1
    assert list(folder.iterdir()) == []


def test_a_service_keeps_it_in_its_own_state(monkeypatch, tmp_path, bundle):
    """Which systemd names; where the profiles are it may not write."""
    monkeypatch.setenv(PROFILE_DIR_VARIABLE, os.devnull)
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}/state:{tmp_path}/more")
    assert session_folder() == tmp_path / "state" / "sessions"
    load(bundle)
    assert graph_in(tmp_path / "state" / "sessions")


def test_a_user_without_a_folder_has_none(monkeypatch):
    """And loads as before."""
    monkeypatch.setenv(PROFILE_DIR_VARIABLE, "relative")
    assert session_folder() is not None
    monkeypatch.setattr("ecovision_edge.base.homes.user_state_folder", _NoHome)
    monkeypatch.setenv(PROFILE_DIR_VARIABLE, "")
    assert session_folder() is None


@dataclasses.dataclass
class _NoHome:
    """A path that begins with ~."""

    def __truediv__(self, name):
        return self

    def is_absolute(self):
        return False


def test_a_start_with_a_kept_graph_does_not_read_the_model(folder, bundle, monkeypatch):
    """The graph is hashed as it is read, and is of the model that the manifest names."""
    expected = load(bundle).logits(FRAME)
    read = []
    was = Bundle.read

    def see(self, entry):
        read.append(entry)
        return was(self, entry)

    monkeypatch.setattr(Bundle, "read", see)
    assert load(bundle).logits(FRAME).tobytes() == expected.tobytes()
    assert read == []
    load(bundle, profile=False)
    assert len(read) == 1


def test_a_model_that_changed_in_place_is_found_by_verify_alone(folder, bundle, tmp_path, capsys):
    """A start with a kept graph does not read it, and runs what was hashed."""
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    expected = load(copy).logits(FRAME)
    model = copy / Bundle.open(copy).artifact().file.file
    data = model.read_bytes()
    model.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    assert load(copy).logits(FRAME).tobytes() == expected.tobytes()
    assert main(["verify", str(copy), "--threads", "1"]) == 1
    with pytest.raises(IntegrityError):
        load(copy, profile=False)


@pytest.mark.parametrize(
    ("change", "error"),
    [("gone", BundleNotFoundError), ("longer", IntegrityError), ("link", UnsafePathError)],
)
def test_a_model_that_is_gone_or_of_another_size_is_told_all_the_same(
    folder, bundle, tmp_path, change, error
):
    """A kept graph is no reason to run a bundle that is not whole."""
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    load(copy)
    model = copy / Bundle.open(copy).artifact().file.file
    if change == "gone":
        model.unlink()
    elif change == "link":
        model.rename(tmp_path / "elsewhere.onnx")
        model.symlink_to(tmp_path / "elsewhere.onnx")
    else:
        model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(error, match=model.name):
        load(copy)
