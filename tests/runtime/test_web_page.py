"""Facts about the live page in a browser: headless Chromium, a real server, synthetic frames."""

from __future__ import annotations

import json
import re
import shutil
import time
import urllib.parse
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
from tests.runtime.bin_reports import COVERED, bin_report, sink_report

from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.camera.health import Health, HealthState
from ecovision_edge.camera.source import CapturedFrame
from ecovision_edge.events import BinState
from ecovision_edge.loop.result import LoopResult
from ecovision_edge.observation import Look, View
from ecovision_edge.prediction import Prediction, Timings
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge.web import Board, Limits, PageServer

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")

pytestmark = pytest.mark.slow

LABELS = (
    *("battery", "biological", "cardboard", "clothes", "glass"),
    *("metal", "paper", "plastic", "shoes", "trash"),
)
TOKEN = "correct-horse-battery"
PATIENT = Limits(stale_s=600, fps=200)
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
BLUE, RED = (np.full((90, 120, 3), colour, np.uint8) for colour in ((230, 40, 20), (20, 40, 230)))


def result(index, top=4, score=0.91, image=None):
    """A result whose class `top` has `score`."""
    rest = (1 - score) / 9
    probabilities = tuple(score if i == top else rest for i in range(10))
    prediction = Prediction(LABELS[top], top, score, score - rest, probabilities, Timings(2.5, 12.5, 0.1))
    frame = CapturedFrame(draw_frame(index, 320, 240) if image is None else image, index, time.monotonic())
    return LoopResult(index, frame, prediction, LABELS, 18.0, 1234, time.time())


def health(state, reason="", reconnects=0):
    return Health(state, time.monotonic(), reason, reconnects)


@pytest.fixture
def board():
    """A running source with one result."""
    board = Board(LABELS, bundle=BundleIdentity("kitchen", "2026.11.30+3f2a90bc", "0" * 64))
    board.set_health(health(HealthState.RUNNING))
    board.publish(result(0))
    return board


@pytest.fixture
def server(board):
    """The page of that board."""
    with PageServer(board, "127.0.0.1:0", title="Bin 3", limits=PATIENT) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


Opened = namedtuple("Opened", "page complaints requests")


@pytest.fixture
def open_page(browser):
    """Opens a page, and keeps what the browser complains of and asks for."""
    contexts = []

    def opened(url, viewport=None, scheme="light", motion="no-preference"):
        context = browser.new_context(
            viewport=viewport or DESKTOP, color_scheme=scheme, reduced_motion=motion, locale="en-GB"
        )
        context.set_default_timeout(20_000)  # a safety net
        contexts.append(context)
        page, complaints, requests = context.new_page(), [], []
        page.on("console", lambda m: complaints.append(m.text) if m.type in {"error", "warning"} else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on("request", lambda r: requests.append(r.url))
        page.add_init_script(PROBE)
        page.goto(url)
        return Opened(page, complaints, requests)

    yield opened
    for context in contexts:
        context.close()


def shows(page, selector, text):
    """Wait for an element's text, or for one that matches."""
    pattern = text.pattern if isinstance(text, re.Pattern) else f"^{re.escape(text)}$"
    found = f"document.querySelector({json.dumps(selector)})?.textContent"
    comes(page, f"new RegExp({json.dumps(pattern)}).test({found})")


def live(page):
    """Wait for a picture that is shown as live."""
    page.locator("#veil").wait_for(state="hidden")


def comes(page, condition):
    """Wait until it holds in the page. (Playwright's own way is `eval`, which the page's policy forbids.)"""
    page.evaluate(
        f"""(async () => {{
          const end = performance.now() + 20_000;
          while (!({condition})) {{
            if (performance.now() > end) throw new Error("it never came about");
            await new Promise(requestAnimationFrame);
          }}
        }})()"""
    )


def pixel(page):
    return page.evaluate("window.pixelOf()")


DASH = "\N{EN DASH}"
RED_ON_SCREEN = "window.pixelOf()[0] > 180"
PROBE = """
addEventListener("securitypolicyviolation", (e) => console.error("CSP " + e.violatedDirective));
window.pixelOf = () => {
  window.probe ??= new OffscreenCanvas(10, 10).getContext("2d", { willReadFrequently: true });
  window.probe.drawImage(document.getElementById("picture"), 0, 0);
  return [...window.probe.getImageData(9, 9, 1, 1).data];
};
"""


def test_the_page_shows_label_score_bars_and_figures(server, open_page):
    """All of the newest result; the browser has nothing to complain of and asks nobody else."""
    page, complaints, requests = open_page(server.url)
    live(page)
    shows(page, "#label", "glass")
    shows(page, "#score", "91 %")
    shows(page, "h1", "Bin 3")
    shows(page, "#pill-text", "Running")
    shows(page, "#fact-prepare", "2.5 ms")
    shows(page, "#fact-infer", re.compile(r"^1[23] ms$"))
    shows(page, "#fact-dropped", "1,234")
    assert page.locator("#bars .name").all_text_contents() == list(LABELS)
    assert page.locator("#bars .top .name").all_text_contents() == ["glass"]
    assert page.locator("#bars .value").nth(4).text_content() == "91 %"
    origin = server.url.rstrip("/")
    assert {urllib.parse.urljoin(url, "/").rstrip("/") for url in requests} == {origin}
    assert complaints == []


def test_the_page_says_which_bundle_answers(server, board, open_page):
    """Beside the title, the id for who asks; another one at once, and none of a lone model file."""
    page, complaints, _ = open_page(server.url)
    shows(page, "#model", "kitchen 2026.11.30+3f2a90bc")
    assert page.locator("#model").get_attribute("title").endswith("0" * 64)
    board.set_bundle(BundleIdentity("<b>kitchen</b>", "3", "1" * 64))
    shows(page, "#model", "<b>kitchen</b> 3")
    board.set_bundle(None)
    comes(page, "document.getElementById('model').hidden")
    assert complaints == []


def test_the_bars_are_as_long_as_the_probabilities(server, open_page):
    """Of their track."""
    page, *_ = open_page(server.url)
    shows(page, "#label", "glass")
    shares = page.evaluate(
        """[...document.querySelectorAll('#bars li')].map((row) => {
             const track = row.querySelector('.track').getBoundingClientRect();
             return (row.querySelector('.fill').getBoundingClientRect().right - track.left) / track.width;
           })"""
    )
    assert shares == pytest.approx([0.91 if i == 4 else 0.01 for i in range(10)], abs=0.003)


def test_the_picture_is_live(server, board, open_page):
    """Another frame is another picture, and its label comes with it."""
    page, *_ = open_page(server.url)
    board.publish(result(1, image=BLUE))
    comes(page, f"!({RED_ON_SCREEN})")
    live(page)
    before = page.locator("#picture").screenshot()
    board.publish(result(2, top=7, image=RED))
    comes(page, RED_ON_SCREEN)
    shows(page, "#label", "plastic")
    assert page.locator("#picture").screenshot() != before
    red, green, blue, _ = pixel(page)
    assert red > 200
    assert green < 70
    assert blue < 50
    assert page.evaluate("[picture.width, picture.height]") == [120, 90]


@pytest.mark.parametrize(
    ("state", "pill", "veil"),
    [
        (HealthState.STARTING, "Starting", "Starting"),
        (HealthState.STALLED, "Stalled", "Stalled"),
        (HealthState.RECONNECTING, "Reconnecting", "Reconnecting"),
        (HealthState.FAILED, "Failed", "Camera lost"),
        (HealthState.ENDED, "Ended", "Ended"),
    ],
)
def test_a_source_that_does_not_run_is_shown_as_such(server, board, open_page, state, pill, veil):
    """Over the picture, greyed, with the reason; the answer is a past one. When it runs again all is well."""
    page, complaints, _ = open_page(server.url)
    live(page)
    board.set_health(health(state, "the cable <b>is</b> out", reconnects=2))
    shows(page, "#pill-text", pill)
    assert page.locator("#pill").get_attribute("data-state") == state.value
    shows(page, "#veil-title", veil)
    shows(page, "#veil-reason", "the cable <b>is</b> out")
    shows(page, "#veil-age", re.compile(r"^Last frame \d+ s ago$"))
    shows(page, "#caption", re.compile(r"^Last answer, \d+ s ago$"))
    shows(page, "#spoken", f"{pill}: the cable <b>is</b> out")
    assert "grayscale" in page.evaluate("getComputedStyle(picture).filter")
    assert page.title() == f"{pill} - Bin 3"
    board.set_health(health(HealthState.RUNNING, reconnects=3))
    board.publish(result(1, image=RED))
    live(page)
    comes(page, RED_ON_SCREEN)
    shows(page, "#fact-reconnects", "3")
    assert page.evaluate("getComputedStyle(picture).filter") == "none"
    assert complaints == []


def test_before_the_first_frame_the_page_waits_for_it(open_page):
    """With the classes it knows."""
    board = Board(LABELS)
    with PageServer(board, "127.0.0.1:0", limits=PATIENT) as server:
        page, *_ = open_page(server.url)
        shows(page, "#veil-title", "Starting")
        shows(page, "#veil-reason", "Waiting for the first frame")
        shows(page, "#caption", "No answer yet")
        assert page.locator("#bars li").count() == 10
        board.set_health(health(HealthState.RUNNING))
        board.publish(result(0))
        live(page)
        shows(page, "#label", "glass")


def test_a_frame_that_grows_old_is_not_shown_as_live(board, open_page):
    """Although the source says that it runs."""
    with PageServer(board, "127.0.0.1:0", limits=Limits(stale_s=0.7)) as server:
        page, *_ = open_page(server.url)
        shows(page, "#veil-title", "Stalled")
        shows(page, "#veil-reason", "no result for more than 0.7 s")


def test_a_lost_connection_is_shown_and_comes_back(board, open_page):
    """The server goes, and comes again at the same place."""
    server = PageServer(board, "127.0.0.1:0", limits=PATIENT)
    server.start()
    port = urllib.parse.urlsplit(server.url).port
    try:
        page, *_ = open_page(server.url)
        live(page)
        server.stop()
        shows(page, "#veil-title", "Connection lost")
        shows(page, "#pill-text", "No connection")
        assert page.locator("#veil").is_visible()
        server = PageServer(board, f"127.0.0.1:{port}", limits=PATIENT)
        server.start()
        shows(page, "#pill-text", "Running")
        board.publish(result(1, image=RED))
        live(page)
        comes(page, RED_ON_SCREEN)
    finally:
        server.stop()


def test_one_viewer_too_many_is_told_so(board, open_page):
    """The figures go on; the picture says why there is none."""
    with PageServer(board, "127.0.0.1:0", max_viewers=1, limits=PATIENT) as server:
        first, *_ = open_page(server.url)
        live(first)
        second, *_ = open_page(server.url)
        shows(second, "#label", "glass")
        shows(second, "#veil-title", "No picture")
        shows(second, "#veil-reason", "1 others are watching; try again soon")


def test_a_hidden_page_asks_for_nothing(server, board, open_page):
    """And is live again when it is looked at."""
    page, *_ = open_page(server.url)
    live(page)
    hide = "(on) => { Object.defineProperty(document, 'hidden', { value: on, configurable: true });"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(hide, True)
    comes(page, "(await (await fetch('/metrics')).text()).includes('ecovision_viewers 0.0')")
    page.evaluate(hide, False)
    board.publish(result(1, image=RED))
    comes(page, RED_ON_SCREEN)
    live(page)


def test_the_history_has_the_last_sixty_results(server, board, open_page):
    """Those from before the page was opened too; colour is not all there is of them."""
    for i in range(1, 70):
        board.publish(result(i, top=4 if i < 50 else 1, image=BLUE))
    page, *_ = open_page(server.url)
    comes(page, "document.querySelectorAll('#strip .block').length === 60")
    shows(page, "#history-counts", "glass 40biological 20")
    strip = page.get_by_role("img", name="Last 60 results: glass 40, biological 20")
    playwright.expect(strip).to_be_visible()
    title = page.locator("#strip .block").last.get_attribute("title")
    assert re.fullmatch(r"\d\d:\d\d:\d\d biological 91 %", title)
    board.publish(result(70, top=9))
    comes(page, "strip.lastChild.title.includes('trash')")
    assert page.locator("#strip .block").count() == 60


def test_a_score_below_one_half_is_called_unsure(server, board, open_page):
    """Something else is then more likely than the label in large type."""
    page, *_ = open_page(server.url)
    board.publish(result(1, score=0.3))
    shows(page, "#caption", "Unsure: more likely something else")


def test_an_empty_tray_is_shown_as_that(server, board, open_page):
    """No label of nothing: neither in large type, nor in the bars, nor in the history; a label comes back."""
    page, complaints, _ = open_page(server.url)
    live(page)
    look = Look(View.EMPTY, 0.0, False, "the tray is empty")
    board.publish(replace(result(1), prediction=None, look=look))
    shows(page, "#label", "Empty")
    shows(page, "#score", "")
    shows(page, "#caption", "No item: the network is not asked")
    assert page.locator("#bars .top").count() == 0
    playwright.expect(page.locator("#strip .block.none")).to_have_count(1)
    board.publish(result(2))
    shows(page, "#caption", "The network sees")
    assert complaints == []


def test_a_nan_is_no_reason_to_stop(server, board, open_page):
    """A broken network's probabilities are dashes."""
    page, complaints, _ = open_page(server.url)
    live(page)
    board.publish(result(1, score=float("nan")))
    shows(page, "#score", DASH)
    board.publish(result(2))
    shows(page, "#score", "91 %")
    assert complaints == []


# A bin.


def test_a_bin_in_fault_is_nowhere_shown_as_well(server, board, open_page):
    """Not in the pill, the title, or the answer; the reason stands at the top, and since when."""
    board.set_bin(lambda: bin_report(BinState.FAULT, COVERED))
    page, complaints, _ = open_page(server.url)
    live(page)  # who looks may see what covers the lens
    shows(page, "#pill-text", "Fault")
    shows(page, "#alarm", f"Fault: {COVERED}")
    assert page.get_by_role("alert").is_visible()
    assert page.title() == "Fault - Bin 3"
    shows(page, "#bin-state", "Fault")
    shows(page, "#bin-since", re.compile("^for 9[5-9] s|for 1.. s$"))
    shows(page, "#bin-reason", COVERED)
    shows(page, "#caption", "Not used: the bin is in fault")
    shows(page, "#spoken", "Fault")
    assert "past" in page.locator("#answer").get_attribute("class")
    assert complaints == []


def test_a_bin_shows_its_last_events_and_each_sinks_queue(server, board, open_page):
    """Newest first; what fails is named, and says why."""
    sinks = (sink_report(), sink_report("hook", "hook is gone", waiting=7, dropped=2))
    board.set_bin(lambda: bin_report(BinState.DECIDED, "paper to recycling", sinks=sinks))
    page, *_ = open_page(server.url)
    shows(page, "#pill-text", "Sink fails")
    shows(page, "#alarm", "Sink fails: hook")
    shows(page, "#bin-state", "Decided")
    shows(page, "#caption", "The network sees")
    shows(page, "#bin-counts", "2 events, 1 unknown, 0 faults")
    events = page.locator("#bin-events li")
    assert events.locator("b").all_text_contents() == ["unknown", "paper"]
    assert events.locator(".where").all_text_contents() == ["to recycling"] * 2
    rows = page.locator("#bin-sinks li").all_text_contents()
    assert rows == [
        "stdout1 queued, 2 delivered, 0 dropped",
        "hook7 queued, 2 delivered, 2 droppedhook is gone",
    ]


def test_a_bin_that_starts_is_no_alarm(server, board, open_page):
    """And once it is well, nothing is left of that."""
    reports = [bin_report(BinState.STARTING, "the empty tray is being learnt", last=(), events=0, sinks=())]
    board.set_bin(lambda: reports[-1])
    page, *_ = open_page(server.url)
    shows(page, "#pill-text", "Starting")
    shows(page, "#caption", "Not used yet: the bin is starting")
    assert page.locator("#alarm").is_hidden()
    assert page.locator("#bin-no-events").is_visible()
    assert page.locator("#bin-no-sinks").is_visible()
    reports.append(bin_report(BinState.DECIDING, "1 of 3 frames"))
    shows(page, "#pill-text", "Running")
    shows(page, "#bin-state", "Deciding")
    assert page.locator("#bin-no-events").is_hidden()


def test_without_a_bin_there_is_nothing_of_one(server, open_page):
    """A camera loop alone."""
    page, *_ = open_page(server.url)
    live(page)
    for part in ("#bin", "#bin-log", "#alarm"):
        assert page.locator(part).is_hidden()


@pytest.mark.parametrize("viewport", [PHONE, {"width": 320, "height": 568}, DESKTOP])
def test_a_bin_is_not_wider_than_the_screen(server, board, open_page, viewport):
    """Whatever the names."""
    name = "mqtt://broker.example.org:1883/" + "a" * 80
    sinks = (sink_report(name, f"{name} cannot be reached"),)
    board.set_bin(lambda: bin_report(BinState.FAULT, "x" * 120, sinks=sinks))
    page, *_ = open_page(server.url, viewport=viewport)
    shows(page, "#pill-text", "Fault")
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_the_token_is_asked_for_and_kept_out_of_the_address(board, open_page):
    """By form, or once in the address; pictures and events then come with the cookie."""
    with PageServer(board, "127.0.0.1:0", token=TOKEN, limits=PATIENT) as server:
        page, *_ = open_page(server.url)
        page.get_by_label("Token").fill("not the right one")
        page.get_by_role("button", name="Show the page").click()
        page.get_by_text("That token is not the right one.").wait_for()
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Show the page").click()
        live(page)
        assert page.url == server.url
        other, complaints, _ = open_page(f"{server.url}?token={TOKEN}")
        live(other)
        assert other.url == server.url
        assert other.evaluate("document.cookie") == ""
        assert complaints == []


# How it looks.


def box(page, selector):
    return page.locator(selector).bounding_box()


def test_on_a_phone_all_is_below_each_other_and_fits(server, open_page):
    """Picture, label, bars, history on one screen, with nothing wider than it."""
    page, *_ = open_page(server.url, viewport=PHONE)
    live(page)
    picture, label, bars, strip = (box(page, s) for s in ("#picture", "#label", "#bars", "#strip"))
    assert picture["width"] == 390
    assert picture["y"] < label["y"] < bars["y"] < strip["y"]
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert strip["y"] + strip["height"] <= 844


def test_on_a_desktop_there_are_two_columns(server, open_page):
    """The picture on the left, large; no scrolling."""
    page, *_ = open_page(server.url)
    live(page)
    picture, label, bars = (box(page, s) for s in ("#picture", "#label", "#bars"))
    assert picture["x"] + picture["width"] < min(label["x"], bars["x"])
    assert picture["width"] > 700
    assert page.evaluate("document.documentElement.scrollHeight") <= 800


@pytest.mark.parametrize(
    "viewport", [{"width": 320, "height": 568}, {"width": 844, "height": 390}, {"width": 768, "height": 1024}]
)
def test_nothing_is_wider_than_the_screen(server, board, open_page, viewport):
    """A small phone, a phone on its side, a tablet."""
    page, *_ = open_page(server.url, viewport=viewport)
    live(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_the_picture_keeps_its_aspect(server, board, open_page):
    """Whatever its shape."""
    page, *_ = open_page(server.url, viewport=PHONE)
    board.publish(result(1, image=np.ascontiguousarray(np.full((300, 100, 3), RED[0, 0], np.uint8))))
    comes(page, "picture.height === 300")
    assert page.evaluate("getComputedStyle(picture).objectFit") == "contain"
    assert box(page, "#frame")["height"] <= 0.63 * 844


def test_it_can_be_used_without_seeing_it(server, board, open_page):
    """Landmarks, one heading, names of what is drawn, and a polite voice for the label."""
    page, *_ = open_page(server.url)
    live(page)
    assert page.get_by_role("heading", level=1).all_text_contents() == ["Bin 3"]
    for role in ("banner", "main"):
        assert page.get_by_role(role).count() == 1
    for name in ("Camera", "Answer of the network", "Probability of each class", "Figures", "History"):
        assert page.get_by_role("region", name=name).count() == 1
    assert page.get_by_role("img", name="Live picture of the camera").count() == 1
    assert page.get_by_role("listitem").count() == 10
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("[aria-live=polite]").count() == 1
    shows(page, "#spoken", re.compile("^(Running|glass, 91 %)$"))
    assert page.evaluate("[...document.querySelectorAll('[tabindex], [style*=color]')].length") == 0


def test_reduced_motion_is_respected(server, board, open_page):
    """The turning ring stands still."""
    board.set_health(health(HealthState.RECONNECTING))
    turning = "getComputedStyle(document.querySelector('.shape')).animationName"
    page, *_ = open_page(server.url)
    shows(page, "#pill-text", "Reconnecting")
    assert page.evaluate(turning) == "turn"
    still, *_ = open_page(server.url, motion="reduce")
    shows(still, "#pill-text", "Reconnecting")
    assert still.evaluate(turning) == "none"


COLOURS = """() => {
  const of = (which, property) => getComputedStyle(document.querySelector(which))[property];
  const paper = of("body", "backgroundColor");
  const texts = ["h1", "#label", "#score", "#caption", "#bars .name", "#bars .value", "#bars .top .name",
    "dt", "dd", "#history-title", "#history-counts", "#strip-from"].map((s) => [s, of(s, "color"), paper]);
  const pill = document.getElementById("pill");
  const state = pill.dataset.state;
  texts.push(["alarm", of("#alarm", "color"), of("#alarm", "backgroundColor")]);
  const ofBin = ["#bin-since", "#bin-reason", "#bin-counts", "#bin-log h3", "#bin-events .when"];
  for (const s of [...ofBin, ".failing .problem"]) {
    texts.push([s, of(s, "color"), paper]);
  }
  for (const s of ["fault", "starting", "empty", "past"]) {
    document.getElementById("bin").dataset.state = s;
    texts.push([`bin ${s}`, of(".bin-state", "color"), paper]);
  }
  const lost = ["STALLED", "RECONNECTING", "FAILED", "LOST"];
  for (const s of ["RUNNING", ...lost, "STARTING", "ENDED", "FAULT", "SINK"]) {
    pill.dataset.state = s;
    texts.push([`pill ${s}`, of("#pill", "color"), of("#pill", "backgroundColor")]);
  }
  pill.dataset.state = state;
  const blocks = [];
  const probe = document.body.appendChild(document.createElement("span"));
  for (let i = 0; i < 12; i++) {
    probe.className = `k${i}`;
    probe.style.color = "var(--c)";
    blocks.push([`class ${i}`, getComputedStyle(probe).color, paper]);
  }
  probe.remove();
  return { texts, blocks };
}"""


def luminance(colour):
    """Relative luminance, WCAG 2.1."""
    channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    """Contrast ratio, WCAG 2.1, 1 to 21."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", [HealthState.RUNNING, HealthState.FAILED])
def test_colours_can_be_told_from_their_ground(server, board, open_page, scheme, state):
    """WCAG 2.1 AA: text 4.5 : 1, the colours of classes 3 : 1 and all different."""
    board.set_health(health(state, "why"))
    board.set_bin(lambda: bin_report(BinState.FAULT, COVERED, sinks=(sink_report(error="gone"),)))
    page, *_ = open_page(server.url, scheme=scheme)
    shows(page, "#label", "glass")
    shows(page, "#bin-state", "Fault")
    found = page.evaluate(COLOURS)
    assert {name: c for name, ink, paper in found["texts"] if (c := contrast(ink, paper)) < 4.5} == {}
    assert {name: c for name, ink, paper in found["blocks"] if (c := contrast(ink, paper)) < 3} == {}
    assert len({ink for _, ink, _ in found["blocks"]}) == 12
    dark = luminance(found["texts"][0][2]) < 0.1
    assert dark is (scheme == "dark")
