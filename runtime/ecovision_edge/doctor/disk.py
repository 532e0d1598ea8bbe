"""The disk: room, how it is mounted, and how worn it is."""

from __future__ import annotations

import errno
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ecovision_edge.base.homes import profile_folder, state_folder
from ecovision_edge.base.kernel_files import read_number, read_text
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.doctor.check import Check, fail, ok, warn
from ecovision_edge.doctor.system import System
from ecovision_edge.errors import ProfileWriteError
from ecovision_edge.recording.options import RecordOptions
from ecovision_edge.service import STATE_FOLDER

__all__ = ["Mount", "check_disks", "check_wear", "read_mounts"]

LITTLE = RecordOptions().min_free_bytes
"""Bytes that a recording leaves free: with less, nothing is recorded."""

FULL = 32 * 2**20
"""Bytes: a spool of MQTT may take 10 MB, a new bundle 13 MB, and journals want some."""

FEW_FILES = 100

_GONE_AT_RESTART = ("overlay", "tmpfs", "ramfs")
_ON_DISK = ("ext2", "ext3", "ext4", "f2fs", "btrfs", "xfs", "vfat", "exfat")
_GIVEN_UP = ("emergency_ro", "shutdown")  # ext4 after an error, of Linux 6.15 and newer, beside rw
_OF_DISKS = (errno.EROFS, errno.EIO, errno.ENOSPC, errno.EDQUOT)
_BROKEN = "save what you need, then replace the card; what happened: dmesg | grep -i -e ext4 -e mmc"


class Mount(NamedTuple):
    """A file system where it is mounted, as /proc/self/mounts has it (proc_pid_mounts(5))."""

    source: str
    point: str
    kind: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        shown = [name for name in self.options if name in ("ro", "rw", "noatime", "sync", *_GIVEN_UP)]
        return f"{self.kind} on {self.source}, {', '.join(shown)}"


def read_mounts(text: str) -> list[Mount]:
    """Read such a file; a later mount hides an earlier one of the same place."""
    mounts = {}
    for line in text.splitlines():
        fields = [re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), field) for field in line.split()]
        if len(fields) >= 4:
            mounts[fields[1]] = Mount(fields[0], fields[1], fields[2], tuple(fields[3].split(",")))
    return list(mounts.values())


def _point_of(path: Path, mounts: Iterable[Mount]) -> str:
    """Return where the file system of a path is mounted."""
    holding = [m.point for m in mounts if path == Path(m.point) or Path(m.point) in path.parents]
    return max(holding, key=len, default="/")


def check_disks(system: System) -> Iterator[Check]:
    """Look at the file systems of the system, and of what the bin keeps."""
    mounts = read_mounts(read_text(system.at("proc/self/mounts")) or "")
    fstab = {m.point: m for m in read_mounts(read_text(system.at("etc/fstab")) or "")}
    kept: dict[str, list[Path]] = {_point_of(Path("/"), mounts): []}
    for path in _kept(system):
        kept.setdefault(_point_of(path, mounts), []).append(path)
    for point, paths in kept.items():
        mount = next((m for m in mounts if m.point == point), None)
        yield _check_disk(system, point, mount, fstab.get(point), paths)
    yield from _check_errors(system)


def _kept(system: System) -> Iterator[Path]:
    """Yield the folders that the bin writes to, also as a service."""
    if system.at(STATE_FOLDER).exists():
        yield Path(STATE_FOLDER)
    yield state_folder(system.environment).absolute()
    try:
        yield profile_folder().absolute()
    except ProfileWriteError:  # this user has no home; then nothing is kept there
        return


def _check_disk(
    system: System, point: str, mount: Mount | None, asked: Mount | None, kept: list[Path]
) -> Check:
    name = f"disk {point}"
    try:
        space = system.space(system.at(point))
    except OSError as e:
        return fail(
            name, f"cannot be read: {reason_of(e)}", "look at it: dmesg | tail; the card may be dying"
        )
    found = f"{space.free / 1e9:.1f} of {space.size / 1e9:.1f} GB free" + (f", {mount}" if mount else "")
    make_room = f"make room; run: sudo du -xh {shlex.quote(point)} | sort -rh | head"
    if mount is not None and "ro" in mount.options:
        return _read_only(name, mount, asked, found, kept)
    if space.free < FULL:
        return fail(name, f"{found}: full", make_room)
    if space.files is not None and space.files < FEW_FILES:
        return fail(name, f"{found}, but no room for more files", f"remove small files below {point}")
    if mount is not None and not set(mount.options).isdisjoint(_GIVEN_UP):
        return fail(name, f"{found}: it takes nothing any more after an error", _BROKEN)
    error = next(filter(None, (_write_error(system, path) for path in kept)), None)
    if error is not None:
        return fail(name, f"{found}, but writing there fails: {reason_of(error)}", _BROKEN)
    if kept and mount is not None and mount.kind in _GONE_AT_RESTART:
        what = "the learnt tray, waiting events and profiles are gone at the next start"
        return warn(name, f"{found}: {what}", "mount a disk there, or switch the overlay off (raspi-config)")
    if space.free < LITTLE:
        less = f"less than the {LITTLE / 1e6:.0f} MB that a recording leaves"
        return warn(name, f"{found}: {less}", make_room)
    return ok(name, found)


def _write_error(system: System, path: Path) -> OSError | None:
    """Return why the disk takes nothing in a folder, or in the one that it is to be made in.

    Since Linux 6.12 ext4 stays `rw` after an error and refuses to write all the same; so only trying tells.
    What this user may not do is no error of the disk.
    """
    folder = next((p for p in (path, *path.parents) if system.at(p).is_dir()), Path("/"))
    error = system.write_error(system.at(folder))
    return error if error is not None and error.errno in _OF_DISKS else None


def _read_only(name: str, mount: Mount, asked: Mount | None, found: str, kept: list[Path]) -> Check:
    """Tell a file system that is to be read-only from one that the kernel made so after an error."""
    if asked is not None and "ro" not in asked.options and mount.kind in _ON_DISK:
        why = "/etc/fstab asks for a writable one: the kernel does so after an error of the disk"
        return fail(name, f"{found}; {why}", _BROKEN)
    if kept:
        what = "nothing can be kept there: no events that wait, no learnt tray, no update"
        return warn(name, f"{found}: {what}", "mount it writable, or put the state on another disk")
    return ok(name, found)


def _check_errors(system: System) -> Iterator[Check]:
    """Look at what ext4 has counted (the kernel's ABI/testing/sysfs-fs-ext4, `errors_count`)."""
    for file in sorted(system.at("sys/fs/ext4").glob("*/errors_count")):
        count = read_number(file)
        if count:
            yield warn(
                f"errors {file.parent.name}",
                f"its file system has counted errors since it was last checked: {count:.0f}",
                "have it checked at the next start (fsck.mode=force on the kernel's command line), and get"
                " another card ready",
            )


def check_wear(system: System) -> Iterator[Check]:
    """Look at what eMMC and cards tell of their wear.

    `life_time` is in steps of 10 %, of two kinds of cells; 0x0b is beyond all (JEDEC eMMC 5.1, registers 267
    to 269; the kernel's driver-api/mmc/mmc-dev-attrs.rst). SD cards tell none.
    """
    for device in sorted(system.at("sys/class/mmc_host").glob("mmc*/mmc*:*")):
        name = f"wear {device.name}"
        called = f"{read_text(device / 'type') or 'card'} {read_text(device / 'name') or ''}".strip()
        steps = [int(n, 16) for n in re.findall(r"0x[0-9a-fA-F]{1,2}", read_text(device / "life_time") or "")]
        left = re.fullmatch(r"0x0?([0-3])", read_text(device / "pre_eol_info") or "")
        reserve = int(left[1]) if left else 0
        worst = max(steps, default=0)
        if worst == 0 and reserve == 0:
            yield ok(name, f"{called}: it tells no wear" + ("; SD cards never do" * called.startswith("SD")))
            continue
        used = f"{called}: " + (
            "all of its life used" if worst > 10 else f"up to {worst * 10} % of its life used"
        )
        advice = "replace it, and write less: fewer recordings, a larger disk"
        if worst > 10 or reserve == 3:
            yield fail(name, f"{used}, reserve {_RESERVES[reserve]}", advice)
        elif worst > 7 or reserve == 2:
            yield warn(name, f"{used}, reserve {_RESERVES[reserve]}", advice)
        else:
            yield ok(name, used)


_RESERVES = ("not told", "normal", "below 20 %", "below 10 %")
