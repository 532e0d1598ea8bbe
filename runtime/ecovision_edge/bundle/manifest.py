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
from ecovision_edge.bundle.sizes import MOST_SIZES, SizeEntry, check_sizes
from ecovision_edge.bundle.targets import TARGETS, Target
from ecovision_edge.errors import ContractError, UnsafePathError

__all__ = ["MAX_FILE_BYTES", "ArtifactEntry", "FileEntry", "Format", "Manifest", "Precision"]

KIND = "ecovision-edge bundle"
SCHEMA_VERSION, PLAIN_VERSION = 2, 1
"""Of the manifest; a runtime refuses a higher one. The contract in it has its own. What has no artifacts for
several kinds of CPU, and no sizes, is written as the older one, which every runtime reads."""
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
    where integer sums are exact (see `ecovision_edge.verify`). `targets` are the kinds of CPU it was made for
    (see `targets`), where the bundle has another artifact of this precision and format for others; empty:
    it is for all.
    """

    file: FileEntry
    format: Format
    precision: Precision
    golden_tolerance: float
    opset: int | None = None
    recipe: Mapping[str, JsonValue] = field(default_factory=dict)
    parity: Mapping[str, JsonValue] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()

    @property
    def name(self) -> str:
        """`PRECISION-FORMAT`, or `PRECISION-FORMAT@TARGET` by its first target; unique in a bundle."""
        return f"{self.family}@{self.targets[0]}" if self.targets else self.family

    @property
    def family(self) -> str:
        """`PRECISION-FORMAT`: of several such artifacts each is for other kinds of CPU."""
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
            **({"targets": [*self.targets]} if self.targets else {}),
        }

    @classmethod
    def from_fields(cls, f: Fields) -> ArtifactEntry:
        """Read and validate."""
        targets = f.items("targets", most=len(TARGETS)) if f.has("targets") else []
        if not all(target in TARGETS for target in targets):
            raise f.wrong("targets", f"some of {', '.join(TARGETS)}")
        entry = cls(
            file=FileEntry.from_fields(f),
            format=cast("Format", f.choice("format", get_args(Format))),
            precision=cast("Precision", f.choice("precision", get_args(Precision))),
            golden_tolerance=f.number("golden_tolerance", 0, 1e6),
            opset=f.integer("opset", 1, 1000) if f.has("opset") else None,
            recipe=f.free("recipe"),
            parity=f.free("parity"),
            targets=tuple(target for target in TARGETS if target in targets),
        )
        f.choice("name", (entry.name,))
        f.done()
        return entry


@dataclass(frozen=True, slots=True)
class Manifest:
    """`bundle.json`. `provenance` says how the bundle was made: versions, digests, evidence, waivers.

    `version` is the bundle's own, for people (`bundle.identity`); None in bundles that are older than it.
    `sizes` are those of the network's input that the bundle has, its own among them; empty if that is all.
    """

    name: str
    contract: Contract
    artifacts: tuple[ArtifactEntry, ...]
    golden: FileEntry
    provenance: Mapping[str, JsonValue] = field(default_factory=dict)
    version: str | None = None
    sizes: tuple[SizeEntry, ...] = ()

    def __post_init__(self) -> None:
        if self.version is not None and not is_version(self.version):
            raise ContractError(
                f"bundle.json.provenance.{_VERSION}", expected=VERSION_WORDS, found=quoted(self.version)
            )
        check_sizes(self.sizes, self.contract)
        names = [a.name for a in self.artifacts]
        files = [a.file.file for a in self.artifacts] + [self.golden.file]
        if not names or len(set(names)) != len(names) or len(set(files)) != len(files):
            raise ContractError(
                "bundle.artifacts", expected="at least one, each name and file once", found=", ".join(names)
            )
        for family in {a.family for a in self.artifacts}:
            alike = [a for a in self.artifacts if a.family == family]
            served = [target for a in alike for target in a.targets]
            if len(alike) > 1 and not (all(a.targets for a in alike) and len(set(served)) == len(served)):
                raise ContractError(
                    "bundle.artifacts",
                    expected=f"for each {family} its targets, none of them twice",
                    found=", ".join(served) or "none",
                )

    @property
    def schema_version(self) -> int:
        """The version that it is written as: the oldest that can say it."""
        return SCHEMA_VERSION if self.sizes or any(a.targets for a in self.artifacts) else PLAIN_VERSION

    def dumps(self) -> bytes:
        """Return the text of `bundle.json`, the same for the same manifest."""
        return canonical_json(
            {
                "schema_version": self.schema_version,
                "kind": KIND,
                "name": self.name,
                "contract": self.contract.to_json(),
                "artifacts": [a.to_json() for a in self.artifacts],
                "golden": self.golden.to_json(),
                "provenance": {
                    **({} if self.version is None else {_VERSION: self.version}),
                    **self.provenance,
                },
                **({"sizes": [size.to_json() for size in self.sizes]} if self.sizes else {}),
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
        schema = f.schema_version(SCHEMA_VERSION)
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
            sizes=tuple(
                SizeEntry.from_fields(Fields.of(v, f"bundle.json.sizes[{i}]"))
                for i, v in enumerate(f.items("sizes", most=MOST_SIZES) if f.has("sizes") else [])
            ),
        )
        golden.done()
        f.done()
        if manifest.schema_version > schema:
            raise f.wrong("schema_version", f"{manifest.schema_version}, by what stands in it")
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
