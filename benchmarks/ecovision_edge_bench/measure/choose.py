"""Which subjects a run has: artifacts of the bundle, peers, and their settings; and PyTorch for parity."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from ecovision_edge.backends.half import fp16_fault
from ecovision_edge.base.device import read_cpu
from ecovision_edge.base.files import is_folder
from ecovision_edge.base.providers import provider_arguments
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.bundle.engines import ENGINES, is_installed
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path
from ecovision_edge.bundle.manifest import ArtifactEntry
from ecovision_edge.classifier import Classifier
from ecovision_edge.errors import CheckpointError, EcovisionError, OptionError
from ecovision_edge.photographs.images import read_image
from ecovision_edge.photographs.labelled import spread
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_bench.measure.agreement import Images
from ecovision_edge_bench.subjects import Frame, Spec
from ecovision_edge_bench.subjects.peers import PEERS, Peer, Workbench, make_peer

if TYPE_CHECKING:
    from ecovision_edge_export.weights.checkpoint import Checkpoint

__all__ = ["Chosen", "choose_images", "choose_subjects", "parse_against", "peer_folder"]

CALIBRATION_FRAMES = 128
AUTO, NONE, ALL = "auto", "none", "all"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The subjects; how PyTorch is loaded for parity, or why it is not; what the user has to know."""

    bundle: Bundle | None
    contract: Contract
    specs: tuple[Spec, ...]
    reference: Spec | None
    no_reference: str
    notes: tuple[str, ...] = field(default=())


def parse_against(text: str) -> tuple[str, ...]:
    """Return the names of peers out of `--against`: `auto`, `none`, `all`, or names with commas.

    The name of an engine stands for each precision that it is measured in.

    Raises:
        OptionError: an unknown name.
    """
    words = tuple(dict.fromkeys(w.strip() for w in text.split(",")))
    if words in {(AUTO,), (NONE,), (ALL,)}:
        return words
    unknown = [w for w in words if w not in PEERS and not _peers_of(w)]
    if unknown:
        raise OptionError(
            "--against", expected=f"auto, none, all, or some of {', '.join(PEERS)}", found=", ".join(unknown)
        )
    return tuple(dict.fromkeys(name for w in words for name in ([w] if w in PEERS else _peers_of(w))))


def _peers_of(engine: str) -> list[str]:
    return [name for name, peer in PEERS.items() if peer.kind == engine]


def peer_folder() -> Path:
    """Return where peers' models are kept between runs: `ecovision-edge/peers` in the user's cache."""
    return platformdirs.user_cache_path("ecovision-edge", appauthor=False) / "peers"


def choose_subjects(
    source: Path | None,
    *,
    artifacts: str = ALL,
    against: Sequence[str] = (AUTO,),
    threads: Sequence[int] = (1,),
    spinning: Sequence[bool] = (True,),
    delegate: str | None = None,
    providers: str = "",
    provider_options: Sequence[str] = (),
    weights: str | None = None,
    calib: Path | None = None,
    folder: Path | None = None,
) -> Chosen:
    """Choose, and make the models of the peers that are asked for.

    Args:
        source: A bundle's folder, an `.onnx` or a `.tflite` file; None is the embedded bundle.
        artifacts: `all`, or names or precisions with commas.
        against: As `parse_against` gives it. `auto` is PyTorch where it is installed and the weights are
            found; `all` every peer that is installed; a name that cannot be is an error.
        threads: Each subject runs with each of them.
        spinning: Likewise, of those that have such a choice.
        delegate: The library that LiteRT runs the bundle's TFLite artifacts with; the others heed none.
        providers: The execution providers of the bundle's ONNX artifacts, with commas; the others heed none.
        provider_options: Of them, `NAME=VALUE`.
        weights: The checkpoint, as `load_checkpoint` takes it; None is what the contract names.
        calib: Photographs for int8 ranges of peers; None is synthetic frames.
        folder: Where peers' models go.

    Raises:
        As `Bundle.open`, `Classifier.load`, `load_checkpoint`, `list_photographs` and `make_peer`.
    """
    path = source or embedded_bundle_path()
    notes: list[str] = []
    bundle, contract, own = _own(path, artifacts, delegate, notes)
    if providers or provider_options:
        own = _on_providers(own, providers, provider_options)
    named = [PEERS[name] for name in against if name in PEERS]
    wanted = _installed(notes) if tuple(against) == (ALL,) else named
    checkpoint, why = _checkpoint(contract, weights, required=bool(named) or weights is not None)
    if checkpoint is None:
        if wanted:
            notes.append(f"no peers: {why}")
        return Chosen(bundle, contract, _settings(own, threads, spinning), None, why, tuple(notes))
    if tuple(against) == (AUTO,):
        wanted = [PEERS["torch"]]
    bench = Workbench(
        checkpoint=checkpoint,
        contract=contract,
        calibration=tuple(_calibration(wanted, calib, notes)),
        folder=folder or peer_folder(),
        weights=weights or _weights_of(contract),
    )
    peers = _make_peers(wanted, bench, notes, required=bool(named))
    reference = next((p for p in peers if p.name == "torch"), None) or make_peer(PEERS["torch"], bench)
    specs = _settings([*(p for p in peers if p.kind == "torch"), *own], threads, spinning)
    specs += _settings([p for p in peers if p.kind != "torch"], threads, spinning)
    return Chosen(bundle, contract, specs, reference, "", tuple(notes))


def _installed(notes: list[str]) -> list[Peer]:
    """Return the peers that are installed; a note for each other one."""
    missing = {name: peer.missing() for name, peer in PEERS.items()}
    notes += [
        f"{PEERS[name].name} is left out: {', '.join(packages)} not installed [{PEERS[name].extra}]"
        for name, packages in missing.items()
        if packages
    ]
    return [PEERS[name] for name, packages in missing.items() if not packages]


def _make_peers(wanted: Sequence[Peer], bench: Workbench, notes: list[str], *, required: bool) -> list[Spec]:
    """Make the peers' models; a note for each that cannot be, or its error if they are `required`."""
    made = []
    for peer in wanted:
        try:
            made.append(make_peer(peer, bench))
        except EcovisionError as e:
            if required:
                raise
            notes.append(f"{peer.name} is left out: {e.message}")
    return made


def choose_images(folder: Path | None, contract: Contract, limit: int) -> Images:
    """Choose what to measure parity on: at most `limit` photographs, evenly spread, or synthetic frames.

    Raises:
        DatasetError: not a folder of photographs, flat or one folder per class.
        OptionError: `limit` below 1.
    """
    if limit < 1:
        raise OptionError("--parity-images", expected="at least 1", found=limit)
    if folder is None:
        return Images(seeds=tuple(range(limit)))
    from ecovision_edge_export.photographs.dataset import list_photographs

    listed = list_photographs(folder, contract.labels, "--images")
    chosen = spread(listed.photographs, limit)
    return Images(tuple(str(p.path) for p in chosen), tuple(p.label for p in chosen), notes=listed.notes)


def _own(
    path: Path, artifacts: str, delegate: str | None, notes: list[str]
) -> tuple[Bundle | None, Contract, list[Spec]]:
    """Return the bundle if it is one, the contract, and a spec for each artifact asked for.

    Of all artifacts, those are left out, with a note, whose engine is not installed.
    """
    if not is_folder(path):
        classifier = Classifier.load(path, delegate=delegate)
        if artifacts != ALL:
            raise OptionError("--artifact", expected="nothing, for a lone model file", found=artifacts)
        lone = Spec("classifier", path.name, "unknown", str(path), delegate=delegate or "")
        return None, classifier.contract, [lone]
    bundle = Bundle.open(path)
    entries = bundle.manifest.artifacts
    if artifacts != ALL:
        entries = tuple(
            {e.name: e for e in map(bundle.artifact, map(str.strip, artifacts.split(",")))}.values()
        )
    missing = [e for e in entries if artifacts == ALL and not is_installed(e.format)]
    if len(missing) == len(entries):
        missing = []  # then loading says what to install
    notes += [f"{e.name} is left out: {ENGINES[e.format].package} is not installed" for e in missing]
    specs = [_spec(path, e, delegate) for e in entries if e not in missing]
    for size in bundle.manifest.sizes:
        if size.sha256 is not None:
            specs += _at_size(bundle.at_size(size.side), size.side, artifacts, delegate)
    if delegate is None and fp16_fault(read_cpu()) is None:
        specs += [dataclasses.replace(spec, fp16=True) for spec in specs if spec.format == "tflite"]
    if delegate is not None and not any(spec.delegate for spec in specs):
        raise OptionError("--delegate", expected="a TFLite artifact to run with it", found=artifacts)
    return bundle, bundle.contract, specs


def _on_providers(own: Sequence[Spec], providers: str, options: Sequence[str]) -> list[Spec]:
    """Have those run on providers that can.

    Raises:
        OptionError: none can, or an option that is not NAME=VALUE, or is of no provider.
    """
    provider_arguments(providers, options)  # what is wrong with them is said at once
    if not providers or not any(spec.format == "onnx" for spec in own):
        raise OptionError(
            "--providers", expected="providers, and an ONNX artifact to run on them", found=providers
        )
    lines = "\n".join(options)
    return [
        dataclasses.replace(spec, providers=providers, provider_options=lines)
        if spec.format == "onnx"
        else spec
        for spec in own
    ]


def _at_size(bundle: Bundle, side: int, artifacts: str, delegate: str | None) -> list[Spec]:
    """Return a spec of the bundle of another size for each artifact asked for; of `all` its default one."""
    names = [AUTO] if artifacts == ALL else [name.strip() for name in artifacts.split(",")]
    entries = {entry.name: entry for entry in map(bundle.artifact, names)}.values()
    return [_spec(bundle.path, entry, delegate).at_size(side) for entry in entries]


def _spec(path: Path, entry: ArtifactEntry, delegate: str | None) -> Spec:
    return Spec(
        "classifier",
        entry.name,
        entry.precision,
        str(path),
        artifact=entry.name,
        delegate=(delegate or "") if entry.format == "tflite" else "",
    )


def _settings(specs: Sequence[Spec], threads: Sequence[int], spinning: Sequence[bool]) -> tuple[Spec, ...]:
    """List each subject with each setting; spinning only where there is more than one thread to wait for."""
    return tuple(
        dataclasses.replace(spec, threads=t, spinning=s)
        for spec in specs
        for t in threads
        for s in (spinning if t > 1 and spec.may_spin else spinning[:1])
    )


def _weights_of(contract: Contract) -> str:
    from ecovision_edge_export.parity.recheck import weights_spec

    return weights_spec(contract.weights)


def _checkpoint(contract: Contract, weights: str | None, *, required: bool) -> tuple[Checkpoint | None, str]:
    """Return the weights that the bundle was exported from, or why there are none.

    Raises:
        CheckpointError, MissingDependencyError: there are none, and they are `required`.
    """
    missing = PEERS["torch"].missing()
    if missing and not required:
        from ecovision_edge.base.installation import extra_fix

        return None, f"{', '.join(missing)} not installed ({extra_fix('export')})"
    from ecovision_edge_export.weights.checkpoint import load_checkpoint

    try:
        checkpoint = load_checkpoint(weights or _weights_of(contract), labels=contract.labels)
        if checkpoint.source.sha256 != contract.weights.sha256:
            raise CheckpointError(
                "not the checkpoint that was exported",
                expected=f"sha256 {contract.weights.sha256}",
                found=checkpoint.source.sha256,
                fix="give the right one with --weights",
            )
    except EcovisionError as e:
        if required:
            raise
        return None, f"{e.message} (give the checkpoint with --weights)"
    return checkpoint, ""


def _calibration(peers: Sequence[Peer], calib: Path | None, notes: list[str]) -> Iterator[Frame]:
    if not any(peer.precision == "int8" for peer in peers):
        return
    if calib is None:
        notes.append("int8 ranges of peers come from synthetic frames: give photographs with --calib")
        for seed in range(CALIBRATION_FRAMES):
            yield draw_frame(20_000 + seed)
        return
    from ecovision_edge_export.photographs.dataset import choose, list_photographs

    chosen, _ = choose(list_photographs(calib, None, "--calib"), CALIBRATION_FRAMES, 0)
    for photograph in chosen.photographs:
        yield read_image(photograph.path)
