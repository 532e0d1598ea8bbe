"""Facts about `SmartBin`: camera, classifier, decider and sinks together."""

import itertools
import threading
import time

import numpy as np
import pytest

from ecovision_edge import Classifier
from ecovision_edge.bundle.contract import ResizeSpec
from ecovision_edge.bundle.views import PLAIN, RegionView, ViewPlan
from ecovision_edge.camera import FakeCamera, WatchOptions
from ecovision_edge.camera.fake import Block, Frames
from ecovision_edge.camera.health import NEXT_TRY, Health, HealthState
from ecovision_edge.camera.scene import Scene
from ecovision_edge.decision import DeciderOptions
from ecovision_edge.errors import CameraLostError, OptionError, SinkError
from ecovision_edge.events import BinState
from ecovision_edge.loop import LoopOptions
from ecovision_edge.observation import View
from ecovision_edge.rules import Rules
from ecovision_edge.sinks import Sink
from ecovision_edge.sinks.serial import SerialSink
from ecovision_edge.smart_bin import SmartBin

PROMPT = 20.0  # seconds: a safety net, nowhere expected to pass
TRIGGER = DeciderOptions(
    gate="trigger", settle=0, min_frames=2, decide_within=0.5, settle_within=0.5, error=0.5
)


class Kept(Sink):
    """Keeps what it is told."""

    def __init__(self, **given):
        super().__init__("kept", **given)
        self.events, self.states, self.closed = [], [], False

    def deliver(self, event):
        self.events.append(event)

    def show_state(self, state, reason):
        self.states.append((state, reason))

    def disconnect(self):
        self.closed = True


class Stuck(Sink):
    """Whose other side never answers."""

    def __init__(self):
        super().__init__("stuck")
        self.let_go, self.inside = threading.Event(), threading.Event()

    def deliver(self, event):
        self.inside.set()
        self.let_go.wait()
        raise SinkError("gone")


@pytest.fixture(scope="module")
def classifier(pristine):
    """Of the tiny network."""
    return Classifier.load(pristine, threads=1)


class Tray:
    """A finite source: frames of a synthetic tray, fifteen of a second."""

    name, live, interval = "tray", False, None

    def __init__(self, frames, seed=0):
        self.left, self.scene, self.n = frames, Scene(seed, 160, 120), 0

    def connect(self):
        return self

    def read(self):
        if self.n == self.left:
            return None
        self.n += 1
        return self.scene.frame(self.n - 1)

    def close(self):
        pass


@pytest.mark.slow
def test_events_go_to_every_sink_in_order(classifier):
    """One an item, with the device's name and the bundle's hash."""
    tray, sinks, seen = Tray(15 * 21), [Kept(), Kept()], []
    with SmartBin(classifier, tray, sinks=sinks, device="bin7", on_event=seen.append) as smart_bin:
        summary = smart_bin.run()
    assert summary.looked_at == 15 * 21
    assert [e.item for e in seen] == [0, 1, 2]
    assert sinks[0].events == sinks[1].events == seen == list(smart_bin.events)
    assert {e.device for e in seen} == {"bin7"}
    assert all(len(e.bundle) == 64 for e in seen)
    assert {e.health for e in seen} == {"RUNNING"}
    assert sinks[0].closed


def test_sinks_are_shown_the_states(classifier):
    """From starting to a fault at the end: fail-safe whenever nothing is known."""
    tray, sink = Tray(15 * 7), Kept()
    with SmartBin(classifier, tray, sinks=[sink]) as smart_bin:
        smart_bin.run()
    shown = [state for state, _ in sink.states]
    assert shown[-1] is BinState.FAULT
    assert sink.states[-1][1] == "stopped"
    assert BinState.DECIDED in shown or len(sink.events) == 1  # only the newest state is sure to be shown


def test_of_a_frame_with_an_item_that_part_is_classified(classifier):
    """Of an empty tray nothing; the event says what of its frame was."""
    results = []
    with SmartBin(classifier, Tray(15 * 7), on_result=results.append) as smart_bin:
        smart_bin.run()
    [event] = smart_bin.events
    [decided] = [r.region.place for r in results if r.frame.sequence / 15 == event.monotonic]
    assert event.box == decided
    assert 0 < (event.box.right - event.box.left) * (event.box.bottom - event.box.top) < 160 * 120 / 2
    assert (results[5].region, results[5].prediction) == (None, None)
    used = {
        r.region.place for r in results if r.frame.sequence / 15 in (event.monotonic, event.monotonic + 1)
    }
    assert len(used) == 1  # of an item that lies still always the same


def test_nothing_is_classified_while_no_item_is_there(classifier):
    """From learning the tray on; the results come all the same, and say why."""
    results = []
    with SmartBin(classifier, Tray(15 * 7), on_result=results.append) as smart_bin:
        summary = smart_bin.run()
    trays = [result.tray for result in results]
    assert len(results) == 15 * 7
    assert set(trays) == {"unknown", "empty", None}  # not learnt yet, empty, an item
    assert trays[0] == "unknown"
    assert all((r.tray is None) is (r.look.view is View.ITEM) for r in results)
    assert summary.classified == trays.count(None) > 0
    assert summary.unclassified == {tray: trays.count(tray) for tray in ("unknown", "empty")}
    line = (
        f"{summary.classified} classified, {trays.count('empty')} empty, {trays.count('unknown')} unknown ("
    )
    assert line in summary.lines()[0]
    assert smart_bin.events


def test_a_bin_that_sees_an_empty_tray_ends_after_its_frames(classifier):
    """Of which none is classified; its summary has their age."""
    with SmartBin(classifier, Tray(40), loop_options=LoopOptions(max_frames=15)) as smart_bin:
        summary = smart_bin.run()
    assert (summary.looked_at, summary.classified) == (15, 0)
    assert [line.split()[0] for line in summary.lines()[1:]] == ["age", "ENDED:"]


def test_nothing_is_classified_before_a_trigger(classifier):
    """Nor after the decision; the tray then waits."""
    results, told = [], []

    def see(result):
        results.append(result)
        if result.index == 4:
            smart_bin.trigger()

    with SmartBin(classifier, Tray(20), options=TRIGGER, on_result=see, on_event=told.append) as smart_bin:
        smart_bin.run()
    trays = [result.tray for result in results]
    assert trays[:5] == ["waiting"] * 5
    assert trays[5] is None
    assert [event.item for event in told] == [0]
    assert trays[-1] == "waiting"
    assert trays.count(None) == told[0].frames


def test_the_views_of_the_contract_are_those_that_are_classified(forge, tmp_path):
    """In turn while an item is weighed; else each frame is looked at as it is."""
    views = (PLAIN, RegionView(mirrored=True), RegionView(2))
    contract = forge.contract(views=ViewPlan(views, (1.0, 1.0, 1.0)))
    loaded = Classifier.load(forge.bundle(tmp_path / "b", contract), threads=1)
    results, options = [], DeciderOptions(error=1e-6)
    with SmartBin(loaded, Tray(15 * 7), options=options, on_result=results.append) as smart_bin:
        smart_bin.run()
    [event] = smart_bin.events
    seen = [PLAIN if r.region is None else r.region.view for r in results]
    first = seen.index(views[1])
    assert set(seen[:first]) == {PLAIN}
    weighed = event.frames - 1
    assert seen[first : first + weighed] == [views[(n + 1) % 3] for n in range(weighed)]
    assert set(seen[first + weighed :]) == {PLAIN}
    assert event.box in {r.region.place for r in results if r.region is not None}


def test_a_model_that_looks_at_the_middle_square_is_given_squares(forge, tmp_path):
    """Else the ends of a long item would be cut off."""
    resize = ResizeSpec("shortest", shortest=8)
    loaded = Classifier.load(forge.bundle(tmp_path / "b", forge.contract(resize=resize)), threads=1)
    results = []
    with SmartBin(loaded, Tray(15 * 7), on_result=results.append) as smart_bin:
        smart_bin.run()
    regions = [r.region for r in results if r.region is not None]
    assert regions
    assert all(abs((r.right - r.left) - (r.bottom - r.top)) <= 1 or r.bottom - r.top == 120 for r in regions)


def test_a_start_is_no_fault_and_each_of_its_reasons_is_shown(classifier):
    """Else "starting" would stand there for as long as the tray is being learnt."""
    shown = []

    class Seen(Kept):
        def show(self, state, reason=""):
            shown.append((state, reason))
            super().show(state, reason)

    with SmartBin(classifier, Tray(15 * 2), sinks=[Seen()]) as smart_bin:
        smart_bin.run()
    assert {state for state, reason in shown if reason.startswith("camera")} <= {BinState.STARTING}
    shown = [s for s in shown if not s[1].startswith("camera")]  # the watchdog's
    shown = [s for s, _ in itertools.groupby(shown)]  # after which the reason before stands there again
    assert shown == [
        (BinState.STARTING, "starting"),
        (BinState.STARTING, "the empty tray is being learnt"),
        (BinState.EMPTY, "the empty tray is learnt"),
        *[s for s in shown if s[0] is BinState.SETTLING],
        (BinState.FAULT, "stopped"),
    ]


def lost(reason="the cable is out", state=HealthState.STALLED):
    return Health(state, time.monotonic(), reason)


def test_a_lost_camera_is_a_fault_of_the_bin(classifier, caplog):
    """In its status, its report and the log: one line into it, one out of it, whatever its reasons."""
    caplog.set_level("INFO", "ecovision_edge")
    smart_bin = SmartBin(classifier, FakeCamera(Frames(1)), sinks=[Kept()], options=TRIGGER)
    smart_bin._health(lost("", HealthState.STARTING))
    assert smart_bin.status.state is BinState.STARTING
    assert caplog.messages == []
    smart_bin._health(lost())
    smart_bin._health(lost("no route", HealthState.RECONNECTING))
    assert (smart_bin.status.state, smart_bin.status.reason) == (
        BinState.FAULT,
        "camera RECONNECTING: no route",
    )
    assert smart_bin.trigger()  # the sensor says so, but nothing is seen
    assert (smart_bin.status.state, smart_bin.status.item) == (BinState.FAULT, 0)
    report = smart_bin.report
    assert (report.state, report.faults) == (BinState.FAULT, 1)
    assert report.problem == "fault: camera RECONNECTING: no route"
    smart_bin._health(lost("", HealthState.RUNNING))
    smart_bin.clear()
    assert (smart_bin.status.state, smart_bin.report.problem) == (BinState.EMPTY, "")
    smart_bin.close()
    report = smart_bin.report
    assert (report.state, report.reason, report.faults) == (BinState.FAULT, "stopped", 1)
    said = [m for m in caplog.messages if "the bin" in m]
    assert said[0] == "the bin is in fault: camera STALLED: the cable is out"
    assert said[1].startswith("the bin is out of its fault after 0 s: ")
    assert len(said) == 2


def test_each_try_to_reconnect_is_no_state_of_its_own(classifier):
    """A camera that is away for a night is one message, not one each half minute."""
    shown = []

    class Every(Kept):
        def show(self, state, reason=""):
            shown.append((state, reason))
            super().show(state, reason)

    smart_bin = SmartBin(classifier, FakeCamera(Frames(1)), sinks=[Every()], options=TRIGGER)
    for seconds in (0.4, 0.9, 28.0):
        smart_bin._health(lost(f"no route{NEXT_TRY}{seconds} s", HealthState.RECONNECTING))
    assert shown == [(BinState.FAULT, "camera RECONNECTING: no route")]


def test_frames_that_stop_are_told_though_the_camera_says_nothing(classifier):
    """The decider counts the time without a frame; sinks hear of it at once."""
    options = DeciderOptions(tell_after=1e-9)
    smart_bin = SmartBin(classifier, FakeCamera(Frames(1)), sinks=[Kept()], options=options)
    smart_bin._wait()
    smart_bin._wait()
    assert smart_bin.report.state is BinState.FAULT
    assert smart_bin.report.reason.startswith("no frame came")
    smart_bin.close()


@pytest.mark.slow
def test_the_report_counts_events_and_tells_of_each_sink(classifier):
    """With the last ten events; two sinks of one name are told apart."""
    sinks = Kept(), Kept()
    with SmartBin(classifier, Tray(15 * 14), sinks=sinks) as smart_bin:
        smart_bin.run()
        assert all(sink.flush(PROMPT) for sink in sinks)
        report = smart_bin.report
    assert (report.events, report.last, report.faults) == (2, smart_bin.events, 0)
    assert report.unknowns == sum(event.label is None for event in smart_bin.events)
    sinks = [(s.name, s.stats.delivered, s.problem) for s in report.sinks]
    assert sinks == [("kept", 2, ""), ("kept (2)", 2, "")]


@pytest.mark.slow
def test_sinks_are_shown_one_state_after_the_other(classifier):
    """The watchdog's thread and the loop's tell them at once; and a sink may ask for the status."""
    together = threading.Barrier(2)
    met, order = [], []

    class Slow(Kept):
        def show(self, state, reason=""):
            order.append((reason, smart_bin.status.state))
            try:
                together.wait(0.2)
                met.append(reason)
            except threading.BrokenBarrierError:
                together.reset()

    smart_bin = SmartBin(classifier, FakeCamera(), sinks=[Slow()], options=TRIGGER)
    health = [Health(HealthState.STALLED, reason=f"{n}", since=0.0, reconnects=0) for n in range(2)]
    threads = [threading.Thread(target=smart_bin._health, args=(one,)) for one in health]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PROMPT)
    assert met == []
    assert {reason for reason, _ in order} == {"camera STALLED: 0", "camera STALLED: 1"}
    smart_bin.close()


def test_a_sink_that_can_never_carry_a_bin_s_name_is_refused(classifier):
    """Before anything starts, for whoever makes sinks without an address."""
    bin_of = dict.fromkeys(classifier.labels, "я" * 11)
    rules = Rules(name="r", default="я" * 11, bins=("я" * 11,), bin_of=bin_of)
    with pytest.raises(OptionError, match=r"bin .* on a serial line"):
        SmartBin(classifier, FakeCamera(), rules, sinks=[SerialSink("/dev/ttyACM0")])


@pytest.mark.slow
def test_a_sink_that_is_stuck_holds_up_nothing(classifier):
    """The other one has every event, the loop its frames, and closing has its bound."""
    tray, stuck, kept = Tray(15 * 21), Stuck(), Kept()
    smart_bin = SmartBin(classifier, tray, sinks=[stuck, kept])
    assert smart_bin.run().looked_at == 15 * 21
    assert kept.flush(PROMPT)
    assert len(kept.events) == 3
    assert stuck.inside.wait(PROMPT)
    assert stuck.stats.waiting == 3
    stuck.let_go.set()
    smart_bin.close(timeout=0.2)
    assert stuck.stats.dropped == 3


@pytest.mark.slow
def test_a_camera_that_hangs_is_a_fault_that_sinks_are_shown(classifier):
    """With the reason; an item in hand is unknown when its time is up, though no frame comes."""
    camera, sink = FakeCamera(Frames(3), Block()), Kept()
    decided = threading.Event()
    smart_bin = SmartBin(
        classifier,
        camera,
        sinks=[sink],
        options=DeciderOptions(gate="trigger", settle=0, min_frames=1000, decide_within=0.2),
        loop_options=LoopOptions(watch=WatchOptions(stall_after=0.3, max_reconnects=0)),
        on_event=lambda event: decided.set(),
    )
    smart_bin.start()
    assert camera.hanging.wait(PROMPT)
    assert smart_bin.trigger()
    assert decided.wait(PROMPT)
    with pytest.raises(CameraLostError):
        smart_bin.wait(PROMPT)
    camera.release()
    smart_bin.close()
    [event] = smart_bin.events
    assert (event.label, event.bin) == (None, "unknown")
    assert any("camera STALLED" in reason or "camera FAILED" in reason for _, reason in sink.states)


@pytest.mark.slow
def test_a_trigger_comes_from_another_thread(classifier):
    """A button's, say; `clear` is the flap's."""
    decided = threading.Event()
    with SmartBin(
        classifier,
        FakeCamera(interval=0.005),
        options=TRIGGER,
        on_event=lambda event: decided.set(),
    ) as smart_bin:
        smart_bin.start()
        while not smart_bin.trigger():
            time.sleep(0.001)
        assert decided.wait(PROMPT)
        assert smart_bin.status.state is BinState.DECIDED
        smart_bin.clear()
        assert smart_bin.status.state is BinState.EMPTY
        assert "SmartBin empty" in repr(smart_bin)
    assert len(smart_bin.events) == 1


def test_what_on_event_raises_ends_the_bin(classifier):
    """And its sinks are closed, with the event delivered."""
    tray, sink = Tray(15 * 7), Kept()

    def unhappy(event):
        raise ZeroDivisionError("mine")

    with (
        pytest.raises(ZeroDivisionError, match="mine"),
        SmartBin(classifier, tray, sinks=[sink], on_event=unhappy) as smart_bin,
    ):
        smart_bin.run()
    assert sink.closed
    assert len(sink.events) == 1


@pytest.mark.slow
def test_the_same_frames_give_the_same_events(classifier):
    """But for their ids."""

    def run():
        with SmartBin(classifier, Tray(15 * 14), device="") as smart_bin:
            smart_bin.run()
        return [(e.item, e.label, e.frames, e.reason, np.float32(e.probability)) for e in smart_bin.events]

    first = run()
    assert run() == first
    assert len(first) == 2
