"""What a sceptic asks for: what each subject runs, how figures are made, the machine, the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ecovision_edge.base.fields import JsonValue
from ecovision_edge_bench.measure.percentiles import PERCENTILES, min_samples, percentile_name
from ecovision_edge_bench.measure.ratios import MIN_ROUNDS, RESAMPLES
from ecovision_edge_bench.measure.result import STAGES, Result
from ecovision_edge_bench.page.drift import minutes_of
from ecovision_edge_bench.page.lines import Line
from ecovision_edge_bench.page.markup import UNMEASURED, Html, milliseconds, named, quantity, tag, unbroken

__all__ = ["details"]

_STATE = (
    ("governor", "governors"),
    ("frequency, MHz", "frequency_mhz"),
    ("highest of the hardware, MHz", "max_frequency_mhz"),
    ("limit of the system, MHz", "frequency_limit_mhz"),
    ("temperature, °C", "temperature_c"),
    ("throttling", "throttling"),
)


def details(result: Result, lines: Sequence[Line]) -> Html:
    """Return the section under the plots."""
    return tag(
        "section",
        {"id": "details"},
        tag("h2", {}, "Details"),
        tag("h3", {}, "Subjects"),
        *(_subject(x) for x in lines),
        *_minutes(result, lines),
        tag("h3", {}, "How the figures are made"),
        tag("ul", {"class": "words"}, *(tag("li", {}, unbroken(s)) for s in _statistics(result))),
        tag("h3", {}, "The machine, before and after"),
        _states(result),
        tag("h3", {}, "Settings"),
        _pairs([(k, named(v, "none")) for k, v in result.settings.items()]),
        tag("h3", {}, "Bundle"),
        _pairs(
            [
                ("name", named(result.bundle.get("name"), "a lone model")),
                ("sha256 of the manifest", named(result.bundle.get("sha256"), "none")),
            ]
        ),
    )


def _subject(line: Line) -> Html:
    row = line.row
    facts = [
        ("engine", named(row.engine, UNMEASURED)),
        ("precision", named(row.precision, UNMEASURED)),
        ("threads", f"{row.threads}, {'may spin' if row.spinning else 'do not spin'} while they wait"),
        ("file", f"{row.bytes} bytes" if row.bytes else UNMEASURED),
        ("sha256", named(row.sha256, UNMEASURED)),
        ("preprocessing", named(row.preprocessing, UNMEASURED)),
        ("how it was made", named(row.made, "the bundle's own" if row.engine else UNMEASURED)),
        (
            "frames",
            f"{len(line.total)} in {row.samples.measured_s:.1f} s and {len(line.rounds)} rounds, "
            f"after {row.samples.warmup_count} to warm up",
        ),
    ]
    if row.samples.error is not None:
        facts.insert(0, ("error", row.samples.error))
    return tag(
        "details", {}, tag("summary", {}, line.who), _pairs(facts), _summaries(line) if line.summaries else ""
    )


def _summaries(line: Line) -> Html:
    """Return all figures of each stage; only percentiles that the number of frames supports."""
    known = [p for p in PERCENTILES if p in line.summaries["total"].percentiles]
    heads = ["stage, ms", "least", "mean", *map(percentile_name, known)]
    rows = []
    for stage in STAGES:
        s = line.summaries[stage]
        figures = [s.least, s.mean, *(s.percentiles[p] for p in known)]
        rows.append([stage, *(f"{v:.3f}" for v in figures)])
    return _table(heads, rows)


def _minutes(result: Result, lines: Sequence[Line]) -> list[Html]:
    """Write the figures of sustained mode under the curve."""
    if not result.minutes:
        return []
    count = len(result.minutes)
    drawn = [x for x in lines if len(x.total)]
    by_row = [{m.number: m.middle for m in minutes_of(x, count)} for x in drawn]
    rows = []
    for n, state in enumerate(result.minutes, 1):
        medians = [milliseconds(found[n]) if n in found else UNMEASURED for found in by_row]
        machine = [quantity(state.get("temperature_c"), "°C"), quantity(state.get("frequency_mhz"), "MHz")]
        rows.append([str(n), *medians, *machine])
    heads = ["minute", *(f"{x.row.key} p50, ms" for x in drawn), "temperature", "frequency"]
    table = _table(heads, rows)
    return [tag("details", {}, tag("summary", {}, f"Each of {count} minutes"), table)]


def _statistics(result: Result) -> list[str]:
    s = {k: named(v, "?") for k, v in result.settings.items()}
    needed = ", ".join(f"{percentile_name(p)} {min_samples(p)}" for p in PERCENTILES)
    return [
        "Each subject runs in a process of its own, one at a time. They take turns in rounds, in an order "
        "that is shuffled in each round, so that what drifts with the machine falls on all of them. Frames "
        "at the start of a turn are not recorded.",
        "Percentiles are nearest-rank, and shown only where the number of frames supports them at 99 % "
        "confidence, by the rule of MLPerf (MLPerf Inference Rules, early stopping): frames needed for "
        f"{needed}. In the table and plots p50 is shown of any number.",
        f"A ratio is the median over rounds of (the subject's median / the base's, {result.base}, in the "
        f"same round). Its 95 % interval is a percentile bootstrap that draws whole rounds, {RESAMPLES} "
        f"times, since frames of one turn are not independent; fewer than {MIN_ROUNDS} rounds give no "
        "interval (Efron and Tibshirani 1993). Intervals of p50 are made alike.",
        "Agreement is the share of images on which the subject's first class is that of PyTorch; of "
        "synthetic frames only those count on which PyTorch is firm. max |dp| is the largest difference of a "
        "probability over all images and classes. The intervals of agreement and accuracy are Wilson's score "
        "intervals. A subject is WRONG when the upper end is below what the export's gate asks for.",
        f"INVALID is a subject with fewer than {s.get('min_count', '?')} frames or {s.get('min_secs', '?')} "
        f"s (not in sustained mode), or with (p90 - p10) / p50 above {s.get('max_spread', '?')}; and a run "
        "in which other programs, or other virtual machines, took more than "
        f"{s.get('max_other_load', '?')} cores, the governor was not performance, or the processor was "
        f"slowed down or warmed by more than {s.get('max_warming_c', '?')} °C. What cannot be read is not "
        "judged, and noted.",
        "Cold starts are fresh processes before anything is timed; peak memory is the kernel's VmHWM, the "
        "largest of them. MB are 10^6 bytes, MiB 2^20.",
    ]


def _states(result: Result) -> Html:
    rows = [[word, _state(result.before, name), _state(result.after, name)] for word, name in _STATE]
    load = result.load
    rows.append(["cores kept busy by other programs", "", quantity(load.get("busy"), "", 2).strip()])
    rows.append(["cores taken by other virtual machines", "", quantity(load.get("stolen"), "", 2).strip()])
    return _table(["", "before", "after, or over the run"], rows, "prose")


def _state(state: Mapping[str, JsonValue], name: str) -> str:
    value = state.get(name)
    if isinstance(value, float):
        return f"{value:.0f}"
    if isinstance(value, dict):
        return f"now {named(value.get('now'))}; since boot {named(value.get('since_boot'))}" + (
            f"; {value['events']} events" if value.get("events") is not None else ""
        )
    return named(value)


def _pairs(facts: Sequence[tuple[str, str]]) -> Html:
    return tag(
        "dl", {"class": "pairs"}, *(tag("div", {}, tag("dt", {}, k), tag("dd", {}, v)) for k, v in facts)
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> Html:
    """Write a table whose first column names its row."""
    head = tag("tr", {}, *(tag("th", {"scope": "col"}, h) for h in heads))
    body = [
        tag("tr", {}, tag("th", {"scope": "row"}, first), *(tag("td", {}, cell) for cell in rest))
        for first, *rest in rows
    ]
    return tag(
        "div",
        {"class": "wide", "tabindex": "0"},
        tag("table", {"class": kind}, tag("thead", {}, head), tag("tbody", {}, *body)),
    )
