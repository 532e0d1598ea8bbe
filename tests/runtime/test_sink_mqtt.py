"""Facts about MQTT: a kill of the broker or of the sink loses no safe event, and nothing stale is shown."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt.publish import single
from tests.runtime.home_assistant import SCHEMAS, TOPIC, UNKNOWN, UPDATE, UPDATE_STATE
from tests.runtime.sink_servers import (
    PROMPT,
    Subscriber,
    authority,
    free_port,
    mosquitto,
    scripted,
    skipping,
)
from tests.runtime.test_sink_base import event

from ecovision_edge.bundle.identity import BundleIdentity
from ecovision_edge.errors import MissingDependencyError, OptionError
from ecovision_edge.events import BinState, event_schema
from ecovision_edge.sinks._mqtt_client import PacketGuard, UnaskedError
from ecovision_edge.sinks._mqtt_sender import state_payload
from ecovision_edge.sinks._payload import event_bytes
from ecovision_edge.sinks._spool import Spool
from ecovision_edge.sinks._spool_files import SpoolFiles
from ecovision_edge.sinks.homeassistant import MOST_OPTIONS, discovery_messages
from ecovision_edge.sinks.mqtt import MqttOptions, MqttSink
from ecovision_edge.sinks.update_report import UpdateReport
from ecovision_edge_bench.power_cut.broker import SAVED_AT_ONCE
from ecovision_edge_bench.power_cut.forgetting import SAVINGS, ForgetReport, forget
from ecovision_edge_bench.power_cut.restarts import RestartReport, restart_broker

ROOT = Path(__file__).resolve().parents[2]
SOON = {"first_delay": 0.02, "most_delay": 0.05}


@pytest.fixture
def folder(tmp_path):
    """For a broker."""
    (tmp_path / "broker").mkdir()
    return tmp_path / "broker"


def sink_at(port, spool, **given):
    """A sink of the bin `bin7`."""
    mine = {n: given.pop(n) for n in ("labels", "bins", "on_safe", "max_events") if n in given}
    return MqttSink(MqttOptions(host="127.0.0.1", port=port, prefix="b/7", **given), spool, **SOON, **mine)


def until(condition):
    """Wait for what no condition variable tells."""
    pause = threading.Event()
    for _ in range(int(PROMPT / 0.005)):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("it never came so far")


def test_events_come_in_order_with_their_id(tmp_path, folder):
    """As JSON that the schema describes, and with MQTT 5 the id as a property too."""
    with mosquitto(folder) as broker, Subscriber(broker.port, "b/7/#") as listener:
        with sink_at(broker.port, tmp_path / "spool") as sink:
            for n in range(200):
                sink.put(event(n))
            assert sink.flush(PROMPT), sink.stats
            stats = sink.stats
        listener.wait(lambda: len(listener.ids) == 200)
    assert (stats.taken, stats.safe, stats.delivered, stats.dropped, stats.waiting) == (200, 200, 200, 0, 0)
    assert listener.order == [f"run-{n}" for n in range(200)]
    assert listener.properties[7] == {"id": "run-7"}
    schema = jsonschema.Draft202012Validator(event_schema())
    for topic, payload, _ in listener.messages:
        if topic in ("b/7/event", "b/7/last"):
            schema.validate(json.loads(payload))
    assert json.loads(listener.newest()["b/7/last"])["id"] == "run-199"


def test_a_late_subscriber_sees_how_things_are(tmp_path, folder):
    """Retained are availability, state, with the bundle, and the last event; an event is not."""
    with (
        mosquitto(folder) as broker,
        Subscriber(broker.port, "b/7/#") as early,
        sink_at(broker.port, tmp_path / "spool") as sink,
    ):
        sink.put(event(0))
        sink.show(BinState.DECIDED, "paper")
        sink.announce(BundleIdentity("kitchen", "2.1", "0" * 64))
        which = {"bundle": "0" * 64, "bundle_name": "kitchen", "bundle_version": "2.1"}
        shown = {"state": "decided", "reason": "paper", **which}
        early.wait(lambda: json.loads(early.newest().get("b/7/state", b"0")) == shown and early.ids)
        assert sink.flush(PROMPT)
        with Subscriber(broker.port, "b/7/#", persistent=False, name="late") as late:
            late.wait(lambda: len(late.newest()) == 3)
            newest = late.newest()
            assert all(retained for _, _, retained in late.messages)
    assert newest["b/7/availability"] == b"online"
    assert json.loads(newest["b/7/state"]) == shown
    assert json.loads(newest["b/7/last"])["id"] == "run-0"


def test_a_start_takes_back_what_a_former_run_showed(tmp_path, folder):
    """Nothing is known yet, and a state of yesterday is not one of today."""
    with mosquitto(folder) as broker:
        with sink_at(broker.port, tmp_path / "spool") as sink:
            sink.show(BinState.DECIDED, "paper")
        with Subscriber(broker.port, "b/7/#", persistent=False) as listener:
            listener.wait(lambda: len(listener.newest()) == 2)
            assert listener.newest()["b/7/availability"] == b"offline"
            with sink_at(broker.port, tmp_path / "spool"):
                listener.wait(lambda: listener.newest()["b/7/availability"] == b"online")
                assert json.loads(listener.newest()["b/7/state"])["state"] is None


@pytest.mark.slow
def test_the_will_says_that_it_is_gone(tmp_path, folder):
    """By a process that was killed, and so could not say it itself."""
    with mosquitto(folder) as broker, Subscriber(broker.port, "b/7/#") as listener:
        with child(broker.port, tmp_path / "spool", 0) as process:
            listener.wait(lambda: listener.newest().get("b/7/availability") == b"online")
            process.kill()
        listener.wait(lambda: listener.newest()["b/7/availability"] == b"offline")
        with Subscriber(broker.port, "b/7/availability", persistent=False, name="late") as late:
            late.wait(lambda: late.messages == [("b/7/availability", b"offline", True)])


def test_a_state_is_repeated_before_it_expires(tmp_path, folder):
    """Three times as often as it would."""
    with (
        mosquitto(folder) as broker,
        Subscriber(broker.port, "b/7/state") as listener,
        sink_at(broker.port, tmp_path / "spool") as sink,
    ):
        sink._sender._heartbeat = 0.02
        sink.show(BinState.EMPTY)
        listener.wait(lambda: [json.loads(p)["state"] for _, p, _ in listener.messages].count("empty") > 2)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["TERM", "KILL"])
def test_no_event_is_lost_or_doubled_by_a_broker_that_ends(tmp_path, how):
    """Of 2,000, three times in the middle; of a killed one, but for what it had acknowledged and not kept."""
    with skipping():
        report = restart_broker(tmp_path, 2000, 3, how)
    print("\n".join(report.lines()))
    assert report.problems() == []
    assert report.delivered == 2000
    assert report.forgotten < 300  # what waited at the broker for the subscriber, and not most of them


def test_a_restart_that_lost_something_is_no_good_one():
    """Each of its facts counts; what a killed broker forgot of its own is told, and no loss of ours."""
    good = RestartReport(10, 3, "KILL", delivered=10, lost=0, forgotten=2, doubled=3, repeated=9)
    assert good.problems() == []
    for wrong in ({"lost": 1}, {"how": "TERM"}, {"delivered": 9}, {"doubled": 4}):
        assert len(replace(good, **wrong).problems()) == 1
    with pytest.raises(OptionError, match="events and restarts"):
        restart_broker(Path(), 39, 3, "TERM")


@pytest.mark.slow
def test_only_a_broker_that_saves_at_once_keeps_what_it_acknowledged(tmp_path):
    """mosquitto's own default, and half of the lines, forget all of it: as the page of sinks says."""
    with skipping():
        report = forget(tmp_path, 3)
    assert [*report.forgotten.values()] == [3, 3, 3, 0]
    assert report.problems() == []


def test_a_setting_that_should_keep_all_and_does_not_is_a_problem():
    """What is told of the others is no problem of ours."""
    (*others, kept) = SAVINGS
    report = ForgetReport(3, {**dict.fromkeys(others, 3), kept: 1})
    assert report.problems() == [f"1 of 3 events were forgotten with {kept}"]
    with pytest.raises(OptionError, match="events"):
        forget(Path(), 0)


def test_the_page_of_sinks_gives_the_lines_that_were_tried():
    """All of them, in the configuration to copy."""
    page = (ROOT / "docs/sinks.md").read_text("utf-8")
    (lines,) = re.findall(r"^```text\n# /etc/mosquitto[^\n]*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert tuple(lines.splitlines()) == SAVED_AT_ONCE


@pytest.mark.slow
def test_a_broker_that_acknowledges_nothing_is_connected_to_anew(tmp_path):
    """The event waits; nobody knows whether it was taken."""
    with (
        scripted([V5_ACCEPTS], deaf=True) as (port, got),
        sink_at(port, tmp_path / "s", timeout=0.05) as sink,
    ):
        sink.put(event(0))
        until(lambda: len(got) > 2)
        assert "acknowledges nothing" in sink.stats.error
        sink.close(timeout=0.01)
    assert (sink.stats.waiting, sink.stats.dropped) == (1, 0)


def test_events_are_safe_while_no_broker_is_there(tmp_path, folder):
    """On disk, and sent by the next run."""
    safe = []
    with sink_at(free_port(), tmp_path / "spool", on_safe=lambda e: safe.append(e.id)) as sink:
        for n in range(50):
            sink.put(event(n))
        until(lambda: sink.stats.safe == 50)
        assert not sink.flush(0.01)
        until(lambda: sink.stats.error)
    assert (sink.stats.waiting, sink.stats.delivered, sink.stats.dropped) == (50, 0, 0)
    assert safe == [f"run-{n}" for n in range(50)]
    with mosquitto(folder) as broker, Subscriber(broker.port, "b/7/event") as listener:
        with sink_at(broker.port, tmp_path / "spool") as sink:
            listener.wait(lambda: len(listener.ids) == 50)
            until(lambda: sink.stats.delivered == 50)
        assert sink.stats.found == sink.stats.taken == 50
    assert listener.order == safe


CHILD = """
import sys, threading
port, spool, first, root = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
sys.path.insert(0, root)
from ecovision_edge.sinks.mqtt import MqttOptions, MqttSink
from ecovision_edge.sinks.update_report import UpdateReport
from tests.runtime.test_sink_base import event
free = threading.Semaphore(5)
def safe(e):
    free.release()
    sys.stdout.write(f"{e.sequence}\\n")
    sys.stdout.flush()
options = MqttOptions(host="127.0.0.1", port=port, prefix="b/7")
with MqttSink(options, spool, on_safe=safe, first_delay=0.02, most_delay=0.05) as sink:
    for n in range(first, 10**9 if first else 0):
        free.acquire()
        sink.put(event(n))
    sys.stdin.read()
"""


def child(port, spool, first):
    """A process that puts events from this number on (0: none), and prints the number of each safe one."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(port), spool, str(first), ROOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


@pytest.mark.slow
def test_no_safe_event_is_lost_by_a_killed_sink(tmp_path, folder):
    """Twenty times at a random moment; and each kill doubles one at most."""
    chance, kills = random.Random(7), 20
    safe, begun = set(), 1
    with mosquitto(folder) as broker, Subscriber(broker.port, "b/7/event") as listener:
        for _ in range(kills):
            with child(broker.port, tmp_path / "spool", begun) as process:
                for _ in range(chance.randint(1, 150)):
                    safe.add(int(process.stdout.readline()))
                process.send_signal(signal.SIGKILL)
                safe.update(
                    int(line)
                    for line in process.stdout.read().splitlines(keepends=True)
                    if line[-1:] == b"\n"
                )
            begun = max(safe) + 100  # some after the last safe one may have come so far, too
        with sink_at(broker.port, tmp_path / "spool") as sink:
            sink.put(event(0))
            until(lambda: sink.stats.safe and sink.stats.taken == sink.stats.delivered)
            assert sink.stats.dropped == 0
        listener.wait(lambda: {f"run-{n}" for n in safe} <= set(listener.ids))
    doubled = listener.ids.total() - len(listener.ids)
    print(f"{len(safe)} safe, {len(listener.ids)} came, {doubled} twice")
    assert doubled <= kills


def test_what_a_sink_that_never_started_was_given_is_kept(tmp_path):
    """On the disk, for the next run; no broker is asked for."""
    port = free_port()
    sink = sink_at(port, tmp_path / "spool")
    for n in range(3):
        sink.put(event(n))
    sink.close()
    assert (sink.stats.waiting, sink.stats.dropped, sink.stats.safe) == (3, 0, 3)
    assert not sink.running
    assert sink.stats.retries == 0
    again = sink_at(port, tmp_path / "spool")
    again.close()
    with sink_at(port, tmp_path / "spool") as later:
        until(lambda: later.stats.found == 3)


@pytest.mark.slow
def test_a_mistake_of_the_client_is_told_and_events_go_on(tmp_path, folder, monkeypatch, caplog):
    """Whatever the library raises: the thread that sends does not end unseen."""
    from ecovision_edge.sinks._mqtt_connection import Connection

    real, raised = Connection.publish, []

    def publish(self, *given, **options):
        if len(raised) < 3:
            raised.append(1)
            raise KeyError("mid")
        return real(self, *given, **options)

    monkeypatch.setattr(Connection, "publish", publish)
    with mosquitto(folder) as broker, sink_at(broker.port, tmp_path / "spool") as sink:
        sink.put(event(0))
        assert sink.flush(PROMPT), sink.stats
        assert (sink.stats.delivered, sink.stats.retries) == (1, 3)
    assert caplog.text.count("the MQTT client raised KeyError: 'mid'") == 1


def test_what_on_safe_raises_puts_no_event_on_the_disk_twice(tmp_path, caplog):
    """It is told; the event is safe all the same."""

    def wrong(event):
        raise LookupError(event.id)

    with sink_at(free_port(), tmp_path / "spool", on_safe=wrong) as sink:
        sink.put(event(0))
        until(lambda: sink.stats.safe == 1)
    assert (sink.stats.waiting, sink.stats.dropped) == (1, 0)
    assert "on_safe raised LookupError: run-0" in caplog.text


def test_two_sinks_never_share_a_spool(tmp_path):
    """The second one says so, and goes on as soon as the first one has ended."""
    first, second = (sink_at(free_port(), tmp_path / "spool") for _ in range(2))
    first.start()
    first.put(event(0))
    until(lambda: first.stats.safe == 1)
    second.start()
    until(lambda: "another sink" in second.stats.error)
    first.close()
    until(lambda: second.stats.found == 1)
    second.close()


@pytest.mark.slow
def test_put_returns_while_the_disk_hangs(tmp_path, monkeypatch):
    """Nor does `close` wait for it longer than it may."""
    go, inside = threading.Event(), threading.Event()

    def hanging(self, number, payload):
        inside.set()
        go.wait(PROMPT)
        raise OSError("gone")

    monkeypatch.setattr("ecovision_edge.sinks._spool_files.SpoolFiles.write", hanging)
    sink = sink_at(free_port(), tmp_path / "spool")
    sink.start()
    sink.put(event(0))
    assert inside.wait(PROMPT)
    sink.put(event(1))
    assert sink.stats.waiting == 2
    sink.close(timeout=0.05)
    go.set()
    until(lambda: not sink.running)
    sink._spool.close()
    assert sink.stats.dropped == 2


@pytest.mark.slow
def test_a_wrong_password_is_told_once_and_tried_again(tmp_path, folder, caplog):
    """Without the password; with the right one all is well."""
    users = {"bin": "right"}
    with mosquitto(folder, users=users) as broker:
        with sink_at(broker.port, tmp_path / "spool", username="bin", password="wr0ng") as sink:
            sink.put(event(0))
            until(lambda: sink.stats.retries > 3)
            assert "ECOVISION_EDGE_MQTT_PASSWORD" in sink.stats.error
        told = [r.message for r in caplog.records if "refuses us" in r.message]
        assert len(told) == 1
        assert "wr0ng" not in caplog.text + repr(sink) + repr(sink._sender._broker)
        with sink_at(broker.port, tmp_path / "spool", username="bin", password="right") as sink:
            until(lambda: sink.stats.delivered == 1)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path, folder, caplog):
    """Told once and tried again; with the authority's file all is well."""
    tls = authority(tmp_path)
    with mosquitto(folder, tls=tls) as broker:
        with sink_at(broker.port, tmp_path / "spool", tls=True) as sink:
            sink.put(event(0))
            until(lambda: sink.stats.retries > 2)
        assert "certificate" in sink.stats.error
        assert len([r for r in caplog.records if "certificate" in r.message]) == 1
        with (
            Subscriber(broker.port, "b/7/event", ca=tls.ca) as listener,
            sink_at(broker.port, tmp_path / "spool", tls=True, ca=str(tls.ca)) as sink,
        ):
            listener.wait(lambda: listener.order == ["run-0"])


def test_events_go_on_where_the_rules_forbid_discovery(tmp_path, folder, caplog):
    """A broker's access list allows the bin's own topics alone: that is told once."""
    (folder / "acl").write_text("topic readwrite b/#\n")
    with (
        mosquitto(folder, more=f"acl_file {folder}/acl") as broker,
        sink_at(broker.port, tmp_path / "spool", discovery=True) as sink,
    ):
        sink.put(event(0))
        assert sink.flush(PROMPT)
    assert sink.stats.delivered == 1
    assert "does not take homeassistant/" in caplog.text


def test_an_event_that_the_rules_forbid_waits(tmp_path, folder, caplog):
    """Somebody may change the rules; told once, though each connection is well until the event."""
    (folder / "acl").write_text("topic write b/7/state\n")
    with mosquitto(folder, more=f"acl_file {folder}/acl") as broker:
        with sink_at(broker.port, tmp_path / "spool") as sink:
            sink.put(event(0))
            until(lambda: sink.stats.retries > 4)
        assert (sink.stats.waiting, sink.stats.dropped) == (1, 0)
    assert "does not take events: Not authorized" in sink.stats.error
    assert len([r for r in caplog.records if "does not take events" in r.message]) == 1
    assert "well again" not in caplog.text


V5_REFUSES, V3_REFUSES = b"\x20\x03\x00\x84\x00", b"\x20\x02\x00\x01"
V3_ACCEPTS, V5_ACCEPTS = b"\x20\x02\x00\x00", b"\x20\x03\x00\x00\x00"


@pytest.mark.parametrize("refuses", [V5_REFUSES, V3_REFUSES, None], ids=["0x84", "0x01", "hangs-up"])
def test_a_broker_of_mqtt_3_1_1_is_spoken_to_in_its_way(tmp_path, refuses):
    """Whichever way it says that it knows no other."""
    with scripted([refuses, V3_ACCEPTS]) as (port, got), sink_at(port, tmp_path / "spool") as sink:
        sink.put(event(0))
        until(lambda: sink.stats.delivered == 1)
    versions = [packet[packet.index(b"MQTT") + 4] for packet in got]
    assert versions[:2] == [5, 4]


def test_a_broker_that_once_hung_up_is_asked_for_mqtt_5_again(tmp_path):
    """It may only have been starting, and MQTT 3.1.1 says less."""
    with scripted([None, V3_ACCEPTS, V5_ACCEPTS]) as (port, got), sink_at(port, tmp_path / "spool") as sink:
        sink.put(event(0))
        until(lambda: sink.stats.delivered == 1)
        got.hang_up()
        until(lambda: len(got) == 3)
    assert [packet[packet.index(b"MQTT") + 4] for packet in got] == [5, 4, 5]


def test_a_broker_that_says_nothing_or_nonsense_is_tried_again(tmp_path):
    """What it sends is no MQTT; or it acknowledges nothing."""
    with (
        scripted([b"\x20\x7f" + b"\xff" * 127]) as (port, _),
        sink_at(port, tmp_path / "s", timeout=0.1) as sink,
    ):
        sink.put(event(0))
        until(lambda: sink.stats.retries > 1)
    assert sink.stats.waiting == 1
    with scripted([b"\x20"]) as (port, _), sink_at(port, tmp_path / "s", timeout=0.05) as sink:
        until(lambda: "no answer to CONNECT" in sink.stats.error)


PUBLISH = b"\x30\x05\0\1tme"
UNASKED = {
    "message": (V5_ACCEPTS + PUBLISH, "PUBLISH of 5 bytes"),
    "huge message": (V5_ACCEPTS + b"\x30\xff\xff\xff\x7f", "PUBLISH of 268435455 bytes"),
    "length without end": (V5_ACCEPTS + b"\x40\xff\xff\xff\xff", "a length of more than four bytes"),
    "acknowledgement of nothing": (V5_ACCEPTS + b"\x40\x02\0\1" * 50, "PUBACK of 2 bytes"),
    "QoS 2": (V5_ACCEPTS + b"\x62\x02\0\1", "PUBREL of 2 bytes"),
    "subscription": (V5_ACCEPTS + b"\x90\x04\0\1\0\0", "SUBACK of 4 bytes"),
    "CONNACK twice": (V5_ACCEPTS * 2, "CONNACK of 3 bytes"),
    "huge goodbye": (V5_ACCEPTS + b"\xe0\x80\x80\x80\x01", "packet 14 of 2097152 bytes"),
}


@pytest.mark.parametrize("name", UNASKED)
def test_a_broker_that_sends_what_was_never_asked_for_is_hung_up_on(tmp_path, name):
    """At the head of the packet: what it holds is not read, and not kept."""
    answer, says = UNASKED[name]
    with scripted([answer], deaf=True) as (port, got), sink_at(port, tmp_path / "spool") as sink:
        until(lambda: len(got) > 2)
        until(lambda: f"sends what was never asked for: {says}" in sink.stats.error)


def test_a_broker_that_begins_with_something_else_speaks_no_mqtt(tmp_path):
    """As a web server would; the other version is tried."""
    web = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    with scripted([web]) as (port, got), sink_at(port, tmp_path / "spool") as sink:
        until(lambda: len(got) > 2)
        until(lambda: "cannot be reached: PUBACK of 84 bytes" in sink.stats.error)


@given(st.lists(st.sampled_from([0, 1, 127, 128, 300, 2**16]), max_size=4), st.integers(1, 7))
def test_packets_may_be_cut_anywhere(lengths, step):
    """Each head is found, and no byte of a body is taken for one."""
    guard, data = PacketGuard(), b"\x20\x02\0\0"
    for length in lengths:
        guard.published()
        head = bytes([length & 127]) if length < 128 else b""
        if length >= 128:
            head, rest = bytes([length & 127 | 128]), length >> 7
            while rest >= 128:
                head, rest = head + bytes([rest & 127 | 128]), rest >> 7
            head += bytes([rest])
        data += b"\x40" + head + b"\x30" * length
    for at in range(0, len(data), step):
        guard.feed(data[at : at + step])
    with pytest.raises(UnaskedError, match="PUBACK of 2 bytes"):
        guard.feed(b"\x40\x02")


# The spool alone.


def spooled(path, numbers, **options):
    """A sink without a broker that takes these events, and ends."""
    with sink_at(free_port(), path, **options) as sink:
        for n in numbers:
            sink.put(event(n))
        until(lambda: sink._delivery._opened and sink.stats.safe == len(numbers) + sink.stats.found)
    return sink


def found(path):
    """Numbers of the events that the next start finds."""
    spool, numbers = Spool(path), []
    spool.open()
    while (head := spool.head()) is not None:
        numbers.append(json.loads(head.payload)["sequence"])
        with spool._memory:
            spool._waiting.popleft()
    spool.close()
    return numbers


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_what_a_power_cut_left_of_a_last_line_is_passed_over(tmp_path, cut):
    """And what was whole stays; nothing is written behind it."""
    spooled(tmp_path, range(3))
    [segment] = tmp_path.glob("*.log")
    segment.write_bytes(segment.read_bytes() + segment.read_bytes()[:cut])
    assert found(tmp_path) == [0, 1, 2]
    spooled(tmp_path, [7])
    assert found(tmp_path) == [0, 1, 2, 7]


@pytest.mark.slow
def test_a_damaged_line_costs_that_event_alone(tmp_path, caplog):
    """It is counted and told."""
    spooled(tmp_path, range(3))
    [segment] = tmp_path.glob("*.log")
    data = bytearray(segment.read_bytes())
    data[data.index(b"run-1")] ^= 1
    segment.write_bytes(data)
    assert found(tmp_path) == [0, 2]
    assert "damaged" in caplog.text
    assert spooled(tmp_path, []).stats.found == 2


@pytest.mark.parametrize("place", [0, 512])
def test_a_torn_acknowledgement_leaves_the_one_before(tmp_path, place):
    """So one event at most is sent twice, and none is lost."""
    spooled(tmp_path, range(5))
    spool = Spool(tmp_path)
    spool.open()
    for number in (1, 2, 3):
        head = spool.head()
        assert head.number == number
        assert spool.remove(head)
    assert not spool.remove(head)
    spool.close()
    assert found(tmp_path) == [3, 4]
    marks = tmp_path / "acknowledged"
    data = bytearray(marks.read_bytes())
    data[place] ^= 255
    marks.write_bytes(data)
    assert found(tmp_path) in ([3, 4], [2, 3, 4])
    marks.write_bytes(b"x" * len(data))
    assert found(tmp_path) == [0, 1, 2, 3, 4]


def test_numbers_are_never_used_again(tmp_path):
    """When all is delivered and its files are gone, too: an old acknowledgement must not hide a new event."""
    for start in (0, 3, 6):
        spool = Spool(tmp_path)
        spool.open()
        for n in range(1, 4):
            spool.append(f"id{n}", b'{"id":"id"}')
        assert spool.head().number == start + 1
        for _ in range(3):
            assert spool.remove(spool.head())
        spool.close()
        assert found(tmp_path) == []
        assert list(tmp_path.glob("*.log")) == []


@pytest.mark.slow
def test_a_full_spool_drops_the_oldest(tmp_path, caplog):
    """Counted; told at powers of two, not each time; and after a restart it is the newest that are there."""
    stats = spooled(tmp_path, range(30), max_events=10).stats
    assert (stats.waiting, stats.dropped, stats.taken) == (10, 20, 30)
    assert found(tmp_path) == list(range(20, 30))
    assert len([r for r in caplog.records if "is full" in r.message]) == 5


def test_delivered_segments_go(tmp_path, monkeypatch):
    """The disk holds what waits, and not what was."""
    monkeypatch.setattr("ecovision_edge.sinks._spool_files._SEGMENT", 200)
    spool = Spool(tmp_path)
    spool.open()
    for n in range(1, 101):
        spool.append(f"id{n}", b'{"id":"id%d"}' % n)
    before = len(list(tmp_path.glob("*.log")))
    for _ in range(1, 99):
        assert spool.remove(spool.head())
    assert before > 10
    assert len(list(tmp_path.glob("*.log"))) <= 2
    spool.close()
    spool.open()
    assert (spool.found, spool.head().id) == (2, "id99")
    spool.close()


def test_a_full_disk_is_tried_again_and_leaves_no_half_line(tmp_path, monkeypatch):
    """Nor twice the same event, when a line is on the disk that the disk said it is not."""
    import os

    real, calls = os.fdatasync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) in (2, 3, 5):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("ecovision_edge.sinks._spool_files.os.fdatasync", full)
    sink = spooled(tmp_path, range(4))
    assert sink.stats.retries >= 3
    assert found(tmp_path) == [0, 1, 2, 3]


class Disk:
    """Of spools: `full` says no to each of these, by method of `SpoolFiles`."""

    def __init__(self, monkeypatch):
        self.full, self.opened = set(), False
        for name in ("open", "write", "acknowledge"):
            monkeypatch.setattr(SpoolFiles, name, self.checked(name, getattr(SpoolFiles, name)))

    def checked(self, name, real):
        def call(files, *arguments):
            if name in self.full:
                if name == "open":
                    files.close()
                raise OSError(28, "No space left on device")
            found = real(files, *arguments)
            self.opened |= name == "open"
            return found

        return call


@pytest.fixture
def disk(monkeypatch):
    """That may be full."""
    return Disk(monkeypatch)


def balanced(stats):
    """Whether each event is accounted for."""
    return stats.taken == stats.delivered + stats.dropped + stats.waiting


@pytest.mark.parametrize("full", [("open",), ("write",), ("write", "acknowledge")], ids=",".join)
def test_a_full_disk_does_not_keep_events_from_the_broker(tmp_path, disk, caplog, full):
    """At the start too: they go from memory, it is said once, and the figures are right."""
    disk.full, safe = full, []
    with scripted([V5_ACCEPTS]) as (port, _):
        sink = sink_at(port, tmp_path / "spool", on_safe=lambda e: safe.append(e.id))
        sink._delivery._store_at = 1e9  # or it would be well again as soon as nothing waits to be written
        with sink:
            for n in range(3):
                sink.put(event(n))
            until(lambda: sink.stats.delivered == 3)
            assert "cannot use the spool" in sink.stats.error
            assert (sink.stats.safe, sink.stats.dropped, balanced(sink.stats)) == (0, 0, True)
            disk.full, sink._delivery._store_at = set(), 0.0
            sink.show(BinState.EMPTY)  # which wakes its thread
            until(lambda: not sink.stats.error)
            sink.put(event(3))
            until(lambda: sink.stats.delivered == 4)
        assert safe == ["run-3"]
    assert found(tmp_path / "spool") == []
    assert len([r for r in caplog.records if "going on from memory" in r.message]) == 1


def test_what_waits_in_memory_is_stored_when_there_is_room(tmp_path, disk):
    """Without another event, in order, after what waits there; each is called safe then."""
    safe = []
    with sink_at(free_port(), tmp_path, on_safe=lambda e: safe.append(e.sequence)) as sink:
        sink.put(event(0))
        until(lambda: sink.stats.safe == 1)
        disk.full = {"write"}
        for n in range(1, 4):
            sink.put(event(n))
        until(lambda: sink.stats.retries > 3)
        assert (sink.stats.waiting, sink.stats.safe, safe) == (4, 1, [0])
        disk.full = set()
        until(lambda: sink.stats.safe == 4)
    assert safe == [0, 1, 2, 3]
    assert found(tmp_path) == [0, 1, 2, 3]


def test_what_the_disk_never_took_is_counted_at_the_end(tmp_path, disk, caplog):
    """And told; what it took is kept."""
    with sink_at(free_port(), tmp_path) as sink:
        sink.put(event(0))
        until(lambda: sink.stats.safe == 1)
        disk.full = {"write"}
        sink.put(event(1))
        until(lambda: sink.stats.waiting == 2 and sink.stats.error)
    assert (sink.stats.waiting, sink.stats.dropped, balanced(sink.stats)) == (1, 1, True)
    assert "lost with the end: 1 events" in caplog.text
    assert found(tmp_path) == [0]


@pytest.mark.parametrize("what", ["folder", "segment", "acknowledged", "lock"])
def test_a_spool_that_is_taken_away_is_made_again(tmp_path, monkeypatch, what):
    """With the next event, and with all that waits."""
    monkeypatch.setattr("ecovision_edge.sinks._spool_files._SEGMENT", 500)
    folder = tmp_path / "spool"
    with sink_at(free_port(), folder) as sink:
        for n in range(5):
            sink.put(event(n))
        until(lambda: sink.stats.safe == 5)
        segments = sorted(folder.glob("*.log"))
        if what == "folder":
            folder.rename(tmp_path / "old")
        else:
            (segments[-1] if what == "segment" else folder / what).unlink()
        sink.put(event(5))
        until(lambda: sink.stats.safe == 6)
        assert (sink.stats.found, balanced(sink.stats)) == (0, True)
    assert found(folder) == list(range(6))


@pytest.mark.slow
def test_a_disk_that_had_no_room_at_the_start_may_hold_events(tmp_path, disk):
    """Of a former run: they go first."""
    spooled(tmp_path, range(3))
    disk.full = {"open"}
    with sink_at(free_port(), tmp_path) as sink:
        for n in range(3, 6):
            sink.put(event(n))
        until(lambda: sink.stats.waiting == 3 and sink.stats.error)
        disk.full = set()
        until(lambda: sink.stats.safe == 6)
        assert (sink.stats.found, sink.stats.taken, balanced(sink.stats)) == (3, 6, True)
    assert found(tmp_path) == list(range(6))


def damaged(data, what):
    """A segment of six lines with one fault, and what is left of them."""
    ends = [i for i, byte in enumerate(data) if byte == 10]
    if what == "newline":  # two lines become one
        return data[: ends[1]] + b"x" + data[ends[1] + 1 :], [0, 3, 4, 5]
    if what == "last newline":
        return data[:-1] + b"x", [0, 1, 2, 3, 4]
    if what == "last newline gone":
        return data[:-1], [0, 1, 2, 3, 4, 5]
    if what == "line gone":
        return data[: ends[1] + 1] + data[ends[2] + 1 :], [0, 1, 3, 4, 5]
    if what == "newline too many":
        return data[: ends[1] + 9] + b"\n" + data[ends[1] + 10 :], [0, 1, 3, 4, 5]
    if what == "first lines gone":
        return data[ends[1] + 1 :], [2, 3, 4, 5]
    if what == "zeros":
        return data[: ends[1] + 1] + bytes(ends[3] - ends[1]) + data[ends[3] + 1 :], [0, 1, 4, 5]
    return data[: ends[4] + 20], [0, 1, 2, 3, 4]  # torn


@pytest.mark.slow
@pytest.mark.parametrize(
    "what",
    [
        "newline",
        "last newline",
        "last newline gone",
        "line gone",
        "newline too many",
        "first lines gone",
        "zeros",
        "torn",
    ],
)
def test_whatever_the_disk_loses_is_counted(tmp_path, what, caplog):
    """By the numbers, which follow each other; as taken and dropped, and told once."""
    spooled(tmp_path, range(6))
    [segment] = tmp_path.glob("*.log")
    data, left = damaged(segment.read_bytes(), what)
    segment.write_bytes(data)
    with sink_at(free_port(), tmp_path) as sink:
        until(lambda: sink.stats.found)
        stats = sink.stats
    assert (stats.found, stats.dropped, stats.taken) == (len(left), 6 - len(left), 6)
    assert balanced(stats)
    assert ("damaged by the disk" in caplog.text) == (len(left) < 6)
    assert found(tmp_path) == left


@example(["put", "open", "restart", "remove"])
@example(["put", "open", "remove", "restart"])
@given(
    st.lists(
        st.sampled_from(["put", "take", "open", "write", "acknowledge", "restart", "remove"]), max_size=30
    )
)
def test_nothing_that_is_safe_is_lost_whatever_the_disk_does(steps):
    """Nor is anything out of order, or counted as damaged, over full disks, removed folders and restarts."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecovision_edge.sinks._spool_files.os.fdatasync", lambda _: None)
        disk, folder = Disk(patch), Path(name) / "spool"
        spool, safe, taken, n, gone = Spool(folder), [], [], 0, False
        spool.open()
        for step in [*steps, "room", "restart"]:
            if step == "put":
                safe += spool.append(f"id{n}", b'{"id":"id%d"}' % n)
                n += 1
            elif step == "take" and (head := spool.head()):
                assert spool.remove(head)
                taken.append(head.id)
            elif step == "remove":
                shutil.rmtree(folder, ignore_errors=True)
                gone = True
                if not disk.opened:  # since the restart: nobody has read what is gone now
                    safe.clear()
            elif step == "room":
                disk.full = set()
                safe += spool.store()
            elif step == "restart":
                safe += spool.store()
                if gone and disk.full:  # what was removed could not be written again
                    safe.clear()
                gone = False
                spool.close()
                spool, disk.opened = Spool(folder), False
                spool.open()
            else:
                disk.full ^= {step}
        safe += spool.store()
        waiting = []
        while head := spool.head():
            waiting.append(head.id)
            spool.remove(head)
        assert waiting == sorted(waiting, key=lambda i: int(i[2:]))
        assert set(safe) <= {*waiting, *taken}
        assert spool.damaged == 0
        spool.close()


# Home Assistant.


def test_home_assistant_is_told_of_the_bin(tmp_path, folder):
    """Retained, with keys that its documentation has, one device of six entities."""
    with mosquitto(folder) as broker:
        given = {"labels": ("paper", "glass"), "bins": ("a", "b"), "device": "Küche 1", "expire_after": 60}
        with sink_at(broker.port, tmp_path / "spool", discovery=True, **given) as sink:
            until(lambda: sink._sender._connected)
            assert sink.flush(PROMPT)
            with Subscriber(broker.port, "homeassistant/#", persistent=False) as listener:
                listener.wait(lambda: len(listener.messages) == 6)
    found, ids = {}, set()
    for topic, payload, retained in listener.messages:
        component, node, name = re.fullmatch(TOPIC, topic).groups()
        message = json.loads(payload)
        jsonschema.validate(message, SCHEMAS[component], jsonschema.Draft202012Validator)
        assert retained
        assert message["unique_id"] == f"{node}_{name}"
        assert message["availability_topic"] == "b/7/availability"
        assert message["device"]["name"] == "Küche 1"
        ids.add(tuple(message["device"]["identifiers"]))
        found[name] = message
    assert set(found) == {"label", "bin", "probability", "state", "problem", "model"}
    assert len(ids) == 1
    assert found["state"]["options"] == [str(s) for s in BinState]
    assert found["label"]["options"] == ["paper", "glass"]
    assert found["state"]["expire_after"] == found["problem"]["expire_after"] == 60
    assert "expire_after" not in found["label"]  # the last item stays the last one, however long ago


def publish(topic, payload, **given):
    """What Home Assistant does at a press."""
    single(topic, payload, qos=1, hostname="127.0.0.1", **given)


REPORT = UpdateReport("bins", "1.9", "2.0", outcome="gate latency: too slow", checked=1.8e9)


def test_home_assistant_shows_updates_and_has_one_installed(tmp_path, folder):
    """On a topic of its own; what is retained there, or other than the word, starts nothing."""
    asked = threading.Event()
    with mosquitto(folder) as broker:
        publish("b/7/update/install", b"INSTALL", retain=True, port=broker.port)
        sink = sink_at(broker.port, tmp_path / "spool", discovery=True)
        sink.offer_updates(REPORT, asked.set)
        with sink:
            until(lambda: sink._sender._connected)
            sink.show_update(replace(REPORT, busy=True))
            assert sink.flush(PROMPT)
            with Subscriber(broker.port, "#", persistent=False) as listener:
                listener.wait(lambda: len({t for t, *_ in listener.messages if "update" in t}) == 3)
            told = {topic: payload for topic, payload, _ in listener.messages}
            publish("b/7/update/install", b"no", port=broker.port)
            assert not asked.is_set()
            publish("b/7/update/install", b"INSTALL", port=broker.port)
            assert asked.wait(PROMPT)
    state = json.loads(told["b/7/update"])
    jsonschema.validate(state, UPDATE_STATE, jsonschema.Draft202012Validator)
    assert state["in_progress"] is True
    assert (state["installed_version"], state["latest_version"]) == ("1.9", "2.0")
    [config] = [json.loads(p) for t, p in told.items() if re.fullmatch(TOPIC, t) and "/update/" in t and p]
    jsonschema.validate(config, UPDATE, jsonschema.Draft202012Validator)
    assert (config["command_topic"], config["payload_install"]) == ("b/7/update/install", "INSTALL")


def test_a_run_without_updates_takes_back_what_a_former_one_told_of_them(tmp_path, folder):
    with mosquitto(folder) as broker:
        first = sink_at(broker.port, tmp_path / "spool", discovery=True)
        first.offer_updates(REPORT, list)
        for sink in (first, sink_at(broker.port, tmp_path / "spool", discovery=True)):
            with sink:
                until(lambda sink=sink: sink._sender._connected)
                assert sink.flush(PROMPT)
        with Subscriber(broker.port, "#", persistent=False) as listener:
            listener.wait(lambda: any("availability" in topic for topic, _, _ in listener.messages))
    assert not [topic for topic, _, _ in listener.messages if "/update" in topic]


def test_events_go_on_where_nobody_may_ask_for_an_update(tmp_path, caplog):
    """A broker that refuses the subscription: told once."""
    refused = b"\x90\x04\x00\x01\x00\x87"
    with scripted([V5_ACCEPTS + refused, V5_ACCEPTS]) as (port, got):
        sink = sink_at(port, tmp_path / "spool")
        sink.offer_updates(REPORT, list)
        with sink:
            for number in range(2):
                sink.put(event(number))
                until(lambda number=number: sink.stats.delivered == number + 1)
                if number == 0:
                    got.hang_up()
    assert caplog.text.count("lets nobody ask for an update: Not authorized") == 1


@pytest.mark.parametrize("report", [UpdateReport("", "", ""), replace(REPORT, outcome="x" * 1000)])
def test_whatever_is_known_of_updates_home_assistant_takes_it(report):
    jsonschema.validate(json.loads(report.payload()), UPDATE_STATE, jsonschema.Draft202012Validator)


def test_two_bins_are_two_devices():
    """Of one name, too; and a model of a thousand labels has no list of them."""
    given = {
        "prefix": "b/7",
        "labels": [str(n) for n in range(MOST_OPTIONS + 1)],
        "bins": (),
        "expire_after": 9,
    }
    one, other, same = (
        discovery_messages(**{**given, "device": device, "prefix": prefix})
        for device, prefix in (("ä", "b/7"), ("ä", "b/8"), ("ä", "b/7"))
    )
    assert one == same
    assert not set(one) & set(other)
    for topic, payload in one.items():
        component = re.fullmatch(TOPIC, topic)[1]
        jsonschema.validate(json.loads(payload), SCHEMAS[component], jsonschema.Draft202012Validator)
        assert ("options" in json.loads(payload)) == ("state/config" in topic)


@pytest.mark.parametrize(
    ("component", "change"),
    [
        ("sensor", {"state_class": "measurement"}),
        ("sensor", {"device_class": "problem"}),
        ("sensor", {"options": []}),
        ("sensor", {"platform": "sensor"}),
        ("sensor", {"expire_after": "60"}),
        ("sensor", {"availability": [{"topic": "a"}]}),
        ("sensor", {"device": {"name": "x"}}),
        ("sensor", {"origin": {"sw_version": "1"}}),
        ("binary_sensor", {"options": ["a"]}),
        ("binary_sensor", {"entity_category": "config"}),
    ],
)
def test_the_documented_schema_refuses_what_home_assistant_would(component, change):
    """The test above it could fail."""
    messages = discovery_messages(device="x", prefix="b/7", labels=("a",), bins=("b",), expire_after=60)
    topic = next(t for t in messages if f"/{component}/" in t)
    wrong = {**json.loads(messages[topic]), **change}
    assert not jsonschema.Draft202012Validator(SCHEMAS[component]).is_valid(wrong)


@pytest.mark.parametrize("label", ["paper", None])
def test_home_assistants_templates_give_states_that_it_takes(label):
    """Of each event and each state: one of the options, a number, or unknown."""
    jinja2 = pytest.importorskip("jinja2", reason="needs Jinja: pip install jinja2")
    given = {"labels": ("paper", "glass"), "bins": ("b", "c"), "prefix": "b/7", "expire_after": 60}
    found = {
        topic.split("/")[3]: json.loads(payload)
        for topic, payload in discovery_messages(device="x", **given).items()
    }
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)

    def rendered(name, payload):
        template = environment.from_string(found[name]["value_template"])
        return template.render(value_json=json.loads(payload))

    last = event_bytes(replace(event(0), label=label, best_label="glass", bin="b", probability=0.87654))
    assert found["label"]["json_attributes_topic"] == found["label"]["state_topic"]  # the whole event
    assert json.loads(last)["best_label"] == "glass"
    assert rendered("label", last) == (label or UNKNOWN)
    assert rendered("bin", last) == "b"
    assert float(rendered("probability", last)) == 87.7
    for state in (None, *BinState):
        payload = state_payload(state, "why")
        assert rendered("state", payload) in {*found["state"]["options"], UNKNOWN}
        assert rendered("state", payload) == (str(state) if state else UNKNOWN)
        problem = {None: UNKNOWN, BinState.FAULT: "ON"}.get(state, "OFF")
        assert rendered("problem", payload) == problem  # a start is none
        assert rendered("model", payload) == UNKNOWN
    identity = BundleIdentity("kitchen", "2.1", "0" * 64)
    assert rendered("model", state_payload(BinState.EMPTY, "why", identity)) == "2.1"
    assert rendered("model", b'{"state": "empty"}') == UNKNOWN  # retained by an older runtime
    assert {"ON", "OFF"} == {found["problem"].get(f"payload_{p}", p.upper()) for p in ("on", "off")}


# Options.


@pytest.mark.parametrize(
    "wrong",
    [
        *({"keepalive": n} for n in (4, 3601)),
        *({"expire_after": n} for n in (2, 86_401)),
        *({"timeout": n} for n in (0.0, float("nan"), 601.0)),
        *({"port": n} for n in (0, 65536)),
        *({"prefix": p} for p in ("a/#", "+/b", "$SYS/x", "a\nb", "x" * 1001)),
        {"discovery_prefix": ""},
        {"client_id": "x" * 201},
        {"ca": "ca.pem"},
        {"password": "pw"},
    ],
    ids=str,
)
def test_options_out_of_range_are_named(wrong):
    """What is right, and what was found; never a password."""
    with pytest.raises(OptionError, match=r"expected.*found") as caught:
        replace(MqttOptions(host="h"), **wrong)
    assert "pw" not in str(caught.value)


def test_each_bin_has_its_own_topics_and_client_id():
    """Made of its name, the same after each start; of letters and digits that every broker takes."""
    one, other = MqttOptions(host="h", device="bin 7/+"), MqttOptions(host="h", device="bin 8")
    assert one.topics == "ecovision-edge/bin 7__"
    assert one.broker().client_id == MqttOptions(host="h", device="bin 7/+").broker().client_id
    assert one.broker().client_id != other.broker().client_id
    assert len(one.broker().client_id) == 23
    assert one.broker().client_id.isalnum()


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    """With what installs it."""
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    with pytest.raises(MissingDependencyError, match=r"\[mqtt\]"):
        MqttSink(MqttOptions(host="h"), tmp_path)
