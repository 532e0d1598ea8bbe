"""Facts about the webhook: signed, tried again where that helps, and never a word of a secret."""

import hmac
import http.server
import json
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from email.utils import formatdate

import pytest
from tests.runtime.sink_servers import authority, free_port
from tests.runtime.test_sink_base import event, hurried

from ecovision_edge.events import BinState
from ecovision_edge.sinks.webhook import WebhookSink, sign

PROMPT = 20.0  # seconds: a safety net, nowhere expected to pass


@contextmanager
def server(answers=(), tls=None):
    """Answers with these (status, headers) in turn, then with 204; keeps what it was sent.

    Of status 0 it hangs up, of 1 it says nothing until the end, of 2 it answers, and hangs up afterwards.
    """
    script, got, ending = list(answers), [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, dict(self.headers), body))
            status, headers = script.pop(0) if script else (204, {})
            if status < 2:
                self.close_connection = True
                if status == 1:
                    ending.wait(PROMPT)
                return
            self.close_connection = status == 2
            self.send_response(204 if status == 2 else status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.cert, tls.key)
        listener.socket = context.wrap_socket(
            listener.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{listener.server_port}", got
    finally:
        ending.set()
        listener.shutdown()
        listener.server_close()
        thread.join()


def deliver(url, numbers=(0,), **options):
    """The sink after these events."""
    with WebhookSink(f"{url}/hook?bin=7", **options) as sink:
        hurried(sink)
        for n in numbers:
            sink.put(event(n))
        assert sink.flush(PROMPT), sink.stats
    return sink


def test_an_event_is_posted_and_signed():
    """The server can prove who sent it, and when."""
    with server() as (url, got):
        deliver(url, secret="s3cret")
    [(path, headers, body)] = got
    assert path == "/hook?bin=7"
    assert json.loads(body)["id"] == headers["Idempotency-Key"] == "run-0"
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Ecovision-Signature"] == sign("s3cret", headers["X-Ecovision-Timestamp"], body)


@pytest.mark.parametrize("states", [True, False])
def test_a_state_is_posted_and_signed_if_that_was_asked_for(states):
    """Again if the server does not take it, of one id; by default each POST is an event."""
    with server([(503, {}), (204, {})]) as (url, got):
        sink = WebhookSink(f"{url}/hook", secret="s3cret", states=states, device="bin7")
        hurried(sink).show(BinState.FAULT, "camera STALLED")
        sink.put(event(0))
        with sink:
            assert sink.flush(PROMPT)
    said = [json.loads(body) for _, _, body in got]
    assert [one["type"] for one in said] == (["state", "state", "event"] if states else ["event", "event"])
    for path, headers, body in got:
        assert path == "/hook"
        assert json.loads(body)["id"] == headers["Idempotency-Key"]
        assert headers["X-Ecovision-Signature"] == sign("s3cret", headers["X-Ecovision-Timestamp"], body)
    if states:
        assert said[0] == said[1]
        assert (said[0]["state"], said[0]["device"]) == ("fault", "bin7")


def test_the_signature_is_the_standard_one():
    """HMAC-SHA256 of timestamp, full stop and body: RFC 4231's test case 2 ends in no full stop, ours do."""
    expected = hmac.new(b"Jefe", b"1700000000.{}", "sha256").hexdigest()
    assert sign("Jefe", "1700000000", b"{}") == f"sha256={expected}"


def test_without_a_secret_nothing_is_signed():
    """And the event comes all the same."""
    with server() as (url, got):
        deliver(url)
    assert "X-Ecovision-Signature" not in got[0][1]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 507, 599, 0])
def test_what_may_pass_is_tried_again(status):
    """In order, with the same key: the server can tell a repeated one."""
    with server([(status, {}), (status, {})]) as (url, got):
        sink = deliver(url, (0, 1))
    assert [json.loads(body)["sequence"] for _, _, body in got] == [0, 0, 0, 1]
    assert sink.stats.retries == 2


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 410, 422])
def test_what_never_will_is_dropped(status):
    """Redirects are not followed: the event would go to who knows where."""
    with server([(status, {"Location": "http://127.0.0.1:9/"})]) as (url, got):
        sink = deliver(url, (0, 1))
    assert len(got) == 2
    assert (sink.stats.delivered, sink.stats.dropped) == (1, 1)


@pytest.mark.slow
def test_a_server_may_ask_for_patience():
    """`Retry-After`, in seconds."""
    with server([(429, {"Retry-After": "1"})]) as (url, got):
        sink = deliver(url)
    times = [int(headers["X-Ecovision-Timestamp"]) for _, headers, _ in got]
    assert times[1] - times[0] >= 1
    assert sink.stats.delivered == 1


def test_a_server_may_name_a_date(monkeypatch):
    """Until which it wants patience; nonsense is no date, and a date long ago no wait."""
    from ecovision_edge.sinks.webhook import _asked_wait

    now = 1_800_000_000.0
    monkeypatch.setattr("ecovision_edge.sinks.webhook.time.time", lambda: now)
    assert _asked_wait(formatdate(now + 20, usegmt=True)) == pytest.approx(20)
    assert _asked_wait(formatdate(now - 20, usegmt=True)) == 0
    assert _asked_wait(formatdate(now + 1e6, usegmt=True)) == _asked_wait("9" * 400) == 300
    assert [_asked_wait(nonsense) for nonsense in ("", "-3", "soon", "\u0663", "1e9")] == [0] * 5
    assert _asked_wait("Mon, 01 Jan 2029 00:00:00 +9999999999") == 0


def test_a_server_that_says_nothing_is_not_waited_for_long():
    """`timeout`, and the event is tried again."""
    with server([(1, {})]) as (url, got):
        sink = deliver(url, timeout=0.05)
    assert len(got) == 2
    assert sink.stats.retries == 1


@contextmanager
def speaker(first, again=b""):
    """Sends `first` to whoever asks, and `again` for ever, whatever it was asked."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(first)
                    while again:
                        connection.sendall(again)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PROMPT)


def failing(url, **options):
    """What the sink says of a server that takes no event."""
    with WebhookSink(url, **options) as sink:
        hurried(sink)
        sink.put(event(0))
        until = time.monotonic() + PROMPT
        while not sink.stats.error and sink.stats.waiting:
            assert time.monotonic() < until
            time.sleep(0.002)
        error = sink.stats.error
        sink.close(timeout=0.01)
    return error


def test_a_server_that_never_comes_to_an_end_is_not_waited_for_long():
    """One deadline for all of an exchange: each byte comes in time, and the answer never ends."""
    with speaker(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000) as url:
        assert "timed out" in failing(url, timeout=0.1)


@pytest.mark.parametrize(
    "answer",
    [b"\x1b[31mno" * 5000 + b"\r\n\r\n", b"HTTP/1.1 500 " + b"\x1b[31mno" * 5000 + b"\r\n\r\n"],
    ids=["no HTTP", "reason"],
)
def test_a_server_s_own_words_are_cut(answer):
    """And printable, in the log and in the figures."""
    with speaker(answer) as url:
        error = failing(url)
    assert "no" in error
    assert len(error) < 600
    assert error.isprintable()


def test_a_connection_that_died_meanwhile_is_no_failure(caplog):
    """Servers end those on which nothing comes: the event goes out on a new one, at once."""
    with server([(204, {}), (0, {})]) as (url, got):
        sink = deliver(url, (0, 1))
    assert [json.loads(body)["sequence"] for _, _, body in got] == [0, 1, 1]
    assert sink.stats.retries == 0
    assert caplog.text == ""


def test_a_long_answer_does_not_spoil_the_next_one():
    """Nobody reads it to its end."""
    with server([(200, {"Content-Length": str(2**22)})]) as (url, got):
        long = b"x" * 2**22
        real = http.server.BaseHTTPRequestHandler.end_headers

        def with_body(self):
            real(self)
            if len(got) == 1:
                self.wfile.write(long)

        http.server.BaseHTTPRequestHandler.end_headers, sink = with_body, None
        try:
            sink = deliver(url, (0, 1))
        finally:
            http.server.BaseHTTPRequestHandler.end_headers = real
    assert [json.loads(body)["sequence"] for _, _, body in got] == [0, 1]
    assert sink.stats.delivered == 2


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path):
    """By the system's authorities; by its own all is well. No event goes to who knows whom."""
    tls = authority(tmp_path)
    with server(tls=tls) as (url, got):
        with WebhookSink(f"{url}/hook") as sink:
            sink.put(event(0))
            assert not sink.flush(0.2)
            assert "certificate is refused" in sink.stats.error
            sink.close(timeout=0.01)
        assert got == []
        assert deliver(url, ca=str(tls.ca)).stats.delivered == 1
    assert len(got) == 1


def test_what_json_cannot_say_is_dropped():
    """And the next event comes."""
    with server() as (url, got), WebhookSink(url) as sink:
        sink.put(replace(event(0), probability=float("nan")))
        sink.put(replace(event(1), label="\ud800"))
        sink.put(event(2))
        assert sink.flush(PROMPT)
        assert sink.stats.dropped == 2
    assert [json.loads(body)["sequence"] for _, _, body in got] == [2]


def test_a_server_that_is_away_is_waited_for():
    """Nothing listens: the event waits, and `close` has its bound."""
    with WebhookSink(f"http://127.0.0.1:{free_port()}/") as sink:
        sink.put(event(0))
        assert not sink.flush(0.2)
        assert "cannot be reached" in sink.stats.error
        sink.close(timeout=0.01)
