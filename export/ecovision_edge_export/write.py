"""Write a bundle so that, killed at any moment, the old one or the new one is there, never half of one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ecovision_edge.bundle import MANIFEST_NAME
from ecovision_edge.errors import BundleWriteError, EcovisionError

__all__ = ["check_target", "write_folder"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h


def check_target(target: Path) -> None:
    """Refuse a target that must not be replaced; before any work is done.

    Raises:
        BundleWriteError: it is a file, or a folder with something in it that is no bundle.
    """
    if target.is_dir():
        names = {p.name for p in target.iterdir()}
        if not names or MANIFEST_NAME in names:
            return
        found = f"a folder with {', '.join(sorted(names)[:3])}"
    elif os.path.lexists(target):
        found = "something that is no folder"
    else:
        return
    raise BundleWriteError(
        f"will not replace {target}",
        expected="a new or empty folder, or a bundle",
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
    target = target.absolute()
    folder: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
        folder.chmod(0o755)  # mkdtemp makes it private
        for name, data in files.items():
            _write_synced(folder / name, data)
        verify(folder)
        _sync_folder(folder)
        _put_in_place(folder, target)
        _sync_folder(target.parent)
    except OSError as e:
        if isinstance(e, EcovisionError):  # from `verify`
            raise
        raise BundleWriteError(
            f"cannot write {target}",
            expected="a place to write to",
            found=e.strerror or str(e),
            fix="nothing was changed",
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
    # No such call here (not Linux, or an old file system): two steps, the old one kept until the second.
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


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
