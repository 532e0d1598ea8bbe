"""What another library's error says, in words that fit into a message of ours."""

from __future__ import annotations

import re

__all__ = ["reason_of"]

_MOST = 200  # characters
_NUMBER = r".*\[(?:Errno -?[0-9]+|SSL: [A-Z0-9_]+)\] "  # compiled, by re, only when something failed
_TAIL = r"(?:: '[^']*'(?: -> '[^']*')?| \(_ssl\.c:[0-9]+\))$"


def reason_of(error: BaseException) -> str:
    """Return the reason alone, as `found` of an error whose problem names file, device or host already.

    Libraries repeat all of it: `could not open port /dev/ttyACM0: [Errno 2] No such file or directory:
    '/dev/ttyACM0'` is "No such file or directory" here.

    Returns:
        The first line that says something, without numbers of errors and what stands before them, and
        without a path at its end, at most 200 characters; the error's type if it says nothing.
    """
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    line = next((stripped for line in text.splitlines() if (stripped := line.strip())), "")
    if number := re.match(_NUMBER, line):
        line = re.sub(_TAIL, "", line[number.end() :])
    return line[:_MOST] or type(error).__name__
