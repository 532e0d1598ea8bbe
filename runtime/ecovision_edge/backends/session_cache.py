"""The graph as onnxruntime has rewritten it, kept from one start to the next: rewriting is most of a load.

It is what onnxruntime itself writes, and holds for the same model, build of onnxruntime, processor and
options, and for no other: all of these are in the key. Whatever is wrong with it, the model is loaded as if
there were none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from collections.abc import Callable
from pathlib import Path

import cv2

from ecovision_edge.base.files import is_ours, read_regular_file, replace_file
from ecovision_edge.bundle.manifest import MAX_FILE_BYTES

__all__ = ["SessionCache"]

_MAGIC = "ecovision-edge session 1"
_MAX_TEXT = 300  # bytes
_KEPT = 8  # graphs: a device has few bundles, and few settings for each
_LEFT_S = 3600.0  # age of what nobody writes any more
_CPUINFO = Path("/proc/cpuinfo")
_TELLING = (b"vendor_id", b"cpu family", b"model", b"stepping", b"flags", b"Features", b"CPU ")  # line starts


class SessionCache:
    """Rewritten graphs of one model, one for each build, processor and set of options.

    Beside a graph, `KEY.onnx`, a line of text says its size and sha256, `KEY.txt`, and is written after it.
    Both are read only where nobody but this user or root can have written them.

    Args:
        folder: Made when something is kept.
        model_sha256: Of the model's bytes.
    """

    def __init__(self, folder: Path, model_sha256: str) -> None:
        self._folder, self._model = folder, model_sha256

    def load(self, settings: str) -> bytes | None:
        """Return the graph that was kept for these settings, whole and unchanged; None if there is none."""
        key = self._key(settings)
        if key is None:
            return None
        graph, text = self._files(key)
        try:
            if not is_ours(self._folder.stat()):
                return None
            said = read_regular_file(text, _MAX_TEXT, ours=True)
            size = int(said.split()[-2])
            data = read_regular_file(graph, size, ours=True) if 0 < size <= MAX_FILE_BYTES else b""
        except (OSError, ValueError, IndexError):
            return None
        return data if said == _text(key, data) else None

    def keep(self, settings: str, write: Callable[[Path], bytes | None]) -> None:
        """Keep the graph that `write` gives; nothing where that is not possible.

        Args:
            settings: As of `load`: what else the graph depends on, in one text.
            write: Is given a private folder for as long as it runs; None keeps nothing.
        """
        key = self._key(settings)
        if key is None:
            return
        try:
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            if not is_ours(self._folder.stat()):
                return
            import tempfile  # here, since only who writes needs it

            self._sweep()
            with tempfile.TemporaryDirectory(prefix=".part-", dir=self._folder) as part:
                data = write(Path(part))
            if data is not None:
                self._write(key, data)
                self._prune()
        except (OSError, ValueError):  # read-only, full
            return

    def drop(self, settings: str) -> None:
        """Forget what was kept for these settings: it cannot be used."""
        key = self._key(settings)
        if key is not None:
            with contextlib.suppress(OSError):
                self._remove(key)

    def _write(self, key: str, data: bytes) -> None:
        for file, content in zip(self._files(key), (data, _text(key, data)), strict=True):
            # No secret, and a service may run as another user: everyone may read it.
            replace_file(file, [content], fsync=True, mode=0o644)

    def _remove(self, key: str) -> None:
        for file in reversed(self._files(key)):
            file.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what a process left that was killed as it wrote."""
        import shutil
        import time

        for pattern in (".part-*", ".ecovision-*.tmp"):
            for left in self._folder.glob(pattern):
                with contextlib.suppress(OSError):  # another process was faster
                    if time.time() - left.stat().st_mtime > _LEFT_S:
                        shutil.rmtree(left) if left.is_dir() else left.unlink()

    def _prune(self) -> None:
        """Remove the oldest graphs: each change of a version or of a bundle leaves one."""
        graphs = [(file.stat().st_mtime, file.stem) for file in self._folder.glob("*.onnx")]
        for _, key in sorted(graphs, reverse=True)[_KEPT:]:
            self._remove(key)

    def _files(self, key: str) -> tuple[Path, Path]:
        return self._folder / f"{key}.onnx", self._folder / f"{key}.txt"

    def _key(self, settings: str) -> str | None:
        """Identify what the graph depends on; None where that cannot be told."""
        processor = _processor()
        if processor is None:
            return None
        parts = (self._model, settings, platform.machine(), cv2.getCPUFeaturesLine(), processor)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _text(key: str, data: bytes) -> bytes:
    return f"{_MAGIC} {key} {len(data)} {hashlib.sha256(data).hexdigest()}\n".encode()


def _processor() -> str | None:
    """Identify the processor, as the kernel tells of it; None where it does not.

    OpenCV says beside it what this very process may use: an emulator shows the kernel's file of its host.
    """
    try:
        told = {line for line in read_regular_file(_CPUINFO, 2**20).split(b"\n") if line.startswith(_TELLING)}
    except OSError:
        return None
    return hashlib.sha256(b"\n".join(sorted(told))).hexdigest() if told and hasattr(os, "geteuid") else None
