"""Facts about the generator: scripts, when things happen, and the pictures of them."""

import hashlib
import json
import math
from dataclasses import replace
from itertools import chain

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.budgets import one_in

from ecovision_edge.decision import DeciderOptions
from ecovision_edge.errors import DatasetError, OptionError
from ecovision_edge.simulation.composed import compose
from ecovision_edge.simulation.pictures import (
    choose_photographs,
    drawn_sprite,
    photograph_sprite,
)
from ecovision_edge.simulation.script import (
    ANY_TURN,
    UPRIGHT,
    Camera,
    Empty,
    Hand,
    Item,
    Light,
    Meanwhile,
    Script,
)
from ecovision_edge.simulation.script_file import dump_script, load_script
from ecovision_edge.simulation.timeline import make_timeline
from ecovision_edge.simulation.truth import TruthError
from ecovision_edge_bench.score.compose import ordinary_things
from ecovision_edge_bench.score.gates import TRIALS, trial_script
from ecovision_edge_bench.score.match import match
from ecovision_edge_bench.score.ordinary import ordinary_script
from ecovision_edge_bench.score.run import decide, decide_by_single_frames, default_rules, make_decider

LABELS = ("battery", "glass", "paper")
CALM = Camera(jitter_px=0, grain=0, vignette=0, drift=0, flicker=0)
SMALL = {"width": 160, "height": 120}

seconds = st.floats(0, 6)
happenings = st.builds(
    Meanwhile, st.sampled_from(["nudge", "hand", "light"]), seconds, st.floats(0.1, 3), st.floats(0, 2)
)
items = st.builds(
    Item,
    label=st.sampled_from(LABELS),
    comes=st.sampled_from(["slide", "hand", "drop"]),
    stays=seconds,
    goes=st.sampled_from(["slide", "hand", "gone"]),
    meanwhile=st.lists(happenings, max_size=2).map(tuple),
)
swaps = st.builds(
    lambda a, b: [
        Item(label=a.label, comes=a.comes, stays=a.stays, goes="swap"),
        Item(label=b.label, comes="swap", stays=b.stays, goes=b.goes),
    ],
    items,
    items,
)
step_groups = st.one_of(
    items.map(lambda one: [one]),
    swaps,
    st.builds(Empty, seconds).map(lambda one: [one]),
    st.builds(Hand, seconds).map(lambda one: [one]),
    st.builds(Light, st.floats(0.1, 3), st.floats(0, 2)).map(lambda one: [one]),
)
scripts = st.builds(
    lambda groups, seed, turn, fps: Script(
        steps=tuple(chain(*groups)), seed=seed, turn=turn, fps=fps, **SMALL
    ),
    st.lists(step_groups, max_size=5),
    st.integers(0, 2**32 - 1),
    st.one_of(st.sampled_from([0.0, UPRIGHT, ANY_TURN]), st.floats(0, ANY_TURN)),
    st.sampled_from([5.0, 12.0, 29.97]),
)


@given(scripts)
def test_a_script_survives_its_file(script):
    assert load_script(dump_script(script)) == script


@given(scripts)
def test_the_truth_of_any_script_fits_what_is_seen(script):
    """It is valid by itself; an item is in view from arrival to leaving, and still from its rest on."""
    line = make_timeline(script)
    assert len(line.truth.items) == sum(isinstance(step, Item) for step in script.steps)
    for true, track in zip(line.truth.items, line.items, strict=True):
        assert true.label == track.item.label
        middle = (true.arrives_s + true.leaves_s) / 2
        assert track.number in [one.number for one, _ in line.items_at(middle)]
        if "swap" not in (track.item.comes, track.item.goes):
            for outside in (true.arrives_s - 1e-6, true.leaves_s + 1e-6):
                assert track.number not in [one.number for one, _ in line.items_at(outside)]
        assert true.rests_s is not None
        if not track.item.meanwhile and track.item.stays > 0.1:
            a, b = track.pose(true.rests_s), track.pose(true.rests_s + track.item.stays - 0.01)
            assert (a.x, a.y, a.turn, a.scale) == (b.x, b.y, b.turn, b.scale)
            assert (
                track.item.comes == "swap"
                or line.hands_at(true.rests_s + 1e-6) == []
                or track.item.goes == "hand"
            )
    for distractor in line.truth.distractors:
        if distractor.kind == "hand":
            assert line.hands_at((distractor.begins_s + distractor.ends_s) / 2)


@given(scripts, st.floats(0, 30))
def test_the_light_is_never_off(script, at):
    assert 0.01 <= make_timeline(script).light(at) <= 100


def script_file(**changes):
    value = {
        "schema": "ecovision-edge/tray-script",
        "schema_version": 1,
        "steps": [{"do": "item", "label": "glass"}],
        **changes,
    }
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema": "x"}, "tray-script"),
        ({"schema_version": 9}, "upgrade"),
        ({"fps": 0}, "fps"),
        ({"width": 3}, "width"),
        ({"seed": -1}, "seed"),
        ({"camera": {"jitter_px": 2}}, "jitter_px"),
        ({"camera": {"shake": 2}}, "only the keys"),
        ({"steps": {}}, "a list"),
        ({"steps": [{"do": "dance"}]}, "one of item, empty, hand, light"),
        ({"steps": [{"do": "item"}]}, "label"),
        ({"steps": [{"do": "item", "label": None}]}, "picture of an item without a label"),
        ({"steps": [{"do": "item", "label": "glass", "comes": "flies"}]}, "slide, hand, drop, swap"),
        ({"steps": [{"do": "item", "label": "glass", "goes": "swap"}]}, "swap"),
        ({"steps": [{"do": "item", "label": "glass", "comes": "swap"}]}, "swap"),
        (
            {"steps": [{"do": "item", "label": "glass", "meanwhile": [{"what": "rain", "at": 1}]}]},
            "nudge, hand",
        ),
        ({"steps": [{"do": "item", "label": "glass", "meanwhile": [{"what": "hand"}]}]}, "at"),
        ({"steps": [{"do": "empty", "seconds": -1}]}, "seconds"),
        ({"steps": [{"do": "light", "factor": 0}]}, "factor"),
        ({"steps": [{"do": "hand", "speed": 1}]}, "only the keys"),
    ],
)
def test_a_malformed_script_is_one_clear_line(changes, told):
    with pytest.raises(TruthError, match=told) as caught:
        load_script(script_file(**changes), "script.json")
    assert "\n" not in caught.value.message


def test_a_script_made_in_code_is_checked_too():
    with pytest.raises(OptionError, match="stays"):
        Script(steps=(Item(label="glass", stays=math.nan),))
    with pytest.raises(OptionError, match="factor"):
        Script(steps=(Light(math.inf),))
    with pytest.raises(OptionError, match="grain"):
        Camera(grain=-1)


def digest(composed):
    return hashlib.sha256(b"".join(frame.image.tobytes() for frame in composed)).hexdigest()


def some_script(seed=3, **given):
    steps = (
        Empty(0.5),
        Item(label="glass", comes="hand", stays=0.5, goes="gone", meanwhile=(Meanwhile("nudge", 0.1),)),
        Light(0.8),
        Hand(),
        Item(label="paper", comes="drop", stays=0.3),
    )
    return Script(steps=steps, seed=seed, **SMALL, **given)


def test_the_same_script_gives_the_same_frames_in_any_order():
    composed = compose(some_script())
    assert digest(composed) == digest(compose(some_script())) != digest(compose(some_script(seed=4)))
    backwards = compose(some_script())
    for n in reversed(range(len(backwards))):
        assert np.array_equal(backwards.frame(n), composed.frame(n))


def test_frames_are_what_a_camera_gives():
    for frame in compose(some_script()):
        assert (frame.image.shape, frame.image.dtype) == ((120, 160, 3), np.uint8)
        assert frame.image.flags.owndata or frame.image.base is None


def changes(script):
    """The mean absolute difference of each frame to the first, levels."""
    composed = compose(script)
    first = composed.frame(0).astype(int)
    return composed, [float(np.abs(frame.image.astype(int) - first).mean()) for frame in composed]


def test_a_calm_empty_tray_is_one_picture():
    _, differences = changes(Script(steps=(Empty(1.0),), camera=CALM, **SMALL))
    assert set(differences) == {0.0}


def test_an_item_is_to_be_seen_just_while_the_truth_says_so():
    for comes, goes in (("slide", "slide"), ("hand", "hand"), ("drop", "gone")):
        steps = (Empty(1.0), Item(label="battery", comes=comes, stays=1.0, goes=goes), Empty(1.0))
        composed, differences = changes(Script(steps=steps, camera=CALM, **SMALL))
        (true,) = composed.truth.items
        for n, difference in enumerate(differences):
            at = composed.time(n)
            if at < true.arrives_s or at >= true.leaves_s:
                assert difference == 0.0
            elif true.rests_s <= at <= true.rests_s + 1.0:
                assert difference > 2


@pytest.mark.parametrize(
    ("camera", "least", "most"),
    [
        (
            {"grain": 2.0},
            1.4,
            2.6,
        ),  # of two noises of 2 levels the mean difference is 2 * 2 / sqrt(pi) = 2.26
        ({"flicker": 0.1}, 1.0, 20.0),
        ({"drift": 0.2, "drift_period_s": 2.0}, 5.0, 20.0),
        ({"jitter_px": 0.3}, 0.005, 1.0),
    ],
)
def test_light_and_camera_change_every_frame(camera, least, most):
    calm = {"jitter_px": 0.0, "grain": 0.0, "vignette": 0.0, "drift": 0.0, "flicker": 0.0}
    _, differences = changes(
        Script(steps=(Empty(1.0),), fps=11.0, camera=Camera(**{**calm, **camera}), **SMALL)
    )
    assert least < np.mean(differences[1:]) < most


def test_flicker_runs_over_the_rows():
    """As a rolling shutter sees it: within a row the light is one."""
    composed = compose(Script(steps=(Empty(1.0),), fps=11.0, camera=replace(CALM, flicker=0.2), **SMALL))
    calm = compose(Script(steps=(Empty(1.0),), fps=11.0, camera=CALM, **SMALL))
    ratio = composed.frame(3).astype(float) / np.maximum(calm.frame(3), 1)
    rows = ratio.mean(axis=(1, 2))
    assert rows.max() - rows.min() > 0.3
    assert ratio.std(axis=(1, 2)).max() < 0.02


def test_a_light_step_multiplies():
    steps = (Empty(1.0), Light(0.5, 0.0), Empty(1.0))
    composed = compose(Script(steps=steps, camera=CALM, **SMALL))
    assert composed.frame(20).mean() / composed.frame(0).mean() == pytest.approx(0.5, abs=0.01)


def test_an_ordinary_day_has_all_ways_and_is_reproducible():
    things = ordinary_things(None, LABELS, 60, 1)
    script = ordinary_script(things, 1)
    came = [step for step in script.steps if isinstance(step, Item)]
    assert [(step.label, step.picture) for step in came] == things
    assert {step.comes for step in came} == {"slide", "hand", "drop"}
    assert {step.goes for step in came} == {"slide", "hand", "gone"}
    assert any(isinstance(step, Hand) for step in script.steps)
    assert {one.what for step in came for one in step.meanwhile} == {"nudge", "hand"}
    assert all(4.2 <= step.stays <= 5.0 for step in came)
    assert script == ordinary_script(things, 1) != ordinary_script(things, 2)


OF_OLD = {  # of the generator before things lay in any orientation
    1: ([0.150508331324, -0.109091194633, -0.035879332623, 0.172313933567], 769.15),
    2: ([-0.033632727495, 0.107439360376, -0.067308394422, -0.073902680402], 749.13),
}


@pytest.mark.parametrize("seed", [1, 2])
def test_laid_down_with_care_is_the_recording_of_old(seed):
    """Turned by 0.2 at most: the same turns, the same times, and a file that does not speak of it."""
    script = ordinary_script(ordinary_things(None, LABELS, 100, seed), seed, turn=0.2)
    line = make_timeline(script)
    turns, ends = OF_OLD[seed]
    assert [track.poses[-1].turn for track in line.items[:4]] == pytest.approx(turns, abs=1e-9)
    assert line.truth.items[-1].leaves_s == pytest.approx(ends, abs=1e-6)
    assert not any(track.lies_across for track in line.items)
    assert b"turn" not in dump_script(script)


def test_on_an_ordinary_day_things_lie_as_they_fell():
    """In any orientation, about as many in each eighth of the circle; times and ways are what they were."""
    things = ordinary_things(None, LABELS, 400, 1)
    line = make_timeline(ordinary_script(things, 1))
    counts, _ = np.histogram([track.poses[-1].turn for track in line.items], 8, (-math.pi, math.pi))
    assert counts.min() > 30
    upright = make_timeline(ordinary_script(things, 1, turn=0.2))
    assert [i.leaves_s for i in line.truth.items] == [i.leaves_s for i in upright.truth.items]


@pytest.mark.parametrize("turn", [-0.1, 3.2, math.nan])
def test_a_turn_that_is_none_is_refused(turn):
    with pytest.raises(OptionError, match="turn"):
        Script(steps=(Empty(1.0),), turn=turn)


# Pictures.


def letterboxed(width, height, size=256):
    """A made-up photograph of that size, as the set has it: grey bars around, then JPEG."""
    rng = np.random.default_rng(5)
    photo = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), np.uint8), (0, 0), 2)
    boxed = np.full((size, size, 3), 114, np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    boxed[top : top + height, left : left + width] = photo
    return cv2.imdecode(cv2.imencode(".jpg", boxed, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], cv2.IMREAD_COLOR)


def test_a_wide_photograph_that_lies_across_fits_into_the_frame(tmp_path):
    """Its width is then what the frame's height has to hold."""
    path = tmp_path / "photo.jpg"
    cv2.imwrite(str(path), np.full((100, 240, 3), 90, np.uint8))
    for across, most in ((False, 1.2), (True, 0.92)):
        sprite = photograph_sprite(path, 0.8 * 240, 240, across=across)
        assert sprite.shape[1] == pytest.approx(most * 240, abs=1)
    steps = (Item(label="paper", picture=str(path), stays=1.0, goes="gone"),)
    for seed in range(20):
        made = compose(Script(steps=steps, seed=seed, turn=ANY_TURN, camera=CALM, **SMALL))
        (track,) = make_timeline(made.script).items
        turn = abs(track.poses[-1].turn) % math.pi
        assert track.lies_across == (math.pi / 4 < turn < 3 * math.pi / 4)


def test_a_photograph_becomes_a_card_of_the_asked_area(tmp_path):
    path = tmp_path / "photo.jpg"
    cv2.imwrite(str(path), letterboxed(256, 190))
    sprite = photograph_sprite(path, 160.0, 240)
    assert sprite.shape[0] * sprite.shape[1] == pytest.approx(160**2, rel=0.03)
    assert sprite[..., 3].max() <= 1
    assert sprite[..., 3].mean() > 0.9
    assert (sprite[..., :3] <= 255 * sprite[..., 3:] + 0.01).all()
    assert sprite[0, 0, 3] < 0.05  # soft corners
    wide = photograph_sprite(path, 400.0, 240)
    assert wide.shape[0] <= 0.92 * 240 + 1
    assert wide.shape[1] <= 1.2 * 240 + 1


@pytest.mark.parametrize("label", ["battery", "glass", "plastic", "shoes", "trash"])
def test_a_drawn_thing_covers_a_part_of_its_square(label):
    sprite = drawn_sprite(label, 100.0, (1, 2))
    assert 0.1 < sprite[..., 3].mean() < 0.9
    assert np.array_equal(sprite, drawn_sprite(label, 100.0, (1, 2)))
    assert (sprite[[0, -1], :, 3] < 0.05).all()


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(OptionError, match="found unicorn"):
        drawn_sprite("unicorn", 100.0, (1,))


def test_photographs_are_chosen_alike_of_all_classes(tmp_path):
    for label in LABELS:
        (tmp_path / label).mkdir()
        for n in range(3):
            cv2.imwrite(str(tmp_path / label / f"{n}.png"), np.full((8, 8, 3), n, np.uint8))
    chosen = choose_photographs(tmp_path, LABELS, 9, 1)
    assert len({image.path for image in chosen}) == 9
    assert [sum(image.label == k for image in chosen[:6]) for k in range(3)] == [2, 2, 2]
    assert chosen == choose_photographs(tmp_path, LABELS, 9, 1) != choose_photographs(tmp_path, LABELS, 9, 2)
    assert len(choose_photographs(tmp_path, LABELS, 20, 1)) == 20
    with pytest.raises(DatasetError):
        choose_photographs(tmp_path / "none", LABELS, 1, 1)


# What the decider makes of it.


@pytest.fixture(scope="module")
def classifier():
    from ecovision_edge import Classifier

    return Classifier.load(threads=1)


def decided(script, classifier, options=None):
    composed = compose(script)
    frames = ((frame.image, frame.at_s) for frame in composed)
    found = decide(frames, make_decider(classifier, default_rules(classifier.labels), options))
    return match(composed.truth, found, default_rules(classifier.labels))


@pytest.mark.slow
@one_in(20)
@given(
    st.lists(
        st.builds(
            Item,
            label=st.sampled_from(LABELS),
            comes=st.sampled_from(["slide", "hand", "drop"]),
            stays=st.floats(1.0, 5.0),
            goes=st.sampled_from(["slide", "hand", "gone"]),
        ),
        max_size=2,
    ),
    st.integers(0, 1000),
)
def test_never_two_events_for_an_item_nor_one_for_an_empty_tray(classifier, things, seed):
    """Of whatever comes and goes, however; and one that is decided is decided in its time."""
    steps = [Empty(1.6)]
    for thing in things:
        steps += [thing, Empty(1.5)]
    options = DeciderOptions(decide_within=1.5)
    found = decided(Script(steps=tuple(steps), seed=seed, **SMALL), classifier, options)
    assert (found.doubled, len(found.false)) == (0, 0)
    for one in found.items:
        if one.found:
            assert 0 < one.since_arrival_s < options.settle_within + options.decide_within + 0.5


def test_an_empty_tray_gives_no_event_by_any_light(classifier):
    """Drift, flicker and a lamp at once."""
    steps = (Empty(2.0), Light(0.6), Empty(2.0), Light(1.5), Empty(3.0))
    camera = Camera(flicker=0.03, drift=0.2, drift_period_s=5, jitter_px=0.1)
    assert len(decided(Script(steps=steps, camera=camera, **SMALL), classifier).false) == 0


@pytest.mark.slow
def test_an_ordinary_item_is_found_in_time(classifier):
    found = decided(Script(steps=(Empty(1.6), Item(label="glass"), Empty(1.0))), classifier)
    assert (found.found, found.doubled, len(found.false)) == (1, 0, 0)


def test_single_frames_act_whenever_the_label_is_another_one(classifier):
    """Which is what they are there to show."""

    class Says:
        def __init__(self, label, score):
            self.label, self.score = label, score

    answers = iter(
        [Says("glass", 0.9), Says("glass", 0.9), Says("paper", 0.5), Says("paper", 0.7), Says("glass", 0.8)]
    )
    image = np.zeros((4, 4, 3), np.uint8)
    frames = [(image, n / 10) for n in range(5)]
    found = decide_by_single_frames(frames, lambda frame: next(answers), default_rules(classifier.labels))
    assert [(one.at_s, one.label, one.bin) for one in found] == [
        (0.0, "glass", "Glas"),
        (0.3, "paper", "Papier"),
        (0.4, "glass", "Glas"),
    ]
    with pytest.raises(OptionError, match="0 to 1"):
        decide_by_single_frames([], classifier.classify, None, above=2)


def test_labels_of_another_model_have_no_worked_example():
    assert default_rules(("cat", "dog")) is None


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_every_trial_is_a_script(trial):
    things = ordinary_things(None, LABELS, 3, 1)
    script = trial_script(trial, things, 1)
    truth = make_timeline(script).truth
    assert len(truth.items) == (0 if trial.alone else 3)
    assert truth.seconds > 8
