"""The command line: one door, `ecovision-edge`. Thin: parse, call the library, print.

`main(argv) -> int` never raises for an error of the user's: one line on standard error, and an exit status, 0
good, 1 a check failed, 2 misuse. `--debug` shows the traceback instead.
"""

from ecovision_edge.cli.app import main

__all__ = ["main"]
