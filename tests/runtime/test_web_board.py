"""Facts about the board of the live page, its addresses, its guard and its limits; nothing is served here."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.camera.health import Health, HealthState
from ecovision_edge.camera.source import CapturedFrame
from ecovision_edge.errors import OptionError, ServeError
from ecovision_edge.loop.result import LoopResult
from ecovision_edge.observation import Look, View
from ecovision_edge.prediction import Prediction, Timings
from ecovision_edge.web import Board, Limits
from ecovision_edge.web._connections import Connections, Door
from ecovision_edge.web._events import Events, event
from ecovision_edge.web._metrics import Metrics
from ecovision_edge.web.address import Address, bind
from ecovision_edge.web.guard import Guard, check_access

LABELS = ("glass", "metal", "paper")
TOKEN = "correct-horse-battery"


def result(index=0, top=0, score=0.8, captured_at=None, **changes):
    """A result for a grey frame; `score` is of the class `top`."""
    rest = (1 - score) / 2
    probabilities = tuple(score if i == top else rest for i in range(3))
    frame = CapturedFrame(
        np.full((4, 6, 3), 90, np.uint8), index, time.monotonic() if captured_at is None else captured_at
    )
    prediction = Prediction(LABELS[top], top, score, score - rest, probabilities, Timings(2.0, 10.0, 0.1))
    options = {"age_ms": 14.0, "dropped": 0, "time": 1_700_000_000.0 + index, **changes}
    return LoopResult(index, frame, prediction, LABELS, **options)


def empty(index=0, view=View.EMPTY):
    """A result of a frame that the network was not asked about."""
    look = Look(view, 0.0, False, "the tray is empty")
    return replace(result(index, top=1), prediction=None, look=look)


def running(at=None):
    return Health(HealthState.RUNNING, time.monotonic() if at is None else at)


# The board.


def test_an_empty_board_is_starting_and_not_live():
    """Before anything is put on it."""
    board = Board(LABELS)
    status = board.view().status(time.monotonic(), 5)
    assert (status.state, status.live, status.age) == (HealthState.STARTING, False, None)
    assert board.view().labels == LABELS
    assert board.rate() is None


def test_a_fresh_result_of_a_running_source_is_live():
    """And only until it is `stale_s` old: then the source counts as stalled, whatever it says."""
    board = Board()
    board.set_health(running(at=100.0))
    board.publish(result(captured_at=102.0))
    view = board.view()
    assert view.status(102.5, 5).live
    late = view.status(107.5, 5)
    assert (late.state, late.live, late.age, late.since) == (HealthState.STALLED, False, 5.5, 107.0)
    assert late.reason == "no result for more than 5 s"


def test_a_running_source_gets_time_for_its_first_result():
    """Then it is stalled."""
    board = Board()
    board.set_health(running(at=100.0))
    assert board.view().status(104.9, 5).state is HealthState.RUNNING
    assert not board.view().status(104.9, 5).live
    assert board.view().status(105.0, 5).state is HealthState.STALLED


def test_a_source_that_runs_again_is_live_with_its_first_new_frame():
    """The old frame does not come back to life."""
    board = Board()
    board.publish(result(captured_at=100.0))
    board.set_health(running(at=130.0))
    again = board.view().status(131.0, 5)
    assert (again.state, again.live) == (HealthState.RUNNING, False)
    board.publish(result(1, captured_at=131.5))
    assert board.view().status(132.0, 5).live


@pytest.mark.parametrize("state", [s for s in HealthState if s is not HealthState.RUNNING])
def test_no_other_state_is_live(state):
    """However fresh the last frame."""
    board = Board()
    board.publish(result())
    board.set_health(Health(state, time.monotonic(), "why"))
    status = board.view().status(time.monotonic(), 5)
    assert (status.state, status.reason, status.live) == (state, "why", False)


def test_the_history_is_bounded_and_oldest_first():
    """And starts after an index that the caller knows."""
    board = Board(history=5)
    for i in range(8):
        board.publish(result(i, top=i % 3))
    assert [p.index for p in board.history()] == [3, 4, 5, 6, 7]
    assert [p.index for p in board.history(after=5)] == [6, 7]
    assert [p.label for p in board.history(most=2)] == ["glass", "metal"]
    with pytest.raises(OptionError, match="expected 1 to 10000 results, found 0"):
        Board(history=0)


def test_the_counters_are_those_of_what_was_published():
    """By label, with the known ones at 0; histograms in seconds."""
    board = Board(LABELS)
    for i in range(5):
        board.publish(result(i, top=i % 2, dropped=i * 2))
    board.set_health(Health(HealthState.RUNNING, 0.0, reconnects=3))
    board.publish(result(5, dropped=8, bad_frames=2))
    counters = board.counters()
    assert counters.bad_frames == 2
    assert counters.classified == {"glass": 4, "metal": 2, "paper": 0}
    assert (counters.dropped, counters.reconnects) == (8, 3)
    assert counters.stages["infer"].total == pytest.approx(0.06)
    assert sum(counters.stages["infer"].counts) == 6
    assert counters.age.counts[counters.age.bounds.index(0.025)] == 6


def test_an_empty_tray_counts_for_no_label():
    """Its frames have an age, and a name of their own in the metrics and the history."""
    board = Board(LABELS)
    board.publish(result(0))
    board.publish(empty(1))
    board.publish(empty(2, View.COVERED))
    counters = board.counters()
    assert sum(counters.classified.values()) == sum(counters.stages["infer"].counts) == 1
    assert counters.unclassified == {"empty": 1, "covered": 1}
    assert sum(counters.age.counts) == 3
    past = [(p.label, p.score, p.tray) for p in board.history()]
    assert past == [("glass", 0.8, None), (None, None, "empty"), (None, None, "covered")]
    text = Metrics(board, 5.0).text().decode()
    assert 'ecovision_frames_unclassified_total{tray="empty"} 1.0' in text
    assert 'ecovision_frames_classified_total{label="metal"} 0.0' in text


def test_the_page_is_told_of_an_empty_tray():
    """Not of a label; what the network would say is null."""
    board = Board(LABELS)
    board.publish(empty())
    told = Events(board, Limits(), "tray").next(time.monotonic()).decode()
    data = json.loads(told.split("event: result\ndata: ")[1].splitlines()[0])
    assert (data["tray"], data["label"], data["score"], data["probabilities"]) == ("empty", None, None, None)
    assert data["timings_ms"] is None
    assert [entry[1:3] + entry[4:] for entry in data["past"]] == [[None, None, "empty"]]


def test_bad_frames_are_counted_also_while_no_result_comes():
    """The source's health has them then."""
    board = Board()
    board.publish(result(bad_frames=2))
    board.set_health(Health(HealthState.STALLED, time.monotonic(), "why", bad_frames=40))
    assert board.counters().bad_frames == 40
    status = board.view().status(time.monotonic(), 5)
    assert status.to_json(time.monotonic())["bad_frames"] == 40
    assert "ecovision_frames_bad_total 40.0" in Metrics(board, 5.0).text().decode().splitlines()


def test_many_threads_lose_no_result():
    """Counting is under the lock."""
    board = Board(LABELS)

    def publish():
        for i in range(500):
            board.publish(result(i))

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert board.counters().classified["glass"] == 2000
    assert board.version == 2000


def test_the_rate_is_that_of_the_last_seconds(monkeypatch):
    """A pause before them does not count."""
    board, times = Board(), [0.0, 100.0, 100.5, 101.0]
    results = [result(i, captured_at=at) for i, at in enumerate(times)]
    clock = iter(times)
    monkeypatch.setattr("ecovision_edge.web.board.time.monotonic", lambda: next(clock))
    for one in results:
        board.publish(one)
    assert board.rate() == pytest.approx(2.0)


# Metrics.


def test_metrics_are_cumulative_and_end_at_infinity():
    """As Prometheus wants a histogram."""
    board = Board(LABELS)
    for i in range(3):
        board.publish(result(i))
    board.set_health(running())
    lines = Metrics(board, 5.0).text().decode().splitlines()
    assert 'ecovision_stage_seconds_bucket{le="0.005",stage="infer"} 0.0' in lines
    assert 'ecovision_stage_seconds_bucket{le="0.01",stage="infer"} 3.0' in lines
    assert 'ecovision_stage_seconds_bucket{le="+Inf",stage="infer"} 3.0' in lines
    assert 'ecovision_frames_classified_total{label="glass"} 3.0' in lines
    assert 'ecovision_health{ecovision_health="RUNNING"} 1.0' in lines
    assert 'ecovision_health{ecovision_health="FAILED"} 0.0' in lines
    assert "ecovision_live 1.0" in lines


def test_two_pages_have_two_registries():
    """Nothing is registered for the whole process."""
    board = Board(LABELS)
    assert Metrics(board, 5.0).text().count(b"# TYPE ecovision_live gauge") == 1
    assert Metrics(board, 5.0).text().count(b"# TYPE ecovision_live gauge") == 1


# Events.


def names(data):
    return [line[7:] for line in data.decode().splitlines() if line.startswith("event: ")]


def payload(data, name):
    lines = data.decode().splitlines()
    return json.loads(lines[lines.index(f"event: {name}") + 1][6:])


def test_a_page_is_first_told_what_there_is():
    """The settings, the health, the newest result with the history before it."""
    board = Board(LABELS)
    board.set_health(running(at=100.0))
    for i in range(3):
        board.publish(result(i, captured_at=100.5))
    first = Events(board, Limits(), "Bin <3>").next(101.0)
    assert names(first) == ["hello", "health", "result"]
    assert payload(first, "hello")["title"] == "Bin <3>"
    told = payload(first, "result")
    assert (told["index"], told["live"], told["frame_age_ms"]) == (2, True, 500.0)
    assert [p[0] for p in told["past"]] == [0, 1, 2]


def test_a_page_is_told_which_bundle_answers_and_of_another_one():
    """With the settings at first; then only when it is another."""
    one, other = BundleIdentity("kitchen", "1", "0" * 64), BundleIdentity("kitchen", "2", "1" * 64)
    board = Board(LABELS, bundle=one)
    events = Events(board, Limits(), "t")
    assert payload(events.next(100.0), "hello")["bundle"] == one.to_json()
    board.set_bundle(one)
    assert events.next(100.1) == b""
    board.set_bundle(other)
    assert payload(events.next(100.2), "bundle") == other.to_json()
    board.set_bundle(None)  # a lone model file
    assert payload(events.next(100.3), "bundle") is None
    assert events.next(100.4) == b""


def test_a_monitor_is_told_which_bundle_answers():
    """As an info metric; of a lone model file there is none."""
    board = Board(LABELS, bundle=BundleIdentity("kitchen", "2.1", "0" * 64))
    line = f'ecovision_bundle_info{{id="{"0" * 64}",name="kitchen",version="2.1"}} 1.0'
    assert line in Metrics(board, 5.0).text().decode().splitlines()
    board.set_bundle(None)
    assert b"ecovision_bundle" not in Metrics(board, 5.0).text()


def test_of_many_results_the_latest_is_told_with_the_history_between():
    """At most ten a second; nothing is queued."""
    board = Board(LABELS)
    board.set_health(running(at=100.0))
    events = Events(board, Limits(), "t")
    board.publish(result(0, captured_at=100.0))
    events.next(100.0)
    for i in range(1, 40):
        board.publish(result(i, captured_at=100.0))
    assert events.next(100.05) == b""
    assert events.pause(100.05) == pytest.approx(0.05)
    told = payload(events.next(100.1), "result")
    assert told["index"] == 39
    assert [p[0] for p in told["past"]] == list(range(1, 40))
    assert events.pause(100.1) == 0


def test_a_loop_that_starts_anew_counts_from_0_again():
    """And is told of all the same."""
    board = Board(LABELS)
    events = Events(board, Limits(), "t")
    board.publish(result(7))
    events.next(0.0)
    board.publish(result(0))
    assert payload(events.next(1.0), "result")["index"] == 0


def test_a_page_that_nothing_is_told_hears_a_heartbeat():
    """Every five seconds, and no more often."""
    events = Events(Board(LABELS), Limits(), "t")
    events.next(100.0)
    assert events.next(104.9) == b""
    assert names(events.next(105.0)) == ["alive"]
    assert events.next(105.1) == b""


def test_staleness_is_told_once_although_the_board_says_nothing():
    """The health changes by the passing of time alone."""
    board = Board(LABELS)
    board.set_health(running(at=100.0))
    board.publish(result(0, captured_at=100.0))
    events = Events(board, Limits(), "t")
    events.next(100.0)
    told = events.next(105.1)
    assert names(told) == ["health"]
    assert payload(told, "health")["state"] == "STALLED"
    assert events.next(106.0) == b""


def test_an_event_is_json_even_of_what_is_not_finite():
    """A network that overflows gives NaN, which no browser reads."""
    assert event("e", {"a": [float("nan"), 1.5]}) == b'event: e\ndata: {"a":[null,1.5]}\n\n'


# Addresses.


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("127.9.9.9:1", "127.9.9.9", 1, True),
        ("[::1]:80", "::1", 80, True),
        ("LocalHost:0", "localhost", 0, True),
        ("0.0.0.0:8080", "0.0.0.0", 8080, False),
        ("[::]:8080", "::", 8080, False),
        ("192.168.1.5:8080", "192.168.1.5", 8080, False),
        ("bin.local:8080", "bin.local", 8080, False),
    ],
)
def test_addresses_that_are_read(text, host, port, loopback):
    """HOST:PORT; only loopback addresses and `localhost` are loopback."""
    address = Address.parse(text)
    assert (address.host, address.port, address.loopback) == (host, port, loopback)
    assert str(address) == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8080",
        ":8080",
        "127.0.0.1",
        "127.0.0.1:",
        "h:65536",
        "::1:80",
        "[zz]:1",
        "[1.2]:1",
        "a b:1",
        "a:1\n",
    ],
)
def test_addresses_that_are_refused(text):
    """With what would be right."""
    with pytest.raises(OptionError, match="expected HOST:PORT, such as"):
        Address.parse(text)


def test_an_address_of_another_machine_cannot_be_served():
    """The message names the address and the reason."""
    with pytest.raises(ServeError, match=r"cannot serve the page at 192\.0\.2\.1:8080: "):
        bind(Address("192.0.2.1", 8080))


def test_a_name_that_is_none_cannot_be_served():
    """Nor one that no name can be."""
    for name in ("no-such-name.invalid", "x" * 80):
        with pytest.raises(ServeError, match="cannot serve the page at"):
            bind(Address(name, 0))


# The guard.


def access(address, token=None, insecure=False):
    check_access(Address.parse(address), token, insecure)


@pytest.mark.parametrize("address", ["0.0.0.0:80", "[::]:80", "192.168.1.5:80", "bin.local:80"])
def test_what_others_can_reach_needs_a_token(address):
    """Or the word that it may be insecure."""
    with pytest.raises(
        OptionError,
        match=r"would show the camera to the whole network.*; give --http-token, .*, 16 to 256 printable",
    ):
        access(address)
    access(address, token=TOKEN)
    access(address, insecure=True)


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 257, "with a space in it", "ümlaut-ümlaut-ümlaut", "a" * 20 + "\n"]
)
def test_a_token_that_is_no_good_is_refused_and_not_repeated(token):
    """Too short to be safe, or of letters that headers do not carry."""
    with pytest.raises(OptionError, match="16 to 256 printable ASCII") as caught:
        access("127.0.0.1:80", token=token)
    assert not token or token not in str(caught.value)


def guard(address, port=8080, token=None):
    return Guard(Address.parse(address), port, token, hostname="BinPi")


@pytest.mark.parametrize(
    ("address", "host", "ok"),
    [
        ("127.0.0.1:0", "127.0.0.1:8080", True),
        ("127.0.0.1:0", "localhost:8080", True),
        ("127.0.0.1:0", "LOCALHOST.:8080", True),
        ("127.0.0.1:0", "[::1]:8080", True),
        ("127.0.0.1:0", "127.0.0.1", False),
        ("127.0.0.1:0", "127.0.0.1:8081", False),
        ("127.0.0.1:0", "evil.example:8080", False),
        ("127.0.0.1:0", "localhost.evil.example:8080", False),
        ("127.0.0.1:0", "192.168.1.5:8080", False),
        ("127.0.0.1:0", "binpi.local:8080", False),
        ("0.0.0.0:0", "192.168.1.5:8080", True),
        ("0.0.0.0:0", "[fe80::1]:8080", True),
        ("0.0.0.0:0", "192.168.1.5", True),
        ("0.0.0.0:0", "binpi:8080", True),
        ("0.0.0.0:0", "binpi.local:8080", True),
        ("0.0.0.0:0", "evil.example:8080", False),
        ("192.168.1.5:0", "192.168.1.5:8080", True),
        ("192.168.1.5:0", "192.168.1.6:8080", False),
        ("bin.example:0", "bin.example:8080", True),
        ("bin.example:0", "evil.example:8080", False),
        ("0.0.0.0:0", "", False),
        ("0.0.0.0:0", "a@b:1", False),
        ("0.0.0.0:0", "127.0.0.1:8080:1", False),
        ("0.0.0.0:0", "127.0.0.1:8080\n", False),
        ("0.0.0.0:0", "[::1", False),
        ("0.0.0.0:0", "[fe80::1%eth0]:8080", False),
        ("0.0.0.0:0", "192.168.1.5:65536", False),
        ("bik.example:0", "bi\u212a.example:8080", False),  # a Kelvin sign is a k in lower case
    ],
)
def test_names_under_which_the_page_answers(address, host, ok):
    """Those that nobody else can let point here."""
    assert guard(address).host_ok([host]) is ok


def test_a_tunnel_is_explained_where_it_is_the_only_way_in():
    """Only a loopback address cares for the port: elsewhere a forwarded one is as good."""
    assert guard("127.0.0.1:0").wrong_host.endswith("both ends: ssh -L 8080:127.0.0.1:8080 HOST")
    assert guard("[::1]:0").wrong_host.endswith("both ends: ssh -L 8080:[::1]:8080 HOST")
    assert guard("0.0.0.0:0").wrong_host.endswith("ask for it by its IP address")


def test_there_is_one_host_header():
    """With none, or with two, nobody knows which is meant."""
    assert not guard("127.0.0.1:0").host_ok([])
    assert not guard("127.0.0.1:0").host_ok(["127.0.0.1:8080", "127.0.0.1:8080"])


def test_tokens_are_compared_in_constant_time(monkeypatch):
    """By `hmac.compare_digest`, on bytes, for the token and for the cookie."""
    calls = []
    monkeypatch.setattr(
        "ecovision_edge.web.guard.hmac.compare_digest", lambda a, b: calls.append((a, b)) or a == b
    )
    it = guard("127.0.0.1:0", token=TOKEN)
    assert it.token_ok(TOKEN)
    assert not it.bearer_ok("Bearer wrong")
    assert not it.cookie_ok("wrong")
    assert len(calls) == 3
    assert all(isinstance(x, bytes) for pair in calls for x in pair)


def test_the_cookie_is_not_the_token():
    """It is made of it; the same token gives the same, another one another."""
    one, again = guard("127.0.0.1:0", token=TOKEN), guard("127.0.0.1:0", token=TOKEN)
    other = guard("127.0.0.1:0", token=f"{TOKEN}x")
    assert one.cookie_value == again.cookie_value != other.cookie_value
    assert TOKEN not in one.cookie_value
    assert not one.token_ok(one.cookie_value)


@pytest.mark.parametrize(
    "header", ["", "Bearer", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \udcff"]
)
def test_authorizations_that_do_not_open(header):
    """Another scheme, no token, a wrong one."""
    assert not guard("127.0.0.1:0", token=TOKEN).bearer_ok(header)


# Limits.


@pytest.mark.parametrize(
    ("name", "value"),
    [("fps", 0), ("quality", 101), ("long_side", 20000), ("stale_s", float("nan")), ("slow_s", -1)],
)
def test_limits_outside_their_range_are_refused(name, value):
    """With the name of the limit."""
    with pytest.raises(OptionError, match=f"limit {name} of the page"):
        Limits(**{name: value})


class FakeTransport(asyncio.Transport):
    """A transport that only knows what waits to be sent."""

    def __init__(self):
        super().__init__()
        self.waiting, self.aborted = 0, False

    def get_write_buffer_size(self):
        return self.waiting

    def abort(self):
        self.aborted = True


def test_a_connection_without_a_request_is_closed():
    """After `idle_s`."""
    connections, silent = Connections(Limits(idle_s=30)), FakeTransport()
    for now in (0.0, 10.0, 29.9):
        connections.tick(now, [silent])
    assert not silent.aborted
    connections.tick(30.0, [silent])
    assert silent.aborted


def test_a_client_that_takes_nothing_is_closed_and_a_slow_one_is_not():
    """After `slow_s`; whoever takes a little is only slow."""
    connections = Connections(Limits(slow_s=10))
    stuck, slow, waits = FakeTransport(), FakeTransport(), FakeTransport()
    stuck.waiting, slow.waiting = 1000, 1000
    with (
        connections.answering(stuck, 0.0),
        connections.answering(slow, 0.0),
        connections.answering(waits, 0.0),
    ):
        for second in range(100):
            connections.tick(float(second), [stuck, slow, waits])
            slow.waiting = slow.waiting - 5 or 1000
            if second == 9:
                assert not stuck.aborted
    assert (stuck.aborted, slow.aborted, waits.aborted) == (True, False, False)


def test_for_another_connection_the_one_that_is_idle_for_longest_is_closed():
    """At once, as it is accepted; none that is being answered, for which the new one is refused."""
    connections = Connections(Limits(connections=2))
    busy, old, new, last = (FakeTransport() for _ in range(4))
    assert connections.admit(busy, 0.0)
    with connections.answering(busy, 0.0):
        assert connections.admit(old, 1.0)
        assert connections.admit(new, 2.0)
        assert (busy.aborted, old.aborted, new.aborted, len(connections)) == (False, True, False, 2)
        with connections.answering(new, 3.0):
            assert not connections.admit(last, 4.0)
        assert connections.admit(last, 5.0)
    assert (busy.aborted, new.aborted, last.aborted, len(connections)) == (False, True, False, 2)


def test_the_door_reads_nothing_of_a_connection_that_is_refused():
    """And hands others on with all that they send."""
    made = []

    class Behind(asyncio.Protocol):
        def connection_made(self, transport):
            made.append(transport)

    class Transport(FakeTransport):
        protocol = None

        def set_protocol(self, protocol):
            self.protocol = protocol

    async def knock():
        connections = Connections(Limits(connections=1))
        first, second = Transport(), Transport()
        Door(connections, Behind).connection_made(first)
        with connections.answering(first, 0.0):
            Door(connections, Behind).connection_made(second)
        return first, second

    first, second = asyncio.run(knock())
    assert (first.aborted, second.aborted) == (False, True)
    assert made == [first]
    assert isinstance(first.protocol, Behind)
    assert second.protocol is None


def test_a_connection_that_is_gone_is_forgotten():
    """Nothing is kept of it."""
    connections, gone = Connections(Limits()), FakeTransport()
    connections.tick(0.0, [gone])
    connections.tick(1.0, [])
    assert len(connections) == 0
