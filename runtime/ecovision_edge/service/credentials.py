"""Secrets in the addresses of a service: every user of a machine can read its units."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ecovision_edge.errors import OptionError

__all__ = ["refuse_credentials"]

_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_USERINFO = re.compile(r"://(\S*)@")
_PAIR = re.compile(r"(?:[?&;/\s])([A-Za-z][\w.-]*)=([^?&;/\s]+)")
_SECRET_WORD = re.compile(
    r"(?:pass|passwd|pwd|pw|key|apikey|auth|sig|signature|credentials?)|.*(?:password|token|secret)"
)
_RANDOM = re.compile(r"(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[\w:-]{20,}")
_OWN = ("file", "gpio", "mqtt", "mqtts", "serial", "stdout")  # their options are ours, none is a secret
_EXPECTED = "none in a unit: every user can read it"


def refuse_credentials(source: str, sinks: Sequence[str], file: Path, trigger: str | None = None) -> None:
    """Refuse an address with a password, a token or a key written out in it.

    Args:
        source: As `open_source` takes it.
        sinks: As `open_sink` takes them.
        file: Where secrets belong.
        trigger: As `open_trigger` takes it, or None.

    Raises:
        OptionError: there is one; it names the variable and the file to write in its place, and shows nothing
            of the address.
    """
    where = f"into {file}, of mode 0600"
    if _has_password(source):
        fix = f"write ${{CAM_USER}}:${{CAM_PASSWORD}}@ in it, and CAM_USER=... and CAM_PASSWORD=... {where}"
        if source.lower().startswith("gst:"):
            fix = f"a pipeline takes no variables: give the camera as rtsp://; {fix}"
        raise OptionError("password in --source", expected=_EXPECTED, fix=fix)
    _refuse_pairs(source, "--source", "CAM", where)
    for sink in sinks:
        _refuse_in_sink(sink, "--sink", where)
    if trigger is not None:
        _refuse_in_sink(trigger, "--trigger", where)


def _refuse_in_sink(sink: str, option: str, where: str) -> None:
    scheme = sink.partition(":")[0].lower()
    if _has_password(sink):
        fix = f"sign with ECOVISION_EDGE_WEBHOOK_SECRET=..., written {where}"
        if scheme in ("mqtt", "mqtts"):
            names = "ECOVISION_EDGE_MQTT_USERNAME=... and ECOVISION_EDGE_MQTT_PASSWORD=..."
            fix = f"write {names} {where}"
        raise OptionError(
            f"password in {option}", expected="no password in a unit: every user can read it", fix=fix
        )
    if scheme in _OWN:
        return
    _refuse_pairs(sink, option, "HOOK", where)
    path = _VARIABLE.sub("", sink.partition("?")[0])
    if any(_RANDOM.fullmatch(part) for part in path.split("/")[3:]):
        raise OptionError(
            f"path of {option} looks like a key",
            expected=_EXPECTED,
            fix=f"write ${{HOOK_KEY}} in its place, and HOOK_KEY=... {where}",
        )


def _has_password(address: str) -> bool:
    """Whether something behind a colon, which is no variable, stands before an @."""
    return any(match[1].partition(":")[2] for match in _USERINFO.finditer(_VARIABLE.sub("", address)))


def _refuse_pairs(address: str, option: str, prefix: str, where: str) -> None:
    """Refuse `token=...` and its like, in a query or a path."""
    for name, _ in _PAIR.findall(_VARIABLE.sub("", address)):
        words = re.split(r"[._-]", name.lower())
        if words[0] == "ecovision" or words[-1] == "file" or not any(map(_SECRET_WORD.fullmatch, words)):
            continue
        variable = f"{prefix}_{re.sub('[^A-Z0-9]', '_', name.upper())}"
        raise OptionError(
            f"{name}= in {option}",
            expected=_EXPECTED,
            fix=f"write {name}=${{{variable}}} in it, and {variable}=... {where}",
        )
