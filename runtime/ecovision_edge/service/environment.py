"""The environment that a service starts with: the file of its secrets, read as systemd reads it.

Sources: the manual page systemd.exec(5), `EnvironmentFile=` and "Environment variables in spawned processes".
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ecovision_edge.errors import OptionError

__all__ = [
    "environment_file",
    "environment_path",
    "parse_environment",
    "service_environment",
    "user_config_folder",
]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GIVEN = ("PATH", "LANG", "HOME", "USER", "LOGNAME", "SHELL", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME")


def environment_file(user_unit: bool) -> str:
    """Return the file of secrets, as a unit names it."""
    return f"{'%E' if user_unit else '/etc'}/ecovision-edge.env"


def user_config_folder() -> Path:
    """Return the user's configuration folder, `$XDG_CONFIG_HOME` or `~/.config`: `%E` of a user's unit."""
    import platformdirs

    return platformdirs.user_config_path()


def environment_path(user_unit: bool) -> Path:
    """Return the file of secrets, as a path."""
    if not user_unit:
        return Path(environment_file(user_unit))
    return Path(environment_file(user_unit).replace("%E", str(user_config_folder())))


def parse_environment(text: str) -> dict[str, str]:
    r"""Read the variables of such a file: `NAME=value` per line; empty lines, `#` and `;` are passed over.

    A value may be quoted; a backslash keeps the next character, and joins the next line to this one. What is
    no assignment is passed over, as systemd does.
    """
    variables: dict[str, str] = {}
    for line in re.sub(r"(?<!\\)((?:\\\\)*)\\\n", r"\1", text).split("\n"):
        name, equals, value = line.strip().partition("=")
        if equals and _NAME.fullmatch(name.strip()):  # the name of a comment has its mark
            variables[name.strip()] = _unquoted(value.strip())
    return variables


def _unquoted(text: str) -> str:
    """Take quotes and backslashes off a value."""
    value, quote, at = "", "", 0
    while at < len(text):
        c = text[at]
        at += 1
        if c == "\\" and quote != "'" and at < len(text):
            value += text[at]
            at += 1
        elif quote and c == quote:
            quote = ""
        elif not quote and c in "\"'":
            quote = c
        else:
            value += c
    return value


@contextlib.contextmanager
def service_environment(file: Path, more: Mapping[str, str]) -> Iterator[None]:
    """Give this process the environment of the service in place of its own.

    Args:
        file: File of secrets; it need not be there.
        more: What the unit itself sets.

    Raises:
        OptionError: the file is there and cannot be read.
    """
    try:
        text = file.read_text("utf-8", "replace")
    except FileNotFoundError:
        text = ""
    except OSError as e:
        raise OptionError(
            f"environment file {file}",
            expected="one that can be read: what the service will find there is checked",
            found=e.strerror,
            fix="run this command as root",
        ) from e
    before = dict(os.environ)
    given = {name: before[name] for name in _GIVEN if name in before}
    os.environ.clear()
    os.environ.update({**given, **more, **parse_environment(text)})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
