"""Where the program keeps what outlives it: the folders of the user, or of the systemd service that it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["state_folder", "user_state_folder"]


def state_folder(environment: Mapping[str, str]) -> Path:
    """Return the service's state folder, `$STATE_DIRECTORY`, where systemd has set one; else the user's."""
    folder = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(folder) if folder else user_state_folder()


def user_state_folder() -> Path:
    """Return `ecovision-edge` in the user's state folder: `$XDG_STATE_HOME`, or `~/.local/state`.

    It begins with `~` where the system knows no home folder of this user.
    """
    import platformdirs  # here, since few commands need it

    return platformdirs.user_state_path("ecovision-edge", appauthor=False)
