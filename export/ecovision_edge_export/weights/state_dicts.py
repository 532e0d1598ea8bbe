"""From what a checkpoint file holds to a plain fp32 state dict of torchvision's mobilenet_v3_large."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ecovision_edge.errors import CheckpointError
from ecovision_edge_export.weights.harmless import plain
from ecovision_edge_export.weights.layout import COUNTER, layout
from ecovision_edge_export.weights.tails import match_keys
from ecovision_edge_export.weights.weights_file import EMA_KEYS, RAW_KEYS, WEIGHT_KEYS

if TYPE_CHECKING:
    import torch

__all__ = ["Held", "check_fits", "select_state", "to_fp32"]

INNER_KEYS = ("module",)  # ultralytics and torch.optim.swa_utils wrap once more
MAX_DEPTH = 3  # of dicts within dicts
MAX_ITEMS = 1000  # of a list or a dict that is looked through
SHOWN = 8  # keys of each kind in an error


@dataclass(frozen=True, slots=True)
class Held:
    """The weights found in a checkpoint, the dicts around them (outermost first), and what was decided."""

    state: dict[str, torch.Tensor]
    around: tuple[Mapping[object, object], ...]
    notes: tuple[str, ...]


def select_state(loaded: object, name: str) -> Held:
    """Find the state dict in what was loaded, and the network in it, under torchvision's names.

    Where both raw and EMA weights are there the EMA weights are taken, and a note says so.

    Raises:
        CheckpointError: there is none, what is there is not one, or it holds several networks.
    """
    import torch

    around: list[Mapping[object, object]] = []
    notes: list[str] = []
    whole = loaded
    if isinstance(loaded, (list, tuple)) and len(loaded) <= MAX_ITEMS:  # `(epoch, state)`
        loaded = dict(enumerate(loaded))
    while isinstance(loaded, Mapping) and not _is_state(loaded) and len(around) < MAX_DEPTH:
        found = _inner(loaded)
        if not found:
            break
        if len(found) > 1 or found[0] not in (*WEIGHT_KEYS, *INNER_KEYS):
            others = f"; not used: {', '.join(f'`{_key(k)}`' for k in found[1:])}" if found[1:] else ""
            notes.append(f"weights taken from `{_key(found[0])}`{others}")
        around.append(loaded)
        loaded = loaded[found[0]]
    if not isinstance(loaded, Mapping):
        raise CheckpointError(name, expected="a state dict", found=f"a {type(loaded).__name__}")
    if not _is_state(loaded):
        keys = ", ".join(_key(k) for k in list(loaded)[:SHOWN]) or "nothing"
        raise CheckpointError(
            name,
            expected=f"a state dict, or one under {', '.join((*RAW_KEYS[:4], *EMA_KEYS))}",
            found=keys,
            fix=_line_for(whole, name),
        )
    odd = {k: v for k, v in loaded.items() if not (isinstance(k, str) and isinstance(v, torch.Tensor))}
    if odd:  # as `state["classes"] = names` makes
        notes.append(f"not weights, and not used as such: {_some(list(odd))}")
        around.append(odd)
    said = [*_architectures(around), name]
    matched = match_keys({k: v for k, v in loaded.items() if k not in odd}, said, name)
    return Held(matched.state, tuple(around), (*notes, *matched.notes))


def _inner(loaded: Mapping[object, object]) -> list[object]:
    """List the keys under which a state dict lies, best first; other names only where there is just one."""
    holding = [k for k, v in loaded.items() if isinstance(v, Mapping) and _holds_state(v, MAX_DEPTH)]
    known: list[object] = [k for k in (*WEIGHT_KEYS, *INNER_KEYS) if k in holding]
    return known or (holding if len(holding) == 1 else [])


def _line_for(loaded: object, name: str) -> str | None:
    """Write the Python that makes a good file of one whose state dict is not found; None if it has none."""
    paths = list(_states(loaded, "", 6))
    if not paths:
        return None
    path, others = ascii(name.rpartition("/")[2]), len(paths) > 1
    return (
        f"save the {'one that is meant' if others else 'weights alone'}: import torch; torch.save(torch.load("
        f"{path}, map_location='cpu', weights_only=False){paths[0]}, 'weights.pth')"
    )


def _states(value: object, path: str, depth: int) -> Iterator[str]:
    """Yield where state dicts lie, as Python subscripts."""
    if isinstance(value, Mapping) and _is_state(value):
        yield path
    elif depth and isinstance(value, (Mapping, list, tuple)) and len(value) <= MAX_ITEMS:
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in items:
            if isinstance(key, (str, int)) and len(repr(key)) <= 80:
                yield from itertools.islice(_states(inner, f"{path}[{key!a}]", depth - 1), SHOWN)


def _holds_state(value: Mapping[object, object], depth: int) -> bool:
    if _is_state(value):
        return True
    return depth > 0 and any(_holds_state(v, depth - 1) for v in value.values() if isinstance(v, Mapping))


def _architectures(around: Sequence[Mapping[object, object]]) -> list[str]:
    """Find what the dicts around the weights, and their training's arguments, call the network."""
    holders = [*around]
    for holder in around:
        inner = [plain(holder.get(key)) for key in ("args", "hyper_parameters", "config")]
        holders += [value for value in inner if isinstance(value, Mapping)]
    said = [holder.get(key) for holder in holders for key in ("arch", "architecture", "model_name", "model")]
    return [value for value in said if isinstance(value, str)]


def check_fits(state: Mapping[str, torch.Tensor], num_classes: int | None, name: str) -> int:
    """Compare with mobilenet_v3_large; the number of classes that the weights have.

    Raises:
        CheckpointError: another architecture or number of classes; one error with the whole difference.
    """
    head = state.get("classifier.3.weight")
    classes = head.shape[0] if head is not None and head.ndim == 2 else None
    # A wrong count is said once, not again as wrong shapes: compare with the count that is there.
    wanted = layout(classes if classes is not None and classes > 0 else num_classes or 2)
    missing = [k for k in wanted if k not in state and not k.endswith(COUNTER)]
    extra = [k for k in state if k not in wanted]
    problems = [
        *_wrong_count(classes, num_classes),
        *_listed("key", "missing", map(_key, missing)),
        *_listed("key", "not known", map(_key, extra)),
        *_wrong_tensors(state, wanted),
    ]
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


def _wrong_count(classes: int | None, wanted: int | None) -> Iterator[str]:
    """Yield what is wrong with the number of classes, if it is known."""
    if classes is not None and not 2 <= classes <= 1000:
        yield f"{classes} classes, not 2 to 1000"
    elif classes is not None and wanted not in {None, classes}:
        yield f"{classes} classes, not {wanted}"


def _wrong_tensors(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Size]) -> Iterator[str]:
    """Yield what is wrong with the tensors that are there and ought to be."""
    common = [k for k in wanted if k in state]
    shapes = [
        f"{k} is {_sides(state[k].shape)} instead of {_sides(wanted[k])}"
        for k in common
        if state[k].shape != wanted[k]
    ]
    yield from _listed("tensor", "of another shape", shapes)
    kinds = [f"{k} is {_kind(state[k])}" for k in common if not _usable(k, state[k])]
    yield from _listed("tensor", "not dense floating numbers", kinds)


def _listed(noun: str, what: str, items: Iterable[str]) -> Iterator[str]:
    """Yield how many items are so, and the first of them; nothing if there are none."""
    items = list(items)
    if items:
        yield f"{_count(len(items), noun)} {what}: {_some(items, quote=False)}"


def to_fp32(state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Own, dense fp32 copies in the model's order; counters int64, and 0 where a converter dropped them.

    Raises:
        CheckpointError: NaN or infinite weights, or variances below 0; lists the tensors.
    """
    import torch

    plain: dict[str, torch.Tensor] = {}
    bad = []
    for key in layout(2):  # the keys are the same for every number of classes
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
    """Return tensors under dotted names; `{"epoch": tensor(3)}` is not a state dict."""
    import torch

    return any(isinstance(k, str) and "." in k and isinstance(v, torch.Tensor) for k, v in value.items())


def _usable(key: str, tensor: torch.Tensor) -> bool:
    import torch

    dense = tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_quantized
    return dense and (tensor.is_floating_point() or (key.endswith(COUNTER) and not tensor.is_complex()))


def _guess(state: Mapping[str, torch.Tensor], missing: list[str], extra: list[str]) -> str | None:
    """Return what the weights look like, told by keys that only that family has."""
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
        "conv_stem.weight": "timm (not torchvision, and not mobilenetv3_large_100)",
        "conv_proj.weight": "vision transformer",
        "cls_token": "vision transformer",
    }
    for key, family in families.items():
        if key in state:
            return f"these look like {family} weights"
    if missing and extra and all(k.startswith("classifier.") for k in (*missing, *extra)):
        return (
            "these look like mobilenet_v3_large with another classifier (torchvision's is linear 960 to "
            "1280, hard-swish, linear 1280 to the classes)"
        )
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
