"""Facts about the words of other libraries' errors."""

import errno
import os
import ssl

import pytest

from ecovision_edge.base.reasons import reason_of

MISSING = "No such file or directory"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(errno.ENOENT, MISSING, "/dev/x"), MISSING),
        (OSError(errno.ENOENT, f"could not open port /dev/x: [Errno 2] {MISSING}: '/dev/x'"), MISSING),
        (OSError(f"[Errno 2] {MISSING}: '/a' -> '/b'"), MISSING),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "Connection refused"),
        (
            ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1007)"),
            "wrong version number",
        ),
        (ValueError("\n\n  the first line \nthe second"), "the first line"),
        (ValueError("'a' is not in: 'b'"), "'a' is not in: 'b'"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("x" * 1000), "x" * 200),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else type(value).__name__,
)
def test_the_reason_is_said_alone(error, reason):
    """Without number, path and place in a library's source."""
    assert reason_of(error) == reason


def test_a_real_error_s_reason_is_the_system_s(tmp_path):
    """Whatever it was raised by."""
    with pytest.raises(OSError, match="Errno") as caught:
        os.replace(tmp_path / "a", tmp_path / "b")  # noqa: PTH105 - its error has two names
    assert reason_of(caught.value) == os.strerror(errno.ENOENT)
