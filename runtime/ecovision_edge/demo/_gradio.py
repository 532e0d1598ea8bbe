"""The one door through which Gradio comes: quiet, of a version that is known to do, or with the pip line."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import re
import warnings

from ecovision_edge.base.extras import require
from ecovision_edge.base.installation import extra_fix, pip_fix
from ecovision_edge.errors import MissingDependencyError

__all__ = ["LEAST", "check_gradio", "load_gradio"]

LEAST = (6, 31)
"""The least version that was tried; those before 6 take theme and footer in other places."""


def check_gradio() -> None:
    """Check that Gradio is there, and new enough; in a moment, without its import.

    Raises:
        MissingDependencyError: it is not.
    """
    try:
        there = importlib.util.find_spec("gradio") is not None
        found = importlib.metadata.version("gradio")
    except (ValueError, importlib.metadata.PackageNotFoundError):  # ValueError: in sys.modules without a spec
        there = False
    if not there:
        raise MissingDependencyError("gradio is not installed", fix=extra_fix("demo"))
    numbers = re.match(r"(\d+)\.(\d+)", found)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < LEAST:
        least = ".".join(map(str, LEAST))
        raise MissingDependencyError(
            "gradio is too old",
            expected=f"{least} or newer",
            found=found,
            fix=pip_fix(f"gradio>={least}"),
        )


def load_gradio() -> None:
    """Import Gradio, which takes seconds, and let it keep to itself.

    Raises:
        MissingDependencyError: it is not installed, too old, or cannot be imported.
    """
    check_gradio()
    # Read at its import and with each page: no figures of use, no look for a newer version.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    with warnings.catch_warnings():
        # Deprecations in its own dependencies: whoever tries a picture can do nothing about them.
        warnings.simplefilter("ignore")
        require("gradio", "demo")
