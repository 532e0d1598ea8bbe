"""What a new bundle has to pass on this device before anything changes: asked here, done by `updates.trial`.

All of it runs in one process of its own, so that an engine that dies, hangs or takes all memory leaves the
bundle that runs alone. Each gate has a name, and each refusal is the name and a reason.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from ecovision_edge import errors
from ecovision_edge.base.fields import Fields, JsonValue
from ecovision_edge.base.records import dataclass
from ecovision_edge.errors import EcovisionError, GateError, TryLaterError, UpdateError
from ecovision_edge.updates.children import Child, Ended, run_child

__all__ = ["GATES", "Gate", "GateResult", "Loading", "Trial", "error_of", "prove"]

Gate: TypeAlias = Literal["files", "contract", "rules", "engine", "golden", "latency", "labelled", "recorded"]
GATES: tuple[Gate, ...] = get_args(Gate)
"""In the order in which they are passed; the signature was checked when the bundle was fetched."""

_OF_MANY_FRAMES = ("labelled", "recorded")  # which a device that is busy may not get through
_MODULE = "ecovision_edge.updates.trial"
_MOST = 4096  # characters of a path


@dataclass(frozen=True, slots=True)
class Loading:
    """How `run` loads a bundle on this device: see `Classifier.load`."""

    artifact: str = "auto"
    threads: int | None = None
    providers: tuple[str, ...] | None = None
    provider_options: tuple[tuple[str, str], ...] = ()
    delegate: str | None = None
    fp16: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """What is to be proved.

    Args:
        candidate: Folder of the new bundle.
        current: Folder of the one that runs.
        loading: How both are loaded.
        rules: File of the bin's rules; None if there is no bin.
        max_slower: How much slower it may be, as a share: 0.25 is a quarter.
        labelled: Folder of the device's own frames that were labelled, one folder per class; None for none.
        recorded: Folder of the device's last recorded frames; None for none.
        min_agree: Share of those that both have to call the same, 0 to 1.
        compared: Whether it is compared with the current one: not if that was withdrawn.
        seconds: For all of it.
    """

    candidate: str
    current: str
    loading: Loading = Loading()
    rules: str | None = None
    max_slower: float = 0.25
    labelled: str | None = None
    recorded: str | None = None
    min_agree: float = 0.9
    compared: bool = True
    seconds: float = 900.0

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        loading = self.loading
        return {
            "candidate": self.candidate,
            "current": self.current,
            "artifact": loading.artifact,
            "threads": loading.threads,
            "providers": None if loading.providers is None else list(loading.providers),
            "provider_options": dict(loading.provider_options),
            "delegate": loading.delegate,
            "fp16": loading.fp16,
            "rules": self.rules,
            "max_slower": self.max_slower,
            "labelled": self.labelled,
            "recorded": self.recorded,
            "min_agree": self.min_agree,
            "compared": self.compared,
            "seconds": self.seconds,
        }

    @classmethod
    def of(cls, value: JsonValue) -> Trial:
        """Read and validate; raises ContractError."""
        f = Fields.of(value, "the trial")
        loading = Loading(
            artifact=f.text("artifact"),
            threads=f.integer("threads", -(2**31), 2**31) if f.has("threads") else None,
            providers=tuple(map(str, f.items("providers", most=100))) if f.has("providers") else None,
            provider_options=tuple((name, str(text)) for name, text in f.free("provider_options").items()),
            delegate=f.text_or_none("delegate", most=_MOST),
            fp16=f.flag("fp16"),
        )
        trial = cls(
            candidate=f.text("candidate", most=_MOST),
            current=f.text("current", most=_MOST),
            loading=loading,
            rules=f.text_or_none("rules", most=_MOST),
            max_slower=f.number("max_slower", 0, 1e6),
            labelled=f.text_or_none("labelled", most=_MOST),
            recorded=f.text_or_none("recorded", most=_MOST),
            min_agree=f.number("min_agree", 0, 1),
            compared=f.flag("compared"),
            seconds=f.number("seconds", 0, 1e9),
        )
        f.done()
        return trial


@dataclass(frozen=True, slots=True)
class GateResult:
    """What came of one gate.

    Args:
        gate: Which.
        ok: Whether the bundle passed it.
        detail: What was found.
        skipped: There was nothing to ask: no rules, or no frames; `ok` is True then.
    """

    gate: Gate
    ok: bool
    detail: str
    skipped: bool = False

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {"gate": self.gate, "ok": self.ok, "detail": self.detail, "skipped": self.skipped}


def prove(trial: Trial, *, child: Child = run_child) -> tuple[GateResult, ...]:
    """Let a bundle pass all gates; returns what each of them found.

    Raises:
        GateError: it did not pass one; it is the bundle's fault, and will be so the next time.
        TryLaterError: the process could not be started, or was killed from outside.
        EcovisionError: what was asked cannot be done, whatever the bundle: no such rules, an engine that is
            not installed, a bundle for a newer program.
    """
    try:
        ended = child(_MODULE, trial.to_json(), trial.seconds)
    except OSError as e:
        raise TryLaterError("no process can be started", found=e.strerror) from e
    results = [result for answer in ended.answers if (result := _result(answer)) is not None]
    failed = next((result for result in results if not result.ok), None)
    if failed is not None:
        raise GateError(f"gate {failed.gate}", found=failed.detail)
    if not ended.in_time or ended.status != 0 or len(results) != len(GATES):
        raise _end_of(ended, len(results), trial.seconds)
    return tuple(results)


def _result(answer: Mapping[str, JsonValue]) -> GateResult | None:
    gate, ok, detail = answer.get("gate"), answer.get("ok"), answer.get("detail")
    if gate not in GATES or not isinstance(ok, bool) or not isinstance(detail, str):
        return None
    return GateResult(gate, ok, detail, answer.get("skipped") is True)


def _end_of(ended: Ended, passed: int, seconds: float) -> EcovisionError:
    """Return the error of a process that did not get through all gates."""
    raised = next((answer for answer in ended.answers if "error" in answer), None)
    if raised is not None:
        return error_of(raised)
    gate = GATES[min(passed, len(GATES) - 1)]
    if not ended.in_time and gate in _OF_MANY_FRAMES:
        return TryLaterError(f"gate {gate}", expected=f"an end within {seconds:g} s", found="none")
    if not ended.in_time:
        return GateError(f"gate {gate}", expected=f"an end within {seconds:g} s", found="none")
    if ended.status in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP):
        return TryLaterError(f"gate {gate} was stopped", found=ended.how, fix="memory may be short")
    if ended.status < 0:
        return GateError(f"gate {gate}", found=f"the process that tried it did not survive: {ended.how}")
    return UpdateError(f"gate {gate} could not be tried", found=ended.how)


def error_of(answer: Mapping[str, JsonValue]) -> EcovisionError:
    """Return the error that a process answered with, as it was raised there."""
    kind = getattr(errors, str(answer.get("error")), None)
    message = str(answer.get("message"))
    if isinstance(kind, type) and issubclass(kind, EcovisionError):
        return kind(message)
    return UpdateError(message)
