"""A channel: the bundles that were released to the devices that follow it, oldest first.

It is one signed file of the repository, `channels/NAME.json`. Each file of a bundle is another one, named by
its sha256, so that what two bundles share is stored, and fetched, once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

from ecovision_edge.base.fields import Fields, JsonValue, canonical_json, parse_json
from ecovision_edge.base.names import quoted
from ecovision_edge.base.records import dataclass
from ecovision_edge.bundle.folder import MANIFEST_NAME
from ecovision_edge.bundle.manifest import MAX_FILE_BYTES, check_file_name
from ecovision_edge.errors import ContractError, OptionError

__all__ = [
    "MAX_CHANNEL_BYTES",
    "Channel",
    "Release",
    "ReleaseFile",
    "channel_target",
    "check_channel_name",
    "file_target",
    "parse_rollout",
]

KIND = "ecovision-edge channel"
SCHEMA_VERSION = 1
MAX_CHANNEL_BYTES = 4 * 2**20
_MAX_RELEASES = 1000
_MAX_FILES = 64
_FIX = "publish the channel again"
_NAME = "[a-z0-9][a-z0-9-]{0,31}"
_NAME_WORDS = "lower-case letters, digits and hyphens, at most 32"
_SHA256, _SHA256_WORDS = "[0-9a-f]{64}", "64 hexadecimal digits"
_DATE, _DATE_WORDS = r"\d{4}-\d{2}-\d{2}", "a date, YYYY-MM-DD"


def channel_target(name: str) -> str:
    """Return the path of a channel's file among the targets of the repository."""
    return f"channels/{name}.json"


def file_target(sha256: str) -> str:
    """Return the path of a bundle's file among the targets of the repository."""
    return f"files/{sha256}"


def check_channel_name(name: str, option: str = "--channel") -> None:
    """Refuse what cannot name a channel.

    Raises:
        OptionError: it is not `stable`, `beta`, or the like; `option` is what it calls it.
    """
    if re.fullmatch(_NAME, name) is None:
        raise OptionError(option, expected=f"{_NAME_WORDS}, such as stable or beta", found=quoted(name))


def parse_rollout(text: str, option: str = "--rollout") -> float:
    """Read `10%` as 0.1, from 0 to 1.

    Raises:
        OptionError: it is not a percentage from 0% to 100%; `option` is what it calls it.
    """
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)\s*%", text.strip())
    if match is None or float(match[1]) > 100:
        raise OptionError(option, expected="a part of the fleet, 0% to 100%", found=quoted(text))
    return float(match[1]) / 100


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """One file of a released bundle: its name in the bundle's folder, its sha256 and its size in bytes."""

    file: str
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        check_file_name(self.file)

    @property
    def target(self) -> str:
        """Its path among the targets of the repository."""
        return file_target(self.sha256)

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {"file": self.file, "sha256": self.sha256, "bytes": self.bytes, "target": self.target}

    @classmethod
    def from_fields(cls, f: Fields) -> ReleaseFile:
        """Read and validate."""
        made = cls(
            file=f.text("file", most=200),
            sha256=f.text("sha256", pattern=_SHA256, what=_SHA256_WORDS),
            bytes=f.integer("bytes", 1, MAX_FILE_BYTES),
        )
        f.choice("target", (made.target,))
        f.done()
        return made


@dataclass(frozen=True, slots=True)
class Release:
    """One bundle that was released to a channel.

    Args:
        bundle: Its id, the sha256 of its `bundle.json`.
        name: The bundle's name, for people.
        version: The bundle's version, for people.
        rollout: Part of the fleet that is to run it, from 0 to 1.
        withdrawn: Nobody is to run it any more.
        added: Day of the release, `YYYY-MM-DD` in UTC.
        files: All files of the bundle, each name once, `bundle.json` among them.
    """

    bundle: str
    name: str
    version: str
    rollout: float
    withdrawn: bool
    added: str
    files: tuple[ReleaseFile, ...]

    def __post_init__(self) -> None:
        names = [file.file for file in self.files]
        manifests = [file.sha256 for file in self.files if file.file == MANIFEST_NAME]
        if len(set(names)) != len(names) or manifests != [self.bundle]:
            raise ContractError(
                "the files of a release",
                expected=f"each name once, and a {MANIFEST_NAME} whose sha256 is the bundle's id",
                found=quoted(", ".join(names)),
                fix=_FIX,
            )

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(file.bytes for file in self.files)

    def includes(self, device: str) -> bool:
        """Return whether the rollout includes this device.

        Devices are ordered by the sha256 of the bundle's id and their own: for each bundle another part of
        the fleet comes first, which stays in when the rollout grows.
        """
        digest = hashlib.sha256(f"{self.bundle}{device}".encode()).digest()
        place = (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # 53 bits: exact, and never 1.0
        return place < self.rollout

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "bundle": self.bundle,
            "name": self.name,
            "version": self.version,
            "rollout": self.rollout,
            "withdrawn": self.withdrawn,
            "added": self.added,
            "files": [file.to_json() for file in self.files],
        }

    @classmethod
    def from_fields(cls, f: Fields) -> Release:
        """Read and validate."""
        release = cls(
            bundle=f.text("bundle", pattern=_SHA256, what=_SHA256_WORDS),
            name=f.text("name", most=200),
            version=f.text("version", most=200),
            rollout=f.number("rollout", 0, 1),
            withdrawn=f.flag("withdrawn"),
            added=f.text("added", pattern=_DATE, what=_DATE_WORDS),
            files=tuple(
                ReleaseFile.from_fields(Fields.of(value, f"{f.at('files')}[{i}]"))
                for i, value in enumerate(f.items("files", most=_MAX_FILES))
            ),
        )
        f.done()
        return release


@dataclass(frozen=True, slots=True)
class Channel:
    """What was released under one name, `stable` or `beta` for instance, oldest first."""

    name: str
    releases: tuple[Release, ...] = ()

    def __post_init__(self) -> None:
        bundles = [release.bundle for release in self.releases]
        if len(set(bundles)) != len(bundles) or len(bundles) > _MAX_RELEASES:
            raise ContractError(
                f"channel {self.name}",
                expected=f"at most {_MAX_RELEASES} releases, each bundle once",
                found=f"{len(bundles)} releases of {len(set(bundles))} bundles",
                fix=_FIX,
            )

    def choose(self, device: str, refused: Collection[str] = ()) -> Release | None:
        """Return the release that a device is to run; None if there is none for it.

        It is the newest that is not withdrawn, not refused, and whose rollout includes the device. So a
        device that runs a release which was withdrawn is sent back to the one before.

        Args:
            device: The device's id.
            refused: Ids of bundles that this device does not take.
        """
        for release in reversed(self.releases):
            if not release.withdrawn and release.bundle not in refused and release.includes(device):
                return release
        return None

    def find(self, bundle: str) -> Release | None:
        """Return the release of a bundle by its whole id; None if there is none."""
        return next((release for release in self.releases if release.bundle == bundle), None)

    def dumps(self) -> bytes:
        """Return the text of its file, the same for the same channel."""
        return canonical_json(
            {
                "schema_version": SCHEMA_VERSION,
                "kind": KIND,
                "channel": self.name,
                "releases": [release.to_json() for release in self.releases],
            }
        )

    @classmethod
    def loads(cls, data: bytes) -> Channel:
        """Read and validate the file of a channel.

        Raises:
            ContractError: malformed.
            SchemaVersionError: written by a newer ecovision-edge.
            UnsafePathError: it names a file outside the bundle's folder.
        """
        f = parse_json(data, "channel", fix=_FIX)
        f.schema_version(SCHEMA_VERSION)
        f.choice("kind", (KIND,))
        channel = cls(
            name=f.text("channel", pattern=_NAME, what=_NAME_WORDS),
            releases=tuple(
                Release.from_fields(Fields.of(value, f"channel.releases[{i}]"))
                for i, value in enumerate(f.items("releases", most=_MAX_RELEASES))
            ),
        )
        f.done()
        return channel
