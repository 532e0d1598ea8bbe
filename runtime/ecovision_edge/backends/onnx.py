"""onnxruntime behind the Backend protocol."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ecovision_edge.backends import BackendOptions, default_threads
from ecovision_edge.backends._checks import check_batch, check_logits
from ecovision_edge.base.providers import CPU, TENSORRT, choose_providers
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.bundle.engines import ENGINES
from ecovision_edge.errors import (
    EcovisionError,
    InferenceError,
    MissingDependencyError,
    ModelError,
    OptionError,
)
from ecovision_edge.modelfile.metadata import contract_entry

# Official builds of onnxruntime send usage events to Microsoft unless they are told not to before their
# import (its Privacy.md, "Disabling Telemetry"). A device keeps to itself; a user who sets it to 0 wins.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    import onnxruntime as ort
except ImportError as e:  # pragma: no cover - a base dependency, but some boards take another build of it
    raise MissingDependencyError(
        "onnxruntime is not installed"
        if isinstance(e, ModuleNotFoundError) and e.name == "onnxruntime"
        else f"onnxruntime cannot be imported ({reason_of(e)})",
        fix=ENGINES["onnx"].fix,
    ) from e

from ecovision_edge.backends._session import Opener

if TYPE_CHECKING:
    from ecovision_edge.backends.session_cache import SessionCache

__all__ = ["OnnxBackend"]

_TENSOR = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}


class OnnxBackend:
    """An ONNX model in onnxruntime. `run` may be called from several threads at once.

    Args:
        model: The model file's bytes, or what gives them: it is not asked where the cache has the graph.
            External data is refused: a model is one file.
        options: Threads, providers with their options, spinning. What runs on another provider than the CPU
            answers one blank input at once: such a provider may build its program at the first one (TensorRT
            for minutes), and a camera would be taken for stuck meanwhile.
        cache: The graph as onnxruntime has rewritten it is taken from there, or kept there; on the CPU alone.

    Raises:
        MissingContractError: the model carries no contract.
        ContractError, SchemaVersionError: it carries one that cannot be read.
        ModelError: onnxruntime cannot open it, or its input or output is not what its contract says.
        OptionError: a provider that is not installed, or that cannot be used where the CPU is not asked for
            too; an option of no provider; or a delegate, which is LiteRT's.
        InferenceError: another provider than the CPU opens it, and cannot run it.
    """

    def __init__(
        self,
        model: bytes | Callable[[], bytes],
        options: BackendOptions | None = None,
        *,
        cache: SessionCache | None = None,
    ) -> None:
        options = options or BackendOptions()
        if options.delegate is not None:
            raise OptionError(
                "delegate",
                expected="none for an ONNX model",
                found=options.delegate,
                fix="it is LiteRT's: choose a TFLite model, or give onnxruntime providers",
            )
        if options.fp16:
            raise OptionError(
                "fp16", expected="a TFLite model", found="an ONNX model", fix="it is LiteRT's: leave it out"
            )
        self._threads = options.threads or default_threads()
        providers = choose_providers(
            options.providers, options.provider_options, ort.get_available_providers()
        )
        alone = list(providers) == [CPU]
        self._session = _open(model, self._threads, options.spinning, providers, cache if alone else None)
        used = self._session.get_providers()
        _tell_missing(list(providers), used)
        try:
            metadata = self._session.get_modelmeta().custom_metadata_map
            self._contract = Contract.loads(contract_entry(metadata))
            # TensorRT would build an engine for each size of a batch.
            self._one_by_one = _check_fit(self._session, self._contract) or TENSORRT in used
        except UnicodeDecodeError as e:
            raise ModelError("the model has a name that is not UTF-8", fix="export it again") from e
        if any(name != CPU for name in used):
            self.run(np.zeros(self._contract.input.shape(1), self._contract.input.dtype))

    @property
    def engine(self) -> str:
        """`onnxruntime` and its version."""
        return f"onnxruntime {ort.__version__}"

    @property
    def contract(self) -> Contract:
        """The contract that stands in the model's metadata."""
        return self._contract

    @property
    def threads(self) -> int:
        """Threads for one inference."""
        return self._threads

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers in use, in order."""
        return tuple(self._session.get_providers())

    def run(self, batch: npt.NDArray[np.uint8 | np.float32]) -> npt.NDArray[np.float32]:
        """Return logits `(n, classes)` float32 for `contract.input.shape(n)`.

        Raises:
            InferenceError: onnxruntime failed, or the output is not finite or of another shape.
        """
        check_batch(batch, self._contract)
        if len(batch) == 0:
            return np.empty((0, len(self._contract.labels)), np.float32)
        name, output = self._contract.input.name, self._contract.output.name
        step = 1 if self._one_by_one else len(batch)
        try:
            parts = [
                self._session.run([output], {name: batch[i : i + step]})[0]
                for i in range(0, len(batch), step)
            ]
        except Exception as e:  # onnxruntime's errors share no base class
            raise InferenceError("onnxruntime failed to run the model", found=_first_line(e)) from e
        logits: npt.NDArray[np.float32] = np.concatenate(parts) if len(parts) != 1 else parts[0]
        check_logits(logits, len(batch), self._contract)
        return logits


def _open(
    model: bytes | Callable[[], bytes],
    threads: int,
    spinning: bool,
    providers: Mapping[str, Mapping[str, str]],
    cache: SessionCache | None,
) -> ort.InferenceSession:
    """Open a model by the first provider that can be used, as onnxruntime itself does with some of them.

    TensorRT without its libraries is an error of the session, CUDA without its own is not.
    """
    names = list(providers)
    for start, name in enumerate(names):
        left = {name: providers[name] for name in names[start:]}
        try:
            return Opener(threads, spinning, left).open(model, cache)
        except EcovisionError:
            raise
        except Exception as e:  # onnxruntime's errors share no base class
            if start < len(names) - 1:
                continue
            alone = name == CPU  # else it may be the model, or the provider's libraries
            fix = "export it again" if alone else f"try {CPU}: if that opens it, look at {name}"
            raise ModelError("onnxruntime cannot open the model", found=_first_line(e), fix=fix) from e
    raise AssertionError("choose_providers gives one at least")


def _tell_missing(wanted: list[str], used: list[str]) -> None:
    """Say which providers onnxruntime left out: one whose libraries it cannot load it drops without a word.

    Where the CPU was asked for too, that is a warning; where it was not, OptionError.
    """
    missing = ", ".join(name for name in wanted if name not in used)
    if not missing:
        return
    fix = "its libraries (CUDA, cuDNN, TensorRT) must be of the versions that this onnxruntime was built for"
    if CPU not in wanted:
        raise OptionError("providers", expected=missing, found=", ".join(used), fix=f"{fix}; or add {CPU}")
    import logging  # here, since every start would pay for it

    logging.getLogger("ecovision_edge").warning(
        "onnxruntime cannot use %s, and runs on %s; %s", missing, ", ".join(used), fix
    )


def _check_fit(session: ort.InferenceSession, contract: Contract) -> bool:
    """Compare the model's real input and output with the contract; whether its batch is fixed at 1."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or inputs[0].name != contract.input.name:
        raise ModelError(
            "the model's input does not fit its contract",
            expected=f"one input {contract.input.name!r}",
            found=", ".join(i.name for i in inputs) or "none",
        )
    shape, kind = inputs[0].shape, inputs[0].type
    expected = contract.input.shape(1)[1:]
    fixed = bool(shape) and isinstance(shape[0], int)
    fits = len(shape) == 4 and tuple(shape[1:]) == expected and (not fixed or shape[0] == 1)
    if kind != _TENSOR[contract.input.dtype] or not fits:
        raise ModelError(
            "the model's input does not fit its contract",
            expected=f"{_TENSOR[contract.input.dtype]} (1 or dynamic, {str(expected)[1:-1]})",
            found=f"{kind} {shape}",
        )
    output = next((o for o in outputs if o.name == contract.output.name), None)
    if output is None:
        raise ModelError(
            "the model's output does not fit its contract",
            expected=f"an output {contract.output.name!r}",
            found=", ".join(o.name for o in outputs),
        )
    classes = len(contract.labels)
    if output.type != "tensor(float)" or len(output.shape) != 2 or output.shape[1] != classes:
        raise ModelError(
            "the labels do not fit the model's output",
            expected=f"tensor(float) (batch, {classes}) for {classes} labels",
            found=f"{output.type} {output.shape}",
            fix="export again with the labels that the model was trained on",
        )
    return fixed


def _first_line(error: Exception) -> str:
    if isinstance(error, EcovisionError):
        return error.message
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
