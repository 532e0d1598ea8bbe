"""Where a broker is and what it is told; the same of a sink and of a trigger."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from ecovision_edge.base.addresses import Options
from ecovision_edge.base.hosts import bracketed
from ecovision_edge.base.places import Place
from ecovision_edge.base.secrets import read_secret
from ecovision_edge.errors import OptionError
from ecovision_edge.sinks._mqtt_connection import Broker, tls_context

__all__ = ["MqttOptions", "mqtt_options"]

_MOST_LEVEL = 60
_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttOptions:
    """Where the broker is, and what it is told.

    Args:
        host: Name or number.
        port: None is 1883, with TLS 8883.
        tls: Speak TLS; the broker's certificate and host name are verified.
        ca: A file of certificates (PEM) to trust in place of the system's.
        prefix: Of all topics, without wildcards; `ecovision-edge/DEVICE` if empty.
        device: What the device calls itself.
        client_id: Unlike that of each other client of the broker; made of device and prefix if empty.
        username, password: Or None; never shown.
        keepalive: Seconds between signs of life, 5 to 3,600; the will follows one and a half of them later.
        timeout: Seconds for connecting, and for an acknowledgement; above 0, at most 600.
        expire_after: Seconds after which a state counts as stale, 3 to 86,400; it is repeated three times
            as often, while this process lives.
        discovery: Tell Home Assistant which entities there are.
        discovery_prefix: Where Home Assistant listens.
    """

    host: str
    port: int | None = None
    tls: bool = False
    ca: str | None = None
    prefix: str = ""
    device: str = ""
    client_id: str = ""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    keepalive: int = 30
    timeout: float = 10.0
    expire_after: int = 90
    discovery: bool = False
    discovery_prefix: str = "homeassistant"

    def __post_init__(self) -> None:
        """Refuse what is out of range.

        Raises:
            OptionError: the option, its range, and what was given.
        """
        for name, low, most in (("keepalive", 5, 3600), ("expire_after", 3, 86_400)):
            value = getattr(self, name)
            if not low <= value <= most:
                raise OptionError(name, expected=f"seconds from {low} to {most}", found=value)
        if not (math.isfinite(self.timeout) and 0 < self.timeout <= 600):
            raise OptionError("timeout", expected="seconds above 0, at most 600", found=self.timeout)
        if self.port is not None and not 1 <= self.port <= 65535:
            raise OptionError("port of a broker", expected="1 to 65535", found=self.port)
        if not self.prefix and len(_level(self.device)) > _MOST_LEVEL:
            raise OptionError(  # cut, it might be another device's
                "device in a topic",
                expected=f"a name of {_MOST_LEVEL} characters at most, or a topic: mqtt://HOST/TOPIC",
                found=f"{len(self.device)}, {self.device[:30]}...",
            )
        for name in ("topics", "discovery_prefix"):
            _check_topic(name, self.topics if name == "topics" else self.discovery_prefix)
        if len(self.client_id.encode("utf-8", "replace")) > 200 or not self.client_id.isprintable():
            raise OptionError("client_id", expected="at most 200 printable bytes", found=self.client_id[:60])
        if self.ca is not None and not self.tls:
            raise OptionError("ca", expected="mqtts://", found="mqtt://, which has no certificates")
        if self.password is not None and self.username is None:
            raise OptionError(
                "password of a broker",
                expected="a user name too",
                found="none",
                fix="set ECOVISION_EDGE_MQTT_USERNAME, or write mqtt://USER@HOST",
            )

    @property
    def topics(self) -> str:
        """The prefix of all topics."""
        return self.prefix or "/".join(("ecovision-edge", _level(self.device) or "bin"))

    @property
    def shown(self) -> str:
        """The address, for logs: without user, password and topics."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{bracketed(self.host)}:{self._port}"

    @property
    def identity(self) -> str:
        """Twenty hexadecimal digits, the same after each start, of where events go and who sends them."""
        text = "\n".join((self.host.lower(), str(self._port), self.topics, self.device))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]

    @property
    def _port(self) -> int:
        return self.port or _PORTS["mqtts" if self.tls else "mqtt"]

    def broker(self) -> Broker:
        """Describe the broker for a connection; raises OptionError for a bad file of certificates."""
        return Broker(
            shown=self.shown,
            host=self.host,
            port=self._port,
            # 23 letters and digits: what every broker has to take (MQTT 3.1.1, 3.1.3.1).
            client_id=self.client_id or f"eco{self.identity}",
            tls=tls_context(self.ca) if self.tls else None,
            username=self.username,
            password=self.password,
            keepalive=self.keepalive,
            timeout=self.timeout,
        )


def mqtt_options(place: Place, given: Options, environment: Mapping[str, str], *, device: str) -> MqttOptions:
    """Read what an address says of a broker.

    Args:
        place: The address, taken apart.
        given: Its options, of which those are taken that a sink and a trigger share.
        environment: Where user and password may be: ECOVISION_EDGE_MQTT_USERNAME and _PASSWORD.
        device: What the device calls itself.

    Raises:
        OptionError: an option is out of range, or the file with the password cannot be read.
    """
    file = given.text("password_file")
    return MqttOptions(
        host=place.host,
        port=place.port,
        tls=place.scheme == "mqtts",
        ca=given.text("ca"),
        prefix=unquote(place.path).strip("/"),
        device=device,
        client_id=given.text("client_id") or "",
        username=place.user or environment.get("ECOVISION_EDGE_MQTT_USERNAME") or None,
        password=(
            read_secret(file, "password_file")
            if file
            else environment.get("ECOVISION_EDGE_MQTT_PASSWORD") or None
        ),
        keepalive=given.integer("keepalive", 5, 3600) or 30,
        timeout=given.number("timeout", 0, 600) or 10.0,
    )


def _level(text: str) -> str:
    """Return text as one level of a topic."""
    return "".join(c if c.isprintable() and c not in "/+#$" else "_" for c in text)


def _check_topic(name: str, topic: str) -> None:
    if (
        not topic
        or len(topic.encode("utf-8", "replace")) > 1000
        or not topic.isprintable()
        or any(c in topic for c in "+#")
        or topic.startswith("$")
    ):
        raise OptionError(
            f"{name} of a broker", expected="a topic without + and #, not of $", found=ascii(topic[:60])
        )
