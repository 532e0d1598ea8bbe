"""The page of a run: whole, alone, escaped, and with no figure that the result does not support."""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge_bench.measure.percentiles import percentile
from ecovision_edge_bench.measure.result import Result, Row
from ecovision_edge_bench.measure.schedule import Samples
from ecovision_edge_bench.measure.settings import Settings
from ecovision_edge_bench.page import write_page
from ecovision_edge_bench.page.drift import minutes_of
from ecovision_edge_bench.page.lanes import Axis, log_axis, nice_above
from ecovision_edge_bench.page.lines import lines_of
from ecovision_edge_bench.page.markup import Html, escape, tag

MakeResult = Callable[..., Result]

VOID = {"meta"}
EVIL = "<script>alert('x')</script> \"&amp; \u202e\x07"
HARMLESS = "nothing"


@dataclass
class Element:
    """An element of a page."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text inside, in order; titles of shapes are in it too."""
        return "".join(c if isinstance(c, str) else c.text for c in self.children)

    def all(self, name: str = "", kind: str = "") -> list[Element]:
        """Elements inside, of a tag and a class."""
        return [e for e in self.walk() if name in {"", e.tag} and (not kind or kind in e.kinds)]

    def one(self, name: str = "", kind: str = "", anchor: str = "") -> Element:
        """The only such element."""
        (found,) = [e for e in self.all(name, kind) if not anchor or e.attributes.get("id") == anchor]
        return found

    @property
    def kinds(self) -> list[str]:
        """Its classes."""
        return self.attributes.get("class", "").split()

    def walk(self) -> Iterator[Element]:
        """All elements inside, in order."""
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child.walk()


class Reader(HTMLParser):
    """Reads a page into a tree; an end tag that does not fit is a failure."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]
        self.feed(text)
        self.close()
        assert len(self.open) == 1, f"never closed: {[e.tag for e in self.open[1:]]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({k for k, _ in attrs}) == len(attrs), attrs
        element = Element(tag, {k: v or "" for k, v in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(result: Result) -> Element:
    """The page of a result."""
    return Reader(write_page(result)).root


def subjects(page: Element) -> dict[str, Element]:
    """Rows of the main table by key, in order."""
    rows = [r for r in page.one(anchor="overview").all("tr") if "id" in r.attributes]
    return {r.one("span", "key").text: r for r in rows}


def drawn(page: Element, plot: str) -> list[str]:
    """Keys of the rows of a plot."""
    return [w.one("span", "key").text for w in page.one(anchor=plot).all("div", "who") if w.children]


def heads(page: Element) -> list[str]:
    """Names of the main table's columns."""
    return [e.text for e in page.one(anchor="overview").all("th") if e.attributes.get("scope") == "col"]


def make_wrong(row: Row) -> None:
    """Let it be surely wrong."""
    assert row.agreement is not None
    row.agreement = dataclasses.replace(row.agreement, judged=200, agreed=61, correct=60)


def make_failed(row: Row, error: str) -> None:
    """As `run_benchmark` leaves a subject that did not start."""
    row.samples, row.agreement, row.cold, row.reasons = Samples(error=error), None, [], [error]
    row.engine = row.sha256 = row.preprocessing = ""
    row.bytes = 0


def sustained(result: Result, minutes: int, **state: object) -> Result:
    """The same samples, evenly over so many minutes."""
    for row in result.rows:
        n = len(row.samples)
        row.samples.at_s = [i * 60 * minutes / n for i in range(n)]
    result.settings = Settings(sustained_secs=60.0 * minutes).to_json()
    result.minutes = [
        {"minute": m, "at_s": 60.0 * m, **result.before, **state} for m in range(1, minutes + 1)
    ]  # type: ignore[dict-item]
    return result


@pytest.mark.parametrize(("rows", "samples"), [(1, 1), (1, 300), (4, 700), (24, 70), (3, 0)])
def test_the_page_is_well_formed(make_result: MakeResult, rows: int, samples: int) -> None:
    """Tags are balanced, anchors are unique, and each link has its anchor; whatever was measured."""
    result = make_result(rows=rows, samples=samples)
    page = read(result)
    anchors = [e.attributes["id"] for e in page.walk() if "id" in e.attributes]
    assert len(set(anchors)) == len(anchors)
    links = [e.attributes["href"] for e in page.all("a")]
    assert links
    assert all(link[0] == "#" and link[1:] in anchors for link in links)
    assert list(subjects(page)) == [x.row.key for x in lines_of(result)]


def test_a_sustained_run_is_well_formed(make_result: MakeResult) -> None:
    """The curve takes the place of the rounds."""
    page = read(sustained(make_result(rows=2, samples=900), 3))
    assert {e.attributes["id"] for e in page.all("figure")} == {
        "distributions",
        "stages",
        "tradeoff",
        "sustained",
        "cold",
        "memory",
    }


def test_the_page_asks_for_nothing_outside_itself(make_result: MakeResult) -> None:
    """No script, no address, nothing that loads; and browsers are told to load nothing."""
    text = write_page(make_result(rows=4))
    page = Reader(text).root
    assert not re.search(r"https?:|//[a-z]|@import|url\(|javascript:", text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "use", "image"} & {
        e.tag for e in page.walk()
    }
    for element in page.walk():
        assert not {
            a for a in element.attributes if a in {"src", "srcset", "xlink:href"} or a.startswith("on")
        }
    policy = [e for e in page.all("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy[0].attributes["content"]


def test_foreign_text_cannot_write_the_page(make_result: MakeResult) -> None:
    """Names, errors, notes, versions: the same elements as with harmless text, and every one is there."""

    def told(text: str) -> Element:
        result = make_result(rows=3, samples=100)
        result.rows[0].key = result.base = f"{text} base"
        result.rows[1].key = f"{text} key"
        make_failed(result.rows[2], f"{text} error")
        for name in ("engine", "sha256", "preprocessing", "made", "precision"):
            setattr(result.rows[1], name, f"{text} {name}")
        result.rows[1].reasons = [f"{text} doubt"]
        result.bundle = {"name": f"{text} bundle", "sha256": text}
        result.machine = {**result.machine, "cpu": f"{text} cpu", "board": text, "cpu_features": [text]}
        result.versions = {text: f"{text} version"}
        result.reasons, result.notes = [f"{text} reason"], [f"{text} note"]
        result.settings = {**result.settings, text: f"{text} setting"}
        result.parity = {**result.parity, "reference": f"{text} reference"}
        return read(result)

    evil, harmless = told(EVIL), told(HARMLESS)
    assert [e.tag for e in evil.walk()] == [e.tag for e in harmless.walk()]
    shown = str(escape(EVIL)).replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"')
    shown = shown.replace("&#x27;", "'").replace("&amp;", "&")
    assert r"\u202e\x07" in shown
    names = ("base", "key", "error", "engine", "sha256", "preprocessing", "made", "precision", "doubt")
    for word in (*names, "bundle", "cpu", "version", "reason", "note", "setting", "reference"):
        assert f"{shown} {word}" in evil.text, word
    assert "\u202e" not in evil.text
    assert "\x07" not in evil.text


def test_markup_is_escaped_by_construction() -> None:
    """Only `Html` goes in as it is, in text and in attributes."""
    assert tag("a", {"href": '"><b>', "x": 0.1}, "<i>", Html("<i></i>")) == (
        '<a href="&quot;&gt;&lt;b&gt;" x="0.1">&lt;i&gt;<i></i></a>'
    )


def test_rows_are_fastest_first_and_failures_last(make_result: MakeResult) -> None:
    """Every row is in the table, a failed one with its error and without a figure."""
    result = make_result(rows=4)
    make_failed(result.rows[2], "the engine is not installed")
    rows = subjects(page := read(result))
    keys = [r.key for r in sorted(result.rows, key=lambda r: statistics.median(r.samples.total_ms or [1e9]))]
    assert list(rows) == keys
    assert keys[-1] == result.rows[2].key
    assert [e.text for e in rows[keys[-1]].all("td")] == ["not measured"]
    assert "FAILED" in rows[keys[-1]].text
    reasons = [e.text for e in page.one(anchor="overview").all("tr", "why")]
    assert reasons == ["the engine is not installed"]
    assert result.rows[2].key not in drawn(page, "distributions")
    assert result.rows[2].key in page.one(anchor="plots").all("p", "read")[0].text


@pytest.mark.parametrize("reasons", [["its process died"], []])
def test_a_row_that_fails_late_keeps_its_figures(make_result: MakeResult, reasons: list[str]) -> None:
    """What was measured before is shown, and the error once with it; but it is not called the fastest."""
    result = make_result(rows=3)
    fastest = min(result.rows, key=lambda r: statistics.median(r.samples.total_ms))
    fastest.samples.error = "its process died"
    fastest.reasons = reasons
    row = subjects(page := read(result))[fastest.key]
    assert "FAILED" in row.text
    assert f"{percentile(fastest.samples.total_ms, 50):.2f}" in row.text
    assert [e.text for e in page.one(anchor="overview").all("tr", "why")] == ["its process died"]
    assert fastest.key not in page.one("p", "short").text


@pytest.mark.parametrize(
    ("samples", "shown"), [(63, set()), (64, {"p90"}), (661, {"p90"}), (662, {"p90", "p99"})]
)
def test_only_percentiles_that_the_samples_support_are_there(
    make_result: MakeResult, samples: int, shown: set[str]
) -> None:
    """Neither as a column, nor in the details, nor as a line of a plot."""
    result = make_result(rows=2, samples=samples)
    page = read(result)
    assert set(heads(page)) & {"p90", "p99"} == shown
    summary = result.rows[0].summary()
    assert summary is not None
    lines = {e.text.split()[0] for e in page.one(anchor="distributions").all("title")}
    assert lines <= {f"p{p:g}" for p in summary.percentiles}
    details = [e for d in page.all("details") for e in d.all("th")]
    columns = {e.text for e in details if re.fullmatch(r"p\d.*", e.text)}
    assert columns == {f"p{p:g}" for p in summary.percentiles}


def test_a_row_with_few_samples_has_a_dash_beside_one_with_many(make_result: MakeResult) -> None:
    """And the text says how many it would take."""
    result = make_result(rows=2, samples=700)
    few = make_result(rows=2, samples=100).rows[1]
    result.rows[1] = few
    rows = subjects(page := read(result))
    column = heads(page).index("p99")
    many = result.rows[0]
    summary = many.summary()
    assert summary is not None
    assert rows[many.key].all("td")[column].text == f"{summary.percentiles[99.0]:.2f}"
    assert rows[few.key].all("td")[column].text == "–"  # noqa: RUF001 - as it stands there
    assert "p99 662" in page.one(anchor="overview").all("p", "read")[0].text


def test_figures_of_the_table_are_those_of_the_result(make_result: MakeResult) -> None:
    """Stages, ratio with its interval, agreement, accuracy, size, cold start, memory."""
    result = make_result(rows=3, samples=200)
    row = result.rows[2]
    page = read(result)
    cells = dict(zip(heads(page), (e.text for e in subjects(page)[row.key].all("td")), strict=True))
    ratio, a = result.ratio(row), row.agreement
    assert ratio is not None
    assert a is not None
    assert cells["p50"] == f"{percentile(row.samples.total_ms, 50):.2f}"
    for stage in ("prepare", "infer", "post"):
        assert cells[stage] == f"{percentile(row.stage(stage), 50):.2f}"
    assert cells["ratio"] == f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
    assert cells["agrees"] == f"{a.agreed} of {a.judged}"
    assert cells["max |dp|"] == f"{a.max_dp:.4f}"
    assert cells["accuracy, %"].startswith(f"{100 * a.correct / a.labelled:.1f} [")
    assert cells["MB"] == f"{row.bytes / 1e6:.2f}"
    assert cells["open"] == f"{statistics.median(c.create_ms for c in row.cold):.1f}"
    assert cells["first answer"] == f"{statistics.median(c.first_ms for c in row.cold):.1f}"
    assert cells["MiB"] == f"{max(c.peak_bytes or 0 for c in row.cold) / 2**20:.0f}"
    base = dict(zip(heads(page), (e.text for e in subjects(page)[result.base].all("td")), strict=True))
    assert base["ratio"] == "base"


def test_what_was_not_measured_is_said_and_not_drawn(make_result: MakeResult) -> None:
    """No cold start, no parity, no memory: words instead of figures, and plots say why they are empty."""
    result = make_result(rows=2, samples=4)
    for row in result.rows:
        row.agreement, row.cold = None, []
    result.parity = {"reference": None, "why_none": "torch is away", "evidence": "synthetic", "images": 8}
    result.machine = {**result.machine, "memory_bytes": None, "board": None}
    page = read(result)
    assert "accuracy, %" not in heads(page)
    cells = dict(
        zip(heads(page), (e.text for e in subjects(page)[result.rows[1].key].all("td")), strict=True)
    )
    for name in ("agrees", "max |dp|", "open", "first answer", "MiB"):
        assert cells[name] == "not measured"
    assert "no interval" in cells["ratio"]
    assert "torch is away" in page.one("section", "verdict").text
    assert "memory not readable" in page.one("dl", "facts").text
    for name in ("tradeoff", "drift", "cold", "memory"):
        plot = page.one(anchor=name)
        assert "Not drawn" in plot.text, name
        assert not plot.all("svg")
    assert "None" not in page.text


def test_a_wrong_subject_is_marked_everywhere_and_never_recommended(make_result: MakeResult) -> None:
    """In the verdict, the table and the plots; the others are not."""
    result = make_result(rows=3)
    wrong = min(result.rows, key=lambda r: statistics.median(r.samples.total_ms))
    make_wrong(wrong)
    page = read(result)
    assert "61 of 200" in page.one("section", "verdict").text
    assert "1 WRONG" in page.one("section", "verdict").text
    for key, row in subjects(page).items():
        assert ("WRONG" in row.text) is (key == wrong.key)
    for plot in ("distributions", "stages", "drift", "cold"):
        marked = [w for w in page.one(anchor=plot).all("div", "who") if "WRONG" in w.text]
        assert [w.one("span", "key").text for w in marked] == [wrong.key]
    assert len(page.one(anchor="tradeoff").all("path", "bad")) == 1
    short = page.one("p", "short").text
    assert wrong.key not in short
    assert "Fastest of those not found wrong" in short


def test_no_mark_of_wrong_without_a_wrong_subject(make_result: MakeResult) -> None:
    """Not even in a legend."""
    page = read(make_result(rows=3))
    assert not [e for e in page.all("span", "mark") if e.text == "WRONG"]
    assert not page.one(anchor="tradeoff").all(kind="bad")


def test_every_reason_and_note_is_at_the_top(make_result: MakeResult) -> None:
    """INVALID with reasons of the run and of rows; VALID with none."""
    valid = read(make_result(rows=2))
    assert [e.text for e in valid.all("span", "badge")] == ["VALID"]
    assert not valid.one("section", "verdict").all("li")
    result = make_result(rows=2, reasons=["other load: 3 cores"], notes=["not readable: temperature"])
    result.rows[1].reasons = ["spread: found 0.81"]
    page = read(result)
    verdict = page.one("section", "verdict")
    assert [e.text for e in verdict.all("span", "badge")] == ["INVALID"]
    assert [e.text for e in verdict.all("li")] == [
        "the run: other load: 3 cores",
        f"{result.rows[1].key}: spread: found 0.81",
        "note: not readable: temperature",
    ]
    assert "INVALID" in subjects(page)[result.rows[1].key].text
    assert "INVALID" not in subjects(page)[result.rows[0].key].text
    assert "Not to be relied on" in page.one("p", "short").text


def test_drawn_frames_are_called_weak_evidence(make_result: MakeResult) -> None:
    """Of photographs nothing of the kind is said."""
    result = make_result(rows=2)
    assert "weak" not in read(result).one("section", "verdict").text
    result.parity = {**result.parity, "evidence": "drawn frames"}
    assert "weak evidence" in read(result).one("section", "verdict").text


def test_subjects_that_cannot_be_told_apart_are_named(make_result: MakeResult) -> None:
    """Two copies of the fastest share the first place; one that is twice as slow does not."""
    result = make_result(rows=3)
    fastest = min(result.rows, key=lambda r: statistics.median(r.samples.total_ms))
    result.rows.append(dataclasses.replace(fastest, key="twin 1t"))
    short = read(result).one("p", "short").text
    assert short.endswith("Not told apart from it by this run: twin 1t.")


def test_both_schemes_have_every_colour() -> None:
    """The dark one is chosen by the browser, and forgets no colour of the light one."""
    from importlib import resources

    text = (resources.files("ecovision_edge_bench.page") / "style.css").read_text(encoding="utf-8")
    light, _, dark = text.partition("@media (prefers-color-scheme: dark)")
    dark = dark.partition("\n}")[0]
    names = set(re.findall(r"(--[a-z-]+):", light))
    assert names == set(re.findall(r"(--[a-z-]+):", dark))
    assert set(re.findall(r"var\((--[a-z-]+)\)", text)) <= names


def test_the_style_is_in_the_page(make_result: MakeResult) -> None:
    """With the rule for dark, and one for narrow screens."""
    style = read(make_result(rows=1)).one("style").text
    assert "@media (prefers-color-scheme: dark)" in style
    assert "@media (max-width" in style


def test_outliers_are_counted_and_do_not_flatten_the_plot(make_result: MakeResult) -> None:
    """Two slow frames among 400: the axis ends at p99, and the row says how many are beyond."""
    result = make_result(rows=2, samples=400)
    row = result.rows[1]
    row.samples.infer_ms[7], row.samples.infer_ms[300] = 60.0, 9000.0
    plot = read(result).one(anchor="distributions")
    asides = [e.text for e in plot.all("span", "aside")]
    most = max(row.samples.total_ms)
    assert f"2 beyond, to {most:.0f} ms" in asides
    ticks = [float(e.text) for e in plot.all("text", "tick")]
    assert max(ticks) < 50


def test_a_percentile_beyond_the_axis_has_no_line(make_result: MakeResult) -> None:
    """At the edge it would tell a wrong time."""
    result = make_result(rows=1, samples=7000)
    result.rows[0].samples.infer_ms[:20] = [9000.0] * 20
    titles = [e.text.split()[0] for e in read(result).one(anchor="distributions").all("title")]
    assert titles == ["p90", "p95", "p99", "p50"]


def test_without_labels_latency_stands_against_agreement(make_result: MakeResult) -> None:
    """And with labels against accuracy; every judged row is in it, by its number."""
    result = make_result(rows=4)
    plot = read(result).one(anchor="tradeoff")
    assert plot.one("h3").text == "Latency against accuracy"
    for row in result.rows:
        assert row.agreement is not None
        row.agreement = dataclasses.replace(row.agreement, labelled=0, correct=0)
    plot = read(result).one(anchor="tradeoff")
    assert plot.one("h3").text == "Latency against agreement with PyTorch"
    assert [e.text for e in plot.all("text", "number")] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("alike", [True, False])
def test_numbers_of_the_plot_do_not_cover_each_other(make_result: MakeResult, alike: bool) -> None:
    """Not on the narrowest page, and so on no other: 14 rows, even where all are equally fast and right."""
    result = make_result(rows=14, samples=70)
    if alike:
        for row in result.rows:
            row.samples, row.agreement = result.rows[0].samples, result.rows[0].agreement
    plot = read(result).one(anchor="tradeoff")
    boxes = []
    for point in plot.all("svg", "point"):
        for number in point.all("text", "number"):
            x = float(point.attributes["x"].rstrip("%")) / 100 * 300
            boxes.append((x, float(point.attributes["y"]) + float(number.attributes["y"])))
    assert len(boxes) == 14
    assert all(y > 0 for _, y in boxes)
    for n, a in enumerate(boxes):
        assert not [b for b in boxes[:n] if abs(a[0] - b[0]) < 16 and abs(a[1] - b[1]) < 12]


def test_minutes_are_medians_of_their_own_frames(make_result: MakeResult) -> None:
    """The curve's figures are those of the samples, also in the table under it."""
    result = sustained(make_result(rows=2, samples=900), 3, temperature_c=61.0, frequency_mhz=None)
    line = lines_of(result)[0]
    third = line.row.samples.total_ms[600:]
    minutes = minutes_of(line, 3)
    assert [m.number for m in minutes] == [1, 2, 3]
    assert minutes[2].middle == percentile(third, 50)
    assert (minutes[2].low, minutes[2].high) == (percentile(third, 10), percentile(third, 90))
    page = read(result)
    plot = page.one(anchor="sustained")
    assert "61 → 61" in plot.text
    assert "Not readable on this machine: frequency." in plot.text.replace("\xa0", " ")
    (table,) = [d for d in page.all("details") if d.one("summary").text == "Each of 3 minutes"]
    last = table.all("tr")[-1]
    assert f"{minutes[2].middle:.2f}" in last.text
    assert "61 °C" in last.text
    assert "not readable" in last.text


def test_a_minute_with_few_frames_has_no_percentiles(make_result: MakeResult) -> None:
    """Its median alone."""
    line = lines_of(sustained(make_result(rows=1, samples=90), 3))[0]
    assert [(m.low, m.high) for m in minutes_of(line, 3)] == [(None, None)] * 3


def test_minutes_in_which_the_processor_was_slowed_are_marked(make_result: MakeResult) -> None:
    """Each with what it said; a machine that never was says so."""
    result = sustained(make_result(rows=1, samples=300), 4)
    assert "in no minute" in read(result).one(anchor="sustained").text
    slow = {"source": "x", "now": ["frequency capped"], "since_boot": [], "events": None}
    result.minutes = [{**m, "throttling": slow} if m["minute"] == 3 else m for m in result.minutes]
    plot = read(result).one(anchor="sustained")
    assert [e.text for e in plot.all("rect", "throttled")] == ["frequency capped"]
    assert "1 of 4 minutes: frequency capped" in plot.text


def test_a_shorter_sustained_run_shows_its_rounds(make_result: MakeResult) -> None:
    """Less than a minute has no curve a minute."""
    result = make_result(rows=1)
    result.settings = Settings(sustained_secs=30.0).to_json()
    assert "0 whole minutes" in (page := read(result)).one("dl", "facts").text
    assert drawn(page, "drift") == [result.rows[0].key]


def test_a_result_that_was_read_from_its_file_gives_the_same_page(make_result: MakeResult) -> None:
    """So `bench show` can write it later."""
    result = make_result(rows=3)
    assert write_page(Result.loads(result.dumps(), "r.json")) == write_page(result)


@given(
    low=st.floats(1e-2, 1e3),
    factor=st.floats(1.001, 1e4),
    log=st.booleans(),
)
def test_ticks_are_inside_their_axis(low: float, factor: float, log: bool) -> None:
    """In order, few, at least two, and spread as their shares say."""
    axis = log_axis([low, low * factor]) if log else Axis(0.0, low * factor)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 9
    assert all(a < b for a, b in pairwise(ticks))
    slack = 1e-6 * axis.high
    assert axis.low - slack <= ticks[0]
    assert ticks[-1] <= axis.high + slack
    shares = [axis.share(t) for t in ticks]
    assert shares == sorted(shares)
    assert all(0 <= s <= 1 for s in shares)


@given(st.floats(1e-6, 1e6))
def test_nice_numbers_are_above_and_near(value: float) -> None:
    """No more than twice and a half."""
    assert value * (1 - 1e-6) <= nice_above(value) <= 2.5 * value
