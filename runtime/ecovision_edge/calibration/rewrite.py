"""Write a calibration into a bundle: the contract in `bundle.json` and in every model, and their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.files import is_there
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.bundle.folder import MANIFEST_NAME, Bundle, read_file
from ecovision_edge.bundle.identity import revised_version
from ecovision_edge.bundle.manifest import MAX_FILE_BYTES, ArtifactEntry, FileEntry
from ecovision_edge.bundle.sizes import SIZES_FOLDER
from ecovision_edge.bundle.writing import TargetError, check_target, write_folder
from ecovision_edge.calibration.card import renewed_card
from ecovision_edge.calibration.figures import Calibration
from ecovision_edge.errors import BundleReadError, BundleWriteError
from ecovision_edge.modelfile.rewrite import with_contract
from ecovision_edge.verify import verify_bundle

__all__ = ["calibrated_bundle", "check_place", "verify_calibrated", "write_calibrated"]

_CARDS = ("MODEL_CARD.md", "README.md")  # on the hub the card is called README.md


def check_place(bundle: Bundle, target: Path) -> None:
    """Refuse a place for the calibrated bundle, before any work is done.

    Raises:
        TargetError: inside the installed package, or as `check_target`; or the bundle itself, with something
            in its folder that is no plain file and would be lost.
    """
    package = Path(__file__).resolve().parents[1]
    real = target.resolve()
    if real.is_relative_to(package) or package.is_relative_to(real):
        raise TargetError(
            f"will not write to {target}",
            expected="a folder outside the installed package",
            found="a bundle that ships in it",
            fix="give --out a folder of your own",
        )
    check_target(target)
    if real.parent.name == SIZES_FOLDER and is_there(real.parent.parent / MANIFEST_NAME):
        raise TargetError(
            f"will not replace {target}",
            expected="a bundle by itself",
            found=f"one size of {real.parent.parent.name}, whose manifest names it as it is",
            fix="give --out another folder",
        )
    if real == bundle.path.resolve():
        lost = [p.name for p in sorted(real.iterdir()) if not p.is_file()]
        if lost:
            raise TargetError(
                f"will not replace {target}",
                expected="a bundle of plain files",
                found=", ".join(lost[:3]),
                fix="give --out another folder",
            )


def calibrated_bundle(
    bundle: Bundle,
    calibration: Calibration,
    evidence: Mapping[str, JsonValue] | None = None,
    version: str | None = None,
) -> dict[str, bytes]:
    """Return the files of the bundle with the fitted temperature, thresholds and views in every contract.

    The golden vectors stay as they are: they are logits, which no temperature changes. In the model card the
    hashes and what it says of calibration are rewritten, and nothing else. Of several sizes it is the
    bundle's own: the photographs said nothing of the others.

    Args:
        bundle: The bundle, as it is.
        calibration: What was fitted.
        evidence: Goes into the provenance, under `fitted`; what set the ranges of int8 stands under
            `calibration` and stays there.
        version: Of the new bundle; None is the old one's with another ending (`revised_version`), and none
            where that has none.

    Raises:
        BundleError, ModelError, ContractError: a file of the bundle is not what it should be.
    """
    contract = replace(
        bundle.contract,
        temperature=calibration.temperature,
        thresholds=calibration.thresholds,
        views=None if calibration.views is None else calibration.views.plan,
    )
    files = _others(bundle)
    entries: list[ArtifactEntry] = []
    cards = {name: files[name] for name in _CARDS if name in files}
    for old in bundle.manifest.artifacts:
        data = with_contract(bundle.read(old), old.format, contract)
        entry = FileEntry(old.file.file, hashlib.sha256(data).hexdigest(), len(data))
        files[entry.file] = data
        entries.append(replace(old, file=entry))
        cards = {name: c.replace(_card_row(old.file), _card_row(entry)) for name, c in cards.items()}
    artifact = (evidence or {}).get("artifact")
    whose = artifact if isinstance(artifact, str) else None
    for name, card in cards.items():
        files[name] = renewed_card(card, calibration, bundle.contract.temperature, whose)
    files[bundle.manifest.golden.file] = bundle.read(bundle.manifest.golden)
    provenance = {**bundle.manifest.provenance, "fitted": dict(evidence or {})}
    manifest = replace(
        bundle.manifest,
        contract=contract,
        artifacts=tuple(entries),
        provenance=provenance,
        version=None,
        sizes=(),
    )
    if version is None and bundle.manifest.version is not None:
        version = revised_version(bundle.manifest.version, manifest.dumps())
    manifest = replace(manifest, version=version)
    files[MANIFEST_NAME] = manifest.dumps()
    return files


def write_calibrated(target: Path, bundle: Bundle, files: Mapping[str, bytes]) -> None:
    """Verify the files as a bundle, and put them at `target`: the old bundle is there, or the new one.

    Raises:
        TargetError: as `check_place`.
        BundleWriteError: they do not verify, or the disk says no; nothing was changed.
    """
    check_place(bundle, target)
    write_folder(target, files, verify_calibrated)


def verify_calibrated(folder: Path) -> None:
    """Refuse files that do not verify as a bundle, before they are put in place; for `write_folder`.

    Raises:
        BundleWriteError: what does not.
    """
    report = verify_bundle(folder)
    failed = next((c for c in report.checks if c.checked and not c.ok), None)
    if failed is not None:
        raise BundleWriteError(
            "the calibrated bundle does not verify; nothing was changed",
            expected=f"{failed.name} to pass",
            found=failed.detail,
            fix="does the bundle itself verify? `ecovision-edge verify`",
        )


def _others(bundle: Bundle) -> dict[str, bytes]:
    """Return what else lies in the bundle's folder: model card, notes, licence; subfolders are left out."""
    own = {MANIFEST_NAME, bundle.manifest.golden.file, *(a.file.file for a in bundle.manifest.artifacts)}
    try:
        names = sorted(p.name for p in bundle.path.iterdir() if p.is_file() and p.name not in own)
    except OSError as e:
        raise BundleReadError(f"cannot read {bundle.path}", found=reason_of(e)) from e
    return {name: read_file(bundle.path, name, MAX_FILE_BYTES) for name in names}


def _card_row(file: FileEntry) -> bytes:
    """Return the end of a file's row in the exporter's model card."""
    return f"| `{file.file}` | {file.bytes} | `{file.sha256}` |".encode()
