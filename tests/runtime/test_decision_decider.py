"""Facts about `BinDecider`: one item, one event, with its reason. Every time here is made up."""

import itertools
import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge import Classifier
from ecovision_edge.bundle.views import PLAIN, RegionView, ViewPlan
from ecovision_edge.camera.scene import Scene
from ecovision_edge.camera.source import CapturedFrame
from ecovision_edge.decision import BinDecider, DeciderOptions, Look, Observation, View
from ecovision_edge.errors import FrameTypeError, OptionError
from ecovision_edge.events import BinState
from ecovision_edge.loop import LoopResult
from ecovision_edge.prediction import Prediction, Timings
from ecovision_edge.preprocess.region import Region, TurnedBox

LABELS = ("paper", "glass", "battery")
IMAGE = np.zeros((4, 4, 3), np.uint8)
OPTIONS = DeciderOptions(
    settle=0.3, settle_within=2, decide_within=1, min_frames=3, rearm=0.3, cooldown=0.5, error=0.1
)

SURE = {"paper": (0.97, 0.02, 0.01), "glass": (0.02, 0.97, 0.01), "battery": (0.01, 0.02, 0.97)}
UNSURE = (0.4, 0.35, 0.25)


@dataclass(frozen=True)
class Lying:
    """A content by its name."""

    name: str

    def changed(self, since):
        return float(self.name != since.name)


@dataclass
class Seen:
    """What a scripted gate says of the next frame."""

    view: View = View.EMPTY
    moving: bool = False
    box: tuple[float, float, float, float] | None = None
    edge: bool = False
    content: Lying | None = None
    turned: TurnedBox | None = None


class ScriptedGate:
    """A gate that says what a test wants."""

    def __init__(self):
        self.now, self.looks, self.learnt = Seen(), 0, 0

    def look(self, image, now):
        self.looks += 1
        seen = self.now
        said = f"seen: {seen.view}"
        return Look(seen.view, 0.0, seen.moving, said, seen.box, seen.edge, seen.content, seen.turned)

    def relearn(self):
        self.learnt += 1


class Bin:
    """A decider, its gate, and a clock that goes by tenths of a second."""

    def __init__(self, options=OPTIONS, **given):
        self.gate, self.now, self.events = ScriptedGate(), 0.0, []
        self.decider = BinDecider(LABELS, options=options, gate=self.gate, run="run", **given)
        self.show()

    def show(self, view=View.EMPTY, says=UNSURE, *, moving=False, frames=1, step=0.1, **more):
        """Some frames of a view, of which the network says `says`; the events they gave."""
        given = []
        for _ in range(frames):
            self.now += step
            self.gate.now = Seen(view, moving, **more)
            event = self.decider.step(result(says, self.now), self.now)
            given += [event] if event else []
        self.events += given
        return given

    def empty(self, frames=10):
        return self.show(View.EMPTY, frames=frames)

    def item(self, says, frames=20, **given):
        return self.show(View.ITEM, says, frames=frames, **given)

    @property
    def state(self):
        return self.decider.status.state

    @property
    def reason(self):
        return self.decider.status.reason


def result(probabilities, now):
    """As a loop gives it."""
    top = max(range(len(probabilities)), key=probabilities.__getitem__)
    prediction = Prediction(LABELS[top], top, probabilities[top], 0.1, probabilities, Timings(1.0, 2.0, 0.1))
    return LoopResult(0, CapturedFrame(IMAGE, 0, now), prediction, LABELS, 5.0, 0, 1e9 + now)


def result_of(seen, probabilities, now):
    """As a loop gives it that asked what to classify."""
    frame = CapturedFrame(seen.image, 0, now)
    return replace(result(probabilities, now), frame=frame, region=seen.region, look=seen.look)


def test_an_item_that_is_clear_is_decided_once():
    """After it lay still and enough frames agree; however long it lies there."""
    bin = Bin()
    [event] = bin.item(SURE["glass"], frames=100)
    assert (event.label, event.bin, event.item, event.sequence) == ("glass", "glass", 0, 0)
    assert event.frames == 3
    assert event.probability > 0.9
    assert event.margin > 0.8
    assert 0.3 <= event.seconds < 1
    assert event.id == "run-0"
    assert event.reason == "glass at 1.00 after 3 frames; glass costs least, 0.00"
    assert bin.state is BinState.DECIDED


def test_the_event_says_how_old_and_slow_its_frame_was():
    """Of the frame that completed it."""
    [event] = Bin().item(SURE["glass"])
    assert event.frame_age_ms == 5.0
    assert event.timings_ms == {"prepare": 1.0, "infer": 2.0, "post": 0.1}
    assert event.time == pytest.approx(1e9 + event.monotonic)


def test_an_empty_tray_gives_no_event():
    """Whatever the network says of it."""
    bin = Bin()
    assert bin.show(View.EMPTY, SURE["paper"], frames=1000) == []
    assert bin.state is BinState.EMPTY


def test_the_next_item_needs_an_empty_tray_between():
    """Another label on a tray that was never empty is the same item."""
    bin = Bin()
    assert len(bin.item(SURE["glass"])) == 1
    assert bin.item(SURE["paper"], frames=100) == []
    bin.empty()
    [event] = bin.item(SURE["paper"])
    assert (event.label, event.item, event.sequence) == ("paper", 1, 1)


def test_one_empty_frame_is_no_empty_tray():
    """`rearm`: a flicker of the gate does not arm it again."""
    bin = Bin()
    bin.item(SURE["glass"])
    for _ in range(20):
        bin.empty(frames=2)
        assert bin.item(SURE["paper"], frames=5) == []


def test_a_frame_of_the_last_item_never_counts():
    """What was gathered of an item that went undecided is not there for the next one."""
    bin = Bin()
    bin.item(SURE["glass"], frames=5)  # still for 0.4 s, two frames counted
    assert bin.state is BinState.DECIDING
    bin.empty()
    assert bin.state is BinState.EMPTY
    [event] = bin.item(SURE["paper"])
    assert (event.label, event.frames) == ("paper", 3)
    assert event.item == 1


def test_what_is_not_sure_in_time_is_unknown():
    """To the fail-safe bin, after `decide_within` of frames; the reason says what was missing."""
    [event] = Bin().item(UNSURE, frames=100)
    assert event.label is None
    assert event.bin == "unknown"
    assert event.seconds == pytest.approx(0.3 + 1.0, abs=0.15)
    assert "the time is up: paper at 0.4" in event.reason


def test_an_event_names_its_likeliest_label():
    """In fields of their own, of an unknown item too; of one that no frame showed there is none."""
    [unknown] = Bin().item(UNSURE, frames=100)
    assert (unknown.label, unknown.best_label, unknown.best_probability) == (
        *(None, "paper"),
        unknown.probability,
    )
    [known] = Bin().item(SURE["glass"])
    assert (known.best_label, known.best_probability) == ("glass", known.probability)
    decider = BinDecider(LABELS, options=DeciderOptions(gate="trigger"))
    decider.trigger(0.0)
    unseen = decider.step(None, 100.0) or decider.step(None, 200.0)
    assert (unseen.frames, unseen.best_label, unseen.best_probability) == (0, None, None)


def test_frames_that_disagree_are_not_sure():
    """Turns between two labels, each sure of itself."""
    bin = Bin()
    events = []
    for n in range(40):
        events += bin.item(SURE["glass" if n % 2 else "paper"], frames=1)
    assert [e.label for e in events] == [None]


def test_while_it_moves_nothing_is_decided():
    """A hand that passes: it goes before anything is said."""
    bin = Bin()
    assert bin.item(SURE["glass"], frames=15, moving=True) == []
    assert bin.state is BinState.SETTLING
    assert bin.reason == "it moves"
    assert bin.empty() == []


def test_what_never_comes_to_rest_is_looked_at_nonetheless():
    """After `settle_within`: a bin must not wait for ever."""
    [event] = Bin().item(SURE["glass"], frames=100, moving=True)
    assert event.label == "glass"
    assert event.seconds == pytest.approx(2.2, abs=0.25)


def test_what_moves_again_begins_anew():
    """The frames before it count no more: it may be another one."""
    bin = Bin()
    bin.item(SURE["paper"], frames=5)
    assert bin.state is BinState.DECIDING
    bin.item(SURE["paper"], frames=1, moving=True)
    assert bin.state is BinState.SETTLING
    [event] = bin.item(SURE["glass"])
    assert (event.label, event.frames) == ("glass", 3)


def test_a_threshold_of_the_contract_is_kept():
    """Below it the label is unknown, however long it is looked at."""
    says = (0.05, 0.9, 0.05)
    [event] = Bin(thresholds=(0.5, 0.95, 0.5)).item(says, frames=60)
    assert event.label is None
    assert "0.95 is its threshold" in event.reason
    [event] = Bin(thresholds=(0.5, 0.85, 0.5)).item(says, frames=60)
    assert event.label == "glass"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3.2, -1.0], ids=str)
@pytest.mark.parametrize("place", range(3))
def test_what_is_no_probability_is_refused_and_leaves_no_trace(value, place):
    """NaN would vote for the first label; the frames after it decide as if it had not come."""
    bin = Bin(OPTIONS)
    bin.item(SURE["glass"], frames=5)
    wrong = list(UNSURE)
    wrong[place] = value
    with pytest.raises(OptionError, match=r"expected numbers from 0 to 1, found (nan|inf|-inf|3\.2|-1\.0)"):
        bin.item(tuple(wrong), frames=1)
    [event] = bin.item(SURE["glass"])
    assert (event.label, event.frames) == ("glass", 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1])
def test_thresholds_that_are_no_probabilities_are_refused(value):
    """No probability is below NaN: everything would be sure."""
    with pytest.raises(OptionError, match=r"thresholds.*expected numbers from 0 to 1"):
        Bin(thresholds=(0.5, value, 0.5))


class Priceless:
    """Rules that cannot say what a mistake costs."""

    default, unknown_cost = "residual", 0.5

    def expected_costs(self, probabilities, labels):
        return {"paper": float("nan"), "glass": float("nan")}


def test_a_cost_that_is_no_number_is_no_low_one():
    """The bin of nobody knows what cost is not chosen."""
    [event] = Bin(rules=Priceless()).item(SURE["paper"], frames=60)
    assert (event.label, event.bin) == (None, "residual")


class Dear:
    """Rules in which a battery must not go wrong."""

    default, unknown_cost = "residual", 0.5

    def expected_costs(self, probabilities, labels):
        paper, glass, battery = probabilities
        return {
            "paper": glass + 20 * battery,
            "glass": paper + 20 * battery,
            "special": 1.0 * (paper + glass),
        }


def test_the_bin_is_the_one_of_least_expected_cost():
    """With some chance of a battery, what looks like paper is not sent to paper."""
    assert [e.bin for e in Bin(rules=Dear()).item(SURE["paper"])] == ["paper"]
    says = (0.85, 0.0, 0.15)
    [event] = Bin(rules=Dear()).item(says, frames=60)
    assert (event.label, event.bin) == (None, "residual")
    assert "as unknown" in event.reason


def test_frames_that_stop_do_not_keep_an_item_undecided():
    """The camera fails with an item in hand: time passes without frames, and it is unknown."""
    bin = Bin()
    bin.item(SURE["glass"], frames=2)
    events = [e for n in range(100) if (e := bin.decider.step(None, bin.now + n / 10))]
    assert [e.label for e in events] == [None]
    assert events[0].frames == 0


def test_a_covered_view_is_a_fault_and_no_item():
    """And it says so; what comes afterwards is decided as ever."""
    bin = Bin()
    assert bin.show(View.COVERED, SURE["glass"], frames=50) == []
    assert bin.state is BinState.FAULT
    assert bin.reason == "seen: covered"
    bin.empty()
    assert len(bin.item(SURE["glass"])) == 1


def test_until_the_tray_is_learnt_nothing_is_said():
    """`starting`, with the reason: a start is no fault."""
    bin = Bin()
    decider = BinDecider(LABELS, options=OPTIONS, gate=bin.gate)
    assert (decider.status.state, decider.status.reason) == (BinState.STARTING, "no frame yet")
    bin.show(View.UNKNOWN, SURE["glass"], frames=20)
    assert (bin.state, bin.reason) == (BinState.STARTING, "seen: unknown")
    bin.show(View.COVERED)
    assert bin.state is BinState.FAULT


def test_a_trigger_begins_an_item():
    """Without a picture: predictions alone, from the trigger on."""
    decider = BinDecider(LABELS, options=DeciderOptions(gate="trigger", min_frames=3, settle=0.2))
    assert decider.step(SURE["paper"], 0.0) is None
    assert decider.status.state is BinState.EMPTY
    assert decider.trigger(1.0)
    events = [e for n in range(10) if (e := decider.step(SURE["glass"], 1.1 + n / 10))]
    assert [(e.label, e.frames) for e in events] == [("glass", 3)]


def test_a_frame_of_before_the_trigger_does_not_count():
    """It was on its way, and shows what was there before: the last item, perhaps."""
    decider = BinDecider(LABELS, options=DeciderOptions(gate="trigger", min_frames=1, settle=0))
    assert decider.trigger(1.0)
    assert decider.step(SURE["paper"], 0.9) is None
    event = decider.step(SURE["glass"], 1.1)
    assert (event.label, event.frames) == ("glass", 1)


def test_a_trigger_while_an_item_is_in_hand_is_none():
    """Nor one within the cooldown; the status says why."""
    decider = BinDecider(LABELS, options=DeciderOptions(gate="trigger", min_frames=1, settle=0, cooldown=2))
    assert decider.trigger(0.0)
    assert not decider.trigger(0.1)
    assert "in hand" in decider.status.reason
    assert decider.step(SURE["glass"], 0.2) is not None
    assert not decider.trigger(1.0)
    assert "cooldown" in decider.status.reason
    assert decider.trigger(2.3)


def test_cleared_is_ready_for_the_next_one():
    """A flap that has turned says that the tray is empty."""
    bin = Bin()
    bin.item(SURE["glass"])
    bin.decider.clear(bin.now + 1)
    assert bin.state is BinState.EMPTY
    bin.now += 1
    assert len(bin.item(SURE["paper"])) == 1


def test_a_prediction_alone_cannot_show_an_empty_tray():
    """With `gate="picture"` it is refused, with what to do."""
    decider = BinDecider(LABELS)
    with pytest.raises(FrameTypeError, match='gate="trigger"'):
        decider.step(SURE["paper"], 0.0)


def test_frames_alone_need_a_classifier():
    """And are classified only while an item is looked at."""
    calls = []

    def classify(image):
        calls.append(image)
        return result(SURE["glass"], 0.0).prediction

    gate = ScriptedGate()
    decider = BinDecider(LABELS, options=OPTIONS, gate=gate, classify=classify)
    events = []
    for n in range(60):
        gate.now = Seen(View.ITEM if 20 <= n < 40 else View.EMPTY)
        events.append(decider.step(IMAGE, n / 10))
    assert [e.label for e in events if e] == ["glass"]
    assert len(calls) == 3
    gate.now = Seen(View.ITEM)
    alone = BinDecider(LABELS, options=OPTIONS, gate=gate)
    alone.step(None, 0.0)
    gate.now = Seen(View.EMPTY)
    alone.step(IMAGE, 0.1)
    gate.now = Seen(View.ITEM)
    alone.step(IMAGE, 0.2)
    with pytest.raises(FrameTypeError, match=r"classify=classifier\.classify"):
        alone.step(IMAGE, 0.9)


def test_the_event_of_a_captured_frame_is_json():
    """Its capture time and age are unknown: nothing of the frame object itself gets into the event."""
    options = DeciderOptions(gate="trigger", min_frames=1, settle=0)
    decider = BinDecider(LABELS, options=options, classify=lambda _: result(SURE["glass"], 0.0).prediction)
    decider.trigger(0.0)
    event = decider.step(CapturedFrame(IMAGE, 0, 0.1), 0.1)
    assert (event.label, event.time, event.frame_age_ms) == ("glass", None, None)
    assert json.loads(event.dumps())["frame_age_ms"] is None


@pytest.mark.parametrize("given", [5, "glass", object()])
def test_what_is_no_observation_is_refused(given):
    """The message says what is one."""
    for gate in ("picture", "trigger"):
        decider = BinDecider(LABELS, options=DeciderOptions(gate=gate))
        with pytest.raises(FrameTypeError, match="expected an observation, .* found " + type(given).__name__):
            decider.step(given, 0.0)


def test_a_prediction_alone_counts_with_its_timings():
    """With a trigger; and so does what `observe` saw, with the prediction of its part."""
    prediction = result(SURE["glass"], 0.0).prediction
    decider = BinDecider(LABELS, options=DeciderOptions(gate="trigger", min_frames=2, settle=0))
    decider.trigger(0.0)
    seen = decider.observe(IMAGE, 0.1)
    assert seen.part() is IMAGE
    assert decider.step(seen.classified(prediction), 0.1) is None
    event = decider.step(prediction, 0.2)
    assert (event.label, event.frames) == ("glass", 2)
    assert event.timings_ms == {"prepare": 1.0, "infer": 2.0, "post": 0.1}


def test_what_has_no_picture_has_no_part_to_classify():
    """It is said, not met as an error of numpy."""
    with pytest.raises(FrameTypeError, match="expected one with a picture"):
        Observation().part()


def test_the_clock_never_goes_back():
    """An earlier time counts as the latest one."""
    bin = Bin()
    bin.item(SURE["glass"], frames=2)
    since = bin.decider.status.since
    bin.decider.step(result(SURE["glass"], 0.0), -100.0)
    assert bin.decider.status.since >= since


def test_thresholds_have_to_fit():
    """One per label."""
    with pytest.raises(OptionError, match="thresholds: expected 3, one per label, found 2"):
        BinDecider(LABELS, thresholds=(0.5, 0.5))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("gate", "magic"), ("min_frames", 0), ("agree", 2), ("error", 0), ("error", 0.6), ("settle", -1)],
        *[("decide_within", 0), ("settle_within", 0.1), ("correlation", 1.1), ("cooldown", float("nan"))],
        *[("tell_after", 0), ("settle_at_edge", -1), ("margin", -0.1), ("aspect", 1.1)],
    ],
)
def test_options_out_of_range_are_named(name, value):
    """The error says which option, what is right, and what was found."""
    with pytest.raises(OptionError, match=rf"{name}.*expected.*found"):
        DeciderOptions(**{name: value})


# Where the item is.


def test_only_the_part_of_a_frame_that_the_item_covers_is_classified():
    """And the event says which."""
    shapes = []

    def classify(image):
        shapes.append(image.shape)
        return result(SURE["glass"], 0.0).prediction

    gate, picture = ScriptedGate(), np.zeros((480, 640, 3), np.uint8)
    gate.now = Seen(View.ITEM, box=(0.25, 0.25, 0.5, 0.5))
    decider = BinDecider(LABELS, options=OPTIONS, gate=gate, classify=classify)
    events = [e for n in range(20) if (e := decider.step(picture, n / 10))]
    assert [e.box for e in events] == [Region(160, 120, 320, 240)]
    assert set(shapes) == {(120, 160, 3)}


def test_what_lies_aslant_is_classified_straight_and_the_event_has_its_upright_box():
    """Of the same size, whichever way the item lies; as the box has it without `straighten`."""
    for straighten, shape in ((True, (96, 160, 3)), (False, (120, 160, 3))):
        shapes = []

        def classify(image, shapes=shapes):
            shapes.append(image.shape)
            return result(SURE["glass"], 0.0).prediction

        gate = ScriptedGate()
        gate.now = Seen(
            View.ITEM, box=(0.25, 0.25, 0.5, 0.5), turned=TurnedBox(0.375, 0.28, 0.25, 0.15, 30.0)
        )
        options = replace(OPTIONS, straighten=straighten)
        decider = BinDecider(LABELS, options=options, gate=gate, classify=classify)
        picture = np.zeros((480, 640, 3), np.uint8)
        events = [e for n in range(20) if (e := decider.step(picture, n / 10))]
        assert [e.box for e in events] == [Region(160, 120, 320, 240)]
        assert set(shapes) == {shape}


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"crop": False}, Seen(View.ITEM, box=(0.25, 0.25, 0.5, 0.5))),
        ({"gate": "trigger"}, Seen(View.ITEM, box=(0.25, 0.25, 0.5, 0.5))),
        ({}, Seen(View.ITEM, box=(0.0, 0.0, 1.0, 1.0))),
        ({}, Seen(View.ITEM)),
        ({}, Seen(View.EMPTY)),
    ],
    ids=["crop=False", "gate=trigger", "it fills the frame", "a gate that knows no place", "no item"],
)
def test_else_it_is_the_whole_frame(changes, seen):
    """`observe` says so with None."""
    gate = ScriptedGate()
    gate.now = seen
    decider = BinDecider(LABELS, options=replace(OPTIONS, **changes), gate=gate)
    assert decider.observe(IMAGE, 0.0).region is None


def test_who_classifies_first_asks_where_to_look_and_the_gate_looks_once():
    """`observe`, then `step` with what it saw; a frame that was not observed is looked at."""
    gate, decided = ScriptedGate(), []
    gate.now = Seen(View.ITEM, box=(0.25, 0.25, 0.75, 0.75))
    decider = BinDecider(LABELS, options=OPTIONS, gate=gate)
    for n in range(20):
        picture = np.zeros((480, 640, 3), np.uint8)
        seen = decider.observe(picture, n / 10)
        given = result_of(seen, SURE["glass"], n / 10)
        decided += [e for e in [decider.step(given, n / 10)] if e]
    assert [e.box for e in decided] == [Region(160, 120, 480, 360)]
    assert gate.looks == 20
    decider.observe(np.zeros((480, 640, 3), np.uint8), 3.0)
    decider.step(result(SURE["glass"], 3.1), 3.1)
    assert gate.looks == 22


MIRRORED, HALF = RegionView(mirrored=True), RegionView(2)
PLAN = ViewPlan((PLAIN, MIRRORED, HALF), (1.0, 0.5, 0.5))


@pytest.mark.parametrize("box", [(0.25, 0.25, 0.75, 0.75), None], ids=["a part", "the whole frame"])
def test_each_frame_of_an_item_is_another_view_of_the_same_region(box):
    """One inference a frame, in turn; an empty tray is seen as it is; the event's box is of the item."""
    gate, asked, decided = ScriptedGate(), [], []
    decider = BinDecider(LABELS, options=replace(OPTIONS, error=0.001), gate=gate, views=PLAN)
    picture = np.zeros((480, 640, 3), np.uint8)
    for n in range(24):
        gate.now = Seen(View.EMPTY) if n < 4 else Seen(View.ITEM, box=box)
        frame = picture.copy()
        seen = decider.observe(frame, n / 10)
        asked.append(seen.region)
        given = result_of(seen, UNSURE, n / 10)
        decided += [e for e in [decider.step(given, n / 10)] if e]
    place = Region(160, 120, 480, 360) if box else None
    views = [PLAIN if region is None else region.view for region in asked]
    first = views.index(MIRRORED)
    assert set(views[:first]) == {PLAIN}
    assert views[first : first + 5] == [MIRRORED, HALF, PLAIN, MIRRORED, HALF]
    assert {None if r is None or r.covers(640, 480) else r.place for r in asked[4:]} == {place}
    assert [e.box for e in decided] == [place]
    assert set(views[-3:]) == {PLAIN}  # decided: nothing is weighed any more


def test_frames_alone_are_cut_in_their_views():
    """`classify` sees the region as it is, mirrored, upside down."""
    seen, picture = [], np.zeros((40, 40, 3), np.uint8)
    picture[10:20, 10:20], picture[10, 10] = 9, 200  # its corner

    def classify(image):
        y, x, _ = np.argwhere(image == 200)[0]
        seen.append((int(y) > 4, int(x) > 4))
        return result(UNSURE, 0.0).prediction

    gate = ScriptedGate()
    gate.now = Seen(View.ITEM, box=(0.25, 0.25, 0.5, 0.5))
    decider = BinDecider(LABELS, options=OPTIONS, gate=gate, classify=classify, views=PLAN)
    for n in range(7):
        decider.step(picture, n / 10)
    assert seen[:4] == [(False, False), (False, True), (True, True), (False, False)]


def looked_at(says, plan, **given):
    """The event of an item that lies still, and of which each view says the same."""
    gate, events = ScriptedGate(), []
    gate.now = Seen(View.ITEM)
    decider = BinDecider(LABELS, options=OPTIONS, gate=gate, views=plan, **given)
    for n in range(20):
        frame = np.zeros((4, 4, 3), np.uint8)
        seen = result_of(decider.observe(frame, n / 10), says, n / 10)
        events += [e for e in [decider.step(seen, n / 10)] if e]
    [event] = events
    return event


def test_views_that_are_independent_say_more_than_copies():
    """What is not sure by ten frames in one view may be by three views; the contract says how much."""
    independent = looked_at((0.8, 0.15, 0.05), ViewPlan(PLAN.views, (1.0, 0.0, 0.0)))
    assert (independent.label, independent.frames) == ("paper", 3)
    copies = looked_at((0.8, 0.15, 0.05), ViewPlan(PLAN.views, (1.0, 1.0, 1.0)))
    assert copies.label is None
    assert copies.probability == pytest.approx(0.8)


def test_thresholds_of_views_are_of_what_they_say_together():
    """They take the place of those of single frames."""
    says = (0.8, 0.15, 0.05)  # by three independent views 0.993
    for threshold, label in ((0.99, "paper"), (0.995, None)):
        plan = ViewPlan(PLAN.views, (1.0, 0.0, 0.0), (threshold,) * 3)
        event = looked_at(says, plan, thresholds=(1.0,) * 3)
        assert event.label == label
    assert "is its threshold" in event.reason


def test_a_triggered_item_is_looked_at_in_views_too():
    """The probabilities are of the view that `observe` asked for."""
    options = DeciderOptions(gate="trigger", min_frames=3, settle=0, error=0.05)
    decider = BinDecider(LABELS, options=options, views=ViewPlan(PLAN.views, (1.0, 0.0, 0.0)))
    assert decider.observe(IMAGE, 0.0).region is None
    decider.trigger(0.0)
    asked, events = [], []
    for n in range(3):
        seen = decider.observe(IMAGE, n / 10)
        asked.append(seen.region)
        events += [e for e in [decider.step(seen.classified((0.8, 0.15, 0.05)), n / 10)] if e]
    assert asked == [None, Region(0, 0, 4, 4, MIRRORED), Region(0, 0, 4, 4, HALF)]
    assert [e.label for e in events] == ["paper"]
    assert events[0].box is None


def test_what_reaches_out_of_the_view_may_be_a_hand():
    """It is decided later, `settle_at_edge` after it came to rest; one that is gone by then never."""
    options = replace(OPTIONS, settle_at_edge=0.8)
    [event] = Bin(options).item(SURE["glass"], edge=True)
    assert event.label == "glass"
    assert event.seconds == pytest.approx(0.8, abs=0.11)
    bin = Bin(options)
    assert bin.item(SURE["glass"], frames=7, edge=True) == []
    assert bin.reason == "it reaches out of the view, as a hand does"
    assert bin.show(View.ITEM, SURE["paper"], moving=True, frames=3) == []
    [event] = bin.item(SURE["paper"])  # the hand left it there
    assert (event.label, event.frames) == ("paper", 3)


def test_the_time_is_up_for_what_reaches_out_of_the_view_too():
    """What is sure by then is decided, what is not is unknown, however long a hand would be waited for."""
    options = replace(OPTIONS, settle_at_edge=60)
    for says, label in (SURE["glass"], "glass"), (UNSURE, None):
        [event] = Bin(options).item(says, frames=60, edge=True)
        assert event.label == label
        assert event.seconds == pytest.approx(0.3 + 1.0, abs=0.15)


def test_an_event_says_that_its_item_never_lay_still():
    """The frames may be blurred."""
    [event] = Bin().item(SURE["glass"], frames=100, moving=True)
    assert event.reason.endswith("; it never lay still")


# What hinders it.

HINDERED = replace(OPTIONS, tell_after=2.0)


def test_what_is_put_in_place_of_a_decided_item_is_told():
    """No second event: the tray was not empty. A fault, after `tell_after`; until it is."""
    bin = Bin(HINDERED)
    assert len(bin.item(SURE["glass"], content=Lying("bottle"))) == 1
    assert bin.show(View.ITEM, SURE["paper"], moving=True, frames=5) == []
    assert bin.item(SURE["paper"], frames=15, content=Lying("box")) == []
    assert bin.state is BinState.DECIDED
    assert bin.item(SURE["paper"], frames=100, content=Lying("box")) == []
    assert bin.state is BinState.FAULT
    assert "not what was decided, and the tray was not empty between" in bin.reason
    assert bin.decider.status.item == 0
    bin.empty()
    assert bin.state is BinState.EMPTY
    assert [e.item for e in bin.item(SURE["paper"])] == [1]


def test_a_decided_item_that_is_back_is_no_hindrance():
    """A hand rested before it."""
    bin = Bin(HINDERED)
    bin.item(SURE["glass"], content=Lying("bottle"))
    bin.item(SURE["glass"], frames=50, content=Lying("hand"))
    assert bin.state is BinState.FAULT
    bin.item(SURE["glass"], frames=1, content=Lying("bottle"))
    assert bin.state is BinState.DECIDED


def test_a_decided_item_that_stays_is_no_hindrance():
    """However long, and whatever passes."""
    bin = Bin(HINDERED)
    bin.item(SURE["glass"], content=Lying("bottle"))
    for _ in range(20):
        bin.show(View.ITEM, moving=True, frames=10)
        bin.item(SURE["glass"], content=Lying("bottle"))
        assert bin.state is BinState.DECIDED


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ({"view": View.ITEM, "moving": True}, "something moves all the time"),
        ({"view": View.COVERED}, "the whole view differs since the decision"),
    ],
    ids=["motion", "another view"],
)
def test_a_tray_that_is_not_seen_empty_again_is_told(seen, why):
    """Without end nothing more would be decided, and nobody would know why."""
    bin = Bin(HINDERED)
    bin.item(SURE["glass"])
    assert bin.show(says=SURE["paper"], frames=15, **seen) == []
    assert bin.state is BinState.DECIDED
    assert bin.show(says=SURE["paper"], frames=15, **seen) == []
    assert bin.state is BinState.FAULT
    assert why in bin.reason
    bin.empty()
    assert len(bin.item(SURE["paper"])) == 1


def test_a_tray_that_cannot_be_learnt_is_told():
    """Something moves in each frame; the fault then says so, and since when there is one."""
    bin = Bin(HINDERED)
    decider = BinDecider(LABELS, options=HINDERED, gate=bin.gate)
    bin.gate.now = Seen(View.UNKNOWN, moving=True)
    reasons = []
    for n in range(50):
        decider.step(result(UNSURE, n / 10), n / 10)
        reasons.append(decider.status.reason)
    assert decider.status.state is BinState.FAULT
    assert decider.status.since == 0.0
    assert reasons[:20] == ["seen: unknown"] * 20
    assert set(reasons[21:]) == {
        "the empty tray cannot be learnt, for nothing lies still: does the camera shake?, for 2 s now"
    }


def test_frames_that_stop_are_told():
    """An empty tray of ten minutes ago is none now; the first frame ends it."""
    bin = Bin(HINDERED)
    bin.empty()
    for n in range(30):
        bin.decider.step(None, bin.now + n / 10)
    assert bin.state is BinState.FAULT
    assert bin.reason == "no frame came, for 2 s now"
    bin.now += 3
    bin.empty()
    assert bin.state is BinState.EMPTY


# Whatever comes, in whatever order.

VIEWS = st.sampled_from([View.EMPTY, View.EMPTY, View.ITEM, View.ITEM, View.ITEM, View.COVERED, View.UNKNOWN])
STEPS = st.tuples(
    VIEWS,
    st.booleans(),
    st.sampled_from([*SURE.values(), UNSURE, None]),
    st.floats(-0.2, 1.5),
    st.integers(1, 12),
    st.booleans(),
    st.sampled_from([None, Lying("one"), Lying("other")]),
)


@given(st.lists(STEPS, max_size=60))
def test_never_two_events_for_one_item_nor_one_for_an_empty_tray(steps):
    """For any order of views, motion, predictions, missing frames and odd clocks."""
    gate, now = ScriptedGate(), 0.0
    decider = BinDecider(LABELS, options=OPTIONS, gate=gate)
    items, seen_since_empty, empty_for = [], False, 0.0
    latest = 0.0
    for view, moving, says, passed, frames, edge, content in steps:
        for _ in range(frames):
            now += passed
            before, latest = latest, max(latest, now)
            gate.now = Seen(view, moving, (0.1, 0.1, 0.6, 0.6), edge, content)
            given = None if says is None else result(says, now)
            if edge and given is not None:
                given = result_of(decider.observe(IMAGE, now), says, now)
            event = decider.step(given, now)
            if says is not None:
                empty_for = empty_for + latest - before if view is View.EMPTY else 0.0
                seen_since_empty = seen_since_empty or view is View.ITEM
            if event is not None:
                assert seen_since_empty, "an event for an empty tray"
                assert event.item not in items, "two events for one item"
                items.append(event.item)
                seen_since_empty = False
    assert items == sorted(items)


@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.sampled_from([*SURE.values(), UNSURE])),
        min_size=60,
        max_size=60,
    ),
    st.floats(0.02, 0.1),
)
def test_an_item_that_stays_always_gets_one_within_the_limit(frames, step):
    """`settle_within` and `decide_within`, and a frame of each: whatever moves and whatever is predicted."""
    bin = Bin()
    bin.empty()
    arrived, limit = bin.now + step, OPTIONS.settle_within + OPTIONS.decide_within
    for moving, edge, says in itertools.islice(itertools.cycle(frames), int(4 / step)):
        bin.item(says, frames=1, moving=moving, step=step, edge=edge)
    [event] = bin.events
    assert event.monotonic - arrived <= limit + 2 * step + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_drawn_tray_gives_one_event_an_item(seed):
    """With the real gate: things come, stay and go, light drifts, sensors are noisy."""
    scene = Scene(seed, 320, 240)
    says = result(SURE["glass"], 0.0).prediction
    decider = BinDecider(LABELS, classify=lambda image: says)
    last = 15 * 35
    items = list(itertools.islice(scene.items(), 5))
    events = [n for n in range(last) if decider.step(scene.frame(n), n / 15)]
    assert [sum(i.arrives <= n < i.gone for n in events) for i in items] == [1] * len(items)
    assert len(events) == len(items) == 5


@pytest.mark.slow
def test_the_embedded_model_decides_what_lies_on_a_drawn_tray():
    """End to end: frames in, events out."""
    classifier = Classifier.load(threads=1)
    decider = BinDecider(classifier.labels, classify=classifier.classify)
    scene = Scene(0, 320, 240)
    events = [e for n in range(15 * 14) if (e := decider.step(scene.frame(n), n / 15))]
    assert len(events) == 2
    assert {e.bin for e in events} <= {*classifier.labels, "unknown"}


# What never leaves.

QUESTIONED = replace(OPTIONS, question_after=5.0, tell_after=2.0)


def test_an_item_that_never_leaves_is_told_once_the_tray_was_seen_empty_again():
    """A sticker: nothing else would be decided any more, and nobody would know."""
    bin = Bin(QUESTIONED)
    bin.item(SURE["glass"])
    bin.empty()
    assert len(bin.item(SURE["paper"], frames=50, content=Lying("sticker"))) == 1
    assert bin.state is BinState.DECIDED
    bin.item(SURE["paper"], frames=10, content=Lying("sticker"))
    assert bin.state is BinState.FAULT
    assert "take it away" in bin.reason
    assert bin.gate.learnt == 0
    for _ in range(3):  # whatever passes over it
        bin.show(View.ITEM, moving=True, frames=1)
        assert bin.state is BinState.FAULT
    bin.empty()
    assert bin.state is BinState.EMPTY
    assert [e.item for e in bin.item(SURE["glass"])] == [2]


def test_a_first_item_that_never_leaves_has_the_tray_learnt_again():
    """Nothing has shown yet that what was learnt at the start is the tray."""
    bin = Bin(QUESTIONED)
    assert len(bin.item(SURE["glass"], frames=50)) == 1
    assert bin.gate.learnt == 0
    bin.item(SURE["glass"], frames=10)
    assert bin.gate.learnt == 1
    assert bin.state is BinState.DECIDED  # until it is learnt
    bin.show(View.UNKNOWN, frames=8)
    bin.empty()
    assert bin.state is BinState.EMPTY
    assert [e.item for e in bin.item(SURE["paper"])] == [1]
    bin.empty()
    bin.item(SURE["paper"], frames=80)
    assert bin.gate.learnt == 1
    assert bin.state is BinState.FAULT


def test_what_stays_though_the_tray_is_learnt_again_is_told():
    """Once; then somebody has to look."""
    bin = Bin(QUESTIONED)
    bin.item(SURE["glass"], frames=140)
    assert bin.gate.learnt == 1
    assert bin.state is BinState.FAULT


def test_an_operator_has_the_tray_learnt_again():
    """Out of any state; what is in hand gets no event."""
    bin = Bin(QUESTIONED)
    bin.item(SURE["glass"], frames=4)
    assert bin.decider.learn(bin.now)
    assert (bin.gate.learnt, bin.state) == (1, BinState.STARTING)
    assert bin.decider.status.item is None
    bin.empty()
    assert [e.item for e in bin.item(SURE["paper"])] == [1]
    assert not BinDecider(LABELS, options=DeciderOptions(gate="trigger")).learn(0.0)


def test_a_strange_tray_is_a_fault_until_it_is_back():
    """Not the one that was kept: nothing is decided on it."""
    bin = Bin()
    bin.decider.learn(bin.now)
    assert bin.show(View.STRANGE, SURE["glass"], frames=50) == []
    assert (bin.state, bin.reason) == (BinState.FAULT, "seen: strange")
    bin.empty()
    assert bin.state is BinState.EMPTY


def test_why_the_tray_cannot_be_learnt_is_told_in_the_words_of_the_gate():
    """A black picture is no shaking camera."""
    bin = Bin(HINDERED)
    bin.decider.learn(bin.now)
    bin.show(View.UNKNOWN, moving=True, frames=10)
    bin.show(View.UNKNOWN, frames=15)
    assert bin.state is BinState.FAULT
    assert bin.reason == "the empty tray cannot be learnt: seen: unknown, for 2 s now"
