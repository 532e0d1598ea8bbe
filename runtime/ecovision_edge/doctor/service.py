"""The service: whether it is installed, runs, and how often it was started again."""

from __future__ import annotations

from ecovision_edge.doctor.check import Check, fail, ok, warn
from ecovision_edge.doctor.system import System
from ecovision_edge.service import UNIT_NAME

__all__ = ["check_service"]

LIMIT = 10.0
_SHOWN = "LoadState,ActiveState,SubState,UnitFileState,NRestarts,Result,ActiveEnterTimestamp"


def check_service(system: System) -> Check:
    """Ask systemd for the unit that `install-service` makes: the system's, or else the user's own."""
    runs = False
    for options in ([], ["--user"]):
        control = " ".join(["systemctl", *options])
        output = system.run(["systemctl", *options, "show", UNIT_NAME, f"--property={_SHOWN}"], LIMIT)
        if output is None:
            break
        runs |= output.status == 0
        lines = (line.partition("=") for line in output.stdout.splitlines())
        told = {name: value for name, _, value in lines}
        if told.get("LoadState") not in (None, "", "not-found"):
            return _judge(told, control, "journalctl" + " --user" * bool(options))
    if not runs:
        return ok("service", "no systemd runs here; something else has to start the bin again")
    advice = "see docs/service.md; run: ecovision-edge install-service --help"
    return warn("service", "not installed: after a power cut nothing starts the bin", advice)


def _judge(told: dict[str, str], control: str, journal: str) -> Check:
    """Judge the properties that systemctl(1) shows; their values are those of systemd's D-Bus interface."""
    load, active, enabled = told["LoadState"], told.get("ActiveState", ""), told.get("UnitFileState", "")
    restarts = int(told.get("NRestarts") or 0) if (told.get("NRestarts") or "0").isdigit() else 0
    root = "" if "--user" in control else "sudo "
    why = f"why: {journal} -u {UNIT_NAME} -n 50"
    found = f"{active} ({told.get('SubState', '')}), {enabled or load}"
    if restarts:
        found += f", restarts: {restarts}"
    if load == "masked":
        return warn("service", "masked", f"run: {root}{control} unmask {UNIT_NAME}")
    if load != "loaded":
        return fail(
            "service", f"its unit cannot be loaded: {load}", "have it written again: install-service --write"
        )
    if active == "failed" or told.get("SubState") == "auto-restart":
        result = told.get("Result", "")
        return fail("service", found + (f": {result}" if result not in ("", "success") else ""), why)
    if active not in ("active", "activating", "reloading"):
        return warn("service", found, f"run: {root}{control} enable --now {UNIT_NAME}")
    if enabled not in ("enabled", "enabled-runtime", "linked", "static"):
        advice = f"it does not start with the device; run: {root}{control} enable {UNIT_NAME}"
        return warn("service", found, advice)
    if restarts:
        return warn("service", found, why)
    return ok("service", found)
