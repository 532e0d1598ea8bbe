"""Addresses of sources taken apart: options, credentials, and what may be shown of an address.

`Options` are those of `?name=value&name=value`, asked for one by one; what nobody asked for is an error.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, unquote

from ecovision_edge.errors import OptionError, SourceError

__all__ = [
    "FOREIGN_PREFIX",
    "NetworkAddress",
    "OptionProblem",
    "Options",
    "expand_variables",
    "may_be_credentials",
    "network_address",
    "split_foreign",
    "split_options",
    "split_pairs",
]

FOREIGN_PREFIX = "ecovision."
"""Before our own options in text whose `?` belongs to somebody else: addresses and pipelines."""

OptionProblem = type[SourceError] | type[OptionError]
"""What a wrong option raises: SourceError of a source, OptionError of anything else."""

_Number = TypeVar("_Number", int, float)

_PAIRS = re.compile(r"(?:[A-Za-z][\w.-]*=[^&?/]*)(?:&[A-Za-z][\w.-]*=[^&?/]*)*")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\[\]:@\s]+)(?::(?P<port>\d{1,5}))?")
_ENCODE = "in user and password write %40 for @, %3A for :, %2F for /, %3F for ? and %23 for #"
# Cheap cameras take user and password in the path: rtsp://host/user=admin&password=1234&channel=1
_SECRET = re.compile(r"pass|pwd|user|token|secret|key|auth|=", re.IGNORECASE)


class Options:
    """The options of one address. Each getter takes one out; `done` refuses what is left over.

    Args:
        of: The source or the sink, for messages; without credentials.
        pairs: Names and values, as written.
        prefix: What stands before each name in the address, for messages.
        problem: What the getters and `done` raise.
    """

    def __init__(
        self, of: str, pairs: Mapping[str, str], prefix: str = "", *, problem: OptionProblem = SourceError
    ) -> None:
        self._of, self._left, self._prefix, self._problem = of, dict(pairs), prefix, problem
        self._known: list[str] = []

    def text(self, name: str) -> str | None:
        """The value as written; None if it was not given."""
        self._known.append(name)
        return self._left.pop(name, None)

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number from `low` to `high`, or None; raises `problem`."""
        return self._number(name, int, f"a whole number from {low} to {high}", low, high)

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number above `low`, up to `high`, or None; raises `problem`."""
        expected = f"a number above {low:g}, at most {high:g}"
        value = self._number(name, float, expected, low, high)
        if value is not None and value == low:
            raise self.error(name, expected, f"{value:g}")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """One of `choices`, or None; raises `problem`."""
        value = self.text(name)
        if value is not None and value not in choices:
            raise self.error(name, " or ".join(choices), value or "nothing")
        return value

    def flag(self, name: str) -> bool:
        """Whether it is 1; not given is 0. Raises `problem` for anything else."""
        return self.choice(name, ("0", "1")) == "1"

    def done(self) -> None:
        """Raise `problem` if there is an option that no getter asked for."""
        for name in self._left:
            near = difflib.get_close_matches(name, self._known, 1)
            known = ", ".join(self._prefix + n for n in sorted(self._known))
            raise self._problem(
                f"unknown option of {self._of}",
                expected=f"one of {known}" if known else "no options",
                found=self._prefix + name,
                fix=f"did you mean {self._prefix}{near[0]}?" if near else None,
            )

    def error(self, name: str, expected: str, found: str) -> SourceError | OptionError:
        """The error of a wrong value."""
        return self._problem(f"option {self._prefix}{name} of {self._of}", expected=expected, found=found)

    def _number(
        self, name: str, kind: type[_Number], expected: str, low: float, high: float
    ) -> _Number | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            value = kind(text)
        except ValueError:
            raise self.error(name, expected, text or "nothing") from None
        if not (math.isfinite(value) and low <= value <= high):
            raise self.error(name, expected, text)
        return value


def split_options(uri: str, *, problem: OptionProblem = SourceError) -> tuple[str, dict[str, str]]:
    """`path?name=value&name=value` to the path and its options; a `?` before anything else is the path's.

    Raises `problem` if an option is given twice.
    """
    before, mark, after = uri.rpartition("?")
    if not mark or not _PAIRS.fullmatch(after):
        return uri, {}
    return before, split_pairs(after, problem=problem)


def split_foreign(text: str, *, problem: OptionProblem = SourceError) -> tuple[str, dict[str, str]]:
    """An address or a pipeline, and the options with our prefix in its query, without the prefix.

    All else is left as it was, in its order. Raises `problem` if an option is given twice.
    """
    before, mark, query = text.rpartition("?")
    if not mark or FOREIGN_PREFIX not in query:
        return text, {}
    parts = query.split("&")
    ours = [p for p in parts if p.startswith(FOREIGN_PREFIX)]
    rest = "&".join(p for p in parts if not p.startswith(FOREIGN_PREFIX))
    mine = split_pairs("&".join(ours), prefix=FOREIGN_PREFIX, problem=problem)
    return f"{before}?{rest}" if rest else before, mine


def split_pairs(
    query: str, *, prefix: str = "", decode: bool = True, problem: OptionProblem = SourceError
) -> dict[str, str]:
    """`name=value&name=value`, without the prefix of the names.

    Args:
        query: As written, without its `?`; may be empty.
        prefix: Taken off each name.
        decode: Whether the values are percent-decoded.
        problem: What is raised if an option is given twice.
    """
    pairs: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, _, value = part.removeprefix(prefix).partition("=")
        if name in pairs:
            raise problem(f"option {prefix}{name}", expected="once", found="twice")
        pairs[name] = unquote(value) if decode else value
    return pairs


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
        """The whole address, credentials included: for opening it, not for showing it."""
        return f"{self.scheme}://{self._user}{'@' if self.has_password else ''}{self._place}{self._tail}"

    def page(self) -> str:
        """The address without credentials and fragment, in ASCII; the path may hold a secret too."""
        return f"{self.scheme}://{self._place}{quote(self.target(), safe=_IN_TARGET)}"

    def credentials(self) -> tuple[str, str] | None:
        """User and password, decoded; None if the address has none."""
        user, _, password = self._user.partition(":")
        return (unquote(user), unquote(password)) if self.has_password else None

    def target(self) -> str:
        """Path and query, which may hold a secret too."""
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
        url: Without our own options.
        environment: Usually `os.environ`.

    Raises:
        SourceError: no such variable, or no host; or it can be read in two ways, of which one has a
            password. No message shows what may be one.
    """
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    user, host, tail = _parted(rest, scheme, environment)
    match = _HOST.fullmatch(host)
    assert match is not None
    port = int(match["port"] or _PORTS[scheme])
    path = tail.partition("?")[0].partition("#")[0]
    shown = f"{scheme}://{host}{'/...' if _SECRET.search(path) or '@' in path else path}"
    return NetworkAddress(
        scheme, match["host"].strip("[]"), port, shown, user is not None, user or "", host, tail
    )


def _parted(rest: str, scheme: str, environment: Mapping[str, str]) -> tuple[str | None, str, str]:
    """User and password percent-encoded or None, `host:port`, and what follows; raises SourceError."""

    def split(at: int) -> tuple[str | None, str, str] | None:
        """Split with the credentials before `at`, -1 for no credentials; None if no host would follow."""
        end = re.compile(r"[/?#]").search(rest, at + 1)
        stop = end.start() if end else len(rest)
        host = expand_variables(rest[at + 1 : stop], environment, scheme, encode=False)
        match = _HOST.fullmatch(host)
        if not match or not 0 < int(match["port"] or 1) < 65536:
            return None
        user = None if at < 0 else _encoded(expand_variables(rest[:at], environment, scheme, encode=True))
        return user, host, expand_variables(rest[stop:], environment, scheme, encode=False)

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


def may_be_credentials(text: str) -> bool:
    """Whether what stands before an `@` in an address looks like `user:password`; an IPv6 host does not."""
    return ":" in re.sub(r"^\[[0-9A-Fa-f:.%]+\]", "", text)


def _encoded(credentials: str) -> str:
    """With what is not percent-encoded yet, so that what reads it next finds the end."""
    return quote(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", credentials), safe="%:!$&'()*+,;=-._~")


def expand_variables(
    text: str,
    environment: Mapping[str, str],
    scheme: str,
    *,
    encode: bool,
    problem: OptionProblem = SourceError,
) -> str:
    """The text with `${NAME}` replaced by that variable of the environment.

    Args:
        text: A part of an address.
        environment: Usually `os.environ`.
        scheme: Of the address, for messages.
        encode: Whether a value is percent-encoded, whole.
        problem: What is raised if there is no such variable, or no name.
    """

    def value(match: re.Match[str]) -> str:
        found = environment.get(match[1])
        if found is None:
            raise problem(
                f"${{{match[1]}}} in a {scheme}:// address",
                expected="a variable of the environment",
                found="none of that name",
            )
        return quote(found, safe="") if encode else found

    if "${" in _VARIABLE.sub("", text):
        raise problem(
            f"${{ in a {scheme}:// address",
            expected="${NAME}, the name of letters, digits and _",
            fix="write %24 for a plain $",
        )
    return _VARIABLE.sub(value, text)
