"""The libraries: those that everything needs, and those of the extras."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from importlib import metadata

from ecovision_edge.base.extras import release_numbers
from ecovision_edge.base.installation import Installation, extra_fix, missing_library, pip_fix
from ecovision_edge.base.old_cpu import refuse_old_x86
from ecovision_edge.doctor.check import Check, fail, ok, warn

__all__ = ["DEVICE_EXTRAS", "check_extras", "check_libraries", "version_fault"]

DEVICE_EXTRAS = ("litert", "web", "mqtt", "serial", "gpio", "update", "picamera2")
"""Those that a device may have; the others are a workstation's."""

_BASE = {"numpy": "numpy", "cv2": "OpenCV"}


def check_libraries() -> Check:
    """Import numpy and OpenCV, unless this CPU is too old for them; the engines are tried apart."""
    refuse_old_x86()
    found = []
    for module, name in _BASE.items():
        try:
            version = importlib.import_module(module).__version__
        except ImportError as e:
            missing = missing_library(e)
            if missing is None:
                raise
            return fail("libraries", missing.finding, missing.fix)
        found.append(f"{name} {version}")
        fault = _fault_of(module, version)
        if fault is not None:
            return fail("libraries", f"{name} {version}, {fault[0]}", pip_fix(fault[1]))
    return ok("libraries", ", ".join((*found, _native_filter())))


def _native_filter() -> str:
    from ecovision_edge.preprocess.native import find_native

    native = find_native()
    return f"frames are resized by {native.kernel if native else 'numpy'}"


def _fault_of(module: str, version: str) -> tuple[str, str] | None:
    """Return what is wrong with a library that everything needs, and what is asked for; None for nothing."""
    requirement = Installation.here().requirement_of(module)
    if requirement is None:
        return None
    fault = version_fault(requirement, version)
    return None if fault is None else (fault, requirement)


def check_extras() -> Iterator[Check]:
    """Look at the versions of the extras' libraries, by their metadata; nothing is imported."""
    if not Installation.here().requirements():
        yield ok("extras", "not known: this copy was not installed by pip, and has no metadata")
        return
    whole, absent = [], []
    for extra in DEVICE_EXTRAS:
        versions, faults, missing = _look_at(Installation.here().requirements(extra))
        if faults:
            yield fail(f"extra {extra}", "; ".join(faults), extra_fix(extra))
        elif versions and missing:
            found = f"{', '.join(versions)}; without {', '.join(missing)}"
            yield warn(f"extra {extra}", found, extra_fix(extra))
        elif versions:
            whole.append(f"{extra} ({', '.join(versions)})")
        else:
            absent.append(extra)
    without = f"without {', '.join(absent)}" if absent else ""
    yield ok("extras", "; ".join(filter(None, (", ".join(whole), without))))


def _look_at(requirements: tuple[str, ...]) -> tuple[list[str], list[str], list[str]]:
    """Return the libraries with their versions, what is wrong with them, and those that are missing.

    One that is asked for on some machines only (a marker) counts if it is there.
    """
    versions, faults, missing = [], [], []
    for line in requirements:
        requirement, marker = (part.strip() for part in f"{line};".split(";")[:2])
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            if not marker:
                missing.append(name)
            continue
        versions.append(f"{name} {version}")
        fault = version_fault(requirement, version)
        if fault is not None:
            faults.append(f"{name} {version}, {fault}")
    return versions, faults, missing


def version_fault(requirement: str, version: str) -> str | None:
    """Return how a version breaks a requirement of `>=` and `!=`; None if it does not."""
    here = release_numbers(version)
    for sign, asked in re.findall(r"(>=|!=)\s*([\w.]+)", requirement):
        numbers = release_numbers(asked)
        if sign == ">=" and here < numbers:
            return f"needs {asked} or newer"
        if sign == "!=" and here == numbers:
            return f"which is known not to work (not {asked})"
    return None
