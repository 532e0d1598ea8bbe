"""Which source fits this machine, for the messages of one that does not."""

from __future__ import annotations

from pathlib import Path

from ecovision_edge.base.kernel_files import read_text

__all__ = ["own_camera", "video_devices"]

_ROOT = Path("/")
_BOARDS = (("Raspberry Pi", "a Raspberry Pi's own camera is"), ("NVIDIA", "a Jetson's own camera is"))
_ADDRESSES = {"Raspberry Pi": "rpicam://", "NVIDIA": "csi://0"}


def own_camera(root: Path = _ROOT) -> str | None:
    """Return what to give where the board has a camera port of its own, as `a Raspberry Pi's own camera is rpicam://`.

    Args:
        root: Root of the file system; for tests.

    Returns:
        None for other machines.
    """
    board = read_text(root / "proc/device-tree/model") or ""
    return next((f"{words} {_ADDRESSES[name]}" for name, words in _BOARDS if name in board), None)


def video_devices(root: Path = _ROOT) -> list[str]:
    """Return every /dev/video* that a picture may come from, with its name: `/dev/video2 (HD Webcam)`.

    A camera has further devices, for its metadata, which are left out; and a board's codecs are among them.
    """
    found = []
    for device in sorted((root / "dev").glob("video*"), key=lambda path: (len(path.name), path.name)):
        facts = root / "sys/class/video4linux" / device.name
        if read_text(facts / "index") in (None, "0"):
            name = read_text(facts / "name")
            found.append(f"/dev/{device.name} ({name})" if name else f"/dev/{device.name}")
    return found
