"""Squeeze-and-excitation branches that say the same to every photograph: found, and brought back to life.

A branch whose hidden units never fire (their ReLU gets less than 0 for every picture) gets no gradient and
stays as it is for ever. It is revived so that the network still computes what it did, but can learn again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops.misc import SqueezeExcitation

__all__ = ["Branch", "find_branches", "revive"]

DEAD_SPREAD = 0.01  # of a scale of 0 to 1: below it, on average over channels, a branch is nearly constant
DEAD_SILENT = 0.5  # of the hidden units: a branch of which most fire may be constant, but learns
SCALES = (0.1, 0.9)  # where a hard-sigmoid has room to both sides
HIDDEN_BIAS = 0.1  # so that hidden units fire
SPREAD = 0.01  # of the new scales over photographs: they hardly matter at first


@dataclass(frozen=True, slots=True)
class Branch:
    """What a squeeze-and-excitation branch does on some photographs.

    Args:
        name: Of the module, as `features.11.block.2`.
        hidden: How many hidden units it has.
        silent: How many of these fire for no photograph.
        spread: Standard deviation over photographs of its scales, 0 to 0.5, mean over channels.
        scale: Mean over photographs of each channel's scale `(c,)`.
        squeezed: What it gets for each photograph `(n, c)`.
    """

    name: str
    hidden: int
    silent: int
    spread: float
    scale: Tensor
    squeezed: Tensor

    @property
    def dead(self) -> bool:
        """Whether it says nearly the same to every photograph, for most of its hidden units never fire."""
        return self.spread < DEAD_SPREAD and self.silent >= DEAD_SILENT * self.hidden


def find_branches(model: torch.nn.Module, inputs: Iterable[Tensor]) -> list[Branch]:
    """Watch every squeeze-and-excitation branch of the model on some photographs.

    Args:
        model: A torchvision MobileNetV3; run in eval mode, its modes stay.
        inputs: Batches `(n, 3, h, w)` as it takes them.
    """
    branches = {n: m for n, m in model.named_modules() if isinstance(m, SqueezeExcitation)}
    seen: dict[str, tuple[list[Tensor], list[Tensor], list[Tensor]]] = {n: ([], [], []) for n in branches}

    def watch(name: str, module: SqueezeExcitation) -> list[torch.utils.hooks.RemovableHandle]:
        squeezed, hidden, scales = seen[name]
        return [
            module.avgpool.register_forward_hook(lambda *a: squeezed.append(a[2].flatten(1))),
            module.activation.register_forward_hook(lambda *a: hidden.append(a[2].flatten(1))),
            module.scale_activation.register_forward_hook(lambda *a: scales.append(a[2].flatten(1))),
        ]

    handles = [handle for name, module in branches.items() for handle in watch(name, module)]
    modes = [(m, m.training) for m in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            for batch in inputs:
                model(batch)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    return [_branch(name, *map(torch.cat, lists)) for name, lists in seen.items() if lists[0]]


def _branch(name: str, squeezed: Tensor, hidden: Tensor, scales: Tensor) -> Branch:
    return Branch(
        name,
        hidden=hidden.shape[1],
        silent=int((hidden.amax(0) <= 0).sum()),
        spread=float(scales.std(0, correction=0).mean()),
        scale=scales.mean(0),
        squeezed=squeezed,
    )


@torch.no_grad()
def revive(model: torch.nn.Module, branches: Iterable[Branch], seed: int) -> list[Branch]:
    """Revive dead branches, in place, so that the network still computes (nearly) what it did.

    The first layer is drawn again with a positive bias, so that its units fire. The second is drawn small,
    with the bias that gives each channel its mean scale, moved to between 0.1 and 0.9; what that changes goes
    into the weights of the 1x1 convolution that follows, exactly.

    Args:
        model: A torchvision MobileNetV3.
        branches: As `find_branches` gives them; those that live stay as they are.
        seed: Of the draw.

    Returns:
        The names of those revived.
    """
    generator = torch.Generator().manual_seed(seed)
    revived = [branch for branch in branches if branch.dead]
    for branch in revived:
        module = model.get_submodule(branch.name)
        assert isinstance(module, SqueezeExcitation)
        block, _, index = branch.name.rpartition(".")
        following = model.get_submodule(f"{block}.{int(index) + 1}.0")
        assert isinstance(following, torch.nn.Conv2d)
        first, second = module.fc1, module.fc2
        assert first.bias is not None
        assert second.bias is not None
        device, fan_in = first.weight.device, first.weight[0].numel()
        drawn = torch.randn(first.weight.shape, generator=generator) * (2 / fan_in) ** 0.5
        first.weight.copy_(drawn.to(device))
        first.bias.fill_(HIDDEN_BIAS)
        fired = module.activation(first(branch.squeezed.to(device)[..., None, None])).flatten(1)
        drawn = torch.randn(second.weight.shape[:2], generator=generator).to(device)
        drawn *= 6 * SPREAD / (fired @ drawn.T).std(0, correction=0).mean().clamp_min(1e-6)
        second.weight.copy_(drawn[..., None, None])
        scale = branch.scale.to(device).clamp(*SCALES)
        # hard-sigmoid(x) = relu6(x + 3) / 6
        second.bias.copy_(6 * scale - 3 - (fired @ drawn.T).mean(0))
        following.weight.mul_((branch.scale.to(device) / scale).view(1, -1, 1, 1))
    return revived
