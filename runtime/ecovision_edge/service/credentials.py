"""Secrets in the addresses of a service: every user of a machine can read its units."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ecovision_edge.errors import OptionError

__all__ = ["refuse_credentials"]

_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_USERINFO = re.compile(r"://(\S*)@")
_NAME = re.compile(r"([A-Za-z][\w.-]*)=(?=[^?&;/#\s])")
_SECRET_WORD = re.compile(
    r"(?:pass|passcode|passphrase|pwd|pw|key|auth|sig|signature|credentials?)|.*(?:pas|passwd|password|passwort|token|secret|apikey)"
)
_RANDOM = re.compile(r"(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[\w:-]{20,}")
# Where ordinary words are long too, as in the path of a camera: letters of all kinds, hexadecimal, a UUID.
_RANDOM_WORD = re.compile(
    r"(?=.*[0-9])(?=.*[A-Z])(?=.*[a-z])[A-Za-z0-9]{16,}|(?=.*[0-9])(?=.*[A-Fa-f])[0-9A-Fa-f-]{32,}"
)
_OWN = ("file", "gpio", "mqtt", "mqtts", "serial", "stdout")  # their options are ours, none is a secret
_EXPECTED = "none in a unit: every user can read it"


def refuse_credentials(
    source: str, sinks: Sequence[str], file: Path, trigger: str | None = None, update: str | None = None
) -> None:
    """Refuse an address with a password, a token or a key written out in it.

    Args:
        source: Address that `open_source` takes.
        sinks: Addresses that `open_sink` takes.
        file: Where secrets belong.
        trigger: Address that `open_trigger` takes, or None.
        update: Address of a repository of releases, or None.

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
    if "://" in source:
        _refuse_random(source, "--source", "CAM", where, _RANDOM_WORD)
    for sink in sinks:
        _refuse_in_sink(sink, "--sink", where)
    if trigger is not None:
        _refuse_in_sink(trigger, "--trigger", where)
    if update is not None and any(mark in update for mark in "@?#"):
        fix = "what is fetched is signed: let the server give it to everyone, or to this network"
        raise OptionError("more than a place in --update", expected="no user, no password, no query", fix=fix)


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
    _refuse_random(sink, option, "HOOK", where, _RANDOM)


def _refuse_random(address: str, option: str, prefix: str, where: str, random: re.Pattern[str]) -> None:
    """Refuse what looks like a key, whatever it is called: a part of the path, or a value behind it."""
    path, *behind = re.split(r"[?#]", _VARIABLE.sub("", address))
    pairs = [pair.partition("=") for part in behind for pair in re.split("[&;]", part)]
    values = [value for name, _, value in pairs if not name.startswith("ecovision.")]
    for what, parts, pattern in (("path", path.split("/")[3:], random), ("query", values, _RANDOM_WORD)):
        if any(pattern.fullmatch(part) for part in parts):
            raise OptionError(
                f"{what} of {option} looks like a key",
                expected=_EXPECTED,
                fix=f"write ${{{prefix}_KEY}} in its place, and {prefix}_KEY=... {where}",
            )


def _has_password(address: str) -> bool:
    """Return whether something behind a colon, which is no variable, stands before an @."""
    return any(match[1].partition(":")[2] for match in _USERINFO.finditer(_VARIABLE.sub("", address)))


def _refuse_pairs(address: str, option: str, prefix: str, where: str) -> None:
    """Refuse `token=...` and its like, in a query or a path."""
    text = _VARIABLE.sub("", address)
    for match in _NAME.finditer(text):
        name = match[1]
        words = re.split(r"[._-]", name.lower())
        secret = [word for word in words if _SECRET_WORD.fullmatch(word)]
        if words[0] == "ecovision" or words[-1] == "file" or not secret:
            continue
        before = text[: match.start()][-1:]
        if before not in {"", "?", "&", ";", "/", "#"} and not before.isspace():
            # Of `user=admin_password=...` the first half is a value.
            name = secret[-1]
        variable = f"{prefix}_{re.sub('[^A-Z0-9]', '_', name.upper())}"
        raise OptionError(
            f"{name}= in {option}",
            expected=_EXPECTED,
            fix=f"write {name}=${{{variable}}} in it, and {variable}=... {where}",
        )
