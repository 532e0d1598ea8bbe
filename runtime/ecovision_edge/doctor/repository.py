"""The repository of updates: whether it is there, and until when its signatures hold.

It is a repository of The Update Framework (https://theupdateframework.github.io/specification/latest/). No
signature is checked here, and nothing is kept: that is what an update does.
"""

from __future__ import annotations

import datetime
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ecovision_edge.base.connecting import time_left
from ecovision_edge.base.fields import Fields, parse_json
from ecovision_edge.base.places import split_place
from ecovision_edge.base.version import __version__
from ecovision_edge.doctor.check import Check, fail, ok, warn
from ecovision_edge.doctor.network import fault_of
from ecovision_edge.errors import ContractError, OptionError

__all__ = ["UPDATE_LIMIT", "Fetch", "check_repository", "fetch_url"]

UPDATE_LIMIT = 20.0
"""Seconds for all requests."""

SOON_OFFLINE, SOON_ONLINE = 30 * 86_400.0, 6 * 3_600.0
"""Seconds before its end at which a signature is told: of keys that somebody has to fetch from a safe, and of
those that a program on the server uses."""

_MOST_BYTES = {"root": 512_000, "timestamp": 16_384, "snapshot": 2_000_000, "targets": 5_000_000}
"""By role; python-tuf's client takes no more."""

_MOST_ROOTS = 2**16
_REFRESH = "whoever publishes has to sign again: ecovision-edge release refresh"
_SIGN = "whoever publishes has to sign again, with the {} key, before that day"

Fetch = Callable[[str, int, float], bytes | None]
"""Gets at most so many bytes of an address until a time of `time.monotonic()`; None where there is no such
file. Raises OSError, ValueError or HTTPException."""


def fetch_url(url: str, most: int, until: float) -> bytes | None:
    """Get an address, as `Fetch`; redirects and proxies are those of `urllib.request`."""
    request = urllib.request.Request(url, headers={"User-Agent": f"ecovision-edge/{__version__}"})  # noqa: S310
    data = b""
    try:
        with urllib.request.urlopen(request, timeout=time_left(until)) as answer:  # noqa: S310 - see check_repository
            while len(data) <= most and (more := answer.read1(2**16)):
                data += more
                time_left(until)
    except urllib.error.HTTPError as e:
        e.close()
        if e.code in (403, 404, 410):  # some stores of files say 403 for what is not there
            return None
        raise OSError(f"HTTP {e.code} {e.reason}") from e
    except urllib.error.URLError as e:
        raise e.reason if isinstance(e.reason, OSError) else OSError(str(e.reason)) from e
    if len(data) > most:
        raise ValueError(f"more than {most} bytes")
    return data


class _Role(NamedTuple):
    """One signed file: its role, its number, and until when it holds, seconds since 1970."""

    name: str
    version: int
    expires: float
    signed: Fields

    def __str__(self) -> str:
        day = datetime.datetime.fromtimestamp(self.expires, datetime.timezone.utc)
        return f"{self.name} {self.version} until {day:%Y-%m-%d %H:%M}"


def check_repository(url: str, now: float, fetch: Fetch = fetch_url, *, until: float | None = None) -> Check:
    """Read what is signed, and when each signature ends.

    Args:
        url: Of the repository, `https://host/path`, as an update gets it.
        now: Time, seconds since 1970.
        fetch: Gets a file.
        until: Time of `time.monotonic()` after which to give up; None is `UPDATE_LIMIT` from now on.
    """
    try:
        place = split_place(url, "updates", "a repository of updates is for everyone: it needs none")
    except OptionError as e:
        return fail("update", e.finding, e.fix or "give https://HOST/PATH")
    name = f"update {place.shown}{place.path}"
    if place.scheme not in ("http", "https"):
        return fail("update", f"no address of a web server: {place.scheme}:", "give https://HOST/PATH")
    until = time.monotonic() + UPDATE_LIMIT if until is None else until
    roles = []
    try:
        for role in _read_roles(url.rstrip("/"), fetch, until):
            roles.append(role)
    except ContractError as e:
        return fail(name, f"no repository of updates: {e.finding}", "look at the address: --update URL")
    except (OSError, ValueError, http.client.HTTPException) as e:
        return fail(name, *fault_of(e, place.port, UPDATE_LIMIT))
    return _judge(name, roles, now)


def _read_roles(url: str, fetch: Fetch, until: float) -> Iterator[_Role]:
    base = f"{url}/metadata"
    data = fetch(f"{base}/timestamp.json", _MOST_BYTES["timestamp"], until)
    if data is None:
        raise ContractError(f"{base}/timestamp.json", found="no such file there")
    timestamp = _role("timestamp", data)
    yield timestamp
    listed = timestamp
    for name in ("snapshot", "targets"):
        version = listed.signed.sub("meta").sub(f"{name}.json").integer("version", 1, 2**31)
        data = fetch(f"{base}/{version}.{name}.json", _MOST_BYTES[name], until)
        if data is None:
            raise ContractError(f"{base}/{version}.{name}.json", found="no such file there")
        listed = _role(name, data)
        yield listed
    yield _newest_root(base, fetch, until)


def _newest_root(base: str, fetch: Fetch, until: float) -> _Role:
    """Find the newest root: they are numbered from 1 without a gap, so by doubling, then by halving."""

    def read(version: int) -> bytes | None:
        return fetch(f"{base}/{version}.root.json", _MOST_BYTES["root"], until)

    there, newest, above = 0, b"", 1
    while above <= _MOST_ROOTS and (data := read(above)) is not None:
        there, newest, above = above, data, above * 2
    if there == 0:
        raise ContractError(f"{base}/1.root.json", found="no such file there")
    while above - there > 1:
        middle = (there + above) // 2
        data = read(middle)
        if data is None:
            above = middle
        else:
            there, newest = middle, data
    return _role("root", newest)


def _role(name: str, data: bytes) -> _Role:
    """Read a signed file. Raises ContractError."""
    fix = "publish it again"
    signed = parse_json(data, f"{name}.json", fix=fix).sub("signed")
    signed.choice("_type", (name,))
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    text = signed.text("expires", pattern=pattern, what="a time in UTC")
    try:
        expires = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        raise signed.wrong("expires", "a time in UTC") from None
    return _Role(name, signed.integer("version", 1, 2**31), expires.timestamp(), signed)


def _judge(name: str, roles: list[_Role], now: float) -> Check:
    found = f"reachable; {', '.join(map(str, roles))}"
    ended = [role for role in roles if role.expires <= now]
    if ended:
        names = " and ".join(role.name for role in ended)
        return fail(name, f"{found}: {names} expired, so no device takes an update", _advice(ended[0]))
    soon = [role for role in roles if role.expires - now < (SOON_OFFLINE if _offline(role) else SOON_ONLINE)]
    return warn(name, f"{found}: {soon[0].name} expires soon", _advice(soon[0])) if soon else ok(name, found)


def _offline(role: _Role) -> bool:
    return role.name in ("root", "targets")


def _advice(role: _Role) -> str:
    return _SIGN.format(role.name) if _offline(role) else _REFRESH
