"""Facts about the served page: a real server on a free port, real sockets, synthetic frames."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.runtime.bin_reports import COVERED, bin_report, sink_report

from ecovision_edge.base.installation import extra_fix
from ecovision_edge.base.version import __version__
from ecovision_edge.camera.health import Health, HealthState
from ecovision_edge.camera.source import CapturedFrame
from ecovision_edge.errors import MissingDependencyError, OptionError, ServeError
from ecovision_edge.events import BinState
from ecovision_edge.loop.result import LoopResult
from ecovision_edge.prediction import Prediction, Timings
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge.sinks.update_report import ProbationReport, UpdateReport
from ecovision_edge.web import Board, Limits, PageServer, _pictures

LABELS = ("glass", "metal", "paper")
TOKEN = "correct-horse-battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SMALL = draw_frame(1, 64, 48)
PATIENT = Limits(stale_s=600, fps=500, events_per_s=500)
DEADLINE_S = 20.0  # a safety net: nothing here takes that long


def result(index=0, image=SMALL, captured_at=None):
    """A result of class `index` modulo three."""
    at = time.monotonic() if captured_at is None else captured_at
    probabilities = tuple(0.8 if i == index % 3 else 0.1 for i in range(3))
    prediction = Prediction(LABELS[index % 3], index % 3, 0.8, 0.7, probabilities, Timings(2.0, 10.0, 0.1))
    return LoopResult(index, CapturedFrame(image, index, at), prediction, LABELS, 14.0, 4, time.time())


def set_state(board, state=HealthState.RUNNING, reason=""):
    board.set_health(Health(state, time.monotonic(), reason))


@pytest.fixture
def board():
    """A running source with one result."""
    board = Board(LABELS)
    set_state(board)
    board.publish(result())
    return board


@pytest.fixture
def page(board):
    """The page of that board."""
    with PageServer(board, "127.0.0.1:0", limits=PATIENT) as server:
        yield server


@pytest.fixture
def locked(board):
    """The same behind a token."""
    with PageServer(board, "127.0.0.1:0", token=TOKEN, limits=PATIENT) as server:
        yield server


def place(page):
    parts = urllib.parse.urlsplit(page.url)
    return parts.hostname, parts.port


@contextlib.contextmanager
def asked(page, path="/", method="GET", headers=None):
    """The answer to a request, not read yet."""
    connection = http.client.HTTPConnection(*place(page), timeout=DEADLINE_S)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        try:
            yield response
        finally:
            response.close()
    finally:
        connection.close()


def get(page, path="/", method="GET", headers=None):
    """Status, headers and body."""
    with asked(page, path, method, headers) as response:
        return response.status, response.headers, response.read()


@contextlib.contextmanager
def raw(page, data=b"", receive_buffer=None):
    """A socket to the page, on which `data` was sent."""
    host, port = place(page)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as connection:
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(DEADLINE_S)
        connection.connect((host, port))
        connection.sendall(data)
        yield connection


def part(response):
    """Headers and body of the next part of an MJPEG stream."""
    head = {}
    while not ("x-sequence" in head and line == b"\r\n"):  # noqa: F821 - set by the first turn
        line = response.readline()
        assert line, "the stream ended"
        name, colon, value = line.decode().partition(":")
        if colon:
            head[name.lower()] = value.strip()
    return head, response.read(int(head["content-length"]))


def part_of(response, sequence):
    """The part with that frame."""
    while True:
        head, body = part(response)
        if int(head["x-sequence"]) >= sequence:
            assert int(head["x-sequence"]) == sequence
            return head, body


def told(response, name):
    """The data of the next event of that name."""
    while True:
        line = response.readline()
        assert line, "the events ended"
        if line == f"event: {name}\n".encode():
            return json.loads(response.readline()[len(b"data: ") :])


def until(true):
    """Ask until it is so."""
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, "it never came about"


def viewers(page, headers=None):
    text = get(page, "/metrics", headers=headers)[2].decode()
    return float(next(x for x in text.splitlines() if x.startswith("ecovision_viewers ")).split()[1])


def decoded(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


# The routes.


def test_the_page_is_html_with_its_title_escaped(board):
    """And asks for nothing that is elsewhere."""
    with PageServer(board, "127.0.0.1:0", title="<Bin> & 3") as page:
        status, headers, body = get(page)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"<title>&lt;Bin&gt; &amp; 3</title>" in body
    assert b"<Bin>" not in body
    assert b"http:" not in body
    assert b"https:" not in body


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("app.js", "text/javascript"),
        ("bars.js", "text/javascript"),
        ("history.js", "text/javascript"),
        ("stream.js", "text/javascript"),
        ("style.css", "text/css"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_its_files_are_served_with_their_types(page, name, kind):
    """A browser with nosniff takes them only so."""
    status, headers, body = get(page, f"/static/{name}")
    assert (status, headers.get_content_type()) == (200, kind)
    assert body


def test_a_snapshot_is_the_newest_frame(page, board):
    """With its number and its age."""
    board.publish(result(7, draw_frame(2, 320, 240)))
    status, headers, body = get(page, "/snapshot.jpg")
    assert (status, headers["Content-Type"], headers["X-Sequence"]) == (200, "image/jpeg", "7")
    assert decoded(body).shape == (240, 320, 3)
    assert int(headers["X-Age-Ms"]) >= 0


@pytest.mark.parametrize("state", [s for s in HealthState if s is not HealthState.RUNNING])
def test_there_is_no_snapshot_of_a_source_that_does_not_run(page, board, state):
    """An old frame is not shown as if it were new."""
    set_state(board, state, "the cable is out")
    status, headers, body = get(page, "/snapshot.jpg")
    assert (status, headers["Retry-After"]) == (503, "2")
    assert body.decode() == f"{state}: the cable is out\n"


def test_there_is_no_snapshot_before_the_first_frame():
    """It says so."""
    board = Board(LABELS)
    set_state(board)
    with PageServer(board, "127.0.0.1:0") as page:
        assert get(page, "/snapshot.jpg")[::2] == (503, b"RUNNING: no frame yet\n")


def test_there_is_no_snapshot_of_a_stale_frame(board):
    """Whatever the source says of itself."""
    board.set_health(Health(HealthState.RUNNING, time.monotonic() - 100))
    board.publish(result(captured_at=time.monotonic() - 6))
    with PageServer(board, "127.0.0.1:0") as page:
        assert get(page, "/snapshot.jpg")[::2] == (503, b"STALLED: no result for more than 5 s\n")


def test_a_large_frame_is_made_smaller(board):
    """To 960 pixels on the long side; the aspect stays."""
    with PageServer(board, "127.0.0.1:0") as page:
        board.publish(result(1, np.zeros((1500, 3000, 3), np.uint8)))
        assert decoded(get(page, "/snapshot.jpg")[2]).shape == (480, 960, 3)
        board.publish(result(2, np.zeros((5000, 3, 3), np.uint8)))
        assert decoded(get(page, "/snapshot.jpg")[2]).shape == (960, 1, 3)


def test_a_frame_that_cannot_be_encoded_is_no_picture(page, board, caplog):
    """The next one is."""
    board.publish(result(1, np.zeros((0, 0, 3), np.uint8)))
    assert get(page, "/snapshot.jpg")[0] == 503
    assert "frame 1 cannot be encoded" in caplog.text
    board.publish(result(2))
    assert get(page, "/snapshot.jpg")[0] == 200


def test_healthz_is_200_for_a_running_source_with_a_fresh_result(page):
    """And says what a controller wants to know."""
    status, headers, body = get(page, "/healthz")
    said = json.loads(body)
    assert (status, headers.get_content_type()) == (200, "application/json")
    assert (said["ok"], said["state"], said["reason"], said["version"]) == (True, "RUNNING", "", __version__)
    assert said["since"].endswith("Z")
    assert said["last_age_s"] >= 0


def test_healthz_is_503_else(page, board):
    """With the reason."""
    set_state(board, HealthState.RECONNECTING, "the cable is out")
    status, _, body = get(page, "/healthz")
    said = json.loads(body)
    assert (status, said["ok"], said["state"]) == (503, False, "RECONNECTING")
    assert said["reason"] == "the cable is out"


def health_of(page, report, board):
    board.set_bin(lambda: report)
    status, _, body = get(page, "/healthz")
    return status, json.loads(body)


def test_healthz_says_how_updates_are_doing(page, board):
    """Only where they are followed."""
    assert "update" not in json.loads(get(page, "/healthz")[2])
    probation = ProbationReport(3600.2, 86400.0, 2, 40, 3)
    report = UpdateReport("bins", "2.0", "2.1", True, 1.8e9, "refused", probation)
    board.set_update(lambda: report)
    assert json.loads(get(page, "/healthz")[2])["update"] == {
        "installed": "2.0",
        "latest": "2.1",
        "busy": True,
        "checked": "2027-01-15T08:00:00+00:00",
        "outcome": "refused",
        "probation": {"seconds": 3600, "of_seconds": 86400, "starts": 2, "items": 40, "unknowns": 3},
    }


@pytest.mark.parametrize("state", [s for s in BinState if s is not BinState.FAULT])
def test_healthz_is_200_for_a_bin_that_is_well(page, board, state):
    """One that starts, too; it says what it is doing and how each sink does."""
    status, said = health_of(page, bin_report(state, "why"), board)
    assert (status, said["ok"], said["reason"]) == (200, True, "")
    assert (said["bin"]["state"], said["bin"]["reason"], said["bin"]["events"]) == (str(state), "why", 2)
    assert said["bin"]["since_s"] >= 95
    [sink] = said["bin"]["sinks"]
    assert (sink["name"], sink["waiting"], sink["delivered"], sink["problem"]) == ("stdout", 1, 2, "")


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (bin_report(BinState.FAULT, COVERED), f"fault: {COVERED}"),
        (bin_report(sinks=(sink_report("hook", "hook is gone"),)), "sink hook is gone"),
        (bin_report(sinks=(sink_report("x"), sink_report("pins", "busy"))), "sink pins: busy"),
        (
            bin_report(sinks=(replace(sink_report("x"), ended=True),)),
            "sink x: its thread has ended",
        ),
        (
            bin_report(BinState.FAULT, "a", sinks=(sink_report("x", "b"),)),
            "fault: a; sink x: b",
        ),
    ],
    ids=["a fault", "a sink", "one of two", "a sink that ended", "both"],
)
def test_healthz_is_503_in_a_fault_and_with_a_sink_that_fails(page, board, report, why):
    """Though the camera runs; with the reason."""
    status, said = health_of(page, report, board)
    assert (status, said["ok"], said["live"], said["reason"]) == (503, False, True, why)
    assert said["bin"]["problem"] == why


def test_metrics_count_events_faults_and_what_each_sink_did(page, board):
    """A bin's alone: without one there are no such metrics."""
    from prometheus_client.parser import text_string_to_metric_families

    def found():
        families = text_string_to_metric_families(get(page, "/metrics")[2].decode())
        return {m.name: {tuple(s.labels.values()): s.value for s in m.samples} for m in families}

    assert not {name for name in found() if "bin" in name or "sink" in name}
    sinks = (sink_report("a", dropped=4), sink_report("b", "gone", waiting=7, retries=5))
    report = bin_report(BinState.FAULT, COVERED, events=12, unknowns=3, faults=2, sinks=sinks)
    board.set_bin(lambda: report)
    metrics = found()
    counters = [metrics[f"ecovision_bin_{name}"] for name in ("events", "unknowns", "faults")]
    assert counters == [{(): 12}, {(): 3}, {(): 2}]
    assert {state for (state,), on in metrics["ecovision_bin_state"].items() if on} == {"fault"}
    assert metrics["ecovision_sink_queued"] == {("a",): 1, ("b",): 7}
    assert metrics["ecovision_sink_dropped"] == {("a",): 4, ("b",): 0}
    assert metrics["ecovision_sink_delivered"] == {("a",): 2, ("b",): 2}
    assert metrics["ecovision_sink_retries"] == {("a",): 0, ("b",): 5}
    assert metrics["ecovision_sink_failing"] == {("a",): 0, ("b",): 1}


@pytest.mark.slow
def test_events_tell_what_the_bin_does(page, board):
    """State, reason, since when, the last events and the sinks' queues; again when something is new."""
    reports = [bin_report()]
    board.set_bin(lambda: reports[-1])
    with asked(page, "/events") as response:
        said = told(response, "bin")
        assert (said["state"], said["problem"], said["sinks"][0]["waiting"]) == ("empty", "", 1)
        assert said["since_s"] >= 95
        assert [(e["item"], e["label"], e["bin"]) for e in said["last"]] == [
            (0, "paper", "recycling"),
            (1, None, "recycling"),
        ]
        reports.append(bin_report(BinState.FAULT, COVERED))
        assert told(response, "bin")["reason"] == COVERED


def test_metrics_are_prometheus_text(page, board):
    """That prometheus_client itself reads again."""
    from prometheus_client.parser import text_string_to_metric_families

    board.publish(result(1))
    status, headers, body = get(page, "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    found = {m.name: m for m in text_string_to_metric_families(body.decode())}
    labels = {s.labels["label"]: s.value for s in found["ecovision_frames_classified"].samples}
    assert labels == {"glass": 1, "metal": 1, "paper": 0}
    assert found["ecovision_build_info"].samples[0].labels == {"version": __version__}
    assert {s.labels.get("stage") for s in found["ecovision_stage_seconds"].samples} == {
        "prepare",
        "infer",
        "post",
    }
    assert found["ecovision_frames_dropped"].samples[0].value == 4


def test_events_tell_results_and_health(page, board):
    """The result with all probabilities, ages and timings."""
    with asked(page, "/events") as response:
        assert response.headers.get_content_type() == "text/event-stream"
        assert told(response, "hello")["labels"] == list(LABELS)
        assert told(response, "health")["state"] == "RUNNING"
        assert told(response, "result")["index"] == 0
        board.publish(result(1))
        said = told(response, "result")
        assert (said["index"], said["label"], said["score"]) == (1, "metal", 0.8)
        assert said["probabilities"] == {"glass": 0.1, "metal": 0.8, "paper": 0.1}
        assert said["timings_ms"] == {"prepare": 2.0, "infer": 10.0, "post": 0.1}
        assert said["frame_age_ms"] >= 0
        set_state(board, HealthState.FAILED, "gone")
        assert told(response, "health")["reason"] == "gone"


def test_events_have_heartbeats(board):
    """So that a page knows that it is not forgotten."""
    with (
        PageServer(board, "127.0.0.1:0", limits=Limits(heartbeat_s=0.05)) as page,
        asked(page, "/events") as response,
    ):
        assert told(response, "alive") == {}
        assert told(response, "alive") == {}


def test_the_stream_has_each_new_frame(page, board):
    """As parts that are JPEGs, each marked as live."""
    with asked(page, "/stream.mjpg") as response:
        assert response.headers["Content-Type"].startswith("multipart/x-mixed-replace; boundary=")
        for i in range(1, 6):
            head, body = part_of(response, i - 1)
            assert (head["content-type"], head["x-live"]) == ("image/jpeg", "1")
            assert decoded(body).shape == (48, 64, 3)
            board.publish(result(i))


def test_the_stream_of_a_source_that_does_not_run_is_grey_and_says_so(page, board):
    """Who shows the bare stream must not take the last frame for the present either."""
    board.publish(result(1, np.full((240, 320, 3), (250, 30, 30), np.uint8)))
    with asked(page, "/stream.mjpg") as response:
        assert decoded(part_of(response, 1)[1])[5, 5, 0] > 200
        set_state(board, HealthState.RECONNECTING, "no cable")
        head, body = part(response)
        picture = decoded(body).astype(int)
        assert head["x-live"] == "0"
        assert np.ptp(picture[5, 5]) < 8  # no colour
        assert picture[5, 5].max() < 60  # dark
        assert picture.max() > 200  # the writing
        set_state(board)
        board.publish(result(2))
        assert part_of(response, 2)[0]["x-live"] == "1"


@pytest.mark.parametrize("path", ["/", "/stream.mjpg", "/events", "/snapshot.jpg", "/healthz", "/metrics"])
def test_head_is_get_without_a_body(page, path):
    """And does not hang where GET has no end."""
    status, headers, body = get(page, path, "HEAD")
    assert (status, body) == (200, b"")
    assert headers["Content-Type"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/static/app.js", 200),
        ("/snapshot.jpg", 200),
        ("/metrics", 200),
        ("/no", 404),
        ("/events", 200),
    ],
)
def test_each_answer_has_the_headers_of_caution(page, path, status):
    """Errors too."""
    with asked(page, path) as response:
        assert response.status == status
        headers = response.headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "*" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Server"] == "ecovision-edge"


def test_snapshots_of_one_frame_are_encoded_once(page, monkeypatch):
    """However many ask."""
    encoded, encode = [], _pictures._encode
    monkeypatch.setattr(_pictures, "_encode", lambda image, *a: encoded.append(image) or encode(image, *a))
    assert get(page, "/snapshot.jpg")[2] == get(page, "/snapshot.jpg")[2]
    assert len(encoded) == 1


# Who may ask.


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/healthz", "/no"])
def test_only_get_and_head(page, method, path):
    """Nothing can be changed from here."""
    status, headers, _ = get(page, path, method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "target",
    [
        *[
            "/../",
            "/../../etc/passwd",
            "/static/../../etc/passwd",
            "/static/../app.js",
            "/static/..%2f..%2fetc",
        ],
        *[
            "/static/%2e%2e/%2e%2e/etc/passwd",
            "/static//etc/passwd",
            "/static/",
            "/static",
            "/static/index.html",
        ],
        *["/static/app.js/", "/..%5c..%5cetc", "/index.html", "/static/__init__.py", "/favicon.ico"],
    ],
)
def test_no_path_leads_elsewhere(page, target):
    """The files are those in a list; nothing is looked up on disk. `/../` is `/`, as a browser says too."""
    with raw(
        page, f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{place(page)[1]}\r\n\r\n".encode()
    ) as connection:
        line = connection.makefile("rb").readline()
    assert line.split()[1] in ({b"404", b"200"} if target == "/../" else {b"404"})


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "127.0.0.1.evil.example:{port}"]
)
def test_a_foreign_name_is_not_answered(page, host):
    """A web site that lets its name point here learns nothing."""
    port = place(page)[1]
    for path in ("/", "/snapshot.jpg", "/static/style.css", "/no"):
        assert get(page, path, headers={"Host": host.format(port=port)})[0] == 421
    assert get(page, headers={"Host": f"localhost:{port}"})[0] == 200


def test_a_request_without_a_name_is_not_answered(page):
    """As HTTP/1.0 allows."""
    with raw(page, b"GET / HTTP/1.0\r\n\r\n") as connection:
        assert connection.makefile("rb").readline().split()[1] == b"421"


def test_another_sites_page_gets_nothing(page):
    """Browsers say who asks; a link that is followed is fine."""
    foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert get(page, "/stream.mjpg", headers=foreign)[0] == 403
    assert get(page, headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})[0] == 200
    assert (
        get(page, "/healthz", headers={"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"})[0] == 200
    )


ROUTES = ["/", "/stream.mjpg", "/snapshot.jpg", "/events", "/healthz", "/metrics", "/static/app.js", "/no"]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong-wrong-wrong-wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "},
        {"Cookie": "ecovision-edge-{port}=wrong"},
        {"Cookie": f"ecovision-edge-{{port}}={TOKEN}"},
    ],
)
def test_without_the_token_nothing_is_shown(locked, path, headers):
    """401, with a small page that asks for it."""
    port = str(place(locked)[1])
    status, answer, body = get(
        locked, path, headers={k: v.replace("{port}", port) for k, v in headers.items()}
    )
    assert (status, answer["WWW-Authenticate"]) == (401, "Bearer")
    assert b'<input id="token" name="token"' in body
    assert TOKEN.encode() not in body


def test_the_token_opens_as_a_bearer(locked):
    """Every route, with or without a browser."""
    for path in ("/", "/snapshot.jpg", "/healthz", "/metrics", "/static/app.js"):
        assert get(locked, path, headers=BEARER)[0] == 200


def test_the_token_in_the_address_is_exchanged_for_a_cookie(locked):
    """Once, at `/`, which then is asked for without it; and the cookie opens everything."""
    status, headers, _ = get(locked, f"/?token={TOKEN}")
    assert (status, headers["Location"]) == (303, "/")
    cookie, *attributes = headers["Set-Cookie"].split("; ")
    assert TOKEN not in cookie
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
    for path in ("/", "/snapshot.jpg", "/healthz"):
        assert get(locked, path, headers={"Cookie": cookie})[0] == 200
    assert get(locked, f"/?token={TOKEN}", headers={"Cookie": cookie})[0] == 303


def test_the_token_in_the_address_opens_nothing_else(locked):
    """Not a picture, whose address ends up in places."""
    assert get(locked, f"/snapshot.jpg?token={TOKEN}")[0] == 401
    status, _, body = get(locked, f"/?token={TOKEN}x")
    assert status == 401
    assert b"That token is not the right one." in body


def test_a_foreign_name_is_not_asked_for_its_token(locked):
    """The name is looked at first."""
    assert get(locked, headers={"Host": "evil.example", **BEARER})[0] == 421


def test_the_token_is_never_logged(locked, caplog):
    """Neither right nor wrong, nor in a malformed request."""
    caplog.set_level(logging.DEBUG)
    get(locked, f"/?token={TOKEN}")
    get(locked, f"/snapshot.jpg?token={TOKEN}x", headers=BEARER)
    get(locked, f"/no?token={TOKEN}", "POST", BEARER)
    for junk in (
        f"GET /?token={TOKEN} JUNK\r\n\r\n",
        f"Bearer {TOKEN}\x00\r\n\r\n",
        f"GET / HTTP/1.1\r\nA\x00: {TOKEN}",
    ):
        with raw(locked, junk.encode()) as connection:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    locked.stop()
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(locked)


def test_a_name_or_an_open_address_is_refused_without_a_token(board):
    """Before anything listens."""
    for address in ("0.0.0.0:0", "[::]:0", "bin.local:0"):
        with pytest.raises(OptionError, match="would show the camera to the whole network"):
            PageServer(board, address)


@pytest.mark.parametrize("options", [{"token": TOKEN}, {"insecure": True}])
def test_an_open_address_is_served_with_a_token_or_if_insecure(board, options):
    """To any IP address of this machine."""
    with PageServer(board, "0.0.0.0:0", limits=PATIENT, **options) as page:
        assert page.url.startswith("http://127.0.0.1:")
        assert get(page, "/healthz", headers=BEARER if "token" in options else {})[0] == 200
        other = {"Host": f"10.1.2.3:{place(page)[1]}", **BEARER}
        assert get(page, "/healthz", headers=other)[0] == 200
        assert get(page, "/healthz", headers={**other, "Host": "evil.example"})[0] == 421


# Load.


def test_a_thousand_results_without_viewers_encode_nothing(page, board, monkeypatch):
    """Not even with a page open whose picture is not watched."""
    encoded = []
    monkeypatch.setattr(_pictures, "_encode", lambda *a: encoded.append(a) or b"")
    with asked(page, "/events") as response:
        for i in range(1, 1001):
            board.publish(result(i))
        while told(response, "result")["index"] < 1000:
            pass
    assert encoded == []


def test_a_frame_is_encoded_once_for_all_viewers(page, board, monkeypatch):
    """They get the same bytes."""
    encoded, encode = [], _pictures._encode
    monkeypatch.setattr(_pictures, "_encode", lambda image, *a: encoded.append(image) or encode(image, *a))
    with asked(page, "/stream.mjpg") as one, asked(page, "/stream.mjpg") as other:
        part_of(one, 0)
        part_of(other, 0)
        for i in range(1, 6):
            board.publish(result(i, draw_frame(i, 64, 48)))
            assert part_of(one, i)[1] == part_of(other, i)[1]
    assert len(encoded) == 6


def test_nothing_is_encoded_once_the_last_viewer_is_gone(page, board, monkeypatch):
    """The server learns of it although nothing new is there to be sent."""
    with asked(page, "/stream.mjpg") as response:
        part_of(response, 0)
        assert viewers(page) == 1
    until(lambda: viewers(page) == 0)
    encoded = []
    monkeypatch.setattr(_pictures, "_encode", lambda *a: encoded.append(a) or b"")
    board.publish(result(1))
    assert get(page, "/healthz")[0] == 200
    assert encoded == []


def test_too_many_viewers_are_told_to_come_back(board):
    """One line, and when; a place that is left is free again."""
    with PageServer(board, "127.0.0.1:0", max_viewers=1, limits=PATIENT) as page:
        with asked(page, "/stream.mjpg") as response:
            part_of(response, 0)
            status, headers, body = get(page, "/stream.mjpg")
            assert (status, headers["Retry-After"]) == (503, "5")
            assert body == b"1 others are watching; try again soon\n"
            assert get(page, "/snapshot.jpg")[0] == 200
        until(lambda: viewers(page) == 0)
        with asked(page, "/stream.mjpg") as response:
            part_of(response, 0)


def test_there_are_not_too_many_pages_either(board):
    """Four for each viewer."""
    with (
        PageServer(board, "127.0.0.1:0", max_viewers=1, limits=PATIENT) as page,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(4):
            told(stack.enter_context(asked(page, "/events")), "hello")
        assert get(page, "/events")[0] == 503


def test_no_more_connections_are_open_than_may_be(board):
    """Silent ones make room for whoever asks; where all are busy the next is refused as it is accepted."""
    limits = replace(PATIENT, connections=2)
    with PageServer(board, "127.0.0.1:0", limits=limits) as page:
        silent = [socket.create_connection(place(page), DEADLINE_S) for _ in range(5)]
        assert get(page, "/healthz")[0] == 200
        for one in silent[:4]:
            assert ended(one)
        with asked(page, "/events") as one, asked(page, "/events") as other:
            told(one, "result")
            told(other, "result")
            assert ended(socket.create_connection(place(page), DEADLINE_S))
        silent[4].close()


def ended(connection):
    """Whether it is closed by the other side, before anything came."""
    with connection:
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return True


def test_a_client_that_never_reads_holds_up_nobody(page, board):
    """Neither the publisher nor another viewer, who gets each frame."""
    request = f"GET /stream.mjpg HTTP/1.1\r\nHost: 127.0.0.1:{place(page)[1]}\r\n\r\n".encode()
    frames = [draw_frame(i, 800, 600) for i in range(2)]
    with raw(page, request, receive_buffer=4096), asked(page, "/stream.mjpg") as reads:
        until(lambda: viewers(page) == 2)
        for i in range(1, 60):
            board.publish(result(i, frames[i % 2]))
            part_of(reads, i)
        assert viewers(page) == 2


def test_a_client_that_never_reads_is_dropped(board):
    """Here after a quarter of a second, else after ten; a viewer who has nothing to read stays."""
    limits = Limits(stale_s=600, fps=500, slow_s=0.25)
    big = draw_frame(3, 960, 720)
    with PageServer(board, "127.0.0.1:0", limits=limits) as page:
        request = f"GET /stream.mjpg HTTP/1.1\r\nHost: 127.0.0.1:{place(page)[1]}\r\n\r\n".encode()
        with raw(page, request, receive_buffer=4096), asked(page, "/stream.mjpg") as reads:
            until(lambda: viewers(page) == 2)
            for i in range(1, 40):
                board.publish(result(i, big))
                part_of(reads, i)
            until(lambda: viewers(page) == 1)
            board.publish(result(40))
            part_of(reads, 40)


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: 127."])
def test_a_client_that_says_nothing_or_half_is_dropped(board, said):
    """It cannot hold a connection for ever; others are served meanwhile."""
    with (
        PageServer(board, "127.0.0.1:0", limits=Limits(stale_s=600, idle_s=0.2)) as page,
        raw(page, said) as connection,
    ):
        assert get(page)[0] == 200
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(10) == b""


def test_a_server_survives_what_is_no_http(page):
    """Each is answered with 400, or not at all."""
    for junk in (
        b"\x16\x03\x01\x02\x00\x01",
        b"\r\n" * 50,
        b"GET\r\n\r\n",
        b"A" * 100_000,
        b"GET / HTTP/9.9\r\n\r\n",
    ):
        with raw(page) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(junk)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").readline()
            assert answer == b"" or b" 400 " in answer or b" 421 " in answer
    assert get(page)[0] == 200


def test_a_mistake_in_an_answer_is_logged_and_ends_nothing(page, board, monkeypatch, caplog):
    """500 for that request alone."""
    monkeypatch.setattr(Board, "counters", lambda self: 1 / 0)
    assert get(page, "/metrics?token=private-private")[0] == 500
    assert "the answer to '/metrics' failed" in caplog.text
    assert "private" not in caplog.text
    assert get(page, "/healthz")[0] == 200


# Start and stop.


def ours():
    return [t.name for t in threading.enumerate() if t.name.startswith("ecovision-edge page")]


def test_stop_takes_no_notice_of_clients(board, caplog):
    """Watching, listening, silent, half a request, never reading: all are closed, and nothing is left."""
    files = list(Path("/proc/self/fd").iterdir())
    page = PageServer(board, "127.0.0.1:0", limits=PATIENT)
    page.start()
    host, port = place(page)
    request = f"GET /stream.mjpg HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    big = draw_frame(3, 960, 720)
    with (
        asked(page, "/stream.mjpg") as stream,
        asked(page, "/events") as events,
        raw(page),
        raw(page, b"GET / HTTP"),
        raw(page, request, receive_buffer=4096),
    ):
        told(events, "hello")
        until(lambda: viewers(page) == 2)
        for i in range(1, 30):
            board.publish(result(i, big))
            part_of(stream, i)
        assert ours()
        page.stop()
        assert ours() == []
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((host, port), DEADLINE_S).close()
    page.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == len(files)
    assert "did not stop" not in caplog.text


def test_a_stopped_page_has_no_url_and_can_start_again(board):
    """At the same port, at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    page = PageServer(board, address, limits=PATIENT)
    with pytest.raises(ServeError, match="not being served"):
        _ = page.url
    for _ in range(3):
        page.start()
        page.start()
        assert page.url == f"http://{address}/"
        assert get(page)[0] == 200
        page.stop()
        page.stop()
    assert "stopped" in repr(page)


def test_a_taken_port_is_an_error(page, board):
    """That names the address and what to do."""
    address = f"127.0.0.1:{place(page)[1]}"
    other = PageServer(board, address)
    with pytest.raises(
        ServeError, match=f"cannot serve the page at {address}: Address already in use; choose"
    ):
        other.start()
    other.stop()
    assert get(page)[0] == 200


def test_a_failure_to_start_is_an_error_and_leaves_nothing(board, monkeypatch):
    """The thread ends and the port is free."""
    monkeypatch.setattr("ecovision_edge.web._app.App.application", lambda self: 1 / 0)
    with pytest.raises(ServeError, match="cannot serve the page: division by zero"):
        PageServer(board, "127.0.0.1:0").start()
    assert ours() == []


def test_ipv6_works(board):
    """On its loopback address."""
    if not socket.has_ipv6 or not open_six():
        pytest.skip("needs the IPv6 loopback address ::1 on this machine")
    with PageServer(board, "[::1]:0", limits=PATIENT) as page:
        assert page.url.startswith("http://[::1]:")
        assert get(page, "/healthz")[0] == 200


def open_six():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_localhost_works(board):
    """The name, on its IPv4 address where it has one."""
    with PageServer(board, "localhost:0", limits=PATIENT) as page:
        assert page.url.startswith("http://localhost:")
        assert get(page, "/healthz")[0] == 200


@pytest.mark.parametrize("options", [{"max_viewers": 0}, {"max_viewers": 65}, {"title": "x" * 201}])
def test_options_outside_their_range_are_refused(board, options):
    """Before anything listens."""
    with pytest.raises(OptionError, match="of the page: expected"):
        PageServer(board, **options)


@pytest.mark.parametrize("module", ["aiohttp", "prometheus_client"])
def test_without_its_libraries_it_says_what_to_install(board, monkeypatch, module):
    """At once, not when the first browser comes."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingDependencyError, match=re.escape(f"{module} is not installed; {extra_fix('web')}")
    ):
        PageServer(board)


@pytest.mark.slow
def test_the_board_needs_none_of_them():
    """Nor does naming the server."""
    code = (
        "import sys; from ecovision_edge.web import Board, PageServer; Board(); "
        "print({'aiohttp', 'prometheus_client'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
