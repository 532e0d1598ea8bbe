"""One POST after another over a kept connection, each of which ends in time, whatever the server does."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from ecovision_edge.base.connecting import connect, time_left

if TYPE_CHECKING:
    from typing_extensions import Buffer  # of Python 3.12

__all__ = ["HttpClient"]

_MOST_ANSWER = 2**20  # bytes of an answer, which nobody reads


class HttpClient:
    """Speaks to one server; for one thread.

    Args:
        host, port: Of the server; None is the usual port.
        tls: Verifies it; None speaks in the clear.
    """

    def __init__(self, host: str, port: int | None, tls: ssl.SSLContext | None) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._connection: http.client.HTTPConnection | None = None
        self._line: _Line | None = None

    def post(
        self, target: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> http.client.HTTPResponse:
        """Take the answer, its body read and forgotten; a kept connection that has died is no failure.

        Args:
            target: Path and query.
            body: Of the request.
            headers: Beside those that every request has.
            timeout: Seconds for all of it, connecting and the answer's last byte included; only the resolver
                of names has a time of its own.

        Raises:
            OSError, http.client.HTTPException, ValueError: no answer, or none of HTTP.
        """
        until = time.monotonic() + timeout
        while True:
            kept = self._connection is not None
            try:
                return self._post(target, body, headers, until)
            except (ConnectionError, http.client.RemoteDisconnected):
                # Servers end a connection on which nothing comes. A second request has to be harmless.
                self.close()
                if not kept:
                    raise
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Hang up; idempotent."""
        connection, self._connection, self._line = self._connection, None, None
        if connection is not None:
            connection.close()

    def _post(
        self, target: str, body: bytes, headers: Mapping[str, str], until: float
    ) -> http.client.HTTPResponse:
        if self._connection is None or self._line is None:
            self._connect(until)
        assert self._connection is not None
        assert self._line is not None
        self._line.until = until
        self._connection.request("POST", target, body, headers)
        answer = self._connection.getresponse()
        answer.read(_MOST_ANSWER)
        # If there is more of it, the next answer would begin with that; and the server may have said goodbye.
        if not answer.isclosed() or self._connection.sock is None:
            self.close()
        return answer

    def _connect(self, until: float) -> None:
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, context=self._tls)
        connected = connect(self._host, connection.port, until)
        if self._tls is not None:
            with contextlib.closing(connected):  # its descriptor is the other's then
                connected = self._tls.wrap_socket(connected, server_hostname=self._host)
        line = _Line(connected)
        connection.sock = cast("socket.socket", line)  # of which no more is used
        self._connection, self._line = connection, line


class _Line:
    """What http.client uses of a socket; all of it has to be done by `until`, of `time.monotonic`."""

    def __init__(self, connected: socket.socket) -> None:
        self._connected, self.until = connected, 0.0

    def sendall(self, data: Buffer) -> None:
        """Send; a socket's own would begin its time again with each piece, over TLS."""
        rest = memoryview(data)
        while rest:
            self._connected.settimeout(time_left(self.until))
            rest = rest[self._connected.send(rest) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        """To read the answer."""
        return io.BufferedReader(_Reader(self, self._connected))

    def close(self) -> None:
        """Close as a socket does: what is open for reading can be read on."""
        self._connected.close()


class _Reader(io.RawIOBase):
    def __init__(self, line: _Line, connected: socket.socket) -> None:
        self._line, self._connected = line, connected
        self._raw = connected.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int | None:
        self._connected.settimeout(time_left(self._line.until))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
