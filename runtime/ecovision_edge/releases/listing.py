"""Which files a list of targets has: the channels, and what their releases are made of; nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tuf.api.metadata import TargetFile

from ecovision_edge.base.names import quoted
from ecovision_edge.errors import ReleaseError
from ecovision_edge.releases.channel import Channel, channel_target

__all__ = ["listed_files", "refuse_other_targets"]


def listed_files(channels: Iterable[Channel]) -> dict[str, TargetFile]:
    """Return the files of all releases that are not withdrawn, as targets by their paths."""
    return {
        file.target: TargetFile(file.bytes, {"sha256": file.sha256}, file.target)
        for channel in channels
        for release in channel.releases
        if not release.withdrawn
        for file in release.files
    }


def refuse_other_targets(targets: Mapping[str, TargetFile], channels: Mapping[str, Channel]) -> None:
    """Refuse a list of targets with anything but channels and the files of their bundles.

    Raises:
        ReleaseError: it has another one, or lacks one.
    """
    files = listed_files(channels.values())
    own = {channel_target(name) for name in channels}
    others = [path for path in {*targets, *files} - own if targets.get(path) != files.get(path)]
    if others:
        raise ReleaseError(
            "the list of targets that waits for signatures",
            expected="its channels, and the files of their bundles",
            found=quoted(sorted(others)[0]),
            fix="find out who wrote it; give it up with `ecovision-edge release sign --discard`",
        )
