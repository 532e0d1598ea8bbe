"""One connection to an MQTT broker, on one thread; the library's own reconnecting is not used."""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ecovision_edge.base.reasons import reason_of
from ecovision_edge.errors import MissingDependencyError, OptionError, SinkError

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from ecovision_edge.sinks._mqtt_client import GuardedClient

__all__ = [
    "Ack",
    "Broker",
    "Connection",
    "Message",
    "NoProtocolError",
    "Will",
    "check_library",
    "tls_context",
]

_VERSION_REFUSED = 0x84  # a reason code of MQTT 5; the library turns MQTT 3.1.1's into it
_LOGIN_REFUSED = (0x86, 0x87)
_TAKEN_OVER = 0x8E


class NoProtocolError(SinkError):
    """The broker does not speak this version of MQTT, or hung up before it said anything."""

    def __init__(self, message: str, *, certain: bool, found: str | None = None) -> None:
        super().__init__(message, found=found)
        self.certain = certain


class _NonsenseError(SinkError):
    """What came is not for us, or not MQTT."""

    def __init__(self, problem: str, what: str) -> None:
        super().__init__(problem, found=what)
        self.what = what


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where a broker is, and who we are.

    Args:
        shown: Its address for messages.
        host, port: Of its listener.
        tls: Trusts what; None speaks in the clear.
        client_id: The same after each start: so a broker that has not yet seen a connection's end closes it,
            and its will comes before the new connection's `online` and not after it.
        username, password: Or None; never shown.
        keepalive: Seconds between two signs of life.
        timeout: Seconds for connecting, and for an acknowledgement.
    """

    shown: str
    host: str
    port: int
    client_id: str
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    keepalive: int = 30
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, retained, when a connection ends without a word."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """What the broker sent of a subscription; `retained` is of before it."""

    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class Ack:
    """The broker's answer to a message.

    Args:
        mid: The message's number, as `publish` gave it.
        code: 0 to 255; 128 and more: the broker did not take it. Always 0 from MQTT 3.1.1.
        reason: The code in words.
    """

    mid: int
    code: int
    reason: str


def check_library() -> None:
    """Raise MissingDependencyError if paho-mqtt 2 is not installed."""
    problem, found = "mqtt:// needs paho-mqtt 2 or newer, which is not installed", None
    try:
        from paho.mqtt import client
    except ImportError:
        pass
    else:
        if hasattr(client, "CallbackAPIVersion"):
            return
        found = "an older one"
    from ecovision_edge.base.installation import extra_fix

    raise MissingDependencyError(problem, found=found, fix=extra_fix("mqtt"))


class Connection:
    """One connection, from `open` to `close`; for one thread.

    Args:
        broker: Where to.
        will: Published by the broker when we are gone; None for nothing.
        v5: MQTT 5, or 3.1.1.
    """

    def __init__(self, broker: Broker, will: Will | None, *, v5: bool) -> None:
        self._broker, self._v5 = broker, v5
        self._acks: list[Ack] = []
        self._messages: list[Message] = []
        self._answer: ReasonCode | None = None
        self._granted: list[ReasonCode] = []
        self._lost: ReasonCode | None = None
        self._client = self._make(will)

    def _make(self, will: Will | None) -> GuardedClient:
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        from ecovision_edge.sinks._mqtt_client import GuardedClient, PacketGuard

        b = self._broker
        client = GuardedClient(
            CallbackAPIVersion.VERSION2,
            client_id=b.client_id,
            clean_session=None if self._v5 else True,
            protocol=MQTTProtocolVersion.MQTTv5 if self._v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        self._guard = PacketGuard()
        client.guard(self._guard)
        client.connect_timeout = b.timeout
        client.username_pw_set(b.username, b.password)
        if b.tls is not None:
            client.tls_set_context(b.tls)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def open(self, wake: socket.socket) -> None:
        """Connect and log in; raises SinkError, NoProtocolError where another version might do."""
        b = self._broker
        problem = f"{b.shown} cannot be reached"
        try:
            if self._v5:
                self._client.connect(b.host, b.port, b.keepalive, clean_start=True)
            else:
                self._client.connect(b.host, b.port, b.keepalive)
        except ssl.SSLCertVerificationError as e:
            raise SinkError(
                f"the certificate of {b.shown} is refused",
                found=e.verify_message,
                fix="ca=FILE names the authority to trust",
            ) from e
        except (OSError, ValueError) as e:  # ValueError: a host's name that cannot be one
            raise SinkError(problem, found=reason_of(e)) from e
        deadline = time.monotonic() + b.timeout
        while self._answer is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise SinkError(problem, found=f"no answer to CONNECT within {b.timeout:g} s")
            try:
                self.pump(left, wake)
            except _NonsenseError as e:
                raise NoProtocolError(problem, certain=False, found=e.what) from e
            except SinkError as e:
                if self._answer is None:
                    raise NoProtocolError(problem, certain=False, found="it hung up") from e
        if self._answer.is_failure:
            raise self._refused(self._answer)

    def publish(self, topic: str, payload: bytes, *, retain: bool, event_id: str | None = None) -> int:
        """Send with QoS 1; the number that its `Ack` will have. Raises SinkError."""
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        self._guard.published()
        properties = None
        if self._v5 and event_id is not None:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ContentType = "application/json"
            properties.PayloadFormatIndicator = 1  # UTF-8
            properties.UserProperty = ("id", event_id)
        try:
            info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        except (OSError, ValueError) as e:
            raise SinkError(f"{self._broker.shown} cannot be sent to", found=reason_of(e)) from e
        if info.rc != 0:
            raise self._gone()
        return info.mid

    def listen(self, topic: str) -> None:
        """Ask for what is published there, with QoS 1, without waiting for the answer; raises SinkError."""
        self._granted = []
        self._guard.subscribed()
        code, _ = self._client.subscribe(topic, qos=1)
        if code != 0:
            raise self._gone()

    @property
    def deaf(self) -> str:
        """Why the broker refused what was asked for last; empty while it has not."""
        return str(self._granted[0]) if self._granted and self._granted[0].is_failure else ""

    def subscribe(self, topic: str, wake: socket.socket) -> None:
        """Have what is published there come to `messages`, with QoS 1; raises SinkError if it is refused."""
        self.listen(topic)
        deadline = time.monotonic() + self._broker.timeout
        while not self._granted:
            left = deadline - time.monotonic()
            if left <= 0:
                raise SinkError(
                    f"{self._broker.shown} does not take a subscription",
                    found=f"no answer within {self._broker.timeout:g} s",
                )
            self.pump(left, wake)
        if self.deaf:
            raise SinkError(f"{self._broker.shown} refuses the subscription", found=self.deaf)

    def messages(self) -> list[Message]:
        """Return the messages since the last call."""
        found, self._messages = self._messages, []
        return found

    def pump(self, timeout: float, wake: socket.socket) -> list[Ack]:
        """Send and receive what there is; wait `timeout` seconds at most, or until `wake` can be read.

        Returns:
            What was acknowledged meanwhile; also by a broker that then hung up.

        Raises:
            SinkError: the connection is lost, or worth nothing.
        """
        from ecovision_edge.sinks._mqtt_client import UnaskedError

        connected = self._client.socket()
        if connected is None:
            raise self._gone()
        decrypted = isinstance(connected, ssl.SSLSocket) and connected.pending() > 0
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._client.want_write() else 0)
        with selectors.DefaultSelector() as selector:
            selector.register(connected, events)
            selector.register(wake, selectors.EVENT_READ)
            ready = {key.fileobj: mask for key, mask in selector.select(0 if decrypted else max(timeout, 0))}
        if wake in ready:
            wake.recv(4096)
        mask = ready.get(connected, 0)
        try:
            if decrypted or mask & selectors.EVENT_READ:
                self._client.loop_read()
            if mask & selectors.EVENT_WRITE:
                self._client.loop_write()
            self._client.loop_misc()
        except UnaskedError as e:
            raise _NonsenseError(f"{self._broker.shown} sends what was never asked for", str(e)) from e
        except Exception as e:  # the library's parser raises all kinds over a broker's bytes
            raise _NonsenseError(f"{self._broker.shown} does not speak MQTT", repr(e)[:100]) from e
        if self._client.socket() is None and not self._acks:
            raise self._gone()
        acks, self._acks = self._acks, []
        return acks

    def close(self) -> None:
        """Say goodbye, which takes the will back, and hang up; never raises."""
        try:
            self._client.disconnect()
            self._client.loop_write()
        except (OSError, ValueError):
            pass
        self.drop()

    def drop(self) -> None:
        """Hang up without a word; never raises."""
        connected = self._client.socket()
        if connected is not None:
            connected.close()

    def _on_connect(
        self,
        client: Client,
        userdata: object,
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._answer = reason_code

    def _on_disconnect(
        self,
        client: Client,
        userdata: object,
        flags: DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server:  # else the code is the library's, and says nothing
            self._lost = reason_code

    def _on_publish(
        self,
        client: Client,
        userdata: object,
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        self._acks.append(Ack(mid, int(reason_code.value), str(reason_code)))

    def _on_subscribe(
        self,
        client: Client,
        userdata: object,
        mid: int,
        reason_codes: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        self._granted = reason_codes

    def _on_message(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        self._messages.append(Message(bytes(message.payload), message.retain))

    def _refused(self, answer: ReasonCode) -> SinkError:
        if answer.value == _VERSION_REFUSED:
            return NoProtocolError(
                f"{self._broker.shown} refuses MQTT {5 if self._v5 else '3.1.1'}", certain=True
            )
        fix = None
        if answer.value in _LOGIN_REFUSED:
            fix = "check ECOVISION_EDGE_MQTT_USERNAME and ECOVISION_EDGE_MQTT_PASSWORD"
        return SinkError(f"{self._broker.shown} refuses us", found=str(answer), fix=fix)

    def _gone(self) -> SinkError:
        lost = self._lost
        if lost is not None and lost.value == _TAKEN_OVER:
            return SinkError(
                f"{self._broker.shown} has another client of our id", fix="give each bin its own client_id"
            )
        return SinkError(
            f"the connection to {self._broker.shown} is lost", found=None if lost is None else lost
        )


class _TlsSocket(ssl.SSLSocket):
    """Closed when the handshake fails: the library leaves it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def tls_context(ca: str | None) -> ssl.SSLContext:
    """Verifies host and certificate, by the authorities in the file, or by the system's.

    Raises:
        OptionError: the file cannot be read, or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as e:  # ssl.SSLError too
        raise OptionError("ca", expected="a file of certificates (PEM)", found=reason_of(e)) from e
    context.sslsocket_class = _TlsSocket
    return context
