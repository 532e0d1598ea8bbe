"""Facts about every sink: it never holds up whoever gives it events, and tries until they are delivered."""

import threading
import time

import pytest

from ecovision_edge.errors import OptionError, SinkError
from ecovision_edge.events import BinEvent, BinState, StateMessage
from ecovision_edge.sinks import Sink

PROMPT = 20.0  # seconds: a safety net, nowhere expected to pass


def event(number):
    """One of that number."""
    return BinEvent(
        **{"id": f"run-{number}", "sequence": number, "item": number, "time": None, "monotonic": 1.0},
        **{"label": "paper", "bin": "paper", "probability": 0.9, "margin": 0.8, "frames": 5, "seconds": 1.0},
        reason="because",
    )


def hurried(sink):
    """The same sink, which tries again after a hundredth of a second at most."""
    backoff = sink._Sink__runner._tries._backoff
    backoff._first = backoff._most = 0.01
    return sink


class Scripted(Sink):
    """Does what a test wants with each try."""

    def __init__(self, script=(), shows=(), **given):
        super().__init__("scripted", **{"first_delay": 0.005, "most_delay": 0.01, **given})
        self.script, self.shows, self.done, self.states = list(script), list(shows), [], []
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
        if self.shows and (what := self.shows.pop(0)):
            raise what
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
    """After reconnecting; told once, and once more when it is well again."""
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
    assert sink.stats.error == ""
    assert "run-0 can never be delivered" in caplog.text


def test_a_sink_that_loses_events_fails_until_one_is_delivered():
    """Whether they are refused or find no place: that nothing has to be tried again does not make it well."""
    with Scripted([OptionError("404")]) as sink:
        sink.put(event(0))
        assert sink.flush(PROMPT)
        assert sink.stats.error == "run-0 can never be delivered, and is lost: 404"
        sink.put(event(1))
        assert sink.flush(PROMPT)
        assert sink.stats.error == ""
    full = Scripted(capacity=2)
    for n in range(3):
        full.put(event(n))
    assert full.stats.error == "2 events wait, and the oldest ones are lost"
    with full:
        assert full.flush(PROMPT)
        assert full.stats.error == ""


def test_a_sink_whose_other_side_does_not_return_fails(monkeypatch):
    """Nothing was raised, and nothing is delivered: a pipe that nobody reads."""
    inside, go = threading.Event(), threading.Event()
    with Scripted([lambda: inside.set() or go.wait(PROMPT)]) as sink:
        sink.put(event(0))
        assert inside.wait(PROMPT)
        assert sink.stats.error == ""
        monkeypatch.setattr("ecovision_edge.sinks.runner._STUCK", 0.0)
        assert sink.stats.error == "a call has not returned for 0 s"
        go.set()
        assert sink.flush(PROMPT)
        assert sink.stats.delivered == 1


def test_a_state_is_told_with_its_time_and_the_device(monkeypatch):
    """`since` is that of the state, `time` that of its newest reason; each has an id of its own."""

    class Whole(Sink):
        def tell_state(self, message):
            told.append(message)

    told, clock = [], iter([100.0, 101.0, 102.0])
    monkeypatch.setattr("ecovision_edge.sinks.runner.time.time", lambda: next(clock))
    with Whole("whole", device="bin7") as sink:
        for state, reason in [(BinState.FAULT, "a"), (BinState.FAULT, "b"), (BinState.EMPTY, "c")]:
            before = len(told)
            sink.show(state, reason)
            until = time.monotonic() + PROMPT
            while len(told) == before:
                assert time.monotonic() < until
    assert [(m.state, m.reason, m.time, m.since) for m in told] == [
        (BinState.FAULT, "a", 100.0, 100.0),
        (BinState.FAULT, "b", 101.0, 100.0),
        (BinState.EMPTY, "c", 102.0, 102.0),
    ]
    assert {m.device for m in told} == {"bin7"}
    assert len({m.id for m in told}) == 3
    assert all(isinstance(m, StateMessage) for m in told)


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


def test_a_mistake_in_a_sinks_code_is_told_once_and_loses_nothing(caplog):
    """By its type and its text, in the log and in the stats; the traceback is there at DEBUG alone."""
    go = threading.Event()

    class Wrong(Scripted):
        def connect(self):
            super().connect()
            if self.connects == 1:
                raise ZeroDivisionError("by zero")

        def disconnect(self):
            super().disconnect()
            raise AttributeError("no port")

    seen = []
    with caplog.at_level("INFO", "ecovision_edge"):
        sink = Wrong([KeyError("angle")] * 3 + [lambda: seen.append(sink.stats) or go.wait(PROMPT)])
        sink.start()
        sink.put(event(0))
        sink.put(event(1))
        go.set()
        assert sink.flush(PROMPT)
        sink.close()
    assert sink.done == [0, 1]
    assert (seen[0].retries, seen[0].error) == (4, "Wrong.deliver raised KeyError: 'angle'")
    assert (sink.stats.delivered, sink.stats.dropped, sink.stats.error) == (2, 0, "")
    assert [r.message for r in caplog.records] == [
        "scripted: Wrong.disconnect raised AttributeError: no port",
        "scripted: Wrong.connect raised ZeroDivisionError: by zero",
        "scripted: Wrong.deliver raised KeyError: 'angle'",
        "scripted: is well again",
    ]
    caplog.clear()
    with caplog.at_level("DEBUG", "ecovision_edge"), Scripted([KeyError("angle")]) as sink:
        sink.put(event(0))
        assert sink.flush(PROMPT)
    assert any(r.exc_info and r.exc_info[0] is KeyError for r in caplog.records if r.levelname == "DEBUG")


@pytest.mark.parametrize("what", [RuntimeError("no light"), OptionError("no such colour")])
def test_events_do_not_wait_behind_a_state_that_can_never_be_shown(what, caplog):
    """It is given up, which is told; a state that may be shown later is tried again."""
    sink = Scripted(shows=[what, SinkError("gone"), None])
    sink.show(BinState.DECIDED, "one")
    sink.put(event(0))
    with sink:
        assert sink.flush(PROMPT)
        assert sink.states == []
        sink.show(BinState.EMPTY, "two")
        sink.put(event(1))
        assert sink.flush(PROMPT)
    assert sink.states == [(BinState.EMPTY, "two")]
    assert sink.done == [0, 1]
    assert sink.stats.retries == 2
    assert str(what) in caplog.text


def test_a_subclass_may_call_its_own_things_what_it_likes():
    """The base's own are out of its way."""

    class Own(Scripted):
        def __init__(self):
            super().__init__()
            self._queue = self._state = self._in_hand = self._thread = self._name = self._tries = "mine"

        def _run(self):
            raise AssertionError

        _work = _done = _part = _call = _run

    with Own() as sink:
        sink.show(BinState.EMPTY)
        sink.put(event(0))
        assert sink.flush(PROMPT)
    assert (sink.done, sink._queue, sink.name) == ([0], "mine", "scripted")


def test_what_waited_too_long_is_dropped_counted_and_told(caplog):
    """Whether it was tried already or not; what is young enough is delivered."""
    gone = [SinkError("gone")] * 100_000
    with Scripted(gone, max_age=0.03) as sink:
        for n in range(3):
            sink.put(event(n))
        assert sink.flush(PROMPT)
        assert (sink.stats.dropped, sink.stats.expired, sink.stats.waiting) == (3, 3, 0)
        assert not sink.overdue
        sink.script.clear()
        sink.put(event(3))
        assert sink.flush(PROMPT)
    assert sink.done == [3]
    assert (sink.stats.delivered, sink.stats.dropped) == (1, 3)
    assert "too old to act on, and dropped" in caplog.text
    assert "run-2" in caplog.text


def test_a_delivery_can_ask_whether_it_is_too_late():
    """A sink that asks its other side again and again, stops then."""
    asked = []

    class Asks(Scripted):
        def deliver(self, event):
            while not self.overdue:
                asked.append(1)
            raise SinkError("too late")

    with Asks(max_age=0.02) as sink:
        sink.put(event(0))
        assert sink.flush(PROMPT)
    assert asked
    assert (sink.stats.expired, sink.stats.delivered) == (1, 0)


@pytest.mark.parametrize("age", [0, -1.0, float("inf"), float("nan")])
def test_an_age_is_seconds_above_0(age):
    """Or None."""
    with pytest.raises(OptionError, match="max_age"):
        Scripted(max_age=age)


def test_a_sink_that_only_writes_down_delivers_late_all_the_same():
    """With the time of the event in it; sinks that act have a limit by default."""
    from ecovision_edge.sinks.gpio import GpioOptions
    from ecovision_edge.sinks.serial import SerialOptions

    assert SerialOptions().max_age == GpioOptions(leds={"a": 1}).max_age == 10.0
    with Scripted() as sink:
        sink.put(event(0))
        assert sink.flush(PROMPT)
        assert not sink.overdue
        assert not sink.out_of_time


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


def test_close_does_not_wait_for_a_state_that_cannot_be_shown():
    """Nothing is lost without it, and whoever ends a bin whose sink is unplugged would wait all the time."""
    sink = Scripted(shows=[SinkError("gone")] * 100_000, first_delay=1e6, most_delay=1e6)
    sink.start()
    sink.show(BinState.FAULT, "stopped")
    closer = threading.Thread(target=sink.close, kwargs={"timeout": 1e6}, daemon=True)
    closer.start()
    closer.join(PROMPT)
    assert not closer.is_alive()
    assert sink.states == []


def test_close_waits_for_an_event_behind_a_state_that_cannot_be_shown_yet():
    """Within its time."""
    sink = Scripted(shows=[SinkError("gone")] * 3)
    sink.show(BinState.FAULT, "stopped")
    sink.put(event(0))
    sink.start()
    sink.close(timeout=PROMPT)
    assert sink.done == [0]


@pytest.mark.slow
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
    """What it was given is lost, and counted so; and one is made once."""
    sink = Scripted()
    sink.put(event(0))
    sink.close()
    assert (sink.stats.waiting, sink.stats.dropped) == (0, 1)
    sink.start()
    sink.put(event(1))
    assert sink.stats.dropped == 2
    assert sink.flush(0)
    assert not sink.started
    with pytest.raises(OptionError, match="capacity"):
        Scripted(capacity=0)
    assert repr(sink) == "<Scripted scripted>"


class Plain:
    """A delivery that inherits nothing; `late` is what it says when it was never opened."""

    def __init__(self, script=(), late=False):
        self.script, self.late, self.did, self.paces = list(script), late, [], []

    def open(self, pace):
        self.paces.append(pace)

    def deliver(self, event):
        if self.script:
            self.script.pop(0)(self.paces[-1])
        self.did.append(event.sequence)

    def tell(self, message):
        self.did.append(message.state)

    def close(self):
        self.did.append("closed")

    def wait_time(self):
        return None

    def idle(self):
        raise AssertionError

    def check_event(self, event):
        raise OptionError("never")

    def claims(self):
        return frozenset(("the only one",))

    def takes_unstarted(self):
        return self.late


def test_a_delivery_needs_no_base():
    """It is opened with its pace, closed after each failure and at the end, and asked by the sink."""

    def fails(pace):
        raise SinkError("gone")

    delivery = Plain([fails])
    sink = Sink("plain", delivery, first_delay=0.005, most_delay=0.01)
    with sink:
        sink.put(event(0))
        sink.put(event(1))
        assert sink.flush(PROMPT)
    assert delivery.did == ["closed", 0, 1, "closed"]
    assert len(delivery.paces) == 2
    assert sink.claims() == {"the only one"}
    with pytest.raises(OptionError, match="never"):
        sink.check_event(event(0))


def test_a_delivery_is_told_how_much_time_there_is_and_what_the_bin_does():
    """Also while it works: the end has begun, and a state was taken that is told only later."""
    seen, inside, go = [], threading.Event(), threading.Event()

    def looks(pace):
        seen.append((pace.stopping, pace.out_of_time, pace.time_left, pace.state))
        inside.set()
        assert go.wait(PROMPT)
        pace.wait(PROMPT, lambda: pace.state is BinState.FAULT)
        pace.wait(PROMPT, lambda: pace.stopping)
        seen.append((pace.stopping, pace.out_of_time, pace.time_left <= PROMPT, pace.state))

    delivery = Plain([looks])
    sink = Sink("plain", delivery)
    sink.start()
    sink.put(event(0))
    assert inside.wait(PROMPT)
    sink.show(BinState.FAULT, "why")
    go.set()
    sink.close(PROMPT)
    assert seen == [(False, False, float("inf"), None), (True, False, True, BinState.FAULT)]
    assert delivery.did == [0, BinState.FAULT, "closed"]


@pytest.mark.parametrize(("late", "did"), [(False, []), (True, [0, "closed"])])
def test_a_delivery_may_take_what_a_sink_was_given_that_never_started(late, did):
    """To keep it; else it is lost."""
    delivery = Plain(late=late)
    sink = Sink("plain", delivery)
    sink.put(event(0))
    sink.close()
    assert delivery.did == did
    assert (sink.stats.delivered, sink.stats.dropped) == ((1, 0) if late else (0, 1))
