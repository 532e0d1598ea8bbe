"""What machine this is and what state it is in, as far as the trust in a result depends on it.

Everything is read from files of the kernel (`/proc`, `/sys`) below a root that tests can set. What is not
there, or cannot be read, is None: never a guess.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.kernel_files import read_number, read_text
from ecovision_edge.base.records import dataclass

__all__ = [
    "KERNEL_FEATURES",
    "VNNI",
    "Cpu",
    "CpuTimes",
    "DeviceState",
    "Machine",
    "Throttling",
    "read_cpu",
    "read_cpu_times",
    "read_machine",
    "read_state",
    "throttling_of_bits",
]

KERNEL_FEATURES = frozenset(
    {"avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimd", "asimddp", "asimdhp", "i8mm", "sve"}
)
"""Features, as /proc/cpuinfo names them, by which engines choose kernels; each may add in another order."""

VNNI = frozenset({"avx512_vnni", "avx_vnni"})
"""Features of x86 with which sums of u8 x s8 products are exact."""

_CLIPPING = frozenset({"avx2", "fma"})  # what onnxruntime asks for before it takes the kernels that clip
_X86 = frozenset({"x86_64", "amd64", "i686", "i386"})
_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Cpu:
    """A processor: `arch` as the kernel names it, its model, and the features that int8 kernels look for."""

    arch: str
    model: str
    features: frozenset[str]

    @property
    def u8s8_saturates(self) -> bool | None:
        """Whether int8 kernels on this CPU can clip sums of u8 x s8 products; None where it cannot be told.

        With AVX2 and FMA and without VNNI, onnxruntime multiplies by `vpmaddubsw`, whose pairs of products
        are clipped to 16 bits (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html,
        "When and why do I need to try U8U8"). With VNNI, on Arm, and on x86 that has no AVX2 or no FMA, where
        it takes the kernels of SSE4.1, sums are exact: tried with onnxruntime 1.32 on an emulated Nehalem,
        Sandy Bridge, Denverton and Haswell, and on a Haswell without FMA.
        """
        if self.arch.lower() not in _X86:
            return False
        if not self.features:
            return None
        return self.features >= _CLIPPING and not self.features & VNNI


@dataclass(frozen=True, slots=True)
class Machine:
    """What does not change while a program runs.

    Args:
        cpu: The processor.
        board: Name in the device tree (`Raspberry Pi 4 Model B Rev 1.4`); None on a PC.
        cores: Logical cores that are online.
        usable_cores: Cores that this process may use.
        memory_bytes: RAM in bytes.
        os: Name and version of the system (`Debian GNU/Linux 12 (bookworm)`).
        kernel: Its release.
        python: Version.
    """

    cpu: Cpu
    board: str | None
    cores: int
    usable_cores: int
    memory_bytes: int | None
    os: str
    kernel: str
    python: str

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values, with the CPU features that engines choose kernels by."""
        return {
            "arch": self.cpu.arch,
            "cpu": self.cpu.model,
            "cpu_features": [*sorted(self.cpu.features & KERNEL_FEATURES)],
            "board": self.board,
            "cores": self.cores,
            "usable_cores": self.usable_cores,
            "memory_bytes": self.memory_bytes,
            "os": self.os,
            "kernel": self.kernel,
            "python": self.python,
        }


@dataclass(frozen=True, slots=True)
class Throttling:
    """What slows the processor down, or did since boot; `source` says who told.

    On a Raspberry Pi the bits of `vcgencmd get_throttled`
    (https://www.raspberrypi.com/documentation/computers/os.html#get_throttled): 0 under-voltage, 1 frequency
    capped, 2 throttled, 3 soft temperature limit; 16 to 19 the same since boot. On x86 `events` counts the
    kernel's thermal throttle events of all cores.
    """

    source: str
    now: tuple[str, ...] = ()
    since_boot: tuple[str, ...] = ()
    events: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What changes while a program runs; None where it cannot be read.

    Args:
        governors: Each governor of cpufreq that some core has.
        frequency_mhz: Highest current frequency of a core, MHz.
        max_frequency_mhz: The highest that the hardware has, MHz.
        frequency_limit_mhz: The highest that the system allows now, MHz.
        temperature_c: Temperature of the hottest thermal zone, degrees Celsius.
        throttling: See `Throttling`.
    """

    governors: tuple[str, ...] | None
    frequency_mhz: float | None
    max_frequency_mhz: float | None
    frequency_limit_mhz: float | None
    temperature_c: float | None
    throttling: Throttling | None

    @property
    def unread(self) -> tuple[str, ...]:
        """What could not be read."""
        known = {
            "governor": self.governors,
            "frequency": self.frequency_mhz,
            "temperature": self.temperature_c,
            "throttling": self.throttling,
        }
        return tuple(name for name, value in known.items() if value is None)

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        t = self.throttling
        return {
            "governors": None if self.governors is None else [*self.governors],
            "frequency_mhz": self.frequency_mhz,
            "max_frequency_mhz": self.max_frequency_mhz,
            "frequency_limit_mhz": self.frequency_limit_mhz,
            "temperature_c": self.temperature_c,
            "throttling": None
            if t is None
            else {
                "source": t.source,
                "now": [*t.now],
                "since_boot": [*t.since_boot],
                "events": t.events,
            },
            "unread": [*self.unread],
        }


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Seconds of all cores since boot: `busy` at work, `stolen` by other virtual machines."""

    busy: float
    stolen: float


def read_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Cpu:
    """Read this machine's CPU; what cannot be read stays empty."""
    text = read_text(cpuinfo) or ""
    model = _field(text, "model name|Model|Hardware") or platform.processor() or "unknown"
    features = _field(text, "flags|Features") or ""
    return Cpu(platform.machine(), model, frozenset(features.split()))


def read_machine(root: Path = _ROOT) -> Machine:
    """Read what machine this is."""
    memory = _field(read_text(root / "proc/meminfo") or "", "MemTotal")
    release = read_text(root / "etc/os-release") or ""
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)"?$', release, re.MULTILINE)
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        usable = os.cpu_count() or 1
    return Machine(
        cpu=read_cpu(root / "proc/cpuinfo"),
        board=read_text(root / "proc/device-tree/model"),
        cores=os.cpu_count() or 1,
        usable_cores=usable,
        memory_bytes=int(memory.split()[0]) * 1024 if memory else None,
        os=name[1] if name else platform.system(),
        kernel=platform.release(),
        python=platform.python_version(),
    )


def read_state(root: Path = _ROOT) -> DeviceState:
    """Read what state this machine is in."""
    policies = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    governors = sorted({g for p in policies if (g := read_text(p / "scaling_governor"))})
    zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    # Sensors that are off read as 0 or far below it.
    temperatures = [t / 1000 for z in zones if (t := read_number(z)) is not None and t > 0]
    return DeviceState(
        governors=tuple(governors) or None,
        frequency_mhz=_highest_mhz(policies, "scaling_cur_freq"),
        max_frequency_mhz=_highest_mhz(policies, "cpuinfo_max_freq"),
        frequency_limit_mhz=_highest_mhz(policies, "scaling_max_freq"),
        temperature_c=max(temperatures, default=None),
        throttling=_read_throttling(root),
    )


def read_cpu_times(root: Path = _ROOT) -> CpuTimes | None:
    """Read what all cores have done since boot; None where the kernel does not say."""
    line = (read_text(root / "proc/stat") or "").partition("\n")[0].split()
    if len(line) < 9 or line[0] != "cpu":
        return None
    # user nice system idle iowait irq softirq steal (proc_pid_stat(5), /proc/stat); in ticks
    user, nice, system, _, _, irq, softirq, steal = (int(x) for x in line[1:9])
    tick = os.sysconf("SC_CLK_TCK")
    return CpuTimes((user + nice + system + irq + softirq) / tick, steal / tick)


_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


def throttling_of_bits(bits: int, source: str) -> Throttling:
    """Decode a Raspberry Pi's `get_throttled`."""
    return Throttling(
        source,
        tuple(name for bit, name in _BITS.items() if bits >> bit & 1),
        tuple(name for bit, name in _BITS.items() if bits >> (bit + 16) & 1),
    )


def _read_throttling(root: Path) -> Throttling | None:
    for file in sorted((root / "sys/devices/platform").glob("soc*/soc*firmware/get_throttled")):
        text = read_text(file)
        if text is not None and re.fullmatch(r"(0x)?[0-9a-fA-F]+", text):
            return throttling_of_bits(int(text, 16), "sysfs get_throttled")
    import shutil  # here, since every start of the runtime would pay for them
    import subprocess

    tool = shutil.which("vcgencmd") if root == _ROOT else None
    if tool is not None:
        try:
            done = subprocess.run(
                [tool, "get_throttled"], capture_output=True, text=True, timeout=2, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        match = re.search(r"throttled=(0x[0-9a-fA-F]+)", done.stdout)
        return throttling_of_bits(int(match[1], 16), "vcgencmd get_throttled") if match else None
    counts = [
        n
        for file in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
        if (n := read_number(file)) is not None
    ]
    return Throttling("sysfs thermal_throttle", events=int(sum(counts))) if counts else None


def _highest_mhz(policies: list[Path], name: str) -> float | None:
    values = [v / 1000 for p in policies if (v := read_number(p / name)) is not None]  # files are in kHz
    return max(values, default=None)


def _field(text: str, names: str) -> str | None:
    match = re.search(rf"^(?:{names})\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else None
