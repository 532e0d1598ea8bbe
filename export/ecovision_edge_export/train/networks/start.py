"""The model that a training starts from: its weights, and a head for the classes found."""

from __future__ import annotations

import contextlib
import io
import socket
import urllib.error
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ecovision_edge.bundle.contract import IMAGENET_MEAN, IMAGENET_STD
from ecovision_edge.errors import DownloadError
from ecovision_edge_export.card import known_facts
from ecovision_edge_export.card.turned import Turns
from ecovision_edge_export.photographs.seen import Seen
from ecovision_edge_export.weights.checkpoint import Checkpoint, build_model, load_checkpoint

__all__ = ["IMAGENET", "NO_WEIGHTS", "Start", "start_model"]

IMAGENET = "imagenet"
"""`--init imagenet`: torchvision's own weights, downloaded by torchvision's own address."""

NO_WEIGHTS = "none"
"""`--init none`: random weights."""

_HEAD = "classifier.3"
_DOWNLOAD_SECONDS = 30  # without an answer


@dataclass(frozen=True, slots=True)
class Start:
    """What the training starts from.

    Args:
        model: With one output per label, its parameters wanting gradients.
        source: Of the weights, without folders; `none` for random ones.
        sha256: Of their file; None for random ones.
        head: `kept`, `reordered` or `new`.
        mean: That the weights were made for, R, G, B for pixels in 0 to 1.
        std: Likewise.
        notes: What the user should know.
        seen: The photographs that the weights were trained on before, as far as their file says.
        turns: Whether they were trained for things in any orientation, or upright ones, as far as is known.
    """

    model: torch.nn.Module
    source: str
    sha256: str | None
    head: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    notes: tuple[str, ...] = ()
    seen: Seen = field(default_factory=Seen)
    turns: Turns | None = None


def start_model(init: str, labels: Sequence[str], seed: int) -> Start:
    """Return the model with weights of `init` and a head for `labels`; random parts are drawn from `seed`.

    The head is kept where the weights' labels are these, put into their order where it is another, and else
    made new.

    Args:
        init: `imagenet`, `none`, or what `load_checkpoint` takes.
        labels: Sorted.
        seed: Of the new head, or of all weights with `none`.

    Raises:
        CheckpointError, DownloadError: the weights cannot be had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if init == NO_WEIGHTS:
            return Start(_random_model(len(labels)), NO_WEIGHTS, None, "new")
        checkpoint = load_checkpoint(_imagenet_file() if init == IMAGENET else init, labels=labels)
        checkpoint, head = _fit_head(checkpoint, tuple(labels))
    prepared = checkpoint.preprocessing
    source = checkpoint.source.source
    return Start(
        model=build_model(checkpoint).train().requires_grad_(True),
        source=f"torchvision {source}" if init == IMAGENET else source,
        sha256=checkpoint.source.sha256,
        head=head,
        mean=prepared.mean if prepared is not None else IMAGENET_MEAN,
        std=prepared.std if prepared is not None else IMAGENET_STD,
        notes=checkpoint.notes,
        seen=checkpoint.seen or Seen(),
        turns=known_facts(checkpoint.source, checkpoint.training).turns,
    )


def _random_model(classes: int) -> torch.nn.Module:
    import torchvision

    model = torchvision.models.mobilenet_v3_large(weights=None, num_classes=classes)
    assert isinstance(model, torch.nn.Module)
    return model


def _fit_head(checkpoint: Checkpoint, labels: tuple[str, ...]) -> tuple[Checkpoint, str]:
    """Return the checkpoint with a head for `labels`, and what became of its own."""
    if checkpoint.labels == labels:
        return checkpoint, "kept"
    state = dict(checkpoint.state)
    weight, bias = state[f"{_HEAD}.weight"], state[f"{_HEAD}.bias"]
    if checkpoint.labels is not None and tuple(sorted(checkpoint.labels)) == labels:
        order = [checkpoint.labels.index(label) for label in labels]
        weight, bias, head = weight[order].clone(), bias[order].clone(), "reordered"
    else:
        # As torchvision's MobileNetV3 begins its linear layers.
        weight = torch.nn.init.normal_(torch.empty(len(labels), weight.shape[1]), 0, 0.01)
        bias, head = torch.zeros(len(labels)), "new"
    state |= {f"{_HEAD}.weight": weight, f"{_HEAD}.bias": bias}
    return replace(checkpoint, state=state, num_classes=len(labels), labels=labels), head


def _imagenet_file() -> str:
    """Torchvision's ImageNet weights, in torch's own cache; downloaded where they are not there."""
    import torchvision

    url = str(torchvision.models.MobileNet_V3_Large_Weights.IMAGENET1K_V2.url)
    name = url.rpartition("/")[2]
    file = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not file.is_file():
        prefix = name.removesuffix(".pth").rpartition("-")[2]  # of its sha256, by torch.hub's convention
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with _impatient(), contextlib.redirect_stderr(io.StringIO()):
                torch.hub.download_url_to_file(url, str(file), hash_prefix=prefix, progress=False)
        except (OSError, urllib.error.URLError, RuntimeError, ValueError) as e:
            reason = getattr(e, "reason", None) or e
            raise DownloadError(
                f"torchvision's ImageNet weights cannot be downloaded from {url} ({reason})",
                fix=f"put {name} into torch's cache, {file.parent}, or start from others: --init reference",
            ) from e
    return str(file)


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """torch.hub gives no time limit, and would wait for ever on a network that swallows packets."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
