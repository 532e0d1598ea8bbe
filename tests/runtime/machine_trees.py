"""Files of the kernel's as boards have them, made up for tests from documented formats.

Sources: proc_meminfo(5), proc_pid_mounts(5), fstab(5), group(5), os-release(5); the kernel's
driver-api/thermal/sysfs-api.rst, driver-api/mmc/mmc-dev-attrs.rst and ABI/testing/sysfs-fs-ext4; the device
tree's `model`; https://www.raspberrypi.com/documentation/computers/os.html#get_throttled; NVIDIA's names of
thermal zones (Jetson Linux Developer Guide, "Thermal Management").
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ecovision_edge.doctor import Output, System
from ecovision_edge.doctor.system import Space

GROUPS = "root:x:0:\ndialout:x:20:\nvideo:x:44:someone\ngpio:x:997:\n"
PI_FSTAB = "proc /proc proc defaults 0 0\nPARTUUID=1-01 /boot/firmware vfat defaults 0 2\n"
PI_FSTAB += "PARTUUID=1-02 / ext4 defaults,noatime 0 1\n"


def put(root: Path, path: str, text: str = "") -> Path:
    """A file below a root of our own."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def meminfo(root: Path, total: float, available: float, swap: float = 0.0) -> None:
    """Memory in MB."""
    lines = {"MemTotal": total, "MemFree": 1, "MemAvailable": available, "SwapTotal": swap, "SwapFree": swap}
    put(root, "proc/meminfo", "".join(f"{name + ':':<16}{mb * 1000:8.0f} kB\n" for name, mb in lines.items()))


def zone(root: Path, number: int, kind: str, celsius: float, trips: Mapping[str, float]) -> None:
    """A thermal zone with its trip points."""
    folder = f"sys/class/thermal/thermal_zone{number}"
    put(root, f"{folder}/type", f"{kind}\n")
    put(root, f"{folder}/temp", f"{celsius * 1000:.0f}\n")
    for index, (what, at) in enumerate(trips.items()):
        put(root, f"{folder}/trip_point_{index}_type", f"{what}\n")
        put(root, f"{folder}/trip_point_{index}_temp", f"{at * 1000:.0f}\n")


def raspberry_pi(root: Path, model: str = "4 Model B Rev 1.4", total: float = 3884) -> None:
    """One that is well: an SD card, the thermal zone of its processor, and nothing throttled."""
    put(root, "proc/device-tree/model", f"Raspberry Pi {model}\0")
    put(root, "etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n')
    put(root, "etc/fstab", PI_FSTAB)
    put(root, "etc/group", GROUPS)
    put(root, "proc/self/mounts", "/dev/mmcblk0p2 / ext4 rw,noatime 0 0\n")
    meminfo(root, total, total * 0.8)
    zone(root, 0, "cpu-thermal", 51.2, {"critical": 110.0})
    put(root, "sys/devices/platform/soc/soc:firmware/get_throttled", "0\n")
    put(root, "sys/fs/ext4/mmcblk0p2/errors_count", "0\n")
    put(root, "sys/class/mmc_host/mmc0/mmc0:aaaa/type", "SD\n")
    put(root, "sys/class/mmc_host/mmc0/mmc0:aaaa/name", "SC32G\n")


def raspberry_pi_3(root: Path) -> None:
    """A Pi 3, with little memory."""
    raspberry_pi(root, "3 Model B Plus Rev 1.3", 948)


def raspberry_pi_4(root: Path) -> None:
    """A Pi 4."""
    raspberry_pi(root)


def raspberry_pi_5(root: Path) -> None:
    """A Pi 5, whose fan has trip points of its own."""
    raspberry_pi(root, "5 Model B Rev 1.0", 8048)
    zone(root, 0, "cpu-thermal", 51.2, {"critical": 110.0, "active": 50.0, "hot": 0.0})


def jetson_orin(root: Path) -> None:
    """A Jetson Orin, with several zones, one of them off, and its system on eMMC."""
    put(root, "proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0")
    put(root, "etc/os-release", 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\n')
    put(root, "etc/group", GROUPS)
    put(root, "proc/self/mounts", "/dev/mmcblk0p1 / ext4 rw,relatime 0 0\n")
    meminfo(root, 7619, 5000, 3800)
    zone(root, 0, "cpu-thermal", 49.5, {"passive": 99.0, "critical": 104.5})
    zone(root, 1, "cv0-thermal", -256.0, {"critical": 104.5})
    emmc(root, "0x01 0x02")


def x86(root: Path) -> None:
    """A gateway."""
    put(root, "etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n')
    put(root, "etc/group", GROUPS)
    put(root, "proc/self/mounts", "/dev/sda1 / ext4 rw,relatime,errors=remount-ro 0 0\n")
    meminfo(root, 3900, 3000, 900)
    zone(root, 0, "acpitz", 27.8, {"critical": 119.0})
    zone(root, 1, "x86_pkg_temp", 56.0, {"passive": 0.0})
    put(root, "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "0\n")


BOARDS = {
    "a Pi 3": raspberry_pi_3,
    "a Pi 4": raspberry_pi_4,
    "a Pi 5": raspberry_pi_5,
    "a Jetson": jetson_orin,
    "an x86": x86,
}


def emmc(root: Path, life: str, reserve: str = "0x01") -> None:
    """An eMMC with its life time, of two kinds of cells, and what is left of its reserve."""
    put(root, "sys/class/mmc_host/mmc0/mmc0:0001/type", "MMC\n")
    put(root, "sys/class/mmc_host/mmc0/mmc0:0001/name", "G1M15M\n")
    put(root, "sys/class/mmc_host/mmc0/mmc0:0001/life_time", f"{life}\n")
    put(root, "sys/class/mmc_host/mmc0/mmc0:0001/pre_eol_info", f"{reserve}\n")


def system_of(root: Path, outputs: Mapping[str, Output] | None = None, **options: object) -> System:
    """A system with room on its disk, where the programs of `outputs` can be started and no other ones."""
    defaults: dict[str, object] = {
        "root": root,
        "environment": {"STATE_DIRECTORY": "/var/lib/ecovision-edge", "PATH": os.environ["PATH"]},
        "run": lambda command, limit: (outputs or {}).get(command[0]),
        "space": lambda path: Space(29_000_000_000, 12_000_000_000, 1_000_000),
        "write_error": lambda folder: None,
        "may_use": lambda path: True,
        "group_of": lambda path: 44,
        "user": "pi",
        "now": lambda: 1_796_000_000.0,
    }
    return System(**{**defaults, **options})  # type: ignore[arg-type]
