"""`Rules`: label to bin, and the cost of each mistake."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from ecovision_edge.base.fields import JsonValue
from ecovision_edge.base.files import read_regular_file
from ecovision_edge.base.names import hinted, short
from ecovision_edge.base.reasons import reason_of
from ecovision_edge.decision.settings import DecisionSettings
from ecovision_edge.errors import OptionError, RulesError
from ecovision_edge.rules._parsing import Source, parse
from ecovision_edge.rules._reading import RULES_SCHEMA_VERSION, read_rules

__all__ = ["RULES_SCHEMA_VERSION", "Rules", "RulesKind"]

MAX_RULES_BYTES = 2**18  # 1,000 labels with ten costs each take 220 kB

RulesKind: TypeAlias = Literal["toml", "json"]
_KINDS: dict[str, RulesKind] = {".toml": "toml", ".json": "json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which bin takes what. Made by `Rules.load`, or by hand; what is not given has the file's defaults.

    Args:
        name: What the rules are called.
        bins: In the order of the file; some may take nothing of their own.
        bin_of: The bin of each label.
        default: The fail-safe bin: what is unknown goes there.
        region: Where they hold; may be empty.
        date: Date since when they hold, `2026-01-31`; may be empty.
        wrong_cost: Cost of putting something into a bin that is not its own, at least 0.
        unknown_cost: Cost of sending something to `default` as unknown, at least 0; unit of `wrong_cost`.
        costs: Label to bin to cost, where it is not `wrong_cost`.
        decision: When a decision is made, as far as the rules say so.
        source: The file, for messages; it does not count in comparisons.

    Raises:
        RulesError: they contradict themselves.
    """

    name: str
    bins: tuple[str, ...]
    bin_of: Mapping[str, str]
    default: str
    region: str = ""
    date: str = ""
    wrong_cost: float = 1.0
    unknown_cost: float = 0.3
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    decision: DecisionSettings = field(default_factory=DecisionSettings)
    source: Source = field(default_factory=Source, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.source.checked:
            if len(set(self.bins)) != len(self.bins):
                raise RulesError("rules.bins", expected="each bin once", found=short(self.bins))
            stray = [bin for bin in self.bin_of.values() if bin not in self.bins]
            if stray:
                raise RulesError(
                    "rules.bin_of", expected=f"bins of {short(self.bins)}", found=hinted(stray, self.bins)
                )
            read_rules(self.to_json(), self.source)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Rules:
        """Read a `.toml` or `.json` file of rules.

        Raises:
            RulesError: it cannot be read, or is malformed; the message names the file and the key.
        """
        file = Path(path)
        kind = _KINDS.get(file.suffix.lower())
        if kind is None:
            raise RulesError("rules", expected="a .toml or .json file", found=str(file))
        try:
            data = read_regular_file(file, MAX_RULES_BYTES)
        except (OSError, ValueError) as e:  # ValueError: a zero byte in the name
            reason = reason_of(e)
            raise RulesError(f"cannot read {file}", expected="a file of rules", found=reason) from e
        if len(data) > MAX_RULES_BYTES:
            raise RulesError(f"{file} is too large", expected=f"at most {MAX_RULES_BYTES} bytes")
        try:
            text = data.decode()
        except UnicodeDecodeError as e:
            line = data.count(b"\n", 0, e.start) + 1
            raise RulesError(f"{file}:{line}: not UTF-8", found=f"byte {data[e.start]:#04x}") from e
        return cls.loads(text, str(file), kind)

    @classmethod
    def loads(cls, text: str, where: str = "rules", kind: RulesKind = "toml") -> Rules:
        """Read the text of a file of rules; `where` is its name for messages.

        Raises:
            RulesError: malformed; the message names `where` and the key.
        """
        data, source = parse(text, where, kind)
        read = read_rules(data, source)
        return cls(
            name=read.name,
            bins=tuple(read.bins),
            bin_of=read.bin_of,
            default=read.default,
            region=read.region,
            date=read.date,
            wrong_cost=read.wrong,
            unknown_cost=read.unknown,
            costs=read.costs,
            decision=read.decision,
            source=source,
        )

    def to_json(self) -> dict[str, JsonValue]:
        """Return JSON values that `loads` reads, without what is empty."""
        decision: dict[str, JsonValue] = dict(self.decision.given())
        texts: dict[str, JsonValue] = {"name": self.name, "region": self.region, "date": self.date}
        return {
            "schema": RULES_SCHEMA_VERSION,
            **{key: text for key, text in texts.items() if text or key == "name"},
            "default": self.default,
            "bins": {bin: [label for label, b in self.bin_of.items() if b == bin] for bin in self.bins},
            "costs": {
                "wrong": self.wrong_cost,
                "unknown": self.unknown_cost,
                **{label: dict(costs) for label, costs in self.costs.items()},
            },
            **({"decision": decision} if decision else {}),
        }

    def check(self, labels: Sequence[str]) -> None:
        """Refuse a model's labels if they are not those that the rules are about.

        Raises:
            RulesError: a label that no bin takes, or a rule about a label that the model does not have.
        """
        for bin in self.bins:
            own = [label for label, b in self.bin_of.items() if b == bin]
            for i, label in enumerate(own):
                if label not in labels:
                    raise self.source.error(
                        ("bins", bin, i),
                        expected=f"labels of the model: {short(labels)}",
                        found=hinted([label], labels),
                    )
        left = [label for label in labels if label not in self.bin_of]
        if left:
            raise self.source.error(
                ("bins",),
                expected="a bin for each label of the model",
                found=f"none for {short(left)}",
                fix="put each of them into the list of a bin",
            )

    def cost(self, label: str, bin: str) -> float:
        """Return what it costs to put something that is `label` into `bin`; 0 for its own.

        Raises:
            RulesError: the rules know no such label, or no such bin.
        """
        if bin not in self.bins:
            raise RulesError("bin", expected=f"one of {short(self.bins)}", found=hinted([bin], self.bins))
        if label not in self.bin_of:
            known = tuple(self.bin_of)
            raise RulesError("label", expected=f"one of {short(known)}", found=hinted([label], known))
        if self.bin_of[label] == bin:
            return 0.0
        return self.costs.get(label, {}).get(bin, self.wrong_cost)

    def expected_costs(self, probabilities: Sequence[float], labels: Sequence[str]) -> dict[str, float]:
        """Return what each bin costs on average: the sum over the labels of probability times `cost`.

        Args:
            probabilities: One per label, 0 to 1.
            labels: The model's, in the order of `probabilities`.

        Raises:
            RulesError: the rules know no such label.
            OptionError: not one probability per label.
        """
        if len(probabilities) != len(labels):
            raise OptionError(
                "probabilities", expected=f"{len(labels)}, one per label", found=len(probabilities)
            )
        return {
            bin: sum(p * self.cost(label, bin) for p, label in zip(probabilities, labels, strict=True))
            for bin in self.bins
        }

    def best_bin(self, probabilities: Sequence[float], labels: Sequence[str]) -> str:
        """Return the bin that costs least on average, the first of several; `default` if it costs too much.

        Too much is more than `unknown_cost`. Arguments and errors as of `expected_costs`.
        """
        costs = self.expected_costs(probabilities, labels)
        best = min(costs, key=costs.__getitem__)
        return self.default if costs[best] > self.unknown_cost else best
