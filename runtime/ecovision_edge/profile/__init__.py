"""The device profile: which artifact, threads and spinning `ecovision-edge tune` found fastest here.

A profile holds for what it was measured with: the CPU, the versions of the engines and of this package, and
the bundle. Where any of these is another one, it is ignored with a notice; it keeps no model from loading.

Profiles are JSON, one file per bundle, in `profile_folder()`: by default the user's state folder, where the
XDG base directory specification puts what should outlive a restart but is not portable enough for the data
folder. Not the configuration, which people edit and carry from one machine to another; not the cache, which
may be emptied at any time, and with it would quietly go the way that a controller runs.
"""

from ecovision_edge.profile.document import DeviceProfile
from ecovision_edge.profile.key import ProfileKey, current_key
from ecovision_edge.profile.store import (
    PROFILE_DIR_VARIABLE,
    ProfileLookup,
    check_profile_folder,
    load_profile,
    look_up_profile,
    profile_folder,
    save_profile,
)

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
]
