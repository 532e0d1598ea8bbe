"""How a recording is kept, and what became of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias, get_args

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.errors import OptionError

__all__ = ["PictureFormat", "RecordOptions", "RecordStats", "WhenFull"]

PictureFormat: TypeAlias = Literal["png", "jpeg"]
WhenFull: TypeAlias = Literal["oldest", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordOptions:
    """Format and bounds of a folder of frames.

    Args:
        max_frames: Maximum of frames in the folder.
        max_bytes: Maximum of bytes in its pictures and sidecars, those being written included.
        min_free_bytes: A frame that would leave less than this free on the disk is not kept.
        format: `png` is lossless, and a replay gives the same results; `jpeg` is smaller, and does not. Of a
            camera that gives JPEG both keep that as it came (`.jpg`): lossless, with the same results. Where
            it is turned, mirrored or cut it is encoded, and as PNG then gives nearly the same results.
        quality: Quality of a JPEG that is encoded here, 1 to 100.
        whenfull: What gives way at a bound: the `oldest` frame, so that the newest are kept; or the new one
            (`stop`), so that the first are kept. Once stopped it stays so.
        fsync: Wait until each frame is on the disk itself. Without it a power cut may leave the last seconds
            empty; a killed process loses nothing that was written.
    """

    max_frames: int = 10_000
    max_bytes: int = 2 * 2**30
    min_free_bytes: int = 512 * 2**20
    format: PictureFormat = "png"
    quality: int = 95
    whenfull: WhenFull = "oldest"
    fsync: bool = False

    def __post_init__(self) -> None:
        """Refuse what is out of range.

        Raises:
            OptionError: the name of the option, its range, and what was given.
        """
        ranges = {"max_frames": (1, 10**9), "max_bytes": (1, 2**60), "min_free_bytes": (0, 2**60)}
        for name, (low, high) in {**ranges, "quality": (1, 100)}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise OptionError(name, expected=f"a whole number from {low} to {high}", found=repr(value))
        for name, choices in (("format", get_args(PictureFormat)), ("whenfull", get_args(WhenFull))):
            if getattr(self, name) not in choices:
                raise OptionError(name, expected=" or ".join(choices), found=repr(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class RecordStats:
    """What became of the frames that a recorder was given, and what is in its folder.

    Args:
        kept: Frames written.
        dropped: Frames that the disk was too slow for, or that came after `close`.
        refused: Frames not written since the folder was full, or the disk nearly.
        failed: Frames lost to errors of the disk.
        removed: Older frames that gave way.
        frames: Frames in the folder now.
        bytes: Bytes of their pictures and sidecars.
    """

    kept: int = 0
    dropped: int = 0
    refused: int = 0
    failed: int = 0
    removed: int = 0
    frames: int = 0
    bytes: int = 0

    def to_json(self) -> dict[str, JsonValue]:
        """Return a JSON object."""
        return {**asdict(self)}
