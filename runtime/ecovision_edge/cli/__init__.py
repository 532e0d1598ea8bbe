"""The command line: one door, `ecovision-edge`. Thin: parse, call the library, print.

`main(argv) -> int` never raises for an error of the user's: one line on standard error, and an exit status, 0
good, 1 a check failed, 2 misuse. `--debug` shows the traceback instead.
"""

import sys
from collections.abc import Sequence

from ecovision_edge.base.installation import missing_library
from ecovision_edge.base.old_cpu import refuse_old_x86
from ecovision_edge.cli.output import tell
from ecovision_edge.errors import MissingDependencyError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status. As `cli.app.main`, also where Typer is not installed.

    Args:
        argv: Its arguments; None is the program itself.
    """
    try:
        arguments = sys.argv[1:] if argv is None else argv
        if next((word for word in arguments if word[:1] != "-"), "") != "doctor":  # which tells of it
            refuse_old_x86()
        from ecovision_edge.cli import app
    except ImportError as e:
        missing = e if isinstance(e, MissingDependencyError) else missing_library(e)
        if missing is None:
            raise
        tell(f"ecovision-edge: {missing.message}\n")
        return missing.exit_status
    return app.main(argv)
