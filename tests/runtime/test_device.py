"""Facts about telling the CPU."""

import platform

import pytest

from ecovision_edge.device import Cpu, read_cpu

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
def test_x86_without_vnni_saturates(arch):
    """Whatever the system calls x86."""
    assert Cpu(arch, "m", frozenset({"avx2"})).u8s8_saturates is True


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
