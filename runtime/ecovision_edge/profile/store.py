"""Where device profiles are; finding, and writing them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ecovision_edge.base.files import is_there, read_regular_file, replace_file
from ecovision_edge.base.homes import PROFILE_DIR_VARIABLE, profile_folder, state_folder
from ecovision_edge.base.names import quoted
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.bundle.folder import MANIFEST_NAME, Bundle, embedded_bundle_path
from ecovision_edge.errors import ContractError, EcovisionError, ProfileWriteError

if TYPE_CHECKING:
    from ecovision_edge.profile.document import DeviceProfile

__all__ = [
    "PROFILE_DIR_VARIABLE",
    "ProfileLookup",
    "check_profile_folder",
    "load_profile",
    "look_up_profile",
    "profile_folder",
    "save_profile",
    "session_folder",
]

_MAX_BYTES = 2**20
_MOST_FILES = 64  # profiles that are read to find out whether the bundle at this path was tuned before


class ProfileLookup(NamedTuple):
    """The profile that holds here, or None; `ignored` says in one line why one that is there does not."""

    profile: DeviceProfile | None = None
    ignored: str | None = None


def session_folder() -> Path | None:
    """Return where graphs as onnxruntime rewrites them are kept: `sessions` beside the profiles.

    A systemd service keeps them in its own state folder, for it may not write where profiles are. None where
    this user has no folder for them.
    """
    try:
        folder = state_folder(os.environ) if os.environ.get("STATE_DIRECTORY") else profile_folder()
    except ProfileWriteError:
        return None
    return folder / "sessions"


def look_up_profile(bundle: Bundle) -> ProfileLookup:
    """Find the profile of this bundle on this device. Raises nothing: what is wrong is why it is ignored.

    The machine and the versions are looked at only where there is one.
    """
    try:
        folder = profile_folder()
        path = folder / f"{bundle.identity.id}.json"
        data = _read(path)
    except (EcovisionError, OSError, ValueError, ImportError):  # no folder that could have a profile
        return ProfileLookup()
    if data is None:
        return ProfileLookup(ignored=_tuned_before(folder, bundle))
    from ecovision_edge.profile.document import AGAIN, DeviceProfile  # here: most devices have no profile
    from ecovision_edge.profile.key import current_key

    again = _again(bundle)
    if isinstance(data, OSError):
        reason = reason_of(data)
        return ProfileLookup(ignored=f"the device profile {path} cannot be read ({reason}); {again}")
    try:
        profile = DeviceProfile.loads(data, path.name)
        changed = profile.key.changes(current_key(bundle))
        own = bundle if changed or profile.size is None else bundle.at_size(profile.size)
    except EcovisionError as e:
        fault = e.message.removesuffix(f"; {AGAIN}")
        return ProfileLookup(ignored=f"the device profile {path} is ignored ({fault}); {again}")
    if changed:
        return ProfileLookup(
            ignored=f"the device profile {path} no longer holds ({'; '.join(changed)}); {again}"
        )
    if profile.artifact not in {a.name for a in own.manifest.artifacts}:
        fault = f"the bundle has no artifact {quoted(profile.artifact)}"
        return ProfileLookup(ignored=f"the device profile {path} is ignored ({fault}); {again}")
    return ProfileLookup(profile)


def load_profile(bundle: Bundle) -> DeviceProfile | None:
    """Load the profile that holds for this bundle on this device; None if there is none. Raises nothing.

    Why one that is there is ignored is logged as a warning of the logger `ecovision_edge`, which goes to
    standard error where the program has not set up logging.
    """
    found = look_up_profile(bundle)
    if found.ignored is not None:
        import logging  # here, since most starts have nothing to say

        logging.getLogger("ecovision_edge").warning("%s", found.ignored)
    return found.profile


def check_profile_folder() -> Path:
    """Make the folder of profiles, and see that a file can be written there, before the work is done.

    Raises:
        ProfileWriteError: it cannot.
    """
    import tempfile  # here, since only who writes needs it

    folder = profile_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as e:
        raise _cannot_save(folder, e) from e
    return folder


def save_profile(profile: DeviceProfile) -> Path:
    """Write the profile of its bundle, whole or not at all; returns the file.

    Raises:
        ProfileWriteError: it cannot be written; one that was there before is untouched.
    """
    folder = check_profile_folder()
    path = folder / f"{profile.key.bundle_sha256}.json"
    try:
        # No secret, and a service may run as another user: everyone may read it.
        replace_file(path, [profile.dumps()], fsync=True, mode=0o644)
    except OSError as e:
        raise _cannot_save(folder, e) from e
    return path


def _cannot_save(folder: Path, error: OSError | ValueError) -> ProfileWriteError:
    reason = error.strerror if isinstance(error, OSError) else None
    return ProfileWriteError(
        f"cannot save a device profile in {folder}",
        expected="a folder to write to",
        found=reason or str(error),
        fix=f"set {PROFILE_DIR_VARIABLE} to another folder",
    )


def _read(path: Path) -> bytes | OSError | None:
    """Read the file's bytes; None where there is none, the error where it cannot be read."""
    try:
        data = read_regular_file(path, _MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        # Where the folder cannot be looked into, nobody knows of a profile.
        return e if is_there(path, link=True) else None
    return data if len(data) <= _MAX_BYTES else OSError(f"more than {_MAX_BYTES} bytes")


def _tuned_before(folder: Path, bundle: Bundle) -> str | None:
    """Return the notice where the bundle at this path had a profile, and `bundle.json` has changed since."""
    try:
        files = sorted(p for p in folder.iterdir() if p.suffix == ".json")[:_MOST_FILES]
        if not files:
            return None
        from ecovision_edge.profile.document import DeviceProfile, place_of

        here = place_of(bundle)
    except (OSError, RuntimeError):
        return None
    for file in files:
        data = _read(file)
        if not isinstance(data, bytes):
            continue
        try:
            profile = DeviceProfile.loads(data, file.name)
        except ContractError:
            continue  # of nobody knows which bundle
        if profile.bundle_path == here:
            return (
                f"the device profile {file} no longer holds ({MANIFEST_NAME} has changed); {_again(bundle)}"
            )
    return None


def _again(bundle: Bundle) -> str:
    path = "" if bundle.path == embedded_bundle_path() else f" {bundle.path}"
    return f"run `ecovision-edge tune{path}` again"
