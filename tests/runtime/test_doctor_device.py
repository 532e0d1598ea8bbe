"""Facts about what the doctor says of a device: board, memory, disk, heat, clock and service."""

import errno
import os

import pytest
from tests.runtime.machine_trees import (
    BOARDS,
    PI_FSTAB,
    emmc,
    meminfo,
    put,
    raspberry_pi,
    system_of,
    zone,
)

from ecovision_edge.base.device import Cpu, Machine, read_machine
from ecovision_edge.doctor import Output
from ecovision_edge.doctor.board import check_board, check_memory, check_python, check_system
from ecovision_edge.doctor.clock import check_clock, read_max_error
from ecovision_edge.doctor.disk import check_disks, check_wear, read_mounts
from ecovision_edge.doctor.heat import check_temperature, check_throttling
from ecovision_edge.doctor.service import check_service
from ecovision_edge.doctor.system import Space, write_error


def machine(arch="aarch64", python="3.13.5"):
    """A board of four cores."""
    cpu = Cpu(arch, "Cortex-A72", frozenset())
    return Machine(cpu, "Raspberry Pi 4 Model B Rev 1.4", 4, 4, 10**9, "Debian 13", "6.12", python)


@pytest.fixture(autouse=True)
def one_disk(monkeypatch):
    """Profiles are where the rest of the state is."""
    monkeypatch.setenv("ECOVISION_EDGE_PROFILE_DIR", "/var/lib/ecovision-edge/profiles")


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_that_is_well_has_nothing_but_good_lines(tmp_path, board):
    """Each of those that the project is for."""
    BOARDS[board](tmp_path)
    system = system_of(tmp_path)
    checks = [
        check_memory(system),
        *check_disks(system),
        *check_wear(system),
        check_temperature(system),
        check_throttling(system),
    ]
    assert [(check.state, check.advice) for check in checks] == [("ok", "")] * len(checks)
    found = check_board(read_machine(tmp_path)).found
    assert board == "an x86" or board.split()[1] in found


@pytest.mark.parametrize(
    ("arch", "bits", "state"),
    [("aarch64", 64, "ok"), ("x86_64", 64, "ok"), ("armv7l", 32, "fail"), ("aarch64", 32, "fail")],
)
def test_a_board_needs_64_bits(arch, bits, state):
    """Of its processor and of its Python: Raspberry Pi OS has a 64-bit kernel below 32-bit programs."""
    check = check_board(machine(arch), bits)
    assert check.state == state
    assert ("64-bit system" in check.advice) == (state == "fail")


def test_systems_without_glibc_and_pythons_that_nobody_tried_are_told():
    """As a warning: somebody may have built what is missing."""
    assert check_system(machine(), ("glibc", "2.41")).state == "ok"
    assert "no glibc" in check_system(machine(), ("", "")).found
    assert check_python(machine()).state == "ok"
    assert check_python(machine(python="3.19.0")).state == "warn"


@pytest.mark.parametrize(
    ("free", "swap", "state"), [(700, 0, "ok"), (150, 0, "warn"), (30, 100, "warn"), (30, 10, "fail")]
)
def test_memory_that_is_left(tmp_path, free, swap, state):
    """Swap counts before the kernel ends programs."""
    meminfo(tmp_path, 948, free, swap)
    check = check_memory(system_of(tmp_path))
    assert check.state == state
    assert state == "ok" or "`run` needs up to 150 MB" in check.advice


def test_memory_that_nobody_tells_of(tmp_path):
    """A warning."""
    assert check_memory(system_of(tmp_path)).state == "warn"


def disk(root, space=None):
    """The first line about disks."""
    options = {} if space is None else {"space": lambda path: space}
    return next(iter(check_disks(system_of(root, **options))))


@pytest.mark.parametrize(
    ("space", "state", "words"),
    [
        (Space(29_000_000_000, 12_000_000_000, None), "ok", "12.0 of 29.0 GB free, ext4 on /dev/mmcblk0p2"),
        (Space(29_000_000_000, 300_000_000, None), "warn", "a recording leaves"),
        (Space(29_000_000_000, 1_000_000, 9000), "fail", "full"),
        (Space(29_000_000_000, 12_000_000_000, 0), "fail", "no room for more files"),
    ],
)
def test_a_disk_that_gets_full(tmp_path, space, state, words):
    """In bytes, or in files."""
    raspberry_pi(tmp_path)
    check = disk(tmp_path, space)
    assert (check.name, check.state) == ("disk /", state)
    assert words in check.found
    assert bool(check.advice) == (state != "ok")


@pytest.mark.parametrize(
    ("mount", "fstab", "state", "words"),
    [
        ("/dev/mmcblk0p2 / ext4 ro,noatime 0 0", PI_FSTAB, "fail", "after an error of the disk"),
        ("/dev/mmcblk0p2 / ext4 ro 0 0", "/dev/mmcblk0p2 / ext4 ro 0 1", "warn", "nothing can be kept"),
        ("/dev/sda1 / ext4 rw,relatime,emergency_ro 0 0", "", "fail", "after an error"),
        ("/dev/root / squashfs ro 0 0", "", "warn", "nothing can be kept"),
        ("overlay / overlay rw,lowerdir=/lower 0 0", PI_FSTAB, "warn", "gone at the next start"),
        ("/dev/mmcblk0p2 / ext4 rw,noatime 0 0", PI_FSTAB, "ok", "rw, noatime"),
    ],
)
def test_how_a_disk_is_mounted(tmp_path, mount, fstab, state, words):
    """What the kernel made read-only after an error is told from what somebody asked for."""
    raspberry_pi(tmp_path)
    put(tmp_path, "proc/self/mounts", f"{mount}\n")
    put(tmp_path, "etc/fstab", fstab)
    check = disk(tmp_path)
    assert check.state == state
    assert words in check.found


def test_the_disk_of_the_state_has_a_line_of_its_own(tmp_path):
    """If it is another one; that `/` is gone at the next start is as it should be then."""
    raspberry_pi(tmp_path)
    mounts = "overlay / overlay rw 0 0\n/dev/b /var/lib/eco\\040vision ext4 rw 0 0\n"
    put(tmp_path, "proc/self/mounts", f"{mounts}tmpfs /var/lib/ecovision-edge tmpfs rw 0 0\n")
    checks = list(check_disks(system_of(tmp_path)))
    assert [(c.name, c.state) for c in checks] == [("disk /", "ok"), ("disk /var/lib/ecovision-edge", "warn")]
    assert read_mounts(mounts)[1].point == "/var/lib/eco vision"


@pytest.mark.parametrize(
    ("number", "state"),
    [(errno.EROFS, "fail"), (errno.EIO, "fail"), (errno.ENOSPC, "fail"), (errno.EACCES, "ok")],
)
def test_a_disk_that_takes_nothing_although_it_says_so(tmp_path, number, state):
    """Tried where the bin keeps something; what another user may do, is not this one's to say."""
    raspberry_pi(tmp_path)
    (tmp_path / "var/lib/ecovision-edge").mkdir(parents=True)
    asked = []

    def write_error(folder):
        asked.append(folder)
        return OSError(number, os.strerror(number))

    [check, *_] = check_disks(system_of(tmp_path, write_error=write_error))
    assert check.state == state
    assert (os.strerror(number) in check.found) == (state == "fail")
    assert set(asked) == {tmp_path / "var/lib/ecovision-edge"}


def test_trying_to_write_leaves_nothing(tmp_path):
    """And says why it cannot."""
    assert write_error(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    assert write_error(tmp_path / "nonesuch").errno == errno.ENOENT


def test_a_disk_that_cannot_be_asked_and_errors_that_were_counted(tmp_path):
    """Each with what to do."""
    raspberry_pi(tmp_path)

    def broken(path):
        raise OSError(5, "Input/output error")

    [check, *_] = check_disks(system_of(tmp_path, space=broken))
    assert (check.state, "Input/output error" in check.found) == ("fail", True)
    put(tmp_path, "sys/fs/ext4/mmcblk0p2/errors_count", "3\n")
    last = list(check_disks(system_of(tmp_path)))[-1]
    assert (last.name, last.state, last.found[-10:]) == ("errors mmcblk0p2", "warn", "checked: 3")


@pytest.mark.parametrize(
    ("life", "reserve", "state", "words"),
    [
        ("0x01 0x02", "0x01", "ok", "up to 20 %"),
        ("0x00 0x00", "0x00", "ok", "tells no wear"),
        ("0x02 0x09", "0x01", "warn", "up to 90 %"),
        ("0x01 0x01", "0x02", "warn", "reserve below 20 %"),
        ("0x01 0x01", "0x03", "fail", "reserve below 10 %"),
        ("0x0b 0x01", "0x01", "fail", "all of its life used"),
    ],
)
def test_how_worn_an_emmc_is(tmp_path, life, reserve, state, words):
    """By the worse of its two kinds of cells, and by its reserve."""
    emmc(tmp_path, life, reserve)
    [check] = check_wear(system_of(tmp_path))
    assert (check.name, check.state) == ("wear mmc0:0001", state)
    assert words in check.found


@pytest.mark.parametrize(
    ("celsius", "trips", "state"),
    [
        (51, {"critical": 110}, "ok"),
        (76, {"critical": 110}, "warn"),
        (84, {"critical": 110}, "warn"),
        (108, {"critical": 110}, "fail"),
        (84, {}, "fail"),
        (91, {"passive": 99, "critical": 104.5}, "ok"),
        (95, {"passive": 99, "critical": 104.5}, "warn"),
    ],
)
def test_heat_is_judged_by_the_zone_s_own_trip_points(tmp_path, celsius, trips, state):
    """And by a Raspberry Pi's, where it tells none."""
    zone(tmp_path, 0, "cpu-thermal", celsius, trips)
    zone(tmp_path, 1, "other", 20, {})
    check = check_temperature(system_of(tmp_path))
    assert (check.state, f"{celsius} C" in check.found) == (state, True)


@pytest.mark.parametrize(
    ("bits", "state", "advice"),
    [
        ("0", "ok", ""),
        ("50005", "fail", "power supply"),
        ("50000", "warn", "supply"),
        ("e0000", "warn", "fan"),
    ],
)
def test_a_throttled_pi(tmp_path, bits, state, advice):
    """Now, or since it was switched on."""
    raspberry_pi(tmp_path)
    put(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", f"{bits}\n")
    check = check_throttling(system_of(tmp_path))
    assert check.state == state
    assert advice in check.advice


def test_a_pi_that_does_not_tell(tmp_path):
    """Its own program is missing, or this user may not ask; of other machines nothing is expected."""
    assert check_throttling(system_of(tmp_path)).state == "ok"
    put(tmp_path, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    assert "vcgencmd" in check_throttling(system_of(tmp_path)).advice


def test_an_x86_that_was_too_hot(tmp_path):
    """Its kernel counts."""
    put(tmp_path, "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "7\n")
    assert "7 times" in check_throttling(system_of(tmp_path)).found


@pytest.mark.parametrize(
    ("now", "error", "state", "words"),
    [
        (4_000_000_000.0, 0.02, "ok", "synchronized to 0.02 s"),
        (4_000_000_000.0, 16.0, "warn", "not synchronized"),
        (0.0, 0.02, "fail", "1970-01-01 00:00:00 UTC: the clock says 1970"),
    ],
)
def test_a_clock_that_is_wrong(tmp_path, now, error, state, words):
    """By the kernel's own estimate; and a clock of 1970 is wrong whatever it says."""
    check = check_clock(system_of(tmp_path, now=lambda: now), error)
    assert check.state == state
    assert words in check.found


def test_a_clock_that_is_behind_what_an_update_has_seen(tmp_path):
    """The store of updates remembers the latest time that was certain."""
    system = system_of(tmp_path, now=lambda: 4_000_000_000.0)
    assert check_clock(system, 0.02, seen=4_000_000_100.0).state == "ok"
    assert check_clock(system, 0.02, seen=4_100_000_000.0).state == "fail"


def test_the_kernel_is_asked_without_privileges():
    """And nothing is changed."""
    assert read_max_error() >= 0


UNIT = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "NRestarts": "0",
    "Result": "success",
}


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({}, "ok", "active (running), enabled"),
        ({"NRestarts": "4"}, "warn", "restarts: 4"),
        ({"UnitFileState": "disabled"}, "warn", "sudo systemctl enable"),
        ({"ActiveState": "inactive", "SubState": "dead"}, "warn", "enable --now"),
        ({"ActiveState": "failed", "SubState": "failed", "Result": "watchdog"}, "fail", "watchdog"),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code"},
            "fail",
            "exit-code",
        ),
        ({"LoadState": "masked"}, "warn", "unmask"),
        ({"LoadState": "bad-setting"}, "fail", "bad-setting"),
        ({"LoadState": "not-found"}, "warn", "not installed"),
    ],
)
def test_the_service_as_systemd_has_it(tmp_path, changes, state, words):
    """By the properties that `systemctl show` prints."""
    told = "".join(f"{name}={value}\n" for name, value in {**UNIT, **changes}.items())
    check = check_service(system_of(tmp_path, {"systemctl": Output(0, told)}))
    assert check.state == state
    assert words in f"{check.found} {check.advice}"


def test_a_unit_of_one_s_own_is_found_too_and_no_systemd_is_no_fault(tmp_path):
    """The user's own manager is asked where the system's has no such unit."""
    told = "".join(f"{name}={value}\n" for name, value in {**UNIT, "UnitFileState": "disabled"}.items())

    def run(command, limit):
        return Output(0, told if "--user" in command else "LoadState=not-found\n")

    check = check_service(system_of(tmp_path, run=run))
    assert check.advice.endswith("run: systemctl --user enable ecovision-edge.service")
    assert check_service(system_of(tmp_path)).state == "ok"
    elsewhere = Output(1, "", "System has not been booted with systemd as init system (PID 1).\n")
    assert check_service(system_of(tmp_path, {"systemctl": elsewhere})).state == "ok"
