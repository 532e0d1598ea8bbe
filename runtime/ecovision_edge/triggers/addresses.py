"""From what a user writes to a trigger."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ecovision_edge.base.names import closest
from ecovision_edge.errors import OptionError
from ecovision_edge.triggers.base import Trigger

__all__ = ["open_trigger"]

_SCHEMES = ("gpio", "keyboard", "mqtt", "mqtts", "picture")
_KINDS = "picture, gpio:PIN, mqtt://HOST/TOPIC or keyboard:"


def open_trigger(
    address: str, *, device: str = "", environment: Mapping[str, str] = os.environ
) -> Trigger | None:
    """Return the trigger that `address` names, with its options checked; nothing is opened before `start`.

    ===================  ===============================================================================
    `picture`            none: the picture tells that an item came
    `gpio:17`            an edge at a Raspberry Pi's pin: pull=down, up or none, edge=rising or falling,
                         bounce=20ms
    `mqtt://HOST/TOPIC`  a message; `mqtts://` for TLS: payload=TEXT, ca=PATH, password_file=PATH,
                         keepalive=30, timeout=10, client_id=TEXT
    `keyboard:`          the Enter key, for trying
    ===================  ===============================================================================

    Args:
        address: As above; options follow a `?`, as `name=value&name=value`.
        device: What the device calls itself.
        environment: Where secrets are; they are never in an address, which other users can read.

    Returns:
        The trigger; None for `picture`.

    Raises:
        OptionError: no such kind of trigger, or an option is unknown or out of range.
        MissingDependencyError: its library is not installed.
    """
    scheme, _, rest = address.partition(":")
    scheme = scheme.lower()
    if scheme == "gpio":
        from ecovision_edge.triggers.gpio import gpio_trigger

        return gpio_trigger(address)
    if scheme in ("mqtt", "mqtts"):
        from ecovision_edge.triggers.mqtt import mqtt_trigger

        return mqtt_trigger(address, device=device, environment=environment)
    if scheme not in _SCHEMES:
        near = closest(scheme, _SCHEMES)
        fix = f"did you mean {near}?" if near else None
        raise OptionError("kind of a trigger", expected=_KINDS, found=address or "nothing", fix=fix)
    if rest:
        raise OptionError(f"trigger {scheme}", expected="nothing after it", found=address)
    if scheme == "picture":
        return None
    from ecovision_edge.triggers.keyboard import KeyboardTrigger

    return KeyboardTrigger()
