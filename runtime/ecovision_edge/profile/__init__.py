"""The device profile: which artifact, threads and spinning `ecovision-edge tune` found fastest here.

A profile holds for what it was measured with: the CPU, the versions of the engines and of this package, and
the bundle. Where any of these is another one, it is ignored with a notice; it keeps no model from loading.

Profiles are JSON, one file per bundle, in `profile_folder()`: by default the user's state folder, where the
XDG base directory specification puts what should outlive a restart but is not portable enough for the data
folder. Not the configuration, which people edit and carry from one machine to another; not the cache, which
may be emptied at any time, and with it would quietly go the way that a controller runs.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ecovision_edge.profile.store import (
    PROFILE_DIR_VARIABLE,
    ProfileLookup,
    check_profile_folder,
    load_profile,
    look_up_profile,
    profile_folder,
    save_profile,
    session_folder,
)

if TYPE_CHECKING:
    from ecovision_edge.profile.document import DeviceProfile
    from ecovision_edge.profile.key import ProfileKey, current_key

__all__ = [
    "PROFILE_DIR_VARIABLE",
    "DeviceProfile",
    "ProfileKey",
    "ProfileLookup",
    "check_profile_folder",
    "current_key",
    "load_profile",
    "look_up_profile",
    "profile_folder",
    "save_profile",
    "session_folder",
]

_HOMES = {"DeviceProfile": "document", "ProfileKey": "key", "current_key": "key"}
"""The module of each name that is loaded when it is asked for: a start looks for a profile, few find one."""

if not TYPE_CHECKING:  # a type checker would take any name for one of this package

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
        return value
