"""A bundle: a folder with a manifest, the models it names, and golden vectors.

Files are read once and checked as read: what is run is what was hashed, or a graph that was kept of it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ecovision_edge.base.files import is_folder, is_there, read_regular_file
from ecovision_edge.base.names import quoted
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.base.records import dataclass
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.bundle.engines import preferred_formats
from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.bundle.manifest import ArtifactEntry, FileEntry, Manifest
from ecovision_edge.bundle.targets import Target, suited
from ecovision_edge.errors import (
    ArtifactNotFoundError,
    BundleError,
    BundleNotFoundError,
    BundleReadError,
    ContractError,
    IntegrityError,
    UnsafePathError,
)

if TYPE_CHECKING:
    from ecovision_edge.bundle.golden import Golden

__all__ = ["MANIFEST_NAME", "Bundle", "embedded_bundle_path", "read_file"]

MANIFEST_NAME = "bundle.json"
MAX_MANIFEST_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle: its folder, its manifest, read and validated, and which one it is.

    `identity` is that of the bytes that were read: it stays what it is if the folder becomes another bundle.
    """

    path: Path
    manifest: Manifest
    identity: BundleIdentity

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Open the bundle in the folder `path`; the models are read, and hashed, when they are asked for.

        Raises:
            BundleNotFoundError: no such folder, or no `bundle.json` in it.
            BundleReadError: `bundle.json` cannot be read, or is too large.
            ContractError, SchemaVersionError, UnsafePathError: as `Manifest.loads`.
        """
        folder = Path(path)
        if not is_folder(folder):
            raise BundleNotFoundError(
                "no bundle", expected="a folder that `ecovision-edge export` wrote", found=str(folder)
            )
        if not is_there(folder / MANIFEST_NAME, link=True):
            raise BundleNotFoundError(
                "not a bundle",
                expected=f"{MANIFEST_NAME} in {folder}",
                found="none",
                fix="make one with `ecovision-edge export`",
            )
        data = read_file(folder, MANIFEST_NAME, MAX_MANIFEST_BYTES)
        manifest = Manifest.loads(data)
        return cls(folder, manifest, BundleIdentity.of(manifest.name, manifest.version, data))

    @property
    def contract(self) -> Contract:
        """What the runtime has to know about the model."""
        return self.manifest.contract

    def artifact(self, name: str = "auto", target: Target | None = None) -> ArtifactEntry:
        """Find an artifact by name (`int8-onnx`), by precision (`int8`), or the default one (`auto`).

        `auto` is int8 where there is one, else fp32: of ONNX where there is one, else of TFLite. A precision
        alone is likewise its ONNX model, else its TFLite one. On a device that has LiteRT and no onnxruntime
        TFLite comes first. Where several of that name are for different CPUs (`int8-onnx@arm64`), it is the
        one for this CPU; its whole name is that one on any.

        Args:
            name: Of it.
            target: The kind of CPU that it is for; None is this machine's.

        Raises:
            ArtifactNotFoundError: no such artifact; the message lists those there are.
        """
        entries = self.manifest.artifacts
        precisions = ("int8", "fp32") if name == "auto" else (name,)
        wanted = [f"{precision}-{format}" for format in preferred_formats() for precision in precisions]
        for want in (name, *wanted):
            found = [entry for entry in entries if want in (entry.name, entry.family)]
            if found:
                return found[0] if len(found) == 1 else suited(found, target)
        raise ArtifactNotFoundError(
            f"no artifact {quoted(name)} in this bundle",
            expected=f"auto or one of {', '.join(e.name for e in entries)}",
        )

    def at_size(self, side: int) -> Bundle:
        """Return the bundle of another size of the network's input, which lies in this one; or itself.

        It is part of this one, and has its identity.

        Args:
            side: Height and width, pixels; one of `manifest.sizes`, or this bundle's own.

        Raises:
            ArtifactNotFoundError: it has no such size.
            IntegrityError: the manifest there is not the one that this bundle names.
            ContractError: its contract is not this one's at another size.
            BundleError: as `open`.
        """
        if (self.contract.input.height, self.contract.input.width) == (side, side):
            return self
        entry = next((size for size in self.manifest.sizes if size.side == side), None)
        if entry is None:
            raise ArtifactNotFoundError(
                f"no size {side} in this bundle",
                expected=", ".join(str(size.side) for size in self.manifest.sizes) or "its own alone",
            )
        name = f"{entry.folder}/{MANIFEST_NAME}"
        data = read_file(self.path, name, MAX_MANIFEST_BYTES)
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise IntegrityError(
                f"{name} is not the file that the manifest names",
                expected=f"sha256 {entry.sha256}",
                found="another",
                fix="copy the bundle again, or export it again",
            )
        found = Bundle(self.path / entry.folder, Manifest.loads(data), self.identity)
        spec = replace(self.contract.input, height=side, width=side)
        if found.contract != replace(self.contract, input=spec, resize=found.contract.resize):
            raise ContractError(f"the contract in {name} is not that of bundle.json at {side} pixels")
        return found

    def read(self, entry: ArtifactEntry | FileEntry) -> bytes:
        """Return the bytes of a file of this bundle, checked against the manifest.

        Raises:
            BundleNotFoundError, BundleReadError, UnsafePathError: it is not a readable file of the folder.
            IntegrityError: its size or sha256 is not the manifest's.
        """
        file = entry.file if isinstance(entry, ArtifactEntry) else entry
        data = read_file(self.path, file.file, file.bytes, too_large=IntegrityError)
        found = hashlib.sha256(data).hexdigest()
        if len(data) != file.bytes or found != file.sha256:
            raise IntegrityError(
                f"{file.file} is not the file that the manifest names",
                expected=f"{file.bytes} bytes, sha256 {file.sha256}",
                found=f"{len(data)} bytes, sha256 {found}",
                fix="copy the bundle again, or export it again",
            )
        return data

    def check_there(self, entry: ArtifactEntry) -> None:
        """Check that a model is in the folder and of its size, without reading it; raises as `read`."""
        file = entry.file
        try:
            root = self.path.resolve(strict=True)
            real = (root / file.file).resolve(strict=True)
            found = real.stat()
        except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
            self.read(entry)  # says what is wrong
            return
        whole = stat.S_ISREG(found.st_mode) and found.st_size == file.bytes
        if not whole or not real.is_relative_to(root):
            self.read(entry)

    def golden(self) -> Golden:
        """Return the golden vectors, checked; raises as `read` and `Golden.loads`."""
        from ecovision_edge.bundle.golden import MAX_GOLDEN_BYTES, Golden  # here: a start needs none

        if self.manifest.golden.bytes > MAX_GOLDEN_BYTES:
            raise BundleReadError(
                "golden vectors",
                expected=f"at most {MAX_GOLDEN_BYTES} bytes",
                found=self.manifest.golden.bytes,
            )
        return Golden.loads(self.read(self.manifest.golden), self.contract)


def embedded_bundle_path() -> Path:
    """Return the folder of the reference bundle that ships inside this package."""
    return Path(__file__).parents[1] / "data" / "reference"


def read_file(folder: Path, name: str, most: int, *, too_large: type[BundleError] = BundleReadError) -> bytes:
    """Read `folder/name`, which has to be a regular file of at most `most` bytes, and inside `folder`.

    A symbolic link is followed only while it stays inside (a model store may link its own files).

    Raises:
        BundleNotFoundError: no such file.
        UnsafePathError: it is a link that leaves the folder.
        BundleReadError: not a regular file, or not readable.
        too_large: more than `most` bytes.
    """
    try:
        root = folder.resolve(strict=True)
        real = (root / name).resolve(strict=True)
        if not real.is_relative_to(root):
            raise UnsafePathError(
                f"{name} leaves the bundle", expected=f"a file inside {folder}", found=f"a link to {real}"
            )
        data = read_regular_file(real, most)
    except FileNotFoundError as e:
        raise BundleNotFoundError(f"{name} is missing", expected=f"the file in {folder}", found="none") from e
    except (OSError, RuntimeError, ValueError) as e:  # RuntimeError: a loop of links, before Python 3.13
        if isinstance(e, BundleError):
            raise
        raise BundleReadError(f"cannot read {name}", found=reason_of(e)) from e
    if len(data) > most:
        raise too_large(
            f"{name} is too large",
            expected=f"at most {most} bytes",
            found=f"more than {most} bytes",
            fix="copy the bundle again, or export it again",
        )
    return data
