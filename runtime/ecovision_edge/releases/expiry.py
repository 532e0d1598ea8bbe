"""How long signatures are good for: days per role, signed with the root, so that all publishers agree."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tuf.api.metadata import Root

from ecovision_edge.errors import OptionError
from ecovision_edge.releases.keys import ROLES

__all__ = ["DEFAULT_DAYS", "days_of", "set_days"]

DEFAULT_DAYS: Mapping[str, int] = MappingProxyType(
    {"root": 730, "targets": 365, "snapshot": 30, "timestamp": 7}
)
"""A device refuses what has expired. The first two cost a walk to a drawer; the others, an entry for cron."""

_FIELD = "x-ecovision-edge-days"
_MAX_DAYS = 3650


def days_of(root: Root) -> dict[str, int]:
    """Return the days that metadata of each role is good for."""
    written = root.unrecognized_fields.get(_FIELD)
    given = written if isinstance(written, dict) else {}
    return {
        role: days if isinstance(days := given.get(role), int) and 0 < days <= _MAX_DAYS else default
        for role, default in DEFAULT_DAYS.items()
    }


def set_days(root: Root, changes: Mapping[str, int | None]) -> None:
    """Write other days into a root that is to be signed; None leaves those of a role.

    Raises:
        OptionError: not from 1 to 3650.
    """
    days = {**days_of(root), **{role: value for role, value in changes.items() if value is not None}}
    for role in ROLES:
        if not 0 < days[role] <= _MAX_DAYS:
            raise OptionError(f"--{role}-days", expected=f"1 to {_MAX_DAYS}", found=days[role])
    root.unrecognized_fields[_FIELD] = {role: days[role] for role in ROLES}
