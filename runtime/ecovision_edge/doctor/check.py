"""What was found of one thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.records import dataclass

__all__ = ["STATES", "Check", "State", "checks_to_json", "fail", "ok", "warn"]

State: TypeAlias = Literal["ok", "warn", "fail"]

STATES: tuple[State, ...] = ("ok", "warn", "fail")
"""From good to bad."""

SCHEMA, SCHEMA_VERSION = "ecovision-edge/doctor", 1


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        name: What, the same on every device; of what there may be several of, with its own name behind
            (`camera /dev/video0`).
        state: `ok`; `warn` for what may become a trouble, or could not be looked at; `fail` for what keeps
            the device from its work.
        found: What was found, in a few words.
        advice: What to do about it; empty if there is nothing to do.
    """

    name: str
    state: State
    found: str
    advice: str = ""

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {"name": self.name, "state": self.state, "found": self.found, "advice": self.advice}


def ok(name: str, found: str) -> Check:
    """Return a good finding."""
    return Check(name, "ok", found)


def warn(name: str, found: str, advice: str) -> Check:
    """Return a finding that may become a trouble."""
    return Check(name, "warn", found, advice)


def fail(name: str, found: str, advice: str) -> Check:
    """Return a finding that keeps the device from its work."""
    return Check(name, "fail", found, advice)


def checks_to_json(checks: Sequence[Check]) -> dict[str, JsonValue]:
    """Return JSON values of a whole checkup; its keys are documented, and stay."""
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "ok": all(check.state != "fail" for check in checks),
        "checks": [check.to_json() for check in checks],
    }
