"""The bundle on this device, the engines that run it, and the device profile."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from ecovision_edge.base.device import read_cpu
from ecovision_edge.base.fields import Fields, parse_json
from ecovision_edge.base.installation import Installation, pip_fix
from ecovision_edge.base.old_cpu import refuse_old_x86
from ecovision_edge.bundle.engines import ENGINES, installed_versions, is_installed
from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.bundle.manifest import Format
from ecovision_edge.doctor.check import Check, fail, ok, warn
from ecovision_edge.doctor.libraries import version_fault
from ecovision_edge.doctor.system import Output, System
from ecovision_edge.errors import EcovisionError

__all__ = ["VERIFY_LIMIT", "check_bundle", "check_engines", "check_profile", "check_verified"]

VERIFY_LIMIT = 300.0
"""Seconds for `verify`, which may try an engine for 120 s."""

_AGAIN = "export it again, or copy it again, whole; more: ecovision-edge verify"


def check_bundle(system: System, path: Path | None) -> Iterator[Check]:
    """Verify a bundle in a process of its own, then look at the engines and at the profile.

    Args:
        system: What machine it is.
        path: The bundle's folder; None is the embedded reference.
    """
    refuse_old_x86()
    command = [sys.executable, "-m", "ecovision_edge", "verify"]
    output = system.run([*command, *([] if path is None else [str(path)]), "--json", "-"], VERIFY_LIMIT)
    yield from check_engines()  # what verify has found of them is kept
    yield check_verified(path, output)
    yield check_profile(path)


def check_verified(path: Path | None, output: Output | None) -> Check:
    """Read what `verify --json -` said."""
    where = "the embedded reference" if path is None else str(path)
    if output is None:
        return warn("bundle", f"{where}: Python cannot be started again", "run: ecovision-edge verify")
    try:
        report = parse_json(output.stdout.encode("utf-8", "replace"), "verify")
        which = _identity(report) or where
        checks = [Fields.of(item, "a check") for item in report.items("checks", most=1000)]
        told = [
            (c.text("name"), c.flag("ok"), c.flag("checked"), c.text("detail", most=4000)) for c in checks
        ]
    except EcovisionError:
        return fail("bundle", f"{where}: {_last_words(output)}", _AGAIN)
    faults = [f"{what}: {detail}" for what, good, checked, detail in told if checked and not good]
    if faults:
        return fail("bundle", f"{where}: {'; '.join(faults)}", _AGAIN)
    golden = [f"{what}: {detail}" for what, good, _, detail in told if good and what.startswith("golden ")]
    left = sum(not checked for _, _, checked, _ in told)
    more = f"; {left} not checked, for their engine is not installed" if left else ""
    return ok("bundle", f"{which}, verified; {'; '.join(golden)}{more}")


def _last_words(output: Output) -> str:
    """Return what a process said at its end that gave no report."""
    if output.status < 0:
        return f"verifying it ended by {signal.Signals(-output.status).name}"
    said = output.stderr.strip().splitlines()
    return said[-1].removeprefix("ecovision-edge: ") if said else f"no report, exit status {output.status}"


def _identity(report: Fields) -> BundleIdentity | None:
    """Return which bundle was verified; None if its manifest could not be read."""
    if not report.has("bundle"):
        return None
    told = report.sub("bundle")
    return BundleIdentity(told.text("name"), told.text("version"), told.text("id"))


def check_engines() -> Iterator[Check]:
    """Look at the engines that are installed, and what is known of them on this CPU; none is loaded."""
    there = [format for format in ENGINES if is_installed(format)]
    if not there:
        yield fail("engine", "none is installed", ENGINES["onnx"].fix)
    for format in there:
        yield _check_engine(format)


def _check_engine(format: Format) -> Check:
    from ecovision_edge.backends import survival

    cpu, findings = read_cpu(), survival.read_findings()
    package, version = ENGINES[format].package, survival.version_text(format)
    name = f"engine {package}"
    reason = survival.deadly_reason(format, cpu, findings)
    if reason is not None:
        error = survival.deadly_engine(format, cpu, reason)
        return fail(name, error.finding, error.fix)
    requirements = Installation.here().requirements(ENGINES[format].extra)
    asked = next((line for line in requirements if line.startswith(package)), "")
    for number in installed_versions(format).values():
        fault = version_fault(asked, number)
        if fault is not None:
            return fail(name, f"{version}, {fault}", pip_fix(asked))
    key = (package, version, survival.cpu_key(cpu))
    ran = any((f.package, f.version, f.cpu) == key for f in findings)
    return ok(name, f"{version}, " + ("has run on this CPU" if ran else "not tried: no model for it"))


def check_profile(path: Path | None) -> Check:
    """Look at whether the device profile of the bundle, if there is one, holds."""
    from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
    from ecovision_edge.profile.store import look_up_profile

    try:
        found = look_up_profile(Bundle.open(path or embedded_bundle_path()))
    except EcovisionError:
        return warn("profile", "not looked at: the bundle cannot be opened", "see the bundle above")
    if found.ignored is not None:
        finding, _, advice = found.ignored.rpartition("; ")
        return warn("profile", finding, advice)
    if found.profile is None:
        return ok("profile", "none; `ecovision-edge tune` finds the fastest way to run the bundle here")
    p = found.profile
    half, size = ", fp16" if p.fp16 else "", f" at {p.size} pixels" if p.size is not None else ""
    how = f"{p.artifact}{size}, {p.threads} thread{'s' * (p.threads > 1)}{half}"
    return ok("profile", f"{how}, of {p.created[:10]}")
