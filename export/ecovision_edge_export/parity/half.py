"""A TFLite model as a device computes it in fp16, for parity: in a process of its own, if this machine can.

XNNPACK, which LiteRT computes with, does fp16 on an Arm CPU that has such arithmetic; on an x86 with F16C it
holds weights and values in fp16 too, and adds up otherwise. Logits move as far there as on an emulated
Cortex-A76, or farther, and not each by the same (docs/figures/arm.md): so what x86 says of agreement, and of
how far fp16 moves a logit, is an estimate of what a Pi 5 does, and no proof of any one answer. That a device
gives itself, by `verify --fp16` and `tune`.

A process of its own since `CompiledModel` writes some twenty lines about accelerators to standard error, and
since a CPU may lack an instruction that nobody knew of: then fp16 is not measured, and the export goes on.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecovision_edge.backends.half import fp16_fault
from ecovision_edge.base.device import Cpu
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import InferenceError

__all__ = ["HalfBackend", "how_in_fp16"]

_X86 = frozenset({"avx2", "f16c", "fma"})
"""What XNNPACK's fp16 kernels for x86 ask for."""

_RUNNER = """
import sys
import numpy
from ecovision_edge.backends import BackendOptions
from ecovision_edge.backends.half import HalfNetwork
from ecovision_edge.backends.litert import LiteRtBackend
data = open(sys.argv[1], "rb").read()
contract = LiteRtBackend(data, BackendOptions(threads=1)).contract
network = HalfNetwork(data, 1, contract)
spec = contract.input
shape, dtype = spec.shape(1), numpy.dtype(spec.dtype)
count = int(numpy.prod(shape)) * dtype.itemsize
out = sys.stdout.buffer
out.write(b"ready")
out.flush()
while len(read := sys.stdin.buffer.read(count)) == count:
    out.write(network.run(numpy.frombuffer(read, dtype).reshape(shape)).tobytes())
    out.flush()
"""


def how_in_fp16(cpu: Cpu) -> str | None:
    """Say by whose arithmetic fp16 is measured here; None if this machine cannot."""
    if fp16_fault(cpu) is None:
        return "by this Arm CPU's own arithmetic"
    if cpu.arch.lower() in ("x86_64", "amd64") and cpu.features >= _X86:
        return "by XNNPACK on x86, which moves logits as far as on Arm or farther, not each by the same"
    return None


class HalfBackend:
    """Runs a model in fp16 in a process of its own; a backend as any other. `close` ends the process.

    Raises:
        InferenceError: that process ended: no CPU for it, or no LiteRT that can.
    """

    def __init__(self, model: bytes, contract: Contract) -> None:
        self._contract = contract
        self._closing = contextlib.ExitStack()
        folder = self._closing.enter_context(tempfile.TemporaryDirectory(prefix="ecovision-edge-"))
        path = Path(folder) / "model.tflite"
        path.write_bytes(model)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _RUNNER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._closing.callback(self._end)
        try:
            self._read(len(b"ready"))
        except InferenceError:
            self.close()
            raise

    @property
    def engine(self) -> str:
        """LiteRT in fp16."""
        return "ai-edge-litert in fp16"

    @property
    def contract(self) -> Contract:
        """The model's."""
        return self._contract

    @property
    def threads(self) -> int:
        """One."""
        return 1

    def run(self, batch: npt.NDArray[np.uint8 | np.float32]) -> npt.NDArray[np.float32]:
        """Return logits `(n, classes)` float32.

        Raises:
            InferenceError: the process ended.
        """
        classes = len(self._contract.labels)
        rows = []
        for frame in batch:
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(frame.tobytes())
                self._process.stdin.flush()
            except OSError as e:
                raise InferenceError("fp16: its process ended", found=self._ended()) from e
            rows.append(np.frombuffer(self._read(4 * classes), np.float32))
        return np.stack(rows) if rows else np.empty((0, classes), np.float32)

    def close(self) -> None:
        """End the process. Idempotent."""
        self._closing.close()

    def _read(self, count: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(count)
        if len(data) != count:
            raise InferenceError("fp16: its process ended", found=self._ended())
        return data

    def _ended(self) -> str:
        status = self._process.wait()
        return f"signal {-status}" if status < 0 else f"exit status {status}"

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self._process.communicate()
