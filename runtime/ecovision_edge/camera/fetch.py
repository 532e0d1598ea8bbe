"""One GET of a camera's address, with the authentication and the redirects that FFmpeg does too.

The certificate of https is not checked, nor does FFmpeg: cameras sign their own. So whoever can come between
can read what goes over it; a camera that offers Digest gets no password.
"""

from __future__ import annotations

import base64
import http.client
import select
import socket
import ssl
import time
from dataclasses import dataclass
from email.message import Message
from urllib.parse import urljoin, urlsplit

from ecovision_edge.base.version import __version__
from ecovision_edge.camera.chunked import Chunks
from ecovision_edge.camera.digest import digest_answer
from ecovision_edge.camera.uri import NetworkAddress

__all__ = ["Answer", "get"]

_MOST_REQUESTS = 8  # of one GET: redirects, and each again with credentials
_MOVED = frozenset({301, 302, 303, 307, 308})
_CHUNK = 2**16


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose body was not read yet.

    Args:
        status: Status of HTTP.
        reason: In the server's words.
        headers: Headers of the answer.
    """

    status: int
    reason: str
    headers: Message
    _connection: http.client.HTTPConnection
    _socket: socket.socket
    _body: http.client.HTTPResponse
    _chunks: Chunks | None

    @property
    def kind(self) -> str:
        """Type of the content, such as `image/jpeg`; empty if it is not told."""
        return self.headers.get_content_type() if "Content-Type" in self.headers else ""

    @property
    def boundary(self) -> str | None:
        """The boundary that a multipart answer declares."""
        found = self.headers.get_param("boundary")
        return found.strip() if isinstance(found, str) else None

    @property
    def words(self) -> str:
        """Status and type of the content, for a message."""
        words = f"HTTP {self.status} {self.reason}".rstrip()
        return f"{words} with {self.kind or 'no content type'}" if self.status == http.client.OK else words

    def read_some(self, deadline: float) -> bytes | None:
        """Return the bytes that come next, at most 64 KiB; None at the end.

        Where `more_waits` it does not wait; what came may be none of the content yet, so empty.

        Raises:
            TimeoutError: none came before `deadline`, seconds of `time.monotonic()`.
            OSError, http.client.HTTPException: the connection failed, or its chunks are malformed.
        """
        if self._ended:
            return None
        self._socket.settimeout(_left(deadline))
        data = self._body.read1(_CHUNK)
        if not data:
            return None
        return data if self._chunks is None else self._chunks.feed(data)

    def more_waits(self) -> bool:
        """Return whether bytes have come already that nobody has read."""
        return not self._ended and bool(select.select([self._socket], [], [], 0)[0])

    @property
    def _ended(self) -> bool:
        """Whether all was read; Python 3.13 closes the socket with the last byte, and 3.12.1 after it."""
        return self._body.isclosed() or (self._chunks is not None and self._chunks.ended)

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._body.close()
        self._connection.close()


def get(address: NetworkAddress, timeout: float) -> Answer:
    """Ask for an address; credentials go only to its own host, and only when they are asked for.

    Raises:
        TimeoutError: no whole answer within `timeout` seconds.
        OSError, ValueError, http.client.HTTPException: no connection, or no sound answer.
    """
    deadline, home = time.monotonic() + timeout, address.page()
    url, authorization = home, None
    for _ in range(_MOST_REQUESTS):
        answer = _ask(url, authorization, deadline)
        place = answer.headers.get("Location")
        if answer.status in _MOVED and place is not None:
            url, authorization = urljoin(url, place), None
        elif answer.status == http.client.UNAUTHORIZED and authorization is None and _same(url, home):
            authorization = _authorization(answer.headers, url, address.credentials())
            if authorization is None:
                return answer
        else:
            return answer
        answer.close()
    raise ValueError("too many redirects")


def _same(url: str, home: str) -> bool:
    """Return whether both are of one server: scheme, host and port."""
    return urlsplit(url)[:2] == urlsplit(home)[:2]


def _ask(url: str, authorization: str | None, deadline: float) -> Answer:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a redirect to something else than http:// and https://")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=_left(deadline), context=context
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_left(deadline))
    headers = {"User-Agent": f"ecovision-edge/{__version__}", "Accept": "*/*"}
    if authorization is not None:
        headers["Authorization"] = authorization
    try:
        connection.connect()
        opened = connection.sock
        opened.settimeout(_left(deadline))
        connection.request("GET", _target(url), headers=headers)
        answer = connection.getresponse()
    except BaseException:
        connection.close()
        raise
    chunks = Chunks() if answer.chunked else None
    if chunks is not None:  # what it reads is then what comes, and it waits for no next chunk
        answer.chunked, answer.length = False, None
    return Answer(answer.status, answer.reason, answer.headers, connection, opened, answer, chunks)


def _target(url: str) -> str:
    """Return path and query of an address."""
    parts = urlsplit(url)
    return f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _authorization(headers: Message, url: str, credentials: tuple[str, str] | None) -> str | None:
    """Return what answers the server's challenges: Digest, else Basic, or None."""
    if credentials is None:
        return None
    offered: dict[str, list[str]] = {}
    for challenge in headers.get_all("WWW-Authenticate", []):
        scheme, _, rest = challenge.strip().partition(" ")
        offered.setdefault(scheme.lower(), []).append(rest)
    answer = digest_answer(offered.get("digest", []), credentials, _target(url))
    if answer is not None:
        return f"Digest {answer}"
    if "basic" in offered:
        return f"Basic {base64.b64encode(':'.join(credentials).encode()).decode('ascii')}"
    return None
