"""Facts about telling the CPU."""

import json
import os
import platform

import pytest

from ecovision_edge.base.device import (
    KERNEL_FEATURES,
    Cpu,
    CpuTimes,
    Throttling,
    read_cpu,
    read_cpu_times,
    read_machine,
    read_state,
    throttling_of_bits,
)

NAMES = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")

PI = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics asimdhp asimddp
CPU implementer\t: 0x41

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
INTEL = """processor\t: 0
model\t\t: 60
model name\t: Intel(R) Core(TM) i7-4770
flags\t\t: fpu sse2 avx avx2
vmx flags\t: vnmi avx512_vnni

processor\t: 1
model name\t: another
"""


@pytest.mark.parametrize("feature", ["avx512_vnni", "avx_vnni"])
def test_vnni_sums_exactly(feature):
    """Either name of VNNI that Linux has."""
    assert Cpu("x86_64", "m", frozenset({"avx2", feature})).u8s8_saturates is False


@pytest.mark.parametrize("arch", ["x86_64", "AMD64", "i686"])
def test_x86_with_avx2_and_fma_and_without_vnni_saturates(arch):
    """Whatever the system calls x86."""
    assert Cpu(arch, "m", frozenset({"avx2", "fma"})).u8s8_saturates is True


@pytest.mark.parametrize(
    "features", [{"sse4_1", "sse4_2"}, {"sse4_2", "avx"}, {"sse4_2", "avx", "fma"}, {"sse4_2", "avx", "avx2"}]
)
def test_x86_without_avx2_or_without_fma_sums_exactly(features):
    """onnxruntime then takes kernels that widen first: a Nehalem, a Sandy Bridge, a masked Haswell."""
    assert Cpu("x86_64", "m", frozenset(features)).u8s8_saturates is False


@pytest.mark.parametrize("arch", ["aarch64", "armv7l", "arm64", "riscv64"])
def test_other_architectures_sum_exactly(arch):
    """With or without known features."""
    assert Cpu(arch, "m", frozenset()).u8s8_saturates is False


def test_x86_of_unknown_features_is_not_judged():
    """None: it cannot be told."""
    assert Cpu("x86_64", "m", frozenset()).u8s8_saturates is None


def test_a_raspberry_pi_is_read(tmp_path):
    """Model and features from a Pi's /proc/cpuinfo."""
    path = tmp_path / "cpuinfo"
    path.write_text(PI)
    cpu = read_cpu(path)
    assert cpu.model in {"Raspberry Pi 5 Model B Rev 1.0", "BCM2835"}
    assert "asimddp" in cpu.features
    assert cpu.arch == platform.machine()


def test_an_intel_is_read(tmp_path):
    """The first processor's name, and its flags but not those of its virtual machines."""
    path = tmp_path / "cpuinfo"
    path.write_text(INTEL)
    cpu = read_cpu(path)
    assert cpu.model == "Intel(R) Core(TM) i7-4770"
    assert cpu.features == {"fpu", "sse2", "avx", "avx2"}


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00flags", b"flags\t\t: \n"])
def test_what_cannot_be_read_stays_empty(tmp_path, content):
    """A missing, empty or binary cpuinfo is no error."""
    path = tmp_path / "cpuinfo"
    if content is not None:
        path.write_bytes(content)
    cpu = read_cpu(path)
    assert cpu.features == frozenset()
    assert cpu.model


def test_this_machine_is_read():
    """The real one has a name and an architecture."""
    cpu = read_cpu()
    assert cpu.arch
    assert cpu.model


def put(root, path, text):
    """A file of the kernel below a root of our own."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_machine_of_which_nothing_can_be_read_says_so(tmp_path):
    """None everywhere and no guess; each is named."""
    state = read_state(tmp_path)
    assert state.governors is state.temperature_c is state.frequency_mhz is state.throttling is None
    assert state.unread == ("governor", "frequency", "temperature", "throttling")
    assert read_cpu_times(tmp_path) is None
    machine = read_machine(tmp_path)
    assert machine.board is machine.memory_bytes is None
    assert machine.cores >= machine.usable_cores >= 1


def test_a_raspberry_pi_in_trouble_is_read(tmp_path):
    """Governor, clock, heat, and both halves of get_throttled."""
    for core in range(2):
        cpufreq = f"sys/devices/system/cpu/cpu{core}/cpufreq"
        put(tmp_path, f"{cpufreq}/scaling_governor", "ondemand\n" if core else "performance\n")
        put(tmp_path, f"{cpufreq}/scaling_cur_freq", f"{600000 + core * 900000}\n")
        put(tmp_path, f"{cpufreq}/cpuinfo_max_freq", "1800000\n")
        put(tmp_path, f"{cpufreq}/scaling_max_freq", "1500000\n")
    put(tmp_path, "sys/class/thermal/thermal_zone0/temp", "81234\n")
    put(tmp_path, "sys/class/thermal/thermal_zone1/temp", "-274000\n")  # a sensor that is off
    put(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    put(tmp_path, "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    put(tmp_path, "proc/meminfo", "MemTotal:        3884360 kB\nMemFree: 1 kB\n")
    put(tmp_path, "etc/os-release", 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    state = read_state(tmp_path)
    assert state.governors == ("ondemand", "performance")
    assert (state.frequency_mhz, state.max_frequency_mhz, state.frequency_limit_mhz) == (1500, 1800, 1500)
    assert state.temperature_c == 81.234
    assert state.throttling == Throttling(
        "sysfs get_throttled", ("under-voltage", "throttled"), ("under-voltage", "throttled")
    )
    assert state.unread == ()
    machine = read_machine(tmp_path)
    assert machine.board == "Raspberry Pi 4 Model B Rev 1.4"
    assert machine.memory_bytes == 3884360 * 1024
    assert machine.os == "Debian GNU/Linux 12 (bookworm)"


@pytest.mark.parametrize(
    ("bits", "now", "since_boot"),
    [
        (0x0, (), ()),
        (0x1, ("under-voltage",), ()),
        (0x8, ("soft temperature limit",), ()),
        (0x20000, (), ("frequency capped",)),
        (0xF000F, tuple(NAMES), tuple(NAMES)),
    ],
)
def test_each_bit_of_get_throttled_has_its_meaning(bits, now, since_boot):
    """As Raspberry Pi documents them."""
    assert throttling_of_bits(bits, "x") == Throttling("x", now, since_boot)


def test_throttle_events_of_an_x86_are_added_up(tmp_path):
    """Over all cores."""
    for core, count in enumerate((2, 3)):
        name = f"sys/devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_count"
        put(tmp_path, name, f"{count}\n")
    assert read_state(tmp_path).throttling == Throttling("sysfs thermal_throttle", events=5)


@pytest.mark.parametrize("text", ["", "zero", "0x", "0xZZ", "-1"])
def test_nonsense_from_the_firmware_is_not_read(tmp_path, text):
    """It is as if there were nothing."""
    put(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", text)
    assert read_state(tmp_path).throttling is None


def test_what_all_cores_did_is_read_in_seconds(tmp_path):
    """Busy is everything but idle and waiting; stolen is apart."""
    tick = os.sysconf("SC_CLK_TCK")
    put(tmp_path, "proc/stat", f"cpu  {tick} {tick} {tick} 999 999 {tick} {tick} {3 * tick} 0 0\ncpu0 1\n")
    assert read_cpu_times(tmp_path) == CpuTimes(busy=5.0, stolen=3.0)


def test_this_machine_and_its_state_are_json():
    """Of the real one, with the features that kernels are chosen by."""
    json.dumps([read_machine().to_json(), read_state().to_json()], allow_nan=False)
    assert set(read_machine().to_json()["cpu_features"]) <= KERNEL_FEATURES
