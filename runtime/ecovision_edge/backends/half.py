"""LiteRT in half precision: what a model computes in fp32 is computed in fp16, where the CPU can.

XNNPACK does it by a flag that only LiteRT's newer interface, `CompiledModel`, can pass on; integer layers
stay as they are. On a CPU without such arithmetic the flag ends the process by an illegal instruction
(Cortex-A72), or makes the model slower (x86: 1.86 times). So the CPU is asked first; and `verify` and `tune`
try it in a process of its own (`probing`) before they use it here.

LiteRT's `CompiledModel` writes some twenty lines about accelerators to standard error as it opens a model;
2.3 has no way to keep it from that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ecovision_edge.backends.survival import FP16, deadly_fp16, read_findings
from ecovision_edge.base.device import Cpu, read_cpu
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import InferenceError, ModelError, OptionError

if TYPE_CHECKING:
    from ai_edge_litert.compiled_model import CompiledModel

__all__ = ["HalfNetwork", "fp16_fault", "refuse_fp16"]

# Of XNNPACK's delegate (tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h). Flags replace the default, so
# the two for integers, which are the default, have to be named: without them int8 layers leave XNNPACK.
QS8, QU8, FORCE_FP16 = 1, 2, 4

FEATURE = "asimdhp"
"""Half-precision arithmetic of 64-bit Arm's vectors, as /proc/cpuinfo names it (FEAT_FP16)."""


def fp16_fault(cpu: Cpu) -> str | None:
    """Return what this CPU lacks for fp16; None if it has all."""
    if cpu.arch.lower() not in ("aarch64", "arm64"):
        return f"{cpu.arch}, where fp16 is slower than fp32"
    return None if FEATURE in cpu.features else f"{cpu.model} without {FEATURE}"


def refuse_fp16() -> None:
    """Refuse fp16 where it would be slower, or end this process.

    Raises:
        OptionError: the CPU lacks it.
        DeadlyEngineError: a probe with this version ended on this CPU.
    """
    cpu = read_cpu()
    fault = fp16_fault(cpu)
    if fault is not None:
        raise OptionError(
            "fp16",
            expected=f"a 64-bit Arm CPU with {FEATURE} (Cortex-A76 and newer)",
            found=fault,
            fix="leave fp16 out",
        )
    ended = FP16.ended(cpu, read_findings())
    if ended is not None:
        raise deadly_fp16(cpu, ended)


class HalfNetwork:
    """A TFLite model in LiteRT's `CompiledModel`, in fp16. One frame at a time, one caller at a time.

    Args:
        model: The model file's bytes, as `read_metadata` has checked them.
        threads: For one inference.
        contract: What the model has to fit.

    Raises:
        MissingDependencyError: this LiteRT has no `CompiledModel`.
        ModelError: it cannot open the model, or the model does not fit its contract.
    """

    def __init__(self, model: bytes, threads: int, contract: Contract) -> None:
        self._model = _open(model, threads)
        inputs, outputs = self._model.create_input_buffers(0), self._model.create_output_buffers(0)
        expected = (
            (contract.input.dtype, contract.input.shape(1)),
            ("float32", (1, len(contract.labels))),
        )
        found = tuple(_form(buffers[0].get_tensor_details()) for buffers in (inputs, outputs) if buffers)
        if len(inputs) != 1 or len(outputs) != 1 or found != expected:
            raise ModelError(
                "the model does not fit its contract in fp16",
                expected=" to ".join(f"one {dtype} {shape}" for dtype, shape in expected),
                found=" to ".join(f"{dtype} {shape}" for dtype, shape in found) or "no input and output",
                fix="leave fp16 out, or export the model again",
            )
        self._inputs, self._outputs = inputs, outputs
        self._form, (_, self._shape) = expected

    def run(self, frame: npt.NDArray[np.uint8 | np.float32]) -> npt.NDArray[np.float32]:
        """Return logits `(1, classes)` float32 for one network input.

        Raises:
            InferenceError: another shape or type, whose bytes LiteRT would take for what they are not.
        """
        form = (str(frame.dtype), frame.shape)
        if form != self._form:
            raise InferenceError("wrong input", expected=_text(self._form), found=_text(form))
        self._inputs[0].write(frame)  # copies
        self._model.run_by_index(0, self._inputs, self._outputs)
        output: npt.NDArray[np.float32] = self._outputs[0].read(self._shape[1], np.float32)
        return output.reshape(self._shape)


def _open(model: bytes, threads: int) -> CompiledModel:
    try:
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.options import CpuOptions, Options
    except ImportError as e:
        from ecovision_edge.bundle.engines import ENGINES
        from ecovision_edge.errors import MissingDependencyError

        raise MissingDependencyError(
            "this ai-edge-litert has no fp16", expected="version 2.3 or newer", fix=ENGINES["tflite"].fix
        ) from e
    cpu = CpuOptions(num_threads=threads, xnnpack_flags=QS8 | QU8 | FORCE_FP16)
    try:
        return CompiledModel.from_buffer(model, options=Options(cpu_options=cpu))
    except Exception as e:  # LiteRT's errors are ValueError, RuntimeError and more
        lines = str(e).strip().splitlines() or [type(e).__name__]
        raise ModelError(
            "LiteRT cannot open the model in fp16", found=lines[-1].strip()[:300], fix="leave fp16 out"
        ) from e


def _form(details: dict[str, object]) -> tuple[str, tuple[int, ...]]:
    shape = details["shape"]
    assert isinstance(shape, (list, tuple))
    return str(details["dtype"]), tuple(int(n) for n in shape)


def _text(form: tuple[str, tuple[int, ...]]) -> str:
    return f"{form[0]} {form[1]}"
