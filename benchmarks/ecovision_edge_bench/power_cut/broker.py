"""A real mosquitto that can be killed and started again, and a subscriber that counts what comes."""

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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ecovision_edge.errors import MissingDependencyError, SinkError

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

__all__ = [
    "SAVED_AT_ONCE",
    "Authority",
    "Mosquitto",
    "Subscriber",
    "find_program",
    "free_port",
    "wait_until",
]

SAVED_AT_ONCE = ("persistence true", "autosave_on_changes true", "autosave_interval 1")
"""With these mosquitto writes what it holds after each change: with `autosave_on_changes` the interval counts
changes, not seconds, so it needs both (2.0.11)."""

_PROMPT = 20.0  # seconds: a safety net, nowhere expected to pass


def find_program(program: str, package: str) -> str:
    """Return the path of a program.

    Raises:
        MissingDependencyError: it is not installed; the message names the package that has it.
    """
    # Debian has servers in folders that are not in everyone's PATH.
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise MissingDependencyError(f"needs {program}", fix=f"run: sudo apt-get install {package}")
    return found


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str, within: float = _PROMPT) -> None:
    """Wait for what no condition variable tells.

    Raises:
        SinkError: it did not come about in that time; `what` says what it is.
    """
    pause, deadline = threading.Event(), time.monotonic() + within
    while not condition():
        if time.monotonic() >= deadline:
            raise SinkError(f"timed out waiting for {what}", found=f"{within:g} s without")
        pause.wait(0.005)


@dataclass(frozen=True, slots=True)
class Authority:
    """Files of a certificate authority, and of a server's certificate for 127.0.0.1 by it."""

    ca: Path
    cert: Path
    key: Path


class Mosquitto:
    """A broker in its own folder, at a port of its own; its persistent sessions survive a kill.

    Args:
        folder: For its configuration, its memory and its log; there, and empty.
        tls: Speaks TLS with this certificate.
        users: Names and passwords; without, anyone may come.
        saving: Lines that say when it writes down what it holds.
        more: More lines of its configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tls: Authority | None = None,
        users: dict[str, str] | None = None,
        saving: Sequence[str] = SAVED_AT_ONCE,
        more: str = "",
    ) -> None:
        self.port = free_port()
        self.tls = tls
        self._program = find_program("mosquitto", "mosquitto")
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'false' if users else 'true'}",
            *(*saving, f"persistence_location {folder}/"),
            *("max_queued_messages 0", "set_tcp_nodelay true", more),
        ]
        if os.geteuid() == 0:  # it would become `mosquitto`, which cannot read this folder
            lines.append("user root")
        if tls is not None:
            lines += [f"certfile {tls.cert}", f"keyfile {tls.key}"]
        if users:
            passwords = folder / "users"
            passwords.touch(0o600)
            tool = find_program("mosquitto_passwd", "mosquitto")
            for name, password in users.items():
                subprocess.run([tool, "-b", passwords, name, password], check=True, capture_output=True)
            lines.append(f"password_file {passwords}")
        self._config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.start()

    def start(self) -> None:
        """Return when it listens.

        Raises:
            SinkError: it does not; the message has its log.
        """
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", self._config], stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(self._listens, "mosquitto to listen")

    def _listens(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise SinkError("mosquitto ended", found=self._log.read_text("utf-8", "replace")[-500:])
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """Kill it as if its power went."""
        self.end(signal.SIGKILL)

    def stop(self) -> None:
        """In peace."""
        self.end(signal.SIGTERM)

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def end(self, how: signal.Signals) -> None:
        """By this signal; does nothing if it does not run."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_PROMPT)
            self._process = None

    def __enter__(self) -> Mosquitto:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class Subscriber:
    """A client with a session that outlives its connections; counts what comes, by id.

    Args:
        port: Of the broker.
        topic: What to listen to, with QoS 1.
        persistent: Whether the broker keeps what comes while it is away.
        ca: Trusts this authority, with TLS.
        login: User and password.
        name: Its client id.
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
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self._changed = threading.Condition()
        self._subscribed = False
        self.messages: list[tuple[str, bytes, bool]] = []  # topic, payload, retained
        self.ids: Counter[str] = Counter()
        self.order: list[str] = []
        self.properties: list[dict[str, str]] = []
        self.dup = self.doubled = 0  # with DUP; and again without it, so published twice
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.reconnect_delay_set(1, 1)
        self._client._reconnect_min_delay = self._client._reconnect_max_delay = 0.05  # type: ignore[assignment]
        if ca is not None:
            self._client.tls_set(str(ca))
        if login is not None:
            self._client.username_pw_set(*login)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)  # type: ignore[assignment,unused-ignore]
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600 if persistent else 0
        self._client.connect("127.0.0.1", port, 10, clean_start=not persistent, properties=properties)
        self._client.loop_start()
        self.wait(lambda: self._subscribed)

    def _on_subscribe(self, *_: object) -> None:
        with self._changed:
            self._subscribed = True
            self._changed.notify_all()

    def _on_message(self, client: object, userdata: object, message: MQTTMessage) -> None:
        with self._changed:
            self.messages.append((message.topic, bytes(message.payload), message.retain))
            if message.topic.endswith("/event"):
                event_id = json.loads(message.payload)["id"]
                self.ids[event_id] += 1
                self.order.append(event_id)
                self.dup += message.dup
                self.doubled += self.ids[event_id] > 1 and not message.dup
                self.properties.append(dict(getattr(message.properties, "UserProperty", [])))
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool], timeout: float = _PROMPT) -> None:
        """Until it is so.

        Raises:
            SinkError: it is not so within `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise SinkError(
                    "a subscriber timed out waiting",
                    found=f"{len(self.messages)} messages, {len(self.ids)} different events",
                )

    def newest(self) -> dict[str, bytes]:
        """Return the last payload of each topic."""
        with self._changed:
            return {topic: payload for topic, payload, _ in self.messages}

    def close(self) -> None:
        """Go; what comes now waits at the broker, if the session is persistent."""
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
