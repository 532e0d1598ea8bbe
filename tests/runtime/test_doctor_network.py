"""Facts about what the doctor says of servers: brokers, webhooks, and the repository of updates."""

import contextlib
import errno
import json
import socket
import ssl
import threading
import time
from datetime import timedelta

import pytest
from tests.runtime.camera_servers import free_port, silent_server
from tests.runtime.machine_trees import put, system_of
from tests.runtime.sink_servers import authority

from ecovision_edge.doctor.destinations import check_sink, shown_address
from ecovision_edge.doctor.network import check_server, fault_of
from ecovision_edge.doctor.repository import check_repository, fetch_url
from ecovision_edge.sinks.addresses import named_bins, sink_server

NOW = 1_796_000_000.0


@contextlib.contextmanager
def listening(context=None):
    """A server that takes connections, with TLS if there is a context, until the end; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = threading.Event()

        def accept():
            while not left.is_set():
                connection, _ = server.accept()
                with contextlib.suppress(OSError), connection:
                    if context is not None:
                        context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=accept)
        thread.start()
        port = server.getsockname()[1]
        try:
            yield port
        finally:
            left.set()
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join()


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    """An authority, and the server's side of TLS with a certificate of it."""
    made = authority(tmp_path_factory.mktemp("tls"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)
    return made.ca, context


def test_a_server_that_listens_is_reachable():
    """Its number and port are told."""
    with listening() as port:
        check = check_server("broker", "127.0.0.1", port, None, now=NOW)
    assert check.state == "ok"
    assert f"127.0.0.1 port {port}" in check.found


def test_a_server_with_tls_is_verified_and_the_end_of_its_certificate_told(trusted):
    """Shortly before that end it is a warning."""
    ca, context = trusted
    client = ssl.create_default_context(cafile=ca)
    with listening(context) as port:
        check = check_server("broker", "127.0.0.1", port, client, now=0.0)
        assert check.state == "ok"
        assert "certificate until 2" in check.found
        assert check_server("broker", "127.0.0.1", port, client, now=4e9).state == "warn"
        unknown = check_server("broker", "127.0.0.1", port, ssl.create_default_context(), now=NOW)
    assert unknown.state == "fail"
    assert "certificate is refused" in unknown.found
    assert "ca=FILE" in unknown.advice


def test_a_broken_broker():
    """One that is off, one that says nothing, and one that hangs up before TLS."""
    tls = ssl.create_default_context()
    closed = check_server("broker", "127.0.0.1", free_port(), None, now=NOW)
    assert (closed.state, closed.found[:15]) == ("fail", "nothing listens")
    with silent_server() as port:
        silent = check_server("broker", "127.0.0.1", port, tls, now=NOW, limit=0.05)
    assert (silent.state, silent.found) == ("fail", f"no answer at port {port} within 0.05 s")
    with listening() as port:
        plain = check_server("broker", "127.0.0.1", port, tls, now=NOW)
    assert (plain.state, plain.found[:18]) == ("fail", f"no TLS at port {port}"[:18])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "name is not known"),
        (
            ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1000)"),
            "no TLS at port 8883: wrong version number",
        ),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable"),
    ],
)
def test_each_fault_of_a_network_has_words_and_advice(error, words):
    """In place of numbers."""
    found, advice = fault_of(error, 8883, 8.0)
    assert words in found
    assert advice


def test_the_server_of_a_sink_is_known_without_opening_it(tmp_path):
    """With the ports that are usual; a sink on this machine has none."""
    assert (s := sink_server("mqtts://me@broker/hall", {})) is not None
    assert (s.host, s.port, s.tls is None, s.shown) == ("broker", 8883, False, "mqtts://broker:8883")
    s = sink_server("http://[::1]/${KEY}?ecovision.insecure=1", {"KEY": "x"})
    assert (s.host, s.port, s.tls) == ("::1", 80, None)
    assert sink_server("https://host:444/x", {}).port == 444
    assert sink_server("file:events.jsonl", {}) is None
    pins = "gpio:?servo=18&angles=paper:-60,glass:0&leds=paper:5&failsafe=glass"
    assert named_bins(pins) == ("paper", "glass")
    assert named_bins("stdout:") == ()


def test_a_broker_and_a_webhook_are_reached_and_nothing_is_sent(tmp_path):
    """The first thing a server sees is that the line is closed."""
    seen = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def accept():
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    seen.append(connection.recv(100))

        thread = threading.Thread(target=accept)
        thread.start()
        broker = check_sink(system_of(tmp_path), f"mqtt://127.0.0.1:{port}/hall")
        hook = check_sink(system_of(tmp_path), f"http://127.0.0.1:{port}/secret-path")
        thread.join()
    assert (broker.state, hook.state, seen) == ("ok", "ok", [b"", b""])
    assert broker.name == f"sink mqtt://127.0.0.1:{port}/hall"
    assert hook.name == f"sink http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("mqtt://user:hunter2@broker/x", "no password"),
        ("https://host/hunter2?ecovision.nonesuch=1", "unknown option"),
        ("http://host/hunter2", "insecure"),
        ("nonesuch:x", "--sink"),
    ],
)
def test_an_address_that_no_sink_takes_is_told_without_its_secrets(tmp_path, address, words):
    """As `run` would."""
    check = check_sink(system_of(tmp_path), address)
    assert check.state == "fail"
    assert words in f"{check.found} {check.advice}"
    assert "hunter2" not in f"{check.name} {check.found} {check.advice}"
    assert shown_address("gpio:?servo=18") == "gpio:"


def test_sinks_of_this_machine(tmp_path):
    """A folder, a board and pins: there or not, and whose they are."""
    pytest.importorskip("gpiozero", reason="needs gpiozero: pip install '.[gpio]'")
    pytest.importorskip("serial", reason="needs pyserial: pip install '.[serial]'")
    refused = {"may_use": lambda path: False}
    addresses = ["file:/var/log/events.jsonl", "serial:///dev/ttyACM0", "gpio:?leds=paper:5", "stdout:"]
    before = [check_sink(system_of(tmp_path), a).state for a in addresses]
    assert before == ["fail", "fail", "fail", "ok"]
    put(tmp_path, "dev/ttyACM1")
    assert "/dev/ttyACM1" in check_sink(system_of(tmp_path), addresses[1]).found
    for device in ("dev/ttyACM0", "dev/gpiochip0", "var/log/syslog"):
        put(tmp_path, device)
    assert [check_sink(system_of(tmp_path), a).state for a in addresses] == ["ok"] * 4
    wrong = [check_sink(system_of(tmp_path, **refused), a) for a in addresses]
    assert [c.state for c in wrong] == ["fail"] * 3 + ["ok"]
    assert "usermod" in wrong[1].advice


def signed(kind, expires, version=1, **more):
    """A file of a repository, as far as it is read."""
    return json.dumps({"signed": {"_type": kind, "version": version, "expires": expires, **more}}).encode()


def files(**changes):
    """A repository whose fifth root is the newest; NOW is in November 2026."""
    found = {f"{n}.root": signed("root", "2027-11-30T00:00:00Z", n) for n in range(1, 6)}
    found["timestamp"] = signed("timestamp", "2026-12-05T00:00:00Z", meta={"snapshot.json": {"version": 7}})
    found["7.snapshot"] = signed("snapshot", "2026-12-20T00:00:00Z", 7, meta={"targets.json": {"version": 2}})
    found["2.targets"] = signed("targets", "2027-06-01T00:00:00Z", 2)
    return {**found, **{name.replace("_", "."): data for name, data in changes.items()}}


def look(found, asked=None):
    """The line about such a repository."""

    def fetch(url, most, until):
        if asked is not None:
            asked.append(url)
        data = found.get(url.removeprefix("https://host/fleet/metadata/").removesuffix(".json"))
        if isinstance(data, Exception):
            raise data
        return data

    return check_repository("https://host/fleet/", NOW, fetch)


def test_a_repository_tells_until_when_each_signature_holds():
    """Of its newest root, which is found by its number."""
    check = look(files())
    assert (check.name, check.state) == ("update https://host/fleet/", "ok")
    for words in ("timestamp 1 until 2026-12-05", "snapshot 7", "targets 2 until 2027-06-01", "root 5"):
        assert words in check.found


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({"timestamp": signed("timestamp", "2026-01-01T00:00:00Z", meta={"snapshot.json": {"version": 7}})},
         "fail", "timestamp expired"),
        ({"2_targets": signed("targets", "2026-12-01T00:00:00Z", 2)}, "warn", "targets expires soon"),
        ({"5_root": signed("root", "2026-11-01T00:00:00Z", 5)}, "fail", "root expired"),
        ({"timestamp": None}, "fail", "no such file"),
        ({"7_snapshot": None}, "fail", "no such file"),
        ({"1_root": None, "2_root": None}, "fail", "no such file"),
        ({"timestamp": b"<html>"}, "fail", "not valid JSON"),
        ({"timestamp": signed("root", "2026-12-05T00:00:00Z")}, "fail", "no repository"),
        ({"2_targets": signed("targets", "2026-13-05T00:00:00Z", 2)}, "fail", "a time in UTC"),
        ({"timestamp": ConnectionRefusedError(111, "Connection refused")}, "fail", "nothing listens"),
        ({"2_targets": ValueError("more than 5000000 bytes")}, "fail", "more than 5000000 bytes"),
        ({"5_root": OSError("HTTP 500 Oops")}, "fail", "HTTP 500 Oops"),
    ],
)  # fmt: skip
def test_a_repository_in_trouble(changes, state, words):
    """Expired, half there, something else, or not to be had."""
    check = look(files(**changes))
    assert (check.state, bool(check.advice)) == (state, True)
    assert words in check.found


@pytest.mark.parametrize("newest", [1, 2, 3, 7, 8, 300])
def test_the_newest_of_many_roots_is_found_by_few_requests(newest):
    """By doubling, then halving."""
    asked = []
    roots = {f"{n}.root": signed("root", "2027-11-30T00:00:00Z", n) for n in range(1, newest + 1)}
    rest = {name: data for name, data in files().items() if "root" not in name}
    assert f"root {newest} until" in look({**rest, **roots}, asked).found
    assert len(asked) <= 3 + 2 * newest.bit_length() + 1


@pytest.mark.parametrize("url", ["host/fleet", "ftp://host/x", "https:///x", "https://me:hunter2@host/x"])
def test_an_address_of_no_web_server_is_refused(url):
    """Nothing is asked."""
    check = check_repository(url, NOW, lambda *_: pytest.fail("asked"))
    assert check.state == "fail"
    assert "hunter2" not in str(check)


def test_a_real_repository_on_a_real_web_server(tmp_path):
    """Signed by python-tuf; then its timestamp expires, then it is gone."""
    pytest.importorskip("tuf", reason="needs tuf: pip install '.[update]'")
    from tests.runtime.release_repositories import make_repository, serve_folder

    repository = make_repository(tmp_path / "fleet")
    now = repository.metadata.stat().st_mtime
    repository.expires = {role: timedelta(days=100) for role in repository.expires}
    repository.publish_root()
    repository.publish()
    with serve_folder(tmp_path / "fleet") as server:
        check = check_repository(server.url, now)
        assert check.state == "ok"
        assert "root 2 until" in check.found
        repository.expires["timestamp"] = timedelta(days=-1)
        repository.publish_timestamp()
        assert "timestamp expired" in check_repository(server.url, now).found
        with pytest.raises(ValueError, match="more than 10 bytes"):
            fetch_url(f"{server.url}metadata/timestamp.json", 10, time.monotonic() + 60)
        with pytest.raises(TimeoutError):
            fetch_url(f"{server.url}metadata/timestamp.json", 10, 0.0)
    assert "nothing listens" in check_repository(server.url, now).found
