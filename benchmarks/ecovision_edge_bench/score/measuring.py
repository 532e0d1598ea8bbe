"""What the developers' tools of this package share: arguments, a run over made-up frames, and its table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ecovision_edge.base.extras import require
from ecovision_edge.cli.output import check_target, progress_bar, text_console, write_json
from ecovision_edge.errors import EcovisionError, OptionError
from ecovision_edge_bench.score.match import MatchOptions, Score, match
from ecovision_edge_bench.score.run import decide, decide_by_single_frames, default_rules, make_decider

if TYPE_CHECKING:
    from rich.console import Console

    from ecovision_edge.base.fields import JsonValue
    from ecovision_edge.classifier import Classifier
    from ecovision_edge.decision import DeciderOptions
    from ecovision_edge.rules import Rules
    from ecovision_edge.simulation.truth import Truth
    from ecovision_edge_bench.score.run import Seen

__all__ = ["Judge", "add_arguments", "consoles", "make_judge", "report", "run_tool"]


@dataclass(frozen=True, slots=True)
class Judge:
    """Everything that turns frames into a score.

    Args:
        classifier: Says what a frame shows.
        rules: Where things go; None makes each label a bin.
        one_frame: Decide by single frames, to compare with.
        options: Of the decider; None is what the rules say, and the defaults where they say nothing.
        matching: Grace and debounce.
    """

    classifier: Classifier
    rules: Rules | None
    one_frame: bool = False
    options: DeciderOptions | None = None
    matching: MatchOptions = field(default_factory=MatchOptions)

    def score(
        self, frames: Iterable[Seen], truth: Truth, progressed: Callable[[], None] = lambda: None
    ) -> Score:
        """Decide over the frames, and count.

        Raises:
            TruthError: labels or bins that are not there.
            InferenceError: the engine failed.
        """
        truth.check(self.classifier.labels, None if self.rules is None else self.rules.bins)
        if self.one_frame:
            found = decide_by_single_frames(
                frames, self.classifier.classify, self.rules, progressed=progressed
            )
        else:
            found = decide(frames, make_decider(self.classifier, self.rules, self.options), progressed)
        return match(truth, found, self.rules, self.matching)

    @property
    def how(self) -> str:
        """In a few words."""
        return "by single frames" if self.one_frame else "by the decider"

    def to_json(self) -> dict[str, JsonValue]:
        """Return what made the events."""
        bundle = self.classifier.bundle
        return {
            "bundle": None if bundle is None else bundle.manifest.name,
            "artifact": self.classifier.artifact,
            "rules": None if self.rules is None else self.rules.name,
            "one_frame": self.one_frame,
        }


def add_arguments(parser: argparse.ArgumentParser, *, items: int) -> None:
    """Add the arguments that all tools have."""
    parser.add_argument("--items", type=int, default=items, help="how many things come")
    parser.add_argument("--seed", type=int, default=1, help="seed of everything that is left open")
    parser.add_argument("--one-frame", action="store_true", help="decide by single frames, to compare with")
    parser.add_argument("--bundle", type=Path, help="a bundle or a model file; default: the reference")
    parser.add_argument("--bin", type=Path, help="rules; default: a German household")
    parser.add_argument("--json", type=Path, help="write everything here; - is stdout")


def make_judge(arguments: argparse.Namespace) -> Judge:
    """Make the judge that the arguments describe.

    Raises:
        OptionError: out of range.
        EcovisionError: the bundle or the rules cannot be loaded.
    """
    from ecovision_edge.classifier import Classifier
    from ecovision_edge.rules import Rules

    if not 1 <= arguments.items <= 100_000:
        raise OptionError("--items", expected="1 to 100,000", found=arguments.items)
    if not 0 <= arguments.seed < 2**32:
        raise OptionError("--seed", expected=f"0 to {2**32 - 1}", found=arguments.seed)
    if arguments.json is not None:
        check_target(arguments.json, "--json")
    classifier = Classifier.load(arguments.bundle, threads=1)  # the same on any number of cores
    rules = default_rules(classifier.labels) if arguments.bin is None else Rules.load(arguments.bin)
    if rules is not None:
        rules.check(classifier.labels)
    return Judge(classifier, rules, arguments.one_frame)


def consoles() -> tuple[Console, Console]:
    """Make the consoles of standard output and of standard error."""
    require("rich", "bench")
    return text_console(soft_wrap=True), text_console(stderr=True, soft_wrap=True)


def report(
    arguments: argparse.Namespace, judge: Judge, frames: Iterable[Seen], count: int, truth: Truth, title: str
) -> None:
    """Score the frames with a progress bar; print the tables, or write the document."""
    from ecovision_edge_bench.score.document import document
    from ecovision_edge_bench.score.text import show_score

    out, errors = consoles()
    with progress_bar(errors, "scoring", count) as step:
        score = judge.score(frames, truth, step)
    title = f"{title}, {judge.how}"
    if arguments.json is not None:
        write_json(document(score, title, judge.matching, judge.to_json()), arguments.json)
    if str(arguments.json) != "-":
        show_score(out, title, score)


def run_tool(main: Callable[[Sequence[str] | None], None], name: str) -> int:
    """Run a tool's `main`; an error of ours is one line. Returns the exit status."""
    try:
        main(None)
    except EcovisionError as e:
        sys.stderr.write(f"{name}: {e.message}\n")
        return e.exit_status
    return 0
