"""Reading from a web server within limits: of time, of bytes, and of bytes a second."""

from __future__ import annotations

import base64
import contextlib
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from ecovision_edge.base.reasons import reason_of
from ecovision_edge.base.records import dataclass
from ecovision_edge.base.version import __version__
from ecovision_edge.errors import FetchError
from ecovision_edge.updates.asking import Limits

__all__ = ["Answer", "Web"]

_CHUNK = 65_536
_LITTLE = 4096  # bytes, of a page that says that there is no such file
_MOST_REDIRECTS = 3
_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answers.

    Args:
        status: Of HTTP.
        start: Where in the file its first byte stands: 0, whatever was asked for, if the file comes whole.
        total: Size of the file in bytes, if the server says so.
        chunks: Its bytes, once; raises FetchError where they break off.
    """

    status: int
    start: int
    total: int | None
    chunks: Iterator[bytes]


class Web:
    """Reads from servers until its time is over. Proxies are those of the environment.

    Args:
        limits: The time begins now.
        clock: Seconds that never go back.
        sleep: Waits seconds.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limits, self._clock, self._sleep = limits, clock, sleep
        self._begun = clock()
        self._came = 0
        self._pools: dict[str | None, urllib3.PoolManager] = {}

    @property
    def came(self) -> int:
        """Bytes that came so far."""
        return self._came

    def pause(self, seconds: float) -> None:
        """Wait, if the time allows it; raises FetchError."""
        self._sleep(min(seconds, self._left()))

    @contextlib.contextmanager
    def get(self, url: str, start: int = 0) -> Iterator[Answer]:
        """Ask for a file, from byte `start` on if the server can do that.

        Raises:
            FetchError: no answer in time.
        """
        headers = {"Accept-Encoding": "identity", "User-Agent": f"ecovision-edge/{__version__}"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            response = self._pool(url).request(
                "GET",
                url,
                headers=headers,
                preload_content=False,
                timeout=urllib3.Timeout(min(self._limits.stall, self._left())),
                retries=urllib3.Retry(total=_MOST_REDIRECTS, connect=0, read=0, status=0, other=0),
            )
        except (HTTPError, OSError, ValueError) as e:  # ValueError: what a server redirects to
            raise _broken(url, e) from e
        whole = False
        try:
            begins, total = _place(response, start)
            yield Answer(response.status, begins, total, self._chunks(response, url))
            whole = True
        finally:
            # A connection on which something is left to read cannot carry the next question.
            if whole and self._is_drained(response):
                response.release_conn()
            else:
                response.close()

    def _chunks(self, response: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
        rate = self._limits.rate
        size = _CHUNK if rate is None else int(min(_CHUNK, max(1024, rate / 4)))
        while True:
            self._left(url)
            try:
                chunk = response.read1(size, decode_content=False)
            except (HTTPError, OSError) as e:
                raise _broken(url, e) from e
            if not chunk:
                return
            self._came += len(chunk)
            yield chunk
            if rate is not None:
                early = self._begun + self._came / rate - self._clock()
                if early > 0:
                    self.pause(early)

    def _is_drained(self, response: urllib3.BaseHTTPResponse) -> bool:
        """Return whether an answer was read to its end; the little that a 404 has is read here."""
        with contextlib.suppress(HTTPError, OSError):
            while 0 < (response.length_remaining or 0) <= _LITTLE and self._has_time():
                if not response.read1(_LITTLE, decode_content=False):
                    break
        return response.length_remaining == 0

    def _has_time(self) -> bool:
        return self._clock() < self._begun + self._limits.seconds

    def _left(self, url: str = "") -> float:
        left = self._begun + self._limits.seconds - self._clock()
        if left <= 0:
            raise FetchError(
                "fetching takes too long",
                expected=f"an end within {self._limits.seconds:g} s",
                found=f"{self._came} bytes in that time" + (f", the last ones of {url}" if url else ""),
                fix="it goes on from here the next time",
            )
        return left

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = urllib.request.getproxies().get(parts.scheme)
        if proxy and urllib.request.proxy_bypass(parts.netloc):
            proxy = None
        if proxy not in self._pools:
            self._pools[proxy] = _through(proxy) if proxy else urllib3.PoolManager()
        return self._pools[proxy]


def _through(proxy: str) -> urllib3.PoolManager:
    """Return connections through a proxy, with the user and the password of its address if it has them."""
    parts = urlsplit(proxy)
    if parts.username is None:
        return urllib3.ProxyManager(proxy)
    both = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    headers = {"Proxy-Authorization": f"Basic {base64.b64encode(both.encode()).decode()}"}
    return urllib3.ProxyManager(proxy, proxy_headers=headers)


def _place(response: urllib3.BaseHTTPResponse, start: int) -> tuple[int, int | None]:
    """Return where an answer begins and how large the file is: a server may give all of it (status 200)."""
    if response.status == 206:
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != start:
            raise FetchError("a part of a file", expected=f"bytes from {start}", found="another part")
        return start, int(match[3])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"\d{1,15}", length) and response.status == 200 else None


def _broken(url: str, error: Exception) -> FetchError:
    """Return the error about an answer that does not come, or not whole."""
    reason = getattr(error, "reason", None)
    cause = reason if isinstance(reason, Exception) else error
    words = re.sub(r"^<[^>]*>: |^[A-Za-z]+\([^)]*\): ", "", reason_of(cause))
    if words.count(")") > words.count("("):  # what is left of an error within an error
        words = words.rstrip(")")
    return FetchError(f"cannot fetch {url}", found=words)
