"""Facts about the folder of a recording: names, bounds, errors, kills, and whose files are whose."""

import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.recording_results import noise, options, result

from ecovision_edge import read_image
from ecovision_edge.errors import OptionError, RecordError
from ecovision_edge.recording import FrameFolder, Outcome, RecordOptions, read_recording
from ecovision_edge.recording import disk as disk_module

ROOT = Path(__file__).parents[2]
TEMPORARY = re.compile(r"\..*\.ecovision-tmp")


def files(folder):
    """Everything in it, hidden files too."""
    return {p.name: p.stat().st_size for p in Path(folder).iterdir()}


def pictures(folder):
    """The names of its pictures, in order."""
    return sorted(n for n in files(folder) if n.endswith((".png", ".jpg")))


def record(path, count, first=0, **changes):
    """A folder with so many frames, and what became of each."""
    folder = FrameFolder(path, options(**changes))
    outcomes = [folder.add(result(first + i)) for i in range(count)]
    folder.close()
    return outcomes


@pytest.fixture
def free(monkeypatch):
    """Sets the free bytes that the disk says it has."""

    def set_free(count):
        usage = shutil.disk_usage("/")._replace(free=count)
        monkeypatch.setattr("ecovision_edge.recording.folder.shutil.disk_usage", lambda path: usage)

    return set_free


@pytest.fixture
def fails(monkeypatch):
    """Lets writing a file whose name matches raise, after half of it was written."""

    def set_failure(number, pattern=r".*"):
        def write_file(path, data, *, fsync):
            if number is not None and re.search(pattern, path.name):
                path.write_bytes(data[: len(data) // 2])
                raise OSError(number, os.strerror(number), str(path))
            return real(path, data, fsync=fsync)

        monkeypatch.setattr(disk_module, "write_file", write_file)

    real = disk_module.write_file
    return set_failure


# Names and contents.


def test_a_frame_is_a_picture_and_a_sidecar(tmp_path):
    """Numbered with nine digits from 0; the sidecar names the picture."""
    assert record(tmp_path, 2) == [Outcome.KEPT] * 2
    assert sorted(files(tmp_path)) == [
        *["000000000.json", "000000000.png", "000000001.json", "000000001.png"],
    ]
    data = json.loads((tmp_path / "000000001.json").read_bytes())
    assert data["image"] == "000000001.png"
    assert data["schema_version"] == 1
    said = {k: v for k, v in data.items() if not k.startswith("schema") and k != "image"}
    assert {**said, "bad_frames": 0} == result(1).to_json()  # which is left out where it is 0


def test_a_picture_comes_back_bit_for_bit(tmp_path):
    """PNG is lossless, also of a view into a larger array."""
    image = noise(3, 50, 40)[5:30, 7:33]
    folder = FrameFolder(tmp_path, options())
    folder.add(result(image=image))
    folder.close()
    assert np.array_equal(read_image(tmp_path / "000000000.png"), image)


def test_jpeg_is_what_its_name_says(tmp_path):
    """With the quality asked for: less is smaller."""
    image = cv2.resize(noise(1, 8, 6), (80, 60))
    sizes = []
    for quality in (20, 95):
        folder = FrameFolder(tmp_path / str(quality), options(format="jpeg", quality=quality))
        folder.add(result(image=image))
        folder.close()
        path = tmp_path / str(quality) / "000000000.jpg"
        assert path.read_bytes()[:3] == b"\xff\xd8\xff"
        sizes.append(path.stat().st_size)
    assert sizes[0] < sizes[1]


def test_numbers_go_on_after_a_restart(tmp_path):
    """After the highest that is there, whatever its format."""
    record(tmp_path, 3)
    record(tmp_path, 2, first=3, format="jpeg")
    assert pictures(tmp_path) == [
        *["000000000.png", "000000001.png", "000000002.png", "000000003.jpg", "000000004.jpg"],
    ]
    assert [f.result.index for f in read_recording(tmp_path)] == [0, 1, 2, 3, 4]


def test_a_number_that_somebody_took_meanwhile_is_left_out(tmp_path):
    """Whichever of the two files it is."""
    folder = FrameFolder(tmp_path, options())
    for name in ("000000000.json", "000000001.png"):
        (tmp_path / name).write_text("mine")
    folder.add(result())
    folder.close()
    assert (tmp_path / "000000000.json").read_text() == (tmp_path / "000000001.png").read_text() == "mine"
    assert (tmp_path / "000000002.png").stat().st_size > 4


def test_the_last_number_is_the_last(tmp_path):
    """A tenth digit would break the order."""
    record(tmp_path, 1)
    sidecar = (tmp_path / "000000000.json").read_text().replace("000000000", "999999998")
    (tmp_path / "999999998.json").write_text(sidecar)
    (tmp_path / "000000000.png").rename(tmp_path / "999999998.png")
    (tmp_path / "000000000.json").unlink()
    folder = FrameFolder(tmp_path, options())
    assert folder.add(result()) is Outcome.KEPT
    with pytest.raises(RecordError, match="choose another folder"):
        folder.add(result())
    folder.close()


@pytest.mark.parametrize(
    ("label", "named"),
    [("paper", "paper"), ("../a_b c", "---a-b-c"), ("Plastik/Grün", "Plastik-Grün"), ("x" * 300, "x" * 40)],
)
def test_a_described_name_says_time_label_and_score(tmp_path, label, named):
    """In UTC; of the label what every file system takes."""
    folder = FrameFolder(tmp_path, options(format="jpeg"), described=True)
    folder.add(result(label=label, score=0.41))
    folder.add(result(label=label, score=0.41))
    folder.close()
    assert pictures(tmp_path) == [f"20261125T203011.123Z_{named}_0.41_{i:09d}.jpg" for i in (0, 1)]
    assert [f.result.label for f in read_recording(tmp_path)] == [label] * 2
    again = FrameFolder(tmp_path, options(), described=True)
    assert again.frames == 2
    again.close()


def test_fsync_writes_the_same(tmp_path):
    """Only later."""
    record(tmp_path / "a", 2, fsync=True)
    record(tmp_path / "b", 2)
    for name in files(tmp_path / "b"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


# Bounds.


def test_the_oldest_gives_way(tmp_path):
    """Of a flight recorder the newest frames are kept."""
    folder = FrameFolder(tmp_path, options(max_frames=3))
    for i in range(8):
        assert folder.add(result(i)) is Outcome.KEPT
        assert len(pictures(tmp_path)) == folder.frames == min(i + 1, 3)
    assert folder.removed == 5
    folder.close()
    assert [f.result.index for f in read_recording(tmp_path)] == [5, 6, 7]


def test_or_it_stops(tmp_path):
    """The first frames are kept, and nothing is removed."""
    assert record(tmp_path, 5, max_frames=3, whenfull="stop") == [Outcome.KEPT] * 3 + [Outcome.FULL] * 2
    assert [f.result.index for f in read_recording(tmp_path)] == [0, 1, 2]


def test_once_stopped_it_stays_so(tmp_path):
    """A small frame that would fit is not kept either: the first ones are wanted."""
    small = np.zeros((2, 2, 3), np.uint8)
    folder = FrameFolder(tmp_path, options(max_bytes=3000, whenfull="stop"))
    folder.add(result(image=np.zeros((40, 40, 3), np.uint8)))
    large = noise(1, 28, 28)
    assert folder.add(result(image=large)) is Outcome.FULL
    assert folder.add(result(image=small)) is Outcome.FULL
    folder.close()


def test_a_bound_that_was_lowered_holds_from_the_next_frame_on(tmp_path):
    """A start removes nothing yet."""
    record(tmp_path, 6)
    folder = FrameFolder(tmp_path, options(max_frames=2))
    assert folder.frames == 6
    folder.add(result(6))
    folder.close()
    assert [f.result.index for f in read_recording(tmp_path)] == [5, 6]


def test_a_frame_larger_than_the_folder_removes_nothing(tmp_path):
    """It could not be kept anyway."""
    folder = FrameFolder(tmp_path, options(max_bytes=4000))
    assert folder.add(result(0)) is Outcome.KEPT
    before = files(tmp_path)
    large = noise(0, 60, 60)
    assert folder.add(result(1, image=large)) is Outcome.TOO_LARGE
    assert files(tmp_path) == before
    folder.close()


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=14),
    st.integers(1, 5),
    st.integers(1500, 12000),
    st.sampled_from(["oldest", "stop"]),
    st.integers(0, 14),
)
def test_the_bounds_hold_at_every_moment(sides, max_frames, max_bytes, whenfull, restart):
    """Any sequence of sizes, over a restart: after each change of the folder it is within both bounds."""
    bounds = options(max_frames=max_frames, max_bytes=max_bytes, whenfull=whenfull)

    def checked(function):
        def run(*arguments, **keywords):
            value = function(*arguments, **keywords)
            there = files(path)
            assert sum(there.values()) <= max_bytes
            assert sum(n.endswith(".png") for n in there) <= max_frames
            return value

        return run

    with tempfile.TemporaryDirectory() as path, pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk_module, "write_file", checked(disk_module.write_file))
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, checked(getattr(Path, name)))
        folder = FrameFolder(path, bounds)
        for i, side in enumerate(sides):
            if i == restart:
                folder.close()
                folder = FrameFolder(path, bounds)
            image = noise(i, side, side)
            outcome = folder.add(result(i, image=image))
            there = files(path)
            assert folder.size == sum(there.values())
            assert folder.frames * 2 == len(there)
            assert outcome is not Outcome.FULL or whenfull == "stop"
            kept = [f.result.index for f in read_recording(path)] if there else []
            assert (outcome is Outcome.KEPT) == (bool(kept) and kept[-1] == i)
        folder.close()


# The free space of the disk.


def test_the_disk_is_never_filled(tmp_path, free):
    """A frame that would leave less than the minimum is not kept; the next one is, once there is room."""
    folder = FrameFolder(tmp_path, options(min_free_bytes=10_000))
    free(1_000_000)
    assert folder.add(result(0)) is Outcome.KEPT
    size = folder.size
    for space in (9_999, 10_000, 10_000 + size // 2):
        free(space)
        assert folder.add(result(1)) is Outcome.LOW
        assert len(files(tmp_path)) == 2
    free(11_000 + size)
    assert folder.add(result(2)) is Outcome.KEPT
    folder.close()


def test_too_little_space_removes_nothing(tmp_path, free):
    """A full disk costs no frame that was kept, though the oldest would have to go."""
    folder = FrameFolder(tmp_path, options(min_free_bytes=10_000, max_frames=2))
    free(1_000_000)
    for i in range(2):
        folder.add(result(i))
    free(9_000)
    assert folder.add(result(2)) is Outcome.LOW
    free(10_000)
    large = noise(0, 60, 60)
    assert folder.add(result(2, image=large)) is Outcome.LOW
    folder.close()
    assert [f.result.index for f in read_recording(tmp_path)] == [0, 1]


def test_what_a_removal_does_not_give_back_is_not_spent(tmp_path, free):
    """A file system with snapshots keeps the space: it is asked again after the removal."""
    folder = FrameFolder(tmp_path, options(min_free_bytes=10_000, max_frames=1))
    free(1_000_000)
    folder.add(result(0))
    free(10_100)
    assert folder.add(result(1)) is Outcome.LOW
    folder.close()


def test_what_a_removal_gives_back_is_spent(tmp_path, free, monkeypatch):
    """On a disk at its minimum a flight recorder goes on: the newest frame takes the place of the oldest."""
    folder = FrameFolder(tmp_path, options(min_free_bytes=10_000, max_frames=1))
    space = 10_000
    free(space + 10_000)
    folder.add(result(0))
    total = space + folder.size
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(
        "ecovision_edge.recording.folder.shutil.disk_usage",
        lambda path: usage._replace(free=total - sum(files(tmp_path).values())),
    )
    smaller = noise(1, 16, 10)
    assert folder.add(result(1, image=smaller)) is Outcome.KEPT
    folder.close()
    assert [f.result.index for f in read_recording(tmp_path)] == [1]


def test_what_cannot_be_kept_is_not_encoded(tmp_path, free):
    """A disk nearly full, or a folder that stopped, costs the processor nothing."""
    broken = result(image=np.zeros((0, 0, 3), np.uint8))  # to encode it is an error
    folder = FrameFolder(tmp_path, options(min_free_bytes=10_000, max_frames=1, whenfull="stop"))
    free(9_999)
    assert folder.add(broken) is Outcome.LOW
    free(1_000_000)
    assert [folder.add(result(i)) for i in range(2)] == [Outcome.KEPT, Outcome.FULL]
    assert folder.add(broken) is Outcome.FULL
    folder.close()


def test_frames_that_somebody_removed_make_room(tmp_path):
    """They are not counted as removed by us."""
    folder = FrameFolder(tmp_path, options(max_frames=2))
    for i in range(2):
        folder.add(result(i))
    for name in files(tmp_path):
        (tmp_path / name).unlink()
    for i in range(2, 5):
        assert folder.add(result(i)) is Outcome.KEPT
    folder.close()
    assert folder.removed == 1
    assert [f.result.index for f in read_recording(tmp_path)] == [3, 4]


# A disk that fails.


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("pattern", [r"\.png", r"\.json"])
def test_an_error_of_the_disk_is_typed_and_leaves_nothing(tmp_path, fails, number, pattern):
    """Neither a half file nor a picture alone; the next frame is kept when the disk is well again."""
    folder = FrameFolder(tmp_path, options())
    folder.add(result(0))
    before = files(tmp_path)
    fails(number, pattern)
    with pytest.raises(RecordError, match=re.escape(os.strerror(number))) as caught:
        folder.add(result(1))
    assert caught.value.__cause__.errno == number
    assert files(tmp_path) == before
    fails(None)
    assert folder.add(result(2)) is Outcome.KEPT
    folder.close()
    assert [f.result.index for f in read_recording(tmp_path)] == [0, 2]


@pytest.mark.parametrize("nth", [0, 1])
def test_an_error_of_a_rename_leaves_nothing(tmp_path, monkeypatch, nth):
    """Of the picture's, or of the sidecar's after it."""
    folder = FrameFolder(tmp_path, options())
    calls = []

    def replace(path, target):
        calls.append(path)
        if len(calls) == nth + 1:
            raise OSError(errno.EIO, "it fails")
        return real(path, target)

    real = Path.replace
    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(RecordError):
        folder.add(result())
    assert files(tmp_path) == {}
    assert folder.add(result()) is Outcome.KEPT
    folder.close()


def test_a_removal_that_fails_is_tried_again(tmp_path, monkeypatch):
    """The frame stays whole for a reader, and goes with the next one."""
    folder = FrameFolder(tmp_path, options(max_frames=1))
    folder.add(result(0))

    def unlink(path, missing_ok=False):
        raise OSError(errno.EIO, "it fails")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(RecordError):
            folder.add(result(1))
    assert [f.result.index for f in read_recording(tmp_path)] == [0]
    folder.add(result(2))
    folder.close()
    assert [f.result.index for f in read_recording(tmp_path)] == [2]
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_at_the_start_is_waited_for(tmp_path, fails, number, caplog):
    """It must not keep a bin from starting; each frame is told until there is room."""
    fails(number)
    folder = FrameFolder(tmp_path / "r", options())
    assert "frames are kept as soon as there is room" in caplog.text
    with pytest.raises(RecordError, match=r"make room|quota"):
        folder.add(result())
    fails(None)
    assert folder.add(result()) is Outcome.KEPT
    folder.close()


def test_a_folder_that_was_removed_is_made_anew(tmp_path):
    """And the numbers go on."""
    folder = FrameFolder(tmp_path / "a/b", options(max_frames=2))
    folder.add(result(0))
    folder.add(result(1))
    shutil.rmtree(tmp_path / "a")
    assert folder.add(result(2)) is Outcome.KEPT
    assert (folder.frames, folder.size) == (1, sum(files(tmp_path / "a/b").values()))
    folder.close()
    assert pictures(tmp_path / "a/b") == ["000000002.png"]


def test_a_folder_that_was_replaced_is_counted_and_locked_anew(tmp_path):
    """The bounds hold for what is there now, and no other recorder may begin there."""
    path = tmp_path / "r"
    folder = FrameFolder(path, options(max_frames=3))
    folder.add(result(0))
    folder.add(result(1))
    path.rename(tmp_path / "old")
    path.mkdir()
    assert folder.add(result(2)) is Outcome.KEPT
    assert (folder.frames, folder.size) == (1, sum(files(path).values()))
    with pytest.raises(RecordError, match="another recorder"):
        FrameFolder(path, options())
    FrameFolder(tmp_path / "old", options()).close()
    folder.close()


def test_a_folder_that_became_something_else_is_an_error_each_time(tmp_path):
    """A file in its place, or other pictures; when that is over, it goes on."""
    path = tmp_path / "r"
    folder = FrameFolder(path, options())
    path.rmdir()
    path.touch()
    for _ in range(2):
        with pytest.raises(RecordError):
            folder.add(result())
    path.unlink()
    assert folder.add(result()) is Outcome.KEPT
    shutil.rmtree(path)
    real = folder._open
    folder._open = lambda: (path.mkdir(exist_ok=True), (path / "photo.jpg").touch(), real())
    for _ in range(2):
        with pytest.raises(RecordError, match=r"photo\.jpg"):
            folder.add(result())
    assert sorted(files(path)) == ["photo.jpg"]
    folder._open = real
    (path / "photo.jpg").unlink()
    assert folder.add(result()) is Outcome.KEPT
    folder.close()


def test_a_frame_that_cannot_be_encoded_is_an_error(tmp_path):
    """OpenCV's own is mapped."""
    folder = FrameFolder(tmp_path, options())
    with pytest.raises(RecordError, match="cannot be encoded"):
        folder.add(result(image=np.zeros((0, 0, 3), np.uint8)))
    folder.close()


# The start.


def test_a_start_that_cannot_be_is_refused(tmp_path):
    """A file in its place or above it, an impossible path, a folder that cannot be made."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file/a", tmp_path / ("x" * 300), "a\0b", "/proc/none"):
        with pytest.raises(RecordError, match="cannot record to"):
            FrameFolder(path, options())


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, fails):
    """It is tried, for rights do not say it all."""
    fails(errno.EROFS)
    with pytest.raises(RecordError, match="Read-only"):
        FrameFolder(tmp_path, options())
    fails(None)
    FrameFolder(tmp_path, options()).close()


@pytest.mark.parametrize("name", ["photo.jpg", "000000007.png", "below/x.webp"])
def test_a_folder_with_other_pictures_is_refused(tmp_path, name):
    """A replay would take them too; a name like ours is no proof."""
    record(tmp_path, 1)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(RecordError, match=re.escape(name)):
        FrameFolder(tmp_path, options())
    assert (tmp_path / name).read_bytes() == b"mine"
    FrameFolder(tmp_path, options(), described=True).close()


def test_somebodys_numbered_pairs_are_not_taken_for_ours(tmp_path):
    """Tools for labelling write a .json beside 000000001.jpg too."""
    (tmp_path / "000000001.jpg").write_bytes(b"mine")
    (tmp_path / "000000001.json").write_text('{"shapes": []}\n')
    before = files(tmp_path)
    with pytest.raises(RecordError, match=r"000000001\.jpg"):
        FrameFolder(tmp_path, options(max_frames=1))
    assert files(tmp_path) == before


def test_foreign_files_are_never_touched(tmp_path):
    """Notes, folders, hidden files, names nearly like ours, links: all there after removals and restarts."""
    foreign = {
        *["notes.txt", ".hidden.png", ".ecovision-tmp", "..ecovision-tmp", ".x.ecovision-tmp", "README.json"],
        *["12345678.json", "000000000.txt", "000000100.json", ".000000001.png.tmp"],
    }
    for name in foreign:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".000000000.png.ecovision-tmp2").mkdir()
    for first in (0, 5):
        record(tmp_path, 5, first=first, max_frames=1)
    for name in foreign:
        assert (tmp_path / name).read_text() == "mine"
    assert (tmp_path / ".000000000.png.ecovision-tmp2").is_dir()
    assert len(pictures(tmp_path)) == 2  # .hidden.png and one of ours


def test_a_described_folder_leaves_what_a_person_does_there(tmp_path):
    """Pictures and labels moved in; nothing is removed but frames with a described name."""
    folder = FrameFolder(tmp_path, options(), described=True)
    folder.add(result(0))
    folder.close()
    (tmp_path / "img_000000001.jpg").write_bytes(b"mine")
    (tmp_path / "img_000000001.json").write_bytes(b"mine")
    (tmp_path / "000000000.jpg").write_bytes(b"mine")
    folder = FrameFolder(tmp_path, options(max_frames=1), described=True)
    assert folder.frames == 1
    folder.add(result(1))
    folder.close()
    assert folder.removed == 1
    assert len(files(tmp_path)) == 5


def test_one_recorder_has_a_folder(tmp_path):
    """Two would take each other's numbers; after the first is closed the second may."""
    folder = FrameFolder(tmp_path, options())
    with pytest.raises(RecordError, match="another recorder"):
        FrameFolder(tmp_path, options())
    folder.close()
    folder.close()
    FrameFolder(tmp_path, options()).close()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch, number):
    """As some network file systems are."""

    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    assert record(tmp_path, 1) == [Outcome.KEPT]


# What a killed process, or a power cut, leaves.


def test_a_pair_that_a_kill_left_half_named_is_mended(tmp_path):
    """The sidecar gets its name; a reader finds it before that already."""
    record(tmp_path, 2)
    (tmp_path / "000000001.json").rename(tmp_path / ".000000001.json.ecovision-tmp")
    assert [f.result.index for f in read_recording(tmp_path)] == [0, 1]
    record(tmp_path, 1, first=2)
    assert [f.result.index for f in read_recording(tmp_path)] == [0, 1, 2]
    assert len(files(tmp_path)) == 6


def test_temporary_files_are_removed_at_the_next_start(tmp_path):
    """Halves, with or without their other half."""
    record(tmp_path, 1)
    before = files(tmp_path)
    for name in ("000000001.png", "000000001.json", "000000002.png", "000000003.json", "000000000.json"):
        (tmp_path / f".{name}.ecovision-tmp").write_bytes(b'{\n  "schema"')
    FrameFolder(tmp_path, options()).close()
    assert files(tmp_path) == before


def test_a_foreign_picture_beside_a_whole_temporary_pair_is_left(tmp_path):
    """It was not there when the pair was being written: it is refused, not removed, nor given the sidecar."""
    record(tmp_path, 1)
    for name in list(files(tmp_path)):
        (tmp_path / name).rename(tmp_path / f".{name}.ecovision-tmp")
    (tmp_path / "000000000.png").write_bytes(b"mine")
    with pytest.raises(RecordError, match=r"000000000\.png"):
        FrameFolder(tmp_path, options())
    assert files(tmp_path) == {"000000000.png": 4}


@pytest.mark.parametrize(
    "damage",
    [
        {"000000001.json": b""},
        {"000000001.json": bytes(700)},
        {"000000001.png": b""},
        {"000000001.png": b"", "000000001.json": b""},
    ],
)
def test_what_a_power_cut_tore_is_removed_at_the_next_start(tmp_path, damage, caplog):
    """Files without content, as file systems leave them: a recorder must start again by itself."""
    record(tmp_path, 3)
    for name, data in damage.items():
        (tmp_path / name).write_bytes(data)
    FrameFolder(tmp_path, options()).close()
    assert [f.result.index for f in read_recording(tmp_path)] == [0, 2]
    assert "power cut" in caplog.text


def test_a_torn_sidecar_goes_with_its_picture(tmp_path):
    """Cut in the middle, or never given its name."""
    record(tmp_path, 3)
    cut = tmp_path / "000000000.json"
    cut.write_bytes(cut.read_bytes()[:100])
    (tmp_path / "000000001.json").unlink()
    (tmp_path / ".000000001.json.ecovision-tmp").touch()
    FrameFolder(tmp_path, options()).close()
    assert sorted(files(tmp_path)) == ["000000002.json", "000000002.png"]


WRITER = """
import itertools, sys
sys.path.insert(0, sys.argv[2])
from ecovision_edge.recording import FrameFolder
from tests.runtime.recording_results import options, result
folder = FrameFolder(sys.argv[1], options(max_frames=4))
results = [result(i) for i in range(16)]
print("ready", flush=True)
for i in itertools.count():
    folder.add(results[i % 16])
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_whole_frames(tmp_path):
    """Ten times: each picture is whole and has its result, and the next start clears the rest."""
    moments = random.Random(7)
    last = -1
    for _ in range(10):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(ROOT)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert writer.stdout.readline() == b"ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(moments.uniform(0.005, 0.1))
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
        frames = list(read_recording(tmp_path))
        assert 3 <= len(frames) <= 4
        for frame in frames:
            image = result(frame.result.index).frame.image
            assert np.array_equal(read_image(frame.path), image)
        visible = {n for n in files(tmp_path) if TEMPORARY.fullmatch(n) is None}
        assert all(re.fullmatch(r"\d{9}\.(png|json)", n) for n in visible)
        assert {n[:-5] for n in visible if n.endswith(".json")} <= {
            n[:-4] for n in visible if n.endswith(".png")
        }
        folder = FrameFolder(tmp_path, options(max_frames=4))
        assert folder.size == sum(files(tmp_path).values())
        assert folder.frames * 2 == len(files(tmp_path)) == len(frames) * 2
        folder.close()
        number = int(pictures(tmp_path)[-1][:9])
        assert number > last
        last = number


@pytest.mark.parametrize("step", range(14))
def test_a_kill_after_each_step_leaves_whole_frames(tmp_path, monkeypatch, step):
    """Every change of the disk in turn is the last: what is seen, then and after the next start, is whole."""

    class Killed(BaseException):
        pass

    left = [step]

    def counted(function):
        def run(*arguments, **keywords):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return function(*arguments, **keywords)

        return run

    record(tmp_path, 2)
    folder = FrameFolder(tmp_path, options(max_frames=2))
    with monkeypatch.context() as patch:
        patch.setattr(disk_module, "write_file", counted(disk_module.write_file))
        patch.setattr(Path, "replace", counted(Path.replace))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        with pytest.raises(Killed):  # noqa: PT012 - in the one or in the other
            folder.add(result(2))
            folder.add(result(3))
    seen = [f.result.index for f in read_recording(tmp_path)]
    assert seen == list(range(seen[0], seen[-1] + 1))
    assert 1 <= len(seen) <= 2
    folder.close()
    again = FrameFolder(tmp_path, options(max_frames=2))
    assert [f.result.index for f in read_recording(tmp_path)] == seen
    assert len(files(tmp_path)) == 2 * len(seen)
    again.close()


# Options.


@pytest.mark.parametrize(
    "wrong",
    [
        *[{"max_frames": 0}, {"max_bytes": 0}, {"min_free_bytes": -1}, {"quality": 101}, {"quality": True}],
        *[{"max_frames": 2.5}, {"format": "bmp"}, {"whenfull": "newest"}],
    ],
)
def test_an_option_out_of_range_is_refused(wrong):
    """With its name and its range."""
    with pytest.raises(OptionError, match=next(iter(wrong))):
        RecordOptions(**wrong)
