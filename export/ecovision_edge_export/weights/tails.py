"""Find the network among the keys of a state dict, whatever they are prefixed with and lie beside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ecovision_edge.errors import CheckpointError
from ecovision_edge_export.weights.layout import BODY, COUNTER, FIRST, LAST, layout
from ecovision_edge_export.weights.timm import STEM, check_variant, timm_keys, timm_state

if TYPE_CHECKING:
    import torch

__all__ = ["Matched", "match_keys"]

# DataParallel and AveragedModel, torch.compile, FSDP
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module"}
_PROFILERS = {"total_ops", "total_params"}  # that thop leaves in every module
_ANCHOR = "1.block.0.0.weight"  # of the body, after its prefix
_HIDDEN, _WIDTH = 1280, 960  # of the classifier: its inner width, and what it is given
_LINEAR = ("weight", "bias")
# Parts of networks' wrappers that compute no answer, and the states of metrics beside them
_BESIDE = ("criterion", "loss", "metric", "accuracy", "auroc", "confusion")
_METRIC_STATES = {"confmat", "tp", "fp", "tn", "fn", "preds", "target", "targets", "correct", "total"}
_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Matched:
    """Weights under torchvision's names, as far as they are found, and what was decided about the rest."""

    state: dict[str, torch.Tensor]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Network:
    """Where a whole body was found: its prefix, and whether its names are timm's."""

    prefix: str
    timm: bool

    @property
    def root(self) -> str:
        """The prefix of the whole network."""
        if self.timm or not self.prefix.endswith(BODY):
            return self.prefix
        return self.prefix.removesuffix(BODY)


def match_keys(state: Mapping[str, torch.Tensor], said: Iterable[str], name: str) -> Matched:
    """Rename what belongs to the network; leave away, with a note, what computes nothing of its answer.

    Where the network is not whole, or layers are left that may be a part of it, the keys are stripped of the
    likeliest prefix and kept: comparing them with torchvision's tells what is wrong.

    Args:
        state: As it is in the file.
        said: What the checkpoint and its file's name say of its architecture.
        name: Of the file, for messages.

    Raises:
        CheckpointError: several whole networks, and nothing says which is meant; or timm's, and it is not
            said which, or it is one that torchvision's cannot stand for.
    """
    state, notes = _unwrap(state)
    network, others = _choose(_distinct(list(_networks(state)), state), name)
    if network is None:
        return Matched(_strip(state), notes)
    if others:
        notes += (_taken(network, others),)
    state = {k: v for k, v in state.items() if not any(_is_of(k, other, network) for other in others)}
    if network.timm:
        found, keys, more = _timm(state, network, said, name)
    else:
        found, keys, more = _torchvision(state, network)
    left = {k: v for k, v in state.items() if k not in keys}
    layers = {k: v for k, v in left.items() if _may_compute(k, left)}
    idle = [k for k in left if k not in layers]
    if (network.root and network.root != "model." and not others) or idle:
        under = f"weights taken from `{network.root}`" if network.root else "weights taken"
        unused = f"; not used: {_some(idle)}" if idle else ""
        notes += (under + unused,)
    return Matched(found | {k.removeprefix(network.root): v for k, v in layers.items()}, notes + more)


def _unwrap(state: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Without the parts of keys that wrappers add, and without what profilers and AveragedModel count."""
    plain = {
        ".".join(part for part in key.split(".") if part not in _WRAPPERS): value
        for key, value in state.items()
    }
    if len(plain) != len(state):
        plain = dict(state)
    counted = [k for k in plain if k.rpartition(".")[2] in _PROFILERS]
    kept = {k: v for k, v in plain.items() if k not in counted and k.rpartition(".")[2] != "n_averaged"}
    return kept, ((f"not used: {_some(counted)}, which a profiler left",) if counted else ())


def _networks(state: Mapping[str, torch.Tensor]) -> Iterator[_Network]:
    """Yield every place where a whole body lies."""
    shapes = {k.removeprefix(BODY): s for k, s in layout(2).items() if k.startswith(BODY)}
    timm = {timm_keys()[BODY + k]: s for k, s in shapes.items()}
    for anchor, wanted in ((_ANCHOR, shapes), (STEM, timm)):
        for key in state:
            prefix = key.removesuffix(anchor)
            if key.endswith(anchor) and (not prefix or prefix.endswith(".")):
                whole = all(
                    prefix + k in state and state[prefix + k].shape == s
                    for k, s in wanted.items()
                    if not k.endswith(COUNTER)
                )
                if whole:
                    yield _Network(prefix, timm=wanted is timm)


def _distinct(networks: Sequence[_Network], state: dict[str, torch.Tensor]) -> list[_Network]:
    """Return the networks without those that are another again, whose keys are taken out of the state."""
    kept: list[_Network] = []
    for network in sorted(networks, key=lambda n: (not n.prefix.endswith(BODY), len(n.root))):
        keys = [k for k in state if k.startswith(network.root)]
        if any(_same(network, other, keys, state) for other in kept):
            for key in keys:
                del state[key]
        else:
            kept.append(network)
    return kept


def _same(network: _Network, other: _Network, keys: Sequence[str], state: Mapping[str, torch.Tensor]) -> bool:
    """Tell whether all of a network is in another one, as where `self.backbone` is a part of `self.model`."""
    import torch

    for key in keys:
        here, there = ((n.prefix if key.startswith(network.prefix) else n.root) for n in (network, other))
        twin = state.get(there + key.removeprefix(here))
        if twin is None or twin.shape != state[key].shape or not torch.equal(twin, state[key]):
            return False
    return True


def _is_of(key: str, other: _Network, network: _Network) -> bool:
    """Return whether a key belongs to the other network; one may lie within the other."""
    inner = key.startswith(network.root) and len(network.root) > len(other.root)
    return key.startswith(other.root) and not inner


def _choose(networks: Sequence[_Network], name: str) -> tuple[_Network | None, list[_Network]]:
    """Return the one that is meant, and the others: the only one, or the only averaged one."""
    if len(networks) > 1:
        averaged = [n for n in networks if any("ema" in part.split("_") for part in n.root.split("."))]
        if len(averaged) != 1:
            prefixes = [n.root or "(none)" for n in networks]
            path, first = ascii(name.rpartition("/")[2]), networks[0].root
            raise CheckpointError(
                f"{name} holds {len(networks)} networks",
                expected="one, or one and its average (EMA)",
                found=f"those under {', '.join(f'`{p}`' for p in prefixes[:_SHOWN])}",
                fix=f"save the one that is meant: import torch; c = torch.load({path}); "
                f"torch.save({{k: v for k, v in c.get('state_dict', c).items() if k.startswith({first!r})}}, "
                "'weights.pth')",
            )
        networks = [*averaged, *(n for n in networks if n not in averaged)]
    return (networks[0], list(networks[1:])) if networks else (None, [])


def _taken(network: _Network, others: Sequence[_Network]) -> str:
    unused = ", ".join(f"`{other.root}`" for other in others)
    return f"weights taken from the average `{network.root}`; not used: {unused}"


def _timm(
    state: Mapping[str, torch.Tensor], network: _Network, said: Iterable[str], name: str
) -> tuple[dict[str, torch.Tensor], set[str], tuple[str, ...]]:
    """Return the weights, the keys they had, and a note; nothing where the head is not timm's."""
    theirs = {k.removeprefix(network.root): v for k, v in state.items() if k.startswith(network.root)}
    needed = [theirs.get(f"{layer}.{what}") for layer in ("conv_head", "classifier") for what in _LINEAR]
    if any(tensor is None for tensor in needed):
        return {}, set(), ()
    check_variant(said, name)
    keys = {network.root + k for k in timm_keys().values()}
    note = "timm's mobilenetv3_large_100 under torchvision's names, scaled to its BatchNorm epsilon"
    return timm_state(theirs), keys, (note,)


def _torchvision(
    state: Mapping[str, torch.Tensor], network: _Network
) -> tuple[dict[str, torch.Tensor], set[str], tuple[str, ...]]:
    """Return the weights, the keys they had, and a note where the head was not where torchvision has it."""
    names = {network.prefix + k.removeprefix(BODY): k for k in layout(2) if k.startswith(BODY)}
    head = _find_head(state, network)
    notes: tuple[str, ...] = ()
    if head is not None:
        for layer, path in zip((FIRST, LAST), head, strict=True):
            names |= {f"{path}.weight": f"{layer}.weight", f"{path}.bias": f"{layer}.bias"}
        shown = tuple(path.removeprefix(network.root) for path in head)
        if shown != (FIRST, LAST):
            notes = (f"assumed: `{shown[0]}`, hard-swish, then `{shown[1]}`, as torchvision's classifier",)
    found = {ours: state[theirs] for theirs, ours in names.items() if theirs in state}
    return found, names.keys() & state.keys(), notes


def _find_head(state: Mapping[str, torch.Tensor], network: _Network) -> tuple[str, str] | None:
    """Return the paths of the two linear layers after the body; None where there are not just these two.

    They are two members of one Sequential, or of Sequentials in it, with room for the activation between.
    """
    linear = [
        k.removesuffix(".weight")
        for k, v in state.items()
        if k.endswith(".weight") and v.ndim == 2 and f"{k.removesuffix('weight')}bias" in state
    ]
    within = [p for p in linear if p.startswith(network.root)]
    for paths in (within, linear):
        firsts = [p for p in paths if state[f"{p}.weight"].shape == (_HIDDEN, _WIDTH)]
        lasts = [p for p in paths if state[f"{p}.weight"].shape[1] == _HIDDEN]
        if len(firsts) == len(lasts) == 1 and _in_one_sequential(firsts[0], lasts[0]):
            return firsts[0], lasts[0]
    return None


def _in_one_sequential(first: str, last: str) -> bool:
    a, b = first.split("."), last.split(".")
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    if same is None or not (a[same].isdecimal() and b[same].isdecimal()):
        return False
    room = int(b[same]) - int(a[same]) + (len(a) - same - 1) + (len(b) - same - 1)
    return int(a[same]) < int(b[same]) and room >= 2


def _may_compute(key: str, left: Mapping[str, torch.Tensor]) -> bool:
    """Return whether what is left may be a layer that the answer goes through."""
    path, _, parameter = key.rpartition(".")
    if any(word in part for part in path.split(".") for word in _BESIDE):
        return False
    if parameter in _METRIC_STATES or any(word in parameter for word in _BESIDE):
        return False
    tensor = left[key]
    if parameter in {"running_mean", "running_var", "num_batches_tracked"}:
        return True
    paired = parameter in {"weight", "bias"} and {f"{path}.weight", f"{path}.bias"} <= left.keys()
    return paired or (tensor.is_floating_point() and tensor.ndim >= 2 and tensor.numel() > 16)


def _strip(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the prefix under which most of the body lies."""
    tails = [k for k in layout(2) if k.startswith(BODY)]
    counts: dict[str, int] = {}
    for key in state:
        start = f".{key}".rfind(f".{BODY}")
        if start >= 0 and key[start:] in tails:
            counts[key[:start]] = counts.get(key[:start], 0) + 1
    prefix = max(counts, key=lambda p: counts[p], default="")
    stripped = {k.removeprefix(prefix): v for k, v in state.items()}
    return stripped if len(stripped) == len(state) else state


def _some(keys: Sequence[str]) -> str:
    shown = ", ".join(f"`{ascii(k)[1:-1][:80]}`" for k in keys[:_SHOWN])
    return shown + (f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")
