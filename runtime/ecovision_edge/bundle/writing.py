"""Write a bundle so that, killed at any moment, the old one or the new one is there, never half of one."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ecovision_edge.base.files import is_there, sync_folder, write_file
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.bundle.folder import MANIFEST_NAME
from ecovision_edge.errors import BundleWriteError, EcovisionError

__all__ = ["TargetError", "check_target", "write_folder"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h


class TargetError(BundleWriteError):
    """The target folder cannot hold a bundle."""

    exit_status = 2


def check_target(target: Path) -> None:
    """Refuse a target that must not be replaced, or cannot be written; before any work is done.

    Raises:
        TargetError: it is a file, a folder with something in it that is no bundle, the current folder, or in
            a place that cannot be written to.
    """
    try:
        real = target.resolve()
        if Path.cwd().is_relative_to(real):
            found = "the current folder, or one that it is in"
        elif real.is_dir():
            names = {p.name for p in real.iterdir()}
            if not names or MANIFEST_NAME in names:
                return
            found = f"a folder with {', '.join(sorted(names)[:3])}"
        elif is_there(real, link=True):
            found = "something that is no folder"
        else:
            parent = next(p for p in real.parents if p.exists())
            if os.access(parent, os.W_OK | os.X_OK):
                return
            found = f"{parent}, which cannot be written to"
    except (OSError, RuntimeError, ValueError) as e:  # RuntimeError: a loop of links, before Python 3.13
        raise TargetError(f"--out {target}", expected="a folder's path", found=str(e)) from e
    raise TargetError(
        f"will not write to {target}",
        expected="a new or empty folder, or a bundle to replace",
        found=found,
        fix="choose another --out",
    )


def write_folder(target: Path, files: Mapping[str, bytes], verify: Callable[[Path], None]) -> None:
    """Write `files` beside `target`, call `verify` on that folder, then put it in `target`'s place.

    Whatever `verify` raises goes through, and nothing is changed.

    Raises:
        BundleWriteError: the disk says no; what was there before is untouched.
    """
    check_target(target)
    target = target.resolve()  # a link to a bundle stays, and leads to the new one
    folder: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
        folder.chmod(0o755)  # mkdtemp makes it private
        inner = sorted({parent for name in files for parent in Path(name).parents if parent.name})
        for below in inner:
            (folder / below).mkdir()
        for name, data in files.items():
            write_file(folder / name, data, fsync=True)
        verify(folder)
        for below in (*reversed(inner), Path()):
            sync_folder(folder / below, if_possible=True)
        _put_in_place(folder, target)
        sync_folder(target.parent, if_possible=True)
    except OSError as e:
        if isinstance(e, EcovisionError):  # from `verify`
            raise
        raise BundleWriteError(
            f"cannot write {target}",
            expected="a place to write to",
            found=f"{reason_of(e)}; nothing was changed",
            fix="choose another --out, or make room",
        ) from e
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(folder: Path, target: Path) -> None:
    """Rename `folder` to `target`; where there is one already, exchange both in one step."""
    if not target.is_dir():
        folder.rename(target)
        return
    if _exchange(folder, target):
        return  # the old bundle is now in `folder`, and removed with it
    # No such call here (not Linux, or an old file system): two steps. A kill between them leaves the old
    # bundle beside its place, under a hidden name that ends in .old.
    old = folder.with_suffix(".old")
    target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders atomically (renameat2, Linux 3.15); False where that cannot be done."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    result = renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    return int(result) == 0
