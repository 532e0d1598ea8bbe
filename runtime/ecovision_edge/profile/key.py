"""What a device profile holds for: the machine, the versions, the bundle."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from ecovision_edge.base.device import KERNEL_FEATURES, Machine, read_machine
from ecovision_edge.base.fields import Fields, JsonValue
from ecovision_edge.base.version import __version__
from ecovision_edge.bundle.engines import ENGINES, installed_versions
from ecovision_edge.bundle.folder import MANIFEST_NAME, Bundle

__all__ = ["ProfileKey", "current_key"]


@dataclass(frozen=True, slots=True)
class ProfileKey:
    """What a profile holds for.

    Args:
        arch: The kernel's name for it.
        cpu: Model of the processor.
        cpu_features: Features by which engines choose kernels, sorted.
        board: Name in the device tree; None on a PC.
        cores: Logical cores that are online.
        usable_cores: Cores that the process may use.
        versions: Versions of this package, the engines, OpenCV and numpy; None if not installed.
        bundle_sha256: sha256 of the bytes of `bundle.json`, which has the sha256 of every other file.
    """

    arch: str
    cpu: str
    cpu_features: tuple[str, ...]
    board: str | None
    cores: int
    usable_cores: int
    versions: Mapping[str, str | None]
    bundle_sha256: str

    def changes(self, now: ProfileKey) -> tuple[str, ...]:
        """List what has changed `now`, as `NAME was ..., is ...`; empty where the profile holds."""
        pairs: list[tuple[str, object, object]] = [
            ("architecture", self.arch, now.arch),
            ("CPU", self.cpu, now.cpu),
            ("CPU features", " ".join(self.cpu_features), " ".join(now.cpu_features)),
            ("board", self.board, now.board),
            ("cores", self.cores, now.cores),
            ("usable cores", self.usable_cores, now.usable_cores),
            *(
                (name, self.versions.get(name), now.versions.get(name))
                for name in {**self.versions, **now.versions}
            ),
            (MANIFEST_NAME, self.bundle_sha256[:12], now.bundle_sha256[:12]),
        ]
        changed = [f"{name} was {_say(was)}, is {_say(found)}" for name, was, found in pairs if was != found]
        if not changed and self.bundle_sha256 != now.bundle_sha256:
            changed.append(f"{MANIFEST_NAME} is another one")
        return tuple(changed)

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "arch": self.arch,
            "cpu": self.cpu,
            "cpu_features": [*self.cpu_features],
            "board": self.board,
            "cores": self.cores,
            "usable_cores": self.usable_cores,
            "versions": dict(self.versions),
            "bundle_sha256": self.bundle_sha256,
        }

    @classmethod
    def from_fields(cls, f: Fields) -> ProfileKey:
        """Read and validate."""
        features = f.items("cpu_features", most=len(KERNEL_FEATURES))
        versions = f.free("versions")
        if not all(isinstance(v, str) for v in features):
            raise f.wrong("cpu_features", "a list of texts")
        if not all(v is None or isinstance(v, str) for v in versions.values()):
            raise f.wrong("versions", "a text or null for each name")
        key = cls(
            arch=f.text("arch"),
            cpu=f.text("cpu"),
            cpu_features=tuple(str(v) for v in features),
            board=f.text_or_none("board"),
            cores=f.integer("cores", 1, 2**20),
            usable_cores=f.integer("usable_cores", 1, 2**20),
            versions={name: None if v is None else str(v) for name, v in versions.items()},
            bundle_sha256=f.text("bundle_sha256", pattern="[0-9a-f]{64}", what="64 hexadecimal digits"),
        )
        f.done()
        return key


def current_key(bundle: Bundle, machine: Machine | None = None) -> ProfileKey:
    """Return what a profile of this bundle has to hold for on this device, now. Loads no engine."""
    m = machine or read_machine()
    return ProfileKey(
        arch=m.cpu.arch,
        cpu=m.cpu.model,
        cpu_features=tuple(sorted(m.cpu.features & KERNEL_FEATURES)),
        board=m.board,
        cores=m.cores,
        usable_cores=m.usable_cores,
        versions=_versions(),
        bundle_sha256=bundle.identity.id,
    )


def _versions() -> dict[str, str | None]:
    """Return the versions that the speed depends on, read from metadata: no engine is imported."""
    import importlib.metadata  # here, since not every start needs it

    found: dict[str, str | None] = {"ecovision-edge": __version__}
    for format, engine in ENGINES.items():
        versions = installed_versions(format).items()
        texts = [version if name == engine.package else f"{name} {version}" for name, version in versions]
        found[engine.package] = ", ".join(texts) or None
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # without it nothing is said of it
        found["ecovision-edge-native"] = importlib.metadata.version("ecovision-edge-native")
    return {**found, "opencv": cv2.__version__, "numpy": np.__version__}


def _say(value: object) -> str:
    return "none" if value is None or value == "" else str(value)
