"""A real nginx in a folder of its own, on loopback, that says what it was asked for."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ecovision_edge.errors import ServeError
from ecovision_edge_bench.power_cut.broker import find_program, free_port, wait_until

__all__ = ["CONNECTIONS", "Asked", "Nginx", "read_log"]

CONNECTIONS = 768
"""At once, of each of its processes: `worker_connections` in Debian's nginx.conf."""

_PROMPT = 20.0  # seconds: a safety net, nowhere expected to pass
_MARK = "/.asked"  # not in a repository: its line in the log is nobody's
_FORMAT = "$connection $request_length $status $bytes_sent $request_uri"
_LINE = re.compile(r"(\d+) (\d+) (\d{3}) (\d+) (\S+)")
# What Debian's nginx.conf says of serving files; its log has a format that can be read back, and one process
# serves, so that a line is written before the next request is answered.
_CONFIG = """\
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
daemon off;
events {{ worker_connections {connections}; }}
http {{
  sendfile on;
  tcp_nopush on;
  default_type application/octet-stream;
  gzip on;
  log_format asked "{format}";
  access_log {folder}/access.log asked;
  client_body_temp_path {folder}/temp;
  proxy_temp_path {folder}/temp;
  fastcgi_temp_path {folder}/temp;
  uwsgi_temp_path {folder}/temp;
  scgi_temp_path {folder}/temp;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was answered.

    Args:
        connection: Number of its connection.
        received: Bytes of the request, with its head.
        status: Of HTTP.
        sent: Bytes of the answer, with its head.
        path: What was asked for.
    """

    connection: int
    received: int
    status: int
    sent: int
    path: str


def read_log(text: str) -> list[Asked]:
    """Read an access log as this nginx writes it; whoever only asks whether it is there is left out.

    Raises:
        ServeError: a line is malformed.
    """
    asked = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            raise ServeError("nginx's log", expected=_FORMAT, found=line[:200])
        connection, received, status, sent = map(int, match.groups()[:4])
        if match[5] != _MARK:
            asked.append(Asked(connection, received, status, sent, match[5]))
    return asked


class Nginx:
    """Serves a folder until it is stopped: `with Nginx(folder, root) as nginx:`.

    Args:
        folder: For its configuration and its logs; there, and empty.
        root: What it serves.

    Raises:
        MissingDependencyError: it is not installed.
        ServeError: it does not start.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        program = find_program("nginx", "nginx-light")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._log, self._read = folder / "access.log", 0
        self._errors = folder / "error.log"
        config = folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                user="user root;"
                if os.geteuid() == 0
                else "",  # else it is `www-data`, to which nothing is open
                folder=folder,
                connections=CONNECTIONS,
                format=_FORMAT,
                port=self.port,
                root=root,
            ),
            encoding="utf-8",
        )
        told = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
        self.version = told.strip().rpartition("/")[2]
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [program, "-e", self._errors, "-p", folder, "-c", config], stdout=errors, stderr=errors
            )
        try:
            wait_until(self._listens, "nginx to listen")
        except BaseException:
            self.stop()
            raise

    def _listens(self) -> bool:
        if self._process.poll() is not None:
            raise ServeError("nginx ended", found=self._errors.read_text("utf-8", "replace")[-500:])
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def asked(self) -> list[Asked]:
        """Return what it was asked for since the last call."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PROMPT)
        connection.request("GET", _MARK)  # as it is answered, all lines before its own are written
        connection.getresponse().read()
        connection.close()
        with self._log.open(encoding="ascii") as log:
            log.seek(self._read)
            text = log.read()
        whole = text[: text.rfind("\n") + 1]
        self._read += len(whole)
        return read_log(whole)

    @property
    def cpu(self) -> float:
        """Seconds of a processor that it took so far; those of its own process and of the one that serves."""
        own = str(self._process.pid)
        children = Path(f"/proc/{own}/task/{own}/children").read_text(encoding="ascii").split()
        return sum(_cpu(pid) for pid in (own, *children))

    def stop(self) -> None:
        """End it. Idempotent."""
        self._process.terminate()
        self._process.wait(_PROMPT)

    def __enter__(self) -> Nginx:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _cpu(pid: str) -> float:
    """Return the seconds of a process, which Linux counts in ticks of 10 ms; see `proc(5)`."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
