"""Load the weights of a mobilenet_v3_large from wherever they are, and say exactly what was loaded."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ecovision_edge.base.extras import require
from ecovision_edge.base.files import is_file
from ecovision_edge.bundle.contract import WeightsSource
from ecovision_edge.errors import CheckpointError, OptionError
from ecovision_edge_export.ecovision import REFERENCE_WEIGHTS
from ecovision_edge_export.photographs.seen import METADATA_KEY, Seen
from ecovision_edge_export.weights import hub
from ecovision_edge_export.weights.held_labels import HeldLabels, find_labels
from ecovision_edge_export.weights.layout import meta_model
from ecovision_edge_export.weights.preprocessing import (
    FIELDS,
    Preprocessing,
    find_beside,
    find_preprocessing,
    find_training,
)
from ecovision_edge_export.weights.state_dicts import Held, check_fits, select_state, to_fp32
from ecovision_edge_export.weights.weights_file import ACCEPTED, WeightsFile, decode, read_weights_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch

    from ecovision_edge.base.fields import JsonValue

__all__ = ["ARCHITECTURE", "REFERENCE", "Checkpoint", "build_model", "load_checkpoint"]

_TRAINED = "best.safetensors"  # that `ecovision-edge train --out DIR` leaves in DIR

ARCHITECTURE = "mobilenet_v3_large"
"""The one architecture this exporter knows, by torchvision's name."""

REFERENCE = "reference"
"""The word that stands for the weights embedded in this package."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights that fit mobilenet_v3_large, and where they came from.

    `state` has exactly torchvision's keys, in its order, fp32 (counters int64), finite; treat it as
    read-only. `labels` are in the order of the output, None where neither the file nor a known model says.
    `notes` are decisions a reader should know of, one line each: which of several sets of weights was taken.
    `quantization` is the text that `qat.record` reads: int8 ranges that the weights were trained for; None
    where they were not.
    `seen` are the photographs that they were trained and chosen on; None where the file does not say.
    `preprocessing` and `training` are what `ecovision-edge train` wrote beside the weights: how photographs
    were prepared, and measured facts; None where the file does not say. Nobody vouches for the facts.
    `preprocessing` may also be what other trainings leave in a checkpoint; `unsaid` are its fields, of
    `FIELDS`, that the file does not say and that have their default.
    """

    state: Mapping[str, torch.Tensor]
    num_classes: int
    source: WeightsSource
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    training: Mapping[str, JsonValue] | None = None
    quantization: str | None = None
    seen: Seen | None = None
    unsaid: frozenset[str] = FIELDS


def load_checkpoint(
    spec: str, *, num_classes: int | None = None, labels: Sequence[str] | None = None
) -> Checkpoint:
    """Load and check weights; code in the file is never run.

    Args:
        spec: `reference` (embedded in this package), a `.pth` or `.pt` file of `torch.save`, a
            `.safetensors` file, a folder of `ecovision-edge train`, or `hf://OWNER/REPO[@REVISION]/FILE`.
            `hf://AmadFR/ecovision_mobilenetv3` alone is the published EcoVision model. A file that is called
            `reference` is `./reference`.
        num_classes: Classes that the weights must have, 2 to 1000; None takes what is there.
        labels: Those that the caller will give to the classes: labels in the file that cannot be right are
            then a note, no error.

    A file may hold a state dict, or a checkpoint dict with one under `state_dict`, `model_state_dict`,
    `model` or `net`, or under `ema_state_dict`, `state_dict_ema`, `model_ema` or `ema`, or just one under any
    other name. Where both are there the EMA weights are taken, since those are the ones that trainings
    evaluate, and a note says so. The network is found under any prefix, and beside keys that compute nothing.

    Raises:
        CheckpointError: no such file, not weights, damaged, wants code to be run, another architecture or
            number of classes, NaN or infinite weights; or a malformed `hf://`.
        DownloadError: the hub does not give the file, or gives other bytes than are known for it.
        MissingDependencyError: the extra `export` is not installed.
        OptionError: `num_classes` outside 2 to 1000.
    """
    if num_classes is not None and not 2 <= num_classes <= 1000:
        raise OptionError("num_classes", expected="2 to 1000", found=num_classes)
    require("torch", "export", "2.7")
    if spec == REFERENCE:
        if not REFERENCE_WEIGHTS.is_file():
            raise CheckpointError(
                "the reference weights are not in this installation",
                expected=f"{REFERENCE_WEIGHTS.name}, which the wheel for devices leaves out",
                found=f"none at {REFERENCE_WEIGHTS}",
                fix="install the ordinary wheel or the sources, or give a checkpoint of your own",
            )
        embedded = read_weights_file(REFERENCE_WEIGHTS, REFERENCE_WEIGHTS.name)
        reference = _from_file(embedded, REFERENCE, num_classes, labels)
        as_trained = Preprocessing()
        return dataclasses.replace(reference, preprocessing=as_trained, unsaid=frozenset())
    if spec.startswith("hf:"):
        return _from_hub(hub.parse(spec), num_classes, labels)
    if "://" in spec or not spec.strip():
        raise CheckpointError(f"{spec or 'an empty text'} is not a checkpoint", expected=ACCEPTED)
    try:
        path = Path(spec).expanduser()
    except RuntimeError as e:
        raise CheckpointError(f"{spec.partition('/')[0]} is nobody's home folder", expected=ACCEPTED) from e
    source = name = _printable(path.name or spec)
    if is_file(path / _TRAINED):
        source = _printable(path.resolve().name or spec)
        path, name = path / _TRAINED, f"{source}/{_TRAINED}"
    return _from_file(read_weights_file(path, name), source, num_classes, labels)


def build_model(checkpoint: Checkpoint) -> torch.nn.Module:
    """Torchvision's mobilenet_v3_large with these weights: `(n, 3, h, w)` fp32 to `(n, classes)` logits.

    In eval mode, no parameter wants a gradient, and it shares no memory with the checkpoint. Draws no random
    numbers.

    Raises:
        MissingDependencyError: the extra `export` is not installed.
    """
    model = meta_model(checkpoint.num_classes)
    model.load_state_dict({k: v.clone() for k, v in checkpoint.state.items()}, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def _from_hub(wanted: hub.HubFile, num_classes: int | None, given: Sequence[str] | None) -> Checkpoint:
    fetched = hub.fetch(wanted)
    file = read_weights_file(fetched.path, fetched.uri)
    hub.check_sha256(fetched, file.sha256)
    return _from_file(file, fetched.uri, num_classes, given, revision=fetched.revision)


def _from_file(
    file: WeightsFile,
    source: str,
    num_classes: int | None,
    given: Sequence[str] | None,
    *,
    revision: str | None = None,
) -> Checkpoint:
    loaded, metadata = decode(file)
    held = select_state(loaded, file.name)
    classes = check_fits(held.state, num_classes, file.name)
    seen = metadata.pop(METADATA_KEY, None)
    values = _json_values(metadata)
    # Published weights are known by their bytes, wherever they lie.
    known = hub.ECOVISION if file.sha256 == hub.ECOVISION.sha256 else None
    labels = HeldLabels(known.labels) if known else _labels(held, values, classes, file.name, given)
    prepared, unsaid = find_beside(held.around)
    written = known.preprocessing if known else find_preprocessing(values, file.name)
    return Checkpoint(
        state=to_fp32(held.state, file.name),
        num_classes=classes,
        source=WeightsSource(architecture=ARCHITECTURE, source=source, sha256=file.sha256, revision=revision),
        labels=labels.labels,
        notes=(*held.notes, *labels.notes, *(_told(prepared, unsaid) if not written else ())),
        preprocessing=written or prepared,
        unsaid=frozenset() if written else unsaid,
        training=find_training(values),
        quantization=metadata.get("quantization"),
        seen=Seen.loads(seen, f"{file.name}: {METADATA_KEY}") if seen is not None else None,
    )


def _told(prepared: Preprocessing | None, unsaid: frozenset[str]) -> Iterator[str]:
    """Yield a note of the preprocessing that another training left in the checkpoint."""
    if prepared is not None:
        said = {k: v for k, v in prepared.to_json().items() if k not in unsaid}
        yield f"prepared as the checkpoint says: {', '.join(f'{k} {v}' for k, v in said.items())}"


def _labels(
    held: Held, values: Mapping[object, object], classes: int, name: str, given: Sequence[str] | None
) -> HeldLabels:
    """Read the labels that the file says; where the caller has others, wrong ones are a note."""
    try:
        return find_labels(held.around, values, classes, name)
    except CheckpointError as e:
        if given is None:
            raise
        return HeldLabels(None, (f"labels that are not used: {e.message}",))


def _json_values(metadata: Mapping[str, str]) -> dict[object, object]:
    """Safetensors metadata are texts; lists and objects travel in them as JSON."""
    values: dict[object, object] = {}
    for key, text in metadata.items():
        try:
            values[key] = json.loads(text)
        except (ValueError, RecursionError):
            values[key] = text
    return values


def _printable(name: str) -> str:
    """Return a file name that fits into a message and into JSON, whatever bytes it is made of."""
    return "".join(c if c.isprintable() else "?" for c in name)[:255]
