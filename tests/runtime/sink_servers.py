"""Brokers for tests: a real mosquitto that can be killed and started again, and a scripted one."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ecovision_edge.errors import MissingDependencyError
from ecovision_edge_bench.power_cut.broker import Authority, Mosquitto, Subscriber, find_program, free_port

__all__ = ["PROMPT", "Authority", "Mosquitto", "Subscriber", "authority", "free_port", "mosquitto", "need"]

PROMPT = 20.0  # seconds: a safety net, nowhere expected to pass


def need(program: str, package: str) -> str:
    """The path of a program; without it the test is skipped, naming what would have it."""
    with skipping():
        return find_program(program, package)


@contextmanager
def skipping() -> Iterator[None]:
    """Skip what a missing program makes impossible."""
    try:
        yield
    except MissingDependencyError as e:
        pytest.skip(str(e))


def authority(folder: Path) -> Authority:
    """Make one, with openssl."""
    openssl = need("openssl", "openssl")
    made = Authority(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    new = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    new += ["-days", "2"]

    def run(*arguments: str) -> None:
        subprocess.run([*new, *arguments], check=True, capture_output=True)

    ca_key = folder / "ca.key"
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # which Python 3.13 insists on
    run("-subj", "/CN=throwaway", *usage, "-keyout", f"{ca_key}", "-out", f"{made.ca}")
    run(
        *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-addext", "basicConstraints=critical,CA:FALSE"),
        *("-CA", f"{made.ca}", "-CAkey", f"{ca_key}", "-keyout", f"{made.key}", "-out", f"{made.cert}"),
    )
    return made


@contextmanager
def mosquitto(
    folder: Path, *, tls: Authority | None = None, users: dict[str, str] | None = None, more: str = ""
) -> Iterator[Mosquitto]:
    """A broker, killed at the end.

    Args:
        folder: For its configuration, its memory and its log; there, and empty.
        tls: Speaks TLS with this certificate.
        users: Names and passwords; without, anyone may come.
        more: Lines of its configuration.
    """
    with skipping():
        broker = Mosquitto(folder, tls=tls, users=users, more=more)
    with broker:
        yield broker


class Connects(list[bytes]):
    """The CONNECTs that a scripted broker was sent."""

    connection: socket.socket | None = None

    def hang_up(self) -> None:
        """End the connection of now."""
        assert self.connection is not None
        self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def scripted(answers: list[bytes | None], *, deaf: bool = False) -> Iterator[tuple[int, Connects]]:
    """A broker that answers CONNECT with each of these in turn, then the last one always; None hangs up.

    Yields:
        Its port, and the CONNECTs that came. After its answer it acknowledges each PUBLISH, unless `deaf`.
    """
    got = Connects()
    listener = socket.create_server(("127.0.0.1", 0))
    ending = threading.Event()

    def packet(stream) -> bytes:
        head = stream.read(1)
        length, shift = 0, 0
        while head:
            byte = stream.read(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return head + stream.read(length)
        return b""

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            got.connection = connection
            got.append(packet(stream))
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if answer is None:
                return
            connection.sendall(answer)
            while data := packet(stream):
                if not deaf and data[0] & 0xF0 == 0x30:
                    topic = int.from_bytes(data[1:3], "big")
                    connection.sendall(b"\x40\x02" + data[3 + topic :][:2])

    def accept() -> None:
        while not ending.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with suppress(OSError):
                serve(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], got
    finally:
        ending.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PROMPT)
