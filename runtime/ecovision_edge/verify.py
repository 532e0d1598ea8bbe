"""Verify a bundle on this device: hashes, contract, and golden vectors through the engine in use."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ecovision_edge.backends import BackendOptions
from ecovision_edge.backends.probing import probe_bundle
from ecovision_edge.backends.survival import FP16, deadly_engine, deadly_fp16
from ecovision_edge.base.device import Cpu, read_cpu
from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.names import quoted
from ecovision_edge.base.providers import CPU
from ecovision_edge.bundle.engines import ENGINES
from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.bundle.golden import Golden
from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.bundle.manifest import ArtifactEntry
from ecovision_edge.classifier import Classifier
from ecovision_edge.errors import DeadlyEngineError, EcovisionError, MissingDependencyError, OptionError

__all__ = ["Check", "VerifyReport", "golden_tolerance", "verify_bundle"]

SATURATING_FACTOR = 2.0
"""How much wider the tolerance of an int8 artifact is on x86 without VNNI, whose kernels clip sums (see
`Cpu.u8s8_saturates`)."""

FP16_TOLERANCE = 0.125
"""How far fp16 may move a logit from its golden value, beyond what the manifest allows the artifact; another
provider of onnxruntime than the CPU likewise, whatever its options: CUDA and TensorRT compute fp32 in TF32
unless they are told not to, which has as many bits as fp16.

A chosen margin: on an emulated Cortex-A76 the logits of the reference's fp32 model moved by 0.015 with the
one input that was compared. fp16 has 11 bits where fp32 has 24."""

_GOLDEN = "golden "


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `detail` says what was found.

    Args:
        name: What: a file, or `golden ARTIFACT`; of another size in the bundle after its folder, `sizes/192`.
        ok: Whether it is as it should be.
        detail: What was found.
        checked: False where this device cannot look, for it has not the engine; `ok` is False then too.
    """

    name: str
    ok: bool
    detail: str
    checked: bool = True


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All checks of a bundle on this device, the CPU they ran on, and which bundle; None: it does not say."""

    checks: tuple[Check, ...]
    cpu: Cpu
    bundle: BundleIdentity | None = None

    @property
    def ok(self) -> bool:
        """Whether every check that could be made passed."""
        return all(check.ok for check in self.checks if check.checked)

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values."""
        return {
            "ok": self.ok,
            "bundle": None if self.bundle is None else self.bundle.to_json(),
            "cpu": {
                "arch": self.cpu.arch,
                "model": self.cpu.model,
                "u8s8_saturates": self.cpu.u8s8_saturates,
            },
            "checks": [
                {"name": c.name, "ok": c.ok, "checked": c.checked, "detail": c.detail} for c in self.checks
            ],
        }


def golden_tolerance(entry: ArtifactEntry, cpu: Cpu, *, fp16: bool = False) -> float:
    """Return the maximum |difference| of a logit from its golden value, for this artifact on this CPU.

    For int8 the manifest says how far its logits were from PyTorch's at export: a device may add no more.
    From the first quantized tensor on, the exporter's models give the same bits wherever integer sums are
    exact. But the layers left in fp32 add up in another order on another CPU; a last bit of theirs moves some
    value across a rounding boundary of that first quantization, and the layers after it carry that on.
    Measured with the reference on 32 photographs: at most 0.13 of a logit on Cortex-A72 and A76, and 0.13 on
    x86 without VNNI, whose sums are clipped (on 1,212 at most 0.21). LiteRT's kernels clip none.
    """
    tolerance = entry.golden_tolerance * (SATURATING_FACTOR if _may_clip(entry, cpu) else 1)
    return tolerance + (FP16_TOLERANCE if fp16 else 0)


def _may_clip(entry: ArtifactEntry, cpu: Cpu) -> bool:
    """Return whether int8 sums of this artifact may be clipped here: onnxruntime's u8s8 kernels do it."""
    return entry.precision == "int8" and entry.format == "onnx" and cpu.u8s8_saturates is not False


def verify_bundle(
    path: str | os.PathLike[str],
    options: BackendOptions | None = None,
    *,
    cpu: Cpu | None = None,
    probe: bool = False,
) -> VerifyReport:
    """Check every file of a bundle, and run each artifact on the golden inputs on this device.

    What is wrong becomes a failed check in the report, not an exception; only a bundle that is not there
    at all raises. An artifact whose engine is not installed is not checked beyond its sha256, which is no
    failure, as long as another one can be run.

    Args:
        path: The bundle's folder.
        options: Options for the engines. Providers are for ONNX artifacts alone, a delegate and fp16 for
            TFLite ones.
        cpu: What this machine is; None reads it.
        probe: Try each engine in a process of its own first, unless this was done before on this CPU, and
            keep what was found beside the device profiles: one that ends its process is a failed check here,
            and an error wherever it would be loaded.

    Raises:
        BundleNotFoundError: no bundle at `path`.
        OptionError: an option outside its range, or of an engine that no artifact is for.
    """
    options = options or BackendOptions()
    cpu = cpu or read_cpu()
    try:
        bundle = Bundle.open(path)
    except FileNotFoundError:
        raise
    except EcovisionError as e:
        return VerifyReport((Check("manifest", False, e.message),), cpu)
    entries = bundle.manifest.artifacts
    _refuse_options_for_none(options, entries)
    ends = {f.package: f.ended for f in probe_bundle(bundle, fp16=options.fp16)} if probe else {}
    checks = _check_bundle(bundle, options, cpu, ends)
    return VerifyReport((*checks, *_check_sizes(bundle, options, cpu, ends)), cpu, bundle.identity)


def _check_sizes(
    bundle: Bundle, options: BackendOptions, cpu: Cpu, ends: Mapping[str, str | None]
) -> Iterator[Check]:
    """Check the bundles of other sizes in the one that names them."""
    for size in bundle.manifest.sizes:
        if size.sha256 is None:
            continue
        try:
            found = bundle.at_size(size.side)
        except EcovisionError as e:
            yield Check(size.folder, False, e.message)
            continue
        for check in _check_bundle(found, options, cpu, ends):
            yield replace(check, name=f"{size.folder} {check.name}")


def _check_bundle(
    bundle: Bundle, options: BackendOptions, cpu: Cpu, ends: Mapping[str, str | None]
) -> tuple[Check, ...]:
    """Check a bundle's own files, and run its artifacts.

    Args:
        bundle: Opened.
        options: For the engines.
        cpu: This machine's.
        ends: How the process of an engine, or of a way to run one, ended where it was tried (see `survival`).
    """
    entries = bundle.manifest.artifacts
    which = bundle.identity
    holds = f"{len(entries)} artifacts, {len(bundle.contract.labels)} labels"
    checks = [Check("manifest", True, f"{which.name} {which.version}, id {which.id}; {holds}")]
    golden: Golden | None = None
    try:
        golden = bundle.golden()
        checks.append(
            Check(bundle.manifest.golden.file, True, f"sha256 matches, {len(golden.inputs)} vectors")
        )
    except EcovisionError as e:
        checks.append(Check(bundle.manifest.golden.file, False, e.message))
    runs: list[Check] = []
    for entry in entries:
        fitting = options.fitting(entry.format)
        if (ended := ends.get(ENGINES[entry.format].package)) is not None:
            runs += _not_opened(entry, deadly_engine(entry.format, cpu, ended))
        elif fitting.fp16 and (ended := ends.get(FP16.name)) is not None:
            runs += _not_opened(entry, deadly_fp16(cpu, ended))
        else:
            runs += _check_artifact(bundle, entry, golden, fitting, cpu)
    if sum(not check.checked for check in runs) == len(entries):  # nothing could be run: that is a failure
        runs = [replace(check, checked=True) for check in runs]
    return (*checks, *runs)


def _refuse_options_for_none(options: BackendOptions, entries: Sequence[ArtifactEntry]) -> None:
    """Refuse an option that no artifact could heed."""
    for name, value, format in (
        ("providers", options.providers, "onnx"),
        ("delegate", options.delegate, "tflite"),
        ("fp16", "it" if options.fp16 else None, "tflite"),
    ):
        if value is not None and all(entry.format != format for entry in entries):
            raise OptionError(name, expected=f"none, for there is no {format} artifact", found=quoted(value))


def _check_artifact(
    bundle: Bundle, entry: ArtifactEntry, golden: Golden | None, options: BackendOptions, cpu: Cpu
) -> list[Check]:
    try:
        classifier = Classifier.from_bundle(bundle, entry.name, options)
    except OptionError:  # the caller's, not the bundle's
        raise
    except MissingDependencyError as e:
        return _not_opened(entry, e)
    except EcovisionError as e:
        return [Check(entry.file.file, False, e.message)]
    used = _providers(classifier) if entry.format == "onnx" else ()
    runs_on = "" if not used or options.providers is None else f", runs on {', '.join(used)}"
    checks = [Check(entry.file.file, True, f"sha256 matches, contract matches, opens{runs_on}")]
    if golden is not None:
        half = options.fp16 or any(name != CPU for name in used)
        checks.append(_check_golden(classifier, entry, golden, cpu, fp16=half))
    return checks


def _providers(classifier: Classifier) -> tuple[str, ...]:
    """Return the execution providers that an ONNX model runs on."""
    from ecovision_edge.backends.onnx import OnnxBackend

    assert isinstance(classifier.backend, OnnxBackend)
    return classifier.backend.providers


def _not_opened(entry: ArtifactEntry, error: MissingDependencyError) -> list[Check]:
    """Return the checks of a file whose engine was not loaded; one that would end the process has failed."""
    deadly = isinstance(error, DeadlyEngineError)
    detail = error.message if deadly else f"not checked: {error.message}"
    return [
        Check(entry.file.file, True, "sha256 matches; not opened"),
        Check(f"{_GOLDEN}{entry.name}", False, detail, checked=deadly),
    ]


def _check_golden(
    classifier: Classifier, entry: ArtifactEntry, golden: Golden, cpu: Cpu, *, fp16: bool
) -> Check:
    name = f"{_GOLDEN}{entry.name}{' in fp16' if fp16 and entry.format == 'tflite' else ''}"
    expected = golden.logits.get(entry.name)
    if expected is None:
        return Check(name, False, "no golden logits for this artifact; export the bundle again")
    try:
        found = np.concatenate([classifier.run(golden.inputs[i : i + 1]) for i in range(len(golden.inputs))])
    except EcovisionError as e:
        return Check(name, False, e.message)
    tolerance = golden_tolerance(entry, cpu, fp16=fp16)
    return compare_golden(name, expected, found, tolerance, entry, cpu)


def compare_golden(
    name: str,
    expected: npt.NDArray[np.float32],
    found: npt.NDArray[np.float32],
    tolerance: float,
    entry: ArtifactEntry,
    cpu: Cpu,
) -> Check:
    """Compare found logits with golden ones, both `(n, classes)`: one check.

    The label has to be the golden one too, except where the golden one led by less than the tolerance.
    """
    worst = float(np.abs(found - expected).max())
    top = np.sort(expected, axis=1)
    firm = top[:, -1] - top[:, -2] > 2 * tolerance
    flips = int(((found.argmax(1) != expected.argmax(1)) & firm).sum())
    same_bits = bool((found == expected).all())
    detail = f"{len(expected)} vectors, " + (
        "same bits" if same_bits else f"max |dlogit| {worst:.2g} (allowed {tolerance:g}), {flips} flips"
    )
    if _may_clip(entry, cpu):
        which = "this CPU has no VNNI" if cpu.u8s8_saturates else "whether this CPU has VNNI is not known"
        guarded = entry.recipe.get("clipping_safe") is True
        then = "which this model has room for" if guarded else "fp32 may be the better choice here"
        detail += f"; {which}, so int8 sums may be clipped: {then}"
    return Check(name, worst <= tolerance and flips == 0, detail)
