"""Cameras: those of Video4Linux with their modes, and the board's own."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ecovision_edge.base.kernel_files import read_text
from ecovision_edge.base.old_cpu import refuse_old_x86
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.doctor.check import Check, fail, ok, warn
from ecovision_edge.doctor.permission import no_permission
from ecovision_edge.doctor.system import System
from ecovision_edge.doctor.v4l2 import Capture, read_capture

__all__ = ["check_cameras", "read_rpicam_list"]

LIST_LIMIT = 15.0
"""Seconds for the list of a Raspberry Pi's cameras."""

_MOST_MODES = 4
_VIRTUAL = ("v4l2 loopback", "vivid")


def check_cameras(
    system: System, *, read: Callable[[Path], Capture | None] = read_capture
) -> Iterator[Check]:
    """Look at every camera.

    Args:
        system: What machine it is.
        read: Asks a device of Video4Linux.
    """
    refuse_old_x86()  # what follows loads numpy and OpenCV
    from ecovision_edge.camera.here import own_camera

    own = own_camera(system.root)
    found = list(_check_devices(system, read, board=own is not None))
    if own is not None and "rpicam" in own:
        found += _check_rpicam(system)
    elif own is not None and not found:
        found.append(warn("camera", "none at USB", f"{own}; it is not looked at here"))
    if not found:
        found.append(warn("camera", "none", "plug one in; demo: and a camera in the network need none"))
    yield from found


def _check_devices(system: System, read: Callable[[Path], Capture | None], *, board: bool) -> Iterator[Check]:
    """Look at the devices of Video4Linux, without a board's own ones (codecs, the bridge of its camera)."""
    refused = []
    devices = sorted(system.at("dev").glob("video*"), key=lambda p: (len(p.name), p.name))
    for device in devices:
        if read_text(system.at("sys/class/video4linux") / device.name / "index") not in (None, "0"):
            continue  # a camera's second device, for its metadata
        if not system.may_use(device):
            refused.append(device)
            continue
        try:
            capture = read(device)
        except OSError as e:
            name = f"camera /dev/{device.name}"
            if e.errno == errno.EBUSY:  # some drivers allow one program alone
                yield ok(name, "in use by another program")
                continue
            yield fail(name, f"does not answer: {reason_of(e)}", "plug it out and in; see: dmesg | tail")
            continue
        if capture is None or (board and _is_own(capture)):
            continue
        yield _camera(device, capture)
    if refused:
        yield no_permission(system, "camera", refused)


def _is_own(capture: Capture) -> bool:
    return capture.bus.startswith("platform:") and capture.driver not in _VIRTUAL


def _camera(device: Path, capture: Capture) -> Check:
    modes = ", ".join(map(str, capture.modes[:_MOST_MODES]))
    more = f" and {len(capture.modes) - _MOST_MODES} more" if len(capture.modes) > _MOST_MODES else ""
    name = f"camera /dev/{device.name}"
    if not capture.modes:
        return warn(name, f"{capture.card}: no format", "it may be no camera; see: v4l2-ctl --all")
    return ok(name, f"{capture.card}: {modes}{more}")


def _check_rpicam(system: System) -> Iterator[Check]:
    """Ask Raspberry Pi OS's camera program, which lists the cameras at the board's own port."""
    from ecovision_edge.camera.rpicam import INSTALL, PROGRAMS

    outputs = (system.run([program, "--list-cameras"], LIST_LIMIT) for program in PROGRAMS)
    output = next((output for output in outputs if output is not None), None)
    if output is None:
        yield warn(
            "camera rpicam", f"{PROGRAMS[0]} is not installed", f"for the board's own camera, {INSTALL}"
        )
        return
    cameras = read_rpicam_list(f"{output.stdout}\n{output.stderr}")
    needed = [*system.at("dev").glob("media*"), *system.at("dev/dma_heap").glob("*")]
    refused = sorted(device for device in needed if not system.may_use(device))
    if not cameras and refused:
        yield no_permission(system, "camera rpicam", refused)
    elif not cameras:
        advice = "look at the ribbon cable and at camera_auto_detect=1 in config.txt, then start again"
        yield warn("camera rpicam", "none at the board's own port", advice)
    for index, words in cameras:
        yield ok(f"camera rpicam://{index}", words)


def read_rpicam_list(text: str) -> list[tuple[int, str]]:
    """Read what `rpicam-vid --list-cameras` prints: number and name with size of each camera.

    A camera is a line like `0 : imx708 [4608x2592 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx708@1a)`
    (https://www.raspberrypi.com/documentation/computers/camera_software.html, "list-cameras").
    """
    lines = re.findall(r"^(\d{1,2}) : (\S+)(?: \[(\d+x\d+)[^\]]*\])? \(", text, re.MULTILINE)
    return [(int(index), f"{name}{f', {size}' if size else ''}") for index, name, size in lines]
