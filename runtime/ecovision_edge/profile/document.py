"""The device profile itself, and its versioned JSON."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

from ecovision_edge.backends import MAX_THREADS
from ecovision_edge.base.fields import JsonValue, canonical_json, parse_json
from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.profile.key import ProfileKey, current_key

__all__ = ["AGAIN", "DeviceProfile", "place_of"]

SCHEMA = "ecovision-edge/device-profile"
SCHEMA_VERSION = 1

AGAIN = "run `ecovision-edge tune` again"
"""What to do about a profile that is malformed."""


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """The fastest way to run a bundle on this device, of those that answer as they should.

    Args:
        artifact: Name (`int8-onnx`).
        threads: Threads for one inference.
        spinning: Whether the engine's threads spin while they wait.
        key: What it holds for.
        bundle_path: Where the bundle was, as `place_of` writes it: so a bundle that was changed in its place
            is found to have been tuned before.
        created: When, UTC, ISO 8601.
        measured: What was measured, for the record; nothing reads it.
        fp16: Whether the engine computes in fp16 what the model computes in fp32.
        size: Of the network's input, pixels, in a bundle that has several; None: the bundle's own.
    """

    artifact: str
    threads: int
    spinning: bool
    key: ProfileKey
    bundle_path: str
    created: str
    measured: Mapping[str, JsonValue] = field(default_factory=dict)
    fp16: bool = False
    size: int | None = None

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        *,
        artifact: str,
        threads: int,
        spinning: bool,
        fp16: bool = False,
        size: int | None = None,
        measured: Mapping[str, JsonValue] | None = None,
    ) -> DeviceProfile:
        """Make a profile of this bundle on this device, now."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        key, place = current_key(bundle), place_of(bundle)
        return cls(artifact, threads, spinning, key, place, now, measured or {}, fp16, size)

    def dumps(self) -> bytes:
        """Return JSON."""
        return canonical_json(
            {
                "schema": SCHEMA,
                "schema_version": SCHEMA_VERSION,
                "created": self.created,
                "bundle_path": self.bundle_path,
                "choice": {
                    "artifact": self.artifact,
                    "threads": self.threads,
                    "spinning": self.spinning,
                    "precision": "fp16" if self.fp16 else "native",
                    **({"size": self.size} if self.size is not None else {}),
                },
                "holds_for": self.key.to_json(),
                "measured": dict(self.measured),
            }
        )

    @classmethod
    def loads(cls, data: bytes, where: str) -> DeviceProfile:
        """Read what `dumps` wrote; `where` names it in messages.

        Raises:
            ContractError: malformed, or no profile.
            SchemaVersionError: written by a newer ecovision-edge.
        """
        f = parse_json(data, where, fix=AGAIN)
        f.choice("schema", (SCHEMA,))
        f.schema_version(SCHEMA_VERSION)
        choice = f.sub("choice")
        profile = cls(
            artifact=choice.text("artifact", most=200),
            threads=choice.integer("threads", 1, MAX_THREADS),
            spinning=choice.flag("spinning"),
            key=ProfileKey.from_fields(f.sub("holds_for")),
            bundle_path=f.text("bundle_path", most=10_000),
            created=f.text("created", most=100),
            measured=f.free("measured"),
            # Profiles of before there was a choice have no such entry.
            fp16=choice.has("precision") and choice.choice("precision", ("native", "fp16")) == "fp16",
            size=choice.integer("size", 1, 2**16) if choice.has("size") else None,
        )
        choice.done()
        f.done()
        return profile


def place_of(bundle: Bundle) -> str:
    """Return the bundle's folder, absolute, links followed, in ASCII: a path may hold what JSON cannot.

    Raises:
        OSError, RuntimeError: it cannot be followed.
    """
    return ascii(str(bundle.path.resolve()))[1:-1]
