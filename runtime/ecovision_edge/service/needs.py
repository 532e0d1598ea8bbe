"""What a service needs of the system, by its source and its sinks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ServiceNeeds", "service_needs"]

_V4L2 = re.compile(r"(?:[0-9]{1,3}|/dev/(?:video|v4l/).*)(?:\?.*)?", re.DOTALL)
_SERVO = re.compile(r"[?&]servo=")
_NETWORK = ("http", "https", "rtsp", "rtsps", "mqtt", "mqtts")


@dataclass(frozen=True, slots=True)
class ServiceNeeds:
    """What a source and sinks need of the system.

    Args:
        devices: Groups of devices for `DeviceAllow`, `char-...`.
        groups: Groups of users that may open them.
        network: Whether anything speaks TCP.
        udev: Whether the camera's library listens to udev, through a netlink socket.
        any_device: It cannot be said which devices: none is closed.
        own_code: A library makes machine code as it runs (GStreamer's orc, for instance).
        pulses: A servo, whose pulses the kernel may make: below /sys, which has to be writable then.
    """

    devices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    network: bool = False
    udev: bool = False
    any_device: bool = False
    own_code: bool = False
    pulses: bool = False


def service_needs(
    source: str,
    sinks: Sequence[str],
    *,
    serves: bool = False,
    delegate: bool = False,
    providers: bool = False,
) -> ServiceNeeds:
    """Return what a service needs for these; nothing is opened.

    Args:
        source: Address that `open_source` takes.
        sinks: Addresses that `open_sink` takes, and the trigger's, which `open_trigger` takes.
        serves: Whether it speaks TCP besides: it serves the live page, or takes updates.
        delegate: Whether an accelerator is used, at USB or PCIe.
        providers: Whether another provider of onnxruntime than the CPU is, whose devices are its vendor's.
    """
    devices: list[str] = []
    groups: list[str] = []
    kind = source.partition(":")[0].lower()
    if _V4L2.fullmatch(source):
        kind = "v4l2"
    pi = kind in ("picamera2", "rpicam", "libcamera")
    if kind == "v4l2" or pi:
        devices.append("char-video4linux")
        groups.append("video")
    if pi:
        devices += ["char-media", "char-dma_heap"]
    for sink in sinks:
        scheme, _, rest = sink.partition(":")
        if scheme.lower() == "serial":
            devices += _serial_devices(rest)
            groups.append("dialout")
        elif scheme.lower() == "gpio":
            devices.append("char-gpiochip")
            groups.append("gpio")
    if delegate:
        devices += ["char-apex", "char-usb_device"]
        groups.append("plugdev")
    schemes = {
        address.partition(":")[0].lower() for address in (source, *sinks) if not _V4L2.fullmatch(address)
    }
    foreign = kind in ("gst", "csi")
    return ServiceNeeds(
        devices=tuple(dict.fromkeys(devices)),
        groups=tuple(dict.fromkeys((*groups, *(("video",) if foreign or providers else ())))),
        network=serves or foreign or bool(schemes & set(_NETWORK)),
        udev=pi or foreign,
        any_device=foreign or providers,
        own_code=foreign or kind in ("libcamera", "picamera2") or delegate or providers,
        pulses=any(sink[:5].lower() == "gpio:" and _SERVO.search(sink) for sink in sinks),
    )


def _serial_devices(rest: str) -> list[str]:
    """Return the groups of a serial device, by its name; a link's may be any of those at USB."""
    known = re.match(r"//(?:/dev/)(tty(?:ACM|USB|AMA|THS|S))[0-9]+", rest)
    if known:
        return [f"char-{known[1]}"]
    if re.match(r"///dev/serial[01](?:\?|$)", rest):  # a Raspberry Pi's own
        return ["char-ttyAMA", "char-ttyS"]
    return ["char-ttyACM", "char-ttyUSB"]
