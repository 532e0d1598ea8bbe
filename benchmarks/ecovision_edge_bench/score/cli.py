"""`ecovision-edge score`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from ecovision_edge.base.durations import parse_duration
from ecovision_edge.base.providers import provider_arguments
from ecovision_edge.cli.options import (
    ArtifactName,
    BundleOrModel,
    DelegateLibrary,
    NoProfile,
    ProviderOptions,
    Providers,
    Threads,
)
from ecovision_edge.cli.output import check_target, printable, progress_bar, write_json
from ecovision_edge.decision.settings import SETTINGS
from ecovision_edge.errors import OptionError

if TYPE_CHECKING:
    from ecovision_edge.base.fields import JsonValue
    from ecovision_edge.rules import Rules
    from ecovision_edge.simulation.truth import Truth
    from ecovision_edge_bench.score.match import MatchOptions, Score
    from ecovision_edge_bench.score.measuring import Judge
    from ecovision_edge_bench.score.replay import Replay

    _Result: TypeAlias = tuple[Score, str, dict[str, JsonValue]]

__all__ = ["score"]


def score(
    recording: Annotated[
        Path | None,
        typer.Option(help="What `run --record` wrote; or a folder of images, or a video, with --fps."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="What lay on the tray, and when: JSON. Default: truth.json in the recording."),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(help="Score these events, JSON lines of the sink file:, instead of deciding again."),
    ] = None,
    bin: Annotated[
        Path | None,
        typer.Option("--bin", help="Rules, TOML or JSON. Default: a German household, where the labels fit."),
    ] = None,
    bundle: BundleOrModel = None,
    artifact: ArtifactName = "auto",
    threads: Threads = None,
    providers: Providers = None,
    provider_option: ProviderOptions = None,
    delegate: DelegateLibrary = None,
    no_profile: NoProfile = False,
    fps: Annotated[
        float | None, typer.Option(help="Frames per second of images, or of a video without times.")
    ] = None,
    as_recorded: Annotated[
        bool, typer.Option("--as-recorded", help="Take what the network said then; classify nothing.")
    ] = False,
    one_frame: Annotated[
        bool, typer.Option("--one-frame", help="Decide by single frames, to compare with.")
    ] = False,
    decide_within: Annotated[str | None, typer.Option(help=SETTINGS["decide_within"].help)] = None,
    grace: Annotated[
        str, typer.Option(help="Time after an item left in which an event still belongs to it.")
    ] = "1s",
    debounce: Annotated[
        str,
        typer.Option(
            help="Time after an event that counts in which others are the same event; 0 counts each."
        ),
    ] = "1s",
    max_missed: Annotated[int | None, typer.Option(help="Fail if more items are missed.")] = None,
    max_doubled: Annotated[int | None, typer.Option(help="Fail if more items are doubled.")] = None,
    max_false: Annotated[int | None, typer.Option(help="Fail if there are more events without item.")] = None,
    max_wrong_bin: Annotated[int | None, typer.Option(help="Fail if more items go to a wrong bin.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the score, item by item; - is stdout.")] = None,
) -> int:
    """Score a recorded bin as events: items found, missed, doubled, false, wrong bin, time to decide.

    The recording is replayed by its own clock, as fast as it can be read, through the network, the decider
    and the rules. The exit status is 1 only where a --max is exceeded.

    Examples:

      ecovision-edge score --recording recording --truth truth.json

      ecovision-edge score --recording recording --bin rules.toml --max-doubled 0 --max-false 0

      ecovision-edge score --events events.jsonl --recording recording --truth truth.json --bin rules.toml
    """
    from ecovision_edge.classifier import Classifier
    from ecovision_edge.decision import DecisionSettings
    from ecovision_edge.rules import Rules
    from ecovision_edge_bench.score.document import document
    from ecovision_edge_bench.score.match import MatchOptions
    from ecovision_edge_bench.score.measuring import Judge, consoles
    from ecovision_edge_bench.score.replay import open_replay
    from ecovision_edge_bench.score.run import default_rules
    from ecovision_edge_bench.score.text import show_score

    limits = {"missed": max_missed, "doubled": max_doubled, "false": max_false, "wrong-bin": max_wrong_bin}
    _check(limits, recording, truth, events, bin, json)
    options = MatchOptions(
        grace=parse_duration(grace, "--grace"), debounce=parse_duration(debounce, "--debounce")
    )
    if events is not None:
        asked = {"--as-recorded": as_recorded, "--one-frame": one_frame}
        if given := [name for name, is_given in asked.items() if is_given]:
            raise OptionError(given[0], expected="none beside --events: they are decided already", found="it")
        assert bin is not None  # as `_check` has seen
        zero = 0.0 if recording is None else open_replay(recording, fps).zero
        result = _of_events(events, zero, _truth(recording, truth), Rules.load(bin), options)
    else:
        if as_recorded and one_frame:  # a bin asks about a part of a frame; what acts on one knows no parts
            raise OptionError("--one-frame", expected="none beside --as-recorded", found="it")
        assert recording is not None
        replay, known = open_replay(recording, fps), _truth(recording, truth)
        within = None if decide_within is None else parse_duration(decide_within, "--decide-within")
        rules = None if bin is None else Rules.load(bin)
        settings = DecisionSettings(decide_within=within)
        if rules is not None:
            settings = settings.over(rules.decision)
        decider = settings.options()
        classifier = Classifier.load(
            bundle,
            artifact=artifact,
            threads=threads,
            delegate=delegate,
            profile=not no_profile,
            **provider_arguments(providers, provider_option),
        )
        if rules is None:
            rules = default_rules(classifier.labels)
        else:
            rules.check(classifier.labels)
        result = _of_replay(replay, known, Judge(classifier, rules, one_frame, decider, options), as_recorded)
    counted, title, made = result
    if json is not None:
        write_json(document(counted, title, options, made), json)
    if str(json) != "-":
        show_score(consoles()[0], title, counted)
    return _exit_status(counted, limits)


def _check(
    limits: Mapping[str, int | None],
    recording: Path | None,
    truth: Path | None,
    events: Path | None,
    bin: Path | None,
    json: Path | None,
) -> None:
    """Before anything is loaded."""
    if recording is None and (events is None or truth is None):
        what = "one" if events is None else "one, or --truth beside --events"
        raise OptionError("--recording", expected=what, found="none")
    if events is not None and bin is None:
        raise OptionError("--bin", expected="the rules that the events were decided by", found="none")
    for name, most in limits.items():
        if most is not None and most < 0:
            raise OptionError(f"--max-{name}", expected="0 or more", found=most)
    if json is not None:
        check_target(json, "--json")


def _truth(recording: Path | None, truth: Path | None) -> Truth:
    from ecovision_edge.simulation.truth import Truth
    from ecovision_edge_bench.score.recording import TRUTH_NAME

    if truth is None:
        assert recording is not None  # as `_check` has seen
        truth = recording / TRUTH_NAME
        if not truth.exists():
            raise OptionError(
                "--truth", expected=f"a file that says what lay there and when, or {truth}", found="neither",
                fix="docs/score.md shows one",
            )  # fmt: skip
    return Truth.load(truth)


def _of_events(events: Path, zero: float, truth: Truth, rules: Rules, options: MatchOptions) -> _Result:
    from ecovision_edge.simulation.truth import TruthError
    from ecovision_edge_bench.score.match import match
    from ecovision_edge_bench.score.replay import read_events

    truth.check(tuple(rules.bin_of), rules.bins)
    decisions = read_events(events, zero)
    for decision in decisions:
        if decision.bin not in rules.bins:
            raise TruthError(
                f"an event of {events}", expected=f"bins of {rules.name}", found=decision.bin,
                fix="give --bin the rules that the events were decided by",
            )  # fmt: skip
    counted = match(truth, decisions, rules, options)
    return counted, printable(f"events of {events}"), {"events": printable(str(events)), "rules": rules.name}


def _of_replay(replay: Replay, truth: Truth, judge: Judge, as_recorded: bool) -> _Result:
    from ecovision_edge_bench.score.measuring import consoles
    from ecovision_edge_bench.score.replay import as_long_as

    frames = replay.frames(judge.classifier.labels if as_recorded else None)
    total = replay.count or round(truth.seconds * (replay.fps or 1))
    with progress_bar(consoles()[1], "scoring", total) as step:
        counted = judge.score(as_long_as(truth, frames), truth, step)
    return counted, printable(f"{replay.path}, {judge.how}"), {**judge.to_json(), "as_recorded": as_recorded}


def _exit_status(score: Score, limits: Mapping[str, int | None]) -> int:
    from ecovision_edge_bench.score.match import Verdict

    counts = {
        "missed": score.missed,
        "doubled": score.doubled,
        "false": len(score.false),
        "wrong-bin": score.count(Verdict.WRONG_BIN),
    }
    status = 0
    for name, most in limits.items():
        if most is not None and counts[name] > most:
            sys.stderr.write(f"ecovision-edge: {name} {counts[name]}, at most {most} allowed\n")
            status = 1
    return status
