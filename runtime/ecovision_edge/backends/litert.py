"""LiteRT, the former TensorFlow Lite, behind the Backend protocol.

LiteRT itself writes a line to standard error when it makes the first interpreter of a process ("INFO: Created
TensorFlow Lite XNNPACK delegate for CPU."). Its Python package has no way to keep it from that (2.3).
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import math
import threading
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from ecovision_edge.backends import BackendOptions, default_threads
from ecovision_edge.backends._checks import check_batch, check_logits
from ecovision_edge.backends.half import HalfNetwork, refuse_fp16
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.bundle.engines import ENGINES
from ecovision_edge.errors import (
    ContractError,
    InferenceError,
    MissingDependencyError,
    ModelError,
    OptionError,
)
from ecovision_edge.modelfile.metadata import contract_entry
from ecovision_edge.modelfile.tflite import read_metadata

try:
    from ai_edge_litert.interpreter import Delegate, Interpreter, load_delegate
except (ImportError, OSError) as e:  # OSError: it loads a shared object of its own
    raise MissingDependencyError(
        "ai-edge-litert is not installed"
        if isinstance(e, ModuleNotFoundError) and e.name == "ai_edge_litert"
        else f"ai-edge-litert cannot be imported ({reason_of(e)})",
        fix=ENGINES["tflite"].fix,
    ) from e

__all__ = ["LiteRtBackend"]

_DELEGATE_FUNCTIONS = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")


class _Tensor(TypedDict):
    """What is used of the interpreter's details of an input or output."""

    index: int
    dtype: type[np.generic]
    shape: npt.NDArray[np.int32]
    quantization: tuple[float, int]  # scale, zero point; (0.0, 0) where there is no such pair


class LiteRtBackend:
    """A TFLite model in LiteRT, with its default delegate, XNNPACK.

    The interpreter runs one frame at a time. `run` may be called from several threads at once: they wait for
    each other.

    Args:
        model: The model file's bytes. Tensors in other files are refused: a model is one file. Damage that
            would let LiteRT read outside the file is, too; but LiteRT is no sandbox, and a file that is made
            to crash it can.
        options: Threads, delegate, fp16. Spinning has no meaning here: XNNPACK's threads spin for a moment
            and then sleep. Providers are refused.

    Raises:
        MissingContractError: the model carries no contract.
        ContractError, SchemaVersionError: it carries one that cannot be read.
        ModelError: LiteRT cannot open it, or its input or output is not what its contract says.
        OptionError: providers are given, the delegate cannot be loaded, or this CPU has no fp16.
        DeadlyEngineError: fp16 would end this process on this CPU, as a probe found.
    """

    def __init__(self, model: bytes, options: BackendOptions | None = None) -> None:
        options = options or BackendOptions()
        if options.providers is not None:
            raise OptionError(
                "providers",
                expected="none for a TFLite model",
                found=", ".join(options.providers) or "an empty list",
                fix="they are onnxruntime's; give LiteRT a delegate",
            )
        self._threads = options.threads or default_threads()
        self._delegate = options.delegate
        self._contract = _contract(read_metadata(model))
        self._lock = threading.Lock()
        self._half = _open_half(model, self._threads, self._contract) if options.fp16 else None
        if self._half is not None:
            return
        delegates = [] if options.delegate is None else [_load_delegate(options.delegate)]
        try:
            self._interpreter = Interpreter(
                model_content=model, num_threads=self._threads, experimental_delegates=delegates
            )
            # Before memory is taken for it, which may be more than there is.
            self._input = _check_input(self._interpreter.get_input_details(), self._contract)
            self._interpreter.allocate_tensors()
            outputs = self._interpreter.get_output_details()
        except ModelError:
            raise
        except Exception as e:  # LiteRT's errors are ValueError, RuntimeError and more
            which = f" with the delegate {options.delegate}" if options.delegate else ""
            raise ModelError(
                f"LiteRT cannot open the model{which}", found=_last_line(e), fix="export it again"
            ) from e
        self._output, self._scale = _check_output(outputs, self._contract)

    @property
    def engine(self) -> str:
        """`ai-edge-litert` and its version, and fp16 or the delegate where there is one."""
        try:
            version = importlib.metadata.version("ai-edge-litert")
        except importlib.metadata.PackageNotFoundError:  # its nightly builds have another name
            version = "of unknown version"
        how = " in fp16" if self._half is not None else f" with {self._delegate}" if self._delegate else ""
        return f"ai-edge-litert {version}{how}"

    @property
    def contract(self) -> Contract:
        """The contract that stands in the model's metadata."""
        return self._contract

    @property
    def threads(self) -> int:
        """Threads for one inference."""
        return self._threads

    @property
    def delegate(self) -> str | None:
        """The delegate's library that was asked for; XNNPACK takes what it leaves."""
        return self._delegate

    def run(self, batch: npt.NDArray[np.uint8 | np.float32]) -> npt.NDArray[np.float32]:
        """Return logits `(n, classes)` float32 for `contract.input.shape(n)`; integer ones dequantized.

        Raises:
            InferenceError: LiteRT failed, or the output is not finite or of another shape.
        """
        check_batch(batch, self._contract)
        if len(batch) == 0:
            return np.empty((0, len(self._contract.labels)), np.float32)
        try:
            rows = [self._run_one(batch[i : i + 1]) for i in range(len(batch))]
        except InferenceError:
            raise
        except Exception as e:  # LiteRT's errors are ValueError, RuntimeError and more
            raise InferenceError("LiteRT failed to run the model", found=_last_line(e)) from e
        for row in rows:
            check_logits(row, 1, self._contract)
        return np.concatenate(rows) if len(rows) != 1 else rows[0]

    def _run_one(self, frame: npt.NDArray[np.uint8 | np.float32]) -> npt.NDArray[np.float32]:
        if self._half is not None:
            with self._lock:
                return self._half.run(frame)
        with self._lock:
            self._interpreter.set_tensor(self._input, frame)  # copies
            self._interpreter.invoke()
            output: npt.NDArray[np.float32 | np.int8 | np.uint8] = self._interpreter.get_tensor(self._output)
        if self._scale is None:
            return output.astype(np.float32, copy=False)  # is a copy already
        scale, zero = self._scale
        return (output.astype(np.float32) - np.float32(zero)) * np.float32(scale)


def _open_half(model: bytes, threads: int, contract: Contract) -> HalfNetwork:
    refuse_fp16()
    return HalfNetwork(model, threads, contract)


def _contract(metadata: Mapping[str, bytes]) -> Contract:
    try:
        text = contract_entry(metadata).decode()
    except UnicodeDecodeError as e:
        raise ContractError("contract is not UTF-8", found=reason_of(e), fix="export it again") from e
    return Contract.loads(text)


def _load_delegate(name: str) -> Delegate:
    try:
        # First by hand: what load_delegate leaves of a library that it cannot load fails as it is deleted.
        library = ctypes.PyDLL(name)
        missing = next((f for f in _DELEGATE_FUNCTIONS if not hasattr(library, f)), None)
        if missing is None:
            return load_delegate(name)
        found = f"{name} without {missing}"
    except Exception as e:  # noqa: BLE001 - OSError of the loader, and what a delegate's own code raises
        found = " ".join(str(e).split())[:300] or type(e).__name__
    raise OptionError(
        "delegate",
        expected="a LiteRT delegate, such as libedgetpu.so.1",
        found=found,
        fix="is its library installed, and its device there?",
    )


def _check_input(inputs: Sequence[_Tensor], contract: Contract) -> int:
    """Compare the model's real input with the contract; its index. Names are the converter's own."""
    expected = f"one input {contract.input.dtype} {contract.input.shape(1)}"
    if len(inputs) != 1 or _form(inputs[0]) != (contract.input.dtype, contract.input.shape(1)):
        raise ModelError(
            "the model's input does not fit its contract", expected=expected, found=_described(inputs)
        )
    return inputs[0]["index"]


def _check_output(outputs: Sequence[_Tensor], contract: Contract) -> tuple[int, tuple[float, int] | None]:
    """Compare the model's real output with the labels; its index, and scale and zero point of integers."""
    classes = len(contract.labels)
    if len(outputs) != 1:
        raise ModelError(
            "the model's output does not fit its contract", expected="one output", found=_described(outputs)
        )
    dtype, shape = _form(outputs[0])
    if dtype not in {"float32", "int8", "uint8"} or shape != (1, classes):
        raise ModelError(
            "the labels do not fit the model's output",
            expected=f"float32, int8 or uint8 (1, {classes}) for {classes} labels",
            found=_described(outputs),
            fix="export again with the labels that the model was trained on",
        )
    if dtype == "float32":
        return outputs[0]["index"], None
    scale, zero = outputs[0]["quantization"]
    if not (math.isfinite(scale) and scale > 0):
        raise ModelError(
            "the model's output cannot be dequantized",
            expected=f"a scale above 0 for its {dtype}",
            found=scale,
            fix="export it again",
        )
    return outputs[0]["index"], (scale, zero)


def _form(tensor: _Tensor) -> tuple[str, tuple[int, ...]]:
    return np.dtype(tensor["dtype"]).name, tuple(tensor["shape"].tolist())


def _described(tensors: Sequence[_Tensor]) -> str:
    return ", ".join("{} {}".format(*_form(t)) for t in tensors) or "none"


def _last_line(error: Exception) -> str:
    """Return the last line, which says what went wrong; the lines before name the operators that failed."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:300]
