"""Where the program keeps what outlives it: the folders of the user, or of the systemd service that it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ecovision_edge.errors import ProfileWriteError

__all__ = ["PROFILE_DIR_VARIABLE", "profile_folder", "state_folder", "user_state_folder"]

PROFILE_DIR_VARIABLE = "ECOVISION_EDGE_PROFILE_DIR"
"""Environment variable that names the folder of profiles: for a service that runs as another user."""


def state_folder(environment: Mapping[str, str]) -> Path:
    """Return the service's state folder, `$STATE_DIRECTORY`, where systemd has set one; else the user's."""
    folder = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(folder) if folder else user_state_folder()


def user_state_folder() -> Path:
    """Return `ecovision-edge` in the user's state folder: `$XDG_STATE_HOME`, or `~/.local/state`.

    It begins with `~` where the system knows no home folder of this user.
    """
    if sys.platform == "linux":  # as the XDG base directory specification has it; each start asks for it
        state, home = os.environ.get("XDG_STATE_HOME", ""), os.environ.get("HOME", "")
        if state.startswith("/"):
            return Path(state) / "ecovision-edge"
        if home.startswith("/"):
            return Path(home) / ".local" / "state" / "ecovision-edge"
    import platformdirs  # here, for what it brings in costs as much as reading the model

    return platformdirs.user_state_path("ecovision-edge", appauthor=False)


def profile_folder() -> Path:
    """Return where what was found of this device is kept: `$ECOVISION_EDGE_PROFILE_DIR`, or in the state.

    Raises:
        ProfileWriteError: this user has no home folder.
    """
    own = os.environ.get(PROFILE_DIR_VARIABLE)
    if own:
        return Path(own)
    folder = user_state_folder() / "profiles"
    if not folder.is_absolute():  # what is left of ~ where the system knows no home folder
        raise ProfileWriteError("this user has no home folder", fix=f"set {PROFILE_DIR_VARIABLE}")
    return folder
