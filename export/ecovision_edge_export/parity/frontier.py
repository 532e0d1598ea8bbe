"""Accuracy against cost at several sizes of the network's input, and the size that is worth taking."""

from __future__ import annotations

from dataclasses import dataclass

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.photographs.turns import TurnFigures

__all__ = ["Frontier", "SizeFigure"]

_WIDE, _HIGH = 48, 8  # characters and lines of the plot, inside its axes
_ROUNDING = 1e-9  # percentage points


@dataclass(frozen=True, slots=True)
class SizeFigure:
    """One size of the input.

    Args:
        side: Height and width of the input, pixels.
        multiply_adds: Of one inference, millions.
        cost: Modelled cost of one inference of fp32 on the target; 1 is that of the largest size.
        turns: Accuracy of fp32 on the photographs, upright and turned, without letterbox bars.
    """

    side: int
    multiply_adds: float
    cost: float
    turns: TurnFigures


@dataclass(frozen=True, slots=True)
class Frontier:
    """The sizes that were measured, all on the same photographs.

    Args:
        figures: One per size, the smallest first; at least two.
        photographs: How many were judged at each size and turn.
        any_orientation: Whether the mean of all turns is what counts; otherwise upright alone does.
        target: The CPU of the costs.
        max_loss: Percentage points that the chosen size may lose against the largest; None chooses none.
    """

    figures: tuple[SizeFigure, ...]
    photographs: int
    any_orientation: bool
    target: str
    max_loss: float | None = None

    @property
    def measure(self) -> str:
        """The accuracy that counts, in words."""
        return f"mean of {len(self.figures[0].turns.by_turn)} turns" if self.any_orientation else "upright"

    @property
    def chosen(self) -> SizeFigure | None:
        """The cheapest size within `max_loss`, the largest if no other is; None without a `max_loss`."""
        if self.max_loss is None:
            return None
        within = [f for f in self.figures if self.loss(f) <= self.max_loss + _ROUNDING]
        return min(within, key=lambda f: f.cost)

    def accuracy(self, figure: SizeFigure) -> float:
        """Return the accuracy that counts, 0 to 1."""
        return figure.turns.mean if self.any_orientation else figure.turns.upright.accuracy

    def loss(self, figure: SizeFigure) -> float:
        """Return the accuracy lost against the largest size, percentage points; below 0 for a gain."""
        return 100 * (self.accuracy(self.figures[-1]) - self.accuracy(figure))

    def summary(self) -> str:
        """Return the accuracy and the cost of each size in one line."""
        sizes = ", ".join(
            f"{f.side}: {100 * self.accuracy(f):.1f} % at {f.cost:.2f}" for f in reversed(self.figures)
        )
        chosen = self.chosen
        taken = "" if chosen is None else f"; {chosen.side} is taken, within {self.max_loss:g} points"
        return f"{self.measure} at its cost on {self.target}: {sizes}{taken}"

    def rows(self) -> list[list[str]]:
        """Return a head and one row per size, the largest first."""
        head = ["size", "multiply-adds", "cost", "upright", "turns, mean", "worst", "loss"]
        rows = [
            [
                f"{f.side}{' (taken)' if f is self.chosen else ''}",
                f"{f.multiply_adds:.0f} M",
                f"{f.cost:.2f}",
                f"{100 * f.turns.upright.accuracy:.1f} %",
                f"{100 * f.turns.mean:.1f} %",
                f"{100 * f.turns.worst.accuracy:.1f} %",
                f"{self.loss(f):.1f}",
            ]
            for f in reversed(self.figures)
        ]
        return [head, *rows]

    def plot(self) -> list[str]:
        """Draw accuracy upward and cost to the right, in plain text; each `o` is a size."""
        shares = [100 * self.accuracy(f) for f in self.figures]
        low, high = min(shares), max(shares)
        lines = [[" "] * (_WIDE + 6) for _ in range(_HIGH + 1)]
        points: list[tuple[list[str], int, str]] = []
        for figure, share in zip(self.figures, shares, strict=True):
            above = (share - low) / (high - low) if high > low else 0.5
            points.append((lines[_HIGH - round(above * _HIGH)], round(figure.cost * _WIDE), str(figure.side)))
        for line, column, _ in points:
            line[column] = "o"
        for line, column, name in points:
            _name(line, column + 1, f" {name}")
        edges = {0: f"{high:.1f} %", _HIGH: f"{low:.1f} %"} if high > low else {_HIGH // 2: f"{low:.1f} %"}
        drawn = [f"{edges.get(i, ''):>8} |{''.join(line)}".rstrip() for i, line in enumerate(lines)]
        return [
            *drawn,
            f"{'':8} +{'-' * (_WIDE + 1)}",
            f"{'':8}  0{'1':>{_WIDE}}",
            f"{'':8}  {self.measure} against cost on {self.target}",
        ]

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values; accuracies 0 to 1, losses in percentage points."""
        chosen = self.chosen
        return {
            "target": self.target,
            "photographs": self.photographs,
            "measure": "mean_of_turns" if self.any_orientation else "upright",
            "max_loss": self.max_loss,
            "chosen": None if chosen is None else chosen.side,
            "sizes": [
                {
                    "size": f.side,
                    "multiply_adds_millions": round(f.multiply_adds, 1),
                    "cost": round(f.cost, 4),
                    "loss": round(self.loss(f), 4),
                    **f.turns.to_json(),
                }
                for f in self.figures
            ],
        }


def _name(line: list[str], start: int, name: str) -> None:
    """Write a name into a line, if nothing stands there."""
    place = slice(start, start + len(name))
    if not "".join(line[place]).strip():
        line[place] = name
