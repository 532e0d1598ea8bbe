"""Facts about files that are replaced whole, about locks, and about what an open file is still called."""

import os
import stat
import subprocess
import sys
import threading

import pytest

from ecovision_edge.base.files import is_file, is_folder, is_open_file, is_there, replace_file, try_lock
from ecovision_edge.cli.output import write_json
from ecovision_edge.errors import OptionError


@pytest.mark.parametrize("name", ["n" * 300, "zero\0byte", "file/below", "loop"])
def test_of_no_name_it_is_an_error_that_nothing_is_there(tmp_path, name):
    """Where the methods of `Path` raise, in one Python or another: too long, a zero byte, a loop of links."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    path = tmp_path / name
    assert [is_there(path), is_folder(path), is_file(path)] == [False] * 3
    assert is_there(path, link=True) == (name == "loop")


def test_a_link_counts_as_what_it_leads_to(tmp_path):
    """A file, a folder; a broken one is there as a link alone."""
    (tmp_path / "file").touch()
    for name, target in (("a", "file"), ("b", "."), ("c", "nothing")):
        (tmp_path / name).symlink_to(target)
    assert [is_file(tmp_path / n) for n in "abc"] == [True, False, False]
    assert [is_folder(tmp_path / n) for n in "abc"] == [False, True, False]
    assert [is_there(tmp_path / n) for n in "abc"] == [True, True, False]
    assert is_there(tmp_path / "c", link=True)


def test_a_file_is_replaced_whole(tmp_path):
    """With the permissions that it had; and nothing is left beside it, under the longest of names."""
    path = tmp_path / f"{'n' * 250}.json"
    replace_file(path, [b"old"])
    path.chmod(0o640)
    replace_file(path, [b"ne", b"w"], fsync=True)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    replace_file(path, [b"newer"], mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path):
    """And nothing beside it."""
    path = tmp_path / "summary.json"
    path.write_bytes(b"old")

    def chunks():
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        replace_file(path, chunks())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("there", [True, False], ids=["there", "dangling"])
def test_a_link_stays(tmp_path, there):
    """The file it leads to, by way of others, is replaced, in its own folder."""
    (tmp_path / "far").mkdir()
    target = tmp_path / "far" / "summary.json"
    if there:
        target.write_bytes(b"old")
    (tmp_path / "far" / "second").symlink_to("summary.json")
    (tmp_path / "first").symlink_to("far/second")
    write_json({}, tmp_path / "first")
    assert (tmp_path / "first").is_symlink()
    assert target.read_bytes() == b"{}\n"
    assert sorted(p.name for p in (tmp_path / "far").iterdir()) == ["second", "summary.json"]


def test_a_loop_of_links_is_told(tmp_path):
    """And stays."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OptionError, match=r"--json .*expected a file to write to, found Too many levels"):
        write_json({}, tmp_path / "a")
    assert (tmp_path / "a").is_symlink()


def test_a_pipe_is_written_to(tmp_path):
    """As a shell would; it stays a pipe."""
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    write_json({}, path)
    reader.join(20)
    assert got == [b"{}\n"]
    assert path.is_fifo()


def test_a_device_is_written_to(tmp_path):
    """It stays one: as root it could be replaced, and everything that uses it would break."""
    path = tmp_path / "null"
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        path.write_bytes(b"")
    except OSError as e:
        pytest.skip(f"no device can be made and used here ({e.strerror}); as root, on a disk without nodev")
    write_json({}, path)
    assert path.is_char_device()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's /proc")  # noqa: PTH112
def test_a_descriptor_is_written_to(tmp_path):
    """`/dev/stdout` that a shell sent into a file: what else goes there stays."""
    out = tmp_path / "out"
    code = (
        "import sys; from pathlib import Path; from ecovision_edge.base.files import replace_file;"
        "print('one', flush=True); replace_file(Path('/proc/self/fd/1'), [b'two\\n']); print('three')"
    )
    with out.open("ab") as stream:
        subprocess.run([sys.executable, "-c", code], stdout=stream, check=True)
    assert out.read_bytes() == b"one\ntwo\nthree\n"


def test_a_lock_is_one_holder_s(tmp_path):
    """Until its descriptor is closed, in one process too."""
    path = tmp_path / "file"
    first, second = (os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(2))
    assert try_lock(first)
    assert not try_lock(second)
    os.close(first)
    assert try_lock(second)
    os.close(second)


def test_an_open_file_may_have_lost_its_name(tmp_path):
    """Renamed, replaced or removed, or its folder was."""
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        assert is_open_file(path, descriptor)
        path.rename(tmp_path / "other")
        assert not is_open_file(path, descriptor)
        path.write_bytes(b"")
        assert not is_open_file(path, descriptor)
        path.unlink()
        path.parent.rmdir()
        assert not is_open_file(path, descriptor)
    finally:
        os.close(descriptor)
