"""Which installed engine would end this process on this CPU, so that it is never imported.

An instruction that a CPU does not have ends the process: no exception, no message. Two things are known
before the import: what is written here of a version on a kind of CPU, and what `probing` found on this very
device in a process of its own, which is kept beside the device profiles. To look costs reading a small file.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ecovision_edge.base.fields import Fields, JsonValue, canonical_json, parse_json
from ecovision_edge.base.files import read_regular_file, replace_file
from ecovision_edge.base.homes import profile_folder
from ecovision_edge.base.records import dataclass
from ecovision_edge.bundle.engines import ENGINES, installed_versions, written_version
from ecovision_edge.bundle.manifest import Format
from ecovision_edge.errors import DeadlyEngineError, EcovisionError, ProfileWriteError

if TYPE_CHECKING:
    from ecovision_edge.base.device import Cpu

__all__ = [
    "FILE_NAME",
    "FP16",
    "Finding",
    "Mode",
    "cpu_key",
    "deadly_engine",
    "deadly_fp16",
    "deadly_reason",
    "keep_findings",
    "read_findings",
    "refuse_deadly",
    "version_text",
]

FILE_NAME = "engines.json"
SCHEMA, SCHEMA_VERSION = "ecovision-edge/engines", 1

_MAX_BYTES = 2**16
_ARM = ("aarch64", "arm64")
# It takes dot products for granted on Arm (onnxruntime #23957): it dies at its import.
_DIES_ON_ARM = "onnxruntime", "1.21.0"
_AGAIN = "run `ecovision-edge verify` again"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found of one engine.

    Args:
        package: Of the engine (`onnxruntime`).
        version: As `version_text` has it.
        cpu: See `cpu_key`.
        ended: How the process ended (`SIGILL`); None if it lived.
    """

    package: str
    version: str
    cpu: str
    ended: str | None

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {"package": self.package, "version": self.version, "cpu": self.cpu, "ended": self.ended}

    @classmethod
    def of(cls, value: JsonValue) -> Finding:
        """Read and validate.

        Raises:
            ContractError: it is malformed.
        """
        f = Fields.of(value, f"an engine of {FILE_NAME}")
        finding = cls(f.text("package"), f.text("version"), f.text("cpu"), f.text_or_none("ended"))
        f.done()
        return finding


@dataclass(frozen=True, slots=True)
class Mode:
    """A way to run an engine that has to be tried apart: what survives the engine may not survive it.

    Args:
        name: What findings call it in the place of a package.
        format: Of the engine.
    """

    name: str
    format: Format

    def finding(self, cpu: Cpu, findings: Sequence[Finding]) -> Finding | None:
        """Return what was found with the installed version on this CPU; None if it was not tried."""
        key = (self.name, version_text(self.format), cpu_key(cpu))
        return next((f for f in findings if (f.package, f.version, f.cpu) == key), None)

    def ended(self, cpu: Cpu, findings: Sequence[Finding]) -> str | None:
        """Return how a probe ended (`SIGILL`); None if it lived or was not tried."""
        found = self.finding(cpu, findings)
        return None if found is None else found.ended


FP16 = Mode("ai-edge-litert in fp16", "tflite")
"""LiteRT in half precision."""


def refuse_deadly(format: Format) -> None:
    """Refuse an engine that would end this process; one that is loaded already lives.

    Raises:
        DeadlyEngineError: with the version, the CPU and the pip line.
    """
    if ENGINES[format].module in sys.modules:
        return
    package = ENGINES[format].package
    deaths = [finding for finding in read_findings() if finding.package == package and finding.ended]
    # What follows costs more than the rest of a start here: only where what is known may concern it.
    if not deaths and (package != _DIES_ON_ARM[0] or platform.machine().lower() not in _ARM):
        return
    from ecovision_edge.base.device import read_cpu

    cpu = read_cpu()
    if not deaths and not (_lacks_dot_products(cpu) and written_version(format) in (None, _DIES_ON_ARM[1])):
        return
    reason = deadly_reason(format, cpu, deaths)
    if reason is not None:
        raise deadly_engine(format, cpu, reason)


def deadly_reason(format: Format, cpu: Cpu, findings: Sequence[Finding]) -> str | None:
    """Return how the installed engine of `format` would end a process here; None if nothing is known."""
    versions = installed_versions(format)
    name, deadly = _DIES_ON_ARM
    if versions.get(name, "").partition("+")[0] == deadly and _lacks_dot_products(cpu):
        return "SIGILL"
    package, version, key = ENGINES[format].package, version_text(format), cpu_key(cpu)
    return next((f.ended for f in findings if (f.package, f.version, f.cpu) == (package, version, key)), None)


def version_text(format: Format) -> str:
    """Return the installed version, with the package's name where it is another build; or `unknown`."""
    texts = (
        version if name == ENGINES[format].package else f"{name} {version}"
        for name, version in installed_versions(format).items()
    )
    return ", ".join(texts) or "unknown"


def cpu_key(cpu: Cpu) -> str:
    """Return what tells CPUs apart that may run one engine and not another: all features, and the model."""
    import hashlib  # here, since only a finding needs it

    text = "\0".join((cpu.arch, cpu.model, *sorted(cpu.features)))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def read_findings() -> tuple[Finding, ...]:
    """Read what was found on this device. Raises nothing: what cannot be read was not found."""
    try:
        data = read_regular_file(profile_folder() / FILE_NAME, _MAX_BYTES)
        f = parse_json(data, FILE_NAME, fix=_AGAIN)
        f.choice("schema", (SCHEMA,))
        f.schema_version(SCHEMA_VERSION)
        found = tuple(Finding.of(item) for item in f.items("engines", most=len(ENGINES) + 1))
        f.done()
    except (EcovisionError, OSError, ValueError, ImportError):
        return ()
    return found


def keep_findings(findings: Sequence[Finding]) -> Path:
    """Write what was found, one finding of each engine.

    Raises:
        ProfileWriteError: it cannot be written.
    """
    path = profile_folder() / FILE_NAME
    document: JsonValue = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "engines": [finding.to_json() for finding in findings],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # No secret, and a service may run as another user: everyone may read it.
        replace_file(path, [canonical_json(document)], fsync=True, mode=0o644)
    except OSError as e:
        raise ProfileWriteError(f"cannot write {path}", found=e.strerror or e) from e
    return path


def deadly_fp16(cpu: Cpu, reason: str) -> DeadlyEngineError:
    """Return the error about fp16, which ended a process so (`SIGILL`)."""
    return DeadlyEngineError(
        f"{FP16.name} would end this process on this CPU, {cpu.model}", found=reason, fix="leave fp16 out"
    )


def _lacks_dot_products(cpu: Cpu) -> bool:
    return cpu.arch.lower() in _ARM and bool(cpu.features) and "asimddp" not in cpu.features


def deadly_engine(format: Format, cpu: Cpu, reason: str) -> DeadlyEngineError:
    """Return the error about the engine of `format`; `reason` is how it ends a process (`SIGILL`)."""
    from ecovision_edge.base.installation import pip_fix  # here, since every start would pay for it

    engine, version = ENGINES[format], version_text(format)
    number = version.rpartition(" ")[2].partition("+")[0]
    what = "an instruction that it does not have (SIGILL)" if reason == "SIGILL" else reason
    return DeadlyEngineError(
        f"{engine.package} {version} would end this process on this CPU, {cpu.model}",
        found=what,
        fix=pip_fix(f"{engine.package}!={number}"),
    )
