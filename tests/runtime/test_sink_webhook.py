"""Facts about the webhook: signed, tried again where that helps, and never a word of a secret."""

import hmac
import http.server
import json
import threading
from contextlib import contextmanager

import pytest
from tests.runtime.camera_servers import free_port
from tests.runtime.test_sink_base import event

from ecovision_edge.errors import OptionError
from ecovision_edge.sinks.addresses import open_sink
from ecovision_edge.sinks.lines import FileSink, StdoutSink
from ecovision_edge.sinks.webhook import WebhookSink, sign

PROMPT = 20.0  # seconds: a safety net, nowhere expected to pass


@contextmanager
def server(answers=()):
    """Answers with these (status, headers) in turn, then with 204; keeps what it was sent."""
    script, got = list(answers), []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, dict(self.headers), body))
            status, headers = script.pop(0) if script else (204, {})
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}", got
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def deliver(url, numbers=(0,), **options):
    """The sink after these events."""
    with WebhookSink(f"{url}/hook?bin=7", **options) as sink:
        sink._backoff._first = sink._backoff._most = 0.01
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


def test_the_signature_is_the_standard_one():
    """HMAC-SHA256 of timestamp, full stop and body: RFC 4231's test case 2 ends in no full stop, ours do."""
    expected = hmac.new(b"Jefe", b"1700000000.{}", "sha256").hexdigest()
    assert sign("Jefe", "1700000000", b"{}") == f"sha256={expected}"


def test_without_a_secret_nothing_is_signed():
    """And the event comes all the same."""
    with server() as (url, got):
        deliver(url)
    assert "X-Ecovision-Signature" not in got[0][1]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 0])
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


def test_a_server_may_ask_for_patience():
    """`Retry-After`, in seconds."""
    with server([(429, {"Retry-After": "1"})]) as (url, got):
        sink = deliver(url)
    times = [int(headers["X-Ecovision-Timestamp"]) for _, headers, _ in got]
    assert times[1] - times[0] >= 1
    assert sink.stats.delivered == 1


def test_a_server_that_is_away_is_waited_for():
    """Nothing listens: the event waits, and `close` has its bound."""
    with WebhookSink(f"http://127.0.0.1:{free_port()}/") as sink:
        sink.put(event(0))
        assert not sink.flush(0.2)
        assert "cannot be reached" in sink.stats.error
        sink.close(timeout=0.01)


def sink_of(address, environment=None):
    return open_sink(address, labels=("a",), bins=("b",), device="bin7", environment=environment or {})


def test_addresses_name_their_sinks(tmp_path):
    """With their options."""
    assert isinstance(sink_of("stdout:"), StdoutSink)
    sink = sink_of(f"file:{tmp_path}/x.jsonl?max_bytes=5MB&keep=0&fsync=1")
    assert isinstance(sink, FileSink)
    assert (sink._max_bytes, sink._keep, sink._fsync) == (5_000_000, 0, True)
    (tmp_path / "secret").write_text("s3cret\n")
    address = f"https://example.org/hook?a=b&ecovision.timeout=3&ecovision.secret_file={tmp_path}/secret"
    hook = sink_of(address)
    assert isinstance(hook, WebhookSink)
    assert (hook._timeout, hook._secret, hook._target) == (3, "s3cret", "/hook?a=b")


def test_a_secret_comes_from_the_environment_and_is_never_shown():
    """Not in the name, not in the repr."""
    hook = sink_of("https://example.org/hook", {"ECOVISION_EDGE_WEBHOOK_SECRET": "s3cret"})
    assert hook._secret == "s3cret"
    assert "s3cret" not in repr(hook) + hook.name


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("", "expected stdout:.*found nothing"),
        ("fille:x", r"did you mean file:\?"),
        ("carrier-pigeon:x", "found carrier-pigeon"),
        ("stdout:x", "nothing after it"),
        ("file:", "a path after it"),
        ("file:x?keeep=3", "unknown option.*did you mean keep"),
        ("file:x?max_bytes=lots", "max_bytes.*500MB"),
        ("https://user:pw@example.org/", "ECOVISION_EDGE_WEBHOOK_SECRET"),
        ("http://example.org/", "use https://"),
        ("https://example.org:99999/", "port"),
        ("https://example.org/?ecovision.timeout=0", "timeout"),
        ("https://example.org/?ecovision.secret_file=missing", "secret_file missing"),
    ],
)
def test_wrong_addresses_are_one_line(address, says):
    """What was expected and found, and never a password."""
    with pytest.raises(OptionError, match=says) as caught:
        sink_of(address)
    assert "pw" not in str(caught.value)
