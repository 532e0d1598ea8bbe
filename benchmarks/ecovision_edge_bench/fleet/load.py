"""The requests of one device, again and again, as fast as this machine can ask."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from ecovision_edge.base.version import __version__
from ecovision_edge.errors import ServeError
from ecovision_edge_bench.fleet.asking import Visit
from ecovision_edge_bench.fleet.nginx import Asked

__all__ = ["Load", "request_of", "run_load"]

_STALL = 20.0  # seconds: a safety net, nowhere expected to pass
_READ = 2**18


@dataclass(frozen=True, slots=True)
class Load:
    """How it went.

    Args:
        visits: Devices that were served.
        requests: Requests that were answered.
        seconds: From the first to the last.
        cpu: Seconds of a processor that the server took.
    """

    visits: int
    requests: int
    seconds: float
    cpu: float

    @property
    def per_second(self) -> float:
        """Requests a second, of server and load together."""
        return self.requests / self.seconds

    @property
    def cpu_per_visit(self) -> float:
        """Seconds of a processor that the server takes for a device."""
        return self.cpu / self.visits


def request_of(asked: Asked, port: int) -> bytes:
    """Return a request byte for byte as `updates.web` sends it."""
    lines = (f"GET {asked.path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Accept-Encoding: identity")
    return "\r\n".join((*lines, f"User-Agent: ecovision-edge/{__version__}", "", "")).encode()


def run_load(
    visit: Visit, port: int, cpu: Callable[[], float], *, visits: int, seconds: float, threads: int = 8
) -> Load:
    """Ask as so many devices would, each by connections of its own, so many of them at once.

    Args:
        visit: What one of them asks for.
        port: Of the server, on loopback.
        cpu: Returns the seconds of a processor that the server took so far.
        visits: How many devices; fewer if the time is over.
        seconds: Begin no device later than that.
        threads: Devices at once.

    Raises:
        ServeError: an answer is not what the one device had.
    """
    connections = [
        [(request_of(one, port), one) for one in group]
        for _, group in groupby(visit.asked, lambda one: one.connection)
    ]
    for request, one in (pair for connection in connections for pair in connection):
        if len(request) != one.received:
            raise ServeError(
                f"the request for {one.path}", expected=f"{one.received} bytes", found=len(request)
            )
    left, lock, done = visits, threading.Lock(), [0] * threads
    errors: list[Exception] = []
    begun_cpu, begun = cpu(), time.monotonic()

    def ask(number: int) -> None:
        nonlocal left
        while not errors:
            with lock:
                if left == 0 or time.monotonic() - begun >= seconds:
                    return
                left -= 1
            try:
                for connection in connections:
                    _ask(connection, port)
            except (OSError, ServeError) as e:
                errors.append(e)
            else:
                done[number] += 1

    workers = [threading.Thread(target=ask, args=(number,), name="load") for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise ServeError("the server does not answer as it did", found=errors[0]) from errors[0]
    took = time.monotonic() - begun
    return Load(sum(done), sum(done) * len(visit.asked), took, cpu() - begun_cpu)


def _ask(connection: Sequence[tuple[bytes, Asked]], port: int) -> None:
    """Ask on one connection; the answers are as long as they were, as nothing in the folder changes."""
    buffer = memoryview(bytearray(_READ))
    with socket.create_connection(("127.0.0.1", port), _STALL) as stream:
        for request, one in connection:
            stream.sendall(request)
            came = 0
            while came < one.sent:
                size = stream.recv_into(buffer)
                if came == 0 and bytes(buffer[9:12]) != b"%d" % one.status:
                    raise ServeError(one.path, expected=one.status, found=bytes(buffer[:12]))
                if size == 0:
                    raise ServeError(one.path, expected=f"{one.sent} bytes", found=came)
                came += size
            if came != one.sent:
                raise ServeError(one.path, expected=f"{one.sent} bytes", found=came)
