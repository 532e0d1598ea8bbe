"""Addresses of network cameras taken apart: host, credentials, and what may be shown of an address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from ecovision_edge.base.addresses import expand_variables, may_be_credentials
from ecovision_edge.base.hosts import host_and_port
from ecovision_edge.errors import SourceError

__all__ = ["NetworkAddress", "network_address"]

_ENCODE = "in user and password write %40 for @, %3A for :, %2F for /, %3F for ? and %23 for #"
# Cheap cameras take user and password in the path: rtsp://host/user=admin&password=1234&channel=1
_SECRET = re.compile(r"pass|pwd|user|token|secret|key|auth|=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NetworkAddress:
    """An address on the network. Neither its text nor its repr shows credentials.

    Args:
        scheme: `rtsp`, `rtsps`, `http` or `https`.
        host: Name or number, an IPv6 address without its brackets.
        port: Given, or that of the scheme.
        shown: What may be shown: scheme, host, port, and the path unless it may hold a secret.
        has_password: Whether user and password are given.
    """

    scheme: str
    host: str
    port: int
    shown: str
    has_password: bool
    _user: str
    _place: str
    _tail: str

    def url(self) -> str:
        """Return the whole address, credentials included: for opening it, not for showing it."""
        return f"{self.scheme}://{self._user}{'@' if self.has_password else ''}{self._place}{self._tail}"

    def page(self) -> str:
        """Return the address without credentials and fragment, in ASCII; the path may hold a secret too."""
        return f"{self.scheme}://{self._place}{quote(self.target(), safe=_IN_TARGET)}"

    def credentials(self) -> tuple[str, str] | None:
        """Return the user and password, decoded; None if the address has none."""
        user, _, password = self._user.partition(":")
        return (unquote(user), unquote(password)) if self.has_password else None

    def target(self) -> str:
        """Return path and query, which may hold a secret too."""
        rest = self._tail.partition("#")[0]
        return rest if rest.startswith("/") else f"/{rest}"

    def __repr__(self) -> str:
        return f"<NetworkAddress {self.shown}>"


_IN_TARGET = "%/:?@!$&'()*+,;=-._~[]"
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


def network_address(url: str, environment: Mapping[str, str]) -> NetworkAddress:
    """Take an address apart, with `${NAME}` replaced by that variable of the environment.

    In user and password a variable's value is percent-encoded, and so is what was written there without:
    the credentials end at the last `@`. Elsewhere a variable is put in as it is.

    Args:
        url: Address without our own options.
        environment: Usually `os.environ`.

    Raises:
        SourceError: no such variable, or no host; or it can be read in two ways, of which one has a
            password. No message shows what may be one.
    """
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    user, place, tail = _parted(rest, scheme, environment)
    found = host_and_port(place)
    assert found is not None  # as `_parted` promises
    host, port = found
    path = tail.partition("?")[0].partition("#")[0]
    shown = f"{scheme}://{place}{'/...' if _SECRET.search(path) or '@' in path else path}"
    return NetworkAddress(
        scheme, host, port or _PORTS[scheme], shown, user is not None, user or "", place, tail
    )


def _parted(rest: str, scheme: str, environment: Mapping[str, str]) -> tuple[str | None, str, str]:
    """Return user and password, percent-encoded, or None; `host:port`; the rest. Raises SourceError."""

    def split(at: int) -> tuple[str | None, str, str] | None:
        """Split with the credentials before `at`, -1 for no credentials; None if no host would follow."""
        end = re.compile(r"[/?#]").search(rest, at + 1)
        stop = end.start() if end else len(rest)
        place = expand_variables(rest[at + 1 : stop], environment, scheme, encode=False)
        found = host_and_port(place)
        if found is None or found[1] == 0:
            return None
        user = None if at < 0 else _encoded(expand_variables(rest[:at], environment, scheme, encode=True))
        return user, place, expand_variables(rest[stop:], environment, scheme, encode=False)

    end = re.search(r"[/?#]", rest)
    at, last = rest.rfind("@", 0, end.start() if end else None), rest.rfind("@")
    found = split(at)  # RFC 3986, 3.2: before the first / ? or #
    # As people write: a password may hold any of those, so what is before the last @ may be user:password.
    written_so = may_be_credentials(rest[: max(last, 0)])
    if last > at and (written_so or "@" in rest[at + 1 :].partition("?")[0]):
        written = split(last) if written_so else None
        if found is not None or written is None:
            raise SourceError(
                f"a {scheme}:// address with an @ after its first /, ? or # can be read in two ways",
                fix=f"{_ENCODE}; in path and query write %40 for @",
            )
        found = written
    if found is None:
        raise SourceError(
            f"host of a {scheme}:// address", expected="host or host:port, port 1 to 65535", fix=_ENCODE
        )
    return found


def _encoded(credentials: str) -> str:
    """Percent-encode what is not yet, so that what reads it next finds the end."""
    return quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", credentials), safe="%:!$&'()*+,;=-._~")
