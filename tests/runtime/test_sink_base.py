"""Facts about every sink: it never holds up whoever gives it events, and tries until they are delivered."""

import threading
import time

import pytest

from ecovision_edge.errors import OptionError, SinkError
from ecovision_edge.events import BinEvent, BinState
from ecovision_edge.sinks import Sink

PROMPT = 20.0  # seconds: a safety net, nowhere expected to pass


def event(number):
    """One of that number."""
    return BinEvent(
        **{"id": f"run-{number}", "sequence": number, "item": number, "time": None, "monotonic": 1.0},
        **{"label": "paper", "bin": "paper", "probability": 0.9, "margin": 0.8, "frames": 5, "seconds": 1.0},
        reason="because",
    )


class Scripted(Sink):
    """Does what a test wants with each try."""

    def __init__(self, script=(), **given):
        super().__init__("scripted", **{"first_delay": 0.005, "most_delay": 0.01, **given})
        self.script, self.done, self.states = list(script), [], []
        self.connects = self.disconnects = 0

    def connect(self):
        self.connects += 1

    def deliver(self, event):
        what = self.script.pop(0) if self.script else None
        if isinstance(what, Exception):
            raise what
        if what is not None:
            what()
        self.done.append(event.sequence)

    def show_state(self, state, reason):
        self.states.append((state, reason))

    def disconnect(self):
        self.disconnects += 1


def test_events_are_delivered_in_order_once():
    """A thousand of them."""
    with Scripted() as sink:
        for n in range(1000):
            sink.put(event(n))
        assert sink.flush(PROMPT)
    assert sink.done == list(range(1000))
    assert (sink.stats.taken, sink.stats.delivered, sink.stats.dropped) == (1000, 1000, 0)


def test_a_failed_delivery_is_tried_again_before_the_next(caplog):
    """After connecting anew; told once, and once more when it is well again."""
    with caplog.at_level("INFO", "ecovision_edge"), Scripted([SinkError("gone")] * 3) as sink:
        for n in range(3):
            sink.put(event(n))
        assert sink.flush(PROMPT)
        assert sink.stats.retries == 3
        assert sink.stats.error == ""
    assert sink.done == [0, 1, 2]
    assert sink.connects == 4
    assert [r.message for r in caplog.records] == ["scripted: gone", "scripted: is well again"]


def test_what_can_never_be_delivered_is_dropped_and_told(caplog):
    """The next one is not held up."""
    with Scripted([OptionError("404")]) as sink:
        sink.put(event(0))
        sink.put(event(1))
        assert sink.flush(PROMPT)
    assert sink.done == [1]
    assert sink.stats.dropped == 1
    assert "run-0 can never be delivered" in caplog.text


def test_a_sink_that_cannot_connect_does_not_end(caplog):
    """Whatever is wrong: its library may be installed meanwhile, and it goes on trying."""

    class Missing(Scripted):
        def connect(self):
            super().connect()
            if self.connects < 4:
                raise OptionError("no library")

    with Missing() as sink:
        sink.put(event(0))
        assert sink.flush(PROMPT)
    assert sink.done == [0]
    assert sink.stats.retries == 3


def test_put_never_waits():
    """While a delivery hangs; of too many events the oldest are lost, which is counted and told."""
    go = threading.Event()
    sink = Scripted([go.wait], capacity=3)
    sink.start()
    sink.put(event(0))
    deadline = time.monotonic() + PROMPT
    while sink.script:
        assert time.monotonic() < deadline
    for n in range(1, 11):
        sink.put(event(n))
    assert sink.stats.waiting == 4
    assert sink.stats.dropped == 7
    go.set()
    assert sink.flush(PROMPT)
    sink.close()
    assert sink.done == [0, 8, 9, 10]


def test_only_the_newest_state_is_shown():
    """What the bin was doing meanwhile is of no interest any more."""
    go = threading.Event()
    sink = Scripted([go.wait])
    sink.start()
    sink.put(event(0))
    deadline = time.monotonic() + PROMPT
    while sink.script:
        assert time.monotonic() < deadline
    for state in (BinState.EMPTY, BinState.SETTLING, BinState.FAULT):
        sink.show(state, "why")
    go.set()
    sink.close()
    assert sink.states[-1] == (BinState.FAULT, "why")
    assert len(sink.states) == 1


def test_close_delivers_what_waits():
    """Within its time."""
    sink = Scripted()
    sink.start()
    for n in range(100):
        sink.put(event(n))
    sink.close()
    assert sink.done == list(range(100))
    assert sink.disconnects >= 1


def test_close_gives_up_what_cannot_be_delivered():
    """After its time; what is lost is counted, and what comes later too."""
    sink = Scripted([SinkError("gone")] * 100_000)
    sink.start()
    sink.put(event(0))
    sink.close(timeout=0.05)
    sink.put(event(1))
    assert sink.stats.dropped == 2
    assert sink.done == []
    sink.close()


def test_close_does_not_wait_for_a_delivery_that_hangs(monkeypatch):
    """It is left."""
    go = threading.Event()
    sink = Scripted([go.wait])
    sink.start()
    sink.put(event(0))
    began = threading.Thread(target=sink.close, kwargs={"timeout": 0.05})
    began.start()
    began.join(PROMPT)
    assert not began.is_alive()
    go.set()


def test_a_sink_that_never_started_can_be_closed():
    """And one is made once."""
    sink = Scripted()
    sink.close()
    sink.start()
    sink.put(event(0))
    assert sink.stats.dropped == 1
    with pytest.raises(OptionError, match="capacity"):
        Scripted(capacity=0)
    assert repr(sink) == "<Scripted scripted>"
