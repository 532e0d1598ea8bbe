"""The one door through which optional libraries come, so that a missing one gives the pip line to run."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from typing import TYPE_CHECKING

from ecovision_edge.base.installation import extra_fix
from ecovision_edge.errors import MissingDependencyError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["release_numbers", "require"]


def require(module: str, extra: str, minimum: str | None = None) -> ModuleType:
    """Import `module`, which the extra `extra` of ecovision-edge brings.

    Args:
        module: Import name, for example `torch` or `huggingface_hub.errors`.
        extra: The extra of ecovision-edge that installs it, for example `export`.
        minimum: Least version of the library, for example `2.7`; None takes any.

    Raises:
        MissingDependencyError: not installed, older than `minimum`, or installed but broken.
    """
    top = module.partition(".")[0]
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as e:
        if e.name is not None and e.name.partition(".")[0] != top:
            # The library is there, but one that it needs itself is not.
            raise MissingDependencyError(
                f"{top} needs {e.name}, which is not installed", fix=extra_fix(extra)
            ) from e
        raise MissingDependencyError(f"{module} is not installed", fix=extra_fix(extra)) from e
    except Exception as e:
        # Binary libraries fail in their own ways: torchvision built for another torch raises RuntimeError,
        # a missing shared object OSError or ImportError.
        reason = f"{type(e).__name__}: {str(e)[:200]}"
        raise MissingDependencyError(
            f"{module} is installed but cannot be imported ({reason})", fix=extra_fix(extra)
        ) from e
    if minimum is not None:
        found = _version(imported, top)
        if found is None or release_numbers(found) < release_numbers(minimum):
            raise MissingDependencyError(
                f"{top} is too old",
                expected=f"{minimum} or newer",
                found=found or "no version",
                fix=extra_fix(extra),
            )
    return imported


def _version(imported: ModuleType, top: str) -> str | None:
    """Return what the module says of itself, else what its installer wrote down."""
    own = getattr(imported, "__version__", None)
    if isinstance(own, str):
        return own
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        return None


def release_numbers(version: str) -> tuple[int, ...]:
    """Read the release numbers of a version, `2.7.0+cpu` as (2, 7): enough to compare."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:  # 2.0 is not older than 2.0.0
        numbers.pop()
    return tuple(numbers)
