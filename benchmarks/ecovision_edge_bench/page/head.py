"""The top of the page: what was measured, whether to believe it, and the answer in short."""

from __future__ import annotations

from collections.abc import Sequence

from ecovision_edge.base.fields import JsonValue
from ecovision_edge_bench.measure.ratios import paired_ratio
from ecovision_edge_bench.measure.result import Result
from ecovision_edge_bench.page.lines import Line, seed_of
from ecovision_edge_bench.page.markup import Html, join, milliseconds, named, quantity, span, tag

__all__ = ["head", "title_of", "wrong_sentence"]

_MOST_NAMED = 4


def title_of(result: Result) -> str:
    """Return what was measured."""
    return named(result.bundle.get("name"), "A lone model")


def head(result: Result, lines: Sequence[Line]) -> Html:
    """Title, verdict, notes, the answer in short, and the facts."""
    return tag(
        "header",
        {},
        tag("p", {"class": "over"}, "ecovision-edge bench"),
        tag("h1", {}, title_of(result)),
        _verdict(result, lines),
        _short(result, lines),
        _facts(result),
    )


def _verdict(result: Result, lines: Sequence[Line]) -> Html:
    wrong = [x for x in lines if x.wrong]
    badges = [span("badge good", "VALID") if result.valid else span("badge bad", "INVALID")]
    if wrong:
        badges.append(span("badge bad", f"{len(wrong)} WRONG"))
    reasons = [tag("li", {}, tag("b", {}, "the run: "), reason) for reason in result.reasons]
    reasons += [tag("li", {}, _link(x), ": ", reason) for x in lines for reason in x.row.reasons]
    reasons += [tag("li", {}, _link(x), ": ", wrong_sentence(x)) for x in wrong]
    told = (
        "Nothing that the run checks speaks against its figures."
        if result.valid
        else "These speak against believing the figures:"
    )
    notes = [tag("li", {}, tag("b", {}, "note: "), note) for note in [*_parity_note(result), *result.notes]]
    return tag(
        "section",
        {"class": f"verdict {'good' if result.valid and not wrong else 'bad'}", "aria-label": "verdict"},
        tag("p", {}, join([*badges, told], " ")),
        tag("ul", {}, *reasons) if reasons else "",
        tag("ul", {"class": "notes"}, *notes) if notes else "",
    )


def wrong_sentence(line: Line) -> str:
    """Return how wrong a row is."""
    a = line.row.agreement
    assert a is not None
    return (
        f"WRONG: the same first class as PyTorch on {a.agreed} of {a.judged}, "
        f"the export's gate asks for {100 * a.budget:g} %"
    )


def _parity_note(result: Result) -> list[str]:
    if result.parity.get("reference") is None:
        why = named(result.parity.get("why_none"), "no reason given")
        return [f"answers were not compared with PyTorch: {why}"]
    if result.parity.get("evidence") not in {None, "photographs"}:
        return [
            "answers were compared on synthetic frames, of which only those count on which PyTorch is firm: "
            "weak evidence; photographs (--images) are better"
        ]
    return []


def _short(result: Result, lines: Sequence[Line]) -> Html:
    """Return the fastest row that nothing is known against, and those that the run cannot tell from it."""
    sound = [x for x in lines if len(x.total) and x.row.samples.error is None and not x.wrong]
    if not sound:
        return tag("p", {"class": "short"}, "No subject was measured to the end without being found wrong.")
    best, *others = sound
    parts: list[str] = [
        "Fastest of those not found wrong: " if any(x.wrong for x in lines) else "Fastest: ",
        _link(best),
        f", {milliseconds(best.medians['total'])} ms end to end at p50",
    ]
    if best.ratio is not None:
        parts.append(f", {best.ratio} of the time of {result.base}")
    if best.agreed is not None:
        parts.append(f"; agrees with PyTorch on {best.agreed.part} of {best.agreed.whole}")
    parts.append(".")
    alike = [x for x in others if not _told_apart(x, best, seed_of(result))]
    if alike:
        parts += [
            " Not told apart from it by this run: ",
            join([_link(x) for x in alike[:_MOST_NAMED]], ", "),
        ]
        parts.append(f" and {len(alike) - _MOST_NAMED} more." if len(alike) > _MOST_NAMED else ".")
    if not (best.row.valid and not result.reasons):
        parts.append(" Not to be relied on: see the reasons above.")
    return tag("p", {"class": "short"}, *parts)


def _told_apart(line: Line, best: Line, seed: int) -> bool:
    """Return whether the interval of their ratio leaves out 1."""
    common = line.rounds.keys() & best.rounds.keys()
    return bool(common) and paired_ratio(line.rounds, best.rounds, seed).differs


def _link(line: Line) -> Html:
    return tag("a", {"href": f"#{line.anchor}"}, line.row.key)


def _facts(result: Result) -> Html:
    facts = [
        ("Machine", _machine(result)),
        ("Frames", _frames(result)),
        ("Mode", _mode(result)),
        ("Measured for", _duration(result)),
        ("Answers", _parity(result)),
        ("Versions", ", ".join(f"{k} {v}" for k, v in result.versions.items())),
        ("When", result.created),
    ]
    return tag(
        "dl", {"class": "facts"}, *(tag("div", {}, tag("dt", {}, k), tag("dd", {}, v)) for k, v in facts)
    )


def _machine(result: Result) -> str:
    m = result.machine
    memory = m.get("memory_bytes")
    gib: JsonValue = memory / 2**30 if isinstance(memory, (int, float)) else None
    parts = [named(m["board"])] if m.get("board") else []
    parts += [
        f"{named(m.get('cpu'))} ({named(m.get('arch'))})",
        f"features {named(m.get('cpu_features'))}",
        f"{named(m.get('usable_cores'))} of {named(m.get('cores'))} cores",
        f"memory {quantity(gib, 'GiB', 1)}",
        named(m.get("os")),
        f"kernel {named(m.get('kernel'))}",
        f"Python {named(m.get('python'))}",
    ]
    return ", ".join(parts)


def _frames(result: Result) -> str:
    f = result.frames
    return f"{named(f.get('width'))} x {named(f.get('height'))} pixels, {named(f.get('source'))}"


def _mode(result: Result) -> str:
    s = result.settings
    fps = s.get("fps")
    mode = "as fast as it goes" if fps is None else f"paced at {named(fps)} frames a second"
    sustained = s.get("sustained_secs")
    if isinstance(sustained, (int, float)):
        mode += f", sustained for {named(sustained)} s, {len(result.minutes)} whole minutes"
    return mode + ("; each process on cores of its own" if s.get("isolate") is True else "")


def _duration(result: Result) -> str:
    whole = quantity(result.load.get("seconds"), "s")
    rows = [r for r in result.rows if len(r.samples)]
    if not rows:
        return f"{whole} in all; no subject has samples"
    seconds, counts = [r.samples.measured_s for r in rows], [len(r.samples) for r in rows]
    return (
        f"{whole} in all; each subject {_range(min(seconds), max(seconds), '.1f')} s, "
        f"{_range(min(counts), max(counts), 'd')} frames"
    )


def _range(low: float, high: float, how: str) -> str:
    return f"{low:{how}}" if f"{low:{how}}" == f"{high:{how}}" else f"{low:{how}} to {high:{how}}"


def _parity(result: Result) -> str:
    p = result.parity
    if p.get("reference") is None:
        return "not compared with PyTorch"
    return f"compared with {named(p.get('reference'))} on {named(p.get('images'))} {named(p.get('evidence'))}"
