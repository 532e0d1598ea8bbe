"""Tries an installed engine in a process of its own, and keeps what was found: `verify` and `tune` do.

The process imports the engine and runs a model once. Only what the CPU is to blame for counts: an illegal
instruction anywhere, or another fault at the import. What a model does to a sound engine is not the engine's,
and a signal that somebody sent, the kernel that ran out of memory for one, tells nothing.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ecovision_edge.backends import BackendOptions
from ecovision_edge.backends.half import fp16_fault
from ecovision_edge.backends.survival import (
    FP16,
    Finding,
    cpu_key,
    keep_findings,
    read_findings,
    version_text,
)
from ecovision_edge.base.device import Cpu, read_cpu
from ecovision_edge.bundle.engines import ENGINES, is_installed
from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.bundle.manifest import Format
from ecovision_edge.errors import ProfileWriteError

__all__ = ["Try", "main", "probe_bundle", "probe_engine"]

IMPORTED = "imported"

_LOGGER = logging.getLogger("ecovision_edge")
_LIMIT_S = 120.0  # for one process; then nothing was found
_FAULTS = frozenset(
    {signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP}
)

Try = Callable[[list[str]], "subprocess.CompletedProcess[str]"]
"""Runs a command to its end, its standard output caught."""


def probe_bundle(
    bundle: Bundle, *, fp16: bool = False, keep: bool = True, attempt: Try | None = None
) -> tuple[Finding, ...]:
    """Try the engine of each format that the bundle has and that this CPU was not tried with yet.

    Args:
        bundle: Its smallest model of a format is run.
        fp16: Whether to try LiteRT in fp16 too, if the CPU has it and LiteRT itself lives.
        keep: Whether to keep what is found beside the profiles.
        attempt: Runs a command; None is a process.

    What cannot be kept is tried again the next time; of an engine that died it is logged.

    Returns:
        What is known of each engine now; without those of which nothing could be found.
    """
    cpu = read_cpu()
    known = {f.package: f for f in read_findings() if f.cpu == cpu_key(cpu)}
    models: dict[Format, Path] = {}
    for entry in sorted(bundle.manifest.artifacts, key=lambda e: e.file.bytes, reverse=True):
        models[entry.format] = bundle.path / entry.file.file
    new = _probe(models, known, cpu, attempt)
    known |= {finding.package: finding for finding in new}
    if fp16 and "tflite" in models and is_installed("tflite") and fp16_fault(cpu) is None:
        engine = known.get(ENGINES["tflite"].package)
        dead = engine is not None and engine.version == version_text("tflite") and engine.ended
        if not dead and FP16.finding(cpu, [*known.values()]) is None:
            found = probe_engine("tflite", models["tflite"], cpu, attempt, fp16=True)
            if found is not None:
                new.append(found)
                known[found.package] = found
    if new and keep:
        try:
            keep_findings([*known.values()])
        except ProfileWriteError as e:
            # That an engine lives is found again; that one dies, no other command will know.
            died = any(finding.ended is not None for finding in new)
            _LOGGER.log(logging.WARNING if died else logging.DEBUG, "%s", e)
    return tuple(known.values())


def _probe(
    models: Mapping[Format, Path], known: Mapping[str, Finding], cpu: Cpu, attempt: Try | None
) -> list[Finding]:
    new = []
    for format, model in models.items():
        before = known.get(ENGINES[format].package)
        if not is_installed(format) or (before is not None and before.version == version_text(format)):
            continue
        found = probe_engine(format, model, cpu, attempt)
        if found is not None:
            new.append(found)
    return new


def probe_engine(
    format: Format, model: Path, cpu: Cpu, attempt: Try | None = None, *, fp16: bool = False
) -> Finding | None:
    """Import an engine and run a model once, in fp16 if that is to be tried, in a process of its own.

    Returns:
        None where nothing was found: no process, no end in time, an error, or a model that ends it.
    """
    command = [sys.executable, "-m", __name__, format, str(model), *(["fp16"] if fp16 else [])]
    try:
        done = (attempt or _run)(command)
    except (OSError, subprocess.SubprocessError):
        return None
    imported = done.stdout.startswith(IMPORTED)
    if -done.returncode in ({signal.SIGILL} if imported else _FAULTS):
        ended: str | None = signal.Signals(-done.returncode).name
    elif done.returncode or not imported:
        return None
    else:
        ended = None
    name = FP16.name if fp16 else ENGINES[format].package
    return Finding(name, version_text(format), cpu_key(cpu), ended)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )


def main(format: str, model: str, precision: str = "") -> None:
    """Import the engine and run the model once, in `fp16` if asked for; in the process that may die."""
    import resource

    import numpy as np

    from ecovision_edge.backends import Backend

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a death is expected: no dump of it

    open_backend: Callable[[bytes, BackendOptions], Backend]
    if format == "tflite":
        from ecovision_edge.backends.litert import LiteRtBackend

        open_backend = LiteRtBackend
    else:
        from ecovision_edge.backends.onnx import OnnxBackend

        open_backend = OnnxBackend
    sys.stdout.write(IMPORTED + "\n")
    sys.stdout.flush()
    backend = open_backend(Path(model).read_bytes(), BackendOptions(threads=1, fp16=precision == "fp16"))
    spec = backend.contract.input
    backend.run(np.zeros(spec.shape(1), spec.dtype))


if __name__ == "__main__":
    main(*sys.argv[1:])
