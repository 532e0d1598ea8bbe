"""Facts about `ecovision-edge demo`, as somebody at a shell and in a browser sees it.

The page runs in a process of its own, as a user has it: what it says on its terminal, whom it asks on the
network and what it leaves behind are seen from outside.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import namedtuple

import cv2
import numpy as np
import pytest

from ecovision_edge.base.installation import extra_fix
from ecovision_edge.cli import main
from ecovision_edge.demo import DemoServer, DemoSession, uploads
from ecovision_edge.demo import _gradio as gradio_door
from ecovision_edge.demo.server import loopback_address
from ecovision_edge.errors import MissingDependencyError, OptionError, ServeError
from ecovision_edge.simulation.synthetic import ITEM_KINDS

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
pytest.importorskip("gradio", reason="needs Gradio: pip install 'ecovision-edge[demo]'")

pytestmark = pytest.mark.slow

playwright.expect.set_options(timeout=30_000)  # a safety net, too
PROMPT = 60.0  # seconds: a safety net, nowhere expected to pass
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 860}
RED, BLUE = (np.full((60, 80, 3), c, np.uint8) for c in ((20, 30, 230), (230, 30, 20)))
TIMES = "\N{MULTIPLICATION SIGN}"
SAYS = re.compile(r"ecovision-edge: the demo page is at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n")

# Loaded by the Python of the page before anything else: what it wants of the network goes into a file.
AUDIT = """
import os, sys

out = os.open(os.environ["NETWORK_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
place = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}

def watch(event, arguments):
    if event in place:
        os.write(out, f"{event} {arguments[place[event]]!r}\\n".encode())

sys.addaudithook(watch)
"""

Demo = namedtuple("Demo", "url process temp network errors")


@contextlib.contextmanager
def running(folder, *arguments):
    """The command in a process of its own, which is gone afterwards."""
    temp, log, errors = folder / "temp", folder / "network.txt", folder / "stderr.txt"
    temp.mkdir(parents=True)
    log.touch()
    (folder / "sitecustomize.py").write_text(textwrap.dedent(AUDIT))
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {
        **os.environ,
        **{"PYTHONPATH": path, "NETWORK_LOG": str(log), "TMPDIR": str(temp), "OMP_NUM_THREADS": "1"},
        **{"HOME": str(folder), "GRADIO_ANALYTICS_ENABLED": "True", "GRADIO_SHARE": "True"},
    }
    command = [
        sys.executable,
        "-m",
        "ecovision_edge",
        "demo",
        "--port",
        "auto",
        "--no-open",
        *map(str, arguments),
    ]
    with errors.open("wb") as stream:
        process = subprocess.Popen(
            command, stderr=stream, stdout=subprocess.PIPE, env=environment, cwd=folder
        )
    try:
        yield Demo(address(process, errors), process, temp, log, errors)
    finally:
        process.kill()
        process.communicate()


def address(process, errors):
    """Where the page is, once it says so."""
    end = time.monotonic() + PROMPT
    while (said := SAYS.search(errors.read_text())) is None:
        assert process.poll() is None, errors.read_text()
        assert time.monotonic() < end, errors.read_text()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    return said[1]


@pytest.fixture(scope="module")
def demo(forge, tmp_path_factory):
    """The page of a tiny bundle whose second artifact is spoilt, that is hardly ever sure of green."""
    folder = tmp_path_factory.mktemp("demo")
    names = ("fp32-onnx", "int8-onnx", "fp32-tflite")
    contract = forge.contract(thresholds=(0.5, 0.999, 0.5), temperature=2.0)
    bundle = forge.bundle(folder / "bundle", contract, precisions=names)
    (bundle / "model.fp32.tflite").write_bytes(b"spoilt")
    with running(folder / "run", "--bundle", bundle) as demo:
        yield demo
        ends(demo, signal.SIGTERM)  # after all that the tests did


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """What Chromium's fake webcam films: red, as concatenated JPEGs."""
    path = tmp_path_factory.mktemp("camera") / "red.mjpeg"
    frame = np.ascontiguousarray(np.broadcast_to(RED[0, 0], (240, 320, 3)))
    path.write_bytes(cv2.imencode(".jpg", frame)[1].tobytes() * 8)
    return path


@pytest.fixture(scope="module")
def browser(camera):
    """Debian's Chromium."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    film = f"--use-file-for-fake-video-capture={camera}"
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", *fake, film]
        )
        yield browser
        browser.close()


Opened = namedtuple("Opened", "page complaints requests")


@pytest.fixture(scope="module")
def context(browser):
    """One for all tests, so that Gradio's scripts are fetched once; it reaches this machine alone."""
    context = browser.new_context(locale="en-GB", permissions=["camera"])
    context.set_default_timeout(30_000)  # a safety net
    context.route(re.compile(r"^https?://(?!127\.0\.0\.1[:/])"), lambda route: route.abort("blockedbyclient"))
    yield context
    context.close()


@pytest.fixture
def open_page(context, demo):
    """Opens the page; keeps what the browser complains of and asks for."""
    pages = []

    def opened(viewport=None, scheme="light"):
        page, complaints, requests = context.new_page(), [], []
        pages.append(page)
        page.set_viewport_size(viewport or DESKTOP)
        page.emulate_media(color_scheme=scheme)
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on("request", lambda r: requests.append(r.url))
        page.goto(demo.url)
        page.locator(".eco-empty").wait_for()
        return Opened(page, complaints, requests)

    yield opened
    for page in pages:
        page.close()


def png(image):
    return cv2.imencode(".png", image)[1].tobytes()


def upload(page, data, name="photo.png"):
    """Choose a file; what was there before is taken away first.

    Again where nothing is sent: a page that was just drawn may not listen yet.
    """
    clear = page.locator("#eco-picture").get_by_role("button", name=re.compile("^(Clear|Remove)"))
    if clear.count():
        clear.click()
        page.locator(".eco-empty").wait_for()
    files = [{"name": name, "mimeType": "image/png", "buffer": data}]
    for patience in (3_000, 6_000, 30_000):
        with contextlib.suppress(playwright.TimeoutError):
            with page.expect_request(re.compile("/upload"), timeout=patience):
                page.locator("#eco-picture input[type=file]").set_input_files(files)
            return
    pytest.fail("the page sends no file")


def says(page, label):
    playwright.expect(page.locator(".eco-answer .eco-word")).to_have_text(label)


def test_an_upload_is_answered_and_the_browser_asks_nobody_else(demo, open_page):
    """Label, bars, times, the very pixels that the network sees; all from this machine."""
    page, complaints, requests = open_page()
    upload(page, png(RED))
    says(page, "Red")
    playwright.expect(page.locator(".eco-bars .eco-class")).to_have_text(["red", "green", "blue"])
    playwright.expect(page.locator(".eco-times dd").last).to_have_text(f"80 {TIMES} 60")
    assert re.fullmatch(r"\d+\.\d ms", page.locator(".eco-times dd").first.text_content())
    playwright.expect(
        page.get_by_text("calibrated, temperature 2; thresholds are the bundle's")
    ).to_be_visible()
    shown = page.get_by_role("img", name="The picture as the network gets it, 8 by 8 pixels")
    pixel = """(image) => { const c = new OffscreenCanvas(8, 8).getContext("2d");
      c.drawImage(image, 0, 0); return [...c.getImageData(4, 4, 1, 1).data]; }"""
    assert shown.evaluate(pixel) == [230, 30, 20, 255]
    playwright.expect(page.locator("#eco-said")).to_have_attribute("aria-live", "polite")
    playwright.expect(page.locator("#eco-said")).to_contain_text("red, ")
    upload(page, png(BLUE))
    says(page, "Blue")
    outside = [r for r in requests if not r.startswith((demo.url, "data:", f"blob:{demo.url}"))]
    assert outside == []
    assert len(requests) > 10
    assert complaints == []


def test_the_artifact_can_be_switched_and_what_cannot_run_says_why(open_page):
    """The same picture is asked about again."""
    page, complaints, _ = open_page()
    radio = page.get_by_role("radio")
    playwright.expect(radio).to_have_count(2)  # the page comes up piece by piece
    assert [r.get_attribute("value") for r in radio.all()] == ["fp32-onnx", "int8-onnx"]
    playwright.expect(page.locator(".eco-cannot li")).to_contain_text(
        "fp32-tflite model.fp32.tflite is not the file"
    )
    upload(page, png(BLUE))
    says(page, "Blue")
    playwright.expect(page.locator(".eco-caption")).to_have_text("int8-onnx says")
    page.get_by_label("fp32-onnx").check()
    playwright.expect(page.locator(".eco-caption")).to_have_text("fp32-onnx says")
    says(page, "Blue")
    assert complaints == []


def test_the_map_comes_on_request_with_its_legend(open_page):
    """And goes with the picture that it is of."""
    page, complaints, _ = open_page()
    button = page.get_by_role("button", name="Show where it looked")
    playwright.expect(button).to_be_disabled()
    upload(page, png(RED))
    says(page, "Red")
    assert page.locator(".eco-scale").count() == 0
    button.click()
    page.get_by_role("img", name=re.compile("^Where int8-onnx looked for red")).wait_for()
    playwright.expect(page.locator(".eco-legend")).to_contain_text(
        re.compile(r"(26|82|290) runs of int8-onnx in \d")
    )
    playwright.expect(page.locator(".eco-ends")).to_contain_text("covering it changes nothing")
    upload(page, png(BLUE))
    says(page, "Blue")
    playwright.expect(page.locator(".eco-scale")).to_have_count(0)
    assert complaints == []


def test_below_its_threshold_the_page_says_unknown(open_page):
    """With what would have been the label, and why it is not."""
    page, *_ = open_page()
    upload(page, png(np.full((40, 40, 3), (90, 120, 100), np.uint8)))
    says(page, "Unknown")
    playwright.expect(page.locator(".eco-caption")).to_contain_text("below its threshold of > 99 %")
    playwright.expect(page.locator(".eco-caption b")).to_have_text("green")


def test_a_drawn_example_is_a_picture_too(open_page):
    """Each with a name for those who do not see it."""
    page, complaints, _ = open_page()
    for kind in ITEM_KINDS:
        playwright.expect(page.get_by_role("button", name=f"Synthetic example: {kind}")).to_be_visible()
    page.get_by_role("button", name="Synthetic example: paper").click()
    playwright.expect(page.locator(".eco-times dd").last).to_have_text(f"640 {TIMES} 480")
    assert complaints == []


def test_a_file_that_is_no_picture_gets_one_clear_line(demo, open_page):
    """Neither a traceback in the page nor one on the terminal; the next picture is answered."""
    page, *_ = open_page()
    upload(page, b"this is <b>no</b> picture", "holiday.png")
    alert = page.get_by_role("alert").filter(has_text="This picture cannot be used")
    alert.wait_for()
    playwright.expect(alert).to_contain_text(
        "cannot read holiday.png: expected a JPEG, PNG, BMP, WebP, TIFF, GIF"
    )
    playwright.expect(page.get_by_role("button", name="Show where it looked")).to_be_disabled()
    playwright.expect(page.locator("#eco-picture img")).to_be_hidden()  # no broken picture
    upload(page, png(BLUE))
    says(page, "Blue")
    playwright.expect(page.locator("#eco-picture img")).to_be_visible()
    assert SAYS.fullmatch(without_litert(demo.errors.read_text()))


def test_the_webcam_is_answered_live_and_red_is_red(open_page):
    """Its frames come one after another; the map is of the last one."""
    page, complaints, _ = open_page()
    page.get_by_role("tab", name="Webcam").click()
    page.get_by_role("button", name=re.compile("access webcam", re.IGNORECASE)).click()
    page.locator("#eco-webcam").get_by_role("button", name="capture photo").click()
    says(page, "Red")
    playwright.expect(page.locator(".eco-times dd").last).to_have_text(re.compile(rf"^\d+ {TIMES} \d+$"))
    page.evaluate("document.querySelector('.eco-word').dataset.old = 'yes'")
    playwright.expect(page.locator(".eco-word[data-old]")).to_have_count(0)  # another frame came
    page.get_by_role("button", name="Show where it looked").click()
    page.get_by_role("img", name=re.compile("looked for red")).wait_for()
    assert complaints == []


def test_the_webcam_leaves_an_uploaded_picture_alone(open_page):
    """It goes on filming behind the other tab; each tab's answer is there again when it is opened."""
    page, complaints, _ = open_page()
    playwright.expect(page.get_by_text("Allow the camera, then press Record")).to_be_hidden()
    page.get_by_role("tab", name="Webcam").click()
    playwright.expect(page.get_by_text("Allow the camera, then press Record")).to_be_visible()
    page.get_by_role("button", name=re.compile("access webcam", re.IGNORECASE)).click()
    page.locator("#eco-webcam").get_by_role("button", name="capture photo").click()
    says(page, "Red")
    page.get_by_role("tab", name="Picture").click()
    upload(page, png(BLUE))
    says(page, "Blue")
    page.evaluate("document.querySelector('.eco-word').dataset.old = 'yes'")
    for _ in range(4):  # more frames reach the server
        page.wait_for_event("request", lambda r: "/stream" in r.url)
    playwright.expect(page.locator(".eco-word[data-old]")).to_have_text("Blue")
    page.get_by_role("tab", name="Webcam").click()
    says(page, "Red")
    page.get_by_role("tab", name="Picture").click()
    says(page, "Blue")
    assert complaints == []


LATE = """
import base64, sys
from pathlib import Path

from ecovision_edge.demo import DemoSession, _gradio

_gradio.load_gradio()
import gradio
from ecovision_edge.demo._page import Page, View

session, view, tab = DemoSession.load(sys.argv[1]), View(), gradio.Request(session_hash="tab")
page = Page(session, Path(sys.argv[2]), top=3, machine="a board")
frame = {"url": "data:image/png;base64," + base64.b64encode(sys.stdin.buffer.read()).decode()}
ask = lambda: page.frame(frame, session.default, view, tab)
nothing = page.frame(None, session.default, view, tab)
assert ask() == nothing and len(page.kept) == 0
page.to_webcam(view)
answered = ask()
assert "Red" in answered[0] and len(answered) == len(nothing)
assert len(page.kept) == 1
page.forget(tab)
assert len(page.kept) == 0
assert "choose it again" in "".join(page.where(session.default, tab))
look = session.look

def slowly(*asked):
    page.to_picture(None, session.default, view, tab)
    return look(*asked)

session.look = slowly
assert ask() == nothing and len(page.kept) == 0
"""


def test_a_frame_that_was_begun_before_its_tab_was_left_changes_nothing(pristine, python, tmp_path):
    """As on a slow machine. Gradio, once imported, leaves sockets behind: in a process of its own."""
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path)}
    ran = python("-c", LATE, pristine, tmp_path, input=png(RED), env=environment)
    assert ran.returncode == 0, ran.stderr.decode()


CLOSED = """
import http.client, sys, threading, urllib.parse

from ecovision_edge.demo import DemoServer, DemoSession, _gradio

_gradio.load_gradio()
from ecovision_edge.demo import _page
from ecovision_edge.demo.kept import Shot

forgotten = threading.Event()

class Page(_page.Page):
    def __init__(self, *arguments, **options):
        global page
        page = self
        super().__init__(*arguments, **options)

    def forget(self, request: _page.gr.Request):
        super().forget(request)
        forgotten.set()

_page.Page = Page
with DemoServer(DemoSession.load(sys.argv[1]), port=0) as server:
    where = urllib.parse.urlsplit(server.url)
    tab = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
    tab.request("GET", "/gradio_api/heartbeat/mine")
    answer = tab.getresponse()
    assert answer.readline() == b"data: ALIVE\\n", answer.status
    for session in ("mine", "other"):
        page.kept.put(session, Shot(b"data", "x"))
    answer.close()
    tab.close()
    assert forgotten.wait(60)
    assert page.kept.get("mine") is None and page.kept.get("other") is not None
    assert page.blocks.state_holder.capacity < 100
"""


def test_the_picture_of_a_tab_that_is_closed_is_forgotten(pristine, python):
    """At once: Gradio would keep it for an hour."""
    ran = python("-c", CLOSED, pristine)
    assert ran.returncode == 0, ran.stderr.decode()


def test_what_takes_its_time_says_so_and_the_webcam_does_not_flicker(open_page):
    """The answer, while the picture is asked about."""
    page, complaints, _ = open_page()
    word = "() => getComputedStyle(document.querySelector('#eco-answer'), '::after').content"
    assert page.evaluate(word) == "none"
    held = []

    def hold(route):
        held.append(route)

    page.route("**/queue/join*", hold)
    with page.expect_request("**/queue/join*"):
        upload(page, png(RED))
    playwright.expect(page.locator("#eco-answer .pending")).to_be_visible()
    assert page.evaluate(word) == '"working\N{HORIZONTAL ELLIPSIS}"'
    for route in held:
        route.continue_()
    page.unroute("**/queue/join*")
    says(page, "Red")
    assert page.evaluate(word) == "none"
    page.get_by_role("tab", name="Webcam").click()
    page.get_by_role("button", name=re.compile("access webcam", re.IGNORECASE)).click()
    page.evaluate("""() => {
        const watch = () => { window.paled ||= document.querySelector(".pending") !== null; };
        new MutationObserver(watch).observe(document, { subtree: true, attributes: true, childList: true });
    }""")
    page.locator("#eco-webcam").get_by_role("button", name="capture photo").click()
    for _ in range(3):
        page.evaluate("document.querySelector('.eco-word').dataset.old = 'yes'")
        playwright.expect(page.locator(".eco-word[data-old]")).to_have_count(0)  # another frame came
    assert page.evaluate("window.paled") is False
    assert complaints == []


def test_nothing_is_wider_than_the_screen(open_page):
    """A phone, a small one, a tablet; with a map."""
    page, *_ = open_page(PHONE)
    upload(page, png(RED))
    says(page, "Red")
    page.get_by_role("button", name="Show where it looked").click()
    page.locator(".eco-scale").wait_for()
    for viewport in (PHONE, {"width": 320, "height": 568}, {"width": 768, "height": 1024}):
        page.set_viewport_size(viewport)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        seen, where = (page.locator(f"{i} img").bounding_box() for i in ("#eco-seen", "#eco-where"))
        assert seen["y"] == where["y"]  # side by side
        fits = "all => all.every((e) => e.scrollWidth <= e.clientWidth)"
        page.locator(".eco-first .eco-value").evaluate("(e) => { e.textContent = '> 99 %'; }")  # the longest
        assert page.locator(".eco-title, .eco-value").evaluate_all(fits)
        assert seen["x"] + seen["width"] < where["x"]


COLOURS = """() => ["h1", ".eco-private", ".eco-caption", ".eco-word", ".eco-score", ".eco-bars .eco-value",
    ".eco-first .eco-class", ".eco-small", ".eco-times dt", ".eco-text", ".eco-title", "#eco-button"].map(
  (name) => {
    const element = document.querySelector(name), of = (e, property) => getComputedStyle(e)[property];
    let ground = element;
    while (ground.parentElement && /^(transparent|rgba\\(.*, 0\\))$/.test(of(ground, "backgroundColor"))) {
      ground = ground.parentElement;
    }
    return [name, of(element, "color"), of(ground, "backgroundColor")];
  })"""


def luminance(colour):
    """Relative luminance, WCAG 2.1."""
    channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_its_ground(open_page, scheme):
    """WCAG 2.1 AA, 4.5 : 1, in both schemes."""
    page, *_ = open_page(scheme=scheme)
    upload(page, png(RED))
    says(page, "Red")
    found = page.evaluate(COLOURS)
    ratios = {}
    for name, ink, ground in found:
        low, high = sorted([luminance(ink), luminance(ground)])
        ratios[name] = (high + 0.05) / (low + 0.05)
    assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}
    assert (luminance(found[0][2]) < 0.1) is (scheme == "dark")


def ask(url, **headers):
    """Status, headers and text of the answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=PROMPT) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read().decode()


def test_another_name_or_another_sites_page_is_refused(demo):
    """DNS rebinding, and requests that a web site lets a visitor's browser make."""
    status, headers, _ = ask(demo.url)
    assert status == 200
    assert "default-src 'self'" in headers["content-security-policy"]
    refused, _, text = ask(demo.url, Host="evil.example")
    port = urllib.parse.urlsplit(demo.url).port
    assert refused == 421
    assert text.endswith(f"with the same port at both ends: ssh -L {port}:127.0.0.1:{port} HOST\n")
    assert ask(demo.url + "config", **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"})[0] == 403
    assert ask(demo.url, **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})[0] == 200


def test_no_other_file_of_the_machine_is_served(demo, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    for path in (tmp_path / "secret.txt", "/etc/passwd", demo.errors):
        status, _, text = ask(f"{demo.url}gradio_api/file={path}")
        assert status in {403, 404}, path
        assert "root:" not in text


def without_litert(text):
    """LiteRT says on standard error what it runs on."""
    return re.sub(r"INFO: Created TensorFlow Lite XNNPACK delegate for CPU\.\n", "", text)


def ends(demo, *numbers):
    """Send signals; nothing is left, nothing was said but where the page is, and nobody else was asked."""
    for number in numbers:
        demo.process.send_signal(number)
    out, _ = demo.process.communicate(timeout=PROMPT)
    assert demo.process.returncode == 0
    assert list(demo.temp.iterdir()) == []
    assert out == b""
    assert SAYS.fullmatch(without_litert(demo.errors.read_text()))
    own = re.compile(r"socket\.(connect \('127\.0\.0\.1', |getaddrinfo '127\.0\.0\.1'$)")
    assert [line for line in demo.network.read_text().splitlines() if not own.match(line)] == []


def test_ctrl_c_ends_it_and_nothing_is_left(pristine, context, tmp_path):
    """While a page is open, and a picture was uploaded."""
    with running(tmp_path, "--bundle", pristine) as demo:
        page = context.new_page()
        try:
            page.goto(demo.url)
            page.locator(".eco-empty").wait_for()
            upload(page, png(RED), "very-private.png")
            says(page, "Red")
            assert "very-private.png" in [p.name for p in demo.temp.rglob("*")]
            ends(demo, signal.SIGINT, signal.SIGINT, signal.SIGTERM)  # of impatience, or by `timeout`
        finally:
            page.close()
        assert list(tmp_path.rglob("*private*")) == []
        assert not (tmp_path / ".gradio").exists()


def test_a_page_that_was_killed_is_cleared_up_by_the_next(pristine, tmp_path):
    """What is young, of somebody else, or in use stays."""
    with running(tmp_path / "first", "--bundle", pristine) as demo:
        demo.process.kill()
        demo.process.wait(PROMPT)
        (killed,) = demo.temp.iterdir()
        used = demo.temp / f"{uploads.PREFIX}used"
        young = demo.temp / f"{uploads.PREFIX}young"
        other = demo.temp / "other"
        for folder in (used, young, other):
            folder.mkdir()
        (demo.temp / f"{uploads.PREFIX}link").symlink_to(other)
        for folder in (killed, used, other):
            os.utime(folder, (0, 0))
        descriptor = os.open(used, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            code = "from ecovision_edge.demo.uploads import remove_stale; remove_stale()"
            environment = {**os.environ, "TMPDIR": str(demo.temp)}
            subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=PROMPT)
        finally:
            os.close(descriptor)
        left = {p.name.removeprefix(uploads.PREFIX) for p in demo.temp.iterdir()}
        assert left == {"used", "young", "other", "link"}


# At the shell.


def run(capsys, *arguments):
    status = main(["demo", "--no-open", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert out == ""
    return status, err


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.7", "example.org", "", "127.0.0.1.evil.example"]
)
def test_any_host_but_a_loopback_one_is_refused(capsys, host):
    status, err = run(capsys, "--host", host)
    assert status == 2
    assert re.fullmatch(
        r"ecovision-edge: host of the demo page: expected 127\.0\.0\.1, ::1 or localhost.*ssh -L.*\n", err
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_hosts_are_taken(host):
    assert loopback_address(host, 7860).loopback


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "65536"], "--port: expected 0 to 65535, or auto, found 65536"),
        (["--port", "http"], "--port: expected 0 to 65535, or auto, found http"),
        (["--top", "0"], "--top: expected 1 to 1000, found 0"),
        (["--bundle", "no/such"], "nothing to load: expected a bundle's folder.*found nothing at no/such"),
        (["--artifact", "int4"], "no artifact 'int4' in this bundle"),
    ],
)
def test_misuse_is_one_line(capsys, arguments, message):
    status, err = run(capsys, *arguments)
    assert status == 2
    assert re.match(f"ecovision-edge: {message}", err)
    assert err.count("\n") == 1


def test_a_port_that_is_taken_is_said(capsys, pristine):
    """Before Gradio takes its seconds to load."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, err = run(capsys, "--bundle", pristine, "--port", port)
    assert status == 1
    assert err == (
        f"ecovision-edge: cannot serve the page at 127.0.0.1:{port}: Address already in use; "
        "choose another port, or 0 for any free one\n"
    )


def test_without_gradio_there_is_the_pip_line(capsys, pristine, monkeypatch):
    monkeypatch.setattr(gradio_door.importlib.util, "find_spec", lambda name: None)
    status, err = run(capsys, "--bundle", pristine, "--port", "0")
    assert status == 1
    assert err == f"ecovision-edge: gradio is not installed; {extra_fix('demo')}\n"


def test_an_old_gradio_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "5.49.1")
    with pytest.raises(
        MissingDependencyError, match=r"too old: expected 6\.31 or newer, found 5\.49\.1; run: .*pip install"
    ):
        gradio_door.check_gradio()


def test_a_server_that_was_not_started_has_no_address(pristine):
    server = DemoServer(DemoSession.load(pristine), port=0)
    with pytest.raises(ServeError, match=r"call start\(\) first"):
        _ = server.url
    server.stop()
    server.wait()
    assert repr(server) == "<DemoServer stopped>"
    with pytest.raises(OptionError, match="classes to show"):
        DemoServer(DemoSession.load(pristine), top=0)


def test_neither_the_package_nor_the_command_brings_gradio_in(python):
    """Before the page is wanted; `--help` is as quick as ever."""
    code = """
        import sys, json
        from ecovision_edge.cli import main
        import ecovision_edge, ecovision_edge.demo
        ecovision_edge.Classifier, ecovision_edge.verify_bundle
        assert main(["demo", "--help"]) == 0
        sys.stderr.write(json.dumps(sorted({m.partition(".")[0] for m in sys.modules})))
    """
    ran = python("-c", textwrap.dedent(code))
    assert ran.returncode == 0, ran.stderr.decode()
    heavy = {"gradio", "PIL", "fastapi", "starlette", "uvicorn", "huggingface_hub", "onnxruntime", "torch"}
    assert set(json.loads(ran.stderr)) & heavy == set()
    assert b"upload, webcam or example" in ran.stdout
