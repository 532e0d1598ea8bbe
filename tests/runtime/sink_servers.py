"""Brokers for tests: a real mosquitto that can be killed and started anew, and a scripted one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

PROMPT = 20.0  # seconds: a safety net, nowhere expected to pass


def need(program: str, package: str) -> str:
    """The path of a program; without it the test is skipped, naming what would have it."""
    # Debian has servers in folders that are not in everyone's PATH.
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"needs {program}: sudo apt-get install {package}")
    return found


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@dataclass
class Authority:
    """Files of a throwaway certificate authority, and of a server's certificate for 127.0.0.1 by it."""

    ca: Path
    cert: Path
    key: Path


def authority(folder: Path) -> Authority:
    """Make one, with openssl."""
    openssl = need("openssl", "openssl")
    made = Authority(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    new = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    new += ["-days", "2"]

    def run(*arguments: str) -> None:
        subprocess.run([*new, *arguments], check=True, capture_output=True)

    ca_key = folder / "ca.key"
    run("-subj", "/CN=throwaway", "-keyout", f"{ca_key}", "-out", f"{made.ca}")
    run(
        *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-addext", "basicConstraints=critical,CA:FALSE"),
        *("-CA", f"{made.ca}", "-CAkey", f"{ca_key}", "-keyout", f"{made.key}", "-out", f"{made.cert}"),
    )
    return made


class Mosquitto:
    """A broker in its own folder, at a port of its own; its persistent sessions survive a kill."""

    def __init__(
        self,
        folder: Path,
        *,
        tls: Authority | None = None,
        users: dict[str, str] | None = None,
        more: str = "",
    ) -> None:
        self.port = free_port()
        self.tls = tls
        self._program = need("mosquitto", "mosquitto")
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'false' if users else 'true'}",
            # Written after each change: a kill loses next to nothing.
            *("persistence true", f"persistence_location {folder}/", "autosave_on_changes true"),
            *("autosave_interval 1", "max_queued_messages 0", "set_tcp_nodelay true", more),
        ]
        if (user := self._user()) is not None:
            lines.append(f"user {user}")
        if tls is not None:
            lines += [f"certfile {tls.cert}", f"keyfile {tls.key}"]
        if users:
            passwords = folder / "users"
            passwords.touch(0o600)
            tool = need("mosquitto_passwd", "mosquitto")
            for name, password in users.items():
                subprocess.run([tool, "-b", passwords, name, password], check=True, capture_output=True)
            lines.append(f"password_file {passwords}")
        self._config.write_text("\n".join(lines) + "\n")
        self.start()

    @staticmethod
    def _user() -> str | None:
        """As root it would become `mosquitto`, which cannot read a test's folder."""
        return "root" if os.geteuid() == 0 else None

    def start(self) -> None:
        """Return when it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", self._config], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + PROMPT
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """As if its power went."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In peace."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PROMPT)
            self._process = None


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
    broker = Mosquitto(folder, tls=tls, users=users, more=more)
    try:
        yield broker
    finally:
        broker.kill()


class Subscriber:
    """A client with a session that outlives its connections; counts what comes, by id.

    Args:
        port: Of the broker.
        topic: What to listen to, with QoS 1.
        persistent: Whether the broker keeps what comes while it is away.
    """

    def __init__(
        self,
        port: int,
        topic: str,
        *,
        persistent: bool = True,
        ca: Path | None = None,
        login: tuple[str, str] | None = None,
        name: str = "subscriber",
    ) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self._changed = threading.Condition()
        self._subscribed = False
        self.messages: list[tuple[str, bytes, bool]] = []  # topic, payload, retained
        self.ids: Counter[str] = Counter()
        self.order: list[str] = []
        self.properties: list[dict[str, str]] = []
        self.dup = self.doubled = 0  # with DUP; and again without it, so published twice
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=5)
        self._client.reconnect_delay_set(1, 1)
        self._client._reconnect_min_delay = self._client._reconnect_max_delay = 0.05
        if ca is not None:
            self._client.tls_set(str(ca))
        if login is not None:
            self._client.username_pw_set(*login)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600 if persistent else 0
        self._client.connect("127.0.0.1", port, 10, clean_start=not persistent, properties=properties)
        self._client.loop_start()
        self.wait(lambda: self._subscribed)

    def _on_subscribe(self, *_: object) -> None:
        with self._changed:
            self._subscribed = True
            self._changed.notify_all()

    def _on_message(self, client: object, userdata: object, message) -> None:
        with self._changed:
            self.messages.append((message.topic, message.payload, message.retain))
            if message.topic.endswith("/event"):
                id = json.loads(message.payload)["id"]
                self.ids[id] += 1
                self.order.append(id)
                self.dup += message.dup
                self.doubled += self.ids[id] > 1 and not message.dup
                self.properties.append(dict(getattr(message.properties, "UserProperty", [])))
            self._changed.notify_all()

    def wait(self, condition, timeout: float = PROMPT) -> None:
        """Until it is so."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout), (len(self.ids), self.messages[-5:])

    def newest(self) -> dict[str, bytes]:
        """The last payload of each topic."""
        with self._changed:
            return {topic: payload for topic, payload, _ in self.messages}

    def close(self) -> None:
        """Go; what comes now waits at the broker, if the session is persistent."""
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
