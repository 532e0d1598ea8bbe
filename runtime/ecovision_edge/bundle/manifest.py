"""The manifest of a bundle, `bundle.json`: what the files are, and what was proved about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal, cast, get_args

from ecovision_edge.base.fields import Fields, JsonValue, canonical_json, parse_json
from ecovision_edge.base.names import quoted
from ecovision_edge.base.records import dataclass
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.bundle.identity import VERSION_WORDS, is_version
from ecovision_edge.errors import ContractError, UnsafePathError

__all__ = ["MAX_FILE_BYTES", "ArtifactEntry", "FileEntry", "Format", "Manifest", "Precision"]

KIND = "ecovision-edge bundle"
SCHEMA_VERSION = 1
"""Of the manifest; a runtime refuses a higher one. The contract in it has its own."""
MAX_FILE_BYTES = 2**31 - 1  # protobuf's own limit for one model
_MAX_ARTIFACTS = 32
_VERSION = "bundle_version"  # in the provenance: see `bundle.identity`

Format = Literal["onnx", "tflite"]
Precision = Literal["fp32", "int8"]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of the bundle: its name beside `bundle.json`, its sha256 and its size in bytes."""

    file: str
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        check_file_name(self.file)

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {"file": self.file, "sha256": self.sha256, "bytes": self.bytes}

    @classmethod
    def from_fields(cls, f: Fields) -> FileEntry:
        """Read and validate; the caller calls `f.done()`."""
        return cls(
            file=f.text("file", most=200),
            sha256=f.text("sha256", pattern="[0-9a-f]{64}", what="64 hexadecimal digits"),
            bytes=f.integer("bytes", 1, MAX_FILE_BYTES),
        )


@dataclass(frozen=True, slots=True)
class ArtifactEntry:
    """One model file, for instance `int8-onnx`, and the parity figures it was let through with.

    `golden_tolerance` is the largest difference of a logit from its golden value that a device may show,
    where integer sums are exact (see `ecovision_edge.verify`).
    """

    file: FileEntry
    format: Format
    precision: Precision
    golden_tolerance: float
    opset: int | None = None
    recipe: Mapping[str, JsonValue] = field(default_factory=dict)
    parity: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`PRECISION-FORMAT`; unique in a bundle."""
        return f"{self.precision}-{self.format}"

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "name": self.name,
            **self.file.to_json(),
            "format": self.format,
            "precision": self.precision,
            "opset": self.opset,
            "golden_tolerance": self.golden_tolerance,
            "recipe": dict(self.recipe),
            "parity": dict(self.parity),
        }

    @classmethod
    def from_fields(cls, f: Fields) -> ArtifactEntry:
        """Read and validate."""
        entry = cls(
            file=FileEntry.from_fields(f),
            format=cast("Format", f.choice("format", get_args(Format))),
            precision=cast("Precision", f.choice("precision", get_args(Precision))),
            golden_tolerance=f.number("golden_tolerance", 0, 1e6),
            opset=f.integer("opset", 1, 1000) if f.has("opset") else None,
            recipe=f.free("recipe"),
            parity=f.free("parity"),
        )
        f.choice("name", (entry.name,))
        f.done()
        return entry


@dataclass(frozen=True, slots=True)
class Manifest:
    """`bundle.json`. `provenance` says how the bundle was made: versions, digests, evidence, waivers.

    `version` is the bundle's own, for people (`bundle.identity`); None in bundles that are older than it.
    """

    name: str
    contract: Contract
    artifacts: tuple[ArtifactEntry, ...]
    golden: FileEntry
    provenance: Mapping[str, JsonValue] = field(default_factory=dict)
    version: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and not is_version(self.version):
            raise ContractError(
                f"bundle.json.provenance.{_VERSION}", expected=VERSION_WORDS, found=quoted(self.version)
            )
        names = [a.name for a in self.artifacts]
        files = [a.file.file for a in self.artifacts] + [self.golden.file]
        if not names or len(set(names)) != len(names) or len(set(files)) != len(files):
            raise ContractError(
                "bundle.artifacts", expected="at least one, each name and file once", found=", ".join(names)
            )

    def dumps(self) -> bytes:
        """Return the text of `bundle.json`, the same for the same manifest."""
        return canonical_json(
            {
                "schema_version": SCHEMA_VERSION,
                "kind": KIND,
                "name": self.name,
                "contract": self.contract.to_json(),
                "artifacts": [a.to_json() for a in self.artifacts],
                "golden": self.golden.to_json(),
                "provenance": {
                    **({} if self.version is None else {_VERSION: self.version}),
                    **self.provenance,
                },
            }
        )

    @classmethod
    def loads(cls, data: bytes) -> Manifest:
        """Read and validate `bundle.json`; nothing in it is trusted.

        Raises:
            ContractError: malformed.
            SchemaVersionError: written by a newer ecovision-edge.
            UnsafePathError: it names a file outside its folder.
        """
        f = parse_json(data, "bundle.json")
        f.schema_version(SCHEMA_VERSION)
        f.choice("kind", (KIND,))
        golden = f.sub("golden")
        provenance = dict(f.free("provenance"))
        version = f.sub("provenance").text_or_none(_VERSION)
        provenance.pop(_VERSION, None)
        manifest = cls(
            name=f.text("name", most=200),
            contract=Contract.from_fields(f.sub("contract")),
            artifacts=tuple(
                ArtifactEntry.from_fields(Fields.of(v, f"bundle.json.artifacts[{i}]"))
                for i, v in enumerate(f.items("artifacts", most=_MAX_ARTIFACTS))
            ),
            golden=FileEntry.from_fields(golden),
            provenance=provenance,
            version=version,
        )
        golden.done()
        f.done()
        return manifest


def check_file_name(name: str) -> None:
    """Refuse a name that is not that of a plain file beside `bundle.json`.

    Raises:
        UnsafePathError: it has a separator, a drive, or is `.` or `..`.
    """
    if name in {"", ".", ".."} or any(c in name for c in "/\\:\0") or not name.isprintable():
        raise UnsafePathError(
            "a file that bundle.json names",
            expected="a plain file name in the bundle's own folder",
            found=quoted(name),
        )
