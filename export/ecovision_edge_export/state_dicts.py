"""From what a checkpoint file holds to a plain fp32 state dict of torchvision's mobilenet_v3_large."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ecovision_edge.errors import CheckpointError, ContractError
from ecovision_edge_export.extras import require

if TYPE_CHECKING:
    import torch

__all__ = ["Held", "check_fits", "find_labels", "meta_model", "select_state", "to_fp32"]

# Where training scripts put the weights inside a checkpoint, best first. EMA weights come first: they are
# the ones that a training script evaluates and reports.
EMA_KEYS = ("ema_state_dict", "state_dict_ema", "model_ema", "ema")
RAW_KEYS = ("state_dict", "model_state_dict", "model", "net")
INNER_KEYS = ("module",)  # ultralytics and torch.optim.swa_utils wrap once more
PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel and AveragedModel, torch.compile, Lightning
LIST_KEYS = ("labels", "classes", "class_names")
SHOWN = 8  # keys of each kind in an error
COUNTER = ".num_batches_tracked"


@dataclass(frozen=True, slots=True)
class Held:
    """The weights found in a checkpoint, the dicts around them (outermost first), and what was decided."""

    state: dict[str, torch.Tensor]
    around: tuple[Mapping[object, object], ...]
    notes: tuple[str, ...]


def select_state(loaded: object, name: str) -> Held:
    """Find the state dict in what was loaded, and take the wrappers' prefixes off its keys.

    Where both raw and EMA weights are there the EMA weights are taken, and a note says so.

    Raises:
        CheckpointError: there is none, or what is there is not one.
    """
    import torch

    around: list[Mapping[object, object]] = []
    notes: list[str] = []
    while isinstance(loaded, Mapping) and not _is_state(loaded) and len(around) < 3:
        found = [k for k in (*EMA_KEYS, *RAW_KEYS, *INNER_KEYS) if isinstance(loaded.get(k), Mapping)]
        if not found:
            break
        if len(found) > 1:
            notes.append(
                f"weights taken from `{found[0]}`; not used: {', '.join(f'`{k}`' for k in found[1:])}"
            )
        around.append(loaded)
        loaded = loaded[found[0]]
    if not isinstance(loaded, Mapping):
        raise CheckpointError(name, expected="a state dict", found=f"a {type(loaded).__name__}")
    if not _is_state(loaded):
        keys = ", ".join(_key(k) for k in list(loaded)[:SHOWN]) or "nothing"
        raise CheckpointError(
            name, expected=f"a state dict, or one under {', '.join((*RAW_KEYS, *EMA_KEYS))}", found=keys
        )
    odd = [k for k, v in loaded.items() if not (isinstance(k, str) and isinstance(v, torch.Tensor))]
    if odd:
        raise CheckpointError(f"{name}: not every entry of its state dict is a tensor", found=_some(odd))
    return Held(_strip(dict(loaded)), tuple(around), tuple(notes))


def find_labels(
    held: Held, metadata: Mapping[object, object], num_classes: int, name: str
) -> tuple[str, ...] | None:
    """Labels that travel with the weights: in the dicts around them, or in `metadata`.

    Raises:
        CheckpointError: two places disagree, or there are not as many labels as classes.
    """
    from ecovision_edge.contract import check_labels

    places = {}
    for holder in (*held.around, metadata):
        for key in (*LIST_KEYS, "class_to_idx", "idx_to_class"):
            labels = _labels(key, holder.get(key))
            if labels is not None:
                places[key] = labels
    if not places:
        return None
    key, labels = next(iter(places.items()))
    for other, those in places.items():
        if those != labels:
            raise CheckpointError(f"{name}: its `{key}` and its `{other}` name different labels")
    try:
        check_labels(labels, f"{name}: {key}")
    except ContractError as e:
        raise CheckpointError(str(e)) from e
    if len(labels) != num_classes:
        raise CheckpointError(
            f"{name}: {key}", expected=f"{num_classes} labels, one a class", found=len(labels)
        )
    return labels


def meta_model(num_classes: int) -> torch.nn.Module:
    """Torchvision's mobilenet_v3_large without storage: no time, no memory, no random numbers drawn.

    Raises:
        MissingDependencyError: torch or torchvision is not installed.
    """
    require("torch", "export", "2.7")
    require("torchvision", "export")
    import torch
    import torchvision

    with torch.device("meta"):
        model = torchvision.models.mobilenet_v3_large(weights=None, num_classes=num_classes)
    assert isinstance(model, torch.nn.Module)
    return model


@functools.lru_cache(maxsize=8)
def _layout(num_classes: int) -> Mapping[str, torch.Size]:
    """Keys and shapes of the model's state dict, in its order; kept, since building the model is slow."""
    return {key: tensor.shape for key, tensor in meta_model(num_classes).state_dict().items()}


def check_fits(state: Mapping[str, torch.Tensor], num_classes: int | None, name: str) -> int:
    """Compare with mobilenet_v3_large; the number of classes that the weights have.

    Raises:
        CheckpointError: another architecture or number of classes; one error with the whole difference.
    """
    head = state.get("classifier.3.weight")
    classes = head.shape[0] if head is not None and head.ndim == 2 else None
    problems = []
    if classes is not None and not 2 <= classes <= 1000:
        problems.append(f"{classes} classes, not 2 to 1000")
    elif classes is not None and num_classes not in {None, classes}:
        problems.append(f"{classes} classes, not {num_classes}")
    # A wrong count is said once, not again as wrong shapes: compare with the count that is there.
    wanted = _layout(classes if classes is not None and classes > 0 else num_classes or 2)
    missing = [k for k in wanted if k not in state and not k.endswith(COUNTER)]
    extra = [k for k in state if k not in wanted]
    common = [k for k in wanted if k in state]
    shapes = [
        f"{k} is {_sides(state[k].shape)} instead of {_sides(wanted[k])}"
        for k in common
        if state[k].shape != wanted[k]
    ]
    kinds = [f"{k} is {_kind(state[k])}" for k in common if not _usable(k, state[k])]
    for what, items in (("missing", missing), ("not known", extra)):
        if items:
            problems.append(f"{_count(len(items), 'key')} {what}: {_some(items)}")
    for what, items in (("of another shape", shapes), ("not dense floating numbers", kinds)):
        if items:
            problems.append(f"{_count(len(items), 'tensor')} {what}: {_some(items, quote=False)}")
    if problems:
        found = "; ".join(problems)
        guess = _guess(state, missing, extra)
        raise CheckpointError(
            name,
            expected="weights of torchvision's mobilenet_v3_large"
            + (f" with {num_classes} classes" if num_classes else ""),
            found=f"{guess}: {found}" if guess else found,
        )
    assert classes is not None  # else classifier.3.weight is missing or of another shape
    return classes


def to_fp32(state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Own, dense fp32 copies in the model's order; counters int64, and 0 where a converter dropped them.

    Raises:
        CheckpointError: NaN or infinite weights, or variances below 0; lists the tensors.
    """
    import torch

    plain: dict[str, torch.Tensor] = {}
    bad = []
    for key in _layout(2):  # the keys are the same for every number of classes
        tensor = state[key].detach() if key in state else torch.zeros((), dtype=torch.int64)
        if key.endswith(COUNTER) and not tensor.is_floating_point():
            plain[key] = tensor.to(torch.int64, copy=True)
            continue
        # Judged after the conversion: 1e300 in fp64 is finite, in fp32 it is not.
        value = tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        if not bool(torch.isfinite(value).all()) or (
            key.endswith(".running_var") and bool((value < 0).any())
        ):
            bad.append(key)
        plain[key] = value if not key.endswith(COUNTER) else torch.nan_to_num(value).to(torch.int64)
    if bad:
        raise CheckpointError(
            f"{name} holds NaN, infinite or impossible weights (a training that diverged?)",
            found=f"{_count(len(bad), 'tensor')}: {_some(bad)}",
        )
    return plain


def _is_state(value: Mapping[object, object]) -> bool:
    """Tensors under dotted names; `{"epoch": tensor(3)}` is not a state dict."""
    import torch

    return any(isinstance(k, str) and "." in k and isinstance(v, torch.Tensor) for k, v in value.items())


def _strip(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the prefixes that every key has, and without AveragedModel's own counter."""
    while True:
        if any("." in key for key in state) and "n_averaged" in state:
            state = {k: v for k, v in state.items() if k != "n_averaged"}
        prefix = next((p for p in PREFIXES if all(k.startswith(p) for k in state)), None)
        if prefix is None:
            return state
        state = {k[len(prefix) :]: v for k, v in state.items()}


def _labels(key: str, value: object) -> tuple[str, ...] | None:
    """Labels in order, or None where the value is something else of that name."""
    if key in LIST_KEYS:
        if isinstance(value, (list, tuple)) and value and all(isinstance(v, str) for v in value):
            return tuple(value)
        return None
    if not isinstance(value, Mapping) or not value:
        return None
    pairs = (
        {str(v): k for k, v in value.items()}
        if key == "class_to_idx"
        else {str(k): v for k, v in value.items()}
    )
    ordered = [pairs.get(str(i)) for i in range(len(value))]
    labels = tuple(label for label in ordered if isinstance(label, str))
    return labels if len(labels) == len(value) else None


def _usable(key: str, tensor: torch.Tensor) -> bool:
    import torch

    dense = tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_quantized
    return dense and (tensor.is_floating_point() or (key.endswith(COUNTER) and not tensor.is_complex()))


def _guess(state: Mapping[str, torch.Tensor], missing: list[str], extra: list[str]) -> str | None:
    """What the weights look like, told by keys that only that family has."""
    first = state.get("classifier.0.weight")
    if any(k.endswith(("_packed_params", "_packed_params._packed_params", ".zero_point")) for k in state):
        return "these look like quantized weights"
    if first is not None and tuple(first.shape) == (1024, 576):
        return "these look like mobilenet_v3_small weights"
    families = {
        "layer1.0.conv1.weight": "resnet",
        "features.18.0.weight": "mobilenet_v2",
        "features.1.0.block.0.0.weight": "efficientnet",
        "features.0.weight": "vgg or alexnet",
        "conv_stem.weight": "timm (not torchvision)",
        "conv_proj.weight": "vision transformer",
        "cls_token": "vision transformer",
    }
    for key, family in families.items():
        if key in state:
            return f"these look like {family} weights"
    if missing and extra and all(k.startswith("classifier.") for k in (*missing, *extra)):
        return "these look like mobilenet_v3_large with another classifier"
    return None


def _some(items: list[str] | list[object], *, quote: bool = True) -> str:
    shown = ", ".join(_key(item) if quote else str(item) for item in items[:SHOWN])
    return shown + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else "")


def _key(key: object) -> str:
    text = str(key)
    return text if text.isascii() and text.isprintable() and len(text) <= 80 else ascii(text)[:80]


def _sides(shape: torch.Size) -> str:
    return "x".join(str(side) for side in shape) or "a scalar"


def _kind(tensor: torch.Tensor) -> str:
    if tensor.is_meta:
        return "empty (saved from the meta device)"
    return f"{str(tensor.dtype).removeprefix('torch.')} {str(tensor.layout).removeprefix('torch.')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
