"""The folder for what Gradio writes to disk: gone with the page, however it ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ecovision_edge.base.files import try_lock

__all__ = ["PREFIX", "remove", "remove_stale", "uploads"]

PREFIX = "ecovision-edge-demo-"

_NEW_S = 60.0
"""A folder so young may not be locked yet by whoever makes it."""


@contextlib.contextmanager
def uploads() -> Iterator[Path]:
    """Make a folder of our own, locked while it is used; afterwards remove it with all that is in it.

    Those that were left by a page that was killed are removed first.
    """
    remove_stale()
    before = os.environ.get("GRADIO_TEMP_DIR")
    folder = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)  # Gradio has no other way to be told
    try:
        with _locked(folder):
            yield folder
    finally:
        remove(folder)
        if before is None:
            os.environ.pop("GRADIO_TEMP_DIR", None)
        else:
            os.environ["GRADIO_TEMP_DIR"] = before


def remove(folder: Path) -> None:
    """Delete the folder, as far as that goes; never raises."""
    shutil.rmtree(folder, ignore_errors=True)


def remove_stale() -> None:
    """Delete the folders of this user that no process has locked any more: their pages were killed."""
    if not hasattr(os, "getuid"):  # no such locks: whoever is killed there leaves its folder
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if status.st_uid != os.getuid() or time.time() - status.st_mtime < _NEW_S:
                continue
            with _locked(folder):
                remove(folder)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process at the latest.

    Raises:
        OSError: another process has it, or it is no folder.
    """
    if not hasattr(os, "getuid"):
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if not try_lock(descriptor):
            raise BlockingIOError(f"{folder} is another process's")
        yield
    finally:
        os.close(descriptor)
