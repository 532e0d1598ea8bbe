"""What the network says of one frame, and how long it took."""

from __future__ import annotations

from ecovision_edge.base.records import dataclass

__all__ = ["Prediction", "Timings"]


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds that one frame took; in a batch, its share.

    Args:
        prepare_ms: Frame to network input.
        infer_ms: The network.
        post_ms: Logits to probabilities.
    """

    prepare_ms: float
    infer_ms: float
    post_ms: float

    @property
    def total_ms(self) -> float:
        """All three."""
        return self.prepare_ms + self.infer_ms + self.post_ms


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the network says of one frame. It is no decision: an empty tray gets a label too.

    Args:
        label: The most probable class.
        index: Its place in `contract.labels`.
        score: Its probability, 0 to 1, after the contract's temperature.
        margin: `score` less the second probability, 0 to 1.
        probabilities: Probabilities of all classes, in the order of `contract.labels`; they add up to 1.
        timings: How long it took.
    """

    label: str
    index: int
    score: float
    margin: float
    probabilities: tuple[float, ...]
    timings: Timings
